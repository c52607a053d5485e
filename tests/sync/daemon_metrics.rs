//! What `/metrics` says: all that the manual names and nothing else, from the start, and the truth.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use agent_portail::metrics::{Measured, Meter, Metric, table};
use agent_portail::sync::report::Report;

use crate::common::agent::Agent;
use crate::common::daemon::Daemon;
use crate::common::exposition::Exposition;
use crate::common::s3::{Reply, error_body};
use crate::daemon_files::by_events;

async fn scrape(daemon: &Daemon<'_>) -> Exposition {
    let (code, text) = daemon.get("/metrics").await.expect("the monitor answers");
    assert_eq!(code, 200);
    Exposition::parse(&text)
}

/// Waits until something holds of what is served. A count of files that took long under load is followed by a long pause.
async fn until_scraped(daemon: &Daemon<'_>, what: &str, holds: impl Fn(&Exposition) -> bool) -> Exposition {
    let began = Instant::now();
    loop {
        let served = scrape(daemon).await;
        if holds(&served) {
            return served;
        }
        assert!(began.elapsed() < Duration::from_secs(180), "still not so: {what}\n{served:#?}\n{}", daemon.log_end());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn all() -> Vec<&'static Metric> {
    table::DAEMON.iter().chain(table::PROCESS).copied().collect()
}

/// As the manual shows a metric.
fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let (name, kind, unit, help) = (metric.name, metric.kind.as_str(), metric.unit, metric.help);
    format!("| `{name}` | {kind} | {unit} | {} | {help} |", labels.join(", ")).replace("|  |", "| |")
}

