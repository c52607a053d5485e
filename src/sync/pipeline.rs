//! What the steps of a folder's work share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::catalog::file::{Asked, Found};
use crate::catalog::{self, Catalog, CatalogError};
use crate::config::settings::FolderSettings;
use crate::local::look::Root;
use crate::memory::Budget;
use crate::model::{FolderId, Local, ObjectKey, RelPath, Stamp};
use crate::plan;
use crate::queue::{Job, Settled};
use crate::remote::{Bucket, RemoteError, Trouble};
use crate::sync::error::{Failure, PathError, SyncError};
use crate::sync::feed::Feed;
use crate::sync::gate::Gate;
use crate::sync::planned::Planner;
use crate::sync::record::Recorder;
use crate::sync::report::Report;
use crate::sync::throttle::Throttle;
use crate::sync::unrecorded::Unrecorded;
use crate::sync::unseen::Unseen;

/// Tries of a path in one pass; the next pass starts afresh.
pub const MAX_ATTEMPTS: u32 = 5;

/// Refused uploads of a pass that has stored nothing, after which it stops: a policy may except some keys, but credentials
/// that may write nothing must not cost a request and a failed row for each file.
const MAX_REFUSED: u32 = 32;

/// A path that met an outage is ready again at once when the gate opens; this only keeps it from spinning until it closes.
const PUT_BACK: Duration = Duration::from_millis(200);

/// Bounds that all folders of the program share.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Concurrent S3 requests.
    pub throttle: Arc<Throttle>,
    /// Bytes in flight.
    pub budget: Arc<Budget>,
    /// Bytes of a part; a larger file is uploaded in parts.
    pub part_size: u64,
    /// Paths that a pass may have under way.
    pub queue_capacity: usize,
}

/// A step that a dry run shows instead of taking it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PlannedStep {
    /// `upload`, `copy`, `adopt`, `touch`, `delete`, `held`, `keep`, `drop-row`.
    pub action: &'static str,
    /// The folder's name.
    pub folder: String,
    /// Encoded.
    pub path: String,
    /// Where it would go.
    pub key: String,
    /// Of the file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// In words.
    pub reason: String,
}

/// Where the pipeline stops.
#[derive(Clone)]
pub enum Mode {
    /// It acts.
    Act(Recorder),
    /// It only tells what it would do.
    Plan(Arc<Planner>),
}

/// Sets a watch on a directory; afresh, if it has just appeared and may have been elsewhere meanwhile.
pub type WatchDirectory = Arc<dyn Fn(&Path, bool) + Send + Sync>;

/// One folder's work: its worlds, its queue and what bounds it.
pub struct Pipeline {
    /// As configured.
    pub folder: FolderSettings,
    /// The folder itself.
    pub root: Arc<Root>,
    /// Where it is mirrored to.
    pub bucket: Bucket,
    /// Where it is recorded.
    pub catalog: Catalog,
    /// None in a dry run of a folder that the catalog doesn't know yet.
    pub id: Option<FolderId>,
    /// The pass whose spool takes what a worker finds absent.
    pub pass: i64,
    /// Whether the catalog may have rows of the folder: without one, there is nothing to ask it for.
    pub has_rows: bool,
    /// Shared with the other folders.
    pub bounds: Bounds,
    /// Paths to work on.
    pub feed: Arc<Feed>,
    /// What has been done.
    pub report: Arc<Report>,
    /// Act or plan.
    pub mode: Mode,
    /// Whether the store has taken any object in this pass.
    pub has_stored: AtomicBool,
    /// Uploads that it has refused.
    pub refused: AtomicU32,
    /// Set when everything is to stop.
    pub cancel: CancellationToken,
    /// Sets a watch on a directory before it is read, where the folder is watched.
    pub watch_directory: Option<WatchDirectory>,
    /// Directories that could not be listed.
    pub unseen: Unseen,
    /// Paths of which the catalog takes no row.
    pub unrecorded: Unrecorded,
    /// Counts the batches that told of something that may have taken files along, of which no event tells.
    pub losses: AtomicU64,
    /// What a long-running process does differently from a single pass.
    pub endurance: Option<Endurance>,
}

/// What a long-running process does differently from a single pass: it never gives a path up, and an outage is a state that
/// passes, not the end.
pub struct Endurance {
    /// Closed during an outage: nothing is acted on.
    pub gate: Arc<Gate>,
    /// Paths found absent, to be judged together.
    pub absent: mpsc::Sender<RelPath>,
    /// The event of a change comes within this.
    pub told_within: Duration,
    /// A file whose stamps are too young to be believed is uploaded at once and looked at again, instead of waiting.
    pub eager: bool,
}

