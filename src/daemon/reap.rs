//! Deletions that events have led to: gathered for a moment, judged together, and counted over an hour.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use crate::catalog::{self, CatalogError};
use crate::model::{EventKind, FolderId, Identity, RelPath};
use crate::sync::deletes::{self, Verdict};
use crate::sync::error::SyncError;
use crate::sync::pipeline::Pipeline;

/// A removal of a directory tells file by file; what comes within this is judged together.
const GATHER: Duration = Duration::from_millis(100);
/// But a removal that goes on is not waited for any longer.
const GATHER_LONGEST: Duration = Duration::from_secs(1);
/// Uploads that may be the other half of a rename get this long: a source that is still there is copied inside S3.
const RENAMES: Duration = Duration::from_secs(2);
/// Paths spooled in one statement.
const BATCH: usize = 1000;
/// The time that the threshold is about.
const HOUR: Duration = Duration::from_secs(3600);

/// What a folder's deletions have in common.
#[derive(Debug)]
pub struct Reaper {
    /// One judgement at a time, a full pass's included.
    pub judging: Mutex<Hour>,
    /// In the catalog; none until the first full pass has taken it.
    pub identity: std::sync::Mutex<Option<Identity>>,
    /// Passes that broke off: what they have spooled is judged by nobody any more.
    pub abandoned: std::sync::Mutex<Vec<i64>>,
}

impl Reaper {
    /// A pass broke off, most likely in an outage: what it has spooled can't be dropped now.
    pub fn abandon(&self, pass: i64) {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(pass);
    }

    /// Drops what passes that broke off have spooled; the deletions are found again.
    ///
    /// # Errors
    /// If the catalog can't be written to.
    pub async fn drop_abandoned(&self, pipeline: &Pipeline, id: FolderId) -> Result<(), CatalogError> {
        loop {
            let next = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).last().copied();
            let Some(pass) = next else { return Ok(()) };
            catalog::spool::drop_spool(&pipeline.catalog, id, pass).await?;
            self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != pass);
        }
    }
}

/// The deletions of the last hour.
#[derive(Debug, Default)]
pub struct Hour {
    deleted: VecDeque<(Instant, u64)>,
    /// Rows that were synced when the oldest of them happened.
    base: Option<u64>,
}

impl Hour {
    fn forget_old(&mut self, now: Instant) {
        while self.deleted.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > HOUR) {
            self.deleted.pop_front();
        }
        if self.deleted.is_empty() {
            self.base = None;
        }
    }

    fn count(&self) -> u64 {
        self.deleted.iter().map(|(_, count)| count).sum()
    }
}

/// Takes paths that were found absent until there are no more.
///
/// # Errors
/// None: trouble closes the pipeline's gate, and the paths are found again by the reconciliation that follows an outage.
pub async fn reap(
    pipeline: Arc<Pipeline>,
    id: FolderId,
    reaper: Arc<Reaper>,
    mut absent: mpsc::Receiver<RelPath>,
) -> Result<(), SyncError> {
    loop {
        let first = tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            path = absent.recv() => match path {
                Some(path) => path,
                None => return Ok(()),
            },
        };
        if let Err(error) = round(&pipeline, id, &reaper, first, &mut absent).await
            && let Some(endurance) = &pipeline.endurance
            && !pipeline.cancel.is_cancelled()
        {
            endurance.gate.close(&pipeline.folder.name, &error);
        }
    }
}

async fn round(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    reaper: &Reaper,
    first: RelPath,
    absent: &mut mpsc::Receiver<RelPath>,
) -> Result<(), SyncError> {
    let pass = catalog::folder::next_pass(&pipeline.catalog, id).await?;
    let judged = gather(pipeline, id, reaper, pass, first, absent).await;
    if judged.is_err() {
        reaper.abandon(pass);
    }
    judged
}

/// What comes within a moment is spooled and judged together.
async fn gather(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    reaper: &Reaper,
    pass: i64,
    first: RelPath,
    absent: &mut mpsc::Receiver<RelPath>,
) -> Result<(), SyncError> {
    let mut batch = vec![first];
    let deadline = tokio::time::Instant::now() + GATHER_LONGEST;
    loop {
        let quiet = tokio::time::Instant::now() + GATHER;
        match tokio::time::timeout_at(quiet.min(deadline), absent.recv()).await {
            Ok(Some(path)) => batch.push(path),
            Ok(None) | Err(_) => break,
        }
        if batch.len() >= BATCH {
            catalog::spool::spool(&pipeline.catalog, id, pass, &batch).await?;
            batch.clear();
        }
    }
    catalog::spool::spool(&pipeline.catalog, id, pass, &batch).await?;
    let _ = tokio::time::timeout(RENAMES, pipeline.feed.quiet()).await;
    judge(pipeline, id, reaper, pass).await
}

/// Judges what a pass number has spooled, in the light of the last hour.
///
/// # Errors
/// If catalog or bucket can't be used.
pub async fn judge(pipeline: &Arc<Pipeline>, id: FolderId, reaper: &Reaper, pass: i64) -> Result<(), SyncError> {
    let mut hour = reaper.judging.lock().await;
    hour.forget_old(Instant::now());
    let base = match hour.base {
        Some(base) => base,
        None => catalog::folder::synced_count(&pipeline.catalog, id).await?,
    };
    let known = *reaper.identity.lock().unwrap_or_else(PoisonError::into_inner);
    let before = pipeline.report.count(EventKind::Deleted);
    let verdict = deletes::settle_events(pipeline, id, pass, known.as_ref(), hour.count(), base).await;
    let deleted = pipeline.report.count(EventKind::Deleted).saturating_sub(before);
    if deleted > 0 {
        hour.deleted.push_back((Instant::now(), deleted));
        hour.base = Some(base);
    }
    if let Verdict::Postponed { reason } = verdict? {
        tracing::info!(folder = %pipeline.folder.name, "deletions are left to the next reconciliation: {reason}");
        catalog::spool::drop_spool(&pipeline.catalog, id, pass).await?;
    }
    Ok(())
}
