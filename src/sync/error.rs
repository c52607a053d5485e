//! What stops a folder, and what stops one path.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::catalog::CatalogError;
use crate::local::hash::ReadError;
use crate::local::look::RootError;
use crate::model::{MAX_KEY_BYTES, Retry, ShownPath};
use crate::remote::RemoteError;

/// Nothing more can be done on this folder now.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The folder can't be used.
    #[error("sync the folder `{folder}`")]
    Root {
        /// Its name.
        folder: String,
        /// Why.
        source: Box<RootError>,
    },
    /// The root could not be listed.
    #[error("list the folder {}", ShownPath(path))]
    Walk {
        /// Its root.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// PostgreSQL is away, or refuses us.
    #[error("use the catalog")]
    Catalog(#[source] Arc<CatalogError>),
    /// S3 is away, or refuses us.
    #[error("use the bucket of the folder `{folder}`")]
    Remote {
        /// Its name.
        folder: String,
        /// Why.
        source: Box<RemoteError>,
    },
    /// Another agent writes to the same bucket and prefix.
    #[error(
        "take the writer's lock of the folder `{folder}`: it is held by {holder}; stop it first, or let `sync --wait` wait for it"
    )]
    Locked {
        /// Its name.
        folder: String,
        /// Who holds it.
        holder: String,
    },
    /// The connection that held the writer's lock has ended, so somebody else may be writing.
    #[error("keep the writer's lock of the folder `{folder}`: its connection to PostgreSQL has ended")]
    LockLost {
        /// Its name.
        folder: String,
    },
    /// A defect of the program.
    #[error("finish the task `{task}`: it ended without a result; please report this as a bug")]
    Task {
        /// Which.
        task: &'static str,
    },
}

/// A server without which nothing works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// PostgreSQL.
    Catalog,
    /// S3.
    Store,
}

impl SyncError {
    /// Which server is away, or refuses us, if that is what it says.
    pub fn away(&self) -> Option<Away> {
        match self {
            Self::Catalog(_) | Self::LockLost { .. } => Some(Away::Catalog),
            Self::Remote { .. } => Some(Away::Store),
            Self::Root { .. } | Self::Walk { .. } | Self::Locked { .. } | Self::Task { .. } => None,
        }
    }
}

impl From<CatalogError> for SyncError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(Arc::new(error))
    }
}

/// Why one path could not be synced.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// It could not be seen.
    #[error("see the file: {0}")]
    Unseen(Box<str>),
    /// Its content could not be had.
    #[error("read the file")]
    Read(#[source] ReadError),
    /// S3 would refuse it.
    #[error(
        "name its object: the key has {length} bytes, and S3 allows {MAX_KEY_BYTES}; shorten the path or the prefix"
    )]
    KeyTooLong {
        /// In bytes.
        length: usize,
    },
    /// S3 refused it.
    #[error("store its object")]
    Remote(#[source] Box<RemoteError>),
    /// The catalog refused its row.
    #[error("record it")]
    Row(#[source] Arc<CatalogError>),
}

impl PathError {
    /// What to do about it.
    pub fn retry(&self) -> Retry {
        match self {
            // The next pass looks again.
            Self::Unseen(_) | Self::KeyTooLong { .. } => Retry::Never,
            Self::Read(ReadError::Changed) => Retry::Later,
            Self::Read(ReadError::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => Retry::Never,
            // Transient on a network file system, and cheap to try again on any other.
            Self::Read(ReadError::Io(_)) => Retry::Later,
            Self::Read(ReadError::Cancelled) => Retry::Later,
            Self::Remote(error) => error.retry(),
            Self::Row(error) => error.retry(),
        }
    }
}

/// How the work on a path can fail.
#[derive(Debug)]
pub enum Failure {
    /// It concerns this path.
    Path(PathError),
    /// It concerns the folder.
    Folder(SyncError),
    /// The program is stopping; the path is left as it is.
    Cancelled,
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        Self::Folder(error)
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        Self::Folder(error.into())
    }
}
