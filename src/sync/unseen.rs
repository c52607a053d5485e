//! Directories that could not be listed. Nothing below them may have a row, so an event of such a directory, or of one above it,
//! could not be told from that of a file.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::RelPath;

/// Directories that are remembered one by one. Beyond it, every directory counts as one that could not be listed.
const REMEMBERED: usize = 10_000;

/// What the reconciliations of a folder could not list.
#[derive(Debug, Default)]
pub struct Unseen {
    directories: Mutex<BTreeSet<String>>,
}

impl Unseen {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // Every change is a single insertion or removal.
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory could not be listed.
    pub fn add(&self, directory: &RelPath) {
        let mut directories = self.lock();
        // One more than are told apart says that there are too many.
        if directories.len() <= REMEMBERED {
            directories.insert(directory.as_str().to_owned());
        }
    }

    /// What lies at and below this directory is about to be listed again. The empty path holds everything.
    pub fn forget_within(&self, directory: &str) {
        let mut directories = self.lock();
        if directory.is_empty() {
            directories.clear();
        } else {
            directories.retain(|unseen| !crate::model::is_within(unseen, directory));
        }
    }

    /// Whether it, or anything below it, could not be listed.
    pub fn any_within(&self, directory: &str) -> bool {
        let directories = self.lock();
        let below = (Bound::Included(format!("{directory}/")), Bound::Excluded(format!("{directory}0")));
        directories.len() > REMEMBERED
            || directories.contains(directory)
            || directories.range::<String, _>(below).next().is_some()
    }

    /// How many there are, as far as they are told apart.
    pub fn count(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> RelPath {
        RelPath::from_raw(name.as_bytes())
    }

    #[test]
    fn a_directory_is_unseen_with_all_above_it_until_it_is_listed_again() {
        let unseen = Unseen::default();
        for name in ["a/b", "a/b/c", "a-", "d"] {
            unseen.add(&path(name));
        }
        for (name, expected) in [("a", true), ("a/b", true), ("a/b/c", true), ("a/c", false), ("a/b/c/d", false)] {
            assert_eq!(unseen.any_within(name), expected, "{name}");
        }
        unseen.forget_within("a/b");
        assert!(!unseen.any_within("a") && unseen.any_within("a-") && unseen.count() == 2);
        unseen.forget_within("");
        assert!(!unseen.any_within("d") && unseen.count() == 0);
    }

    #[test]
    fn where_too_many_are_unseen_any_may_be() {
        let unseen = Unseen::default();
        for i in 0..=REMEMBERED + 5 {
            unseen.add(&path(&format!("{i}")));
        }
        assert!(unseen.any_within("elsewhere"));
        assert_eq!(unseen.count(), REMEMBERED + 1);
    }
}
