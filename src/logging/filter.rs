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

/// Whether an event is an outcome.
pub(super) fn is_outcome(metadata: &Metadata<'_>) -> bool {
    *metadata.level() == Level::INFO && metadata.fields().field(MARKER).is_some()
}

/// Lets events through up to a level, all of them or one part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threshold {
    level: LogLevel,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    Outcomes,
    Others,
}

impl Threshold {
    pub(super) fn all(level: LogLevel) -> Self {
        Self { level, part: Part::All }
    }

    pub(super) fn outcomes(level: LogLevel) -> Self {
        Self { level, part: Part::Outcomes }
    }

    pub(super) fn others(level: LogLevel) -> Self {
        Self { level, part: Part::Others }
    }

    fn lets_through(self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target() == OURS || metadata.target().starts_with("agent_portail::");
        if !ours {
            return *metadata.level() <= self.of_others() && (metadata.is_span() || self.part != Part::Outcomes);
        }
        let outcome = is_outcome(metadata);
        let severe_enough = match self.level {
            LogLevel::Success => outcome || *metadata.level() <= Level::WARN,
            LogLevel::Error | LogLevel::Warn | LogLevel::Info | LogLevel::Debug | LogLevel::Trace => {
                *metadata.level() <= self.of_ours()
            }
        };
        let in_part = match self.part {
            Part::All => true,
            Part::Outcomes => outcome,
            Part::Others => !outcome,
        };
        severe_enough && (metadata.is_span() || in_part)
    }

    fn of_ours(self) -> LevelFilter {
        match self.level {
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
        match self.level {
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
