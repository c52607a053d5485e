//! systemd's journal, with syslog's severities (RFC 5424): error 3, warn 4, success 5 (notice), info 6, debug and trace 7.

use std::io;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::filter::is_outcome;

/// tracing-journald maps tracing's five levels only, so `success` has a second layer with another mapping. They are one
/// layer to the outside: both keep a span's fields in the same place, which only one of them may write.
pub(super) struct Journal {
    outcomes: tracing_journald::Layer,
    others: tracing_journald::Layer,
}

impl Journal {
    /// Connects to the journal's socket.
    pub(super) fn connect() -> io::Result<Self> {
        Ok(Self { outcomes: layer(Priority::Notice)?, others: layer(Priority::Informational)? })
    }
}

fn layer(info: Priority) -> io::Result<tracing_journald::Layer> {
    let mappings = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    Ok(tracing_journald::layer()?
        .with_syslog_identifier("agent-portail".to_owned())
        .with_field_prefix(Some("AP".to_owned()))
        .with_priority_mappings(mappings))
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        self.others.on_new_span(attributes, id, cx);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        self.others.on_record(id, values, cx);
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        if is_outcome(event.metadata()) {
            self.outcomes.on_event(event, cx);
        } else {
            self.others.on_event(event, cx);
        }
    }
}
