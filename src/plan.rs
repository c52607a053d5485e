//! The decision: what was seen of a path in the three worlds, and what follows from it.
//!
//! Pure functions, without I/O, clock or randomness, so that every row of the decision table in `docs/ARCHITECTURE.md` can
//! be tested. A decision is only as good as what was seen: [`decide`] is called once on what the merge saw, to find out
//! whether the path deserves work at all, and again by the worker on a fresh look.

use std::time::Duration;

use crate::config::settings::DeletePolicy;
use crate::model::{Digest, ETag, Fingerprint, Identity, Local, Remote, Row, RowState, SkipReason, Stamp, Synced};

/// Stamps of a local file system move once a kernel tick, 4 to 10 ms (before Linux 6.13); twice that and a margin.
pub const FINE_GRAIN: Duration = Duration::from_millis(20);
/// FAT has 2 s, and a remote file system stamps by another clock.
pub const COARSE_GRAIN: Duration = Duration::from_secs(2);

/// What to do with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The worlds agree, or too little is known.
    Nothing,
    /// Upload it, then write the row.
    Upload(Cause),
    /// Hash it. If the object holds the same content, only the row is written, else it is uploaded.
    Adopt,
    /// Hash it. If the content is the row's and the object is sound, the row is touched, else it is uploaded.
    Compare(Cause),
    /// A `kept` row whose file is back as it was: the row becomes `synced` again.
    Resume,
    /// Remove object and row, given proof that the file is gone.
    Delete,
    /// The row goes, the object stays: the path is not synced any more, or never was.
    DropRow(Option<SkipReason>),
    /// The row becomes `kept`, the object stays.
    Keep,
    /// An object that nobody here put there: reported, kept.
    Foreign,
}

/// Why a path is uploaded or compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// There is no row.
    New,
    /// The file is not what the row says.
    Changed,
    /// The object is not what the row says, though the file is: somebody else changed the bucket.
    Drift,
    /// The last try failed, or a removal was interrupted and the file is there.
    Unfinished,
}

/// Decides from what was seen. Everything that is not proven leads to [`Decision::Nothing`].
pub fn decide(local: &Local, row: Option<&Row>, remote: &Remote, policy: DeletePolicy) -> Decision {
    match local {
        Local::Unknown(_) => Decision::Nothing,
        Local::Skipped(reason) => match row {
            Some(_) => Decision::DropRow(Some(*reason)),
            None => Decision::Nothing,
        },
        Local::Present(meta) => decide_present(&meta.fingerprint, row, remote),
        Local::Absent => decide_absent(row, remote, policy),
    }
}

fn decide_present(seen: &Fingerprint, row: Option<&Row>, remote: &Remote) -> Decision {
    let Some((row, synced)) = row.and_then(|row| Some((row, row.synced.as_ref()?))) else {
        // No row, or one that only says that no try has succeeded.
        return match remote {
            Remote::Present(listed) if listed.size == seen.size => Decision::Adopt,
            Remote::Present(_) | Remote::NotKnown | Remote::Doubtful | Remote::Missing => {
                Decision::Upload(if row.is_some() { Cause::Unfinished } else { Cause::New })
            }
        };
    };
    match row.state {
        RowState::Synced | RowState::Kept => {
            if row.racy || row.fingerprint.as_ref() != Some(seen) {
                Decision::Compare(Cause::Changed)
            } else if !is_sound(row.state, synced, remote) {
                Decision::Upload(if *remote == Remote::Doubtful { Cause::Unfinished } else { Cause::Drift })
            } else if row.state == RowState::Kept {
                Decision::Resume
            } else {
                Decision::Nothing
            }
        }
        RowState::Failed | RowState::Deleting => Decision::Compare(Cause::Unfinished),
    }
}

