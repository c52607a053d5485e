//! Bringing files back: what is wanted ([`source`]) is fetched by several at once ([`one`], `fetch`), each checked against its
//! MD5 before it gets its name in the target.
//!
//! It needs nothing but the bucket. With a catalog, it knows more of each file, and can go back in time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::catalog::CatalogError;
use crate::catalog::history::Restored;
use crate::local::target::{Obstacle, Target, TargetError};
use crate::model::{ETag, ObjectKey, RelPath, ShownPath, Stamp};
use crate::remote::{Bucket, RemoteError};
use crate::sync::act::chain;
use crate::sync::throttle::Throttle;

mod error;
mod fetch;
pub mod history;
mod one;
pub mod source;
mod tally;
mod writing;

pub use error::FileError;
pub use one::Step;
pub use tally::{Counts, Tally};

/// Files under way at once, at most: each has descriptors open and a thread that writes.
const AT_ONCE: usize = 128;

/// A file to bring back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where to, below the target.
    pub path: RelPath,
    /// Where from.
    pub key: ObjectKey,
    /// Which of the objects that were there.
    pub object: Object,
    /// Bytes, where the catalog knows them.
    pub size: Option<u64>,
    /// Of the content, likewise.
    pub digest: Option<crate::model::Digest>,
    /// Of the file, likewise.
    pub mtime: Option<Stamp>,
    /// Type and permission bits, likewise.
    pub mode: Option<u32>,
}

/// Which object of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// The one that the row vouches for: the current one, if it has this ETag, else the version.
    OfRow {
        /// As the row has it.
        etag: ETag,
        /// Where the bucket has versions.
        version: Option<String>,
    },
    /// This version.
    Version(String),
    /// Whatever is there.
    Current,
}

/// What a source gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file that can be fetched.
    File(Wanted),
    /// One that can't, and why.
    Hopeless {
        /// Which.
        path: RelPath,
        /// In words that fit after "failed to".
        why: String,
    },
    /// An empty object that stands for a directory, as some tools make them.
    DirectoryMarker,
}

/// Why the restore as a whole has stopped.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory to restore to.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// PostgreSQL is away, or refuses us.
    #[error("use the catalog")]
    Catalog(#[from] CatalogError),
    /// S3 is away, or refuses us.
    #[error(transparent)]
    Remote(Box<RemoteError>),
    /// No file could be written any more.
    #[error(
        "write to {}; make room or choose another directory, and run the restore again, which goes on from here",
        ShownPath(path)
    )]
    Full {
        /// The target.
        path: PathBuf,
        /// Why.
        source: Obstacle,
    },
    /// Somebody else may be writing to the synced folder.
    #[error("keep the writer's lock of the folder `{folder}`: its connection to PostgreSQL has ended")]
    LockLost {
        /// Its name.
        folder: String,
    },
    /// A defect of the program.
    #[error("finish the task `{task}`: it ended without a result; please report this as a bug")]
    Task {
        /// Which.
        task: &'static str,
    },
}

/// Shows a step of a dry run.
pub type Show = Arc<dyn Fn(Step) + Send + Sync>;

/// What all files have in common.
pub struct Restore {
    /// Where they come from.
    pub bucket: Bucket,
    /// Concurrent requests.
    pub throttle: Arc<Throttle>,
    /// Where they go to. None in a dry run to a directory that is not there.
    pub target: Option<Arc<Target>>,
    /// Files that differ and links are replaced.
    pub force: bool,
    /// Only show what would be done.
    pub plan: Option<Show>,
    /// What has become of them.
    pub tally: Arc<Tally>,
    /// How many there are was told to the tally's report before.
    pub counted: bool,
    /// Takes what was brought back, where there is a catalog to write it down in.
    pub history: Option<mpsc::Sender<Restored>>,
    /// Ends it early. What is not whole by then is removed.
    pub cancel: CancellationToken,
    /// The store has let something be fetched.
    pub has_fetched: AtomicBool,
    /// Requests that it has refused for want of a permission.
    pub refused: AtomicU32,
}

/// Brings everything back that `found` gives, several files at once.
///
/// # Errors
/// If nothing more can be done. What a single file has met is in the tally.
pub async fn run(
    restore: &Arc<Restore>,
    mut found: mpsc::Receiver<Result<Vec<Found>, RestoreError>>,
) -> Result<(), RestoreError> {
    let mut files = JoinSet::new();
    let mut result = begin_all(restore, &mut found, &mut files).await;
    if result.is_err() {
        restore.cancel.cancel();
    }
    while let Some(ended) = files.join_next().await {
        let ended = flatten(ended);
        if ended.is_err() {
            restore.cancel.cancel();
        }
        result = result.and(ended);
    }
    if let (Some(target), None) = (&restore.target, &restore.plan) {
        let shared = Arc::clone(target);
        let written = tokio::task::spawn_blocking(move || shared.write_out()).await;
        let written = written.map_err(|_| RestoreError::Task { task: "write out" })?;
        result = result.and(written.map_err(|source| RestoreError::Full { path: target.path().to_owned(), source }));
    }
    result
}

async fn begin_all(
    restore: &Arc<Restore>,
    found: &mut mpsc::Receiver<Result<Vec<Found>, RestoreError>>,
    files: &mut JoinSet<Result<(), RestoreError>>,
) -> Result<(), RestoreError> {
    let at_once = restore.throttle.most().clamp(1, AT_ONCE);
    loop {
        let batch = tokio::select! {
            biased;
            () = restore.cancel.cancelled() => return Ok(()),
            batch = found.recv() => match batch {
                Some(batch) => batch?,
                None => return Ok(()),
            },
        };
        for found in batch {
            let wanted = match found {
                Found::File(wanted) => wanted,
                Found::Hopeless { path, why } => {
                    restore.tally.failed(&path, &why);
                    continue;
                }
                Found::DirectoryMarker => {
                    restore.tally.marker();
                    continue;
                }
            };
            while files.len() >= at_once {
                if let Some(ended) = files.join_next().await {
                    flatten(ended)?;
                }
            }
            if restore.cancel.is_cancelled() {
                return Ok(());
            }
            if !restore.counted {
                restore.tally.report.expect(1, wanted.size.unwrap_or(0));
            }
            files.spawn(one::restore(Arc::clone(restore), wanted));
        }
    }
}

fn flatten(ended: Result<Result<(), RestoreError>, JoinError>) -> Result<(), RestoreError> {
    ended.unwrap_or(Err(RestoreError::Task { task: "file" }))
}

/// For the summary and the log: what a file has failed with.
pub(crate) fn why(error: &FileError) -> String {
    chain(error)
}
