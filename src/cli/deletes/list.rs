//! `deletes list`: the held deletions with what they are held for and what was seen.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::blocks::{self, Block, Which};
use super::group::Amount;
use crate::agent::endpoint_name;
use crate::catalog::held::{self, Decision, Held};
use crate::catalog::judgement::{self, Written};
use crate::catalog::{Catalog, folder};
use crate::cli::{Exit, output, summary};
use crate::config::settings::{FolderSettings, Settings};
use crate::model::{FolderId, Printable};
use crate::remote::{self, Limits, Versioning};
use crate::sync::act::chain;
use crate::sync::held::KEPT_AFTER;

/// Held deletions that are fetched at a time.
const PAGE: i64 = 1000;
/// Judgements that are shown each by itself: the latest. Those before are counted together.
const JUDGEMENTS: i64 = 20;
/// So many of a folder are named one by one; more are counted by directory.
const NAMED: u64 = 20;
/// The store is only asked a favour.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints the held deletions of these folders.
pub(super) async fn list(
    settings: &Settings,
    catalog: &Catalog,
    folders: &[&FolderSettings],
    sub: Option<&str>,
    json: bool,
) -> anyhow::Result<Exit> {
    let mut any = false;
    for folder in folders {
        let endpoint = endpoint_name(&settings.s3);
        let Some(record) = folder::find(catalog, &endpoint, &folder.bucket, &folder.prefix).await? else { continue };
        if judgement::by_directory(catalog, record.id, sub, "", 1).await?.is_none() {
            continue;
        }
        any = true;
        let versioning = versioning(settings, &folder.bucket).await;
        let view = View { folder, sub, versioning, catalog, id: record.id };
        if json { view.print_json().await? } else { view.print_text().await? }
    }
    if !any && !json {
        output::print(format_args!("no deletion is held\n"))?;
    }
    Ok(if any { Exit::Trouble } else { Exit::Done })
}

/// Whether the bucket keeps versions; or why that is not known.
async fn versioning(settings: &Settings, bucket: &str) -> Result<Versioning, String> {
    let asked = async {
        let limits = Limits { workers: 1, bandwidth: None };
        remote::connect(&settings.s3, &limits).await?.bucket(bucket).versioning().await
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| chain(&error)),
        Err(_) => Err("the store does not answer".to_owned()),
    }
}

/// What is known of one folder's held deletions.
struct View<'a> {
    folder: &'a FolderSettings,
    sub: Option<&'a str>,
    versioning: Result<Versioning, String>,
    catalog: &'a Catalog,
    id: FolderId,
}

