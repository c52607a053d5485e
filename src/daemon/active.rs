//! A folder while it holds the writer's lock: workers, reconciliations, deletions, outages, decisions, side by side.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::catalog;
use crate::catalog::folder::FolderRecord;
use crate::catalog::lock::WriterLock;
use crate::config::settings::SyncSettings;
use crate::daemon::live::Live;
use crate::daemon::reap::{self, Hour, Reaper};
use crate::local::identity;
use crate::local::look::Root;
use crate::local::watch::Watch;
use crate::model::{FolderId, FolderState, Identity};
use crate::sync::deletes::{self, IdentityCheck, Verdict};
use crate::sync::error::SyncError;
use crate::sync::gate::Gate;
use crate::sync::pass::Worlds;
use crate::sync::pipeline::{Endurance, Mode, Pipeline, WatchDirectory};
use crate::sync::reconcile::{Extent, reconcile};
use crate::sync::record::Recorder;
use crate::sync::worker;

/// Where watches are short, what they don't see is gone through this often.
const SHORT_OF_WATCHES: Duration = Duration::from_secs(60);
/// Decisions are announced; this is for those whose announcement was lost.
const DECISIONS: Duration = Duration::from_secs(10);
/// How often the state is compared with what the catalog says of it.
const PUBLISH: Duration = Duration::from_millis(500);
/// During an outage, the first look whether it is over comes after this, the following ones a bit later each.
const PROBE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// How long a pass waits for the queue before it judges its deletions: renames find their sources meanwhile.
const QUIET: Duration = Duration::from_secs(30);

/// Why a reconciliation is wanted.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Something has changed, nobody knows what.
    pub wanted: Arc<Notify>,
    /// What for; the last wish counts.
    pub cause: std::sync::Mutex<Option<&'static str>>,
}

impl Wishes {
    /// Wishes for one.
    pub fn wish(&self, cause: &'static str) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
        self.wanted.notify_one();
    }

