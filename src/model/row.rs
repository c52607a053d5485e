//! What the catalog holds: rows, folders, history.

use super::{Digest, ETag, Fingerprint, RelPath};

/// The state of a row in `portail.file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowState {
    /// S3 has acknowledged these bytes.
    Synced,
    /// The last try failed; what the row says of the object is the last one synced, if any.
    Failed,
    /// The object is being removed.
    Deleting,
    /// The file is gone, the object stays on purpose.
    Kept,
}

impl RowState {
    /// As the column holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Kept => "kept",
        }
    }

    /// From the column.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "synced" => Self::Synced,
            "failed" => Self::Failed,
            "deleting" => Self::Deleting,
            "kept" => Self::Kept,
            _ => return None,
        })
    }
}

/// The object that a row vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// Bytes.
    pub size: u64,
    /// Of the whole content.
    pub digest: Digest,
    /// As S3 gave it.
    pub etag: ETag,
    /// Where the bucket has versions.
    pub version: Option<String>,
}

/// A row of `portail.file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where.
    pub path: RelPath,
    /// How far.
    pub state: RowState,
    /// Of the file when it was last synced; none for a file that never was.
    pub fingerprint: Option<Fingerprint>,
    /// The fingerprint was taken too soon after a change to be believed: the next nomination hashes.
    pub racy: bool,
    /// The object, if one was ever acknowledged.
    pub synced: Option<Synced>,
    /// Tries since the last success.
    pub attempts: u32,
}

/// `portail.folder.id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FolderId(pub i64);

/// `portail.folder.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FolderState {
    /// Not yet reconciled by this process.
    Starting,
    /// A reconciliation runs.
    Syncing,
    /// The last reconciliation ended without error.
    InSync,
    /// It works, but something fails or is held.
    Degraded,
    /// Nothing is done: the folder is not there.
    Suspended,
}

impl FolderState {
    /// All that there are.
    pub const ALL: [Self; 5] = [Self::Starting, Self::Syncing, Self::InSync, Self::Degraded, Self::Suspended];

    /// As the column holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Syncing => "syncing",
            Self::InSync => "in_sync",
            Self::Degraded => "degraded",
            Self::Suspended => "suspended",
        }
    }

    /// From the column.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "starting" => Self::Starting,
            "syncing" => Self::Syncing,
            "in_sync" => Self::InSync,
            "degraded" => Self::Degraded,
            "suspended" => Self::Suspended,
            _ => return None,
        })
    }
}

/// What happened to a path, as `portail.event.kind` holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Its bytes went to S3.
    Uploaded,
    /// S3 copied it from the path that it was renamed from.
    Copied,
    /// The object was there already.
    Adopted,
    /// Only stamps, mode or owner changed.
    Touched,
    /// The object was removed.
    Deleted,
    /// A try failed.
    Failed,
    /// Its deletion waits for a person.
    Held,
    /// It was brought back from S3.
    Restored,
}

impl EventKind {
    /// As the column holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uploaded => "uploaded",
            Self::Copied => "copied",
            Self::Adopted => "adopted",
            Self::Touched => "touched",
            Self::Deleted => "deleted",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Restored => "restored",
        }
    }
}
