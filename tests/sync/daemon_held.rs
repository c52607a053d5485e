//! Deletions that events have led to and the threshold holds back, while the daemon runs.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::agent::{Agent, until};
use crate::common::daemon::Daemon;
use crate::common::s3::Reply;
use crate::daemon_files::by_events;

pub(crate) async fn careful() -> Agent {
    let mut agent = by_events().await;
    agent.folder = "max_delete = \"10%\"\nmax_delete_count = 2".to_owned();
    for i in 0..8 {
        agent.write(format!("dir/{i}"), format!("{i}"));
    }
    agent
}

#[tokio::test]
async fn held_deletions_are_acted_on_as_soon_as_they_are_approved() {
    let agent = careful().await;
    let daemon = Daemon::settled(&agent).await;
    for i in 0..5 {
        agent.remove(&format!("dir/{i}"));
    }
    daemon.until_folder("they are held", |folder| folder["held_deletes"] == 5).await;
    let folder = daemon.until_state("degraded").await;
    assert_eq!(folder["reason"], "5 deletions are held");
    assert_eq!((agent.s3.keys(&agent.bucket).await.len(), daemon.done("deleted").await), (8, 0));
    agent.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    assert_eq!(daemon.done("deleted").await, 5);
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_approval_given_while_another_is_carried_out_is_not_forgotten() {
    let agent = careful().await;
    let daemon = Daemon::settled(&agent).await;
    for i in 0..5 {
        agent.remove(&format!("dir/{i}"));
    }
    daemon.until_folder("they are held", |folder| folder["held_deletes"] == 5).await;
    agent.s3.script(|seen| (seen.operation == "DeleteObject").then_some(Reply::Late(Duration::from_secs(1))));
    agent.run(&["deletes", "approve", "--folder", "files", "--path", "dir/0"]).await.expect_code(0);
    until("one is being deleted", async || agent.s3.count("DeleteObject") == 1).await;
    agent.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    daemon.until_in_sync().await;
    assert_eq!(daemon.done("deleted").await, 5);
    daemon.stop().await;
}

#[tokio::test]
async fn a_reconciliation_that_went_by_before_does_not_forget_what_is_held_since() {
    let agent = careful().await;
    let daemon = Daemon::settled(&agent).await;
    let held = async || agent.db.count("SELECT count(*) FROM portail.held_delete").await;
    // Folder and rows are read at once, and compared when the listing is there.
    agent.s3.script(|seen| (seen.operation == "ListObjectsV2").then_some(Reply::Late(Duration::from_secs(3))));
    let listings = agent.s3.count("ListObjectsV2");
    daemon.signal(Signal::HUP);
    until("it lists", async || agent.s3.count("ListObjectsV2") > listings).await;
    for i in 0..5 {
        agent.remove(&format!("dir/{i}"));
    }
    until("they are held", async || held().await == 5).await;
    assert_eq!(daemon.log_lines("reconciled files:").len(), 1, "the second one is under way");
    until("it has ended", async || daemon.log_lines("reconciled files:").len() == 2).await;
    assert_eq!(held().await, 5);
    agent.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    daemon.until_in_sync().await;
    daemon.stop().await;
}

#[tokio::test]
async fn rejected_deletions_leave_object_and_row() {
    let agent = careful().await;
    let daemon = Daemon::settled(&agent).await;
    std::fs::remove_dir_all(agent.path("dir")).unwrap();
    daemon.until_folder("they are held", |folder| folder["held_deletes"] == 8).await;
    agent.run(&["deletes", "reject", "--folder", "files"]).await.expect_code(0);
    let kept = async || agent.db.count("SELECT count(*) FROM portail.file WHERE state = 'kept'").await == 8;
    until("the rows are kept", kept).await;
    daemon.until_state("in_sync").await;
    assert_eq!((agent.s3.keys(&agent.bucket).await.len(), daemon.done("deleted").await), (8, 0));
    daemon.stop().await;
}

#[tokio::test]
async fn another_folder_is_accepted_as_soon_as_a_person_says_so() {
    let agent = careful().await;
    let daemon = Daemon::settled(&agent).await;
    std::fs::rename(&agent.root, agent.home.path().join("aside")).unwrap();
    std::fs::create_dir(&agent.root).unwrap();
    agent.write("dir/0", "0");
    agent.write("dir/1", "1");
    let says = |words: &'static str| {
        move |folder: &serde_json::Value| folder["reason"].as_str().is_some_and(|reason| reason.contains(words))
    };
    daemon.until_folder("it is in doubt", says("not the one that was synced")).await;
    daemon.until_folder("the other deletions are held", |folder| folder["held_deletes"] == 6).await;
    agent.run(&["deletes", "approve", "--identity", "--folder", "files"]).await.expect_code(0);
    // Judged anew, they are still too many, but of the right folder now.
    daemon.until_folder("it is not in doubt", |folder| folder["reason"] == "6 deletions are held").await;
    assert!(daemon.log().contains("exceed max_delete"), "{}", daemon.log());
    agent.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    daemon.until_same_content().await;
    daemon.until_state("in_sync").await;
    // Events' deletions are judged again. What was approved does not count in the hour.
    agent.remove("dir/0");
    daemon.until_same_content().await;
    assert_eq!(daemon.done("deleted").await, 7);
    daemon.stop().await;
}