impl Pipeline {
    /// The key of a path.
    pub fn key(&self, path: &RelPath) -> ObjectKey {
        ObjectKey::new(&self.folder.prefix, path)
    }

    /// What the catalog knows of a batch of paths.
    pub async fn find(&self, asked: Asked<'_>) -> Result<Found, CatalogError> {
        match self.id {
            Some(id) if self.has_rows => catalog::file::find(&self.catalog, id, asked).await,
            Some(_) | None => Ok(Found::default()),
        }
    }

    /// Whether no event has told of what a reconciliation has found here.
    pub fn is_missed(&self, job: &Job, seen: &Local) -> bool {
        let may_be_told = match (seen, &self.endurance) {
            (Local::Present(meta), Some(endurance)) => {
                let nominated = Stamp::from_system(SystemTime::now()).minus(job.since.elapsed());
                plan::may_be_told(&meta.fingerprint, nominated, endurance.told_within)
            }
            (Local::Present(_) | Local::Absent | Local::Skipped(_) | Local::Unknown(_), _) => false,
        };
        job.hint.by_reconciliation && !may_be_told
    }

    /// Hands on a path that was found absent: deletions are judged together.
    pub async fn found_absent(&self, path: &RelPath) -> Result<(), CatalogError> {
        match (&self.mode, &self.endurance, self.id) {
            (Mode::Plan(_), _, _) | (_, _, None) => Ok(()),
            (Mode::Act(_), Some(endurance), Some(_)) => {
                // Nobody takes it any more when the folder is being stopped, and the next start finds it again.
                let _ = endurance.absent.send(path.clone()).await;
                Ok(())
            }
            (Mode::Act(_), None, Some(id)) => {
                catalog::spool::spool(&self.catalog, id, self.pass, std::slice::from_ref(path)).await
            }
        }
    }

    /// A slot for one request, unless everything is to stop first. Slots are never closed while there is work.
    pub(super) async fn slot(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Failure> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Failure::Cancelled),
            slot = self.bounds.throttle.slot() => slot.ok_or(Failure::Cancelled),
        }
    }

    /// Whether an error of S3 concerns this path or the whole folder.
    pub fn remote_failure(&self, error: RemoteError) -> Failure {
        if error.is_throttled() {
            self.bounds.throttle.slow_down(Instant::now());
        }
        match error.retry() {
            crate::model::Retry::Fatal if self.is_about_the_key(&error) => PathError::Remote(Box::new(error)).into(),
            crate::model::Retry::Fatal => self.remote_fatal(error).into(),
            crate::model::Retry::Later | crate::model::Retry::Never => PathError::Remote(Box::new(error)).into(),
        }
    }

    /// Whether a refusal to write may concern this key only, as a bucket's policy may have it.
    fn is_about_the_key(&self, error: &RemoteError) -> bool {
        error.trouble == Trouble::Denied
            && error.key.is_some()
            && (self.refused.fetch_add(1, Ordering::Relaxed) < MAX_REFUSED || self.has_stored.load(Ordering::Relaxed))
    }

    /// An error that concerns the whole folder ends a single pass; a long-running process waits for better times.
    ///
    /// # Errors
    /// In a single pass, the error itself.
    pub fn stop_or_wait(&self, error: SyncError) -> Result<(), SyncError> {
        match &self.endurance {
            Some(endurance) if !self.cancel.is_cancelled() => {
                endurance.gate.close(&self.folder.name, &error);
                Ok(())
            }
            Some(_) => Ok(()),
            None => Err(error),
        }
    }

    /// Leaves a path in the queue for when the trouble is over; a single pass, which ends with it, lets it go.
    pub fn put_back(&self, job: &Job) {
        let settled = match &self.endurance {
            Some(_) => Settled::Interrupted { pause: PUT_BACK },
            None => Settled::Done,
        };
        self.feed.settle(job, settled);
    }

    /// An error of S3 that concerns the whole folder.
    pub fn remote_fatal(&self, error: RemoteError) -> SyncError {
        SyncError::Remote { folder: self.folder.name.clone(), source: Box::new(error) }
    }
}

/// Runs blocking code off the runtime. `task` names it should it panic.
pub async fn blocking<T: Send + 'static>(
    task: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SyncError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SyncError::Task { task })
}
