//! `agent-portail verify`: proves that folder, catalog and bucket hold the same, or says where they differ.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Exit, output, progress, signals, summary};
use crate::agent::{Passes, Watched};
use crate::config::settings::Settings;
use crate::model::Printable;
use crate::sync::act::chain;
use crate::sync::error::SyncError;
use crate::sync::verify::{Difference, Options, Remedy, Tell, Verified};

/// Of `verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// Only this folder; may be repeated
    #[arg(long = "folder", value_name = "NAME")]
    pub folders: Vec<String>,
    /// Fetch every object and compare its bytes, too
    #[arg(long)]
    pub download: bool,
    /// Upload again what is missing or damaged in the bucket, and record what the catalog misses, from files that are proven good
    #[arg(long)]
    pub repair: bool,
    /// Print JSON, one line a difference
    #[arg(long)]
    pub json: bool,
}

/// Compares the folders and prints one line a difference, and a summary.
///
/// # Errors
/// If nothing could be started. What fails in a folder is part of the summary.
pub async fn run(settings: &Settings, args: VerifyArgs) -> anyhow::Result<Exit> {
    let folders = super::sync::select(settings, &args.folders)?;
    let began = Instant::now();
    let cancel = CancellationToken::new();
    let _signals = signals::listen(&cancel)?;
    let passes = tokio::select! {
        passes = Passes::prepare(settings, &folders, !args.repair) => passes?,
        () = cancel.cancelled() => return Ok(Exit::Interrupted),
    };
    let lines =
        Arc::new(Lines { out: Mutex::new(BufWriter::new(io::stdout())), json: args.json, cancel: cancel.clone() });
    let shared = Arc::clone(&lines);
    let tell: Tell = Arc::new(move |difference| shared.print(&difference));
    let bars = progress::start(&passes.watched(), io::stderr().is_terminal());
    let options = Options { download: args.download, repair: args.repair, max_delay: settings.sync.max_delay };
    let ends = passes.verify(options, &tell, &cancel).await;
    bars.finish().await;
    lines.finish()?;
    let ends: Vec<(Watched, Result<Verified, SyncError>)> = passes.watched().into_iter().zip(ends).collect();
    if args.json {
        output::print(format_args!("{}\n", to_json(&ends, &passes)))?;
    } else {
        let requests = summary::requests_line(&passes.requests(), began.elapsed());
        output::print(format_args!("{}{requests}\n", to_text(&ends)))?;
    }
    let all = |holds: fn(&Verified) -> bool| ends.iter().all(|(_, end)| end.as_ref().is_ok_and(holds));
    Ok(if all(Verified::is_equal) {
        Exit::Done
    } else if ends.iter().any(|(_, end)| end.as_ref().is_ok_and(|end| end.interrupted)) {
        Exit::Interrupted
    } else {
        Exit::Trouble
    })
}

/// The printed differences.
struct Lines {
    out: Mutex<BufWriter<io::Stdout>>,
    json: bool,
    /// Set when nobody reads any more.
    cancel: CancellationToken,
}

impl Lines {
    fn print(&self, difference: &Difference) {
        let Difference { folder, path, kind, detail, remedy } = difference;
        let line = if self.json {
            let (path, kind, mending) = (path.as_str(), kind.as_str(), *remedy == Remedy::Mending);
            serde_json::json!({ "folder": folder, "path": path, "kind": kind, "detail": detail, "mending": mending })
                .to_string()
        } else {
            let (kind, remedy) = (kind.as_str(), in_words(difference));
            format!("{kind:14} {}:{path}: {}{remedy}", Printable(folder), Printable(detail))
        };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Each at once: a verification takes long, and somebody may be looking.
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            self.cancel.cancel();
        }
    }

    fn finish(&self) -> Result<(), output::OutputError> {
        Ok(self.out.lock().unwrap_or_else(PoisonError::into_inner).flush()?)
    }
}

