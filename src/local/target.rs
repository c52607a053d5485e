//! Where files are restored to: each comes into being under a temporary name beside its own, and gets its own when it is whole.
//!
//! Paths come from a bucket or a catalog, and may be anything: what they lead to is opened beneath the target's descriptor, never
//! through a link, and nothing is written but what a plain name in a plain directory can hold.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::local::beneath::Beneath;
use crate::local::exclude::is_temporary;
use crate::local::stat;
use crate::local::temporary::{Temporary, set_attributes};
use crate::model::{FileMeta, Fingerprint, RelPath, ShownPath, Stamp};

/// Directories that wait for being written out. Files come in the order of their paths, so few are met again.
const DIRTY: usize = 1024;

/// An open directory that files are restored to.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    beneath: Beneath,
    /// Directories in which an entry was made that may not be on the disk yet.
    dirty: Mutex<HashSet<PathBuf>>,
}

/// The target can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is not there and can't be made.
    #[error("make the directory {}", ShownPath(path))]
    Make {
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can't be opened.
    #[error("open the directory {}", ShownPath(path))]
    Open {
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another restore is at work there: the two would take each other's temporary files for remains.
    #[error(
        "restore to {}: another restore is writing there; wait for its end, or choose another directory",
        ShownPath(path)
    )]
    Busy {
        /// As given.
        path: PathBuf,
    },
}

/// What stands at a path of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Absent,
    /// A regular file.
    File(FileMeta),
    /// A symbolic link, which is not followed.
    Symlink,
    /// A directory.
    Directory,
    /// A FIFO, socket or device.
    Special,
}

/// Why a file can't be put where it belongs.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// No file can have such a path.
    #[error("use its path: {0}")]
    Path(&'static str),
    /// A directory above it is a symbolic link.
    #[error("go to its directory: a symbolic link stands above it, which is not followed; remove the link")]
    LinkAbove,
    /// A directory above it is a file.
    #[error(
        "go to its directory: a file stands in the place of a directory; remove it, or restore to another directory"
    )]
    FileAbove,
    /// Something has appeared at its path since it was looked at.
    #[error("give it its name: something else has appeared there meanwhile; run the restore again")]
    Appeared,
    /// Its temporary file is gone.
    #[error("give it its name: its temporary file was taken away; is another restore writing there?")]
    Lost,
    /// The file system refuses.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Obstacle {
    pub(super) fn io(what: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Io { what, source: errno.into() }
    }

    /// Whether every other file would meet the same: the file system has no room left, or can't be written to.
    pub fn is_of_the_target(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(Errno::from_io_error(source), Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS))
            }
            Self::Path(_) | Self::LinkAbove | Self::FileAbove | Self::Appeared | Self::Lost => false,
        }
    }
}

/// Whether `raw` names a file beneath a directory, and if not, why: it comes from a bucket, where a key may be anything.
///
/// # Errors
/// With the reason.
pub fn check_path(raw: &[u8]) -> Result<(), Obstacle> {
    let refused = |why| Err(Obstacle::Path(why));
    if raw.is_empty() {
        return refused("it is empty");
    }
    if raw.contains(&0) {
        return refused("it has a NUL byte, which no file name can hold");
    }
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" => return refused("a part of it is empty (it begins or ends in `/`, or has `//`)"),
            b"." | b".." => return refused("a part of it is `.` or `..`, which could lead out of the target"),
            _ => {}
        }
    }
    let name = raw.rsplit(|byte| *byte == b'/').next().unwrap_or(raw);
    if is_temporary(name) {
        return refused("its name is one of the restore's own temporary names");
    }
    Ok(())
}

impl Target {
    /// Opens the directory, and makes it where it is missing. One restore at a time has it.
    ///
    /// # Errors
    /// If it can't be made or opened, or another restore has it.
    pub fn open(path: &Path) -> Result<Self, TargetError> {
        let place = path.to_owned();
        // A link here was named by the user, and is followed.
        std::fs::create_dir_all(path).map_err(|source| TargetError::Make { path: place.clone(), source })?;
        let target = Self::open_existing(path)?;
        match rustix::fs::flock(target.beneath.fd(), FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(TargetError::Busy { path: place }),
            // A file system that can't lock a directory, such as NFS.
            Ok(()) | Err(_) => Ok(target),
        }
    }

