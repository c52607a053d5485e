//! Which events are logged.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

use crate::config::settings::LogLevel;

/// The field that makes an INFO event one of the level `success`.
pub(super) const MARKER: &str = "success";

/// Targets that begin like this are ours.
const OURS: &str = "agent_portail";

/// Whether it comes from this program, not from a library.
pub(super) fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target() == OURS || metadata.target().starts_with("agent_portail::")
}

/// Whether an event is an outcome.
pub(super) fn is_outcome(metadata: &Metadata<'_>) -> bool {
    *metadata.level() == Level::INFO && metadata.fields().field(MARKER).is_some()
}

/// Lets through what is as severe as a level, or more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threshold(pub(super) LogLevel);

impl Threshold {
    fn lets_through(self, metadata: &Metadata<'_>) -> bool {
        if !is_ours(metadata) {
            return *metadata.level() <= self.of_others();
        }
        match self.0 {
            // A span of the level INFO is no outcome, but an outcome inside it wants its fields.
            LogLevel::Success if !metadata.is_span() => *metadata.level() <= Level::WARN || is_outcome(metadata),
            LogLevel::Error
            | LogLevel::Warn
            | LogLevel::Success
            | LogLevel::Info
            | LogLevel::Debug
            | LogLevel::Trace => *metadata.level() <= self.of_ours(),
        }
    }

    fn of_ours(self) -> LevelFilter {
        match self.0 {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Success | LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }

    /// Libraries are quiet, and never louder than DEBUG: below it the S3 client logs whole requests with their headers,
    /// a session token among them.
    fn of_others(self) -> LevelFilter {
        match self.0 {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn | LogLevel::Success | LogLevel::Info | LogLevel::Debug => LevelFilter::WARN,
            LogLevel::Trace => LevelFilter::DEBUG,
        }
    }
}

impl<S> Filter<S> for Threshold {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.lets_through(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.lets_through(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.of_ours())
    }
}