    fn take(&self) -> Option<&'static str> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What an active folder works with.
pub struct Activity {
    /// Bucket, catalog and bounds.
    pub worlds: Worlds,
    /// `[sync]`.
    pub sync: SyncSettings,
    /// The open root, and its identity when it was opened.
    pub root: Arc<Root>,
    /// See `root`.
    pub seen: Identity,
    /// Its watches.
    pub watch: Arc<Watch>,
    /// Polls instead of watching: the file system tells of nothing.
    pub polls: Option<Duration>,
    /// What is seen from outside.
    pub live: Arc<Live>,
    /// Reconciliations that are wanted.
    pub wishes: Arc<Wishes>,
}

/// Runs until `cancel`, or until the lock is lost, which cancels everything first.
///
/// # Errors
/// If the folder can't be claimed, or a task has failed for good.
pub async fn run(activity: Activity, lock: WriterLock, cancel: CancellationToken) -> Result<(), SyncError> {
    let worlds = &activity.worlds;
    let record = worlds.claim().await?;
    // What an earlier life has spooled was not judged, and is found again.
    catalog::folder::begin_pass(&worlds.catalog, record.id).await?;
    let cancel = cancel.child_token();
    let (recorder, recording) = Recorder::start(worlds.catalog.clone(), record.id);
    let (absent, found_absent) = mpsc::channel(1000);
    let gate = Arc::new(Gate::default());
    let pipeline = pipeline(&activity, record.id, recorder, absent, Arc::clone(&gate), cancel.clone());
    let reaper =
        Arc::new(Reaper { judging: Mutex::new(Hour::default()), identity: std::sync::Mutex::new(record.identity) });
    let shared = Arc::new(Shared { pipeline, record, reaper, activity, gate });

    let mut tasks: JoinSet<Result<(), SyncError>> = JoinSet::new();
    let pipeline = Arc::clone(&shared.pipeline);
    tasks.spawn(async move { worker::work(&pipeline).await });
    let (pipeline, reaper) = (Arc::clone(&shared.pipeline), Arc::clone(&shared.reaper));
    tasks.spawn(reap::reap(pipeline, record.id, reaper, found_absent));
    tasks.spawn(reconciliations(Arc::clone(&shared)));
    tasks.spawn(outages(Arc::clone(&shared)));
    tasks.spawn(publish(Arc::clone(&shared)));
    let lock = Arc::new(lock);
    tasks.spawn(decisions(Arc::clone(&shared), Arc::clone(&lock)));

    let name = shared.activity.worlds.folder.name.clone();
    let mut result = tokio::select! {
        () = cancel.cancelled() => Ok(()),
        // Stop before anything else: somebody else may be writing.
        () = lock.lost() => Err(SyncError::LockLost { folder: name }),
        Some(ended) = tasks.join_next() => ended.unwrap_or(Err(SyncError::Task { task: "folder" })),
    };
    cancel.cancel();
    while let Some(ended) = tasks.join_next().await {
        result = result.and(ended.unwrap_or(Err(SyncError::Task { task: "folder" })));
    }
    drop(shared);
    // What S3 has acknowledged is written before the lock goes.
    let _ = recording.await;
    drop(lock);
    result
}

/// What the tasks of an active folder share.
struct Shared {
    pipeline: Arc<Pipeline>,
    record: FolderRecord,
    reaper: Arc<Reaper>,
    activity: Activity,
    gate: Arc<Gate>,
}

fn pipeline(
    activity: &Activity,
    id: FolderId,
    recorder: Recorder,
    absent: mpsc::Sender<crate::model::RelPath>,
    gate: Arc<Gate>,
    cancel: CancellationToken,
) -> Arc<Pipeline> {
    let worlds = &activity.worlds;
    let watch = Arc::clone(&activity.watch);
    let watches = activity.polls.is_none();
    let watch_directory: WatchDirectory = Arc::new(move |path, appeared| watch.directory(path, appeared));
    Arc::new(Pipeline {
        folder: worlds.folder.clone(),
        root: Arc::clone(&activity.root),
        bucket: worlds.bucket.clone(),
        catalog: worlds.catalog.clone(),
        id: Some(id),
        pass: 0,
        has_rows: true,
        bounds: worlds.bounds.clone(),
        feed: Arc::clone(&activity.live.feed),
        report: Arc::clone(&activity.live.report),
        mode: Mode::Act(recorder),
        has_stored: AtomicBool::new(false),
        refused: AtomicU32::new(0),
        cancel,
        watch_directory: watches.then_some(watch_directory),
        endurance: Some(Endurance { gate, absent, eager: activity.sync.debounce.is_zero() }),
    })
}

/// A full reconciliation at the start, at intervals, and whenever one is wanted.
async fn reconciliations(shared: Arc<Shared>) -> Result<(), SyncError> {
    let (pipeline, wishes) = (&shared.pipeline, &shared.activity.wishes);
    let mut cause = None;
    loop {
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = shared.gate.open() => {}
        }
        pipeline.report.reconciling_for(cause);
        if let Err(error) = pass(&shared).await
            && !pipeline.cancel.is_cancelled()
        {
            shared.gate.close(&pipeline.folder.name, &error);
            cause = Some("outage");
            continue;
        }
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(interval(&shared)) => cause = Some("missed_event"),
            () = wishes.wanted.notified() => cause = wishes.take().or(Some("missed_event")),
        }
    }
}

/// Until the next one, jittered by a quarter so that many agents don't list together.
fn interval(shared: &Shared) -> Duration {
    let activity = &shared.activity;
    let mut interval = activity.polls.unwrap_or(activity.sync.reconcile_every).min(activity.sync.reconcile_every);
    if activity.live.out_of_watches.load(Ordering::Relaxed) {
        interval = interval.min(SHORT_OF_WATCHES);
    }
    interval.mul_f64(rand::rng().random_range(0.75..=1.25))
}