#[tokio::test]
async fn every_metric_of_the_manual_is_served_from_the_start_and_no_other() {
    let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md")).unwrap();
    let shown: Vec<&str> =
        manual.lines().filter(|line| line.contains("| `agent_portail_") || line.contains("| `process_")).collect();
    assert_eq!(shown, all().into_iter().map(row).collect::<Vec<_>>());

    let mut agent = by_events().await;
    // A webhook that nothing is sent to, and a second folder with a name that needs care.
    let second = agent.aside("second");
    fs::create_dir(&second).unwrap();
    agent.prefix = "one/".to_owned();
    agent.more = format!(
        "[[folder]]\nname = 'a \"b\\c'\npath = {second:?}\nprefix = \"two/\"\n\
         [[notify]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\n"
    );
    let daemon = Daemon::settled(&agent).await;
    let served = scrape(&daemon).await;
    let names: Vec<&str> = served.families.keys().map(String::as_str).collect();
    let mut expected: Vec<&str> = all().iter().map(|metric| metric.name).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for metric in all() {
        let family = &served.families[metric.name];
        assert_eq!(
            (family.kind.as_str(), family.help.as_str()),
            (metric.kind.as_str(), metric.help),
            "{}",
            metric.name
        );
        assert!(!family.series.is_empty(), "{} has no series", metric.name);
        let mut labels: Vec<&str> = metric.labels.to_vec();
        labels.sort_unstable();
        for series in family.series.keys() {
            let names: Vec<&str> = series.labels.keys().map(String::as_str).filter(|name| *name != "le").collect();
            assert_eq!(names, labels, "{}", metric.name);
        }
        if metric.labels.contains(&"folder") {
            for folder in ["files", "a \"b\\c"] {
                assert!(
                    family.series.keys().any(|series| series.labels["folder"] == folder),
                    "{} of {folder}",
                    metric.name
                );
            }
        }
    }
    // What was not counted yet is at 0, and its series is there.
    let zero = [
        ("agent_portail_drift_found_total", vec![("folder", "files"), ("cause", "overflow")]),
        ("agent_portail_operations_total", vec![("folder", "files"), ("kind", "upload"), ("outcome", "failed")]),
        ("agent_portail_s3_requests_total", vec![("operation", "PutObject"), ("code", "none")]),
        ("agent_portail_held_deletes", vec![("folder", "files")]),
        ("agent_portail_notifications_total", vec![("webhook", "hook"), ("outcome", "delivered")]),
        ("agent_portail_visible_latency_seconds_count", vec![]),
        ("agent_portail_operation_seconds_count", vec![("kind", "copy")]),
    ];
    for (name, labels) in zero {
        assert_eq!(served.value(name, &labels), Some(0.0), "{name} {labels:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_synced_is_counted_once_and_dated_by_its_change() {
    let agent = by_events().await;
    agent.write("before", "found by the first reconciliation");
    let daemon = Daemon::settled(&agent).await;
    let files = [("folder", "files")];
    let begin = scrape(&daemon).await;
    assert_eq!(begin.value("agent_portail_visible_latency_seconds_count", &[]), Some(0.0), "no event has told of it");
    assert!(begin.value("agent_portail_reconcile_last_success_timestamp_seconds", &files).unwrap() > 1.7e9);
    for n in 0..20 {
        agent.write(format!("d{}/f{n}", n % 3), format!("{n}"));
    }
    daemon.until_in_sync().await;
    fs::rename(agent.path("d0/f0"), agent.path("d1/renamed")).unwrap();
    agent.remove("d1/f1");
    daemon.until_in_sync().await;
    let done = |kind| vec![("folder", "files"), ("kind", kind), ("outcome", "done")];
    let served = until_scraped(&daemon, "the files are counted", |served| {
        served.value("agent_portail_files", &[("folder", "files")]) == Some(20.0)
            && served.value("agent_portail_operations_total", &done("delete")) == Some(2.0)
    })
    .await;
    assert_eq!(served.value("agent_portail_operations_total", &done("upload")), Some(21.0));
    assert_eq!(served.value("agent_portail_operations_total", &done("copy")), Some(1.0));
    assert_eq!(
        served.value("agent_portail_s3_requests_total", &[("operation", "PutObject"), ("code", "200")]),
        Some(21.0)
    );
    assert_eq!(
        served.value("agent_portail_s3_requests_total", &[("operation", "CopyObject"), ("code", "200")]),
        Some(1.0)
    );
    let bytes: u64 = (0..20).map(|n| format!("{n}").len() as u64).sum::<u64>() + 33;
    assert_eq!(served.value("agent_portail_uploaded_bytes_total", &files), Some(bytes as f64));
    // `0` was renamed, and one of the one-figure files was removed.
    assert_eq!(served.value("agent_portail_bytes", &files), Some((bytes - 1) as f64));
    assert_eq!(served.value("agent_portail_visible_latency_seconds_count", &[]), Some(21.0), "uploads and the copy");
    let mean = served.value("agent_portail_visible_latency_seconds_sum", &[]).unwrap() / 21.0;
    assert!((0.05..20.0).contains(&mean), "the debounce is part of it: {mean}");
    assert_eq!(served.value("agent_portail_operation_seconds_count", &[("kind", "upload")]), Some(21.0));
    assert!(served.value("agent_portail_operation_seconds_count", &[("kind", "delete")]).unwrap() >= 1.0);
    assert_eq!(served.value("agent_portail_watches", &files), Some(1.0), "as the first reconciliation has counted");
    assert_eq!(served.value("agent_portail_folder_state", &[("folder", "files"), ("state", "in_sync")]), Some(1.0));
    assert!(served.value("process_resident_memory_bytes", &[]).unwrap() > 1e6);
    daemon.stop().await;
}

#[tokio::test]
async fn an_outage_shows_where_it_is_and_since_when_files_wait() {
    let agent = by_events().await;
    agent.write("a", "a");
    let daemon = Daemon::settled(&agent).await;
    let up =
        |served: &Exposition| (served.value("agent_portail_s3_up", &[]), served.value("agent_portail_catalog_up", &[]));
    assert_eq!(up(&scrape(&daemon).await), (Some(1.0), Some(1.0)));
    agent.s3.script(|_| Some(Reply::Disconnect));
    agent.write("b", "b");
    let down = until_scraped(&daemon, "it is down", |served| up(served) == (Some(0.0), Some(1.0))).await;
    assert!(
        down.value("agent_portail_s3_requests_total", &[("operation", "PutObject"), ("code", "none")]).unwrap() >= 1.0
    );
    assert_eq!(down.value("agent_portail_folder_state", &[("folder", "files"), ("state", "degraded")]), Some(1.0));
    until_scraped(&daemon, "it waits", |served| {
        served.value("agent_portail_oldest_pending_seconds", &[("folder", "files")]).unwrap() > 1.0
    })
    .await;
    agent.s3.clear_scripts();
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    let served = scrape(&daemon).await;
    assert_eq!(up(&served), (Some(1.0), Some(1.0)));
    assert_eq!(served.value("agent_portail_oldest_pending_seconds", &[("folder", "files")]), Some(0.0));
    daemon.stop().await;
}

#[tokio::test]
async fn held_deletes_failures_and_drift_are_counted_by_folder() {
    let mut agent = by_events().await;
    agent.folder.push_str("max_delete = \"10%\"\nmax_delete_count = 1\n");
    for n in 0..10 {
        agent.write(format!("f{n}"), format!("{n}"));
    }
    let daemon = Daemon::settled(&agent).await;
    let files = [("folder", "files")];
    for n in 0..5 {
        agent.remove(&format!("f{n}"));
    }
    until_scraped(&daemon, "they are held", |served| served.value("agent_portail_held_deletes", &files) == Some(5.0))
        .await;
    agent.s3.script(|seen| {
        (seen.operation == "PutObject" && seen.keys == ["refused"]).then(|| Reply::Answer {
            status: 400,
            headers: Vec::new(),
            body: error_body("InvalidArgument"),
        })
    });
    agent.write("refused", "refused");
    let failed = [("folder", "files"), ("kind", "upload"), ("outcome", "failed")];
    let served = until_scraped(&daemon, "it has failed", |served| {
        served.value("agent_portail_operations_total", &failed) == Some(1.0)
            && served.value("agent_portail_failed_files", &files) == Some(1.0)
    })
    .await;
    let requests: BTreeMap<_, _> = served.families["agent_portail_s3_requests_total"]
        .series
        .iter()
        .filter(|(series, value)| series.labels["code"] == "400" && **value > 0.0)
        .map(|(series, value)| (series.labels["operation"].clone(), *value))
        .collect();
    assert!(requests.contains_key("PutObject"), "{requests:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn the_number_of_series_does_not_grow_with_the_files() {
    let agent: Agent = by_events().await;
    let daemon = Daemon::settled(&agent).await;
    let count = |served: &Exposition| served.families.values().map(|family| family.series.len()).sum::<usize>();
    let before = count(&scrape(&daemon).await);
    for n in 0..200 {
        agent.write(format!("{}/{n}", n % 7), format!("{n}"));
    }
    daemon.until_in_sync().await;
    let after = count(&scrape(&daemon).await);
    println!("{before} series before, {after} after 200 files");
    assert!(after - before < 10, "{before} and {after}");
    daemon.stop().await;
}

#[tokio::test]
async fn measuring_a_file_costs_less_than_a_hundredth_of_syncing_it() {
    const FILES: u32 = 2000;
    let agent = by_events().await;
    let daemon = Daemon::settled(&agent).await;
    let before = scrape(&daemon).await.value("process_cpu_seconds_total", &[]).unwrap();
    for n in 0..FILES {
        agent.write(format!("d{}/{n}", n % 20), format!("{n}"));
    }
    daemon.until_folder("all are uploaded", |folder| folder["done"]["uploaded"] == FILES).await;
    daemon.until_state("in_sync").await;
    let after = scrape(&daemon).await.value("process_cpu_seconds_total", &[]).unwrap();
    let file = (after - before) / f64::from(FILES);
    // What is done for a file that is uploaded, and what each five seconds and each scrape then do with it.
    let meter = Arc::new(Meter::new(table::DAEMON));
    let (measured, report) = (Measured::by(&meter), Report::default());
    let round = || {
        let began = Instant::now();
        for n in 0..FILES {
            let changed = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::from(n));
            measured.upload.record(began.elapsed());
            measured.visible.record(changed.elapsed().unwrap_or_default());
            report.tried_again.fetch_add(1, Ordering::Relaxed);
        }
        meter.settle();
        began.elapsed().as_secs_f64() / f64::from(FILES)
    };
    let cost = (0..20).map(|_| round()).fold(f64::INFINITY, f64::min);
    println!(
        "a file costs {:.1} us of CPU, measuring it {:.3} us: {:.3} %",
        file * 1e6,
        cost * 1e6,
        cost / file * 100.0
    );
    assert!(cost * 100.0 < file, "{cost} s of {file} s");
    daemon.stop().await;
}
