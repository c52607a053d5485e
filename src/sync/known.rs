//! What is known of a batch of paths: one look at all of them and one statement, none for each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::catalog::file::Asked;
use crate::model::{Local, RelPath, Row};
use crate::queue::{Job, Scope};
use crate::sync::error::SyncError;
use crate::sync::pipeline::{Pipeline, blocking};

/// A look at a file that is older is not used: the rest of a batch waits for the first of it to be uploaded.
const FRESH: Duration = Duration::from_millis(250);
/// A batch does not wait longer to be seen. A file system below the root that hangs must not keep all others from being worked
/// on: each path is then looked at for itself.
const PATIENCE: Duration = Duration::from_millis(250);

/// A look at a path.
#[derive(Debug)]
pub(super) struct Seen {
    local: Local,
    at: Instant,
}

impl Seen {
    /// What it showed, if that is not too long ago.
    pub(super) fn fresh(self) -> Option<Local> {
        (self.at.elapsed() < FRESH).then_some(self.local)
    }
}

/// What is known of a batch.
pub(super) struct Known {
    rows: HashMap<String, Row>,
    same_inode: HashMap<u64, Vec<Row>>,
    had_something_below: HashSet<String>,
    seen: HashMap<Arc<RelPath>, Seen>,
    losses: u64,
}

/// What is known of one path.
pub(super) struct KnownPath {
    /// Its row.
    pub(super) row: Option<Row>,
    /// Where it has no row, the synced rows of files that have or had its inode.
    pub(super) candidates: Vec<Row>,
    /// Just now.
    pub(super) seen: Option<Seen>,
    /// As [`Pipeline::losses`] was before that.
    pub(super) losses: u64,
}

impl Known {
    pub(super) async fn of(pipeline: &Pipeline, jobs: &[Job]) -> Result<Self, SyncError> {
        let losses = pipeline.losses.load(Ordering::SeqCst);
        let seen = look_at(pipeline, jobs).await?;
        // Before the catalog is asked what is below them: a file that is recorded after that finds it counted.
        if jobs.iter().any(|job| may_have_lost_files(job, seen.get(&job.path))) {
            pipeline.losses.fetch_add(1, Ordering::SeqCst);
        }
        let paths: Vec<&str> = jobs.iter().map(|job| job.path.as_str()).collect();
        let events: Vec<&str> = jobs.iter().filter(|job| is_event(job)).map(|job| job.path.as_str()).collect();
        let inodes: Vec<u64> = jobs.iter().filter_map(|job| inode_of(job, seen.get(&job.path))).collect();
        let found = pipeline.find(Asked { paths: &paths, inodes: &inodes, above: &events }).await?;
        let rows: HashMap<String, Row> =
            found.rows.into_iter().map(|row| (row.path.as_str().to_owned(), row)).collect();
        let mut had_something_below: HashSet<String> = found.had_something_below.into_iter().collect();
        let unseen = events.iter().filter(|path| pipeline.unseen.any_within(path));
        had_something_below.extend(unseen.map(|path| (*path).to_owned()));
        // What has a row is a file by all accounts; what was in a directory of its name is told of by itself.
        had_something_below.retain(|path| !rows.contains_key(path));
        let mut same_inode: HashMap<u64, Vec<Row>> = HashMap::new();
        for row in found.same_inode {
            if let Some(fingerprint) = row.fingerprint {
                same_inode.entry(fingerprint.inode).or_default().push(row);
            }
        }
        Ok(Self { rows, same_inode, had_something_below, seen, losses })
    }

    /// Whether the path has no row, but rows below it or something that could not be seen: it is or was a directory.
    pub(super) fn was_directory(&self, path: &RelPath) -> bool {
        self.had_something_below.contains(path.as_str())
    }

    /// Hands out what is known of a job's path.
    pub(super) fn take(&mut self, job: &Job) -> KnownPath {
        let row = self.rows.remove(job.path.as_str());
        let seen = self.seen.remove(&job.path);
        let candidates = match &row {
            Some(_) => Vec::new(),
            None => {
                inode_of(job, seen.as_ref()).and_then(|inode| self.same_inode.get(&inode)).cloned().unwrap_or_default()
            }
        };
        KnownPath { row, candidates, seen, losses: self.losses }
    }
}

/// Whether an event has nominated the path, which tells of nothing but its name.
fn is_event(job: &Job) -> bool {
    job.scope == Scope::Path && !job.hint.by_reconciliation
}

/// Whether it is something else than a file that is there: files may have gone with it, of which no event tells.
fn may_have_lost_files(job: &Job, seen: Option<&Seen>) -> bool {
    match seen.map(|seen| &seen.local) {
        Some(Local::Present(_)) => false,
        Some(Local::Absent | Local::Skipped(_) | Local::Unknown(_)) | None => {
            job.scope == Scope::Tree || !job.hint.by_reconciliation
        }
    }
}

/// By which a row that the file had under another path may be found: a rename tells of two paths and of no more.
fn inode_of(job: &Job, seen: Option<&Seen>) -> Option<u64> {
    job.hint.new_inode.or_else(|| match &seen?.local {
        Local::Present(meta) if is_event(job) => Some(meta.fingerprint.inode),
        Local::Present(_) | Local::Absent | Local::Skipped(_) | Local::Unknown(_) => None,
    })
}

/// Looks at all files of a batch at once.
async fn look_at(pipeline: &Pipeline, jobs: &[Job]) -> Result<HashMap<Arc<RelPath>, Seen>, SyncError> {
    let files = jobs.iter().filter(|job| job.scope == Scope::Path);
    let paths: Vec<Arc<RelPath>> = files.map(|job| Arc::clone(&job.path)).collect();
    if paths.is_empty() {
        return Ok(HashMap::new());
    }
    let root = Arc::clone(&pipeline.root);
    let look = move || {
        let seen = paths.into_iter().map(|path| {
            let at = Instant::now();
            let local = root.look(&path);
            (path, Seen { local, at })
        });
        seen.collect()
    };
    match tokio::time::timeout(PATIENCE, blocking("look", look)).await {
        Ok(seen) => seen,
        Err(_) => Ok(HashMap::new()),
    }
}
