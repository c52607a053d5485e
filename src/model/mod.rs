//! The nouns of the program: what a path, a file, a row and an object are.
//!
//! Pure data. Nothing here does I/O, and nothing knows of tokio, S3 or PostgreSQL.

mod local;
mod notice;
mod object;
mod parts;
mod path;
mod row;
mod sorted;

pub use local::{Absence, Entry, FileMeta, Fingerprint, Identity, Local, Mount, SkipReason, Stamp, Walked};
pub use notice::NoticeKind;
pub use object::{Digest, ETag, Listed, Remote};
pub use parts::{MD5_BLOCK, Parts, part_size};
pub use path::{MAX_KEY_BYTES, ObjectKey, Printable, RelPath, encode_name, is_within, may_collide};
pub use row::{EventKind, FolderId, FolderState, Row, RowState, Synced};
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
