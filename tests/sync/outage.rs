//! Passes that are stopped in the middle, and stores that fail for a while.

use std::time::Duration;

use crate::agents::pid;
use crate::common::agent::{Agent, finish, noise, until};
use crate::common::s3::{Reply, error_body};

fn slow(agent: &Agent, operation: &'static str) {
    agent.s3.script(move |seen| (seen.operation == operation).then(|| Reply::Late(Duration::from_millis(100))));
}

#[tokio::test]
async fn after_an_interruption_the_next_pass_sends_only_what_was_missing() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let agent = Agent::start().await;
        for i in 0..100 {
            agent.write(format!("{i:02}"), "x");
        }
        slow(&agent, "PutObject");
        let child = agent.command(&["sync", "--json"]).spawn().unwrap();
        until("some are uploaded", async || agent.s3.count("PutObject") > 20).await;
        rustix::process::kill_process(pid(&child), signal).unwrap();
        let pass = finish(child).await.expect_code(130);
        assert_eq!(pass.folder()["interrupted"], true);
        let sent = agent.s3.keys(&agent.bucket).await.len() as u64;
        assert!((1..100).contains(&sent), "{sent}");
        assert_eq!(agent.db.count("SELECT count(*) FROM portail.file WHERE state = 'synced'").await, sent);
        assert_eq!(agent.db.value("SELECT state FROM portail.folder").await, "degraded");
        agent.s3.clear_scripts();
        agent.s3.reset_counts();
        assert_eq!(agent.synced().await.done("uploaded"), 100 - sent);
        assert_eq!(agent.s3.count("PutObject"), 100 - sent);
        agent.assert_in_sync().await;
    }
}

#[tokio::test]
async fn an_interrupted_multipart_upload_is_aborted() {
    let mut agent = Agent::start().await;
    agent.sync = "part_size = \"5MiB\"".to_owned();
    agent.write("large", noise(1, 40 << 20));
    slow(&agent, "UploadPart");
    let child = agent.command(&["sync", "--json"]).spawn().unwrap();
    until("parts are on their way", async || agent.s3.count("UploadPart") > 1).await;
    rustix::process::kill_process(pid(&child), rustix::process::Signal::INT).unwrap();
    finish(child).await.expect_code(130);
    assert_eq!(agent.s3.unfinished_uploads(&agent.bucket).await, 0);
    assert_eq!(agent.s3.keys(&agent.bucket).await, [""; 0]);
    agent.s3.clear_scripts();
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn after_a_kill_the_next_pass_adopts_what_was_sent() {
    let agent = Agent::start().await;
    for i in 0..60 {
        agent.write(format!("{i:02}"), format!("{i}"));
    }
    slow(&agent, "PutObject");
    let mut child = agent.command(&["sync", "--json"]).spawn().unwrap();
    until("some are uploaded", async || agent.s3.count("PutObject") > 20).await;
    child.kill().await.unwrap();
    agent.s3.clear_scripts();
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_store_that_asks_for_fewer_requests_gets_everything_in_the_end() {
    for (status, code) in [(503, "SlowDown"), (500, "InternalError")] {
        let agent = Agent::start().await;
        for i in 0..30 {
            agent.write(format!("{i}"), "x");
        }
        agent.s3.fail_next("PutObject", 15, status, &error_body(code));
        assert_eq!(agent.synced().await.done("uploaded"), 30, "{code}");
        assert!(agent.s3.count("PutObject") >= 45);
        agent.assert_in_sync().await;
    }
}

#[tokio::test]
async fn an_upload_whose_answer_is_lost_ends_well() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    agent.s3.reply_next("PutObject", 1, Reply::Lost);
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_key_that_may_not_be_written_is_reported_and_keeps_no_other_out() {
    let agent = Agent::start().await;
    // First in order, last, and in between.
    for name in ["0-denied", "1", "2", "3-denied", "4", "5-denied"] {
        agent.write(name, name);
    }
    agent.s3.script(|seen| {
        let denied = seen.operation == "PutObject" && seen.path.ends_with("denied");
        denied.then(|| Reply::Answer { status: 403, headers: Vec::new(), body: error_body("AccessDenied") })
    });
    for _ in 0..2 {
        let pass = agent.troubled().await;
        let failures = pass.failures();
        assert_eq!(failures.keys().collect::<Vec<_>>(), ["0-denied", "3-denied", "5-denied"]);
        assert!(failures["3-denied"].contains("s3:PutObject"), "{failures:?}");
    }
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["1", "2", "4"]);
    let failed = agent.db.column("SELECT path FROM portail.file WHERE state = 'failed' ORDER BY path").await;
    assert_eq!(failed, ["0-denied", "3-denied", "5-denied"]);
    agent.s3.clear_scripts();
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn credentials_that_may_write_nothing_stop_the_folder_early() {
    let agent = Agent::start().await;
    for i in 0..500 {
        agent.write(format!("{i:03}"), "x");
    }
    agent.s3.fail_next("PutObject", u32::MAX, 403, &error_body("AccessDenied"));
    let pass = agent.run(&["sync"]).await.expect_code(1).expect_words(&["s3:PutObject"]);
    assert!(agent.s3.count("PutObject") < 100, "not each file is tried: {}", agent.s3.count("PutObject"));
    assert!(pass.stdout.contains("FAILED: use the bucket of the folder `files`"), "{}", pass.stdout);
    agent.s3.clear_scripts();
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_listing_that_fails_in_the_middle_deletes_nothing() {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"100%\"".to_owned();
    for i in 0..1500 {
        agent.write(format!("{i:04}"), "");
    }
    agent.synced().await;
    for i in 0..1000 {
        agent.remove(&format!("{i:04}"));
    }
    let mut pages = 0;
    agent.s3.script(move |seen| {
        pages += u32::from(seen.operation == "ListObjectsV2");
        let fails = seen.operation == "ListObjectsV2" && pages > 1;
        fails.then(|| Reply::Answer { status: 403, headers: Vec::new(), body: error_body("AccessDenied") })
    });
    agent.run(&["sync"]).await.expect_code(1).expect_words(&["s3:ListBucket"]);
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 1500);
    agent.s3.clear_scripts();
    assert_eq!(agent.synced().await.done("deleted"), 1000);
    agent.assert_in_sync().await;
}
