//! What the queue takes and gives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{RelPath, Remote};

/// Why a path deserves work, besides its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What a listing showed at its key, so that nobody has to ask.
    pub remote: Remote,
    /// The inode that a walk showed for a path without a row: its row under another path may be found by it.
    pub new_inode: Option<u64>,
    /// Nominated by a reconciliation, not by an event: if it leads to an act, the watcher has missed something.
    pub by_reconciliation: bool,
}

impl Hint {
    /// What an event tells: nothing but the path.
    pub const EVENT: Self = Self { remote: Remote::NotKnown, new_inode: None, by_reconciliation: false };

    /// After an event has told of the path, too: it tells of the file and not of the object.
    pub(super) fn told(self) -> Self {
        Self { remote: self.remote, ..Self::EVENT }
    }
}

/// How much of the tree a job is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The path itself.
    Path,
    /// The directory and all that is or was below it.
    Tree,
}

/// One path to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which.
    pub path: Arc<RelPath>,
    /// Alone, or with all below it.
    pub scope: Scope,
    /// What is known already.
    pub hint: Hint,
    /// Tries that failed since the last success.
    pub attempts: u32,
    /// It was put off once because its stamps were too young to be believed.
    pub deferred: bool,
    /// When it was first nominated since it was last settled.
    pub since: Instant,
}

/// How a try has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing is left to do, now.
    Done,
    /// Nothing was to be done about its object, which is as it was: what a listing showed of it meanwhile still holds.
    Untouched,
    /// It failed, and is tried again after the pause.
    Failed {
        /// See [`super::backoff`].
        pause: Duration,
    },
    /// It is looked at again after the pause, which is no failure.
    Deferred {
        /// How long.
        pause: Duration,
    },
    /// It met trouble that is not its own, and is tried again after the pause.
    Interrupted {
        /// How long.
        pause: Duration,
    },
}

/// How the queue is bounded and paced.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Distinct paths.
    pub capacity: usize,
    /// The quiet time of a path that has changed again soon after it was settled; it doubles while it keeps changing.
    pub quiet: Duration,
    /// A path that never goes quiet is tried this often.
    pub max_delay: Duration,
}
