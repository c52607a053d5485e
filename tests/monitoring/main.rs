//! Seen from outside: a real Prometheus scrapes a daemon that works, meets faults and comes back. Each fault must raise its alert, and
//! each alert must be cleared; afterwards every panel of the dashboards must get data, of Prometheus and of the catalog.
//!
//! `make test-monitoring` runs it; `cargo test` alone does not. It prints what each panel got, and writes it to
//! `target/monitoring/`.
//!
//! Time is scaled: a minute of the alert rules is a second here, so that all of them fit into some minutes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests may stop at the first surprise")]
#![allow(clippy::print_stderr, reason = "it is a program of its own")]

#[path = "../common/mod.rs"]
mod common;

mod panels;
mod prometheus;
mod report;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_portail::demo::postgres::Cluster;
use rustix::process::Signal;

use common::agent::{Agent, until};
use common::daemon::Daemon;
use common::exposition::Exposition;
use common::pg::Database;
use common::receiver::{Does, Receiver};
use common::s3::Reply;
use prometheus::Prometheus;
use report::{Raised, Report};

#[tokio::main]
async fn main() {
    let mut report = Report::default();
    let mut cluster = tokio::task::spawn_blocking(|| Cluster::start().unwrap()).await.unwrap();
    let receiver = Receiver::start(Does::Answers(204)).await;
    let mut agent = Agent::start().await;
    agent.db = Arc::new(Database::of(&cluster).await);
    agent.sync = "reconcile_every = \"24h\"".to_owned();
    agent.folder = "max_delete = \"1%\"\nmax_delete_count = 2".to_owned();
    agent.more = format!("[[notify]]\nname = \"ops\"\nurl = \"http://{}/\"\nsecret = \"s\"\n", receiver.address());
    for n in 0..30 {
        agent.write(format!("dir{}/{n}.txt", n % 3), format!("file {n}"));
    }
    let daemon = Daemon::settled(&agent).await;
    let mut prometheus = Prometheus::start(daemon.monitor()).await;
    prometheus.until_scraped().await;
    prometheus::lint(&daemon.get("/metrics").await.unwrap().1);

    work(&agent, &daemon).await;
    faults(&agent, &daemon, &prometheus, &mut cluster, &mut report).await;
    // What a quiet day does not have is there when the panels are asked.
    too_long(&agent);
    for n in 20..25 {
        agent.remove(&format!("dir{}/{n}.txt", n % 3));
    }
    daemon
        .until_folder("some are held, one has failed", |folder| folder["held_deletes"] == 5 && folder["failed"] == 1)
        .await;
    until("webhooks were told", async || receiver.taken().len() >= 6).await;
    prometheus.until_true("agent_portail_held_deletes == 5 and agent_portail_failed_files == 1").await;
    prometheus.until_true("folder:agent_portail_safe:bool == 0").await;
    report.series = series(&daemon).await;
    panels::evaluate(&prometheus, &agent, &mut report).await;
    report.finish();
    daemon.stop().await;
    prometheus.stop();
    drop(cluster);
}

