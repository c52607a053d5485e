//! Veils: what a mount that is in doubt makes of all that lies below it. What is absent there is hidden, until it is known better.
//!
//! Pure: the reconciliation shows what it finds, in whatever order.

use std::collections::BTreeMap;
use std::path::Path;

use crate::local::mounts::{mounted_over, not_there};
use crate::model::{Identity, Local, Mount, RelPath, Row, RowState};
use crate::plan;

/// Over all that lies below a mount that is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veil {
    /// Where.
    pub path: RelPath,
    /// Why what is absent below it is not believed to be.
    pub why: String,
    /// What stands there, and whether it is mounted; none if no directory does.
    pub(super) seen: Option<(Identity, bool)>,
    /// Files below it that have an object.
    pub(super) rows: u64,
    /// Of these, those that are there with equal size and mtime.
    pub(super) matched: u64,
    /// Of these, those that are not there.
    pub(super) hidden: u64,
    /// What could not be seen below it for other reasons.
    unknown: u64,
}

impl Veil {
    /// Whether there is something to say: it may be that only the way to it could not be seen.
    pub(super) fn is_doubt(&self) -> bool {
        !self.is_proven() && (self.hidden > 0 || self.seen.is_some())
    }

    /// Whether what was found proves that what stands there now is in the right place.
    pub(super) fn is_proven(&self) -> bool {
        plan::is_proven(self.unknown == 0, self.matched, self.rows)
    }
}

/// The veils of a reconciliation, by the path of their mount.
#[derive(Debug, Default)]
pub(super) struct Veils(BTreeMap<String, Veil>);

/// What a mount that was found is to what is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is the one that is known.
    Same,
    /// Another one is known.
    Other,
    /// None is known.
    New,
}

impl Veils {
    /// All that is known is in doubt until it is shown.
    pub(super) fn new(root: &Path, known: &[Mount]) -> Self {
        let veil = |mount: &Mount| {
            let why = not_there(root, &mount.path);
            (mount.path.as_str().to_owned(), Veil::new(mount.path.clone(), why))
        };
        Self(known.iter().map(veil).collect())
    }

    /// Takes what stands where something is mounted or was. `known` is what should.
    pub(super) fn show(&mut self, path: &RelPath, identity: Identity, mounted: bool, known: &[Mount]) -> Shown {
        match known.iter().find(|mount| mount.path == *path) {
            Some(mount) if mount.identity == identity => {
                self.lift(path);
                Shown::Same
            }
            Some(_) => {
                if let Some(veil) = self.0.get_mut(path.as_str()) {
                    veil.seen = Some((identity, mounted));
                }
                Shown::Other
            }
            None => Shown::New,
        }
    }

    /// What lies below a mount that is not known is in doubt.
    pub(super) fn cast(&mut self, root: &Path, path: &RelPath, identity: Identity) {
        let mut veil = Veil::new(path.clone(), mounted_over(root, path));
        veil.seen = Some((identity, true));
        self.0.insert(path.as_str().to_owned(), veil);
    }

    /// It is in doubt no more.
    pub(super) fn lift(&mut self, path: &RelPath) {
        self.0.remove(path.as_str());
    }

    /// The names of the directories above a path.
    fn above(path: &str) -> impl Iterator<Item = &str> {
        path.match_indices('/').filter_map(|(at, _)| path.get(..at))
    }

    /// Why a path that seems to be absent may be hidden.
    pub(super) fn over(&self, path: &str) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        Self::above(path).find_map(|directory| self.0.get(directory)).map(|veil| veil.why.as_str())
    }

    /// Counts a path, with what was seen of it: `hidden` is why an absent one is not known to be.
    pub(super) fn count(&mut self, path: &str, row: Option<&Row>, local: &Local, same: bool, hidden: bool) {
        if self.0.is_empty() {
            return;
        }
        if matches!(local, Local::Skipped(_)) {
            return;
        }
        let has_object = row.is_some_and(|row| row.synced.is_some() && row.state != RowState::Kept);
        let unknown = matches!(local, Local::Unknown(_)) && !hidden;
        for directory in Self::above(path) {
            let Some(veil) = self.0.get_mut(directory) else { continue };
            veil.rows += u64::from(has_object);
            veil.matched += u64::from(has_object && same);
            veil.hidden += u64::from(has_object && hidden);
            veil.unknown += u64::from(unknown);
        }
    }

    /// Counts a directory that could not be listed.
    pub(super) fn count_unreadable(&mut self, path: &RelPath) {
        let path = path.as_str();
        for directory in Self::above(path).chain([path]) {
            if let Some(veil) = self.0.get_mut(directory) {
                veil.unknown += 1;
            }
        }
    }

    /// Those that are left.
    pub(super) fn into_vec(self) -> Vec<Veil> {
        self.0.into_values().collect()
    }
}

impl Veil {
    fn new(path: RelPath, why: String) -> Self {
        Self { path, why, seen: None, rows: 0, matched: 0, hidden: 0, unknown: 0 }
    }
}

#[cfg(test)]
mod tests;
