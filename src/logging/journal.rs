//! systemd's journal, with syslog's severities (RFC 5424): error 3, warn 4, success 5 (notice), info 6, debug and trace 7.
//!
//! An event is one entry. Its fields have the names that docs/OPERATIONS.md tells of, in capitals and without a prefix, so that
//! `journalctl -u agent-portail ACTION=uploaded` finds what was uploaded. Values are sent with their length, whatever they hold, so
//! a file's name can neither end a field nor begin an entry; and the message is one line, as on a terminal.

use std::fmt;
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::filter::{MARKER, is_ours, is_outcome};
use crate::model::Printable;

const SOCKET: &str = "/run/systemd/journal/socket";
const MESSAGE: &str = "message";

/// What systemd.journal-fields(7) and sd_journal_print(3) give a meaning to, and this layer itself: no field of an event may be
/// called so.
const TAKEN: [&str; 16] = [
    "MESSAGE",
    "MESSAGE_ID",
    "PRIORITY",
    "CODE_FILE",
    "CODE_LINE",
    "CODE_FUNC",
    "ERRNO",
    "INVOCATION_ID",
    "USER_INVOCATION_ID",
    "DOCUMENTATION",
    "TID",
    "UNIT",
    "USER_UNIT",
    "LEADER",
    "SESSION_ID",
    "TARGET",
];
/// Families of such names.
const TAKEN_FAMILIES: [&str; 5] = ["SYSLOG_", "OBJECT_", "COREDUMP_", "JOURNAL_", "N_RESTARTS"];

/// The journal of this machine.
pub(super) struct Journal(());

impl Journal {
    /// Makes sure that there is one: what is sent to none is lost without a word.
    pub(super) fn connect() -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(SOCKET)?;
        Ok(Self(()))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let mut fields = Fields::of(attributes.metadata());
        attributes.record(&mut fields);
        span.extensions_mut().insert(OfSpan(fields.texts));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let mut fields = Fields::of(span.metadata());
        values.record(&mut fields);
        if let Some(of_span) = span.extensions_mut().get_mut::<OfSpan>() {
            of_span.0.append(&mut fields.texts);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut texts = Vec::new();
        for span in cx.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            texts.extend(span.extensions().get::<OfSpan>().into_iter().flat_map(|of_span| of_span.0.iter().cloned()));
        }
        texts.append(&mut entry(event));
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        // There is nobody left to tell.
        let _ = systemd::journal::send(&texts);
    }
}

/// The fields of a span, which its events have as well.
struct OfSpan(Vec<String>);

/// What the journal is told of an event, each as `NAME=value`.
fn entry(event: &Event<'_>) -> Vec<String> {
    let metadata = event.metadata();
    let mut fields = Fields::of(metadata);
    event.record(&mut fields);
    let mut texts = vec![
        format!("MESSAGE={}", Printable(&fields.message)),
        format!("PRIORITY={}", priority(metadata)),
        "SYSLOG_IDENTIFIER=agent-portail".to_owned(),
        format!("TARGET={}", metadata.target()),
    ];
    texts.append(&mut fields.texts);
    texts
}

fn priority(metadata: &Metadata<'_>) -> u8 {
    match *metadata.level() {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO if is_outcome(metadata) => 5,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

struct Fields {
    /// Of this program: a library's fields don't mix with those that are documented.
    ours: bool,
    message: String,
    texts: Vec<String>,
}

impl Fields {
    fn of(metadata: &Metadata<'_>) -> Self {
        Self { ours: is_ours(metadata), message: String::new(), texts: Vec::new() }
    }

    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        match field.name() {
            MESSAGE => self.message = value.to_string(),
            MARKER => {}
            name => self.texts.push(format!("{}={value}", journal_name(name, self.ours))),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, format_args!("{}", crate::model::chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

/// As the journal takes it: capitals, digits and underscores, not beginning with one, and at most 64. Journald drops other names.
fn journal_name(name: &str, ours: bool) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_start_matches('_');
    let taken = TAKEN.contains(&name) || TAKEN_FAMILIES.iter().any(|family| name.starts_with(family));
    let ours = ours && !taken && !name.starts_with(|c: char| c.is_ascii_digit());
    let mut name = if ours { name.to_owned() } else { format!("FIELD_{name}") };
    name.truncate(64);
    name
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps what the journal would be told.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Vec<String>>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(entry(event));
        }
    }

    fn told(log: impl FnOnce()) -> Vec<Vec<String>> {
        let kept = Kept::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), log);
        let entries = kept.0.lock().unwrap();
        entries.clone()
    }

    #[test]
    fn an_outcome_is_one_entry_with_the_documented_fields() {
        let entries = told(|| {
            crate::success!(
                folder = "docs",
                path = "a b",
                action = "uploaded",
                size = 5_u64,
                duration_ms = 7_u64,
                "uploaded {}",
                "a b"
            );
        });
        let expected = [
            "MESSAGE=uploaded a b",
            "PRIORITY=5",
            "SYSLOG_IDENTIFIER=agent-portail",
            "TARGET=agent_portail::logging::journal::tests",
            "FOLDER=docs",
            "PATH=a b",
            "ACTION=uploaded",
            "SIZE=5",
            "DURATION_MS=7",
        ];
        assert_eq!(entries, [expected]);
    }

    #[test]
    fn each_level_has_its_severity() {
        let entries = told(|| {
            tracing::error!("e");
            tracing::warn!("w");
            crate::success!("s");
            tracing::info!("i");
            tracing::debug!("d");
            tracing::trace!("t");
        });
        let severities: Vec<&str> = entries.iter().map(|entry| entry[1].as_str()).collect();
        assert_eq!(severities, ["PRIORITY=3", "PRIORITY=4", "PRIORITY=5", "PRIORITY=6", "PRIORITY=7", "PRIORITY=7"]);
    }

    #[test]
    fn a_hostile_name_stays_in_its_field_and_on_its_line() {
        let path = "a\nPRIORITY=0\nMESSAGE=all is well\u{1b}[31m";
        let entries = told(|| tracing::error!(path = %path, "failed to sync {path}"));
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].len(), 5);
        assert_eq!(entries[0][0], "MESSAGE=failed to sync a\\nPRIORITY=0\\nMESSAGE=all is well\\u{1b}[31m");
        assert_eq!(entries[0][4], format!("PATH={path}"));
    }

    #[test]
    fn no_field_takes_a_name_that_means_something_to_the_journal() {
        assert_eq!(journal_name("duration_ms", true), "DURATION_MS");
        for name in
            ["message_id", "_UID", "__CURSOR", "syslog_facility", "object_pid", "unit", "errno", "1st", "priority"]
        {
            let taken = journal_name(name, true);
            // What begins with an underscore is the journal's own word, which no program can say.
            assert!(taken.starts_with("FIELD_") || taken == "UID" || taken == "CURSOR", "{name}: {taken}");
        }
        assert_eq!(journal_name("error", false), "FIELD_ERROR", "a library's");
        assert_eq!(journal_name("log.target", false), "FIELD_LOG_TARGET");
        assert_eq!(journal_name(&"x".repeat(100), true).len(), 64);
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = anyhow::anyhow!("no route").context("ask S3");
        let entries = told(|| tracing::warn!(error = &*error as &(dyn std::error::Error + 'static), "later"));
        assert_eq!(entries[0][4], "ERROR=ask S3: no route");
    }
}