#[tokio::test]
async fn a_daemon_that_is_started_again_and_again_remembers_the_hour() {
    let agent = careful().await;
    let daemon = Daemon::settled(&agent).await;
    agent.remove("dir/0");
    daemon.until_in_sync().await;
    daemon.stop().await;
    let daemon = Daemon::settled(&agent).await;
    agent.remove("dir/1");
    daemon.until_in_sync().await;
    daemon.kill().await;
    let daemon = Daemon::settled(&agent).await;
    agent.remove("dir/2");
    daemon.until_folder("it is held", |folder| folder["held_deletes"] == 1).await;
    let reason = agent.db.value("SELECT reason FROM portail.held_delete").await;
    assert!(reason.starts_with("1 deletions, and 2 in the hour before, of 8 files exceed"), "{reason}");
    assert_eq!(agent.db.value("SELECT found_by FROM portail.judgement").await, "events");
    daemon.stop().await;
    // Nor does it slip through when somebody makes a single pass.
    assert_eq!(agent.troubled().await.number("held"), 1);
    let daemon = Daemon::start(&agent).await;
    daemon.until_state("degraded").await;
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 6);
    daemon.stop().await;
}

#[tokio::test]
async fn renames_of_the_hour_do_not_count() {
    let agent = careful().await;
    let daemon = Daemon::settled(&agent).await;
    for i in 0..5 {
        std::fs::rename(agent.path(&format!("dir/{i}")), agent.path(&format!("{i} renamed"))).unwrap();
        daemon.until_in_sync().await;
    }
    agent.remove("dir/5");
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_large_directory_that_is_renamed_is_waited_for_and_not_held() {
    let agent = careful().await;
    let daemon = Daemon::settled(&agent).await;
    // Far longer than renames are waited for where there is no reason to.
    agent.s3.script(|seen| (seen.operation == "CopyObject").then_some(Reply::Late(Duration::from_secs(4))));
    std::fs::rename(agent.path("dir"), agent.path("renamed")).unwrap();
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.event WHERE kind = 'held'").await, 0);
    assert_eq!(daemon.done("copied").await, 8);
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_held_file_that_is_back_is_held_no_more_as_soon_as_an_event_tells() {
    let agent = careful().await;
    let daemon = Daemon::settled(&agent).await;
    for i in 0..5 {
        agent.remove(&format!("dir/{i}"));
    }
    daemon.until_folder("they are held", |folder| folder["held_deletes"] == 5).await;
    for i in 0..5 {
        agent.write(format!("dir/{i}"), "back");
    }
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}
