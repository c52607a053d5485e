//! How the process ends: its status, and what it says about an error.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::check::Unusable;
use super::output::OutputError;
use crate::config::ConfigError;
use crate::model::Printable;

/// The exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and in sync.
    Done,
    /// Something failed, differs or is held; it was named.
    Trouble,
    /// Wrong usage.
    Usage,
    /// `sync` was interrupted by SIGINT.
    Interrupted,
    /// The configuration is invalid (`EX_CONFIG` of sysexits.h; the unit does not restart on it).
    Configuration,
}

/// The command line names something that there is not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Trouble => 1,
            Self::Usage => 2,
            Self::Interrupted => 130,
            Self::Configuration => 78,
        }
    }

    /// Prints what a command failed with on standard error, once, and says how to exit.
    ///
    /// A configuration's problems are printed all; any other error with its whole chain, one cause a line. If standard
    /// output was closed by its reader, there is nothing to say.
    pub fn from_error(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<OutputError>().is_some_and(OutputError::is_closed) {
            return Self::Trouble;
        }
        let mut text = String::new();
        let exit = if let Some(invalid) = error.downcast_ref::<ConfigError>() {
            for problem in invalid.problems() {
                text.push_str(&format!("agent-portail: {}", Chain(problem)));
            }
            Self::Configuration
        } else if let Some(Unusable(lines)) = error.downcast_ref() {
            for line in lines {
                text.push_str(&format!("agent-portail: {line}\n"));
            }
            Self::Configuration
        } else {
            text.push_str(&format!("agent-portail: failed to {}", Chain(error.as_ref())));
            if error.downcast_ref::<UsageError>().is_some() { Self::Usage } else { Self::Trouble }
        };
        // Where standard error is closed, the status must do.
        let _ = io::stderr().write_all(text.as_bytes());
        exit
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// An error and its causes, one a line, with everything escaped that a terminal could act on.
struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Printable(&self.0.to_string()))?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            writeln!(f, "  because: {}", Printable(&error.to_string()))?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_each_cause_once_on_a_line_of_its_own() {
        let error = anyhow::anyhow!("no\u{1b}[31m\nroute").context("ask S3").context("sync `a`");
        assert_eq!(
            Chain(error.as_ref()).to_string(),
            "sync `a`\n  because: ask S3\n  because: no\\u{1b}[31m\\nroute\n"
        );
    }

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let codes = [Exit::Done, Exit::Trouble, Exit::Usage, Exit::Interrupted, Exit::Configuration].map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 130, 78]);
    }

    #[test]
    fn a_closed_standard_output_is_found_under_other_words() {
        use anyhow::Context as _;
        let closed = OutputError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        let error = Err::<(), _>(closed).context("print the status").unwrap_err();
        assert!(error.downcast_ref::<OutputError>().unwrap().is_closed());
    }
}
