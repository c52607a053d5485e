//! `stat`, with birth times where the platform has them.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::model::{FileMeta, Fingerprint, Stamp};

/// What an entry is, and its metadata.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Regular file, directory, link…
    pub kind: FileType,
    /// Meaningful for a regular file.
    pub meta: FileMeta,
}

/// Of the entry `name` in an open directory; a link is not followed.
pub fn of_entry(directory: impl AsFd, name: &[u8]) -> Result<Stat, Errno> {
    stat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Of an open file.
#[cfg(target_os = "linux")]
pub fn of_open(file: impl AsFd) -> Result<Stat, Errno> {
    stat(file, b"", AtFlags::EMPTY_PATH)
}

/// Of an open file.
#[cfg(not(target_os = "linux"))]
pub fn of_open(file: impl AsFd) -> Result<Stat, Errno> {
    Ok(from_stat(&rustix::fs::fstat(file)?))
}

/// Which mount an open file is on. It tells mounts apart that are there at the same time; a later one may have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountId(u64);

/// The mount that an open file is on.
#[cfg(target_os = "linux")]
pub fn mount_of(file: impl AsFd) -> Result<MountId, Errno> {
    use rustix::fs::{StatxFlags, statx};
    // The kernel knows by itself: no server is asked.
    let seen = statx(file, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID)?;
    if seen.stx_mask & StatxFlags::MNT_ID.bits() != 0 {
        return Ok(MountId(seen.stx_mnt_id));
    }
    // Before Linux 5.8: the device tells, but for one file system that is mounted in another place of itself.
    Ok(MountId(u64::from(seen.stx_dev_major) << 32 | u64::from(seen.stx_dev_minor)))
}

/// The mount that an open file is on: its device.
#[cfg(not(target_os = "linux"))]
pub fn mount_of(file: impl AsFd) -> Result<MountId, Errno> {
    Ok(MountId(rustix::fs::fstat(file)?.st_dev as u64))
}

#[cfg(target_os = "linux")]
fn stat(fd: impl AsFd, name: &[u8], flags: AtFlags) -> Result<Stat, Errno> {
    use rustix::fs::{StatxFlags, StatxTimestamp, statx};
    let seen = statx(fd, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
    let stamp = |time: &StatxTimestamp| Stamp::from_parts(time.tv_sec, time.tv_nsec);
    let has_birth = seen.stx_mask & StatxFlags::BTIME.bits() != 0 && seen.stx_btime.tv_sec != 0;
    Ok(Stat {
        kind: FileType::from_raw_mode(u32::from(seen.stx_mode)),
        meta: FileMeta {
            fingerprint: Fingerprint {
                size: seen.stx_size,
                mtime: stamp(&seen.stx_mtime),
                ctime: stamp(&seen.stx_ctime),
                inode: seen.stx_ino,
            },
            birth: has_birth.then(|| stamp(&seen.stx_btime)),
            mode: u32::from(seen.stx_mode),
            uid: seen.stx_uid,
            gid: seen.stx_gid,
        },
    })
}

#[cfg(not(target_os = "linux"))]
fn stat(fd: impl AsFd, name: &[u8], flags: AtFlags) -> Result<Stat, Errno> {
    Ok(from_stat(&rustix::fs::statat(fd, name, flags)?))
}

#[cfg(not(target_os = "linux"))]
fn from_stat(seen: &rustix::fs::Stat) -> Stat {
    let nanos = |ns: i64| u32::try_from(ns).unwrap_or(0);
    let mode = u32::from(seen.st_mode);
    Stat {
        kind: FileType::from_raw_mode(seen.st_mode),
        meta: FileMeta {
            fingerprint: Fingerprint {
                size: u64::try_from(seen.st_size).unwrap_or(0),
                mtime: Stamp::from_parts(seen.st_mtime, nanos(seen.st_mtime_nsec as i64)),
                ctime: Stamp::from_parts(seen.st_ctime, nanos(seen.st_ctime_nsec as i64)),
                inode: seen.st_ino,
            },
            birth: None,
            mode,
            uid: seen.st_uid,
            gid: seen.st_gid,
        },
    }
}
