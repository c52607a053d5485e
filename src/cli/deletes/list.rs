//! `deletes list`: the held deletions with what they are held for and what was seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::group::{Amount, group};
use crate::agent::endpoint_name;
use crate::catalog::held::{self, Decision, Held};
use crate::catalog::judgement::{self, FoundBy, InDirectory, Written};
use crate::catalog::{Catalog, folder};
use crate::cli::{Exit, output, summary};
use crate::config::settings::{FolderSettings, Settings};
use crate::model::{Absence, FolderId, Printable};
use crate::remote::{self, Limits, Versioning};
use crate::sync::act::chain;
use crate::sync::held::KEPT_AFTER;

/// Held deletions that are fetched at a time.
const PAGE: i64 = 1000;
/// So many of a folder are named one by one; more are counted by directory.
const NAMED: u64 = 20;
/// Directories of one judgement.
const DIRECTORIES: usize = 20;
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
        let directories = judgement::by_directory(catalog, record.id, sub).await?;
        if directories.is_empty() {
            continue;
        }
        any = true;
        let view = View {
            folder,
            sub,
            judgements: judgement::of_folder(catalog, record.id).await?,
            versioning: versioning(settings, &folder.bucket).await,
            catalog,
            id: record.id,
        };
        if json { view.print_json().await? } else { view.print_text(&directories).await? }
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
    judgements: Vec<Written>,
    versioning: Result<Versioning, String>,
    catalog: &'a Catalog,
    id: FolderId,
}

impl View<'_> {
    fn judgement(&self, number: Option<i64>) -> Option<&Written> {
        self.judgements.iter().find(|written| Some(written.id) == number)
    }

    async fn page(&self, after: Option<&str>) -> anyhow::Result<Vec<Held>> {
        Ok(held::held(self.catalog, self.id, self.sub, after, PAGE).await?)
    }

    async fn print_json(&self) -> anyhow::Result<()> {
        let mut after: Option<String> = None;
        loop {
            let page = self.page(after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.path.as_str().to_owned());
            let lines: String = page.iter().map(|held| format!("{}\n", self.json(held))).collect();
            output::print(format_args!("{lines}"))?;
        }
    }

    fn json(&self, held: &Held) -> serde_json::Value {
        let evidence = self.judgement(held.judgement).map(|Written { at, judgement, .. }| {
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

    async fn print_text(&self, directories: &[InDirectory]) -> anyhow::Result<()> {
        let named = if directories.iter().map(|directory| directory.count).sum::<u64>() <= NAMED {
            self.page(None).await?
        } else {
            Vec::new()
        };
        // By what was said of them, then by the judgement that holds them.
        let mut blocks: BTreeMap<(Option<&str>, Option<i64>), Vec<&InDirectory>> = BTreeMap::new();
        for directory in directories {
            blocks.entry((directory.decision.as_deref(), directory.judgement)).or_default().push(directory);
        }
        let mut text = String::new();
        let mut decision_before = None;
        for ((decision, number), block) in &blocks {
            if decision_before != Some(*decision) {
                self.write_heading(&mut text, *decision, directories);
                decision_before = Some(*decision);
            }
            self.write_block(&mut text, *number, block);
            let here = |held: &&Held| held.judgement == *number && held.decision.map(Decision::as_str) == *decision;
            if named.is_empty() {
                write_directories(&mut text, block);
            }
            for held in named.iter().filter(here) {
                let size = held.size.map(|size| format!(" ({})", summary::bytes(size))).unwrap_or_default();
                let _ = writeln!(text, "    {}{size}", held.path);
            }
        }
        self.write_footing(&mut text, directories);
        Ok(output::print(format_args!("{text}"))?)
    }

    fn write_heading(&self, text: &mut String, decision: Option<&str>, directories: &[InDirectory]) {
        let amount = amount(directories.iter().filter(|directory| directory.decision.as_deref() == decision));
        let what = match decision {
            None => "wait for your decision".to_owned(),
            Some(decision) => format!("are {decision}, and not yet carried out"),
        };
        let name = Printable(&self.folder.name);
        let _ = writeln!(text, "{name}: {} deletions {what} ({})", amount.files, summary::bytes(amount.bytes));
    }

    /// Why, since when, and what was seen.
    fn write_block(&self, text: &mut String, number: Option<i64>, block: &[&InDirectory]) {
        let since = block.iter().map(|directory| directory.since).min().map(rfc3339).unwrap_or_default();
        let Some(Written { judgement, .. }) = self.judgement(number) else {
            let _ = writeln!(text, "  since {since}");
            return;
        };
        let _ = writeln!(text, "  since {since}: {}", Printable(&judgement.reason));
        let mut facts = vec![match judgement.found_by {
            FoundBy::Reconciliation if judgement.complete => {
                "found by going through the whole folder, of which everything could be seen".to_owned()
            }
            FoundBy::Reconciliation => {
                "found by going through the folder, of which not everything could be seen".to_owned()
            }
            FoundBy::Events => "found by events".to_owned(),
        }];
        if judgement.same_folder {
            facts.push("it was the folder that had been synced".to_owned());
        }
        for absence in Absence::ALL {
            let files: u64 = block
                .iter()
                .filter(|directory| directory.seen.as_deref() == Some(absence.as_str()))
                .map(|directory| directory.count)
                .sum();
            if files > 0 {
                facts.push(format!("looked at once more, {files} were {}", absence.describe()));
            }
        }
        let _ = writeln!(text, "    {}", facts.join("; "));
    }

    fn write_footing(&self, text: &mut String, directories: &[InDirectory]) {
        let waiting = directories.iter().filter(|directory| directory.decision.is_none());
        if let Some(since) = waiting.map(|directory| directory.since).min() {
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

fn write_directories(text: &mut String, block: &[&InDirectory]) {
    let amounts = block
        .iter()
        .map(|directory| (directory.directory.as_str(), Amount { files: directory.count, bytes: directory.bytes }));
    for group in group(amounts, DIRECTORIES) {
        let directory = if group.directory.is_empty() { "/" } else { &group.directory };
        let direct = if group.direct { ", directly in it" } else { "" };
        let (files, bytes) = (group.amount.files, summary::bytes(group.amount.bytes));
        let _ = writeln!(text, "    {} {files} files{direct} ({bytes})", Printable(directory));
    }
}

fn amount<'a>(directories: impl Iterator<Item = &'a InDirectory>) -> Amount {
    directories.fold(Amount { files: 0, bytes: 0 }, |sum, directory| Amount {
        files: sum.files + directory.count,
        bytes: sum.bytes + directory.bytes,
    })
}

/// For machines.
fn moment(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// For people.
fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn day(time: SystemTime) -> String {
    rfc3339(time).chars().take(10).collect()
}
