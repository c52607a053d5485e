//! The rolling verification: what it finds, how it goes about it, and that it goes on after a restart.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::common::agent::{Agent, noise, set_mtime, until};
use crate::common::daemon::Daemon;
use crate::common::s3::Reply;
use crate::daemon_files::by_events;
use crate::daemon_status::status;

/// An agent with so many files, whose daemon reads each of them once in this time.
async fn verifying(files: u64, every: &str) -> Agent {
    let mut agent = by_events().await;
    agent.env.insert("AGENT_PORTAIL__AGENT__VERIFY_EVERY", every.to_owned());
    for i in 0..files {
        agent.write(format!("{i:02}"), noise(i, 5000));
    }
    agent
}

fn number(folder: &Value, field: &str) -> u64 {
    folder[field].as_u64().unwrap_or_else(|| panic!("{field} in {folder}"))
}

#[tokio::test]
async fn damage_that_nothing_else_shows_is_found_told_once_and_never_uploaded() {
    let agent = verifying(6, "2s").await;
    agent.synced().await;
    for path in ["03", "04"] {
        agent.damage(path).await;
    }
    let good = agent.s3.object(&agent.bucket, "03").await.unwrap();
    let daemon = Daemon::start(&agent).await;
    let folder = daemon.until_folder("both are found", |folder| folder["damaged_files"] == 2).await;
    assert_eq!(folder["drift"], json!({ "damaged_file": 2 }));
    let reason = "2 damaged files: `agent-portail verify` names them, and says what to do";
    let says = |folder: &Value| folder["state"] == "degraded" && folder["reason"] == reason;
    daemon.until_folder("it says so", says).await;
    until("the catalog says the same", async || {
        agent.db.value("SELECT coalesce(state_reason, '') FROM portail.folder").await == reason
    })
    .await;
    // Another round or two find the same, which is no news.
    let ended = daemon.folder("files").await["last_verified_at"].clone();
    let later = |folder: &Value| folder["last_verified_at"] != ended && folder["last_verified_at"].is_string();
    daemon.until_folder("another round", later).await;
    let ended = daemon.folder("files").await["last_verified_at"].clone();
    daemon.until_folder("and another", |folder| folder["last_verified_at"] != ended).await;
    assert_eq!(daemon.log_lines("is damaged, though nothing tells").len(), 2, "{}", daemon.log());
    assert_eq!(agent.s3.count("PutObject"), 6, "of the first pass");
    assert_eq!(agent.s3.object(&agent.bucket, "03").await.unwrap(), good);
    let explained = agent.run(&["explain", "files:03"]).await.expect_code(0);
    explained.expect_words(&["damaged  since "]);

    // Whoever touches it says that it is right as it is.
    set_mtime(&agent.path("03"), SystemTime::now());
    daemon.until_folder("one is left", |folder| folder["damaged_files"] == 1).await;
    assert_eq!(agent.s3.object(&agent.bucket, "03").await.unwrap().bytes, fs::read(agent.path("03")).unwrap());
    daemon.stop().await;
    // A single pass does not read it, and knows all the same.
    let pass = agent.troubled().await;
    assert_eq!(pass.number("damaged"), 1);
    agent.sync_text(1).await.contains("DAMAGED: 1 damaged files").then_some(()).expect("it is said");
    let wrong = fs::read(agent.path("04")).unwrap();
    agent.restore(&agent.root, &["--force", "--path", "04"]).await.expect_code(0);
    assert_ne!(fs::read(agent.path("04")).unwrap(), wrong);
    assert_eq!(agent.synced().await.number("damaged"), 0);
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.damaged_file").await, 0);
    assert_eq!(agent.verify(&["--download"], 0).await.0, []);
}

