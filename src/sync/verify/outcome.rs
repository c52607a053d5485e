//! What is asked of a verification, and what it answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::judge::Kind;
use super::remedy::Remedy;
use crate::model::RelPath;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Fetch the objects, too.
    pub download: bool,
    /// Mend what can be. The caller holds the writer's lock.
    pub repair: bool,
    /// How long a running agent may take until it tries a path that never goes quiet.
    pub max_delay: Duration,
}

/// A path that differs, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The folder's name.
    pub folder: String,
    /// Which.
    pub path: RelPath,
    /// How.
    pub kind: Kind,
    /// In words.
    pub detail: String,
    /// What becomes of it.
    pub remedy: Remedy,
}

/// Takes each difference as soon as it is certain.
pub type Tell = Arc<dyn Fn(Difference) + Send + Sync>;

/// What a verification has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Paths that were compared.
    pub checked: u64,
    /// Files that were read.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Objects that were fetched.
    pub objects: u64,
    /// Objects that nobody here vouches for.
    pub foreign: u64,
    /// Entries that are not synced.
    pub skipped: u64,
    /// Paths below directories that can't be read.
    pub unseen: u64,
    /// Paths that changed each time they were looked at.
    pub restless: u64,
    /// Differences, by kind.
    pub differences: BTreeMap<Kind, u64>,
    /// Paths with a difference.
    pub differing: u64,
    /// Of these, those that were mended.
    pub mended: u64,
    /// It was stopped before its end.
    pub interrupted: bool,
}

impl Verified {
    /// Whether the three worlds hold the same now.
    pub fn is_equal(&self) -> bool {
        !self.interrupted && self.differing == self.mended
    }
}
