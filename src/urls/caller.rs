//! Who calls.

use subtle::ConstantTimeEq as _;

use super::refusal::Refusal;
use super::tokens::{Entry, Hash, digest};
use crate::model::{Scope, Scopes};

/// Somebody whom the service knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose links they make.
    pub name: String,
    /// What they may do.
    pub scopes: Scopes,
    /// Changes whenever the token is another one, so that a session ends with the token that it began with.
    pub proof: Proof,
}

/// What a session is bound to: see [`Caller::proof`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Proof(pub Hash);

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof(***)")
    }
}

impl Proof {
    /// Whether it is this one, in a time that does not say how much of it is.
    pub fn is(&self, other: &[u8]) -> bool {
        self.0[..].ct_eq(other).into()
    }
}

impl Caller {
    /// Who has this token.
    pub(super) fn of(entry: &Entry) -> Self {
        let mut bound = b"session ".to_vec();
        bound.extend_from_slice(&entry.hash);
        bound.extend_from_slice(entry.scopes.to_string().as_bytes());
        Self { name: entry.name.clone(), scopes: entry.scopes, proof: Proof(digest(&bound)) }
    }

    /// Who a proxy says it is, or anybody where nobody is asked.
    pub(super) fn named(name: &str, scopes: Scopes) -> Self {
        Self { name: name.to_owned(), scopes, proof: Proof(digest(format!("named {name} {scopes}").as_bytes())) }
    }

    /// Whether they may.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.may(scope)
    }

    /// # Errors
    /// If they may not.
    pub fn need(&self, scope: Scope) -> Result<(), Refusal> {
        if self.may(scope) { Ok(()) } else { Err(Refusal::Forbidden(scope)) }
    }
}