#[tokio::test]
async fn what_is_found_good_again_is_forgotten() {
    let agent = verifying(3, "1s").await;
    agent.synced().await;
    agent.damage("01").await;
    let row = "SELECT encode(md5, 'hex'), etag FROM portail.file WHERE path = '01'";
    let damaged = agent.db.rows(row).await.remove(0);
    let daemon = Daemon::start(&agent).await;
    daemon.until_folder("it is found", |folder| folder["damaged_files"] == 1).await;
    // As if the disk had thought better of it: the file is what the row says.
    let bytes = fs::read(agent.path("01")).unwrap();
    let sql = format!("UPDATE portail.file SET md5 = '\\x{}' WHERE path = '01'", crate::common::agent::md5_hex(&bytes));
    agent.db.rows(&sql).await;
    daemon.until_folder("it is forgotten", |folder| folder["damaged_files"] == 0).await;
    assert_eq!(damaged.len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn a_round_takes_its_time_and_the_next_one_follows() {
    let agent = verifying(8, "4s").await;
    agent.synced().await;
    let daemon = Daemon::start(&agent).await;
    let began = Instant::now();
    let mut seen: Vec<(Duration, u64)> = Vec::new();
    daemon
        .until_folder("a round has ended", |folder| {
            let verified = number(folder, "verified_files");
            if seen.last().is_none_or(|(_, last)| *last != verified) {
                seen.push((began.elapsed(), verified));
            }
            folder["last_verified_at"].is_string()
        })
        .await;
    let at = |files: u64| seen.iter().find(|(_, verified)| *verified >= files).map(|(at, _)| *at).unwrap();
    assert!(at(8) >= Duration::from_millis(2500), "not all at once: {seen:?}");
    assert!(at(2) < at(8) - Duration::from_secs(1), "one after the other: {seen:?}");
    daemon.until_folder("it begins again", |folder| (1..8).contains(&number(folder, "verified_files"))).await;
    let round = "SELECT files, bytes, last_ended_at IS NOT NULL FROM portail.verification";
    assert_eq!(agent.db.rows(round).await, [["8", "40000", "t"]]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_round_goes_on_where_it_was_after_a_restart() {
    let agent = verifying(10, "1h").await;
    agent.synced().await;
    let daemon = Daemon::settled(&agent).await;
    daemon.until_folder("the first is read", |folder| number(folder, "verified_files") == 1).await;
    daemon.stop().await;
    let row = "SELECT began_at, after, checked_files, checked_bytes FROM portail.verification";
    let before = agent.db.rows(row).await.remove(0);
    assert_eq!(before[1..], ["00", "1", "5000"]);
    // Half an hour later, half of the round is over.
    agent.db.rows("UPDATE portail.verification SET began_at = began_at - interval '29 minutes'").await;
    let daemon = Daemon::settled(&agent).await;
    daemon.until_folder("it has caught up", |folder| number(folder, "verified_files") == 5).await;
    daemon.kill().await;
    let after = agent.db.rows(row).await.remove(0);
    assert!(["03", "04"].contains(&after[1].as_str()) || after[1] == "00", "{after:?}");
    let daemon = Daemon::settled(&agent).await;
    daemon.until_folder("it has caught up again", |folder| number(folder, "verified_files") == 5).await;
    daemon.stop().await;
    assert_eq!(agent.db.rows(row).await.remove(0)[1..], ["04", "5", "25000"]);
}

#[tokio::test]
async fn it_waits_while_something_else_is_to_do_but_not_until_it_is_late() {
    let mut agent = verifying(4, "2m").await;
    agent.synced().await;
    agent.write("new", "new");
    agent.s3.script(|request| (request.operation == "PutObject").then_some(Reply::Hang));
    let daemon = Daemon::start(&agent).await;
    until("the upload hangs", async || agent.s3.count("PutObject") > 4).await;
    // The first file's turn is at once.
    let began = Instant::now();
    daemon
        .until_folder("nothing is read", |folder| {
            assert_eq!(number(folder, "verified_files"), 0, "{folder}");
            began.elapsed() > Duration::from_secs(3)
        })
        .await;
    daemon.kill().await;
    // The same round is late if it is to take a second.
    agent.env.insert("AGENT_PORTAIL__AGENT__VERIFY_EVERY", "1s".to_owned());
    let daemon = Daemon::start(&agent).await;
    daemon.until_folder("all is read", |folder| folder["last_verified_at"].is_string()).await;
    assert!(number(&daemon.folder("files").await, "queue_depth") > 0, "the upload still hangs");
    daemon.kill().await;
}

#[tokio::test]
async fn status_tells_how_far_it_is_and_what_is_damaged() {
    let agent = verifying(3, "1s").await;
    agent.synced().await;
    agent.damage("01").await;
    let daemon = Daemon::start(&agent).await;
    let said = |folder: &Value| folder["damaged_files"] == 1 && folder["last_verified_at"].is_string();
    daemon.until_folder("a round has ended", said).await;
    let status = status(&agent, &daemon, &[]).await.expect_code(1);
    status.expect_words(&[
        "files: degraded (1 damaged files: `agent-portail verify` names them, and says what to do)\n",
        " files verified in this round; the last round ended ",
    ]);
    daemon.stop().await;
}

#[tokio::test]
async fn it_can_be_turned_off_and_takes_all_of_a_changing_folder() {
    let agent = verifying(3, "0").await;
    let daemon = Daemon::settled(&agent).await;
    daemon.until_in_sync().await;
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.verification").await, 0);
    daemon.stop().await;
}