async fn pass(shared: &Shared) -> Result<(), SyncError> {
    let (pipeline, live, id) = (&shared.pipeline, &shared.activity.live, shared.record.id);
    let catalog = &pipeline.catalog;
    live.begin_reconciliation();
    catalog::deletes::apply_rejections(catalog, id).await?;
    let number = catalog::folder::next_pass(catalog, id).await?;
    let synced = catalog::folder::synced_count(catalog, id).await?;
    let failures = pipeline.report.summary().failures.count;
    pipeline.feed.begin_reconciliation();
    let found = reconcile(pipeline, &Extent::Folder, number).await;
    pipeline.feed.end_reconciliation();
    let found = found?;
    live.watches.store(found.directories, Ordering::Relaxed);
    if !found.ended {
        return Ok(());
    }
    tokio::select! {
        _ = tokio::time::timeout(QUIET, pipeline.feed.quiet()) => {}
        () = shared.gate.closed() => return Ok(()),
        () = pipeline.cancel.cancelled() => return Ok(()),
    }
    let known = *shared.reaper.identity.lock().unwrap_or_else(PoisonError::into_inner);
    let check = IdentityCheck { known, seen: shared.activity.seen };
    let verdict = {
        // Events' deletions are judged before or after, never meanwhile.
        let _judging = shared.reaper.judging.lock().await;
        deletes::settle(pipeline, id, number, &found, &check, synced).await?
    };
    let worlds = &shared.activity.worlds;
    let record = catalog::folder::find(catalog, &worlds.endpoint, worlds.bucket.name(), &worlds.folder.prefix).await?;
    *shared.reaper.identity.lock().unwrap_or_else(PoisonError::into_inner) = record.and_then(|record| record.identity);
    if let Verdict::Postponed { reason } = &verdict {
        tracing::warn!(folder = %pipeline.folder.name, "deletions are postponed: {reason}");
        catalog::deletes::drop_spool(catalog, id, number).await?;
    }
    catalog::folder::finish_pass(catalog, id).await?;
    count_trouble(shared, id).await?;
    live.end_reconciliation();
    let failed = pipeline.report.summary().failures.count.saturating_sub(failures);
    crate::logging::success!(
        folder = %pipeline.folder.name,
        action = "reconciled",
        files = found.files,
        failed,
        "reconciled {}: {} files, {} deletions found", pipeline.folder.name, found.files, found.deletes
    );
    Ok(())
}

/// Waits for an outage, and then for its end.
async fn outages(shared: Arc<Shared>) -> Result<(), SyncError> {
    let pipeline = &shared.pipeline;
    loop {
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = shared.gate.closed() => {}
        }
        let mut pause = PROBE.0;
        loop {
            tokio::select! {
                () = pipeline.cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            if works(pipeline).await {
                break;
            }
            pause = (pause * 3 / 2).min(PROBE.1);
        }
        shared.gate.reopen(&pipeline.folder.name);
        pipeline.feed.wake_all();
        shared.activity.wishes.wish("outage");
    }
}

/// Whether catalog and bucket answer.
async fn works(pipeline: &Pipeline) -> bool {
    if let Err(error) = pipeline.catalog.writable().await {
        tracing::debug!(error = &error as &dyn std::error::Error, "the catalog is still away");
        return false;
    }
    match pipeline.bucket.list(&pipeline.folder.prefix, None).next_page().await {
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "the bucket is still away");
            false
        }
    }
}

/// Acts on what a person has decided about held deletions.
async fn decisions(shared: Arc<Shared>, lock: Arc<WriterLock>) -> Result<(), SyncError> {
    let (pipeline, id) = (&shared.pipeline, shared.record.id);
    loop {
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = lock.decided() => {}
            () = tokio::time::sleep(DECISIONS) => {}
        }
        if shared.gate.outage().is_some() {
            continue;
        }
        if let Err(error) = act_on_decisions(&shared, id).await
            && !pipeline.cancel.is_cancelled()
        {
            shared.gate.close(&pipeline.folder.name, &error);
        }
    }
}

async fn act_on_decisions(shared: &Shared, id: FolderId) -> Result<(), SyncError> {
    let pipeline = &shared.pipeline;
    count_trouble(shared, id).await?;
    if !catalog::deletes::has_decisions(&pipeline.catalog, id).await? {
        return Ok(());
    }
    catalog::deletes::apply_rejections(&pipeline.catalog, id).await?;
    let number = catalog::folder::next_pass(&pipeline.catalog, id).await?;
    if catalog::deletes::spool_approved(&pipeline.catalog, id, number).await? > 0 {
        reap::judge(pipeline, id, &shared.reaper, number).await?;
    }
    // An approved path whose file is back was not deleted: its approval is spent all the same.
    catalog::deletes::forget_approved(&pipeline.catalog, id).await?;
    count_trouble(shared, id).await
}

