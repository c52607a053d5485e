//! Whether a folder is still the one that was synced: an unmounted disk, or an empty directory in its place, must not look
//! like a folder whose files were deleted.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::local::stat;
use crate::model::Identity;

/// The identity of what stands at `path` now. A symbolic link at the root itself is followed: the administrator set it.
pub fn read(path: &Path) -> io::Result<Identity> {
    let directory = File::open(path)?;
    let root = stat::of_open(&directory)?;
    if root.kind != rustix::fs::FileType::Directory {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    let fs_id = rustix::fs::fstatvfs(&directory)?.f_fsid;
    Ok(Identity { fs_id: (fs_id != 0).then_some(fs_id), inode: root.meta.fingerprint.inode, birth: root.meta.birth })
}

/// Whether the file system is remote, so that its stamps come from another clock.
#[cfg(target_os = "linux")]
pub fn is_remote(directory: impl std::os::fd::AsFd) -> bool {
    // linux/magic.h: NFS, SMB, CIFS, SMB2, CEPH, FUSE, 9P.
    const REMOTE: [u64; 7] = [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x00C3_6400, 0x6573_5546, 0x0102_1997];
    rustix::fs::fstatfs(directory).is_ok_and(|fs| REMOTE.contains(&(fs.f_type as u64 & 0xFFFF_FFFF)))
}

/// Whether the file system is remote; not known on this platform.
#[cfg(not(target_os = "linux"))]
pub fn is_remote(_directory: impl std::os::fd::AsFd) -> bool {
    false
}