/// A day in the life of a folder, in seconds.
async fn work(agent: &Agent, daemon: &Daemon<'_>) {
    for n in 0..60 {
        agent.write(format!("work/{}/{n}.{}", n % 5, ["txt", "csv", "PDF", "tar.gz"][n % 4]), vec![b'x'; 100 * n]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    agent.write("work/large.bin", vec![7_u8; 9 << 20]);
    daemon.until_in_sync().await;
    for round in 0..5 {
        agent.write("work/often.log", format!("{round}"));
        daemon.until_in_sync().await;
    }
    fs::rename(agent.path("work/0/0.txt"), agent.path("work/renamed.txt")).unwrap();
    agent.remove("work/1/1.csv");
    daemon.until_in_sync().await;
}

/// A path whose key S3 would not take.
fn too_long(agent: &Agent) {
    let part = "x".repeat(240);
    agent.write(format!("long/{part}/{part}/{part}/{part}/{part}"), "too long");
}

async fn faults(
    agent: &Agent,
    daemon: &Daemon<'_>,
    prometheus: &Prometheus,
    cluster: &mut Cluster,
    report: &mut Report,
) {
    let trial = |fault: &'static str, alert: &'static str| Trial { fault, alert, prometheus, began: Instant::now() };

    // Somebody else writes to the bucket, which a reconciliation finds. Its alert looks back over an hour, so it is cleared last.
    let drift = trial("an object overwritten by somebody else", "AgentPortailDriftFound");
    agent.s3.put(&agent.bucket, "dir0/0.txt", "not ours").await;
    daemon.signal(Signal::HUP);
    let drift = drift.raised().await;

    let away = trial("S3 breaks every connection", "AgentPortailS3Away");
    agent.s3.script(|_| Some(Reply::Disconnect));
    agent.write("while-s3-is-away", "1");
    let away = away.raised().await;
    agent.s3.clear_scripts();
    report.raised(away.cleared().await);
    daemon.until_in_sync().await;

    let away = trial("PostgreSQL is stopped", "AgentPortailCatalogAway");
    cluster.stop();
    let away = away.raised().await;
    cluster.resume().unwrap();
    report.raised(away.cleared().await);
    daemon.until_in_sync().await;

    let held = trial("five deletions where two are allowed", "AgentPortailDeletionsHeld");
    for n in 0..5 {
        agent.remove(&format!("dir{}/{n}.txt", n % 3));
    }
    let held = held.raised().await;
    agent.run(&["deletes", "reject", "--folder", "files"]).await.expect_code(0);
    report.raised(held.cleared().await);

    let stuck = trial("S3 takes uploads and never answers", "AgentPortailNotSyncing");
    agent.s3.script(|seen| (seen.operation == "PutObject").then_some(Reply::Hang));
    agent.write("stuck", "stuck");
    let stuck = stuck.raised().await;
    agent.s3.clear_scripts();
    report.raised(stuck.cleared().await);

    let failed = trial("a path that is too long for a key", "AgentPortailFilesFailed");
    let degraded = trial("the same, for a quarter of an hour", "AgentPortailFolderDegraded");
    too_long(agent);
    let (failed, degraded) = (failed.raised().await, degraded.raised().await);
    fs::remove_dir_all(agent.path("long")).unwrap();
    report.raised(failed.cleared().await);
    report.raised(degraded.cleared().await);

    let suspended = trial("the folder is not at its path", "AgentPortailFolderSuspended");
    let away = agent.aside("away");
    fs::rename(&agent.root, &away).unwrap();
    let suspended = suspended.raised().await;
    fs::rename(&away, &agent.root).unwrap();
    report.raised(suspended.cleared().await);

    let down = trial("the daemon is stopped (SIGSTOP)", "AgentPortailDown");
    daemon.signal(Signal::STOP);
    let down = down.raised().await;
    daemon.signal(Signal::CONT);
    report.raised(down.cleared().await);

    report.raised(drift.cleared().await);
    assert_eq!(prometheus.firing().await, Vec::<String>::new(), "nothing fires without a fault");
}

/// A fault that lasts, and the alert that must come of it.
struct Trial<'a> {
    fault: &'static str,
    alert: &'static str,
    prometheus: &'a Prometheus,
    began: Instant,
}

impl<'a> Trial<'a> {
    async fn raised(self) -> Lasting<'a> {
        self.prometheus.until_alert(self.alert, true).await;
        let raised_after = self.began.elapsed();
        println!("{:>6.1} s until {} was raised by: {}", raised_after.as_secs_f64(), self.alert, self.fault);
        Lasting { trial: self, raised_after, since: Instant::now() }
    }
}

/// An alert that fires.
struct Lasting<'a> {
    trial: Trial<'a>,
    raised_after: Duration,
    since: Instant,
}

impl Lasting<'_> {
    /// Once the fault is over.
    async fn cleared(self) -> Raised {
        let Trial { fault, alert, prometheus, .. } = self.trial;
        prometheus.until_alert(alert, false).await;
        let cleared_after = self.since.elapsed();
        println!("{:>6.1} s until {alert} was cleared", cleared_after.as_secs_f64());
        Raised { fault, alert, raised_after: self.raised_after, cleared_after }
    }
}

/// How many series the daemon serves.
async fn series(daemon: &Daemon<'_>) -> usize {
    let served = Exposition::parse(&daemon.get("/metrics").await.unwrap().1);
    served.families.values().map(|family| family.series.len()).sum()
}
