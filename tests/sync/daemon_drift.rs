//! What no event has told of: found by a reconciliation, put right, and counted by the cause of that reconciliation.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::common::agent::{Agent, until};
use crate::common::daemon::Daemon;
use crate::common::s3::Reply;
use crate::daemon_files::by_events;

/// An agent with a file of which another name lies outside the folder: what is written under that name is told by no event.
async fn with_a_back_door() -> (Agent, PathBuf) {
    let agent = by_events().await;
    agent.write("linked", "linked");
    agent.write("plain", "plain");
    let outside = agent.home.path().join("outside");
    fs::hard_link(agent.path("linked"), &outside).unwrap();
    (agent, outside)
}

/// Writes by the back door, and waits until an event of it would have come long ago.
async fn write_unseen(outside: &Path) {
    fs::write(outside, "by the back door").unwrap();
    grow_old(outside).await;
}

/// Waits until nobody expects an event of the file's last change any more.
async fn grow_old(path: &Path) {
    let age = || fs::metadata(path).unwrap().modified().unwrap().elapsed().unwrap_or_default();
    until("the change is old", async || age() > Duration::from_secs(2)).await;
}

/// Stops the process as a whole, until [`resume`].
async fn pause(daemon: &Daemon<'_>) {
    daemon.signal(Signal::STOP);
    let stat = format!("/proc/{}/stat", daemon.pid());
    until("it is stopped", async || fs::read_to_string(&stat).unwrap().contains(") T ")).await;
}

fn resume(daemon: &Daemon<'_>) {
    daemon.signal(Signal::CONT);
}

/// More events in one directory than the kernel keeps for who does not fetch them. No two neighbours are alike, or they would
/// become one.
fn flood(agent: &Agent) {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let files = ["flood-1", "flood-2"].map(|name| File::create(agent.path(name)).unwrap());
    for i in 0..=limit {
        files[i % 2].write_all_at(b"x", i as u64 / 2).unwrap();
    }
}

