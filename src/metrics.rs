//! What can be measured of the program: every name, kind, unit and help text is in `table.rs`.
//!
//! Counters and gauges are kept where the program needs them anyway, and read when somebody asks ([`Page`]): the work pays
//! nothing for them. What only exists in the moment, such as how long something took, is recorded into a [`Meter`].

mod meter;
mod page;
mod process;
pub mod table;

pub use meter::{Measured, Meter};
pub use page::Page;
pub use process::{Process, process};

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size, in buckets up to these bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// As the exposition format calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// One metric. A label's values are few and known: a folder of the configuration, a state, a kind of request; never a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Prefixed, in base units, as it is served.
    pub name: &'static str,
    /// See [`Kind`].
    pub kind: Kind,
    /// Of the value, for people: `seconds`, `bytes`, or what is counted.
    pub unit: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// On one line.
    pub help: &'static str,
}
