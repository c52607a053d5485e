//! Whether a folder is still the one that was synced: an unmounted disk, or an empty directory in its place, must not look
//! like a folder whose files were deleted.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::local::stat;
use crate::model::Identity;

/// The identity of what stands at `path` now. A symbolic link at the root itself is followed: the administrator set it.
pub fn read(path: &Path) -> io::Result<Identity> {
    of(File::open(path)?)
}

/// The identity of an open directory.
pub fn of(directory: impl AsFd) -> io::Result<Identity> {
    let root = stat::of_open(&directory)?;
    if root.kind != rustix::fs::FileType::Directory {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    let fs_id = rustix::fs::fstatvfs(&directory)?.f_fsid;
    Ok(Identity { fs_id: (fs_id != 0).then_some(fs_id), inode: root.meta.fingerprint.inode, birth: root.meta.birth })
}

/// What the file system is called, if it is remote: its stamps come from another clock, and changes that other machines make
/// are not announced. None for a local one.
#[cfg(target_os = "linux")]
pub fn remote_kind(directory: impl AsFd) -> Option<&'static str> {
    // linux/magic.h
    const REMOTE: [(u64, &str); 7] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB2"),
        (0x00C3_6400, "CephFS"),
        (0x6573_5546, "FUSE"),
        (0x0102_1997, "9P"),
    ];
    let kind = rustix::fs::fstatfs(directory).ok()?.f_type as u64 & 0xFFFF_FFFF;
    REMOTE.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}

/// The name of a remote file system; not known on this platform.
#[cfg(not(target_os = "linux"))]
pub fn remote_kind(_directory: impl AsFd) -> Option<&'static str> {
    None
}
