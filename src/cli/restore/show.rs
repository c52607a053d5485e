//! What a restore has done, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::origin::Origin;
use crate::catalog::CatalogError;
use crate::cli::{Exit, RestoreArgs, output, summary};
use crate::config::settings::FolderSettings;
use crate::model::Printable;
use crate::remote::Operation;
use crate::restore::{RestoreError, Step, Tally};
use crate::sync::act::chain;
use crate::sync::report::Summary;

/// A restore that has ended.
pub(super) struct End<'a> {
    pub(super) folder: &'a FolderSettings,
    pub(super) args: &'a RestoreArgs,
    pub(super) origin: &'a Origin,
    pub(super) tally: &'a Tally,
    pub(super) result: &'a Result<(), RestoreError>,
    pub(super) interrupted: bool,
    /// Steps that a dry run has shown.
    pub(super) planned: Option<u64>,
    /// Why the history has not everything.
    pub(super) history_lost: Option<CatalogError>,
    pub(super) requests: BTreeMap<Operation, u64>,
    pub(super) took: Duration,
}

impl End<'_> {
    pub(super) fn exit(&self) -> Exit {
        if self.interrupted {
            return Exit::Interrupted;
        }
        let well = self.result.is_ok() && self.tally.report.summary().failures.count == 0;
        if well && !self.found_nothing() && self.beyond_history().is_none() { Exit::Done } else { Exit::Trouble }
    }

    /// What was asked for does not exist.
    fn found_nothing(&self) -> bool {
        let counts = self.tally.counts();
        let all = counts.restored + counts.present + counts.adjusted + counts.markers + self.planned.unwrap_or(0);
        self.args.path.is_some()
            && self.result.is_ok()
            && !self.interrupted
            && all == 0
            && self.tally.report.summary().failures.count == 0
    }

    /// Since when there is a history, if the time that was asked for lies before it.
    fn beyond_history(&self) -> Option<SystemTime> {
        match self.origin {
            Origin::Past(_, at, reach) if *at < reach.since => Some(reach.since),
            Origin::Past(..) | Origin::Rows(_) | Origin::Bucket { .. } => None,
        }
    }
}

/// Prints the summary. In a dry run for machines, standard output has the steps, and what hindered it is said aside.
pub(super) fn print(end: &End<'_>) -> Result<(), output::OutputError> {
    match (end.args.json, end.planned) {
        (true, None) => output::print(format_args!("{}\n", to_json(end))),
        (true, Some(_)) => {
            let _ = io::stderr().write_all(to_text(end).as_bytes());
            Ok(())
        }
        (false, _) => output::print(format_args!("{}", to_text(end))),
    }
}

fn to_text(end: &End<'_>) -> String {
    let (counts, summary) = (end.tally.counts(), end.tally.report.summary());
    let (name, to) = (Printable(&end.folder.name), end.args.to.to_string_lossy());
    let mut text = String::new();
    let state = match (end.result, end.planned) {
        (Err(_), _) => "NOT restored as a whole",
        (Ok(()), _) if end.interrupted => "interrupted; the next restore goes on from here",
        (Ok(()), _) if end.found_nothing() || end.beyond_history().is_some() => "NOT restored as a whole",
        (Ok(()), Some(_)) => "nothing was changed",
        (Ok(()), None) if summary.failures.count == 0 => "restored",
        (Ok(()), None) => "NOT restored as a whole",
    };
    let _ = writeln!(text, "{name} to {}: {state}", Printable(&to));
    let mut done = match end.planned {
        Some(planned) => vec![format!("{planned} to be done")],
        None => vec![format!("{} restored ({} fetched)", counts.restored, summary::bytes(summary.bytes_sent))],
    };
    done.push(format!("{} already there", counts.present));
    for (count, what) in [
        (counts.adjusted, "with only mode or time set right"),
        (counts.unchecked, "without an MD5 to check (only their size)"),
        (counts.stripped, "without their set-user-id, set-group-id or sticky bits"),
        (counts.markers, "markers of directories passed over"),
    ] {
        if count > 0 {
            done.push(format!("{count} {what}"));
        }
    }
    let _ = writeln!(text, "  {}", done.join(", "));
    write_origin(&mut text, end);
    if end.found_nothing() {
        let sub = end.args.path.as_ref().map(|sub| sub.to_string_lossy().into_owned()).unwrap_or_default();
        let _ = writeln!(text, "  FAILED: there is nothing at {} or below it", Printable(&sub));
    }
    summary::write_paths(&mut text, "FAILED", &summary.failures, |(path, why)| format!("{path}: {why}"));
    if let Some(error) = &end.history_lost {
        let _ = writeln!(text, "  the history does not tell of it: failed to {}", chain(error));
    }
    let _ = writeln!(text, "{}", summary::requests_line(&end.requests, end.took));
    text
}

