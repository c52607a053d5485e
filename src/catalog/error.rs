//! What can go wrong with the catalog, and what to do about it.

use tokio_postgres::error::SqlState;

use crate::model::{Printable, Retry};

/// The catalog could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} at {place}{}", cause.remedy())]
pub struct CatalogError {
    what: &'static str,
    place: String,
    /// Boxed: the answer of every call to the catalog carries the room for it.
    #[source]
    cause: Box<Cause>,
}

/// Why.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// No connection could be made or had.
    #[error("{0}")]
    Pool(String),
    /// The server is not there, or the connection broke.
    #[error("{}", Described(.0))]
    Connection(tokio_postgres::Error),
    /// The server refused.
    #[error("{}", Described(.0))]
    Refused(tokio_postgres::Error),
    /// Nothing came back in time.
    #[error("PostgreSQL did not answer in time")]
    NoAnswer,
    /// The server is older than 13.
    #[error("it runs {version}, and version 13 or later is needed")]
    TooOld {
        /// As it calls itself.
        version: String,
    },
    /// The CA file.
    #[error("read the CA file {path}: {reason}")]
    CaFile {
        /// As configured.
        path: String,
        /// Why.
        reason: String,
    },
    /// Text that PostgreSQL can't hold.
    #[error("the text {0} has a NUL byte")]
    Nul(String),
    /// The tables don't hold what they must.
    #[error("{0}")]
    Strange(String),
    /// A migration failed.
    #[error("{0}")]
    Migration(String),
    /// Somebody else migrates and does not come to an end.
    #[error("another process is changing the schema: {0}")]
    MigrationLock(String),
    /// Somebody has upgraded.
    #[error("its schema has version {found}, and this program knows {known}; upgrade agent-portail")]
    Newer {
        /// In the database.
        found: u32,
        /// By this program.
        known: u32,
    },
    /// Two agents would write below each other.
    #[error(
        "its prefix `{prefix}` and the prefix `{other}` of `{folder}` (agent {agent}) overlap: choose prefixes of which none begins the other"
    )]
    Overlap {
        /// Wanted.
        prefix: String,
        /// There already.
        other: String,
        /// Whose.
        folder: String,
        /// Of which agent.
        agent: String,
    },
    /// A batch names a path twice.
    #[error("the path `{0}` is twice in one batch; please report this as a bug")]
    Twice(String),
}

/// A server's error with all that it says: severity, code, message, detail, hint.
struct Described<'a>(&'a tokio_postgres::Error);

impl std::fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(server) = self.0.as_db_error() else {
            write!(f, "{}", Printable(&self.0.to_string()))?;
            let mut cause = std::error::Error::source(self.0);
            while let Some(next) = cause {
                // tokio-postgres repeats its cause's text in its own.
                let text = next.to_string();
                if !self.0.to_string().contains(&text) {
                    write!(f, ": {}", Printable(&text))?;
                }
                cause = next.source();
            }
            return Ok(());
        };
        write!(f, "{} {}: {}", server.severity(), server.code().code(), Printable(server.message()))?;
        for more in [server.detail(), server.hint()].into_iter().flatten() {
            write!(f, " ({})", Printable(more))?;
        }
        Ok(())
    }
}

impl CatalogError {
    pub(super) fn new(what: &'static str, place: &str, cause: Cause) -> Self {
        Self { what, place: Printable(place).to_string(), cause: Box::new(cause) }
    }

    /// Why.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// What to do about it.
    pub fn retry(&self) -> Retry {
        match &*self.cause {
            Cause::Pool(_)
            | Cause::Connection(_)
            | Cause::NoAnswer
            | Cause::TooOld { .. }
            | Cause::CaFile { .. }
            | Cause::Migration(_)
            | Cause::MigrationLock(_)
            | Cause::Newer { .. }
            | Cause::Overlap { .. } => Retry::Fatal,
            Cause::Refused(error) => error.code().map_or(Retry::Fatal, retry_of),
            Cause::Nul(_) => Retry::Never,
            Cause::Strange(_) | Cause::Twice(_) => Retry::Later,
        }
    }

