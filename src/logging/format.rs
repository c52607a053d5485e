//! What a line looks like. A file's name may hold anything, a line break or a terminal's control sequence among them:
//! text escapes it, and JSON is built by a JSON writer.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::filter::{MARKER, is_outcome};
use crate::model::{Printable, chain};

const MESSAGE: &str = "message";

/// `TIME LEVEL target: message key=value span{key=value}`.
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, cx: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        SystemTime.format_time(&mut line)?;
        let (level, colour) = level(metadata);
        if line.has_ansi_escapes() {
            write!(line, " \u{1b}[{colour}m{level:>7}\u{1b}[0m {}: ", metadata.target())?;
        } else {
            write!(line, " {level:>7} {}: ", metadata.target())?;
        }
        cx.format_fields(line.by_ref(), event)?;
        for span in cx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            write!(line, " {}", span.name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|fields| !fields.is_empty()) {
                write!(line, "{{{fields}}}")?;
            }
        }
        writeln!(line)
    }
}

/// The level's name as text has it, and its colour: ECMA-48's codes for red, yellow, green, blue and faint.
fn level(metadata: &Metadata<'_>) -> (&'static str, &'static str) {
    match *metadata.level() {
        Level::ERROR => ("ERROR", "31"),
        Level::WARN => ("WARN", "33"),
        Level::INFO if is_outcome(metadata) => ("SUCCESS", "32"),
        Level::INFO => ("INFO", "34"),
        Level::DEBUG => ("DEBUG", "2"),
        Level::TRACE => ("TRACE", "2"),
    }
}

/// Fields with everything escaped that a terminal could act on.
pub(super) struct EscapedFields;

impl<'w> FormatFields<'w> for EscapedFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = TextVisitor { writer, first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct TextVisitor<'w> {
    writer: Writer<'w>,
    first: bool,
    result: fmt::Result,
}

impl TextVisitor<'_> {
    fn put(&mut self, field: &Field, value: &str) {
        if self.result.is_err() || field.name() == MARKER {
            return;
        }
        let gap = if std::mem::take(&mut self.first) { "" } else { " " };
        self.result = if field.name() == MESSAGE {
            write!(self.writer, "{gap}{}", Printable(value))
        } else {
            write!(self.writer, "{gap}{}={}", field.name(), Printable(value))
        };
    }
}

impl Visit for TextVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            self.put(field, value);
        } else {
            self.put(field, &format!("{value:?}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, &format!("{:?}", chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

/// One object a line: `timestamp`, `level`, `target`, `message`, and where there are any, `fields` and `spans`.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, cx: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = JsonVisitor(Map::new());
        event.record(&mut fields);
        let mut fields = fields.0;

        let mut object = Map::new();
        object.insert("timestamp".to_owned(), timestamp.into());
        object.insert("level".to_owned(), level(metadata).0.to_ascii_lowercase().into());
        object.insert("target".to_owned(), metadata.target().into());
        object.insert(MESSAGE.to_owned(), fields.remove(MESSAGE).unwrap_or_else(|| "".into()));
        fields.remove(MARKER);
        if !fields.is_empty() {
            object.insert("fields".to_owned(), fields.into());
        }
        let spans: Vec<Value> = cx
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
            .map(|span| {
                let mut object = Map::from_iter([("name".to_owned(), span.name().into())]);
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                    // Written by tracing's own JSON fields; should they ever not be JSON, they are kept as text.
                    let value = serde_json::from_str(&fields.fields).unwrap_or_else(|_| fields.fields.as_str().into());
                    object.insert("fields".to_owned(), value);
                }
                object.into()
            })
            .collect();
        if !spans.is_empty() {
            object.insert("spans".to_owned(), spans.into());
        }
        writeln!(line, "{}", Value::Object(object))
    }
}

struct JsonVisitor(Map<String, Value>);

impl JsonVisitor {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for JsonVisitor {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
