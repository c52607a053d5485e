//! One pass over one folder: reconcile, work off what was found, judge the deletions, write down the state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::catalog::folder::{Claim, FolderRecord};
use crate::catalog::lock::{self, Attempt, WriterLock};
use crate::catalog::{self, Catalog};
use crate::config::settings::FolderSettings;
use crate::local::look::{Root, RootError};
use crate::model::{FolderId, FolderState};
use crate::queue::Pace;
use crate::remote::Bucket;
use crate::sync::act::chain;
use crate::sync::deletes::{self, IdentityCheck, Judged, Verdict};
use crate::sync::error::SyncError;
use crate::sync::feed::Feed;
use crate::sync::pipeline::{Bounds, Mode, Pipeline, PlannedStep, blocking};
use crate::sync::planned::Planner;
use crate::sync::reconcile::{Extent, Found, reconcile};
use crate::sync::record::Recorder;
use crate::sync::report::Report;
use crate::sync::unrecorded::Unrecorded;
use crate::sync::unseen::Unseen;
use crate::sync::{mounts, uploads, worker};

/// What a pass works with.
#[derive(Clone)]
pub struct Worlds {
    /// As configured.
    pub folder: FolderSettings,
    /// This agent's name.
    pub agent: String,
    /// `aws`, or the URL of a compatible store.
    pub endpoint: String,
    /// Where the folder is mirrored to.
    pub bucket: Bucket,
    /// Where it is recorded.
    pub catalog: Catalog,
    /// Shared with the other folders.
    pub bounds: Bounds,
    /// What is done is counted here.
    pub report: Arc<Report>,
}

impl Worlds {
    /// Writes down that this agent mirrors the folder. Only the holder of the writer's lock may.
    ///
    /// # Errors
    /// If another agent's prefix overlaps, or the catalog can't be written to.
    pub async fn claim(&self) -> Result<FolderRecord, SyncError> {
        let claim = Claim {
            agent: &self.agent,
            name: &self.folder.name,
            path: &self.folder.path,
            endpoint: &self.endpoint,
            bucket: self.bucket.name(),
            prefix: &self.folder.prefix,
        };
        Ok(catalog::folder::claim(&self.catalog, &claim).await?)
    }
}

/// How a pass has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassEnd {
    /// What the merge has found.
    pub found: Found,
    /// What became of the deletions; none in a dry run, and when the pass was interrupted.
    pub verdict: Option<Verdict>,
    /// Deletions that wait for a person, or would after a dry run.
    pub held: u64,
    /// What is mounted in the folder and can't be believed, in words.
    pub doubts: Vec<String>,
    /// Another pass is wanted, which finds what a mount that was accepted had hidden.
    pub again: bool,
    /// Files that the daemon's verification has found damaged, and that nobody has replaced since.
    pub damaged: u64,
    /// It was stopped before its end.
    pub interrupted: bool,
}

