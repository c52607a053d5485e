//! A folder while it holds the writer's lock: workers, reconciliations, deletions, outages, decisions, side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::catalog;
use crate::catalog::folder::FolderRecord;
use crate::catalog::lock::WriterLock;
use crate::config::settings::SyncSettings;
use crate::daemon::count::count;
use crate::daemon::decisions::decisions;
use crate::daemon::live::Live;
use crate::daemon::outage::outages;
use crate::daemon::publish::publish;
use crate::daemon::reap::{self, Reaper};
use crate::daemon::reconciliations::reconciliations;
use crate::daemon::tasks::Tasks;
use crate::daemon::verification::verification;
use crate::daemon::wishes::Wishes;
use crate::local::look::Root;
use crate::local::watch::Watch;
use crate::model::{FolderId, FolderState, Identity, RelPath};
use crate::sync::error::SyncError;
use crate::sync::gate::Gate;
use crate::sync::pass::Worlds;
use crate::sync::pipeline::{Endurance, Mode, Pipeline, WatchDirectory};
use crate::sync::record::Recorder;
use crate::sync::unrecorded::Unrecorded;
use crate::sync::unseen::Unseen;
use crate::sync::worker;

/// A busy machine may bring an event this much later than the debouncer alone would.
const DELAYED: Duration = Duration::from_secs(1);

/// What an active folder works with.
pub struct Activity {
    /// Bucket, catalog and bounds.
    pub worlds: Worlds,
    /// `[sync]`.
    pub sync: SyncSettings,
    /// `agent.verify_every`.
    pub verify_every: Option<Duration>,
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
    let start = catalog::folder::begin_pass(&worlds.catalog, record.id).await?;
    activity.live.set_reconciled_at(catalog::folder::reconciled_at(&worlds.catalog, record.id).await?);
    // Before anything is looked at: what is absent below a mount that is not there must not be believed to be.
    activity.root.set_mounts(catalog::mount::known(&worlds.catalog, record.id).await?.mounts);
    let identity = if start.rows == 0 {
        // Before the first row: were it left to the end of the first reconciliation, deletions that events tell of meanwhile could
        // not be judged, and one that breaks off would leave rows that any folder could claim.
        catalog::folder::take_identity(&worlds.catalog, record.id, &activity.seen).await?;
        Some(activity.seen)
    } else {
        record.identity
    };
    // Nor was all finished that it had taken off the queue, which lives on.
    activity.live.feed.take_back();
    activity.live.in_doubt.store(false, Ordering::Relaxed);
    activity.live.set_doubts(Vec::new());
    activity.live.catching_up.store(true, Ordering::Relaxed);
    let cancel = cancel.child_token();
    let (recorder, mut recording) = Recorder::start(worlds.catalog.clone(), record.id);
    let (absent, found_absent) = mpsc::channel(1000);
    let gate = Arc::new(Gate::default());
    let pipeline = pipeline(&activity, record.id, recorder, absent, Arc::clone(&gate), cancel.clone());
    let reaper = Arc::new(Reaper {
        judging: Mutex::new(()),
        identity: std::sync::Mutex::new(identity),
        abandoned: std::sync::Mutex::default(),
    });
    let shared = Arc::new(Shared { pipeline, record, reaper, activity, gate, published: std::sync::Mutex::default() });

    let mut tasks = Tasks::default();
    let pipeline = Arc::clone(&shared.pipeline);
    tasks.spawn("work", async move { worker::work(&pipeline).await });
    let (pipeline, reaper) = (Arc::clone(&shared.pipeline), Arc::clone(&shared.reaper));
    tasks.spawn("reap", reap::reap(pipeline, record.id, reaper, found_absent));
    tasks.spawn("reconciliations", reconciliations(Arc::clone(&shared)));
    tasks.spawn("outages", outages(Arc::clone(&shared)));
    tasks.spawn("publish", publish(Arc::clone(&shared)));
    tasks.spawn("count", count(Arc::clone(&shared)));
    if let Some(every) = shared.activity.verify_every {
        tasks.spawn("verify", verification(Arc::clone(&shared), every));
    }
    let lock = Arc::new(lock);
    tasks.spawn("decisions", decisions(Arc::clone(&shared), Arc::clone(&lock)));

    let name = shared.activity.worlds.folder.name.clone();
    let mut result = tokio::select! {
        () = cancel.cancelled() => Ok(()),
        // Stop before anything else: somebody else may be writing.
        () = lock.lost() => Err(SyncError::LockLost { folder: name }),
        Some(ended) = tasks.next() => ended,
        // It lives as long as somebody may have something to record, or nothing would be recorded any more.
        _ = &mut recording => Err(SyncError::Task { task: "record" }),
    };
    cancel.cancel();
    while let Some(ended) = tasks.next().await {
        result = result.and(ended);
    }
    drop(shared);
    // What S3 has acknowledged is written before the lock goes.
    if !recording.is_finished() {
        result = result.and(recording.await.map_err(|_| SyncError::Task { task: "record" }));
    }
    drop(lock);
    result
}

/// What the tasks of an active folder share.
pub(super) struct Shared {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) record: FolderRecord,
    pub(super) reaper: Arc<Reaper>,
    pub(super) activity: Activity,
    pub(super) gate: Arc<Gate>,
    pub(super) published: std::sync::Mutex<Published>,
}

/// The state that the catalog has been told.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// The last one; none if it is to be told again.
    pub(super) state: Option<(FolderState, Option<String>)>,
    /// Counts what was written past it: what was under way meanwhile may have come before or after.
    pub(super) epoch: u64,
}

fn pipeline(
    activity: &Activity,
    id: FolderId,
    recorder: Recorder,
    absent: mpsc::Sender<RelPath>,
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
        unseen: Unseen::default(),
        unrecorded: Unrecorded::default(),
        losses: AtomicU64::new(0),
        endurance: Some(Endurance {
            gate,
            absent,
            // The debouncer's tick is a quarter of its quiet time.
            told_within: activity.sync.debounce * 5 / 4 + DELAYED,
            eager: activity.sync.debounce.is_zero(),
        }),
    })
}
