//! Everything that the configuration is made of, captured once, so that tests can pass their own.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Which file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigFile {
    /// Named by `-c` or `AGENT_PORTAIL_CONFIG`: it must be there.
    Named(PathBuf),
    /// The default place: it may be missing.
    Default(PathBuf),
}

impl ConfigFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Default(path) => path,
        }
    }
}

/// What comes from outside. It has no `Debug`: the environment may hold a password.
#[derive(Clone)]
pub struct Sources {
    /// The file.
    pub config: ConfigFile,
    /// Names and values, as the process got them.
    pub environment: Vec<(OsString, OsString)>,
    /// `--set`, in the order of the command line.
    pub flags: Vec<Flag>,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// The default of `agent.name`.
    pub host_name: String,
    /// Whether standard error goes to the journal: then `log.method` is `journald` by default.
    pub under_journald: bool,
}

impl Sources {
    /// From the command line, the environment that the caller captured, and this machine.
    pub fn capture(
        config: Option<PathBuf>,
        flags: Vec<Flag>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let environment: Vec<_> = environment.into_iter().collect();
        let variable = |name: &str| {
            environment
                .iter()
                .find(|(key, value)| key == OsStr::new(name) && !value.is_empty())
                .map(|(_, value)| value.clone())
        };
        let config = match config.or_else(|| variable("AGENT_PORTAIL_CONFIG").map(PathBuf::from)) {
            Some(path) => ConfigFile::Named(path),
            None => ConfigFile::Default(PathBuf::from(super::DEFAULT_FILE)),
        };
        let credentials = variable("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let under_journald = variable("JOURNAL_STREAM").is_some_and(|stream| is_journal(&stream));
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { config, environment, flags, credentials, host_name, under_journald }
    }
}

/// Whether standard error is the stream that systemd connected to the journal: `$JOURNAL_STREAM` is `DEVICE:INODE`, and a
/// child inherits the variable although its own streams may lead elsewhere (systemd.exec(5)). Without the journal's socket,
/// as in a service with a root directory of its own, the stream is all that there is.
fn is_journal(stream: &OsStr) -> bool {
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino))
        && Path::new("/run/systemd/journal/socket").exists()
}

/// `--set SECTION.KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
}

/// A `--set` that is not to be used. No message quotes a value: it may be a secret that was put in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// It has no `.` or no `=`.
    #[error("--set takes SECTION.KEY=VALUE, such as --set sync.workers=8")]
    Form,
    /// A password.
    #[error(
        "--set takes no password, because other users see the command line: use DB_PASSWORD, database.password_file or \
         the systemd credential db-password"
    )]
    Secret,
    /// `notify.…`.
    #[error("--set cannot change a webhook: write it into the file as [[notify]]")]
    Notify,
    /// `folder.…`.
    #[error("--set cannot change a folder: write it into the file as [[folder]], or set SYNC_PATH for a single one")]
    Folder,
}

impl std::str::FromStr for Flag {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let (name, value) = text.split_once('=').ok_or(FlagError::Form)?;
        let (section, key) = name.split_once('.').ok_or(FlagError::Form)?;
        let (section, key) = (section.trim(), key.trim());
        if section.is_empty() || key.is_empty() {
            return Err(FlagError::Form);
        }
        if section == "folder" {
            return Err(FlagError::Folder);
        }
        if section == "notify" {
            return Err(FlagError::Notify);
        }
        if (section == "database" && key == "password") || super::values::has_user_info(value) {
            return Err(FlagError::Secret);
        }
        Ok(Self { section: section.to_owned(), key: key.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_takes_everything_after_the_first_equals_sign() {
        let flag: Flag = "s3.endpoint_url=http://x/?a=b".parse().unwrap();
        assert_eq!(flag, Flag { section: "s3".into(), key: "endpoint_url".into(), value: "http://x/?a=b".into() });
    }

    #[test]
    fn a_flag_refuses_secrets_folders_and_other_forms_without_quoting_them() {
        for (text, error) in [
            ("database.password=hunter2", FlagError::Secret),
            ("s3.endpoint_url=http://me:hunter2@x", FlagError::Secret),
            ("folder.path=/hunter2", FlagError::Folder),
            ("hunter2", FlagError::Form),
            ("hunter2=x", FlagError::Form),
            (".x=hunter2", FlagError::Form),
        ] {
            assert_eq!(text.parse::<Flag>(), Err(error), "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn an_empty_variable_names_no_file_and_no_credentials() {
        let sources = Sources::capture(
            None,
            vec![],
            [("AGENT_PORTAIL_CONFIG".into(), "".into()), ("CREDENTIALS_DIRECTORY".into(), "".into())],
        );
        assert_eq!(sources.config, ConfigFile::Default(super::super::DEFAULT_FILE.into()));
        assert_eq!(sources.credentials, None);
    }

    #[test]
    fn a_journal_stream_of_another_process_is_not_ours() {
        assert!(!is_journal(OsStr::new("1:1")));
    }
}