/// What to do about it, where that is not plain.
fn in_words(difference: &Difference) -> String {
    match difference.remedy {
        Remedy::Mending => "; being mended".to_owned(),
        Remedy::Sync | Remedy::Access => String::new(),
        Remedy::Repair => "; `verify --repair` uploads the file again".to_owned(),
        Remedy::Decide => format!(
            "; bring the object back with `restore --force --folder {} --path {}` while no agent runs, or `touch` the file to keep \
             what it holds",
            Printable(&difference.folder),
            difference.path
        ),
        Remedy::NoGoodCopy => {
            "; neither file nor object is what was synced: look for an earlier version or a backup, or `touch` the file to \
             keep what it holds"
                .to_owned()
        }
    }
}

fn to_text(ends: &[(Watched, Result<Verified, SyncError>)]) -> String {
    let mut text = String::new();
    for (watched, end) in ends {
        let name = Printable(&watched.folder.name);
        let verified = match end {
            Ok(verified) => verified,
            Err(error) => {
                let _ = writeln!(text, "{name}: FAILED: {}", chain(error));
                continue;
            }
        };
        let state = match verified {
            verified if verified.interrupted => "interrupted",
            verified if verified.is_equal() && verified.mended > 0 => {
                "mended: folder, catalog and bucket are equal now"
            }
            verified if verified.is_equal() => "folder, catalog and bucket are equal",
            _ => "folder, catalog and bucket DIFFER",
        };
        let _ = writeln!(text, "{name}: {state}");
        let mut facts = vec![
            format!("{} checked", verified.checked),
            format!("{} files read ({})", verified.files, summary::bytes(verified.bytes)),
        ];
        for (count, what) in [
            (verified.objects, "objects fetched"),
            (verified.foreign, "objects that are not ours (kept)"),
            (verified.skipped, "entries skipped"),
            (verified.unseen, "paths below directories that can't be read"),
            (verified.restless, "paths not verified, since they changed each time they were looked at"),
            (verified.mended, "mended"),
        ] {
            if count > 0 {
                facts.push(format!("{count} {what}"));
            }
        }
        let _ = writeln!(text, "  {}", facts.join(", "));
        if !verified.differences.is_empty() {
            let kinds: Vec<String> =
                verified.differences.iter().map(|(kind, count)| format!("{count} {}", kind.as_str())).collect();
            let _ = writeln!(text, "  {} paths differ: {}", verified.differing, kinds.join(", "));
        }
    }
    text
}

fn to_json(ends: &[(Watched, Result<Verified, SyncError>)], passes: &Passes) -> serde_json::Value {
    let folders: Vec<serde_json::Value> = ends
        .iter()
        .map(|(watched, end)| {
            let folder = &watched.folder.name;
            let verified = match end {
                Ok(verified) => verified,
                Err(error) => return serde_json::json!({ "folder": folder, "equal": false, "error": chain(error) }),
            };
            let differences: serde_json::Map<String, serde_json::Value> =
                verified.differences.iter().map(|(kind, count)| (kind.as_str().to_owned(), (*count).into())).collect();
            serde_json::json!({
                "folder": folder,
                "equal": verified.is_equal(),
                "interrupted": verified.interrupted,
                "error": null,
                "checked": verified.checked,
                "files": verified.files,
                "bytes": verified.bytes,
                "objects_fetched": verified.objects,
                "foreign": verified.foreign,
                "skipped": verified.skipped,
                "unseen": verified.unseen,
                "restless": verified.restless,
                "differing": verified.differing,
                "differences": differences,
                "mended": verified.mended,
            })
        })
        .collect();
    let requests = passes.requests();
    let requests: std::collections::BTreeMap<&str, u64> =
        requests.iter().map(|(operation, count)| (operation.as_str(), *count)).collect();
    serde_json::json!({ "folders": folders, "s3_requests": requests })
}
