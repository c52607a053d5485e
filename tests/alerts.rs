//! Rules, runbook, dashboards and manual speak of the same alerts and metrics.

#![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What follows this at the beginning of a line.
fn after(text: &str, begin: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(begin)).map(|rest| rest.trim().to_owned()).collect()
}

/// Names of metrics of ours, without what Prometheus makes of a histogram.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("agent_portail_"));
    words
        .map(|word| {
            ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn each_alert_has_a_section_in_the_runbook_and_a_test_that_raises_and_clears_it() {
    let alerts = after(&read("packaging/prometheus/rules/alerts.yml"), "- alert: ");
    assert!(alerts.len() > 20, "{alerts:?}");
    let runbook = read("docs/OPERATIONS.md");
    let (_, runbook) = runbook.split_once("## Runbook").unwrap();
    assert_eq!(after(runbook, "### "), alerts);
    let rules = read("packaging/prometheus/rules/alerts.yml");
    let links: Vec<&str> =
        rules.lines().filter_map(|line| line.split_once("docs/OPERATIONS.md#")).map(|(_, anchor)| anchor).collect();
    assert_eq!(
        links,
        rules
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- alert: "))
            .map(str::to_lowercase)
            .collect::<Vec<_>>()
    );
    let tests = read("packaging/prometheus/tests/alerts.test.yml");
    for alert in &alerts {
        assert!(
            tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels")),
            "nothing raises {alert}"
        );
        assert!(tests.contains(&format!("alertname: {alert}, exp_alerts: [] }}")), "nothing shows {alert} at rest");
    }
}

#[test]
fn rules_and_dashboards_ask_for_metrics_that_are_served() {
    let served = metrics(&read("docs/METRICS.md"));
    let mut asked = BTreeSet::new();
    for rules in ["alerts.yml", "recording.yml"] {
        asked.extend(metrics(&read(&format!("packaging/prometheus/rules/{rules}"))));
    }
    for dashboard in ["overview", "pipeline", "catalog", "host"] {
        asked.extend(metrics(&read(&format!("packaging/grafana/dashboards/{dashboard}.json"))));
    }
    let unknown: Vec<&String> = asked.difference(&served).collect();
    assert!(asked.len() > 20 && unknown.is_empty(), "{unknown:?}");
}