fn decide_absent(row: Option<&Row>, remote: &Remote, policy: DeletePolicy) -> Decision {
    let Some(row) = row else {
        return match remote {
            Remote::Present(_) => Decision::Foreign,
            Remote::NotKnown | Remote::Doubtful | Remote::Missing => Decision::Nothing,
        };
    };
    if row.synced.is_none() {
        return Decision::DropRow(None);
    }
    match (row.state, policy) {
        (RowState::Kept, DeletePolicy::Mirror | DeletePolicy::Keep) => match remote {
            // A row vouches for an object; this one is gone, and no file is left to bring it back.
            Remote::Missing => Decision::DropRow(None),
            Remote::NotKnown | Remote::Doubtful | Remote::Present(_) => Decision::Nothing,
        },
        (RowState::Synced | RowState::Failed | RowState::Deleting, DeletePolicy::Mirror) => Decision::Delete,
        (RowState::Synced | RowState::Failed, DeletePolicy::Keep) => match remote {
            Remote::Missing => Decision::DropRow(None),
            Remote::NotKnown | Remote::Doubtful | Remote::Present(_) => Decision::Keep,
        },
        // The policy changed in the middle of a removal: only a listing can tell whether there is something to keep.
        (RowState::Deleting, DeletePolicy::Keep) => match remote {
            Remote::Present(_) => Decision::Keep,
            Remote::Missing => Decision::DropRow(None),
            Remote::NotKnown | Remote::Doubtful => Decision::Nothing,
        },
    }
}

/// Whether the object may be taken for what the row says. Not known is sound, but for a row in `deleting`, whose object may
/// be gone already, and for one in `failed`, whose last try may have reached the store although its answer was lost.
fn is_sound(state: RowState, synced: &Synced, remote: &Remote) -> bool {
    match remote {
        Remote::Present(listed) => listed.etag == synced.etag && listed.size == synced.size,
        Remote::Missing | Remote::Doubtful => false,
        Remote::NotKnown => match state {
            RowState::Synced | RowState::Kept => true,
            RowState::Failed | RowState::Deleting => false,
        },
    }
}

/// What is done once the content's digest is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// The bytes go to S3.
    Upload,
    /// Only the row is written: the content is the one that the row has.
    Touch,
    /// Only the row is written: the object holds the content.
    Adopt,
    /// The object's ETag is of a multipart upload: it is adopted if, for one of these part sizes, it is the MD5 of the parts'
    /// MD5s; else as [`Conclusion::AdoptByMetadata`].
    AdoptIfComposite(Vec<u64>),
    /// Adopted if a HEAD shows the digest in `md5chksum`, else uploaded.
    AdoptByMetadata,
}

/// Concludes from the digest of `size` bytes what [`decide`] had to leave open.
pub fn conclude(decision: &Decision, size: u64, digest: Digest, row: Option<&Row>, remote: &Remote) -> Conclusion {
    match decision {
        Decision::Compare(_) => {
            let same = row.and_then(|row| Some((row.state, row.synced.as_ref()?))).is_some_and(|(state, synced)| {
                synced.digest == digest && synced.size == size && is_sound(state, synced, remote)
            });
            if same { Conclusion::Touch } else { Conclusion::Upload }
        }
        Decision::Adopt => match remote {
            Remote::Present(listed) if listed.size == size => {
                if is_md5(&listed.etag, digest) {
                    return Conclusion::Adopt;
                }
                let part_sizes = part_count(&listed.etag).map(|n| usual_part_sizes(size, n)).unwrap_or_default();
                if part_sizes.is_empty() {
                    Conclusion::AdoptByMetadata
                } else {
                    Conclusion::AdoptIfComposite(part_sizes)
                }
            }
            Remote::Present(_) | Remote::Missing | Remote::NotKnown | Remote::Doubtful => Conclusion::Upload,
        },
        Decision::Nothing
        | Decision::Upload(_)
        | Decision::Resume
        | Decision::Delete
        | Decision::DropRow(_)
        | Decision::Keep
        | Decision::Foreign => Conclusion::Upload,
    }
}

/// Whether the ETag is this MD5, as it is for an object put in one part and not encrypted with KMS.
pub fn is_md5(etag: &ETag, digest: Digest) -> bool {
    Digest::from_hex(etag.as_str()) == Some(digest)
}

/// The `N` of an ETag `HEX-N`, which a multipart upload in N parts has.
pub fn part_count(etag: &ETag) -> Option<u64> {
    let (hex, count) = etag.as_str().split_once('-')?;
    let looks_right = hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    let count = count.parse().ok().filter(|n| (1..=10_000).contains(n))?;
    looks_right.then_some(count)
}

