//! A page in the text exposition format of Prometheus.

use std::fmt::Write as _;

use super::Metric;

/// What is written of counters and gauges. A metric comes once, with all its series.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// The series of one metric while they are written.
#[derive(Debug)]
pub struct Series<'p> {
    page: &'p mut Page,
    metric: &'static Metric,
}

impl Page {
    /// Begins a metric.
    pub fn metric(&mut self, metric: &'static Metric) -> Series<'_> {
        let _ = writeln!(self.text, "# HELP {} {}", metric.name, metric.help);
        let _ = writeln!(self.text, "# TYPE {} {}", metric.name, metric.kind.as_str());
        Series { page: self, metric }
    }

    /// A metric that has one series, without labels.
    pub fn single(&mut self, metric: &'static Metric, value: f64) {
        self.metric(metric).set(&[], value);
    }

    /// What was written.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Series<'_> {
    /// Writes a series. Its labels' values are in the order of the table.
    pub fn set(&mut self, values: &[&str], value: f64) {
        let text = &mut self.page.text;
        text.push_str(self.metric.name);
        for (index, (label, value)) in self.metric.labels.iter().zip(values).enumerate() {
            let _ = write!(text, "{}{label}=\"{}\"", if index == 0 { "{" } else { "," }, Escaped(value));
        }
        text.push_str(if values.is_empty() { "" } else { "}" });
        // Prometheus reads what Rust writes of a float, also `NaN` and `inf`.
        let _ = writeln!(text, " {value}");
    }
}

/// A label's value as the format quotes it.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Kind;

    static TEST: Metric = Metric {
        name: "test_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        labels: &["folder", "state"],
        help: "Help.",
    };

    #[test]
    fn a_series_is_written_with_its_labels_whatever_a_folder_is_called() {
        let mut page = Page::default();
        let mut series = page.metric(&TEST);
        series.set(&["plain", "x"], 1.0);
        series.set(&["a\\b\"c\nd\u{1f980} {e=\"f\"}", ""], 0.25);
        series.set(&["a\\\\b", ""], 1e12);
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "# HELP test_seconds Help.",
                "# TYPE test_seconds gauge",
                "test_seconds{folder=\"plain\",state=\"x\"} 1",
                "test_seconds{folder=\"a\\\\b\\\"c\\nd\u{1f980} {e=\\\"f\\\"}\",state=\"\"} 0.25",
                "test_seconds{folder=\"a\\\\\\\\b\",state=\"\"} 1000000000000",
            ]
        );
    }
}
