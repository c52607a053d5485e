//! Bearer tokens: making them, and the file that says who has one. It holds digests, so that who reads it can call nothing.

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::model::Scopes;

/// Begins every token, so that one that leaked is known for what it is.
const PREFIX: &str = "ap_";
/// Of randomness in a token of a caller.
const TOKEN_BYTES: usize = 32;
/// Of randomness in the token of a share link, which people copy.
const LINK_BYTES: usize = 24;
/// No token is longer; what is, needs no hashing.
const LONGEST: usize = 256;

/// The SHA-256 of a token.
pub type Hash = [u8; 32];

/// Who has a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The caller.
    pub name: String,
    /// What they may do.
    pub scopes: Scopes,
    /// Of the token.
    pub hash: Hash,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    entries: Vec<Entry>,
}

/// A line that can't be used. Its text is not quoted: somebody may have put the token itself there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct LineError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub reason: &'static str,
}

impl Tokens {
    /// From the text of the file: a line `NAME:SCOPES:SHA256-OF-TOKEN` each; empty ones and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// For the first line that can't be used.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut names = HashSet::new();
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = Entry::parse(line).map_err(|reason| LineError { line: index + 1, reason })?;
            if !names.insert(entry.name.clone()) {
                return Err(LineError { line: index + 1, reason: "this name is there before" });
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// Whose token it is. Every entry is compared, in a time that says nothing of any.
    pub fn find(&self, token: &str) -> Option<&Entry> {
        if token.len() > LONGEST {
            return None;
        }
        let hash = hash(token);
        let mut found = None;
        for entry in &self.entries {
            if bool::from(entry.hash.ct_eq(&hash)) {
                found = Some(entry);
            }
        }
        found
    }

    /// The entry of this name.
    pub fn named(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let mut parts = line.splitn(3, ':');
        let (Some(name), Some(scopes), Some(hash)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("expected NAME:SCOPES:SHA256-OF-TOKEN");
        };
        if !is_name(name) {
            return Err("the name is empty, too long, or has other characters than letters, digits and ._@-");
        }
        let scopes = Scopes::parse(scopes).ok_or("the scopes are not some of read,link,admin")?;
        let hash = from_hex(hash).ok_or("the digest is not 64 digits of lower-case hexadecimal")?;
        Ok(Self { name: name.to_owned(), scopes, hash })
    }

    /// The line of the file.
    pub fn line(&self) -> String {
        format!("{}:{}:{}", self.name, self.scopes, to_hex(&self.hash))
    }
}

/// Whether somebody can be called so: names are shown, logged, and part of a line.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.chars().count())
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '@' | '-'))
}

/// A new token for a caller.
pub fn new_token(random: &mut impl Rng) -> SecretString {
    let mut bytes = [0; TOKEN_BYTES];
    random.fill_bytes(&mut bytes);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into()
}

/// A new token for a share link.
pub fn new_link_token(random: &mut impl Rng) -> SecretString {
    let mut bytes = [0; LINK_BYTES];
    random.fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes).into()
}

/// What is kept of a token.
pub fn hash_of(token: &SecretString) -> Hash {
    hash(token.expose_secret())
}

/// As [`hash_of`], of a token that somebody has sent.
pub fn hash(token: &str) -> Hash {
    digest(token.as_bytes())
}

/// SHA-256.
pub(super) fn digest(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Whether it could be the token of a link, as this program makes them.
pub fn may_be_link(token: &str) -> bool {
    token.len() == LINK_BYTES / 3 * 4 && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn to_hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, scopes: &str, token: &str) -> String {
        format!("{name}:{scopes}:{}\n", to_hex(&hash(token)))
    }

    #[test]
    fn a_token_is_found_by_its_digest_and_only_whole() {
        let text = format!("# people\n\n{}{}", line("ann", "read,link", "one"), line("bob", "admin", "two"));
        let tokens = Tokens::parse(&text).unwrap();
        assert_eq!(tokens.len(), 2);
        assert_eq!(tokens.find("one").unwrap().name, "ann");
        assert_eq!(tokens.find("two").unwrap().name, "bob");
        for wrong in ["", "on", "one ", "ONE", &"x".repeat(10_000)] {
            assert_eq!(tokens.find(wrong), None);
        }
        assert_eq!(tokens.named("bob").unwrap().line() + "\n", line("bob", "admin", "two"));
    }

    #[test]
    fn a_line_that_can_not_be_used_is_named_and_never_quoted() {
        let digest = "0".repeat(64);
        for (text, number) in [
            ("secret".to_owned(), 1),
            (format!("\n:read:{digest}"), 2),
            (format!("a b:read:{digest}"), 1),
            (format!("a:write:{digest}"), 1),
            (format!("a::{digest}"), 1),
            ("a:read:secret".to_owned(), 1),
            (format!("a:read:{}", "A".repeat(64)), 1),
            (format!("a:read:{digest}\na:link:{digest}"), 2),
        ] {
            let error = Tokens::parse(&text).unwrap_err();
            assert_eq!(error.line, number, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn tokens_are_random_and_long() {
        let mut random = rand::rng();
        let tokens: HashSet<String> = (0..100).map(|_| new_token(&mut random).expose_secret().to_owned()).collect();
        assert_eq!(tokens.len(), 100);
        assert!(tokens.iter().all(|token| token.len() == 46 && token.starts_with(PREFIX)));
        let link = new_link_token(&mut random);
        assert!(may_be_link(link.expose_secret()));
        assert!(!may_be_link("../../etc/passwd/../../etc/passw"));
    }

    #[test]
    fn nothing_of_a_digest_is_shown() {
        let tokens = Tokens::parse(&line("ann", "read", "one")).unwrap();
        assert!(!format!("{tokens:?}").contains(&to_hex(&hash("one"))[..8]));
    }
}