impl View<'_> {
    async fn page(&self, after: Option<&str>) -> anyhow::Result<Vec<Held>> {
        Ok(held::held(self.catalog, self.id, self.sub, after, PAGE).await?)
    }

    async fn print_json(&self) -> anyhow::Result<()> {
        let mut after: Option<String> = None;
        loop {
            let page = self.page(after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.path.as_str().to_owned());
            let mut numbers: Vec<i64> = page.iter().filter_map(|held| held.judgement).collect();
            numbers.sort_unstable();
            numbers.dedup();
            let written = judgement::by_number(self.catalog, &numbers).await?;
            let written: HashMap<i64, Written> = written.into_iter().map(|written| (written.id, written)).collect();
            let of = |held: &Held| held.judgement.and_then(|number| written.get(&number));
            let lines: String = page.iter().map(|held| format!("{}\n", self.json(held, of(held)))).collect();
            output::print(format_args!("{lines}"))?;
        }
    }

    fn json(&self, held: &Held, judgement: Option<&Written>) -> serde_json::Value {
        let evidence = judgement.map(|Written { at, judgement, .. }| {
            serde_json::json!({
                "judged_at": moment(*at),
                "found_by": judgement.found_by.as_str(),
                "same_folder": judgement.same_folder,
                "everything_seen": judgement.complete,
                "deletes": judgement.deletes,
                "deleted_in_hour": judgement.in_hour,
                "held_before": judgement.held,
                "of_files": judgement.synced,
                "max_delete": judgement.max_delete,
                "max_delete_count": judgement.max_delete_count,
            })
        });
        serde_json::json!({
            "folder": self.folder.name,
            "path": held.path.as_str(),
            "size": held.size,
            "md5": held.digest.map(|digest| digest.to_hex()),
            "reason": held.reason,
            "held_at": moment(held.held_at),
            "kept_at": held.decision.is_none().then(|| moment(held.held_at + KEPT_AFTER)),
            "seen": held.seen.map(|(absence, _)| absence.as_str()),
            "seen_at": held.seen.map(|(_, at)| moment(at)),
            "evidence": evidence,
            "decision": held.decision.map(Decision::as_str),
            "decided_by": held.decided.as_ref().map(|(by, _)| by),
            "decided_at": held.decided.as_ref().map(|(_, at)| moment(*at)),
            "versioning": self.versioning.as_ref().ok().map(|versioning| versioning.as_str()),
        })
    }

    async fn print_text(&self) -> anyhow::Result<()> {
        let latest = judgement::latest(self.catalog, self.id, JUDGEMENTS).await?;
        let blocks = blocks::count(self.catalog, self.id, self.sub, &latest).await?;
        let named = if blocks.values().map(|block| block.amount.files).sum::<u64>() <= NAMED {
            self.page(None).await?
        } else {
            Vec::new()
        };
        let mut text = String::new();
        let mut decision_before = None;
        for ((decision, number), block) in &blocks {
            if decision_before != Some(decision) {
                self.write_heading(&mut text, decision.as_deref(), &blocks);
                decision_before = Some(decision);
            }
            blocks::write(&mut text, latest.iter().find(|written| Some(written.id) == *number), block);
            let shown =
                |held: &Held| held.judgement.filter(|number| latest.iter().any(|written| written.id == *number));
            let here =
                |held: &&Held| shown(held) == *number && held.decision.map(Decision::as_str) == decision.as_deref();
            if named.is_empty() {
                blocks::write_directories(&mut text, &block.tree);
            }
            for held in named.iter().filter(here) {
                let size = held.size.map(|size| format!(" ({})", summary::bytes(size))).unwrap_or_default();
                let _ = writeln!(text, "    {}{size}", held.path);
            }
        }
        let undecided = blocks.iter().filter(|((decision, _), _)| decision.is_none());
        self.write_footing(&mut text, undecided.map(|(_, block)| block.since).min());
        Ok(output::print(format_args!("{text}"))?)
    }

    fn write_heading(&self, text: &mut String, decision: Option<&str>, blocks: &BTreeMap<Which, Block>) {
        let mut amount = Amount::default();
        for ((_, _), block) in blocks.iter().filter(|((other, _), _)| other.as_deref() == decision) {
            amount.add(block.amount);
        }
        let what = match decision {
            None => "wait for your decision".to_owned(),
            Some(decision) => format!("are {decision}, and not yet carried out"),
        };
        let name = Printable(&self.folder.name);
        let _ = writeln!(text, "{name}: {} deletions {what} ({})", amount.files, summary::bytes(amount.bytes));
    }

    /// `undecided` is since when the first waits of those that nobody has decided on.
    fn write_footing(&self, text: &mut String, undecided: Option<SystemTime>) {
        if let Some(since) = undecided {
            let _ = writeln!(
                text,
                "  what nobody decides on is kept for good after 30 days, first on {}",
                day(since + KEPT_AFTER)
            );
        }
        let bucket = Printable(&self.folder.bucket);
        let _ = match &self.versioning {
            Ok(Versioning::Enabled) => {
                writeln!(text, "  the bucket {bucket} keeps old versions, so a deletion can be undone there")
            }
            Ok(Versioning::Suspended) => writeln!(
                text,
                "  the bucket {bucket} keeps old versions only from before its versioning was suspended: the deletion of what was written since can't be undone"
            ),
            Ok(Versioning::Never) => {
                writeln!(text, "  the bucket {bucket} keeps no old versions: a deletion can't be undone")
            }
            Err(why) => {
                writeln!(text, "  whether the bucket {bucket} keeps old versions is not known: {}", Printable(why))
            }
        };
        let name = Printable(&self.folder.name);
        let _ = writeln!(
            text,
            "  agent-portail deletes approve --folder {name} [--path SUB]    (or reject, to keep the objects)"
        );
    }
}

/// For machines.
fn moment(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// For people.
pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn day(time: SystemTime) -> String {
    rfc3339(time).chars().take(10).collect()
}
