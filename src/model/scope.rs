//! What a caller of the link service may do.

use std::fmt;

/// One right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// To browse and search.
    Read,
    /// To make URLs and links, and to look after one's own.
    Link,
    /// To look after everybody's links; has the other two in it.
    Admin,
}

impl Scope {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Read, Self::Link, Self::Admin];

    /// As it is written in the file of tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Link => "link",
            Self::Admin => "admin",
        }
    }

    /// From the file of tokens.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Link => 2,
            Self::Admin => 4,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// From `read,link`; nothing for an empty or unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').map(|part| Scope::parse(part.trim())).collect()
    }

    /// Every right.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether they allow it.
    pub fn may(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for scope in Scope::ALL.into_iter().filter(|scope| self.0 & scope.bit() != 0) {
            write!(f, "{comma}{scope}")?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_has_the_others_in_it_and_no_other_has_more_than_itself() {
        for (text, read, link, admin) in [
            ("read", true, false, false),
            ("link", false, true, false),
            ("read,link", true, true, false),
            ("admin", true, true, true),
        ] {
            let scopes = Scopes::parse(text).unwrap();
            let may = [Scope::Read, Scope::Link, Scope::Admin].map(|scope| scopes.may(scope));
            assert_eq!(may, [read, link, admin], "{text}");
            assert_eq!(scopes.to_string(), text);
        }
        assert!(!Scopes::default().may(Scope::Read));
    }

    #[test]
    fn an_unknown_or_empty_scope_is_none() {
        for text in ["", "read,", "Read", "write", "read;link"] {
            assert_eq!(Scopes::parse(text), None, "{text}");
        }
    }
}
