//! Sessions: a cookie that says who has logged in and until when, sealed so that nobody else can make one. Nothing is kept of it here, and
//! it ends with the token that it began with. Pure but for the key: the time is an argument.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::Rng as _;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::urls::Caller;
use crate::urls::caller::Proof;

/// How long a session lasts, in seconds: a day's work.
pub const LASTING: i64 = 12 * 3600;

/// A cookie is never longer: a name of 64 characters in base 64, a time and a seal.
const LONGEST: usize = 512;

/// What seals cookies and forms.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}

impl Key {
    /// Of this process, and nowhere else: with it, all sessions end.
    pub fn of_process() -> &'static Self {
        static KEY: OnceLock<Key> = OnceLock::new();
        KEY.get_or_init(|| {
            let mut bytes = [0; 32];
            rand::rng().fill_bytes(&mut bytes);
            Self(bytes)
        })
    }

    /// The cookie of somebody who has just logged in.
    pub fn seal(&self, caller: &Caller, now: i64) -> String {
        let (name, until) = (URL_SAFE_NO_PAD.encode(&caller.name), now.saturating_add(LASTING));
        let seal = self.sign("session", &[name.as_bytes(), until.to_string().as_bytes(), &caller.proof.0]);
        format!("{name}.{until}.{seal}")
    }

    /// Who a cookie says has logged in: the name, for the caller that it has now to be compared by [`Self::is_of`].
    pub fn name(cookie: &str) -> Option<String> {
        if cookie.len() > LONGEST {
            return None;
        }
        let name = URL_SAFE_NO_PAD.decode(cookie.split('.').next()?).ok()?;
        String::from_utf8(name).ok()
    }

    /// Whether a cookie is this caller's, with the token that they have now, and lasts.
    pub fn is_of(&self, cookie: &str, caller: &Caller, now: i64) -> bool {
        let mut parts = cookie.splitn(3, '.');
        let (Some(name), Some(until), Some(seal)) = (parts.next(), parts.next(), parts.next()) else { return false };
        let right = self.sign("session", &[name.as_bytes(), until.as_bytes(), &caller.proof.0]);
        let sealed: bool = right.as_bytes().ct_eq(seal.as_bytes()).into();
        let is_named = URL_SAFE_NO_PAD.encode(&caller.name) == name;
        sealed && is_named && until.parse::<i64>().is_ok_and(|until| now < until)
    }

    /// What a form of this caller's pages brings along. A page of another site can't know it.
    pub fn form_token(&self, name: &str, proof: &Proof) -> String {
        self.sign("form", &[name.as_bytes(), &proof.0])
    }

    /// Whether a form has come from a page of this caller's.
    pub fn is_form_token(&self, sent: &str, name: &str, proof: &Proof) -> bool {
        self.form_token(name, proof).as_bytes().ct_eq(sent.as_bytes()).into()
    }

    fn sign(&self, purpose: &str, parts: &[&[u8]]) -> String {
        // An HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(purpose.as_bytes());
        for part in parts {
            // With their lengths, so that no two lists of parts are signed alike.
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scopes;

    fn caller(name: &str, proof: u8) -> Caller {
        Caller { name: name.to_owned(), scopes: Scopes::all(), proof: Proof([proof; 32]) }
    }

    #[test]
    fn a_cookie_is_good_for_its_caller_its_token_and_its_time() {
        let (key, ann) = (Key([7; 32]), caller("ann.é@x", 1));
        let cookie = key.seal(&ann, 1_000);
        assert!(cookie.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{cookie}");
        assert_eq!(Key::name(&cookie).as_deref(), Some("ann.é@x"));
        assert!(key.is_of(&cookie, &ann, 1_000 + LASTING - 1));
        assert!(!key.is_of(&cookie, &ann, 1_000 + LASTING), "its time is over");
        assert!(!key.is_of(&cookie, &caller("ann.é@x", 2), 1_001), "another token");
        assert!(!key.is_of(&cookie, &caller("bob", 1), 1_001), "another caller");
        assert!(!Key([8; 32]).is_of(&cookie, &ann, 1_001), "another process");
    }

    #[test]
    fn a_cookie_that_was_changed_is_nobodys() {
        let (key, ann) = (Key([7; 32]), caller("ann", 1));
        let cookie = key.seal(&ann, 1_000);
        for index in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert!(!key.is_of(&String::from_utf8(changed).unwrap(), &ann, 1_001), "{index}");
        }
        let later = cookie.replace(&(1_000 + LASTING).to_string(), &(9_000 + LASTING).to_string());
        for wrong in ["", ".", "..", "a.b.c", &later, &format!("{cookie}A"), &"x".repeat(10_000)] {
            assert!(!key.is_of(wrong, &ann, 1_001), "{wrong}");
        }
        assert_eq!(Key::name(&"x".repeat(10_000)), None);
    }

    #[test]
    fn the_token_of_a_form_is_its_callers_and_no_cookie() {
        let (key, ann) = (Key([7; 32]), caller("ann", 1));
        let token = key.form_token(&ann.name, &ann.proof);
        assert!(key.is_form_token(&token, "ann", &ann.proof));
        assert!(!key.is_form_token(&token, "bob", &ann.proof));
        assert!(!key.is_form_token(&token, "ann", &Proof([2; 32])));
        assert!(!key.is_form_token("", "ann", &ann.proof));
        assert!(!key.seal(&ann, 0).ends_with(&token));
    }
}