fn write_origin(text: &mut String, end: &End<'_>) {
    match end.origin {
        Origin::Rows(_) => {}
        Origin::Past(_, at, reach) => {
            let (at, since) = (rfc3339(*at), rfc3339(reach.since));
            let _ = writeln!(text, "  as of {at}; the history reaches back to {since}");
            if end.beyond_history().is_some() {
                text.push_str("  FAILED: that is later: only files that have not changed since are known\n");
            } else if reach.dropped {
                text.push_str(
                    "  a file that was last changed before it and again after the time asked for may be missing\n",
                );
            }
        }
        Origin::Bucket { why, .. } => {
            let _ = writeln!(text, "  from the bucket's listing and the objects' own metadata: {}", Printable(why));
        }
    }
}

fn to_json(end: &End<'_>) -> serde_json::Value {
    let (counts, summary) = (end.tally.counts(), end.tally.report.summary());
    let (source, why, at, since) = match end.origin {
        Origin::Rows(_) => ("catalog", None, None, None),
        Origin::Past(_, at, reach) => ("history", None, Some(rfc3339(*at)), Some(rfc3339(reach.since))),
        Origin::Bucket { why, .. } => ("bucket", Some(why), None, None),
    };
    let requests: BTreeMap<&str, u64> = end.requests.iter().map(|(op, count)| (op.as_str(), *count)).collect();
    serde_json::json!({
        "folder": end.folder.name,
        "to": end.args.to.to_string_lossy(),
        "path": end.args.path.as_ref().map(|path| path.to_string_lossy()),
        "source": source,
        "source_reason": why,
        "at": at,
        "history_since": since,
        "restored": counts.restored,
        "bytes_fetched": summary.bytes_sent,
        "present": counts.present,
        "adjusted": counts.adjusted,
        "unchecked": counts.unchecked,
        "stripped": counts.stripped,
        "directory_markers": counts.markers,
        "failed": summary.failures.count,
        "failures": failures(&summary),
        "complete": end.exit() == Exit::Done,
        "interrupted": end.interrupted,
        "error": end.result.as_ref().err().map(|error| chain(error)),
        "history_error": end.history_lost.as_ref().map(|error| chain(error)),
        "s3_requests": requests,
    })
}

fn failures(summary: &Summary) -> Vec<serde_json::Value> {
    let failure = |(path, why): &(String, String)| serde_json::json!({ "path": path, "error": why });
    summary.failures.first.iter().map(failure).collect()
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The printed plan.
pub(super) struct Plan {
    out: Mutex<BufWriter<io::Stdout>>,
    json: bool,
    shown: AtomicU64,
    /// Set when nobody reads any more.
    cancel: CancellationToken,
}

impl Plan {
    pub(super) fn new(json: bool, cancel: CancellationToken) -> Arc<Self> {
        Arc::new(Self { out: Mutex::new(BufWriter::new(io::stdout())), json, shown: AtomicU64::new(0), cancel })
    }

    pub(super) fn show(&self, step: &Step) {
        let line = if self.json {
            serde_json::to_string(step).unwrap_or_default()
        } else {
            let size = step.size.map(|size| format!(" ({})", summary::bytes(size))).unwrap_or_default();
            format!("{:8} {}{size}: {}", step.action, Printable(&step.path), step.reason)
        };
        self.shown.fetch_add(1, Ordering::Relaxed);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if writeln!(out, "{line}").is_err() {
            self.cancel.cancel();
        }
    }

    /// How many steps it has.
    pub(super) fn finish(&self) -> Result<u64, output::OutputError> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).flush()?;
        Ok(self.shown.load(Ordering::Relaxed))
    }
}