/// Takes the writer's lock, waiting up to `patience` (without end, where there is none) for another agent to let go of it.
pub async fn take_lock(
    worlds: &Worlds,
    patience: Option<Duration>,
    cancel: &CancellationToken,
) -> Result<Option<WriterLock>, SyncError> {
    const POLL: Duration = Duration::from_millis(250);
    let began = tokio::time::Instant::now();
    loop {
        let (bucket, prefix) = (worlds.bucket.name(), worlds.folder.prefix.as_str());
        match lock::try_lock(&worlds.catalog, &worlds.endpoint, bucket, prefix).await? {
            Attempt::Held(lock) => return Ok(Some(lock)),
            Attempt::Taken(holder) if patience.is_some_and(|patience| began.elapsed() >= patience) => {
                return Err(SyncError::Locked { folder: worlds.folder.name.clone(), holder: holder.to_string() });
            }
            Attempt::Taken(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = cancel.cancelled() => return Ok(None),
        }
    }
}

/// Syncs the folder once. The caller holds the writer's lock, and cancels the pass if it is lost.
pub async fn sync(worlds: &Worlds, cancel: CancellationToken) -> Result<PassEnd, SyncError> {
    let record = worlds.claim().await?;
    let mut result = sync_claimed(worlds, &record, cancel.clone()).await;
    if result.as_ref().is_ok_and(|end| end.again && !end.interrupted) {
        // The identity may have been taken, too.
        result = sync_claimed(worlds, &worlds.claim().await?, cancel).await;
    }
    let (state, reason) = match &result {
        Ok(end) if end.interrupted => (FolderState::Degraded, Some("the last pass was interrupted".to_owned())),
        Ok(end) => judge(worlds, end),
        Err(error @ SyncError::Root { .. }) => (FolderState::Suspended, Some(chain(error))),
        Err(error) => (FolderState::Degraded, Some(chain(error))),
    };
    let written = catalog::folder::set_state(&worlds.catalog, record.id, state, reason.as_deref()).await;
    match (&result, written) {
        // The pass's own error says more than that its state could not be written either.
        (Err(_), _) | (Ok(_), Ok(())) => result,
        (Ok(_), Err(error)) => Err(error.into()),
    }
}

fn judge(worlds: &Worlds, end: &PassEnd) -> (FolderState, Option<String>) {
    let failed = worlds.report.summary().failures.count;
    let mut reasons = Vec::new();
    if failed > 0 {
        reasons.push(format!("{failed} paths failed"));
    }
    if let Some(Verdict::Held { doubtful_folder: true, .. }) = &end.verdict {
        reasons.push(deletes::doubt(&worlds.folder));
    }
    reasons.extend(end.doubts.iter().cloned());
    if end.held > 0 {
        reasons.push(format!("{} deletions are held", end.held));
    }
    if end.damaged > 0 {
        reasons.push(catalog::verification::damage(end.damaged));
    }
    if let Some(Verdict::Postponed { reason }) = &end.verdict {
        reasons.push(reason.clone());
    }
    if reasons.is_empty() { (FolderState::InSync, None) } else { (FolderState::Degraded, Some(reasons.join(", "))) }
}

async fn sync_claimed(worlds: &Worlds, record: &FolderRecord, cancel: CancellationToken) -> Result<PassEnd, SyncError> {
    let (root, seen) = open_root(&worlds.folder).await?;
    let id = record.id;
    catalog::folder::set_state(&worlds.catalog, id, FolderState::Syncing, None).await?;
    catalog::held::apply_rejections(&worlds.catalog, id).await?;
    let start = catalog::folder::begin_pass(&worlds.catalog, id).await?;
    if record.identity.is_none() && start.rows == 0 {
        // Before the first row: were it left to the end, a first pass that breaks off would leave rows that any folder could claim.
        catalog::folder::take_identity(&worlds.catalog, id, &seen).await?;
    }
    let (recorder, recording) = Recorder::start(worlds.catalog.clone(), id);
    let pipeline = pipeline(worlds, root, Some(id), start.number, start.rows > 0, Mode::Act(recorder), cancel);
    let check = IdentityCheck { known: record.identity, seen };
    let end = run(&pipeline, Some((check, start.synced))).await;
    // What was acknowledged by S3 is written before the pass counts as ended.
    drop(pipeline);
    recording.await.map_err(|_| SyncError::Task { task: "recorder" })?;
    let mut end = end?;
    if end.found.ended && end.verdict.is_some() {
        catalog::folder::finish_pass(&worlds.catalog, id).await?;
    }
    end.held = catalog::held::held_count(&worlds.catalog, id).await?;
    end.damaged = catalog::verification::damaged_count(&worlds.catalog, id).await?;
    Ok(end)
}

/// Finds out what [`sync`] would do and shows it; changes nothing anywhere. `schema` says whether the catalog has tables.
pub async fn plan(
    worlds: &Worlds,
    schema: bool,
    show: Arc<dyn Fn(PlannedStep) + Send + Sync>,
    cancel: CancellationToken,
) -> Result<PassEnd, SyncError> {
    let (root, seen) = open_root(&worlds.folder).await?;
    let record = if schema {
        catalog::folder::find(&worlds.catalog, &worlds.endpoint, worlds.bucket.name(), &worlds.folder.prefix).await?
    } else {
        None
    };
    let id = record.map(|record| record.id);
    let planner = Arc::new(Planner::new(show));
    let pipeline = pipeline(worlds, root, id, 0, id.is_some(), Mode::Plan(Arc::clone(&planner)), cancel);
    let mut end = run(&pipeline, None).await?;
    if let (Some(record), true, false) = (record, end.found.ended, end.interrupted) {
        let check = IdentityCheck { known: record.identity, seen };
        end.held = planner.show_deletions(&pipeline, record.id, &end.found, &check).await?;
    }
    Ok(end)
}

/// Opens the folder, and says which one it is.
pub(super) async fn open_root(folder: &FolderSettings) -> Result<(Arc<Root>, crate::model::Identity), SyncError> {
    let (name, folder) = (folder.name.clone(), folder.clone());
    let opened = blocking("open", move || {
        let root = Root::open(&folder)?;
        // Of the directory that is walked. Another one may be mounted over it this instant, which shows after the pass.
        let seen = root.identity().map_err(|source| RootError::Open { path: folder.path.clone(), source })?;
        Ok((Arc::new(root), seen))
    });
    opened.await?.map_err(|source| SyncError::Root { folder: name, source: Box::new(source) })
}

/// What a single pass works with.
pub(super) fn pipeline(
    worlds: &Worlds,
    root: Arc<Root>,
    id: Option<FolderId>,
    pass: i64,
    has_rows: bool,
    mode: Mode,
    cancel: CancellationToken,
) -> Arc<Pipeline> {
    Arc::new(Pipeline {
        folder: worlds.folder.clone(),
        root,
        bucket: worlds.bucket.clone(),
        catalog: worlds.catalog.clone(),
        id,
        pass,
        has_rows,
        bounds: worlds.bounds.clone(),
        feed: Arc::new(Feed::new(Pace {
            capacity: worlds.bounds.queue_capacity,
            // No events come in a single pass, so nothing is paced.
            quiet: Duration::ZERO,
            max_delay: Duration::ZERO,
        })),
        report: Arc::clone(&worlds.report),
        mode,
        has_stored: AtomicBool::new(false),
        refused: AtomicU32::new(0),
        // A token of its own: a folder that stops itself stops no other.
        cancel: cancel.child_token(),
        watch_directory: None,
        unseen: Unseen::default(),
        unrecorded: Unrecorded::default(),
        losses: AtomicU64::new(0),
        endurance: None,
    })
}

/// Feeds the workers and waits for them; deletions are judged in between, when all uploads have had their first try.
async fn run(pipeline: &Arc<Pipeline>, judge: Option<(IdentityCheck, u64)>) -> Result<PassEnd, SyncError> {
    let shared = Arc::clone(pipeline);
    let working = tokio::spawn(async move { worker::work(&shared).await });
    let found = tokio::select! {
        found = reconcile(pipeline, &Extent::Folder, pipeline.pass) => found,
        // A directory or a store that does not answer can't keep the pass from stopping. What was found so far has not ended,
        // and so deletes nothing.
        () = pipeline.cancel.cancelled() => Ok(Found::default()),
    };
    let mut judged = None;
    let result = match found {
        Ok(found) => {
            let quiet = tokio::select! {
                () = pipeline.feed.quiet() => true,
                // Stopped from outside, or by the workers' first error, which is read below.
                () = pipeline.cancel.cancelled() => false,
            };
            match (judge, pipeline.id) {
                (Some((check, synced)), Some(id)) if quiet && found.ended && !pipeline.cancel.is_cancelled() => {
                    deletes::settle(pipeline, id, pipeline.pass, &found, &check, synced, true).await.map(|ended| {
                        judged = Some(ended);
                        found
                    })
                }
                _ => Ok(found),
            }
        }
        Err(error) => Err(error),
    };
    pipeline.feed.close();
    if result.is_err() {
        pipeline.cancel.cancel();
    }
    let worked = working.await.map_err(|_| SyncError::Task { task: "worker" })?;
    // The worker's error came first if it stopped the merge.
    worked?;
    let found = result?;
    if !pipeline.cancel.is_cancelled() {
        uploads::sweep(pipeline).await?;
    }
    let (verdict, doubts, again) = match judged {
        Some(Judged { verdict, doubts, again }) => (Some(verdict), doubts, again),
        None => (None, mounts::doubts(pipeline, &found.veils), false),
    };
    Ok(PassEnd { found, verdict, held: 0, doubts, again, damaged: 0, interrupted: pipeline.cancel.is_cancelled() })
}
