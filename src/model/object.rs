//! What is known of an object.

use std::fmt;

/// An MD5 digest (RFC 1321).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// Lower-case hexadecimal, as an ETag writes it.
    pub fn to_hex(self) -> String {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('?');
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// From hexadecimal of either case; nothing if it is not 32 digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        let mut bytes = [0; 16];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
        }
        Some(Self(bytes))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_what_its_hexadecimal_says() {
        let digest = Digest(std::array::from_fn(|index| (index * 17) as u8));
        assert_eq!(digest.to_hex(), "00112233445566778899aabbccddeeff");
        for hex in ["00112233445566778899aabbccddeeff", "00112233445566778899AABBCCDDEEFF"] {
            assert_eq!(Digest::from_hex(hex), Some(digest));
        }
        for other in [
            "",
            "00112233445566778899aabbccddeef",
            "00112233445566778899aabbccddeeff0",
            "é0112233445566778899aabbccddeef",
            "0x112233445566778899aabbccddeeff",
            "00112233445566778899aabbccddeeff-1",
        ] {
            assert_eq!(Digest::from_hex(other), None, "{other}");
        }
    }
}
