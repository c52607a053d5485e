//! The reconciliation: walk, rows and listing are merged, and every difference is nominated. It acts on nothing: what it saw
//! is old by the time that anything could be done about it. That of one directory is the same merge over what lies below it,
//! without the listing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::catalog;
use crate::model::{Entry, Local, RelPath, Remote, Row, Walked};
use crate::plan::{self, Decision};
use crate::queue::Hint;
use crate::sync::error::SyncError;
use crate::sync::mounts::Mounting;
use crate::sync::pipeline::{Mode, Pipeline};
use crate::sync::streams::{Sight, Streams};
use crate::sync::veils::Veil;

/// Deletions that are spooled in one statement.
const SPOOL_BATCH: usize = 1000;

/// What a reconciliation has found, besides what it nominated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Every stream came to its end: what was found absent is absent, but for what is unknown.
    pub ended: bool,
    /// Files and directories that could not be seen.
    pub unknown: u64,
    /// Directories that the walk has entered.
    pub directories: u64,
    /// Regular files that the walk showed.
    pub files: u64,
    /// Rows.
    pub rows: u64,
    /// Rows whose file is there with equal size and mtime.
    pub matched: u64,
    /// Rows whose file may be hidden, since what is mounted above them is in doubt.
    pub hidden: u64,
    /// What is in doubt so.
    pub veils: Vec<Veil>,
    /// Deletions that were spooled, or that a dry run has found.
    pub deletes: u64,
}

impl Found {
    /// Whether everything that is there was seen.
    pub fn is_complete(&self) -> bool {
        self.ended && self.unknown == 0
    }
}

/// What is reconciled.
#[derive(Clone)]
pub enum Extent {
    /// The whole folder, with the bucket's listing.
    Folder,
    /// What is and was at this path and below it, without a listing.
    Tree(Arc<RelPath>),
}

/// Merges the three worlds and nominates what differs; spools deletions under the number of `pass`.
pub async fn reconcile(pipeline: &Arc<Pipeline>, extent: &Extent, pass: i64) -> Result<Found, SyncError> {
    // Before the first row is read: what is acted on from here on may differ from what the rows say.
    let began = Instant::now();
    let within = match extent {
        Extent::Folder => "",
        Extent::Tree(path) => path.as_str(),
    };
    pipeline.unseen.forget_within(within);
    pipeline.unrecorded.forget_within(within);
    let mounting = Mounting::open(pipeline, matches!(extent, Extent::Folder)).await?;
    let mut streams = Streams::open(pipeline, extent).await?;
    let mut merging = Merging {
        pipeline,
        pass,
        began,
        lists: matches!(extent, Extent::Folder),
        mounting,
        found: Found::default(),
        spool: Vec::new(),
    };
    while !pipeline.cancel.is_cancelled() {
        let Some(seen) = streams.next(pipeline).await? else {
            merging.found.ended = true;
            break;
        };
        merging.take(seen).await?;
    }
    merging.flush_spool().await?;
    let mut found = merging.found;
    found.veils = merging.mounting.veils.into_vec();
    if found.ended {
        let counts = streams.end(pipeline).await?;
        found.directories = counts.directories;
        pipeline.report.empty_directories(counts.empty_directories);
    }
    Ok(found)
}

struct Merging<'p> {
    pipeline: &'p Arc<Pipeline>,
    pass: i64,
    began: Instant,
    /// Whether there is a listing, so that an object that it does not show is missing.
    lists: bool,
    mounting: Mounting,
    found: Found,
    spool: Vec<RelPath>,
}

