//! What a pass has done, in words and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::agent::Watched;
use crate::catalog::verification;
use crate::config::settings::FolderSettings;
use crate::model::Printable;
use crate::remote::Operation;
use crate::sync::act::chain;
use crate::sync::deletes::Verdict;
use crate::sync::error::SyncError;
use crate::sync::pass::PassEnd;
use crate::sync::report::{Counted, Summary};

/// Paths that are named for each kind of trouble; the rest is counted.
const NAMED: usize = 10;

/// One folder's pass, ended.
pub struct Outcome {
    folder: FolderSettings,
    summary: Summary,
    end: Result<PassEnd, SyncError>,
}

impl Outcome {
    /// Of a folder whose pass has ended so.
    pub fn new(watched: &Watched, end: Result<PassEnd, SyncError>) -> Self {
        Self { folder: watched.folder.clone(), summary: watched.report.summary(), end }
    }

    /// Whether it was stopped before its end.
    pub fn is_interrupted(&self) -> bool {
        self.end.as_ref().is_ok_and(|end| end.interrupted)
    }

    /// Whether folder, bucket and catalog agree now. Foreign objects and skipped entries don't count against it.
    pub fn is_in_sync(&self) -> bool {
        self.summary.failures.count == 0
            && self.end.as_ref().is_ok_and(|end| {
                end.held == 0 && end.damaged == 0 && end.doubts.is_empty() && end.verdict == Some(Verdict::Drained)
            })
    }

    /// Whether a plan could be made.
    pub fn is_planned(&self) -> bool {
        self.end.is_ok()
    }

    fn name(&self) -> &str {
        &self.folder.name
    }
}

/// For people.
pub fn to_text(outcomes: &[Outcome], requests: &BTreeMap<Operation, u64>, took: Duration) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        write_folder(&mut text, outcome);
    }
    let _ = writeln!(text, "{}", requests_line(requests, took));
    text
}

/// The last line of a summary.
pub fn requests_line(requests: &BTreeMap<Operation, u64>, took: Duration) -> String {
    let requests: Vec<String> = requests
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(op, count)| format!("{count} {}", op.as_str()))
        .collect();
    let requests = if requests.is_empty() { "none".to_owned() } else { requests.join(", ") };
    format!("S3 requests: {requests}; {:.1} s", took.as_secs_f64())
}

fn write_folder(text: &mut String, outcome: &Outcome) {
    let (name, summary) = (Printable(outcome.name()), &outcome.summary);
    let state = match &outcome.end {
        Err(error) => format!("FAILED: {}", chain(error)),
        Ok(end) if end.interrupted => "interrupted; the next pass goes on from here".to_owned(),
        Ok(_) if outcome.is_in_sync() => "in sync".to_owned(),
        Ok(_) => "NOT in sync".to_owned(),
    };
    let _ = writeln!(text, "{name}: {state}");
    let mut done: Vec<String> = vec![format!("{} checked", summary.checked)];
    done.extend(summary.done.iter().map(|(kind, count)| match *kind {
        "uploaded" => format!("{count} uploaded ({} sent)", bytes(summary.bytes_sent)),
        other => format!("{count} {other}"),
    }));
    for (count, what) in [
        (summary.dropped, "rows dropped (their objects stay)"),
        (summary.drift.values().sum(), "objects repaired that somebody else had changed"),
        (summary.empty_directories, "empty folders (S3 has none)"),
    ] {
        if count > 0 {
            done.push(format!("{count} {what}"));
        }
    }
    let _ = writeln!(text, "  {}", done.join(", "));
    for (reason, paths) in &summary.skipped {
        write_paths(text, &format!("skipped, {}", reason.describe()), paths, String::clone);
    }
    write_paths(text, "objects that are not ours (kept)", &summary.foreign, String::clone);
    write_paths(text, "FAILED", &summary.failures, |(path, why)| format!("{path}: {why}"));
    if let Ok(end) = &outcome.end {
        write_doubts(text, end);
        if end.damaged > 0 {
            let _ = writeln!(text, "  DAMAGED: {}", verification::damage(end.damaged));
        }
        match &end.verdict {
            Some(Verdict::Postponed { reason }) => {
                let _ = writeln!(text, "  deletions postponed: {}", Printable(reason));
            }
            Some(Verdict::Held { reason, doubtful_folder }) => {
                write_held(text, outcome, end, Some(reason), *doubtful_folder)
            }
            Some(Verdict::Drained | Verdict::Early) | None if end.held > 0 => {
                write_held(text, outcome, end, None, false)
            }
            Some(Verdict::Drained | Verdict::Early) | None => {}
        }
    }
}

