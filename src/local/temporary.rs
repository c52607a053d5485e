//! A file that is being restored, under a temporary name until it is whole.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use md5::{Digest as _, Md5};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::local::exclude::{TEMPORARY_PREFIX, TEMPORARY_SUFFIX};
use crate::local::stat;
use crate::local::target::Obstacle;
use crate::model::Stamp;

/// From this size on, room is asked for before anything is fetched. A smaller file is as fast written as refused.
const RESERVE: u64 = 1 << 20;

/// What a restored file is given besides its content.
#[derive(Clone, Copy, Debug)]
pub struct Placing {
    /// Permission bits; other bits are left out. None: `rw-r--r--`.
    pub mode: Option<u32>,
    /// None: now.
    pub mtime: Option<Stamp>,
    /// Whether a file or link that stands there is replaced.
    pub replace: bool,
}

/// A file without its own name yet. Dropped, it is gone.
#[derive(Debug)]
pub struct Temporary {
    directory: OwnedFd,
    name: Vec<u8>,
    temporary: String,
    file: File,
    inode: u64,
    placed: bool,
}

impl Temporary {
    /// Of the file `name` in a directory. The temporary name follows from it, so what a crash has left is found by the next
    /// restore of the same file, and taken away.
    pub(super) fn new(directory: OwnedFd, name: &[u8]) -> Result<Self, Obstacle> {
        let failed = Obstacle::io("make a temporary file for it");
        let temporary = temporary_name(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody else reads it before it has its own mode.
        let make = || rustix::fs::openat(&directory, &temporary, flags, Mode::from_raw_mode(0o600));
        let file = match make() {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty()).map_err(&failed)?;
                make()
            }
            other => other,
        };
        let file = File::from(file.map_err(&failed)?);
        let inode = stat::of_open(&file).map_err(&failed)?.meta.fingerprint.inode;
        Ok(Self { directory, name: name.to_owned(), temporary, file, inode, placed: false })
    }

    /// Asks the file system for room, so that a file that can't fit is refused before it is fetched.
    ///
    /// # Errors
    /// If there is none.
    pub fn reserve(&self, size: u64) -> Result<(), Obstacle> {
        #[cfg(target_os = "linux")]
        if size >= RESERVE {
            let reserved = rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, size);
            if let Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) = reserved {
                return Err(Obstacle::io("make room for it")(errno));
            }
            // Whatever else it says, writing will tell.
        }
        Ok(())
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If they can't be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Obstacle> {
        self.file.write_all(bytes).map_err(|source| Obstacle::Io { what: "write its temporary file", source })
    }

    /// Throws away what was written.
    ///
    /// # Errors
    /// If it can't be.
    pub fn begin_anew(&mut self) -> Result<(), Obstacle> {
        let begun = self.file.set_len(0).and_then(|()| self.file.rewind());
        begun.map_err(|source| Obstacle::Io { what: "begin its temporary file anew", source })
    }

    /// To read what was written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its attributes, writes it out to the disk, and then gives it its name: whatever happens, the name has
    /// never stood for anything but the whole file.
    ///
    /// # Errors
    /// If something stands there that is not to be replaced, or the file system refuses.
    pub fn place(mut self, placing: &Placing) -> Result<(), Obstacle> {
        set_attributes(&self.file, Some(placing.mode.unwrap_or(0o644)), placing.mtime)?;
        self.file.sync_all().map_err(|source| Obstacle::Io { what: "write it out to the disk", source })?;
        let ours = stat::of_entry(&self.directory, self.temporary.as_bytes());
        if ours.map(|seen| seen.meta.fingerprint.inode) != Ok(self.inode) {
            // It is not ours to remove.
            self.placed = true;
            return Err(Obstacle::Lost);
        }
        self.rename(placing.replace)?;
        self.placed = true;
        Ok(())
    }

    fn rename(&self, replace: bool) -> Result<(), Obstacle> {
        let failed = Obstacle::io("give it its name");
        let refused = |errno| if errno == Errno::EXIST { Obstacle::Appeared } else { failed(errno) };
        let (directory, from, to) = (self.directory.as_fd(), self.temporary.as_bytes(), self.name.as_slice());
        if replace {
            return rustix::fs::renameat(directory, from, directory, to).map_err(&failed);
        }
        #[cfg(target_os = "linux")]
        match rustix::fs::renameat_with(directory, from, directory, to, rustix::fs::RenameFlags::NOREPLACE) {
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS) => {}
            other => return other.map_err(refused),
        }
        // A second name is refused where there is one already, which comes to the same.
        rustix::fs::linkat(directory, from, directory, to, AtFlags::empty()).map_err(refused)?;
        rustix::fs::unlinkat(directory, from, AtFlags::empty()).map_err(failed)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            // What can't be removed is recognised by its name.
            let _ = rustix::fs::unlinkat(&self.directory, &self.temporary, AtFlags::empty());
        }
    }
}

/// The name under which the file `name` comes into being.
fn temporary_name(name: &[u8]) -> String {
    let digest: [u8; 16] = Md5::digest(name).into();
    let digits: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{TEMPORARY_PREFIX}{digits}{TEMPORARY_SUFFIX}")
}

/// Sets permission bits and mtime. The bits for set-user-id, set-group-id and sticky are never set: they would lend the rights of
/// whoever restores, who need not be the owner that the file once had, to a program out of a bucket.
pub(super) fn set_attributes(file: &File, mode: Option<u32>, mtime: Option<Stamp>) -> Result<(), Obstacle> {
    if let Some(mode) = mode {
        let mode = Mode::from_raw_mode((mode & 0o777) as rustix::fs::RawMode);
        rustix::fs::fchmod(file, mode).map_err(Obstacle::io("set its mode"))?;
    }
    if let Some(mtime) = mtime {
        let times = Timestamps { last_access: omitted(), last_modification: timespec(mtime) };
        rustix::fs::futimens(file, &times).map_err(Obstacle::io("set its modification time"))?;
    }
    Ok(())
}

fn omitted() -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT }
}

fn timespec(stamp: Stamp) -> Timespec {
    const SECOND: i64 = 1_000_000_000;
    Timespec { tv_sec: stamp.0.div_euclid(SECOND), tv_nsec: stamp.0.rem_euclid(SECOND) as _ }
}
