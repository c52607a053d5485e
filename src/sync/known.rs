//! What the catalog knows of a batch of paths: a few statements for all of them, none for each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::{Local, RelPath, Row};
use crate::queue::{Job, Scope};
use crate::sync::error::SyncError;
use crate::sync::pipeline::{Pipeline, blocking};

/// What the catalog knows of a batch.
pub(super) struct Known {
    pub(super) rows: HashMap<String, Row>,
    pub(super) same_inode: HashMap<u64, Vec<Row>>,
    /// Paths without a row, that have rows below them, or something that could not be seen: they are or were directories.
    pub(super) had_something_below: HashSet<String>,
    /// Of files that events have told of and that have no row.
    pub(super) inodes: HashMap<String, u64>,
}

impl Known {
    pub(super) async fn of(pipeline: &Pipeline, jobs: &[Job]) -> Result<Self, SyncError> {
        let paths: Vec<&str> = jobs.iter().map(|job| job.path.as_str()).collect();
        let rows = pipeline.rows(&paths).await?;
        let rows: HashMap<String, Row> = rows.into_iter().map(|row| (row.path.as_str().to_owned(), row)).collect();
        let events: Vec<&str> = jobs
            .iter()
            .filter(|job| {
                job.scope == Scope::Path && !job.hint.by_reconciliation && !rows.contains_key(job.path.as_str())
            })
            .map(|job| job.path.as_str())
            .collect();
        let mut had_something_below: HashSet<String> =
            pipeline.paths_with_rows_below(&events).await?.into_iter().collect();
        let unseen = events.iter().filter(|path| pipeline.unseen.any_within(path));
        had_something_below.extend(unseen.map(|path| (*path).to_owned()));
        // The row of a file that has none may be found under another path by its inode.
        let without_row = jobs.iter().filter(|job| !rows.contains_key(job.path.as_str()));
        let mut inodes: Vec<u64> = without_row.filter_map(|job| job.hint.new_inode).collect();
        let told: Vec<RelPath> = jobs
            .iter()
            .filter(|job| job.hint.new_inode.is_none() && events.contains(&job.path.as_str()))
            .map(|job| RelPath::clone(&job.path))
            .collect();
        let seen = look_at_inodes(pipeline, told).await?;
        inodes.extend(seen.values());
        let mut same_inode: HashMap<u64, Vec<Row>> = HashMap::new();
        for row in pipeline.rows_by_inode(&inodes).await? {
            if let Some(fingerprint) = row.fingerprint {
                same_inode.entry(fingerprint.inode).or_default().push(row);
            }
        }
        Ok(Self { rows, same_inode, had_something_below, inodes: seen })
    }
}

/// The inodes of the regular files among these paths. A rename tells of two paths and of no more.
async fn look_at_inodes(pipeline: &Pipeline, paths: Vec<RelPath>) -> Result<HashMap<String, u64>, SyncError> {
    if paths.is_empty() {
        return Ok(HashMap::new());
    }
    let root = Arc::clone(&pipeline.root);
    let look = move || {
        let inode = |path: RelPath| match root.look(&path) {
            Local::Present(meta) => Some((path.as_str().to_owned(), meta.fingerprint.inode)),
            Local::Absent | Local::Skipped(_) | Local::Unknown(_) => None,
        };
        paths.into_iter().filter_map(inode).collect()
    };
    blocking("look", look).await
}
