//! What is seen of the folder: files, their stamps, and the folder itself.

use std::cmp::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::RelPath;

/// A point in time of a file system: nanoseconds since 1970, negative before. It saturates at the years 1677 and 2262.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Stamp(pub i64);

impl Stamp {
    /// From the seconds and nanoseconds that `stat` gives.
    pub fn from_parts(seconds: i64, nanos: u32) -> Self {
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos)))
    }

    /// From a clock reading.
    pub fn from_system(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX)),
            Err(before) => Self(i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns)),
        }
    }

    /// As a system time, for a `timestamptz` or a header.
    pub fn to_system(self) -> SystemTime {
        let magnitude = Duration::from_nanos(self.0.unsigned_abs());
        let time = if self.0 >= 0 { UNIX_EPOCH.checked_add(magnitude) } else { UNIX_EPOCH.checked_sub(magnitude) };
        // Both ends of an i64 of nanoseconds fit in the platforms' system time (64-bit seconds).
        time.unwrap_or(UNIX_EPOCH)
    }

    /// This much earlier.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Whether it falls on a whole second.
    pub fn is_whole_second(self) -> bool {
        self.0 % 1_000_000_000 == 0
    }

    /// Seconds with nine decimals, as rclone writes `mtime` metadata: `1700000000.123456789`.
    pub fn to_decimal(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let ns = self.0.unsigned_abs();
        format!("{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
    }

    /// From seconds since 1970 with or without a fraction, as [`Self::to_decimal`], rclone and s3fs write them.
    pub fn from_decimal(text: &str) -> Option<Self> {
        let (negative, number) = text.strip_prefix('-').map_or((false, text), |number| (true, number));
        let (seconds, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(seconds) || !are_digits(fraction) {
            return None;
        }
        // Digits beyond the nanoseconds are no use to any file system.
        let fraction: i64 = format!("{:0<9.9}", fraction).parse().ok()?;
        let nanos = seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)?;
        Some(Self(if negative { -nanos } else { nanos }))
    }
}

/// What tells cheaply that a file has not changed. See [`crate::plan::is_racy`] for when it may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Bytes.
    pub size: u64,
    /// Last change of the content, as the file system says.
    pub mtime: Stamp,
    /// Last change of content or attributes.
    pub ctime: Stamp,
    /// Inode number.
    pub inode: u64,
}

/// A regular file as `stat` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// Size, stamps and inode.
    pub fingerprint: Fingerprint,
    /// Birth time, where the file system has one.
    pub birth: Option<Stamp>,
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Why an entry of the folder is not synced although it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// An exclude rule matches it or a directory above it.
    Excluded,
    /// A symbolic link, and links are not followed.
    Symlink,
    /// A symbolic link that leads out of the folder, to nothing, or round in a circle.
    BadSymlink,
    /// A FIFO, socket or device.
    Special,
}

impl SkipReason {
    /// For the summary: what was skipped, in the plural.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Excluded => "excluded",
            Self::Symlink => "symbolic links",
            Self::BadSymlink => "links that lead out of the folder or nowhere",
            Self::Special => "special files (FIFO, socket, device)",
        }
    }
}

/// What was seen of a path in the folder. Doubt is a value of its own: only [`Local::Absent`] says that a file is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// A regular file.
    Present(FileMeta),
    /// Proven not to be there: ENOENT, ENOTDIR, or a directory stands in its place.
    Absent,
    /// There, but not to be synced.
    Skipped(SkipReason),
    /// It could not be seen, and why.
    Unknown(Box<str>),
}

/// What stands in the place of a file that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Absence {
    /// Nothing: its directory is there, and has no such name.
    NoFile,
    /// Nothing: not even its directory.
    NoDirectory,
    /// A directory.
    Directory,
}

impl Absence {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::NoFile, Self::NoDirectory, Self::Directory];

    /// As the column holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoFile => "no_file",
            Self::NoDirectory => "no_directory",
            Self::Directory => "directory",
        }
    }

    /// For a person, after a number of files.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NoFile => "not in their directory any more",
            Self::NoDirectory => "gone with their directory",
            Self::Directory => "in whose place a directory stands",
        }
    }
}

/// An entry of the folder, as the walk reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Where.
    pub path: RelPath,
    /// What.
    pub what: Entry,
}

/// What the walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file, or why it could not be seen, or why it is skipped.
    Leaf(Local),
    /// A directory that is not entered: excluded, or a circle of links. Everything below it is skipped.
    SkippedDirectory(SkipReason),
    /// A directory that could not be listed, and why. Everything below it is unknown.
    UnreadableDirectory(Box<str>),
    /// A directory that is entered, and on which a file system is mounted or was when it was last looked at. It comes before
    /// what lies below it.
    Mount {
        /// Of what stands there now.
        identity: Identity,
        /// Whether something is mounted there now.
        mounted: bool,
    },
}

impl Walked {
    /// Whether it stands for a directory: directories sort as if their name ended in `/`, which is where what lies below them begins.
    fn is_directory(&self) -> bool {
        match self.what {
            Entry::Leaf(_) => false,
            Entry::SkippedDirectory(_) | Entry::UnreadableDirectory(_) | Entry::Mount { .. } => true,
        }
    }

    /// Where the entry stands in the walk, against a path of another stream.
    pub fn cmp_to(&self, path: &str) -> Ordering {
        let tail: &[u8] = if self.is_directory() { b"/" } else { b"" };
        self.path.as_str().bytes().chain(tail.iter().copied()).cmp(path.bytes())
    }
}

/// What tells that a folder is still the one that was synced, over reboots: never `st_dev`, which they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `statfs` `f_fsid`, where it is not zero.
    pub fs_id: Option<u64>,
    /// Inode of the root.
    pub inode: u64,
    /// Birth time of the root, where the file system has one.
    pub birth: Option<Stamp>,
}

/// A file system that is mounted below the root of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub path: RelPath,
    /// Which one.
    pub identity: Identity,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seconds_are_read_as_the_usual_tools_write_them() {
        let of = |text| Stamp::from_decimal(text).map(|stamp| stamp.0);
        assert_eq!(of("1700000000"), Some(1_700_000_000_000_000_000));
        assert_eq!(of("1700000000.5"), Some(1_700_000_000_500_000_000));
        assert_eq!(of("-0.000000001"), Some(-1));
        assert_eq!(of("1.1234567899"), Some(1_123_456_789));
        for text in ["", ".", "1.", ".5", "+1", "1e9", "1.-5", "--1", " 1", "nan", "99999999999999999999", "9300000000"]
        {
            assert_eq!(of(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in (i64::MIN + 1)..=i64::MAX) {
            prop_assert_eq!(Stamp::from_decimal(&Stamp(nanos).to_decimal()), Some(Stamp(nanos)));
        }
    }
}
