//! What is recorded while it happens.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::{Kind, Metric, table};

/// Where measurements are kept until they are asked for. Nothing about it is global, so a process may have several.
pub struct Meter {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

const HERE: Metadata<'static> = Metadata::new("agent_portail", Level::INFO, None);

impl Meter {
    /// For these metrics, of which those are served that somebody takes a handle of.
    pub fn new(metrics: &[&'static Metric]) -> Self {
        let mut builder = PrometheusBuilder::new();
        for metric in metrics {
            if let Kind::Histogram(bounds) = metric.kind {
                // It refuses nothing but an empty list.
                builder = match builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds) {
                    Ok(builder) => builder,
                    Err(_) => PrometheusBuilder::new(),
                };
            }
        }
        let recorder = builder.build_recorder();
        for metric in metrics {
            let (name, help) = (metric.name.into(), metric.help.into());
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram(_) => recorder.describe_histogram(name, None, help),
            }
        }
        let handle = recorder.handle();
        Self { recorder, handle }
    }

    fn key(metric: &Metric, values: &[&str]) -> Key {
        let labels = metric.labels.iter().zip(values).map(|(label, value)| Label::new(*label, (*value).to_owned()));
        Key::from_parts(metric.name, labels.collect::<Vec<_>>())
    }

    /// A series that only grows, at 0. Its labels' values are in the order of the table.
    pub fn counter(&self, metric: &Metric, values: &[&str]) -> Counter {
        self.recorder.register_counter(&Self::key(metric, values), &HERE)
    }

    /// A series that goes up and down, at 0.
    pub fn gauge(&self, metric: &Metric, values: &[&str]) -> Gauge {
        self.recorder.register_gauge(&Self::key(metric, values), &HERE)
    }

    /// A series that counts by size, empty.
    pub fn histogram(&self, metric: &Metric, values: &[&str]) -> Histogram {
        self.recorder.register_histogram(&Self::key(metric, values), &HERE)
    }

    /// Puts what was recorded into its buckets. Until then each value takes memory, so it is to be done now and then although
    /// nobody asks.
    pub fn settle(&self) {
        self.handle.run_upkeep();
    }

    /// In the text exposition format.
    pub fn render(&self) -> String {
        self.handle.render()
    }
}

/// What is measured while files are synced. Without a [`Meter`] it costs nothing and goes nowhere.
#[derive(Clone, Debug)]
pub struct Measured {
    /// From a file's last change, of which an event has told, to its row.
    pub visible: Histogram,
    /// From the first byte to the row.
    pub upload: Histogram,
    /// The same for a copy inside S3.
    pub copy: Histogram,
    /// A request that deletes.
    pub delete: Histogram,
    /// A reconciliation that came to its end.
    pub reconcile: Histogram,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            visible: Histogram::noop(),
            upload: Histogram::noop(),
            copy: Histogram::noop(),
            delete: Histogram::noop(),
            reconcile: Histogram::noop(),
        }
    }
}

impl Measured {
    /// Into this meter. All folders share the series.
    pub fn by(meter: &Arc<Meter>) -> Self {
        Self {
            visible: meter.histogram(&table::VISIBLE_LATENCY, &[]),
            upload: meter.histogram(&table::OPERATION, &["upload"]),
            copy: meter.histogram(&table::OPERATION, &["copy"]),
            delete: meter.histogram(&table::OPERATION, &["delete"]),
            reconcile: meter.histogram(&table::RECONCILE, &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_yet_is_there_at_zero() {
        let meter = Arc::new(Meter::new(table::DAEMON));
        let measured = Measured::by(&meter);
        let text = meter.render();
        assert!(text.contains("\nagent_portail_visible_latency_seconds_count 0\n"), "{text}");
        assert!(text.contains("agent_portail_operation_seconds_bucket{kind=\"delete\",le=\"+Inf\"} 0\n"), "{text}");
        measured.visible.record(0.3);
        meter.settle();
        measured.visible.record(0.3);
        let text = meter.render();
        assert!(text.contains("\nagent_portail_visible_latency_seconds_count 2\n"), "{text}");
        assert!(text.contains("agent_portail_visible_latency_seconds_bucket{le=\"0.25\"} 0\n"), "{text}");
        assert!(text.contains("agent_portail_visible_latency_seconds_bucket{le=\"0.5\"} 2\n"), "{text}");
    }

    #[test]
    fn another_service_has_its_own_metrics_by_the_same_means() {
        static MADE: Metric = Metric {
            name: "agent_portail_links_made_total",
            kind: Kind::Counter,
            unit: "links",
            labels: &["scope"],
            help: "Links.",
        };
        let meter = Meter::new(&[&MADE]);
        let made = meter.counter(&MADE, &["link"]);
        assert!(meter.render().contains("agent_portail_links_made_total{scope=\"link\"} 0\n"), "{}", meter.render());
        made.increment(2);
        assert!(meter.render().contains("agent_portail_links_made_total{scope=\"link\"} 2\n"), "{}", meter.render());
    }
}
