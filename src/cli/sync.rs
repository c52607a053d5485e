//! `agent-portail sync`: one reconciliation of every folder, or what it would do.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::summary::{self, Outcome};
use super::{Exit, SyncArgs, UsageError, output, progress, signals};
use crate::agent::{Passes, Task};
use crate::config::require_folders;
use crate::config::settings::{FolderSettings, Settings};
use crate::model::Printable;
use crate::sync::pipeline::PlannedStep;

/// Syncs the folders once and prints a summary; with `--dry-run`, prints the plan instead.
///
/// # Errors
/// If nothing could be started. What fails in a folder is part of the summary.
pub async fn run(settings: &Settings, args: SyncArgs) -> anyhow::Result<Exit> {
    let folders = select(settings, &args.folders)?;
    let cancel = CancellationToken::new();
    let signals = signals::listen(&cancel)?;
    let passes = tokio::select! {
        passes = Passes::prepare(settings, &folders, args.dry_run) => passes?,
        () = cancel.cancelled() => return Ok(Exit::Interrupted),
    };
    let began = Instant::now();
    let plan = args.dry_run.then(|| Plan::new(args.json, cancel.clone()));
    let task = match &plan {
        Some(plan) => {
            let plan = Arc::clone(plan);
            Task::Plan(Arc::new(move |step| plan.show(&step)))
        }
        None => Task::Sync { wait: args.wait },
    };
    let bars = progress::start(&passes.watched(), io::stderr().is_terminal() && !args.dry_run);
    let ends = passes.run(task, &cancel).await;
    bars.finish().await;
    signals.abort();
    let outcomes: Vec<Outcome> =
        passes.watched().into_iter().zip(ends).map(|(watched, end)| Outcome::new(&watched, end)).collect();
    match plan {
        Some(plan) => plan.finish(&outcomes)?,
        None if args.json => output::print(format_args!("{}\n", summary::to_json(&outcomes, &passes.requests())))?,
        None => output::print(format_args!("{}", summary::to_text(&outcomes, &passes.requests(), began.elapsed())))?,
    }
    if outcomes.iter().any(Outcome::is_interrupted) {
        return Ok(Exit::Interrupted);
    }
    let well = |outcome: &Outcome| if args.dry_run { outcome.is_planned() } else { outcome.is_in_sync() };
    Ok(if outcomes.iter().all(well) { Exit::Done } else { Exit::Trouble })
}

/// The folders that the command names, or all.
///
/// # Errors
/// If a name is not configured, or no folder is.
pub fn select(settings: &Settings, names: &[String]) -> anyhow::Result<Vec<FolderSettings>> {
    require_folders(settings)?;
    if names.is_empty() {
        return Ok(settings.folders.clone());
    }
    let mut chosen: Vec<FolderSettings> = Vec::new();
    for name in names {
        let folder = settings.folders.iter().find(|folder| folder.name == *name).ok_or_else(|| {
            let known: Vec<&str> = settings.folders.iter().map(|folder| folder.name.as_str()).collect();
            UsageError(format!("find the folder `{}`: the configuration has {}", Printable(name), known.join(", ")))
        })?;
        if chosen.iter().all(|other| other.name != folder.name) {
            chosen.push(folder.clone());
        }
    }
    Ok(chosen)
}

/// The printed plan.
struct Plan {
    out: Mutex<BufWriter<io::Stdout>>,
    json: bool,
    /// Set when nobody reads any more.
    cancel: CancellationToken,
}

impl Plan {
    fn new(json: bool, cancel: CancellationToken) -> Arc<Self> {
        Arc::new(Self { out: Mutex::new(BufWriter::new(io::stdout())), json, cancel })
    }

    fn show(&self, step: &PlannedStep) {
        let line = if self.json {
            serde_json::to_string(step).unwrap_or_default()
        } else {
            let size = step.size.map(|size| format!(" ({})", summary::bytes(size))).unwrap_or_default();
            format!("{:8} {}:{}{size}: {}", step.action, step.folder, Printable(&step.path), Printable(&step.reason))
        };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if writeln!(out, "{line}").is_err() {
            self.cancel.cancel();
        }
    }

    fn finish(&self, outcomes: &[Outcome]) -> anyhow::Result<()> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).flush().map_err(output::OutputError::from)?;
        // Machines read steps on standard output; what hindered the plan is said aside.
        let text = summary::plan_text(outcomes);
        if self.json {
            let _ = io::stderr().write_all(text.as_bytes());
        } else {
            output::print(format_args!("{text}"))?;
        }
        Ok(())
    }
}
