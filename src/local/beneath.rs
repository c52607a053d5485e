//! Opening what lies beneath a directory, and never through a symbolic link, whatever happens to the tree meanwhile.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::local::stat;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Beneath {
    fd: OwnedFd,
    /// Cleared when the kernel has no `openat2` (before Linux 5.6, or a filter refuses it).
    has_openat2: AtomicBool,
}

impl Beneath {
    /// Of a directory that was opened.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd, has_openat2: AtomicBool::new(cfg!(target_os = "linux")) }
    }

    /// The directory itself.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// As where the kernel has no `openat2`.
    #[cfg(test)]
    pub(crate) fn by_parts_only(&self) {
        self.has_openat2.store(false, Ordering::Relaxed);
    }

    /// Opens `path` beneath the directory; ELOOP if any part of it is a symbolic link.
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        #[cfg(target_os = "linux")]
        if self.has_openat2.load(Ordering::Relaxed) {
            use rustix::fs::ResolveFlags;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                Err(Errno::NOSYS | Errno::PERM) => self.has_openat2.store(false, Ordering::Relaxed),
                // A rename in the tree raced with the look-up; the other way has no such case.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
        self.open_by_parts(path, flags)
    }

    /// As [`Self::open`], one part at a time, for kernels without `openat2`.
    fn open_by_parts(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut parts = path.components().peekable();
        let mut above: Option<OwnedFd> = None;
        while let Some(part) = parts.next() {
            let std::path::Component::Normal(name) = part else { return Err(Errno::XDEV) };
            let parent = above.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            let flags = if parts.peek().is_some() {
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
            } else {
                flags
            };
            match rustix::fs::openat(parent, name, flags, Mode::empty()) {
                Ok(fd) if flags.contains(path_only()) && is_symlink(stat::of_open(&fd)?.kind) => {
                    return Err(Errno::LOOP);
                }
                Ok(fd) => above = Some(fd),
                // A link in the place of a directory answers ENOTDIR, and must not pass for absent.
                Err(Errno::NOTDIR) if is_symlink(stat::of_entry(parent, name.as_bytes())?.kind) => {
                    return Err(Errno::LOOP);
                }
                Err(errno) => return Err(errno),
            }
        }
        above.ok_or(Errno::NOENT)
    }
}

/// For a look only.
#[cfg(target_os = "linux")]
pub(crate) fn path_only() -> OFlags {
    OFlags::PATH
}

/// Without `O_PATH` a look opens the file itself; one that may not be read is then unknown.
#[cfg(not(target_os = "linux"))]
pub(crate) fn path_only() -> OFlags {
    OFlags::RDONLY | OFlags::NONBLOCK
}

pub(crate) fn is_symlink(kind: FileType) -> bool {
    kind == FileType::Symlink
}
