//! The nouns of the program: what a path, a file, a row and an object are.
//!
//! Pure data. Nothing here does I/O, and nothing knows of tokio, S3 or PostgreSQL.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest object key that S3 takes, in bytes of UTF-8.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
pub const MAX_KEY_BYTES: usize = 1024;

/// A file's path relative to its folder, `/` between the parts.
///
/// It has two forms. The *encoded* form is UTF-8, and it is what the object key and the catalog's `path` hold: each byte
/// that is not part of valid UTF-8 stands in it as `%XX`. The *raw* form is what the file system knows. They differ only
/// for names that are not UTF-8. Paths order by their encoded form, byte by byte, as S3 orders keys and as PostgreSQL does
/// with `COLLATE "C"`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath {
    encoded: Box<str>,
    /// Only where it differs from the encoded form.
    raw: Option<Box<[u8]>>,
}

impl RelPath {
    /// From the bytes that the file system has, without a leading `/`.
    pub fn from_raw(raw: &[u8]) -> Self {
        match std::str::from_utf8(raw) {
            Ok(valid) => Self { encoded: valid.into(), raw: None },
            Err(_) => Self { encoded: encode_name(raw).into(), raw: Some(raw.into()) },
        }
    }

    /// From a row or a key: the encoded form, and the raw one where the row keeps it.
    pub fn from_encoded(encoded: impl Into<Box<str>>, raw: Option<Vec<u8>>) -> Self {
        Self { encoded: encoded.into(), raw: raw.map(Vec::into_boxed_slice) }
    }

    /// The form that key and catalog hold.
    pub fn as_str(&self) -> &str {
        &self.encoded
    }

    /// The form that the file system knows.
    pub fn raw(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.encoded.as_bytes())
    }

    /// The raw form, only where it differs from the encoded one: what the row keeps.
    pub fn raw_if_different(&self) -> Option<&[u8]> {
        self.raw.as_deref()
    }

    /// The raw form as a relative [`Path`].
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.raw()))
    }

    /// The directory that it lies in; the empty path for what lies at the top, and for the empty path itself.
    pub fn parent(&self) -> Self {
        let encoded = self.encoded.rsplit_once('/').map_or("", |(parent, _)| parent);
        let raw = self.raw.as_deref().map(|raw| {
            let end = raw.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            &raw[..end]
        });
        Self { encoded: encoded.into(), raw: raw.filter(|raw| *raw != encoded.as_bytes()).map(Into::into) }
    }

    /// The last part of the encoded form.
    pub fn name(&self) -> &str {
        self.encoded.rsplit('/').next().unwrap_or(&self.encoded)
    }

    /// Whether the encoded form could have come from another raw name too: it holds `%XX` where XX is no ASCII byte, which
    /// a name that is not UTF-8 would be encoded to.
    pub fn may_collide(&self) -> bool {
        may_collide(self.encoded.as_bytes())
    }

    /// Whether this path is `directory` or lies below it. The empty path holds everything.
    pub fn is_within(&self, directory: &str) -> bool {
        is_within(&self.encoded, directory)
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Printable(&self.encoded), f)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.encoded, f)
    }
}

/// Whether the encoded path `path` is `directory` or lies below it. The empty directory holds everything.
pub fn is_within(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Writes each byte of `raw` that is not part of valid UTF-8 as `%XX` (upper-case hexadecimal).
pub fn encode_name(raw: &[u8]) -> String {
    let mut encoded = String::with_capacity(raw.len() + 8);
    for chunk in raw.utf8_chunks() {
        encoded.push_str(chunk.valid());
        for byte in chunk.invalid() {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Whether `encoded` holds `%80` to `%FF` in the spelling of [`encode_name`].
pub fn may_collide(encoded: &[u8]) -> bool {
    encoded
        .windows(3)
        .any(|w| w[0] == b'%' && matches!(w[1], b'8' | b'9' | b'A'..=b'F') && matches!(w[2], b'0'..=b'9' | b'A'..=b'F'))
}

/// Text from outside (a file name, a server's message) made safe for a terminal and a log line: control characters, and
/// the ones that reorder text, are escaped.
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// An object's key in its bucket: the folder's prefix and the encoded path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The key of `path` under `prefix`, which is used byte for byte.
    pub fn new(prefix: &str, path: &RelPath) -> Self {
        Self::from_parts(prefix, path.as_str())
    }

    /// The key of an encoded path under `prefix`.
    pub fn from_parts(prefix: &str, encoded: &str) -> Self {
        let mut key = String::with_capacity(prefix.len() + encoded.len());
        key.push_str(prefix);
        key.push_str(encoded);
        Self(key)
    }

    /// The key as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether S3 refuses it for its length.
    pub fn is_too_long(&self) -> bool {
        self.0.len() > MAX_KEY_BYTES
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Printable(&self.0), f)
    }
}

/// An MD5 digest (RFC 1321).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// Lower-case hexadecimal, as an ETag writes it.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// From a column or a header's bytes; nothing if there are not 16.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// An object's entity tag without its quotes: opaque, compared for equality only, but for [`crate::plan`], which knows when
/// it is an MD5.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ETag(Box<str>);

impl ETag {
    /// From a header or a listing, with or without quotes.
    pub fn new(text: &str) -> Self {
        Self(text.trim_start_matches("W/").trim_matches('"').into())
    }

    /// Without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

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
}

impl Walked {
    /// Whether it stands for a directory: directories sort as if their name ended in `/`, which is where what lies below them begins.
    fn is_directory(&self) -> bool {
        match self.what {
            Entry::Leaf(_) => false,
            Entry::SkippedDirectory(_) | Entry::UnreadableDirectory(_) => true,
        }
    }

    /// Where the entry stands in the walk, against a path of another stream.
    pub fn cmp_to(&self, path: &str) -> Ordering {
        let tail: &[u8] = if self.is_directory() { b"/" } else { b"" };
        self.path.as_str().bytes().chain(tail.iter().copied()).cmp(path.bytes())
    }
}

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

/// What is known of the object at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Nobody looked, or what was seen is too old.
    NotKnown,
    /// The listing went past the key without it.
    Missing,
    /// Listed.
    Present(Listed),
}

/// What a listing says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Bytes.
    pub size: u64,
    /// Opaque.
    pub etag: ETag,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// This path, again, after a pause.
    Later,
    /// This path never, until it changes.
    Never,
    /// Nothing on this folder can work until the cause is gone: S3 or PostgreSQL is away, or refuses us.
    Fatal,
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
    /// Nothing is done: the folder is not there, or is not the one that was synced.
    Suspended,
}

impl FolderState {
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
