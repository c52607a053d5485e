//! `agent-portail restore`: brings files back from the bucket.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Exit, UsageError, progress, signals};
use crate::agent::{Connected, LOCK_PATIENCE, Watched};
use crate::catalog::lock::WriterLock;
use crate::catalog::restorable;
use crate::config::settings::{FolderSettings, Settings};
use crate::local::target::Target;
use crate::model::{Printable, RelPath};
use crate::restore::source::{self, Place};
use crate::restore::{Restore, RestoreError, Show, Tally, history, run as bring_back};
use crate::sync::pass;

mod origin;
mod show;
pub mod time;

use origin::Origin;
use show::{End, Plan};

/// Of `restore`.
#[derive(Args, Clone, Debug)]
pub struct RestoreArgs {
    /// The folder, as it is configured; its own path need not be there
    #[arg(long, value_name = "NAME")]
    pub folder: String,
    /// Where to; made if it is missing
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Only this path of the folder and what is below it
    #[arg(long, value_name = "SUB")]
    pub path: Option<OsString>,
    /// As it was at this time, from the object versions that the history has: RFC 3339, `2026-11-24 10:00` (UTC), or `2h` for two
    /// hours ago
    #[arg(long, value_name = "TIME", value_parser = time::parse, conflicts_with = "from_bucket")]
    pub at: Option<SystemTime>,
    /// Replace files that differ, and links; files that look the same are read and compared
    #[arg(long)]
    pub force: bool,
    /// Take what the bucket lists, whatever the catalog knows
    #[arg(long)]
    pub from_bucket: bool,
    /// Print what would be done, one line a file, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Brings files back and prints a summary; with `--dry-run`, prints what it would do instead.
///
/// # Errors
/// If nothing could be started. What fails of a file is part of the summary.
pub async fn run(settings: &Settings, args: RestoreArgs) -> anyhow::Result<Exit> {
    let folder = super::sync::select(settings, std::slice::from_ref(&args.folder))?.remove(0);
    let place = Place { prefix: folder.prefix.clone(), sub: sub(&args)? };
    let began = Instant::now();
    let cancel = CancellationToken::new();
    let _signals = signals::listen(&cancel)?;
    let connected = Connected::open(settings, 0).await?;
    let preparing = async {
        let origin = Origin::find(settings, &connected.catalog, &folder, &args).await?;
        let target = open(&args)?;
        let locks = match &target {
            Some(target) if args.force && !args.dry_run => lock(settings, &connected, target.path(), &cancel).await?,
            Some(_) | None => Some(Vec::new()),
        };
        Ok::<_, anyhow::Error>((origin, target, locks))
    };
    let (origin, target, locks) = tokio::select! {
        prepared = preparing => prepared?,
        () = cancel.cancelled() => return Ok(Exit::Interrupted),
    };
    let Some(locks) = locks else { return Ok(Exit::Interrupted) };

    let plan = args.dry_run.then(|| Plan::new(args.json, cancel.clone()));
    let tally = Arc::new(Tally::default());
    let (sender, recording) = match (origin.folder(), args.dry_run) {
        (Some(id), false) => {
            let directory = target.as_ref().map(|target| target.path().to_string_lossy().into_owned());
            let (sender, recording) = history::start(connected.catalog.clone(), id, directory.unwrap_or_default());
            (Some(sender), Some(recording))
        }
        (Some(_), true) | (None, _) => (None, None),
    };
    let restore = Arc::new(Restore {
        bucket: connected.client.bucket(&folder.bucket),
        throttle: connected.throttle(),
        target,
        force: args.force,
        plan: plan.as_ref().map(|plan| {
            let plan = Arc::clone(plan);
            Arc::new(move |step| plan.show(&step)) as Show
        }),
        tally: Arc::clone(&tally),
        counted: matches!(origin, Origin::Rows(_)),
        history: sender,
        cancel: cancel.clone(),
        has_fetched: false.into(),
        refused: 0.into(),
    });
    let found = match &origin {
        Origin::Rows(id) => {
            let (files, bytes) = restorable::extent(&connected.catalog, *id, place.sub.as_deref()).await?;
            tally.report.expect(files, bytes);
            source::catalog(connected.catalog.clone(), *id, None, place.clone())
        }
        Origin::Past(id, at, _) => source::catalog(connected.catalog.clone(), *id, Some(*at), place.clone()),
        Origin::Bucket { .. } => source::listing(restore.bucket.clone(), place.clone()),
    };
    let watched = Watched { folder: folder.clone(), report: Arc::clone(&tally.report) };
    let bars = progress::start(&[watched], io::stderr().is_terminal() && !args.dry_run);
    let result = guarded(&restore, &locks, bring_back(&restore, found)).await;
    bars.finish().await;
    drop(restore);
    let history = match recording {
        Some(recording) => recording.await.unwrap_or(Ok(())).err(),
        None => None,
    };
    let end = End {
        folder: &folder,
        args: &args,
        origin: &origin,
        tally: &tally,
        result: &result,
        interrupted: cancel.is_cancelled() && result.is_ok(),
        planned: plan.as_ref().map(|plan| plan.finish()).transpose()?,
        history_lost: history,
        requests: connected.client.requests(),
        took: began.elapsed(),
    };
    show::print(&end)?;
    let exit = end.exit();
    // The summary has said what was brought back; this says why it is not more.
    result?;
    Ok(exit)
}

/// Runs the restore until its end, or until a lock that it needs is lost.
async fn guarded(
    restore: &Restore,
    locks: &[(FolderSettings, WriterLock)],
    work: impl Future<Output = Result<(), RestoreError>>,
) -> Result<(), RestoreError> {
    let lost = async {
        if locks.is_empty() {
            return std::future::pending().await;
        }
        let lost = locks.iter().map(|(folder, lock)| {
            Box::pin(async {
                lock.lost().await;
                folder.name.clone()
            })
        });
        futures_util::future::select_all(lost).await.0
    };
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => result,
        folder = lost => {
            // Stop before anything else; what is under way is removed.
            restore.cancel.cancel();
            let _ = work.await;
            Err(RestoreError::LockLost { folder })
        }
    }
}

