//! `agent-portail status` beside a running daemon, without one, and where something else answers; and `/readyz`.

use std::sync::Arc;

use agent_portail::demo::postgres::Cluster;
use serde_json::Value;

use crate::common::agent::{Agent, Outcome, finish};
use crate::common::daemon::Daemon;
use crate::common::pg::Database;
use crate::common::s3::Reply;
use crate::daemon_files::by_events;

/// `status` of this agent, asking at the daemon's address.
pub(crate) async fn status(agent: &Agent, daemon: &Daemon<'_>, args: &[&str]) -> Outcome {
    let mut all = vec!["status"];
    all.extend(args);
    let mut command = agent.command(&all);
    command.env("AGENT_PORTAIL__MONITOR__LISTEN", daemon.monitor().to_string());
    finish(command.spawn().unwrap()).await
}

async fn filled() -> Agent {
    let agent = by_events().await;
    for name in ["a", "dir/b", "dir/c"] {
        agent.write(name, "12345");
    }
    agent
}

async fn cluster() -> Cluster {
    tokio::task::spawn_blocking(|| Cluster::start().unwrap()).await.unwrap()
}

#[tokio::test]
async fn what_the_daemon_says_and_what_the_catalog_says_are_shown_together() {
    let agent = filled().await;
    let daemon = Daemon::settled(&agent).await;
    daemon.until_in_sync().await;
    let said = status(&agent, &daemon, &["--json"]).await.expect_code(0);
    let (folder, live) = (said.folder(), &said.folder()["live"]);
    assert_eq!(
        (&folder["state"], &folder["reason"], &live["state"]),
        (&"in_sync".into(), &Value::Null, &"in_sync".into())
    );
    assert_eq!((said.number("files"), said.number("bytes"), said.number("kept")), (3, 15, 0));
    assert_eq!((&live["watches"], &live["queue_depth"], &live["standby"]), (&2.into(), &0.into(), &Value::Null));
    assert_eq!((&said.json["daemon"]["answers"], &said.json["catalog_error"]), (&true.into(), &Value::Null));
    let text = status(&agent, &daemon, &[]).await.expect_code(0).stdout;
    for words in ["files: in_sync\n", "3 files, 15 B;", "now: nothing queued, 2 directories watched; in_sync for"] {
        assert!(text.contains(words), "{words:?} is missing in:\n{text}");
    }

    // What is under way has not reached the catalog.
    agent.s3.reply_next("PutObject", u32::MAX, Reply::Hang);
    agent.write("new", "new");
    daemon.until_state("syncing").await;
    let said = status(&agent, &daemon, &["--json"]).await.expect_code(1);
    assert_eq!((&said.folder()["state"], said.number("files")), (&"syncing".into(), 3));
    assert!(said.folder()["live"]["oldest_pending_seconds"].as_f64().unwrap() > 0.0, "{}", said.stdout);
    status(&agent, &daemon, &[]).await.expect_code(1).expect_words(&["files: syncing", "1 queued, the oldest for"]);
    daemon.kill().await;
}

#[tokio::test]
async fn without_a_daemon_the_catalog_alone_is_shown_and_says_so() {
    let agent = filled().await;
    agent.synced().await;
    let daemon = Daemon::settled(&agent).await;
    let address = daemon.monitor();
    // Its address is nobody's from here on.
    let silent = Daemon::spawn(&agent, agent.command(&["config"]));
    daemon.stop().await;
    let said = status(&agent, &silent, &["--json"]).await.expect_code(0);
    assert_eq!((&said.folder()["state"], &said.folder()["live"]), (&"in_sync".into(), &Value::Null));
    let problem = format!("no daemon answers at {}", silent.monitor());
    assert_ne!(silent.monitor(), address);
    assert_eq!(
        (&said.json["daemon"]["answers"], &said.json["daemon"]["problem"]),
        (&false.into(), &problem.clone().into())
    );
    status(&agent, &silent, &[]).await.expect_code(0).expect_words(&["files: in_sync", "3 files", &problem]);
}

