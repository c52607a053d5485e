//! What the service counts, and how it is shown on `urls.monitor_listen`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use crate::catalog::link::Outcome;

/// Of what [`Counters::render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts so many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// URLs that were signed.
    pub signed: Counter,
    /// Links that were made.
    pub links_made: Counter,
    /// Links that were revoked.
    pub links_revoked: Counter,
    /// Links that were opened, by what came of it, in the order of [`Outcome::ALL`].
    pub link_uses: [Counter; Outcome::ALL.len()],
    /// Tokens that nobody has.
    pub wrong_tokens: Counter,
    /// Requests that were over a limit.
    pub limited: Counter,
    /// Answers by the first digit of their status, from 1 to 5.
    pub answers: [Counter; 5],
    /// Connections that are open.
    pub connections: AtomicU64,
    /// Tokens that are known.
    pub tokens: AtomicU64,
}

impl Counters {
    /// Counts an opened link.
    pub fn link_used(&self, outcome: Outcome) {
        if let Some(index) = Outcome::ALL.iter().position(|known| *known == outcome) {
            self.link_uses[index].add(1);
        }
    }

    /// Counts an answer.
    pub fn answered(&self, status: StatusCode) {
        if let Some(counter) = self.answers.get(usize::from(status.as_u16() / 100).wrapping_sub(1)) {
            counter.add(1);
        }
    }

    /// In the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut series = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
            let _ = writeln!(text, "# HELP agent_portail_urls_{name} {help}\n# TYPE agent_portail_urls_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "agent_portail_urls_{name}{labels} {value}");
            }
        };
        let one = |value: u64| vec![(String::new(), value)];
        series("signed_total", "counter", "Presigned URLs that were made.", &one(self.signed.get()));
        series("links_made_total", "counter", "Share links that were made.", &one(self.links_made.get()));
        series("links_revoked_total", "counter", "Share links that were revoked.", &one(self.links_revoked.get()));
        let uses: Vec<_> = Outcome::ALL
            .iter()
            .zip(&self.link_uses)
            .map(|(outcome, counter)| (format!("{{outcome=\"{}\"}}", outcome.as_str()), counter.get()))
            .collect();
        series("link_uses_total", "counter", "Share links that were opened, by what came of it.", &uses);
        series("wrong_tokens_total", "counter", "Tokens that nobody has.", &one(self.wrong_tokens.get()));
        series(
            "limited_total",
            "counter",
            "Requests that were refused for coming too often.",
            &one(self.limited.get()),
        );
        let answers: Vec<_> = self
            .answers
            .iter()
            .zip(1..)
            .map(|(counter, digit)| (format!("{{code=\"{digit}xx\"}}"), counter.get()))
            .collect();
        series("http_responses_total", "counter", "Answers by the class of their status.", &answers);
        series("connections", "gauge", "Connections that are open.", &one(self.connections.load(Ordering::Relaxed)));
        series("tokens", "gauge", "Tokens that are known.", &one(self.tokens.load(Ordering::Relaxed)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_start() {
        let counters = Counters::default();
        counters.answered(StatusCode::NOT_FOUND);
        counters.link_used(Outcome::UsedUp);
        let text = counters.render();
        for line in [
            "agent_portail_urls_signed_total 0",
            "agent_portail_urls_link_uses_total{outcome=\"used_up\"} 1",
            "agent_portail_urls_link_uses_total{outcome=\"served\"} 0",
            "agent_portail_urls_http_responses_total{code=\"4xx\"} 1",
            "agent_portail_urls_http_responses_total{code=\"2xx\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
