//! Deletions that events have led to: gathered for a moment, and judged together.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use crate::catalog::{self, CatalogError};
use crate::model::{FolderId, Identity, RelPath};
use crate::sync::deletes::{self, Verdict};
use crate::sync::error::SyncError;
use crate::sync::pipeline::Pipeline;

/// A removal of a directory tells file by file; what comes within this is judged together.
const GATHER: Duration = Duration::from_millis(100);
/// But a removal that goes on is not waited for any longer.
const GATHER_LONGEST: Duration = Duration::from_secs(1);
/// Uploads that may be the other half of a rename get this long: a source that is still there is copied inside S3.
const RENAMES: Duration = Duration::from_secs(2);
/// And this long before too many deletions are held: a large directory may have been renamed.
const MANY_RENAMES: Duration = Duration::from_secs(60);
/// Paths spooled in one statement.
const BATCH: usize = 1000;

/// What a folder's deletions have in common.
#[derive(Debug)]
pub struct Reaper {
    /// One judgement at a time, a full pass's included.
    pub judging: Mutex<()>,
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
    let judged = gather(pipeline, id, reaper, Gathering { pipeline, id, pass, absent, batch: vec![first] }).await;
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
    mut gathering: Gathering<'_>,
) -> Result<(), SyncError> {
    let pass = gathering.pass;
    gathering.until_nothing_comes().await?;
    let quiet = gathering.until_quiet(RENAMES).await?;
    if judge(pipeline, id, reaper, pass, quiet).await? == Verdict::Early {
        gathering.until_quiet(MANY_RENAMES).await?;
        judge(pipeline, id, reaper, pass, true).await?;
    }
    Ok(())
}

/// Paths on their way from the workers into the spool of a pass. Nobody else takes them, so whatever is waited for, they are taken
/// meanwhile, or the workers would stand still.
struct Gathering<'a> {
    pipeline: &'a Pipeline,
    id: FolderId,
    pass: i64,
    absent: &'a mut mpsc::Receiver<RelPath>,
    batch: Vec<RelPath>,
}

impl Gathering<'_> {
    async fn take(&mut self, path: RelPath) -> Result<(), SyncError> {
        self.batch.push(path);
        if self.batch.len() >= BATCH { self.spool().await } else { Ok(()) }
    }

    async fn spool(&mut self) -> Result<(), SyncError> {
        catalog::spool::spool(&self.pipeline.catalog, self.id, self.pass, &self.batch).await?;
        self.batch.clear();
        Ok(())
    }

    async fn until_nothing_comes(&mut self) -> Result<(), SyncError> {
        let deadline = Instant::now() + GATHER_LONGEST;
        loop {
            let quiet = Instant::now() + GATHER;
            match tokio::time::timeout_at(quiet.min(deadline), self.absent.recv()).await {
                Ok(Some(path)) => self.take(path).await?,
                Ok(None) | Err(_) => return self.spool().await,
            }
        }
    }

    /// Waits until every path in the queue has had its first try; answers whether it came to that.
    async fn until_quiet(&mut self, longest: Duration) -> Result<bool, SyncError> {
        let deadline = tokio::time::sleep(longest);
        let feed = Arc::clone(&self.pipeline.feed);
        let quiet = feed.quiet();
        tokio::pin!(deadline, quiet);
        loop {
            let ended = tokio::select! {
                Some(path) = self.absent.recv() => {
                    self.take(path).await?;
                    continue;
                }
                () = &mut quiet => true,
                () = &mut deadline => false,
                () = self.pipeline.cancel.cancelled() => false,
            };
            self.spool().await?;
            return Ok(ended);
        }
    }
}

/// Judges what a pass number has spooled. `quiet` as for [`deletes::settle`].
///
/// # Errors
/// If catalog or bucket can't be used.
pub async fn judge(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    reaper: &Reaper,
    pass: i64,
    quiet: bool,
) -> Result<Verdict, SyncError> {
    let _judging = reaper.judging.lock().await;
    let known = *reaper.identity.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let verdict = deletes::settle_events(pipeline, id, pass, known.as_ref(), quiet).await?;
    if let Verdict::Postponed { reason } = &verdict {
        tracing::info!(folder = %pipeline.folder.name, "deletions are left to the next reconciliation: {reason}");
        catalog::spool::drop_spool(&pipeline.catalog, id, pass).await?;
    }
    Ok(verdict)
}
