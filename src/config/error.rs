//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::show::Origin;
use crate::model::Printable;

/// The configuration is invalid; nothing starts. Exit status 78.
#[derive(Debug)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// Nothing if there is no problem.
    pub(super) fn from_problems(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self { problems })
    }

    /// At least one; in the order of the layers, then of the sections.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            0 | 1 => f.write_str("load the configuration"),
            several => write!(f, "load the configuration: {several} problems, the first is"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.problems.first().map(|problem| problem as _)
    }
}

/// One thing that is wrong. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file was named and is not there.
    #[error(
        "{}: no such file; create it, or name another with -c or AGENT_PORTAIL_CONFIG",
        Printable(&path.to_string_lossy())
    )]
    Missing {
        /// As it was named.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("{origin}: read {}", Printable(&path.to_string_lossy()))]
    Read {
        /// Who named the file.
        origin: Origin,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not TOML. The line itself is not quoted: it may hold a password without its quotes.
    #[error("{}: line {line}, column {column}: not valid TOML: {message}", Printable(&path.to_string_lossy()))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// Of the parser.
        message: String,
    },
    /// A password stands in a file that everybody may read.
    #[error("{0}: holds a password and may be read by others: run `chmod o-rwx {0}`", Printable(&path.to_string_lossy()))]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// There is no such key or section.
    #[error("{origin}: {}: unknown; {hint}", Printable(key))]
    Unknown {
        /// Where it was found.
        origin: Origin,
        /// As it was written.
        key: String,
        /// What there is instead.
        hint: String,
    },
    /// A value of the wrong type, or out of its range.
    #[error("{origin}: {}: expected {expected}{}", Printable(key), Found(found))]
    Value {
        /// Where it was found.
        origin: Origin,
        /// Section and key.
        key: String,
        /// In words.
        expected: String,
        /// What was there, unless it is a secret.
        found: Option<String>,
    },
    /// A value that is possible by itself, but not with the others; or one that is missing.
    #[error("{origin}: {}: {}", Printable(key), Printable(reason))]
    Refused {
        /// Where it was found.
        origin: Origin,
        /// Section and key.
        key: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A variable that means nothing as it is spelt.
    #[error("environment {}: {remedy}", Printable(name))]
    Variable {
        /// As it was written.
        name: String,
        /// What to write instead.
        remedy: String,
    },
    /// Only one half of the pair is there.
    #[error(
        "credential {present}: {missing} is missing; the systemd credentials aws-access-key-id and \
         aws-secret-access-key are given both or not at all"
    )]
    HalfCredentials {
        /// The one that is there.
        present: &'static str,
        /// The other.
        missing: &'static str,
    },
    /// Nothing to sync.
    #[error("no folder is configured: write a [[folder]] with a path into the file, or set SYNC_PATH")]
    NoFolder,
    /// The link service would be open to the network.
    #[error(
        "urls.listen: {listen} is reachable from the network and no tokens are set: set urls.tokens_file or the systemd \
         credential urls-tokens, or listen on 127.0.0.1"
    )]
    OpenLinks {
        /// `urls.listen`.
        listen: SocketAddr,
    },
    /// The file of tokens.
    #[error("urls.tokens_file")]
    Tokens {
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// `, found …`, where it may be said.
struct Found<'a>(&'a Option<String>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(found) => write!(f, ", found {}", Printable(found)),
            None => Ok(()),
        }
    }
}
