//! How the daemon goes about its work: removals against uploads, renames in batches, without a debounce, and at its end.

use std::fs;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent_portail::demo::postgres::Cluster;
use rustix::process::Signal;

use crate::common::agent::{noise, until};
use crate::common::daemon::Daemon;
use crate::common::pg::Database;
use crate::common::s3::Reply;
use crate::daemon_files::by_events;

#[tokio::test]
async fn nobody_uploads_a_path_while_it_is_being_removed() {
    const LATE: Duration = Duration::from_millis(1500);
    let agent = by_events().await;
    agent.write("again", "first");
    agent.write("stays", "stays");
    let daemon = Daemon::settled(&agent).await;
    daemon.until_in_sync().await;
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    agent.s3.script(move |request| {
        seen.lock().unwrap().push((Instant::now(), request.operation));
        (request.operation == "DeleteObject").then_some(Reply::Late(LATE))
    });
    agent.remove("again");
    until("its removal is under way", async || agent.s3.count("DeleteObject") == 1).await;
    agent.write("again", "second");
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    let requests = std::mem::take(&mut *requests.lock().unwrap());
    let operations: Vec<_> = requests.iter().map(|(_, operation)| *operation).collect();
    assert_eq!(operations, ["DeleteObject", "PutObject"], "{}", daemon.log());
    assert!(requests[1].0 - requests[0].0 >= LATE, "the upload did not begin before the removal had ended");
    daemon.stop().await;
}

#[tokio::test]
async fn a_deletion_during_the_first_reconciliation_is_not_left_to_the_next() {
    let agent = by_events().await;
    agent.write("gone", "gone");
    agent.write("slow", "slow");
    agent.s3.script(|seen| {
        let slow = seen.operation == "PutObject" && seen.path.ends_with("slow");
        slow.then_some(Reply::Late(Duration::from_secs(3)))
    });
    let daemon = Daemon::start(&agent).await;
    let synced = async || agent.db.count("SELECT count(*) FROM portail.file WHERE path = 'gone'").await == 1;
    until("its row is there", synced).await;
    assert_eq!(daemon.log_lines("reconciled files:").len(), 0, "{}", daemon.log());
    agent.remove("gone");
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn renames_are_copies_and_cost_statements_by_the_batch() {
    const FILES: usize = 300;
    let cluster = tokio::task::spawn_blocking(|| Cluster::start().unwrap()).await.unwrap();
    let mut agent = by_events().await;
    agent.db = Arc::new(Database::of(&cluster).await);
    for i in 0..FILES {
        agent.write(format!("old-{i}"), noise(i as u64, 100));
    }
    let daemon = Daemon::settled(&agent).await;
    daemon.until_in_sync().await;
    cluster.run_sql("postgres", "ALTER SYSTEM SET log_statement = 'all'").unwrap();
    cluster.run_sql("postgres", "SELECT pg_reload_conf()").unwrap();
    let log = || fs::read_to_string(cluster.socket().join("log")).unwrap();
    until("statements are logged", async || log().contains("execute")).await;
    agent.s3.reset_counts();
    // All of them are told at once, so that their number and not the machine's speed makes the batches.
    daemon.signal(Signal::STOP);
    for i in 0..FILES {
        fs::rename(agent.path(&format!("old-{i}")), agent.path(&format!("new-{i}"))).unwrap();
    }
    daemon.signal(Signal::CONT);
    daemon.until_folder("all are copied", |folder| folder["done"]["copied"] == FILES).await;
    daemon.until_folder("all are removed", |folder| folder["done"]["deleted"] == FILES).await;
    let statements = log().lines().filter(|line| line.contains("execute") && line.contains("portail.file")).count();
    cluster.run_sql("postgres", "ALTER SYSTEM RESET log_statement").unwrap();
    assert!((1..FILES / 3).contains(&statements), "{statements} statements for {FILES} renames\n{}", log());
    assert_eq!((agent.s3.count("CopyObject"), agent.s3.count("PutObject")), (FILES as u64, 0), "{}", daemon.log());
    daemon.until_in_sync().await;
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn without_a_debounce_a_file_is_uploaded_while_others_would_wait_for_its_quiet() {
    let mut agent = by_events().await;
    agent.sync.push_str("\ndebounce = \"0ms\"");
    let daemon = Daemon::settled(&agent).await;
    agent.write("saved", "once");
    daemon.until_in_sync().await;
    daemon.until_folder("nothing waits", |folder| folder["queue_depth"] == 0).await;
    let before = agent.s3.count("PutObject");
    // Never quiet for as long as the default debounce.
    let mut file = fs::File::create(agent.path("log")).unwrap();
    let began = Instant::now();
    while agent.s3.count("PutObject") == before {
        writeln!(file, "line").unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(began.elapsed() < Duration::from_secs(20), "it waits\n{}", daemon.log());
    }
    drop(file);
    daemon.until_in_sync().await;
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn without_a_debounce_what_is_written_in_two_steps_ends_whole() {
    let mut agent = by_events().await;
    agent.sync.push_str("\ndebounce = \"0ms\"");
    let daemon = Daemon::settled(&agent).await;
    let (first, second) = (noise(1, 3 << 20), noise(2, 3 << 20));
    for (i, pause) in [0, 1, 5, 30, 100].into_iter().enumerate() {
        let mut file = fs::File::create(agent.path(&format!("steps-{i}"))).unwrap();
        file.write_all(&first).unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        file.write_all(&second).unwrap();
    }
    daemon.until_same_content().await;
    // In place: the size stays, and only the stamps tell.
    for (i, pause) in [0, 1, 5, 30, 100].into_iter().enumerate() {
        let mut file = fs::File::options().write(true).open(agent.path("steps-0")).unwrap();
        file.write_all(&noise(10 + i as u64, 3 << 20)).unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        file.write_all(&noise(20 + i as u64, 3 << 20)).unwrap();
        daemon.until_same_content().await;
    }
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_store_that_hangs_keeps_nobody_beyond_the_grace() {
    const GRACE: Duration = Duration::from_secs(2);
    let mut agent = by_events().await;
    agent.sync.push_str("\nshutdown_grace = \"2s\"");
    agent.write("before", "before");
    let daemon = Daemon::settled(&agent).await;
    daemon.until_in_sync().await;
    agent.s3.script(|_| Some(Reply::Hang));
    agent.write("hangs", "hangs");
    until("it hangs", async || agent.s3.count("PutObject") == 2).await;
    let began = Instant::now();
    // Exit status 0, or it panics.
    let log = daemon.stop().await;
    let took = began.elapsed();
    assert!(took >= GRACE && took < GRACE + Duration::from_secs(1), "{took:?}\n{log}");
    assert!(log.contains("not everything under way could be finished"), "{log}");
    agent.s3.clear_scripts();
    let daemon = Daemon::start(&agent).await;
    daemon.until_in_sync().await;
    daemon.stop().await;
}
