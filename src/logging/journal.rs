//! systemd's journal, with syslog's severities (RFC 5424): error 3, warn 4, success 5 (notice), info 6, debug and trace 7.
//!
//! An event is one entry. Its fields have the names that docs/OPERATIONS.md tells of, in capitals and without a prefix, so that
//! `journalctl -u agent-portail ACTION=uploaded` finds what was uploaded. Values are sent with their length, whatever they hold, so
//! a file's name can neither end a field nor begin an entry.

use std::io;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::filter::{is_ours, is_outcome};

/// tracing-journald maps tracing's five levels only, and names all fields alike; so `success` has a layer with another mapping, and
/// libraries have one with a prefix. They are one layer to the outside: all keep a span's fields in the same place, which only one
/// of them may write.
pub(super) struct Journal {
    outcomes: tracing_journald::Layer,
    others: tracing_journald::Layer,
    libraries: tracing_journald::Layer,
}

impl Journal {
    /// Connects to the journal's socket.
    pub(super) fn connect() -> io::Result<Self> {
        Ok(Self {
            outcomes: layer(Priority::Notice, None)?,
            others: layer(Priority::Informational, None)?,
            libraries: layer(Priority::Informational, Some("FIELD"))?,
        })
    }

    fn of(&self, metadata: &Metadata<'_>) -> &tracing_journald::Layer {
        if is_outcome(metadata) {
            &self.outcomes
        } else if is_ours(metadata) {
            &self.others
        } else {
            &self.libraries
        }
    }
}

fn layer(info: Priority, prefix: Option<&str>) -> io::Result<tracing_journald::Layer> {
    let mappings = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    Ok(tracing_journald::layer()?
        .with_syslog_identifier("agent-portail".to_owned())
        .with_field_prefix(prefix.map(str::to_owned))
        .with_priority_mappings(mappings))
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        self.of(attributes.metadata()).on_new_span(attributes, id, cx);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let Some(metadata) = cx.metadata(id) else { return };
        self.of(metadata).on_record(id, values, cx);
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        self.of(event.metadata()).on_event(event, cx);
    }
}
