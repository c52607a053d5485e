//! What a pass has done: counted while it runs, shown as progress, and printed as a summary at its end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::metrics::Measured;
use crate::model::{EventKind, RelPath, SkipReason};

/// Paths that are named per kind; the rest is counted.
const NAMED: usize = 20;

/// What happened to the paths of one folder. Shared by everything that works on it.
#[derive(Debug, Default)]
pub struct Report {
    /// Paths that were compared.
    pub checked: AtomicU64,
    /// Paths that were found to deserve work.
    pub nominated: AtomicU64,
    /// Of these, those that are settled for good.
    pub settled: AtomicU64,
    /// Bytes of the files that deserve work, as far as known.
    pub bytes_expected: AtomicU64,
    /// Bytes sent to S3.
    pub bytes_sent: AtomicU64,
    /// Paths whose try has failed and that are tried again later.
    pub tried_again: AtomicU64,
    /// Deletions that have failed.
    pub failed_deletes: AtomicU64,
    /// Where it is recorded how long things take.
    pub measured: Measured,
    named: Mutex<Named>,
}

#[derive(Debug, Default, Clone)]
struct Named {
    done: BTreeMap<&'static str, u64>,
    failures: Counted<(String, String)>,
    skipped: BTreeMap<SkipReason, Counted<String>>,
    foreign: Counted<String>,
    empty_directories: u64,
    drift: BTreeMap<&'static str, u64>,
    reconciling_for: Option<&'static str>,
    dropped: u64,
}

/// A number of things, the first of them by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted<T> {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<T>,
}

impl<T> Counted<T> {
    fn add(&mut self, item: impl FnOnce() -> T) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(item());
        }
    }
}

/// The counts of a pass that has ended.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Paths that were compared.
    pub checked: u64,
    /// Bytes sent to S3.
    pub bytes_sent: u64,
    /// Outcomes by kind.
    pub done: BTreeMap<&'static str, u64>,
    /// Path and reason of what failed.
    pub failures: Counted<(String, String)>,
    /// What was skipped, by reason.
    pub skipped: BTreeMap<SkipReason, Counted<String>>,
    /// Objects that nobody here put there.
    pub foreign: Counted<String>,
    /// Directories without entries.
    pub empty_directories: u64,
    /// What was found that no event had told of, by cause.
    pub drift: BTreeMap<&'static str, u64>,
    /// Rows that were dropped, their objects kept.
    pub dropped: u64,
}

impl Report {
    /// One that also records how long things take.
    pub fn measuring(measured: Measured) -> Self {
        Self { measured, ..Self::default() }
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        // Counters are sound after a panic elsewhere.
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files that deserve work, all at once.
    pub fn expect(&self, files: u64, bytes: u64) {
        self.nominated.fetch_add(files, Ordering::Relaxed);
        self.bytes_expected.fetch_add(bytes, Ordering::Relaxed);
    }

    /// An outcome.
    pub fn done(&self, kind: EventKind) {
        *self.named().done.entry(kind.as_str()).or_default() += 1;
    }

    /// As [`Self::done`], several times.
    pub fn done_many(&self, kind: EventKind, count: u64) {
        if count > 0 {
            *self.named().done.entry(kind.as_str()).or_default() += count;
        }
    }

    /// How many outcomes of this kind there were.
    pub fn count(&self, kind: EventKind) -> u64 {
        self.named().done.get(kind.as_str()).copied().unwrap_or(0)
    }

    /// A row that became `kept`.
    pub fn done_kept(&self) {
        *self.named().done.entry("kept").or_default() += 1;
    }

    /// A path, or a directory, that could not be synced.
    pub fn failed(&self, path: &RelPath, why: &str) {
        self.named().failures.add(|| (path.to_string(), why.to_owned()));
    }

    /// An entry that is there and not synced.
    pub fn skipped(&self, path: &RelPath, reason: SkipReason) {
        self.named().skipped.entry(reason).or_default().add(|| path.to_string());
    }

    /// An object that nobody here put there.
    pub fn foreign(&self, path: &RelPath) {
        self.named().foreign.add(|| path.to_string());
    }

    /// A row that went, its object kept.
    pub fn dropped(&self) {
        self.named().dropped += 1;
    }

    /// Something that no event has told of, and why it was found: `object`, when the bucket was not what the row said, or the
    /// cause of the reconciliation.
    pub fn drift(&self, cause: &'static str) {
        *self.named().drift.entry(cause).or_default() += 1;
    }

    /// A change that a reconciliation has found and no event has told of. It counts as drift, unless nothing was watched
    /// before.
    pub fn missed(&self) {
        let cause = self.named().reconciling_for;
        if let Some(cause) = cause {
            self.drift(cause);
        }
    }

    /// Why the reconciliation that runs was begun; none for the first one, which finds what happened while nobody watched.
    pub fn reconciling_for(&self, cause: Option<&'static str>) {
        self.named().reconciling_for = cause;
    }

    /// Directories without entries.
    pub fn empty_directories(&self, count: u64) {
        self.named().empty_directories += count;
    }

    /// What it says now.
    pub fn summary(&self) -> Summary {
        let named = self.named().clone();
        Summary {
            checked: self.checked.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            done: named.done,
            failures: named.failures,
            skipped: named.skipped,
            foreign: named.foreign,
            empty_directories: named.empty_directories,
            drift: named.drift,
            dropped: named.dropped,
        }
    }
}
