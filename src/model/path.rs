//! Paths and keys: what a file is called in the folder, in the catalog and in the bucket.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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

/// A path of the file system as [`Printable`] shows it, since a name in it may be hostile. Bytes that are not UTF-8 are shown
/// as U+FFFD.
pub struct ShownPath<'a>(pub &'a Path);

impl fmt::Display for ShownPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Printable(&self.0.to_string_lossy()), f)
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