/// Deletions that are held and paths that failed, as the catalog has them.
async fn count_trouble(shared: &Shared, id: FolderId) -> Result<(), SyncError> {
    let live = &shared.activity.live;
    live.held.store(catalog::deletes::held_count(&shared.pipeline.catalog, id).await?, Ordering::Relaxed);
    live.failed.store(catalog::folder::failed_count(&shared.pipeline.catalog, id).await?, Ordering::Relaxed);
    Ok(())
}

/// Keeps the state that others see up to date, and watches the root.
async fn publish(shared: Arc<Shared>) -> Result<(), SyncError> {
    let (pipeline, live) = (&shared.pipeline, &shared.activity.live);
    let mut written: Option<(FolderState, Option<String>)> = None;
    loop {
        let root = shared.activity.worlds.folder.path.clone();
        if let Some(reason) = root_trouble(root, shared.activity.seen).await {
            live.set(FolderState::Suspended, Some(reason.clone()));
            write_state(&shared, FolderState::Suspended, Some(reason), &mut written).await;
            // The supervisor opens the folder anew, when it is there again.
            pipeline.cancel.cancel();
            return Ok(());
        }
        if live.rules_changed.swap(false, Ordering::Relaxed) {
            tracing::info!(folder = %pipeline.folder.name, "the exclude rules have changed; the folder is opened anew");
            pipeline.cancel.cancel();
            return Ok(());
        }
        let (state, reason) = state_of(&shared);
        live.set(state, reason.clone());
        if shared.gate.outage().is_none() {
            write_state(&shared, state, reason, &mut written).await;
        }
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(PUBLISH) => {}
        }
    }
}

async fn write_state(
    shared: &Shared,
    state: FolderState,
    reason: Option<String>,
    written: &mut Option<(FolderState, Option<String>)>,
) {
    let now = Some((state, reason));
    if *written == now {
        return;
    }
    let reason = now.as_ref().and_then(|(_, reason)| reason.as_deref());
    match catalog::folder::set_state(&shared.pipeline.catalog, shared.record.id, state, reason).await {
        Ok(()) => *written = now,
        // The next round tries again; whether the catalog is away is found out by those who need it.
        Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "failed to write the folder's state"),
    }
}

/// Why the root is not the folder that was opened any more.
async fn root_trouble(path: PathBuf, seen: Identity) -> Option<String> {
    let shown = path.display().to_string();
    match tokio::task::spawn_blocking(move || identity::read(&path)).await {
        Ok(Ok(now)) if now == seen => None,
        Ok(Ok(_)) => Some(format!("another folder has taken the place of {shown}")),
        Ok(Err(error)) => Some(format!("the folder {shown} is gone: {error}")),
        Err(_) => None,
    }
}

fn state_of(shared: &Shared) -> (FolderState, Option<String>) {
    let live = &shared.activity.live;
    if let Some(outage) = shared.gate.outage() {
        return (FolderState::Degraded, Some(outage.reason));
    }
    let mut reasons = Vec::new();
    if live.out_of_watches.load(Ordering::Relaxed) {
        reasons.push("the kernel allows no more watches: raise fs.inotify.max_user_watches".to_owned());
    }
    let held = live.held.load(Ordering::Relaxed);
    if held > 0 {
        reasons.push(format!("{held} deletions are held"));
    }
    let failed = live.failed.load(Ordering::Relaxed);
    if failed > 0 {
        reasons.push(format!("{failed} paths failed"));
    }
    if !reasons.is_empty() {
        return (FolderState::Degraded, Some(reasons.join(", ")));
    }
    if live.now().last_reconciled_at.is_none() || live.feed.depth() > 0 {
        return (FolderState::Syncing, None);
    }
    (FolderState::InSync, None)
}
