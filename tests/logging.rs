//! Log lines as they arrive at their destination.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use agent_portail::config::settings::{LogFormat, LogLevel, LogMethod, LogSettings};
use agent_portail::logging::{self, Destination, LoggingError, success};
use serde_json::Value;
use tempfile::TempDir;
use tracing::{debug, dispatcher, error, info, info_span, trace, warn};

/// A writer whose lines can be read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn settings(level: LogLevel, format: LogFormat) -> LogSettings {
    LogSettings { method: LogMethod::Stdout, level, format }
}

/// What `log` leaves behind.
fn logged(settings: &LogSettings, ansi: bool, log: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    dispatcher::with_default(&logging::to_writer(settings, ansi, move || writer.clone()), log);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn one_of_each_level() {
    error!(target: "agent_portail::test", "event-error");
    warn!(target: "agent_portail::test", "event-warn");
    success!(target: "agent_portail::test", "event-success");
    info!(target: "agent_portail::test", "event-info");
    debug!(target: "agent_portail::test", "event-debug");
    trace!(target: "agent_portail::test", "event-trace");
}

#[test]
fn success_lies_between_warn_and_info() {
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Success, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    let events = ["event-error", "event-warn", "event-success", "event-info", "event-debug", "event-trace"];
    for (i, level) in levels.into_iter().enumerate() {
        let text = logged(&settings(level, LogFormat::Text), false, one_of_each_level);
        let seen: Vec<&str> = events.into_iter().filter(|event| text.contains(event)).collect();
        assert_eq!(seen, events[..=i], "{level:?}");
    }
}

#[test]
fn text_names_the_level_success_and_hides_its_marker() {
    let text = logged(&settings(LogLevel::Info, LogFormat::Text), false, || {
        success!(target: "agent_portail::test", key = "a b", size = 5, "uploaded {}", "a b");
        info!(target: "agent_portail::test", "plain");
    });
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("Z SUCCESS agent_portail::test: uploaded a b key=\"a b\" size=5"), "{text}");
    assert!(lines[1].ends_with("Z    INFO agent_portail::test: plain"), "{text}");
}

#[test]
fn libraries_are_quiet() {
    let noise = || {
        info!(target: "hyper::client", "library-info");
        warn!(target: "aws_config::chain", "library-warn");
        trace!(target: "aws_smithy_runtime", "library-trace");
        info!(target: "agent_portail_plugin", "library-namesake");
    };
    assert_eq!(logged(&settings(LogLevel::Debug, LogFormat::Text), false, noise).lines().count(), 1);
    let all = logged(&settings(LogLevel::Trace, LogFormat::Text), false, noise);
    assert!(all.contains("library-info") && !all.contains("library-trace"), "{all}");
}

const HOSTILE: &str = "a\nb\r\u{1b}[31mred\u{7}\u{202e}\"q\"\\ é";

