//! Every panel of every dashboard, asked as Grafana would ask it.

use std::fs;

use serde_json::Value;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use crate::common::agent::Agent;
use crate::common::pg;
use crate::prometheus::{Found, Prometheus};
use crate::report::{Asked, Report};

const DASHBOARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/grafana/dashboards");
/// Of the link service, which this program may not have yet.
const LINKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/V5__links.sql");

/// Stops the test at a panel that gets nothing.
pub(crate) async fn evaluate(prometheus: &Prometheus, agent: &Agent, report: &mut Report) {
    let has_links = fs::exists(LINKS).unwrap();
    if has_links {
        agent
            .db
            .rows(
                "INSERT INTO portail.link (token_sha256, folder_id, path, created_by, expires_at)
                     SELECT sha256('x'), id, 'work/renamed.txt', 'test', now() + interval '1 hour' FROM portail.folder;
                 INSERT INTO portail.link_use (link_id, outcome) SELECT id, 'served' FROM portail.link",
            )
            .await;
    }
    agent.db.rows("CREATE ROLE grafana LOGIN PASSWORD 'grafana'; SELECT portail.grant_read('grafana')").await;
    let mut settings = agent.db.settings().clone();
    settings.user = "grafana".to_owned();
    settings.password = Some("grafana".into());
    let reader = pg::connect(&settings).await;
    let mut empty = Vec::new();
    for name in ["overview", "pipeline", "catalog", "host"] {
        let text = fs::read_to_string(format!("{DASHBOARDS}/{name}.json")).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let title = panel["title"].as_str().unwrap().to_owned();
                let mut asked = Asked {
                    dashboard: name,
                    panel: title,
                    query: String::new(),
                    answer: String::new(),
                    values: Vec::new(),
                };
                match target["expr"].as_str() {
                    Some(expr) => {
                        asked.query = filled_in(expr);
                        let found = match target["instant"] == true {
                            true => prometheus.query(&asked.query).await,
                            false => prometheus.query_range(&asked.query).await,
                        };
                        asked.answer = shown(&found);
                        asked.values = found.into_iter().map(|found| (found.labels, found.values)).collect();
                    }
                    None => {
                        asked.query = filled_in(target["rawSql"].as_str().unwrap());
                        let is_about_links = asked.query.contains("portail.link");
                        if is_about_links && !has_links {
                            asked.answer = "not asked: the schema has no links".to_owned();
                            report.asked(asked);
                            continue;
                        }
                        let rows = reader.simple_query(&asked.query).await;
                        let rows =
                            rows.unwrap_or_else(|error| panic!("{name}, {}: {}: {error:?}", asked.panel, asked.query));
                        asked.answer = shown_rows(&rows);
                    }
                }
                if asked.answer.is_empty() {
                    empty.push(format!("{name}, {}: {}", asked.panel, asked.query));
                }
                report.asked(asked);
            }
        }
    }
    assert!(empty.is_empty(), "these got no data:\n{}", empty.join("\n"));
}

/// With Grafana's variables and macros replaced, for all machines and folders, and a time that has everything in it.
fn filled_in(query: &str) -> String {
    let mut query = query.replace("$__rate_interval", "30s");
    for variable in ["$instance", "$folder", "$node"] {
        query = query.replace(variable, ".*");
    }
    while let Some((before, after)) = query.split_once("$__timeFilter(") {
        let (column, after) = after.split_once(')').unwrap();
        query = format!("{before}{column} BETWEEN now() - interval '7 days' AND now(){after}");
    }
    assert!(!query.contains("$_") && !query.contains("\"$"), "{query}");
    query
}

/// The last number of each series; a quantile over nothing is none.
fn shown(found: &[Found]) -> String {
    let numbers: Vec<(&Found, f64)> = found
        .iter()
        .filter_map(|found| {
            let number = found.values.iter().rev().find(|(_, value)| value.is_finite());
            number.map(|(_, value)| (found, *value))
        })
        .collect();
    let Some((first, value)) = numbers.first() else { return String::new() };
    let labels = if first.labels.is_empty() { String::new() } else { format!(" ({})", first.labels) };
    match numbers.len() {
        1 => format!("{}{labels}", number(*value)),
        n => format!("{n} series, such as {}{labels}", number(*value)),
    }
}

fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn shown_rows(messages: &[SimpleQueryMessage]) -> String {
    let cell = |row: &SimpleQueryRow, i| -> String { row.get(i).unwrap_or("NULL").chars().take(40).collect() };
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            rows.push((0..row.len()).map(|i| cell(row, i)).collect::<Vec<String>>().join(", "));
        }
    }
    match rows.first() {
        None => String::new(),
        Some(first) => format!("{} rows, first: {first}", rows.len()),
    }
}