    /// As [`Self::open`], to look only.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn open_existing(path: &Path) -> Result<Self, TargetError> {
        let failed = |source| TargetError::Open { path: path.to_owned(), source };
        let canonical = path.canonicalize().map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&canonical, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Self { path: canonical, beneath: Beneath::new(fd), dirty: Mutex::default() })
    }

    /// Where it is, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stands at a path.
    ///
    /// # Errors
    /// If no file could be there.
    pub fn look(&self, path: &RelPath) -> Result<Standing, Obstacle> {
        check_path(path.raw())?;
        let (parent, name) = split(path);
        let Some(parent) = self.directory(parent)? else { return Ok(Standing::Absent) };
        match stat::of_entry(&parent, name) {
            Ok(seen) => Ok(match seen.kind {
                FileType::RegularFile => Standing::File(seen.meta),
                FileType::Symlink => Standing::Symlink,
                FileType::Directory => Standing::Directory,
                FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => Standing::Special,
            }),
            Err(Errno::NOENT) => Ok(Standing::Absent),
            Err(errno) => Err(Obstacle::io("look at what stands in its place")(errno)),
        }
    }

    /// Opens the regular file at a path for reading, with what it is.
    ///
    /// # Errors
    /// If none is there, or it can't be read.
    pub fn open_file(&self, path: &RelPath) -> Result<(File, FileMeta), Obstacle> {
        let failed = Obstacle::io("read what stands in its place");
        check_path(path.raw())?;
        // NONBLOCK: a FIFO that was swapped in must not hang the reader.
        let fd = self.beneath.open(path.as_path(), OFlags::RDONLY | OFlags::NONBLOCK).map_err(&failed)?;
        let seen = stat::of_open(&fd).map_err(&failed)?;
        if seen.kind != FileType::RegularFile {
            return Err(Obstacle::Appeared);
        }
        Ok((File::from(fd), seen.meta))
    }

    /// Sets mode and mtime of an open file of the target, if it is still what was read.
    ///
    /// # Errors
    /// If it can't be.
    pub fn adjust(file: &File, read: &Fingerprint, mode: Option<u32>, mtime: Option<Stamp>) -> Result<(), Obstacle> {
        let now = stat::of_open(file).map_err(Obstacle::io("look at what stands in its place"))?;
        if now.meta.fingerprint != *read {
            return Err(Obstacle::Appeared);
        }
        set_attributes(file, mode, mtime)
    }

    /// Begins a file: makes its directories, and a temporary file in the innermost.
    ///
    /// # Errors
    /// If they can't be made.
    pub fn begin(&self, path: &RelPath) -> Result<Temporary, Obstacle> {
        check_path(path.raw())?;
        let (parent, name) = split(path);
        let directory = match self.directory(parent)? {
            Some(directory) => directory,
            None => self.make_directory(parent)?,
        };
        Temporary::new(directory, name)
    }

    /// Remembers that an entry was made for this path.
    ///
    /// # Errors
    /// If directories can't be written out: there were many already.
    pub fn placed(&self, path: &RelPath) -> Result<(), Obstacle> {
        self.soil(split(path).0)
    }

    /// Writes out all directories in which entries were made.
    ///
    /// # Errors
    /// If one can't be.
    pub fn write_out(&self) -> Result<(), Obstacle> {
        let dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        let failed = Obstacle::io("write out a directory");
        for path in dirty {
            let Some(directory) = self.directory(&path)? else { continue };
            match rustix::fs::fsync(&directory) {
                // Some file systems have nothing to write out.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(())
    }

    fn soil(&self, directory: &Path) -> Result<(), Obstacle> {
        let full = {
            let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
            // Most files lie beside the one before.
            if !dirty.contains(directory) {
                dirty.insert(directory.to_owned());
            }
            dirty.len() >= DIRTY
        };
        if full { self.write_out() } else { Ok(()) }
    }

    /// Opens a directory below the target; none if nothing stands there.
    fn directory(&self, path: &Path) -> Result<Option<OwnedFd>, Obstacle> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = if path.as_os_str().is_empty() {
            rustix::fs::openat(self.beneath.fd(), c".", flags, Mode::empty())
        } else {
            self.beneath.open(path, flags)
        };
        match opened {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(Obstacle::LinkAbove),
            Err(Errno::NOTDIR) => Err(self.not_a_directory(path)),
            Err(errno) => Err(Obstacle::io("open its directory")(errno)),
        }
    }

    /// Opened as a directory, a link at the end answers as a file does.
    fn not_a_directory(&self, path: &Path) -> Obstacle {
        let link = path.ancestors().filter(|above| !above.as_os_str().is_empty()).any(|above| {
            rustix::fs::statat(self.beneath.fd(), above, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|seen| FileType::from_raw_mode(seen.st_mode) == FileType::Symlink)
        });
        if link { Obstacle::LinkAbove } else { Obstacle::FileAbove }
    }

    /// Makes a directory with those above it. Several files may want the same one at once.
    fn make_directory(&self, path: &Path) -> Result<OwnedFd, Obstacle> {
        let failed = Obstacle::io("make its directory");
        let (parent, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
        let above = match self.directory(parent)? {
            Some(above) => above,
            None => self.make_directory(parent)?,
        };
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => self.soil(parent)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        self.directory(path)?.ok_or_else(|| failed(Errno::NOENT))
    }
}

/// The directory and the name.
fn split(path: &RelPath) -> (&Path, &[u8]) {
    let path = path.as_path();
    (path.parent().unwrap_or(Path::new("")), path.file_name().map_or(&[], |name| name.as_bytes()))
}

#[cfg(test)]
mod tests;
