//! What has become of the files of a restore.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::RelPath;
use crate::sync::report::Report;

/// Counts, while a restore runs.
#[derive(Debug, Default)]
pub struct Tally {
    /// Failures by name, and what the progress bars show: bytes that were fetched count as sent.
    pub report: Arc<Report>,
    restored: AtomicU64,
    present: AtomicU64,
    adjusted: AtomicU64,
    unchecked: AtomicU64,
    stripped: AtomicU64,
    markers: AtomicU64,
}

/// The counts of a restore that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files that were fetched.
    pub restored: u64,
    /// Files that were there already.
    pub present: u64,
    /// Files whose content was there already, with another mode or time.
    pub adjusted: u64,
    /// Of the fetched ones, those that there was no MD5 to compare with.
    pub unchecked: u64,
    /// Of the fetched ones, those that had set-user-id, set-group-id or sticky bits, which are left out.
    pub stripped: u64,
    /// Objects that stand for directories.
    pub markers: u64,
}

impl Tally {
    /// A file was fetched.
    pub(super) fn restored(&self, checked: bool, mode: Option<u32>) {
        self.restored.fetch_add(1, Ordering::Relaxed);
        self.unchecked.fetch_add(u64::from(!checked), Ordering::Relaxed);
        self.stripped.fetch_add(u64::from(mode.is_some_and(|mode| mode & 0o7000 != 0)), Ordering::Relaxed);
    }

    /// A file was there already.
    pub(super) fn present(&self) {
        self.present.fetch_add(1, Ordering::Relaxed);
    }

    /// The content of a file was there already.
    pub(super) fn adjusted(&self) {
        self.adjusted.fetch_add(1, Ordering::Relaxed);
    }

    /// An object stands for a directory.
    pub(super) fn marker(&self) {
        self.markers.fetch_add(1, Ordering::Relaxed);
    }

    /// A file could not be brought back. Each is named in the log, the first of them in the summary.
    pub fn failed(&self, path: &RelPath, why: &str) {
        tracing::error!(path = %path, action = "failed", error = why, "failed to restore {path}: {why}");
        self.report.failed(path, why);
    }

    /// What they are now.
    pub fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            restored: of(&self.restored),
            present: of(&self.present),
            adjusted: of(&self.adjusted),
            unchecked: of(&self.unchecked),
            stripped: of(&self.stripped),
            markers: of(&self.markers),
        }
    }
}