    /// Whether it stays as it is until a person changes something: waiting for it is of no use.
    pub fn is_final(&self) -> bool {
        matches!(*self.cause, Cause::TooOld { .. } | Cause::CaFile { .. } | Cause::Newer { .. } | Cause::Migration(_))
    }

    /// Whether the server has ended the session, for which it undoes what was under way.
    pub(super) fn is_end_of_session(&self) -> bool {
        let Cause::Refused(error) = &*self.cause else { return false };
        error.code().is_some_and(|code| [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code))
    }

    /// Whether the connection broke, and with it what the server may have made of the statement.
    pub(super) fn is_broken_connection(&self) -> bool {
        matches!(*self.cause, Cause::Connection(_))
    }

    /// Whether a row that it was to refer to is not there.
    pub(super) fn is_missing_reference(&self) -> bool {
        let Cause::Refused(error) = &*self.cause else { return false };
        error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION)
    }

    /// Whether it is this row's own fault, so that the rest of its batch can go in without it.
    pub(super) fn is_of_the_row(&self) -> bool {
        match &*self.cause {
            Cause::Refused(error) => error.code().is_some_and(|code| retry_of(code) == Retry::Never),
            Cause::Nul(_) => true,
            Cause::Pool(_)
            | Cause::Connection(_)
            | Cause::NoAnswer
            | Cause::TooOld { .. }
            | Cause::CaFile { .. }
            | Cause::Strange(_)
            | Cause::Migration(_)
            | Cause::MigrationLock(_)
            | Cause::Newer { .. }
            | Cause::Overlap { .. }
            | Cause::Twice(_) => false,
        }
    }
}

/// By class of SQLSTATE. <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn retry_of(code: &SqlState) -> Retry {
    match code.code().get(..2) {
        // Data exception, integrity constraint violation: this row, always.
        Some("22" | "23") => Retry::Never,
        // Transaction rollback: serialization failure, deadlock.
        Some("40") => Retry::Later,
        // Too large a statement or row.
        Some("54") => Retry::Never,
        // Rights, resources, read-only stand-by, shutdown, a schema that is not there: nothing works until it is mended.
        Some(_) | None => Retry::Fatal,
    }
}

impl From<tokio_postgres::Error> for Cause {
    fn from(error: tokio_postgres::Error) -> Self {
        if error.as_db_error().is_some() { Self::Refused(error) } else { Self::Connection(error) }
    }
}

impl From<deadpool_postgres::PoolError> for Cause {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        use deadpool_postgres::PoolError;
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(step) => {
                Self::Pool(format!("no connection in {} s ({step:?})", super::CONNECT.as_secs()))
            }
            PoolError::Closed => Self::Pool("the pool is closed".to_owned()),
            PoolError::NoRuntimeSpecified => Self::Pool("the pool has no runtime".to_owned()),
            PoolError::PostCreateHook(error) => Self::Pool(error.to_string()),
        }
    }
}

impl Cause {
    fn remedy(&self) -> &'static str {
        let refused = match self {
            Self::Refused(error) => error,
            Self::Connection(_) => return ": check that PostgreSQL runs there and that [database] is right",
            Self::Pool(_)
            | Self::NoAnswer
            | Self::TooOld { .. }
            | Self::CaFile { .. }
            | Self::Nul(_)
            | Self::Strange(_)
            | Self::Migration(_)
            | Self::MigrationLock(_)
            | Self::Newer { .. }
            | Self::Overlap { .. }
            | Self::Twice(_) => return "",
        };
        match refused.code() {
            Some(code)
                if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
            {
                ": check database.user and its password, and pg_hba.conf"
            }
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => ": create the database, or correct database.name",
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                ": grant the role CREATE on the database, and the tables of the schema portail"
            }
            Some(code) if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME => {
                ": run `agent-portail migrate`"
            }
            Some(_) | None => "",
        }
    }
}
