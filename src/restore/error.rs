//! Why one file could not be brought back.

use super::RestoreError;
use crate::local::hash::ReadError;
use crate::local::target::Obstacle;
use crate::model::{Digest, ObjectKey};
use crate::remote::RemoteError;

/// Why one file could not be brought back.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It can't be put there.
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// Another file stands there.
    #[error("put it there: the file there differs; --force replaces it")]
    Differs,
    /// A link stands there.
    #[error("put it there: a symbolic link stands there; --force replaces it")]
    Link,
    /// A directory stands there.
    #[error("put it there: a directory stands there")]
    Directory,
    /// Something else stands there.
    #[error("put it there: a special file (FIFO, socket, device) stands there")]
    Special,
    /// What stands there can't be read.
    #[error("compare it with the file there")]
    Read(#[source] ReadError),
    /// The store does not give it.
    #[error(transparent)]
    Remote(Box<RemoteError>),
    /// Somebody else has replaced the object.
    #[error("fetch object `{0}`: it is not the one that the catalog has (--from-bucket takes what is there)")]
    Replaced(ObjectKey),
    /// There is no such object.
    #[error("fetch object `{0}`: it is gone")]
    Gone(ObjectKey),
    /// There is no such version.
    #[error("fetch object `{0}` as it was then: the store does not have that version any more, or keeps none")]
    NoVersion(ObjectKey),
    /// The object is not what it should be.
    #[error("fetch object `{key}`: it has {found} bytes instead of {wanted}")]
    Size {
        /// Which.
        key: ObjectKey,
        /// In the store.
        found: u64,
        /// In the catalog.
        wanted: u64,
    },
    /// The bytes are not what they should be.
    #[error("fetch object `{key}`: it is damaged, its bytes have the MD5 {found} instead of {wanted}")]
    Digest {
        /// Which.
        key: ObjectKey,
        /// Of what was fetched.
        found: Digest,
        /// As recorded.
        wanted: Digest,
    },
}

/// How the work on a file can end early.
#[derive(Debug)]
pub(super) enum Failure {
    File(FileError),
    Restore(RestoreError),
    Cancelled,
}

impl<E: Into<FileError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::File(error.into())
    }
}
