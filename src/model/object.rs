//! What is known of an object.

use std::fmt;

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

/// What is known of the object at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Nobody looked, or what was seen is too old.
    NotKnown,
    /// An upload that failed may have reached it all the same.
    Doubtful,
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
