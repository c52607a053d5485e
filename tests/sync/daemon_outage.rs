//! S3, PostgreSQL or the folder itself goes away while the daemon runs, and comes back.

use std::fs;
use std::sync::Arc;

use agent_portail::demo::postgres::Cluster;

use crate::common::agent::{Agent, until};
use crate::common::daemon::Daemon;
use crate::common::pg::Database;
use crate::common::s3::{Reply, error_body};
use crate::daemon_files::by_events;

/// What happens while nothing can be synced.
fn change(agent: &Agent) {
    agent.write("new/deep", "new");
    agent.write("changed", "other bytes");
    fs::rename(agent.path("renamed"), agent.path("new/name")).unwrap();
    agent.remove("removed");
}

fn fill(agent: &Agent) {
    for name in ["changed", "renamed", "removed", "stays"] {
        agent.write(name, name);
    }
}

/// The outage was told once when it began and once when it ended.
fn assert_told_once(daemon: &Daemon<'_>) {
    assert_eq!(daemon.log_lines("is suspended: failed to").len(), 1, "{}", daemon.log());
    assert_eq!(daemon.log_lines("syncing of files goes on after").len(), 1, "{}", daemon.log());
}

#[tokio::test]
async fn changes_during_an_outage_of_s3_are_synced_when_it_is_back() {
    let agent = by_events().await;
    fill(&agent);
    let daemon = Daemon::settled(&agent).await;
    agent.s3.script(|_| Some(Reply::Disconnect));
    change(&agent);
    let folder = daemon.until_state("degraded").await;
    assert!(!folder["reason"].as_str().unwrap().is_empty(), "{folder}");
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["changed", "removed", "renamed", "stays"], "nothing was deleted");
    agent.s3.clear_scripts();
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    assert_told_once(&daemon);
    assert_eq!(daemon.done("deleted").await, 2);
    daemon.stop().await;
}

#[tokio::test]
async fn changes_during_an_outage_of_postgresql_are_synced_when_it_is_back() {
    let mut cluster = tokio::task::spawn_blocking(|| Cluster::start().unwrap()).await.unwrap();
    let mut agent = by_events().await;
    agent.db = Arc::new(Database::of(&cluster).await);
    fill(&agent);
    let daemon = Daemon::settled(&agent).await;
    cluster.stop();
    change(&agent);
    let folder = daemon.until_state("degraded").await;
    assert!(!folder["reason"].as_str().unwrap().is_empty(), "{folder}");
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["changed", "removed", "renamed", "stays"], "nothing was acted on");
    assert_eq!(daemon.get("/readyz").await.unwrap().0, 200, "an outage is no reason to be restarted");
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.resume().unwrap();
        cluster
    })
    .await
    .unwrap();
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    agent.write("afterwards", "afterwards");
    daemon.until_in_sync().await;
    daemon.stop().await;
    drop(cluster);
}

#[tokio::test]
async fn a_folder_that_is_renamed_away_is_suspended_until_it_is_back() {
    let agent = by_events().await;
    fill(&agent);
    let daemon = Daemon::settled(&agent).await;
    let away = agent.home.path().join("away");
    fs::rename(&agent.root, &away).unwrap();
    let folder = daemon.until_state("suspended").await;
    assert!(folder["reason"].as_str().unwrap().contains(agent.root.to_str().unwrap()), "{folder}");
    fs::write(away.join("meanwhile"), "meanwhile").unwrap();
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 4);
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.file WHERE state = 'synced'").await, 4);
    fs::rename(&away, &agent.root).unwrap();
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    assert_eq!(daemon.done("deleted").await, 0);
    agent.write("afterwards", "it is watched again");
    daemon.until_in_sync().await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_empty_folder_in_the_place_of_a_full_one_deletes_nothing() {
    let agent = by_events().await;
    fill(&agent);
    let daemon = Daemon::settled(&agent).await;
    fs::rename(&agent.root, agent.home.path().join("away")).unwrap();
    fs::create_dir(&agent.root).unwrap();
    daemon.until_folder("they are held", |folder| folder["held_deletes"] == 4).await;
    assert!(daemon.log().contains("the folder is not the one that was synced"), "{}", daemon.log());
    agent.write("new", "uploads go on");
    daemon.until_folder("the new file is there", |folder| folder["done"]["uploaded"] == 5).await;
    daemon.until_folder("nothing waits", |folder| folder["queue_depth"] == 0).await;
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["changed", "new", "removed", "renamed", "stays"]);
    assert_eq!(daemon.done("deleted").await, 0);
    daemon.stop().await;
}

