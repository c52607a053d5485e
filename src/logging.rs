//! Where log lines go, and the level `success`.
//!
//! tracing knows five levels. `success`, between `warn` and `info`, is for outcomes (uploaded, deleted, reconciled): an
//! INFO event with the field [`filter::MARKER`], which [`success!`](crate::success) adds.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tracing::Dispatch;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{InitError, RollingFileAppender, Rotation};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::{Registry, fmt};

use crate::config::settings::{LogFormat, LogMethod, LogSettings};
use crate::model::Printable;
use filter::Threshold;

mod filter;
mod format;
#[cfg(target_os = "linux")]
mod journal;

pub use crate::success;

/// Logs an outcome: an event of the level `success`. It takes what [`tracing::info!`] takes.
#[macro_export]
macro_rules! success {
    (target: $target:expr, $($rest:tt)+) => {
        ::tracing::event!(target: $target, ::tracing::Level::INFO, success = true, $($rest)+)
    };
    ($($rest:tt)+) => {
        ::tracing::event!(::tracing::Level::INFO, success = true, $($rest)+)
    };
}

/// Log files that are kept: today's and those of the 13 days before.
const KEPT_FILES: usize = 14;

/// Who logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `run` and `urls`: `log.method` decides.
    Service,
    /// Any other command: standard error, because standard output has its results.
    Command,
}

/// Keep it until the end of `main`: lines that are still on their way are written when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct LogGuard {
    _worker: Option<WorkerGuard>,
}

/// Logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `log.path` leads nowhere, or this user may not write there.
    #[error(
        "open the log file {}: create its folder and make it writable for this user, or change log.path",
        Printable(&path.to_string_lossy())
    )]
    File {
        /// `log.path`.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that is not ours stands where the link to today's file goes.
    #[error(
        "link {0} to today's log file: there is a file of that name already, which would be lost: move it away, or change \
         log.path",
        Printable(&path.to_string_lossy())
    )]
    Taken {
        /// `log.path`.
        path: PathBuf,
    },
    /// The daily file could not be made beside `log.path`.
    #[error(
        "rotate the log file {}: make its folder writable for this user, or change log.path",
        Printable(&path.to_string_lossy())
    )]
    Rotation {
        /// `log.path`.
        path: PathBuf,
        /// Why.
        #[source]
        source: InitError,
    },
    /// There is no journal here.
    #[error("connect to systemd's journal: set log.method to stdout or logfile where there is none")]
    Journald {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Only once in a process.
    #[error("install the logger, which is there already")]
    Installed,
}

/// Installs the logger of this process.
///
/// # Errors
/// If the destination cannot be written to, or a logger is there already.
pub fn init(settings: &LogSettings, destination: Destination) -> Result<LogGuard, LoggingError> {
    let (dispatch, guard) = open(settings, destination)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LoggingError::Installed)?;
    Ok(guard)
}

/// Opens the destination without installing the logger.
///
/// # Errors
/// If the destination cannot be written to.
pub fn open(settings: &LogSettings, destination: Destination) -> Result<(Dispatch, LogGuard), LoggingError> {
    let direct = |dispatch| (dispatch, LogGuard { _worker: None });
    match (destination, &settings.method) {
        (Destination::Command, _) => Ok(direct(to_writer(settings, colours(&io::stderr()), io::stderr))),
        (Destination::Service, LogMethod::Stdout) => {
            Ok(direct(to_writer(settings, colours(&io::stdout()), io::stdout)))
        }
        (Destination::Service, LogMethod::Journald) => to_journald(settings).map(direct),
        (Destination::Service, LogMethod::Logfile(path)) => {
            let (writer, worker) = NonBlockingBuilder::default()
                // A full queue slows the program down, it loses nothing.
                .lossy(false)
                .thread_name("log-writer")
                .finish(OrStderr { inner: rolling(path)?, reported: false });
            Ok((to_writer(settings, false, writer), LogGuard { _worker: Some(worker) }))
        }
    }
}

/// A logger that writes lines as `settings.format` says to any writer.
pub fn to_writer<W>(settings: &LogSettings, ansi: bool, writer: W) -> Dispatch
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let threshold = Threshold(settings.level);
    match settings.format {
        LogFormat::Text => {
            let layer = fmt::layer().fmt_fields(format::EscapedFields).event_format(format::Text);
            Dispatch::new(Registry::default().with(layer.with_ansi(ansi).with_writer(writer).with_filter(threshold)))
        }
        LogFormat::Json => {
            let layer = fmt::layer().fmt_fields(JsonFields::new()).event_format(format::Json);
            Dispatch::new(Registry::default().with(layer.with_ansi(false).with_writer(writer).with_filter(threshold)))
        }
    }
}

/// Whether colours help: on a terminal that knows them, and nobody asked for none (<https://no-color.org>).
fn colours(stream: &impl io::IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Writes to `NAME.YYYY-MM-DD` (UTC), with `NAME` a link to today's file.
///
/// The date comes last because old files are found by how their names begin: with `agent-portail.2025-01-31.log`, the
/// files of another program called `agent-portail-something` would be pruned, too.
fn rolling(path: &Path) -> Result<RollingFileAppender, LoggingError> {
    let failed = |source| LoggingError::File { path: path.to_owned(), source };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| failed(io::Error::new(io::ErrorKind::InvalidFilename, "not the name of a file in UTF-8")))?;
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    // Absolute, because the link holds the target's path as it is given here.
    let folder = std::fs::canonicalize(folder).map_err(failed)?;
    if !folder.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    // The appender removes whatever stands in the link's place.
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() || (meta.is_file() && meta.len() == 0) => {}
        Ok(meta) if meta.is_dir() => return Err(failed(io::ErrorKind::IsADirectory.into())),
        Ok(_) => return Err(LoggingError::Taken { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(name)
        .latest_symlink(name)
        .max_log_files(KEPT_FILES)
        .build(folder)
        .map_err(|source| LoggingError::Rotation { path: path.to_owned(), source })
}

/// A writer that falls back to standard error, and says why once for each time that the log stops working: a full disk
/// must not silence the program.
struct OrStderr<W> {
    inner: W,
    reported: bool,
}

impl<W: Write> Write for OrStderr<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Err(error) = self.inner.write_all(line) else {
            self.reported = false;
            return Ok(line.len());
        };
        let mut stderr = io::stderr().lock();
        if !self.reported {
            self.reported = true;
            writeln!(stderr, "agent-portail: failed to write to the log file, lines go to standard error: {error}")?;
        }
        stderr.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(target_os = "linux")]
fn to_journald(settings: &LogSettings) -> Result<Dispatch, LoggingError> {
    let journal = journal::Journal::connect().map_err(|source| LoggingError::Journald { source })?;
    Ok(Dispatch::new(Registry::default().with(journal.with_filter(Threshold(settings.level)))))
}

#[cfg(not(target_os = "linux"))]
fn to_journald(_: &LogSettings) -> Result<Dispatch, LoggingError> {
    Err(LoggingError::Journald { source: io::ErrorKind::Unsupported.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_the_file_refuses_counts_as_written_because_stderr_has_it() {
        let mut writer = OrStderr { inner: Broken, reported: false };
        assert_eq!(writer.write(b"line\n").unwrap(), 5);
        assert!(writer.reported);
    }

    #[test]
    fn nothing_but_a_terminal_gets_colours() {
        let file = tempfile::tempfile().unwrap();
        assert!(!colours(&file));
    }
}