fn write_doubts(text: &mut String, end: &PassEnd) {
    for doubt in &end.doubts {
        let _ = writeln!(text, "  IN DOUBT: {}; nothing below it is deleted until then", Printable(doubt));
    }
}

fn write_held(text: &mut String, outcome: &Outcome, end: &PassEnd, reason: Option<&String>, doubtful_folder: bool) {
    let reason = reason.map(|reason| format!(": {}", Printable(reason))).unwrap_or_default();
    let folder = Printable(outcome.name());
    let what = match end.held {
        0 => "what you have decided on waits for the folder".to_owned(),
        held => format!("{held} deletions wait for your decision"),
    };
    let _ = writeln!(text, "  HELD: {what}{reason}");
    let _ = writeln!(text, "    agent-portail deletes list --folder {folder}");
    if doubtful_folder {
        let _ = writeln!(
            text,
            "    agent-portail deletes approve --identity --folder {folder}    (if this is the right folder)"
        );
        return;
    }
    let _ = writeln!(text, "    agent-portail deletes approve --folder {folder}    (or reject, to keep the objects)");
}

/// A number of things under a title, the first of them by name.
pub fn write_paths<T>(text: &mut String, title: &str, paths: &Counted<T>, show: impl Fn(&T) -> String) {
    if paths.count == 0 {
        return;
    }
    let _ = writeln!(text, "  {title}: {}", paths.count);
    for path in paths.first.iter().take(NAMED) {
        let _ = writeln!(text, "    {}", Printable(&show(path)));
    }
    if paths.count > NAMED as u64 {
        let _ = writeln!(text, "    … and {} more", paths.count - NAMED as u64);
    }
}

/// What hindered a plan, and what it would hold; nothing if all is well and nothing is to do.
pub fn plan_text(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let name = Printable(outcome.name());
        match &outcome.end {
            Err(error) => {
                let _ = writeln!(text, "{name}: FAILED: {}", chain(error));
            }
            Ok(end) => {
                let _ = writeln!(text, "{name}: {} checked; nothing was changed", outcome.summary.checked);
                write_doubts(&mut text, end);
                if end.held > 0 {
                    let _ = writeln!(text, "  {} deletions would be held for your decision", end.held);
                }
                write_paths(&mut text, "FAILED", &outcome.summary.failures, |(path, why)| format!("{path}: {why}"));
            }
        }
    }
    text
}

/// For machines.
pub fn to_json(outcomes: &[Outcome], requests: &BTreeMap<Operation, u64>) -> String {
    let folders: Vec<serde_json::Value> = outcomes.iter().map(folder_json).collect();
    let requests: BTreeMap<&str, u64> = requests.iter().map(|(op, count)| (op.as_str(), *count)).collect();
    serde_json::json!({ "folders": folders, "s3_requests": requests }).to_string()
}

fn folder_json(outcome: &Outcome) -> serde_json::Value {
    let summary = &outcome.summary;
    let failures: Vec<_> =
        summary.failures.first.iter().map(|(path, why)| serde_json::json!({ "path": path, "error": why })).collect();
    let skipped: BTreeMap<&str, u64> =
        summary.skipped.iter().map(|(reason, paths)| (reason.describe(), paths.count)).collect();
    let (held, reason) = match &outcome.end {
        Ok(end) => match &end.verdict {
            Some(Verdict::Held { reason, .. } | Verdict::Postponed { reason }) => (end.held, Some(reason.clone())),
            Some(Verdict::Drained | Verdict::Early) | None => (end.held, None),
        },
        Err(error) => (0, Some(chain(error))),
    };
    serde_json::json!({
        "folder": outcome.name(),
        "in_sync": outcome.is_in_sync(),
        "interrupted": outcome.is_interrupted(),
        "reason": reason,
        "checked": summary.checked,
        "done": summary.done,
        "bytes_sent": summary.bytes_sent,
        "rows_dropped": summary.dropped,
        "drift": summary.drift.values().sum::<u64>(),
        "empty_folders": summary.empty_directories,
        "foreign": summary.foreign.count,
        "skipped": skipped,
        "held": held,
        "in_doubt": outcome.end.as_ref().map(|end| end.doubts.clone()).unwrap_or_default(),
        "damaged": outcome.end.as_ref().map_or(0, |end| end.damaged),
        "failed": summary.failures.count,
        "failures": failures,
    })
}

/// As people read sizes.
pub fn bytes(size: u64) -> String {
    bytesize::ByteSize(size).display().iec().to_string()
}