#[tokio::test]
async fn what_is_found_when_it_is_time_was_missed() {
    let (mut agent, outside) = with_a_back_door().await;
    agent.sync = "reconcile_every = \"1s\"".to_owned();
    let daemon = Daemon::settled(&agent).await;
    daemon.until_in_sync().await;
    assert_eq!(daemon.folder("files").await["drift"], json!({}), "what was there before anybody watched");
    // While it runs, it would find the change too soon to say that nothing was told.
    pause(&daemon).await;
    write_unseen(&outside).await;
    resume(&daemon);
    daemon.until_in_sync().await;
    agent.write("plain", "by the front door");
    daemon.until_in_sync().await;
    daemon.until_folder("it is counted", |folder| folder["drift"] == json!({ "missed_event": 1 })).await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_found_at_a_reload_is_counted_as_that() {
    let (agent, outside) = with_a_back_door().await;
    let daemon = Daemon::settled(&agent).await;
    write_unseen(&outside).await;
    daemon.signal(Signal::HUP);
    daemon.until_in_sync().await;
    daemon.until_folder("it is counted", |folder| folder["drift"] == json!({ "reload": 1 })).await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_found_after_an_outage_is_counted_as_that() {
    let (agent, outside) = with_a_back_door().await;
    let daemon = Daemon::settled(&agent).await;
    agent.s3.script(|_| Some(Reply::Disconnect));
    agent.write("plain", "by the front door");
    daemon.until_state("degraded").await;
    write_unseen(&outside).await;
    agent.s3.clear_scripts();
    daemon.until_in_sync().await;
    daemon.until_reconciled(2).await;
    let folder = daemon.until_state("in_sync").await;
    assert_eq!(folder["drift"], json!({ "outage": 1 }), "the front door's was told by an event");
    assert_eq!(daemon.log_lines("reconciled files:").len(), 2, "one at the start, one afterwards: {}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn what_somebody_else_did_to_the_bucket_is_put_right_and_counted() {
    let (agent, _) = with_a_back_door().await;
    let daemon = Daemon::settled(&agent).await;
    agent.s3.sdk().delete_object().bucket(&agent.bucket).key("plain").send().await.unwrap();
    agent.s3.put(&agent.bucket, "linked", "not ours").await;
    daemon.signal(Signal::HUP);
    daemon.until_in_sync().await;
    daemon.until_folder("it is counted", |folder| folder["drift"] == json!({ "object": 2 })).await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_first_reconciliation_that_breaks_off_has_left_is_no_drift() {
    let (agent, _) = with_a_back_door().await;
    // Old enough that their events, had anybody watched, would have come.
    grow_old(&agent.path("plain")).await;
    agent.s3.script(|seen| (seen.operation == "PutObject").then_some(Reply::Disconnect));
    let daemon = Daemon::start(&agent).await;
    daemon.until_state("degraded").await;
    agent.s3.clear_scripts();
    daemon.until_in_sync().await;
    let folder = daemon.until_state("in_sync").await;
    assert_eq!(folder["drift"], json!({}), "nobody had watched before\n{}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn a_busy_folder_that_is_watched_has_no_drift() {
    let (mut agent, _) = with_a_back_door().await;
    agent.sync = "reconcile_every = \"1s\"".to_owned();
    let daemon = Daemon::settled(&agent).await;
    let began = Instant::now();
    for i in 0.. {
        agent.write(format!("busy/{}/{i}", i % 3), format!("{i}"));
        tokio::time::sleep(Duration::from_millis(10)).await;
        if daemon.log_lines("reconciled files:").len() > 4 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{}", daemon.log());
    }
    daemon.until_in_sync().await;
    assert_eq!(daemon.folder("files").await["drift"], json!({}), "{}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn lost_events_lead_to_a_reconciliation_that_finds_what_they_would_have_told() {
    let (agent, _) = with_a_back_door().await;
    let daemon = Daemon::settled(&agent).await;
    pause(&daemon).await;
    flood(&agent);
    agent.write("lost", "no event is left for it");
    agent.write("plain", "nor for this");
    agent.remove("linked");
    grow_old(&agent.path("plain")).await;
    resume(&daemon);
    daemon.until_folder("it is noticed", |folder| folder["watch_overflows"].as_u64() > Some(0)).await;
    daemon.until_in_sync().await;
    daemon.until_reconciled(2).await;
    let folder = daemon.until_state("in_sync").await;
    let drift = folder["drift"].as_object().unwrap();
    assert!(drift.len() == 1 && drift["overflow"].as_u64() >= Some(2), "{drift:?}\n{}", daemon.log());
    assert_eq!(daemon.log_lines("reconciled files:").len(), 2, "{}", daemon.log());
    agent.write("lost", "its events are seen again");
    daemon.until_in_sync().await;
    daemon.stop().await;
}

#[tokio::test]
async fn events_lost_during_a_reconciliation_lead_to_another_one_after_it() {
    let (agent, _) = with_a_back_door().await;
    let daemon = Daemon::settled(&agent).await;
    let listed = agent.s3.count("ListObjectsV2");
    agent.s3.script(|seen| (seen.operation == "ListObjectsV2").then_some(Reply::Late(Duration::from_secs(3))));
    daemon.signal(Signal::HUP);
    until("one is under way", async || agent.s3.count("ListObjectsV2") > listed).await;
    agent.s3.clear_scripts();
    pause(&daemon).await;
    flood(&agent);
    agent.write("lost", "no event is left for it");
    resume(&daemon);
    daemon.until_in_sync().await;
    daemon.until_reconciled(3).await;
    let log = daemon.log();
    let (before, after) = log.split_once("events of the folder were lost").expect("they were lost");
    let ended = |log: &str| log.matches("reconciled files:").count();
    assert_eq!((ended(before), ended(after)), (1, 2), "the one under way and one that began afterwards\n{log}");
    daemon.stop().await;
}
