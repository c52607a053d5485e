//! What mends a difference. Nothing is mended by guessing: a file or an object that may be the only good copy is left alone.

use super::judge::{Finding, Kind, Observation};
use crate::model::{Local, Remote};
use crate::queue::Hint;

/// What mends a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It is being mended.
    Mending,
    /// The next sync sees to it.
    Sync,
    /// `verify --repair` does, from the file.
    Repair,
    /// A person decides: the object is brought back, or the file as it is counts from now on.
    Decide,
    /// Neither file nor object is what was synced.
    NoGoodCopy,
    /// What hinders reading is to be removed.
    Access,
}

/// What mends a difference of a path that has these.
pub(super) fn remedy(kind: Kind, all: &[Kind]) -> Remedy {
    let damaged_file = all.contains(&Kind::DamagedFile);
    match kind {
        Kind::Unreadable => Remedy::Access,
        Kind::DamagedFile if all.iter().any(|other| BAD_OBJECT.contains(other)) => Remedy::NoGoodCopy,
        Kind::DamagedFile => Remedy::Decide,
        Kind::NoObject | Kind::ObjectDiffers | Kind::DamagedObject if damaged_file => Remedy::NoGoodCopy,
        // Its ETag is the row's, so a sync does not see it.
        Kind::DamagedObject => Remedy::Repair,
        Kind::Unsynced | Kind::NoRow | Kind::NoFile | Kind::Failed | Kind::NoObject | Kind::ObjectDiffers => {
            Remedy::Sync
        }
    }
}

/// The object is not what the row promises.
const BAD_OBJECT: [Kind; 3] = [Kind::NoObject, Kind::ObjectDiffers, Kind::DamagedObject];

/// What a worker is to be told so that it mends what was found; none where it would have to guess, or nothing can be done.
pub(super) fn mend(seen: &Observation, findings: &[Finding]) -> Option<Hint> {
    let has = |kinds: &[Kind]| findings.iter().any(|finding| kinds.contains(&finding.kind));
    let Local::Present(meta) = &seen.local else { return None };
    // The object may be the only good copy, or there may be none: a person has to look.
    if has(&[Kind::DamagedFile, Kind::Unreadable]) {
        return None;
    }
    let object_is_bad = has(&BAD_OBJECT);
    // A file that is newer than its row is uploaded as it is; one that is not must prove that it is the content that was synced.
    if object_is_bad && !seen.file_is_good() && !has(&[Kind::Unsynced, Kind::Failed]) {
        return None;
    }
    // Whatever is there, it is not to be taken for good.
    let remote = if object_is_bad { Remote::Missing } else { seen.remote.clone() };
    let new_inode = seen.row.is_none().then_some(meta.fingerprint.inode);
    Some(Hint { remote, new_inode, by_reconciliation: true })
}
