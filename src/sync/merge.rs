//! The three-way ordered merge: a walk, the catalog's rows and the bucket's listing, each in byte order of the path, side by
//! side in one pass and in constant memory.
//!
//! Pure: the caller shows the next item of each stream, and [`Merge::step`] says which of them belong together and what was
//! seen of that path in the folder.

use std::cmp::Ordering;

use crate::model::{Entry, Local, RelPath, SkipReason, Walked};

/// Part of the tree that the walk did not show: what lies below it was not seen, which does not make it absent.
#[derive(Debug)]
struct Shadow {
    /// Ends in `/`.
    prefix: String,
    local: Local,
}

/// Which items make the next step, and what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// Take the walk's item.
    pub walked: bool,
    /// Take the row.
    pub row: bool,
    /// Take the object.
    pub object: bool,
    /// What was seen in the folder. None for a directory that is not entered: it only casts its shadow on what follows.
    pub local: Option<Local>,
}

/// The state between two steps.
#[derive(Debug, Default)]
pub struct Merge {
    /// Those that what follows may still fall in, each within the one before it, so there are at most as many as the path
    /// is long.
    shadows: Vec<Shadow>,
}

impl Merge {
    /// The next step, given the head of each stream; none when all three have ended.
    ///
    /// `is_excluded` is asked about a path that a row or an object has and the walk does not, before it is called absent.
    pub fn step(
        &mut self,
        walked: Option<&Walked>,
        row: Option<&RelPath>,
        object: Option<&str>,
        is_excluded: impl FnOnce(&RelPath) -> bool,
    ) -> Option<Step> {
        let elsewhere = match (row, object) {
            (Some(row), Some(object)) => Some(row.as_str().min(object)),
            (Some(row), None) => Some(row.as_str()),
            (None, object) => object,
        };
        let walk_order = match (walked, elsewhere) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (Some(walked), Some(path)) => walked.cmp_to(path),
            (None, Some(_)) => Ordering::Greater,
        };
        if let Some(walked) = walked.filter(|_| walk_order != Ordering::Greater) {
            let path = walked.path.as_str();
            self.leave_shadows(path);
            let local = self.enter(walked);
            return Some(Step {
                walked: true,
                row: local.is_some() && row.is_some_and(|row| row.as_str() == path),
                object: local.is_some() && object == Some(path),
                local,
            });
        }
        let path = elsewhere?;
        self.leave_shadows(path);
        let is_row = row.is_some_and(|row| row.as_str() == path);
        let local = self.shadow_over(path).unwrap_or_else(|| {
            let excluded = match row.filter(|_| is_row) {
                Some(row) => is_excluded(row),
                None => is_excluded(&RelPath::from_encoded(path, None)),
            };
            if excluded { Local::Skipped(SkipReason::Excluded) } else { Local::Absent }
        });
        Some(Step { walked: false, row: is_row, object: object == Some(path), local: Some(local) })
    }

    /// What the walk's entry says of its own path, after its shadow was cast.
    fn enter(&mut self, walked: &Walked) -> Option<Local> {
        let (own, below) = match &walked.what {
            Entry::Leaf(Local::Present(meta)) => return Some(Local::Present(*meta)),
            // A link or a file that could not be seen may be a directory: nothing is known of what was below it.
            Entry::Leaf(local) => (Some(local.clone()), local.clone()),
            Entry::SkippedDirectory(reason) => (None, Local::Skipped(*reason)),
            Entry::UnreadableDirectory(why) => (None, Local::Unknown(why.clone())),
            // It is walked. What is mounted there has to do with what is absent only.
            Entry::Mount { .. } => return None,
        };
        self.shadows.push(Shadow { prefix: format!("{}/", walked.path.as_str()), local: below });
        own
    }

    fn leave_shadows(&mut self, path: &str) {
        while self.shadows.last().is_some_and(|shadow| {
            // Past all that lies below it.
            shadow.prefix.as_str() < path && !path.starts_with(&shadow.prefix)
        }) {
            self.shadows.pop();
        }
    }

    fn shadow_over(&self, path: &str) -> Option<Local> {
        self.shadows.iter().rev().find(|shadow| path.starts_with(&shadow.prefix)).map(|shadow| shadow.local.clone())
    }
}

#[cfg(test)]
mod tests;