#[tokio::test]
async fn a_daemon_of_another_agent_or_configuration_confuses_nobody() {
    let agent = filled().await;
    let daemon = Daemon::settled(&agent).await;
    // The same folder name in both.
    let other = agent.beside("agent-2");
    let said = status(&other, &daemon, &["--json"]).await.expect_code(1);
    assert_eq!((&said.folder()["state"], &said.folder()["live"]), (&Value::Null, &Value::Null), "{}", said.stdout);
    let text = status(&other, &daemon, &[]).await.expect_code(1).stdout;
    assert!(text.contains("files: never synced\n") && text.contains("of the agent `agent-1`"), "{text}");
    // The same agent, another place in the bucket.
    let mut changed = agent.beside("agent-1");
    changed.prefix = "elsewhere/".to_owned();
    let said = status(&changed, &daemon, &["--json"]).await.expect_code(1);
    assert_eq!((&said.folder()["live"], &said.json["daemon"]["answers"]), (&Value::Null, &true.into()));
    status(&changed, &daemon, &[]).await.expect_code(1).expect_words(&["files: never synced", "does not run `files`"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_stand_by_is_ready_and_shows_for_whom_it_stands_by() {
    let first = filled().await;
    let running = Daemon::settled(&first).await;
    let mut second = first.beside("agent-2");
    second.sync = first.sync.clone();
    let waiting = Daemon::start(&second).await;
    waiting.until_folder("it stands by", |folder| !folder["standby"].is_null()).await;
    let (code, body) = waiting.get("/readyz").await.unwrap();
    assert_eq!((code, body.as_str()), (200, "files: stand-by\n"));
    let said = status(&second, &waiting, &[]).await.expect_code(1);
    said.expect_words(&["files: starting (standing by)", "it stands by for `agent-portail agent-1`"]);
    waiting.stop().await;
    running.stop().await;
}

#[tokio::test]
async fn while_postgresql_is_away_the_daemon_is_still_heard() {
    let mut cluster = cluster().await;
    let mut agent = filled().await;
    agent.db = Arc::new(Database::of(&cluster).await);
    let daemon = Daemon::settled(&agent).await;
    cluster.stop();
    agent.write("new", "new");
    daemon.until_state("degraded").await;
    let said = status(&agent, &daemon, &["--json"]).await.expect_code(1);
    let folder = said.folder();
    assert_eq!((&folder["state"], &folder["files"]), (&"degraded".into(), &Value::Null), "{}", said.stdout);
    assert!(said.json["catalog_error"].as_str().unwrap().contains(&cluster.port().to_string()), "{}", said.stdout);
    assert!(said.stderr.contains("failed to") && said.stderr.contains("check that PostgreSQL runs"), "{}", said.stderr);
    let text = status(&agent, &daemon, &[]).await.expect_code(1).stdout;
    assert!(text.contains("files: degraded (") && text.contains("directories watched, 0 failed"), "{text}");
    daemon.kill().await;
    // Then nobody knows anything.
    let silent = Daemon::spawn(&agent, agent.command(&["config"]));
    let said = status(&agent, &silent, &["--json"]).await.expect_code(1);
    assert_eq!(said.stdout, "");
}

#[tokio::test]
async fn it_is_ready_only_when_the_schema_is_current_and_the_first_reconciliation_has_begun() {
    let mut cluster = cluster().await;
    let mut agent = filled().await;
    agent.db = Arc::new(Database::of(&cluster).await);
    cluster.stop();
    let mut daemon = Daemon::spawn(&agent, agent.command(&["run"]));
    daemon.until_logged("waiting for the database").await;
    assert_eq!(daemon.get("/readyz").await, Some((503, String::new())));
    assert_eq!(daemon.get("/healthz").await, Some((200, "ok\n".to_owned())), "it is no reason to be restarted");
    let said = status(&agent, &daemon, &[]).await.expect_code(1);
    said.expect_words(&["files: not known", "has started no folder yet"]);
    // The reconciliation begins with the schema, and not before.
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.resume().unwrap();
        cluster
    });
    let cluster = cluster.await.unwrap();
    daemon.until_ready().await;
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.folder").await, 1);
    daemon.until_in_sync().await;
    daemon.stop().await;
    drop(cluster);
}
