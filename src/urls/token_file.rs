//! The file of tokens on disk: reading it, and adding to it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::tokens::{Entry, LineError, Tokens};
use crate::model::ShownPath;

/// A larger one is a mistake, such as a device: it would be thousands of callers.
const LARGEST: u64 = 1024 * 1024;

/// The file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// Not even read or written.
    #[error("{what} the tokens file {}", ShownPath(path))]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A line of it.
    #[error("understand the tokens file {}", ShownPath(path))]
    Line {
        /// The file.
        path: PathBuf,
        /// Which.
        #[source]
        source: LineError,
    },
    /// Two callers of one name could not be told apart.
    #[error("add `{name}` to the tokens file {}: there is one of this name; remove its line first", ShownPath(path))]
    Taken {
        /// The file.
        path: PathBuf,
        /// Wanted.
        name: String,
    },
}

/// Reads and understands all of it.
///
/// # Errors
/// If it can't be read, or a line can't be used.
pub fn read(path: &Path) -> Result<Tokens, TokenFileError> {
    let failed = |source| TokenFileError::Io { what: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let text = read_text(&mut file).map_err(failed)?;
    Tokens::parse(&text).map_err(|source| TokenFileError::Line { path: path.to_owned(), source })
}

/// Adds one line; makes the file if there is none.
///
/// # Errors
/// If it can't be read or written, a line of it can't be used, or there is such a name.
pub fn add(path: &Path, entry: &Entry) -> Result<(), TokenFileError> {
    let failed = |what| move |source| TokenFileError::Io { what, path: path.to_owned(), source };
    // The service runs as another user, which reads it as the group of the directory.
    let mut open = OpenOptions::new();
    let mut file = open.read(true).append(true).create(true).mode(0o640).open(path).map_err(failed("open"))?;
    // Two that add at once take turns.
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| failed("lock")(error.into()))?;
    let text = read_text(&mut file).map_err(failed("read"))?;
    let known = Tokens::parse(&text).map_err(|source| TokenFileError::Line { path: path.to_owned(), source })?;
    if known.named(&entry.name).is_some() {
        return Err(TokenFileError::Taken { path: path.to_owned(), name: entry.name.clone() });
    }
    if text.is_empty() {
        give_to_group_of_directory(&file, path);
    }
    let begin = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    file.write_all(format!("{begin}{}\n", entry.line()).as_bytes()).map_err(failed("write"))?;
    file.sync_all().map_err(failed("write"))
}

fn read_text(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    let read = file.take(LARGEST + 1).read_to_string(&mut text)?;
    if read as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}

/// Where that is not allowed, the file is as it would have been.
fn give_to_group_of_directory(file: &File, path: &Path) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(metadata) = directory.metadata() {
        let _ = fchown(file, None, Some(metadata.gid()));
    }
}

/// What changes when somebody changes the file.
pub(super) fn state(path: &Path) -> Option<(i64, i64, u64, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.ctime(), metadata.ctime_nsec(), metadata.ino(), metadata.len()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::model::Scopes;
    use crate::urls::tokens::{hash, new_token};

    fn entry(name: &str, token: &str) -> Entry {
        Entry { name: name.to_owned(), scopes: Scopes::parse("read").unwrap(), hash: hash(token) }
    }

    #[test]
    fn what_is_added_is_read_again_and_nobody_else_reads_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tokens");
        add(&path, &entry("ann", "one")).unwrap();
        // An editor may have left the last line without its end.
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.trim_end()).unwrap();
        add(&path, &entry("bob", "two")).unwrap();
        let tokens = read(&path).unwrap();
        assert_eq!(tokens.find("one").unwrap().name, "ann");
        assert_eq!(tokens.find("two").unwrap().name, "bob");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert!(matches!(add(&path, &entry("ann", "three")), Err(TokenFileError::Taken { .. })));
        assert_eq!(read(&path).unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_is_not_understood_is_left_alone_and_not_quoted() {
        use secrecy::ExposeSecret as _;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tokens");
        let token = new_token(&mut rand::rng());
        std::fs::write(&path, token.expose_secret()).unwrap();
        let error = add(&path, &entry("ann", "one")).unwrap_err();
        assert!(matches!(&error, TokenFileError::Line { source, .. } if source.line == 1));
        assert!(!format!("{error:?}").contains(&token.expose_secret()[3..]));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), token.expose_secret());
    }
}
