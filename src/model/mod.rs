//! The nouns of the program: what a path, a file, a row and an object are.
//!
//! Pure data. Nothing here does I/O, and nothing knows of tokio, S3 or PostgreSQL.

mod local;
mod notice;
mod object;
mod parts;
mod path;
mod row;
mod scope;
mod sorted;

pub use local::{Absence, Entry, FileMeta, Fingerprint, Identity, Local, Mount, SkipReason, Stamp, Walked};
pub use notice::NoticeKind;
pub use object::{Digest, ETag, Listed, Remote};
pub use parts::{MD5_BLOCK, Parts, part_size};
pub use path::{MAX_KEY_BYTES, ObjectKey, Printable, RelPath, ShownPath, encode_name, is_within, may_collide};
pub use row::{EventKind, FolderId, FolderState, Row, RowState, Synced};
pub use scope::{Scope, Scopes};
pub use sorted::SortedPaths;

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// This path, again, after a pause.
    Later,
    /// This path never, until it changes.
    Never,
    /// Nothing on this folder can work until the cause is gone: S3 or PostgreSQL is away, or refuses us.
    Fatal,
}

/// For a log.
pub fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An error and what caused it, on one line that is safe to print.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    Printable(&text).to_string()
}
