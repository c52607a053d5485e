//! A finding, and how it is printed.

use std::error::Error;
use std::fmt;

use crate::cli::output::OutputError;
use crate::model::Printable;
use crate::sync::act::chain;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It works, with a restriction.
    Warn,
    /// `sync` or `run` would fail on it.
    Failed,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    verdict: Verdict,
    what: String,
    found: String,
    remedy: Option<String>,
}

impl Line {
    /// It is as it should be.
    pub(super) fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, what: what.into(), found: found.into(), remedy: None }
    }

    /// It works, but.
    pub(super) fn warn(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, ..Self::ok(what, found) }
    }

    /// It does not work.
    pub(super) fn fail(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, ..Self::ok(what, found) }
    }

    /// It does not work, for the reason that the error and its causes give.
    pub(super) fn failed(what: impl Into<String>, error: &dyn Error) -> Self {
        Self::fail(what, chain(error))
    }

    /// Whether it does not work.
    pub(super) fn has_failed(&self) -> bool {
        self.verdict == Verdict::Failed
    }

    /// With what to do about it.
    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Failed => "FAIL",
        };
        write!(f, "{verdict}  {}: {}", Printable(&self.what), Printable(&self.found))?;
        match &self.remedy {
            Some(remedy) => write!(f, " -> {}", Printable(remedy)),
            None => Ok(()),
        }
    }
}

/// Prints findings as they come, and remembers whether one of them was bad.
pub(super) struct Findings<P> {
    print: P,
    any_failed: bool,
}

impl<P: FnMut(&Line) -> Result<(), OutputError>> Findings<P> {
    /// Printed so.
    pub(super) fn new(print: P) -> Self {
        Self { print, any_failed: false }
    }

    /// One more.
    ///
    /// # Errors
    /// If it can't be printed.
    pub(super) fn say(&mut self, line: Line) -> Result<(), OutputError> {
        self.any_failed |= line.has_failed();
        (self.print)(&line)
    }

    /// Whether something does not work.
    pub(super) fn any_failed(&self) -> bool {
        self.any_failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_whatever_the_names_hold() {
        let line = Line::fail("folder a\nb", "denied\u{1b}[31m").remedy("grant\tit");
        assert_eq!(line.to_string(), "FAIL  folder a\\nb: denied\\u{1b}[31m -> grant\\tit");
        assert_eq!(Line::ok("bucket `b`", "fine").to_string(), "ok    bucket `b`: fine");
        assert_eq!(Line::warn("x", "y").to_string(), "warn  x: y");
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = anyhow::anyhow!("refused").context("ask the server");
        assert_eq!(Line::failed("PostgreSQL", error.as_ref()).to_string(), "FAIL  PostgreSQL: ask the server: refused");
    }

    #[test]
    fn only_what_fails_counts_as_failed() {
        let mut printed = Vec::new();
        let mut findings = Findings::new(|line: &Line| {
            printed.push(line.to_string());
            Ok(())
        });
        findings.say(Line::ok("a", "b")).unwrap();
        findings.say(Line::warn("c", "d")).unwrap();
        assert!(!findings.any_failed());
        findings.say(Line::fail("e", "f")).unwrap();
        findings.say(Line::ok("g", "h")).unwrap();
        assert!(findings.any_failed());
        assert_eq!(printed.len(), 4);
    }
}