#[test]
fn a_hostile_name_stays_on_its_line_of_text() {
    let text = logged(&settings(LogLevel::Info, LogFormat::Text), false, || {
        let span = info_span!(target: "agent_portail::test", "pass", folder = HOSTILE, path = %HOSTILE);
        span.in_scope(|| {
            info!(target: "agent_portail::test", string = HOSTILE, display = %HOSTILE, debug = ?HOSTILE, "upload of {HOSTILE}");
        });
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!text.trim_end_matches('\n').chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
    assert!(text.contains("pass{folder="), "{text}");
}

#[test]
fn json_is_one_object_a_line_under_hostile_names() {
    let text = logged(&settings(LogLevel::Info, LogFormat::Json), true, || {
        let span = info_span!(target: "agent_portail::test", "pass", folder = HOSTILE);
        span.in_scope(
            || success!(target: "agent_portail::test", path = %HOSTILE, size = 5_u64, level = "mine", "put {HOSTILE}"),
        );
        error!(target: "agent_portail::test", "no fields");
    });
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["level"], "success");
    assert_eq!(lines[0]["message"], format!("put {HOSTILE}"));
    assert_eq!(lines[0]["fields"], serde_json::json!({"path": HOSTILE, "size": 5, "level": "mine"}));
    assert_eq!(lines[0]["spans"], serde_json::json!([{"name": "pass", "fields": {"folder": HOSTILE}}]));
    assert_eq!((&lines[1]["level"], lines[1].get("fields")), (&"error".into(), None));
    assert!(lines[1]["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn colours_are_there_only_when_asked_for() {
    let log = || warn!(target: "agent_portail::test", "x");
    assert!(logged(&settings(LogLevel::Info, LogFormat::Text), true, log).contains("\u{1b}[33m"));
    assert!(!logged(&settings(LogLevel::Info, LogFormat::Text), false, log).contains('\u{1b}'));
}

fn to_file(path: &Path) -> LogSettings {
    LogSettings { method: LogMethod::Logfile(path.to_owned()), level: LogLevel::Info, format: LogFormat::Text }
}

#[test]
fn a_log_file_is_named_after_its_day_and_the_path_leads_to_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("agent.log");
    let (dispatch, guard) = logging::open(&to_file(&path), Destination::Service).unwrap();
    dispatcher::with_default(&dispatch, || info!(target: "agent_portail::test", "first line"));
    drop(guard);
    assert!(fs::read_to_string(&path).unwrap().contains("first line"));
    let target = fs::read_link(&path).unwrap();
    let name = target.file_name().unwrap().to_str().unwrap();
    let date = name.strip_prefix("agent.log.").unwrap();
    assert!(date.len() == 10 && date.split('-').map(str::len).eq([4, 2, 2]), "{name}");

    let (dispatch, guard) = logging::open(&to_file(&path), Destination::Service).unwrap();
    dispatcher::with_default(&dispatch, || info!(target: "agent_portail::test", "second line"));
    drop(guard);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "a restart appends");
}

#[test]
fn fourteen_log_files_are_kept_and_those_of_others_are_left_alone() {
    let dir = TempDir::new().unwrap();
    for day in 1..=20 {
        fs::write(dir.path().join(format!("agent.log.2001-01-{day:02}")), "old").unwrap();
    }
    fs::write(dir.path().join("agent-other.log"), "other").unwrap();
    let (_dispatch, _guard) = logging::open(&to_file(&dir.path().join("agent.log")), Destination::Service).unwrap();
    let names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("agent.log.")).count(), 14, "{names:?}");
    assert!(names.contains(&"agent-other.log".to_owned()));
}

#[test]
fn a_broken_log_path_is_refused_with_path_and_remedy() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "precious").unwrap();
    for path in [dir.path().join("missing/agent.log"), file.join("agent.log"), dir.path().to_owned(), file.clone()] {
        let error = logging::open(&to_file(&path), Destination::Service).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("change log.path"), "{text}");
        assert!(matches!(error, LoggingError::File { .. } | LoggingError::Taken { .. }), "{error:?}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
}

#[test]
fn a_command_does_not_touch_the_log_file() {
    let dir = TempDir::new().unwrap();
    let settings = to_file(&dir.path().join("agent.log"));
    let (dispatch, guard) = logging::open(&settings, Destination::Command).unwrap();
    dispatcher::with_default(&dispatch, || error!(target: "agent_portail::test", "for standard error"));
    drop(guard);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn an_existing_logger_is_not_replaced() {
    let first = logging::init(&settings(LogLevel::Info, LogFormat::Text), Destination::Command);
    let second = logging::init(&settings(LogLevel::Info, LogFormat::Text), Destination::Command);
    assert!(first.is_ok());
    assert!(matches!(second, Err(LoggingError::Installed)));
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_journal_the_method_journald_is_refused_with_a_remedy() {
    let settings = LogSettings { method: LogMethod::Journald, ..settings(LogLevel::Info, LogFormat::Text) };
    match logging::open(&settings, Destination::Service) {
        Ok(_) => assert!(Path::new("/run/systemd/journal/socket").exists()),
        Err(error) => assert!(error.to_string().contains("set log.method to stdout"), "{error}"),
    }
}
