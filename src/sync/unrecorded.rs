//! Paths of which the catalog takes no row at all, not even one that says that they failed: nobody else would know of them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{self, RelPath};

/// Paths that are told apart; that there are more is as good as their number.
const REMEMBERED: usize = 10_000;

/// What could not be written down in a folder's life.
#[derive(Debug, Default)]
pub struct Unrecorded {
    paths: Mutex<BTreeSet<String>>,
}

impl Unrecorded {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // Every change is a single insertion or removal.
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its row was refused.
    pub fn add(&self, path: &RelPath) {
        let mut paths = self.lock();
        if paths.len() < REMEMBERED {
            paths.insert(path.as_str().to_owned());
        }
    }

    /// It is looked at again.
    pub fn forget(&self, path: &RelPath) {
        let mut paths = self.lock();
        if !paths.is_empty() {
            paths.remove(path.as_str());
        }
    }

    /// All that lies at and below this directory is looked at again. The empty path holds everything.
    pub fn forget_within(&self, directory: &str) {
        self.lock().retain(|path| !directory.is_empty() && !model::is_within(path, directory));
    }

    /// How many there are, as far as they are told apart.
    pub fn count(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_unrecorded_until_it_or_its_directory_is_looked_at_again() {
        let unrecorded = Unrecorded::default();
        let path = |name: &str| RelPath::from_raw(name.as_bytes());
        for name in ["a", "d/b", "d/c", "e"] {
            unrecorded.add(&path(name));
        }
        unrecorded.forget(&path("a"));
        unrecorded.forget_within("d");
        assert_eq!(unrecorded.count(), 1);
        unrecorded.forget_within("");
        assert_eq!(unrecorded.count(), 0);
    }
}