impl Merging<'_> {
    async fn take(&mut self, mut seen: Sight) -> Result<(), SyncError> {
        let report = &self.pipeline.report;
        report.checked.fetch_add(1, Ordering::Relaxed);
        let Some(local) = seen.local.take() else {
            return match seen.entry {
                Some(walked) => self.take_directory(&walked).await,
                None => Ok(()),
            };
        };
        self.found.rows += u64::from(seen.row.is_some());
        let mut same = false;
        if let Local::Present(meta) = &local {
            self.found.files += 1;
            same = seen
                .row
                .as_ref()
                .and_then(|row| row.fingerprint)
                .is_some_and(|row| row.size == meta.fingerprint.size && row.mtime == meta.fingerprint.mtime);
            self.found.matched += u64::from(same);
        }
        let is_entry = seen.entry.is_some();
        let remote = seen.remote(self.lists);
        let Some(path) = seen.take_path() else { return Ok(()) };
        let hidden = self.mounting.veils.over(path.as_str()).filter(|_| local == Local::Absent);
        let (local, hidden) = hidden.map_or((local, false), |why| (Local::Unknown(why.into()), true));
        self.mounting.veils.count(path.as_str(), seen.row.as_ref(), &local, same, hidden);
        match &local {
            Local::Skipped(reason) if is_entry => report.skipped(&path, *reason),
            Local::Unknown(_) if hidden => self.found.hidden += u64::from(seen.row.is_some()),
            Local::Unknown(_) => {
                self.found.unknown += 1;
                // Its own trouble is looked at afresh, and recorded; what lies below a directory that can't be read is not.
                if is_entry {
                    self.nominate(
                        path,
                        Hint { remote, new_inode: None, by_reconciliation: self.lists },
                        None,
                        seen.listed_at,
                    )
                    .await;
                    return Ok(());
                }
            }
            Local::Skipped(_) | Local::Present(_) | Local::Absent => {}
        }
        self.decide(path, seen.row.as_ref(), &local, remote, seen.listed_at).await
    }

    async fn take_directory(&mut self, walked: &Walked) -> Result<(), SyncError> {
        match &walked.what {
            Entry::SkippedDirectory(reason) => self.pipeline.report.skipped(&walked.path, *reason),
            Entry::UnreadableDirectory(why) => {
                self.found.unknown += 1;
                self.mounting.veils.count_unreadable(&walked.path);
                self.pipeline.unseen.add(&walked.path);
                tracing::error!(path = %walked.path, error = %why, "failed to list the directory {}: {why}", walked.path);
                self.pipeline.report.failed(&walked.path, &format!("list the directory: {why}"));
            }
            Entry::Mount { identity, mounted } => {
                self.mounting.take(self.pipeline, &walked.path, *identity, *mounted).await?
            }
            Entry::Leaf(_) => {}
        }
        Ok(())
    }

    async fn decide(
        &mut self,
        path: RelPath,
        row: Option<&Row>,
        local: &Local,
        remote: Remote,
        listed_at: Instant,
    ) -> Result<(), SyncError> {
        match plan::decide(local, row, &remote, self.pipeline.folder.delete) {
            Decision::Nothing => {}
            // What was uploaded since the rows were read has an object and, as far as they tell, no row.
            Decision::Foreign if self.pipeline.feed.is_stirred(&path, self.began) => {}
            Decision::Foreign => self.pipeline.report.foreign(&path),
            Decision::Delete => {
                self.found.deletes += 1;
                if let Mode::Plan(planner) = &self.pipeline.mode {
                    planner.found_gone(&path);
                    return Ok(());
                }
                // A single directory's deletions are judged with those of other events; a full pass judges its own.
                if !self.lists {
                    return Ok(self.pipeline.found_absent(&path).await?);
                }
                self.spool.push(path);
                if self.spool.len() >= SPOOL_BATCH {
                    self.flush_spool().await?;
                }
            }
            Decision::Upload(_)
            | Decision::Adopt
            | Decision::Compare(_)
            | Decision::Resume
            | Decision::DropRow(_)
            | Decision::Keep => {
                let meta = match local {
                    Local::Present(meta) => Some(meta),
                    Local::Absent | Local::Skipped(_) | Local::Unknown(_) => None,
                };
                let new_inode = meta.filter(|_| row.is_none()).map(|meta| meta.fingerprint.inode);
                let size = meta.map(|meta| meta.fingerprint.size);
                self.nominate(path, Hint { remote, new_inode, by_reconciliation: self.lists }, size, listed_at).await;
            }
        }
        Ok(())
    }

    async fn nominate(&self, path: RelPath, hint: Hint, size: Option<u64>, listed_at: Instant) {
        let report = &self.pipeline.report;
        report.nominated.fetch_add(1, Ordering::Relaxed);
        report.bytes_expected.fetch_add(size.unwrap_or(0), Ordering::Relaxed);
        tokio::select! {
            () = self.pipeline.feed.nominate(path, hint, Some(listed_at)) => {}
            () = self.pipeline.cancel.cancelled() => {}
        }
    }

    async fn flush_spool(&mut self) -> Result<(), SyncError> {
        if let (false, Some(id)) = (self.spool.is_empty(), self.pipeline.id) {
            catalog::spool::spool(&self.pipeline.catalog, id, self.pass, &self.spool).await?;
            self.spool.clear();
        }
        Ok(())
    }
}