/// Part sizes that upload tools use by default and that cut `size` bytes into `parts`: 5, 8, 16, 50 and 64 MiB, and an even
/// division rounded up to a MiB.
pub fn usual_part_sizes(size: u64, parts: u64) -> Vec<u64> {
    const MIB: u64 = 1 << 20;
    let even = size.div_ceil(parts).div_ceil(MIB) * MIB;
    let mut sizes: Vec<u64> = [5 * MIB, 8 * MIB, 16 * MIB, 50 * MIB, 64 * MIB, even]
        .into_iter()
        .filter(|&part| part > 0 && size.div_ceil(part).max(1) == parts)
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// How long a stamp stays ambiguous: coarse where the file system is remote, or where both stamps are whole seconds.
pub fn grain(seen: &Fingerprint, remote_file_system: bool) -> Duration {
    if remote_file_system || (seen.mtime.is_whole_second() && seen.ctime.is_whole_second()) {
        COARSE_GRAIN
    } else {
        FINE_GRAIN
    }
}

/// Whether a change after `read_began` could leave the fingerprint as it is, so that it can't be trusted.
///
/// A stamp is trusted when it is older than the read by the file system's grain. An `mtime` in the future is trusted too,
/// since the next write moves it; a `ctime` in the future is not, since the clock was set back and may come past it again.
pub fn is_racy(seen: &Fingerprint, read_began: Stamp, grain: Duration) -> bool {
    let settled = read_began.minus(grain);
    let ambiguous_mtime =
        seen.mtime > settled && seen.mtime <= Stamp(read_began.0.saturating_add(COARSE_GRAIN.as_nanos() as i64));
    seen.ctime > settled || ambiguous_mtime
}

/// Whether a write may have gone on unseen while the content was read, so that it may be torn: the file was written to, or
/// a write began, within a grain before. A `ctime` farther in the future says nothing, since the clock was set back.
pub fn may_be_torn(seen: &Fingerprint, read_began: Stamp, grain: Duration) -> bool {
    let future = Stamp(read_began.0.saturating_add(COARSE_GRAIN.as_nanos() as i64));
    seen.ctime > read_began.minus(grain) && seen.ctime <= future
}

/// Whether the event of a change may still be on its way: a path is nominated by a reconciliation, and events take up to
/// `within` to come. The change was not missed yet.
pub fn may_be_told(seen: &Fingerprint, nominated: Stamp, within: Duration) -> bool {
    seen.ctime > nominated.minus(within)
}

/// Whether a pass that would delete `deletes` of `synced` rows must hold them: they are more than the larger of the share
/// and the count, and the share is not 100 %.
pub fn exceeds_threshold(deletes: u64, synced: u64, max_percent: f64, max_count: u64) -> bool {
    // Precision: beyond 2^53 rows the share is rounded; no folder has as many.
    let share = synced as f64 * max_percent / 100.0;
    max_percent < 100.0 && deletes > max_count && deletes as f64 > share
}

/// What a pass concludes from the folder's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityVerdict {
    /// It is the folder that was synced.
    Same,
    /// There was none yet, or the content proves the folder: the identity seen is to be taken.
    Take,
    /// Another folder may be mounted here: no deletion until a person has looked.
    Doubt,
}

/// Judges the identity after a walk. `complete`: the walk ended without any error. `matched` of `rows` were found with
/// equal size and mtime.
pub fn judge_identity(
    known: Option<&Identity>,
    seen: &Identity,
    complete: bool,
    matched: u64,
    rows: u64,
) -> IdentityVerdict {
    match known {
        Some(known) if known == seen => IdentityVerdict::Same,
        None => IdentityVerdict::Take,
        Some(_) if is_proven(complete, matched, rows) => IdentityVerdict::Take,
        Some(_) => IdentityVerdict::Doubt,
    }
}

/// Whether what stands in a place now is what it should be, whatever its identity says: nothing could be deleted by mistake, or a
/// look at all of it, without any error, has found at least half of the files with equal size and mtime.
pub fn is_proven(complete: bool, matched: u64, rows: u64) -> bool {
    rows == 0 || (complete && matched.saturating_mul(2) >= rows)
}

/// Whether `candidate`'s file is the one seen under another path: renamed, or a hard link. The content is compared later.
pub fn is_same_file(candidate: &Row, seen: &Fingerprint) -> bool {
    candidate.state == RowState::Synced
        && candidate.synced.as_ref().is_some_and(|synced| synced.size == seen.size)
        && candidate
            .fingerprint
            .is_some_and(|row| row.inode == seen.inode && row.size == seen.size && row.mtime == seen.mtime)
}

#[cfg(test)]
mod tests;
