//! Exclude rules: gitignore patterns from the configuration and from `.portailignore` in the folder, and a built-in one for the
//! files that a restore has not finished.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::model::RelPath;

/// A file at the top of the folder that adds patterns to the configured ones.
pub const IGNORE_FILE: &str = ".portailignore";

/// How a file that a restore is writing is called until it is whole: this, 16 hexadecimal digits, and [`TEMPORARY_SUFFIX`].
pub const TEMPORARY_PREFIX: &str = ".agent-portail-restore-";
/// See [`TEMPORARY_PREFIX`].
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// Whether a file of this name is one that a restore is writing, or has left behind when it was killed. It is never synced.
pub fn is_temporary(name: &[u8]) -> bool {
    let middle =
        name.strip_prefix(TEMPORARY_PREFIX.as_bytes()).and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX.as_bytes()));
    middle.is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
}

/// The rules of one folder.
#[derive(Clone, Debug)]
pub struct Excludes {
    rules: Gitignore,
}

/// A rule that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ExcludeError {
    /// In the configuration.
    #[error("use the exclude pattern `{pattern}`: correct it in the configuration")]
    Pattern {
        /// As written.
        pattern: String,
        /// What is wrong.
        source: ignore::Error,
    },
    /// In the folder.
    #[error("use line {line} of {IGNORE_FILE}: correct it or remove it")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        source: ignore::Error,
    },
    /// All together are too large.
    #[error("combine the exclude patterns")]
    Build(#[source] ignore::Error),
    /// The file is there and can't be read. To go on without it would sync what it excludes.
    #[error("read {IGNORE_FILE}")]
    Read(#[source] io::Error),
}

impl Excludes {
    /// From the configured patterns and the text of `.portailignore`, whose rules come later and so win.
    pub fn new(patterns: &[String], ignore_file: Option<&[u8]>) -> Result<Self, ExcludeError> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            builder
                .add_line(None, pattern)
                .map_err(|source| ExcludeError::Pattern { pattern: pattern.clone(), source })?;
        }
        let text = String::from_utf8_lossy(ignore_file.unwrap_or_default());
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            builder.add_line(None, line).map_err(|source| ExcludeError::Line { line: index + 1, source })?;
        }
        Ok(Self { rules: builder.build().map_err(ExcludeError::Build)? })
    }

    /// Whether there are no rules at all, but for the built-in one.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule excludes this entry itself. What lies below an excluded directory is never asked about by a walk.
    pub fn excludes_entry(&self, path: &Path, is_directory: bool) -> bool {
        (!is_directory && path.file_name().is_some_and(|name| is_temporary(name.as_bytes())))
            || (!self.is_empty() && self.rules.matched(path, is_directory).is_ignore())
    }

    /// The rule that excludes this file or a directory that it lies in, as it was written.
    pub fn rule(&self, path: &RelPath) -> Option<String> {
        let path = path.as_path();
        if path.file_name().is_some_and(|name| is_temporary(name.as_bytes())) {
            return Some(format!("{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX} (built in)"));
        }
        let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        let candidates = above.map(|directory| (directory, true)).chain([(path, false)]);
        let rule = |(path, is_directory)| match self.rules.matched(path, is_directory) {
            ignore::Match::Ignore(rule) => Some(rule.original().to_owned()),
            ignore::Match::None | ignore::Match::Whitelist(_) => None,
        };
        candidates.filter_map(rule).next()
    }

    /// Whether a rule excludes this file or a directory that it lies in. As with git, a file can't be taken in again when a
    /// directory above it is excluded.
    pub fn excludes(&self, path: &RelPath) -> bool {
        let path = path.as_path();
        if self.is_empty() {
            return self.excludes_entry(path, false);
        }
        let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
        above.reverse();
        above.into_iter().any(|directory| self.excludes_entry(directory, true)) || self.excludes_entry(path, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(patterns: &[&str], file: &str, path: &str) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        Excludes::new(&patterns, Some(file.as_bytes())).unwrap().excludes(&RelPath::from_raw(path.as_bytes()))
    }

    #[test]
    fn patterns_mean_what_git_means() {
        assert!(excludes(&["*.tmp"], "", "a/b.tmp"));
        assert!(excludes(&["/cache/"], "", "cache/x/y"));
        assert!(!excludes(&["/cache/"], "", "a/cache/x"), "an anchored pattern holds at the top only");
        assert!(!excludes(&["/cache/"], "", "cache"), "a pattern for directories does not match a file");
        assert!(excludes(&["build/"], "", "a/build/x"));
        assert!(excludes(&["**/logs/*.log"], "", "a/logs/x.log"));
        assert!(!excludes(&["*.tmp", "!keep.tmp"], "", "keep.tmp"));
        assert!(
            excludes(&["cache/", "!cache/keep"], "", "cache/keep"),
            "as with git, a directory's exclusion is final"
        );
    }

    #[test]
    fn the_ignore_file_adds_to_the_configuration_and_wins() {
        assert!(excludes(&[], "# comment\n\n*.bak\n", "x.bak"));
        assert!(excludes(&["*.tmp"], "*.bak\n", "x.tmp"));
        assert!(!excludes(&["*.tmp"], "!x.tmp\n", "x.tmp"));
        assert!(excludes(&[], "\u{feff}*.bak\r\n", "x.bak"), "a byte order mark and CRLF do no harm");
    }

    #[test]
    fn paths_that_no_file_can_have_do_no_harm() {
        for path in ["", "/", "/abs/x", "a//b", "a/", "."] {
            assert!(!excludes(&["*.tmp"], "", path), "{path:?}");
        }
    }

    #[test]
    fn what_a_restore_has_not_finished_is_excluded_whatever_the_rules_say() {
        let name = ".agent-portail-restore-0123456789abcdef.tmp";
        for path in [name.to_owned(), format!("a/b/{name}")] {
            assert!(excludes(&[], "", &path) && excludes(&["x"], "!*", &path), "{path}");
            let rules = Excludes::new(&[], None).unwrap();
            assert!(rules.rule(&RelPath::from_raw(path.as_bytes())).unwrap().contains("built in"));
            assert!(!rules.excludes_entry(Path::new(&path), true), "a directory is nothing that a restore makes");
        }
        let others = [
            ".agent-portail-restore-0123456789abcde.tmp",
            ".agent-portail-restore-0123456789abcdeg.tmp",
            "x.agent-portail-restore-0123456789abcdef.tmp",
            ".agent-portail-restore-0123456789abcdef.tmp2",
            ".agent-portail-restore-.tmp",
            ".agent-portail-restore-0123456789abcdef.tmp/below",
        ];
        for path in others {
            assert!(!excludes(&[], "", path), "{path}");
        }
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Excludes::new(&["[z-a]".to_owned()], None).unwrap_err();
        assert!(error.to_string().contains("`[z-a]`"), "{error}");
        let error = Excludes::new(&[], Some(b"ok\n[z-a]\n")).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