/// `--path` as the catalog has it.
fn sub(args: &RestoreArgs) -> anyhow::Result<Option<String>> {
    let Some(path) = &args.path else { return Ok(None) };
    let encoded = RelPath::from_raw(path.as_bytes());
    let sub = encoded.as_str().trim_matches('/');
    if sub.split('/').any(|part| matches!(part, "" | "." | "..")) && !sub.is_empty() {
        let shown = Printable(encoded.as_str()).to_string();
        return Err(
            UsageError(format!("use --path `{shown}`: give a path of the folder, without `.`, `..` and `//`")).into()
        );
    }
    Ok(Some(sub.to_owned()).filter(|sub| !sub.is_empty()))
}

/// The target; none in a dry run to a directory that is not there.
fn open(args: &RestoreArgs) -> anyhow::Result<Option<Arc<Target>>> {
    if !args.dry_run {
        return Ok(Some(Arc::new(Target::open(&args.to)?)));
    }
    if !args.to.exists() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Target::open_existing(&args.to)?)))
}

/// Takes the writer's locks of the synced folders that the target is, contains or lies in: what a restore replaces there must not be
/// half seen by a sync. None when interrupted.
async fn lock(
    settings: &Settings,
    connected: &Connected,
    target: &Path,
    cancel: &CancellationToken,
) -> anyhow::Result<Option<Vec<(FolderSettings, WriterLock)>>> {
    let mut locks = Vec::new();
    for folder in &settings.folders {
        let root = folder.path.canonicalize().unwrap_or_else(|_| folder.path.clone());
        if !target.starts_with(&root) && !root.starts_with(target) {
            continue;
        }
        let worlds = connected.worlds(settings, folder, Arc::default());
        match pass::take_lock(&worlds, Some(LOCK_PATIENCE), cancel).await? {
            Some(lock) => locks.push((folder.clone(), lock)),
            None => return Ok(None),
        }
    }
    Ok(Some(locks))
}