#[tokio::test]
async fn what_was_approved_is_not_deleted_by_the_look_of_a_folder_that_stood_in_for_another() {
    let agent = by_events().await;
    fill(&agent);
    let daemon = Daemon::settled(&agent).await;
    let away = agent.home.path().join("away");
    fs::rename(&agent.root, &away).unwrap();
    fs::create_dir(&agent.root).unwrap();
    daemon.until_folder("they are held", |folder| folder["held_deletes"] == 4).await;
    // The approval is read, and what follows from it waits.
    agent.db.rows("BEGIN; LOCK TABLE portail.pending_delete").await;
    agent.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'portail.pending_delete'::regclass";
    until("the daemon acts on it", async || agent.db.count(waits).await > 0).await;
    fs::remove_dir(&agent.root).unwrap();
    fs::rename(&away, &agent.root).unwrap();
    agent.db.rows("COMMIT").await;
    agent.write("afterwards", "afterwards");
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    assert_eq!(daemon.done("deleted").await, 0);
    assert_eq!(agent.s3.count("DeleteObject") + agent.s3.count("DeleteObjects"), 0, "{}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn a_deletion_that_the_store_refuses_is_tried_again_until_it_is_done() {
    let agent = by_events().await;
    fill(&agent);
    let daemon = Daemon::settled(&agent).await;
    agent.s3.fail_next("DeleteObject", 3, 403, &error_body("AccessDenied"));
    agent.remove("removed");
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    assert_eq!(agent.s3.count("DeleteObject"), 4, "{}", daemon.log());
    let events = agent.db.events("removed").await;
    assert_eq!(events, ["uploaded", "failed", "deleted"], "the same failure is written down once");
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_upload_that_was_done_although_the_answer_says_otherwise_is_not_taken_for_undone() {
    let agent = by_events().await;
    agent.write("a", "first");
    let daemon = Daemon::settled(&agent).await;
    daemon.until_in_sync().await;
    agent.s3.reset_counts();
    agent.s3.script(|seen| (seen.operation == "PutObject").then_some(Reply::Masked));
    agent.write("a", "other");
    until("it was tried", async || agent.s3.count("PutObject") >= 3).await;
    // As the row has it, and the bucket no longer.
    agent.write("a", "first");
    agent.s3.clear_scripts();
    daemon.until_in_sync().await;
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_database_that_breaks_off_while_the_schema_is_made_is_waited_for() {
    let agent = by_events().await;
    agent.write("a", "a");
    agent.db.rows("CREATE SCHEMA portail").await;
    // The migration waits for the end of this before it can make a table of the same name.
    agent.db.rows("BEGIN; CREATE TABLE portail.folder (a int)").await;
    let mut daemon = Daemon::spawn(&agent, agent.command(&["run"]));
    let others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    until("the migration waits", async || {
        // A transaction sees who is active only once.
        agent.db.rows("SELECT pg_stat_clear_snapshot()").await;
        let waits = "wait_event_type = 'Lock' AND query LIKE '%TABLE portail.folder%'";
        agent.db.count(&format!("SELECT count(*) {others} AND {waits}")).await == 1
    })
    .await;
    agent.db.rows(&format!("SELECT pg_terminate_backend(pid) {others}")).await;
    agent.db.rows("ROLLBACK").await;
    daemon.until_ready().await;
    daemon.until_in_sync().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_key_that_was_refused_is_uploaded_once_it_is_allowed() {
    let agent = by_events().await;
    fill(&agent);
    let daemon = Daemon::settled(&agent).await;
    let refuse = || Reply::Answer { status: 403, headers: Vec::new(), body: error_body("AccessDenied") };
    agent.s3.script(move |seen| (seen.operation == "PutObject" && seen.keys == ["refused"]).then(refuse));
    agent.write("refused", "refused");
    let failed = "SELECT count(*) FROM portail.file WHERE path = 'refused' AND state = 'failed'";
    until("it is written down at once", async || agent.db.count(failed).await == 1).await;
    agent.s3.clear_scripts();
    // Nothing tells that the policy has changed, so it is tried again after a while.
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    assert_eq!(agent.db.events("refused").await, ["failed", "uploaded"]);
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_judgement_that_broke_off_has_spooled_does_not_stay() {
    let agent = by_events().await;
    fill(&agent);
    let daemon = Daemon::settled(&agent).await;
    agent.s3.script(|seen| (seen.operation == "DeleteObjects").then_some(Reply::Disconnect));
    agent.remove("removed");
    agent.remove("stays");
    daemon.until_state("degraded").await;
    assert_ne!(agent.db.count("SELECT count(*) FROM portail.pending_delete").await, 0);
    agent.s3.clear_scripts();
    daemon.until_in_sync().await;
    until("the spool is empty", async || agent.db.count("SELECT count(*) FROM portail.pending_delete").await == 0)
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_row_that_the_database_refuses_is_told_of_for_as_long_as_it_is_refused() {
    let agent = by_events().await;
    fill(&agent);
    let daemon = Daemon::settled(&agent).await;
    // Such as a value that a column can't hold: that the path failed can still be written down.
    agent.db.rows("ALTER TABLE portail.file ADD CONSTRAINT no_poison CHECK (path <> 'poison' OR md5 IS NULL)").await;
    agent.write("poison", "poison");
    agent.write("beside", "beside");
    let failed = "SELECT count(*) FROM portail.file WHERE path = 'poison' AND error LIKE '%no_poison%'";
    until("its row says so", async || agent.db.count(failed).await == 1).await;
    // And where no row at all goes in.
    agent.db.rows("ALTER TABLE portail.file DROP CONSTRAINT no_poison").await;
    agent.db.rows("ALTER TABLE portail.file ADD CONSTRAINT no_poison CHECK (path <> 'worse')").await;
    agent.write("worse", "worse");
    agent.write("poison", "as good as any other");
    let refused = "the catalog refuses the rows of 1 paths";
    let says = |folder: &serde_json::Value| folder["reason"].as_str().is_some_and(|reason| reason.contains(refused));
    daemon.until_folder("it says so", says).await;
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.file WHERE path = 'beside' AND state = 'synced'").await, 1);
    agent.db.rows("ALTER TABLE portail.file DROP CONSTRAINT no_poison").await;
    agent.write("worse", "no longer");
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    daemon.stop().await;
}
