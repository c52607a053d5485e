//! The state of the folders as text and as JSON.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::{FolderView, Overview};
use crate::catalog::folder::FolderOverview;
use crate::cli::summary;
use crate::model::Printable;
use crate::monitor::status::FolderStatus;
use crate::sync::act::chain;

/// For people. Where the catalog could not be read, nothing is said of what it would know.
pub(super) fn to_text(overview: &Overview, blind: bool) -> String {
    let mut text = String::new();
    for folder in &overview.folders {
        write_folder(&mut text, folder, blind);
    }
    for folder in &overview.former {
        let (name, bucket, prefix) = (Printable(&folder.name), Printable(&folder.bucket), Printable(&folder.prefix));
        let _ = writeln!(text, "{name}: not in the configuration (s3://{bucket}/{prefix}, {} files)", folder.files);
    }
    if text.is_empty() {
        text.push_str("no folder is configured\n");
    }
    let address = overview.daemon.address;
    match &overview.daemon.answer {
        Ok(status) if status.folders.is_empty() => {
            let _ = writeln!(text, "the daemon at {address} has started no folder yet: it waits for the database");
        }
        Ok(_) => {
            for folder in overview.folders.iter().filter(|folder| folder.live.is_none()) {
                let name = Printable(&folder.name);
                let _ =
                    writeln!(text, "the daemon at {address} does not run `{name}`: let it reload its configuration");
            }
        }
        Err(silence) => {
            let _ = writeln!(text, "{silence}; this is what the catalog says");
        }
    }
    text
}

fn write_folder(text: &mut String, folder: &FolderView, blind: bool) {
    let state = folder.state().unwrap_or(if blind { "not known" } else { "never synced" });
    let reason = folder.reason().map(|reason| format!(" ({})", Printable(reason))).unwrap_or_default();
    let _ = writeln!(text, "{}: {}{reason}", Printable(&folder.name), Printable(state));
    if folder.row.is_none() && folder.live.is_none() {
        return;
    }
    let (path, bucket, prefix) = (Printable(&folder.path), Printable(&folder.bucket), Printable(&folder.prefix));
    let _ = writeln!(text, "  {path} -> s3://{bucket}/{prefix}");
    if let Some(row) = &folder.row {
        let _ = writeln!(
            text,
            "  {} files, {}; {} pending, {} failed, {} kept, {} deletions held",
            row.files,
            summary::bytes(row.bytes),
            row.deleting,
            row.failed,
            row.kept,
            row.held
        );
    }
    let reconciled = match (&folder.row, &folder.live) {
        (Some(row), _) => row.last_reconciled_at.map(ago),
        (None, Some(live)) => live.last_reconciled_at.as_deref().map(|time| format!("{} ago", age(time))),
        (None, None) => None,
    };
    let _ = writeln!(text, "  last reconciliation: {}", reconciled.unwrap_or_else(|| "never".to_owned()));
    if let Some(live) = &folder.live {
        write_live(text, live, folder.row.is_none());
    }
}

fn write_live(text: &mut String, live: &FolderStatus, alone: bool) {
    let mut facts = vec![match live.queue_depth {
        0 => "nothing queued".to_owned(),
        depth => format!("{depth} queued, the oldest for {:.1} s", live.oldest_pending_seconds),
    }];
    facts.push(format!("{} directories watched", live.watches));
    if live.watch_overflows > 0 {
        facts.push(format!("events lost {} times", live.watch_overflows));
    }
    // Else the catalog has said it.
    if alone {
        facts.push(format!("{} failed, {} deletions held", live.failed, live.held_deletes));
    }
    let _ = writeln!(text, "  now: {}; {} for {}", facts.join(", "), Printable(&live.state), age(&live.since));
    if live.verified_files > 0 || live.last_verified_at.is_some() {
        let files = live.verified_files;
        let last = live.last_verified_at.as_deref().map(|time| format!("; the last round ended {} ago", age(time)));
        let _ = writeln!(text, "  {files} files verified in this round{}", last.unwrap_or_default());
    }
    if let Some(holder) = &live.standby {
        let _ = writeln!(text, "  it stands by for {}", Printable(holder));
    }
}

/// For machines. The keys are always there; what is not known is null.
pub(super) fn to_json(overview: &Overview, trouble: Option<&anyhow::Error>) -> serde_json::Value {
    let answer = &overview.daemon.answer;
    serde_json::json!({
        "folders": overview.folders.iter().map(folder_json).collect::<Vec<_>>(),
        "daemon": {
            "address": overview.daemon.address.to_string(),
            "answers": answer.is_ok(),
            "version": answer.as_ref().ok().map(|status| &status.version),
            "problem": answer.as_ref().err(),
        },
        "catalog_error": trouble.map(|error| chain(error.as_ref())),
    })
}

fn folder_json(folder: &FolderView) -> serde_json::Value {
    let row = folder.row.as_ref();
    let count = |count: fn(&FolderOverview) -> u64| row.map(count);
    let since = folder.live.as_ref().map(|live| live.since.clone()).or(row.map(|row| rfc3339(row.since)));
    serde_json::json!({
        "folder": folder.name,
        "path": folder.path,
        "bucket": folder.bucket,
        "prefix": folder.prefix,
        "state": folder.state(),
        "reason": folder.reason(),
        "since": since,
        "files": count(|row| row.files),
        "bytes": count(|row| row.bytes),
        "pending": count(|row| row.deleting),
        "failed": count(|row| row.failed),
        "kept": count(|row| row.kept),
        "held_deletes": count(|row| row.held),
        "last_reconciled_at": row.and_then(|row| row.last_reconciled_at).map(rfc3339),
        "live": folder.live,
    })
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn ago(time: SystemTime) -> String {
    format!("{} ago ({})", elapsed(time), rfc3339(time))
}

fn elapsed(time: SystemTime) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.elapsed().unwrap_or_default().as_secs()))
}

/// How long ago a time was, as the daemon writes it.
fn age(time: &str) -> String {
    humantime::parse_rfc3339(time).map_or_else(|_| "an unknown time".to_owned(), |time| elapsed(time).to_string())
}
