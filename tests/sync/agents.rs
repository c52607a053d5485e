//! Several folders and several agents on one bucket and one database.

use std::time::Duration;

use agent_portail::catalog::lock::{Attempt, WriterLock, try_lock};
use agent_portail::catalog::{Catalog, schema};

use crate::common::agent::{Agent, files, finish, until};

/// Takes the lock of the agent's folder, as another agent.
pub(crate) async fn hold_lock(agent: &Agent) -> WriterLock {
    let catalog = Catalog::open(agent.db.settings(), "agent-portail rival").unwrap();
    schema::migrate(&catalog).await.unwrap();
    match try_lock(&catalog, &agent.s3.endpoint(), &agent.bucket, &agent.prefix).await.unwrap() {
        Attempt::Held(lock) => lock,
        Attempt::Taken(holder) => panic!("held by {holder}"),
    }
}

#[tokio::test]
async fn a_second_agent_gives_up_after_five_seconds_and_names_the_holder() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    let lock = hold_lock(&agent).await;
    let pass = agent.run(&["sync"]).await.expect_code(1);
    assert!((Duration::from_secs(5)..Duration::from_secs(15)).contains(&pass.took), "{:?}", pass.took);
    pass.expect_words(&["take the writer's lock of the folder `files`", "`agent-portail rival`", "--wait"]);
    assert_eq!(agent.s3.counts(), [].into(), "nothing was even looked at");
    drop(lock);
    agent.synced().await;
}

#[tokio::test]
async fn with_wait_it_waits_and_a_signal_ends_the_waiting() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    let lock = hold_lock(&agent).await;
    let tries = async || {
        // Each try is a connection of its own beside the pool's.
        agent.db.count("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_lock%' AND application_name = 'agent-portail agent-1'").await > 0
    };
    let waiting = agent.command(&["sync", "--wait", "--json"]).spawn().unwrap();
    until("it tries", tries).await;
    rustix::process::kill_process(pid(&waiting), rustix::process::Signal::INT).unwrap();
    finish(waiting).await.expect_code(130);

    let waiting = agent.command(&["sync", "--wait", "--json"]).spawn().unwrap();
    until("it tries again", tries).await;
    tokio::time::timeout(Duration::from_secs(6), async {
        // Longer than without --wait it would.
        let began = std::time::Instant::now();
        until("its patience would be over", async || began.elapsed() > Duration::from_millis(5500)).await;
    })
    .await
    .unwrap();
    assert_eq!(agent.s3.counts(), [].into());
    drop(lock);
    finish(waiting).await.expect_code(0);
    agent.assert_in_sync().await;
}

pub(crate) fn pid(child: &tokio::process::Child) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap()
}

#[tokio::test]
async fn the_loss_of_the_lock_stops_the_pass() {
    let agent = Agent::start().await;
    for i in 0..200 {
        agent.write(format!("{i:03}"), "x");
    }
    agent.s3.script(|seen| {
        (seen.operation == "PutObject").then(|| crate::common::s3::Reply::Late(Duration::from_millis(50)))
    });
    let child = agent.command(&["sync", "--json"]).spawn().unwrap();
    until("uploads have begun", async || agent.s3.count("PutObject") > 3).await;
    let end = "SELECT pg_terminate_backend(a.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
               WHERE l.locktype = 'advisory' AND a.datname = current_database() AND a.pid <> pg_backend_pid()";
    assert_eq!(agent.db.rows(end).await.len(), 1);
    finish(child).await.expect_code(1).expect_words(&["keep the writer's lock of the folder `files`"]);
    let rows = agent.db.count("SELECT count(*) FROM portail.file").await;
    assert_eq!(rows, agent.s3.keys(&agent.bucket).await.len() as u64, "what was sent is recorded");
    assert!(rows < 200, "it stopped");
    agent.s3.clear_scripts();
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn two_folders_share_a_bucket_by_prefix_and_one_can_be_synced_alone() {
    let mut agent = Agent::start().await;
    agent.prefix = "one/".to_owned();
    let two = agent.home.path().join("two");
    std::fs::create_dir(&two).unwrap();
    std::fs::write(two.join("b"), "b").unwrap();
    agent.write("a", "a");
    agent.more = format!("[[folder]]\nname = \"two\"\npath = {two:?}\nprefix = \"one-two/\"\n");
    agent.sync(&["--folder", "two"]).await.expect_code(0);
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["one-two/b"]);
    agent.run(&["status"]).await.expect_code(1).expect_words(&["two: in_sync", "files: never synced"]);
    let pass = agent.synced().await;
    assert_eq!(pass.json["folders"].as_array().unwrap().len(), 2);
    assert_eq!((pass.number("foreign"), &pass.json["folders"][1]["foreign"]), (0, &0.into()));
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["one-two/b", "one/a"]);
    // One folder's trouble stops no other.
    std::fs::remove_dir_all(&two).unwrap();
    agent.write("c", "c");
    let pass = agent.sync(&[]).await.expect_code(1);
    assert_eq!(
        (pass.folder()["in_sync"].as_bool(), pass.json["folders"][1]["in_sync"].as_bool()),
        (Some(true), Some(false))
    );
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["one-two/b", "one/a", "one/c"]);
    let status = agent.run(&["status", "--json"]).await.expect_code(1);
    let states: Vec<_> =
        status.json["folders"].as_array().unwrap().iter().map(|f| (&f["folder"], &f["state"])).collect();
    assert_eq!(states, [(&"files".into(), &"in_sync".into()), (&"two".into(), &"suspended".into())]);
    let wrong = agent.run(&["sync", "--folder", "three"]).await.expect_code(2);
    wrong.expect_words(&["find the folder `three`", "files, two"]);
}

#[tokio::test]
async fn a_prefix_that_begins_another_agents_is_refused() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    let mut other = agent.beside("agent-2");
    other.prefix = "below/".to_owned();
    other.write("b", "b");
    agent.synced().await;
    let pass = other.run(&["sync"]).await.expect_code(1);
    pass.expect_words(&["claim the folder", "overlap", "`files` (agent agent-1)", "choose prefixes"]);
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["a"]);
}

#[tokio::test]
async fn agents_with_prefixes_of_their_own_leave_each_other_alone() {
    let mut agent = Agent::start().await;
    agent.prefix = "a/".to_owned();
    let mut other = agent.beside("agent-2");
    other.prefix = "a-b/".to_owned();
    for (agent, name) in [(&agent, "1"), (&other, "2")] {
        agent.write(name, name);
        agent.write("same", "same");
    }
    let (first, second) = tokio::join!(agent.synced(), other.synced());
    assert_eq!((first.number("foreign"), second.number("foreign")), (0, 0));
    agent.assert_in_sync().await;
    other.assert_in_sync().await;
    agent.remove("same");
    agent.synced().await;
    other.assert_in_sync().await;
}

#[tokio::test]
async fn another_agent_takes_a_folder_over_with_its_rows() {
    let agent = Agent::start().await;
    for name in ["a", "b"] {
        agent.write(name, name);
    }
    agent.synced().await;
    let mut heir = agent.beside("agent-2");
    std::fs::remove_dir(&heir.root).unwrap();
    crate::common::agent::copy_tree(&agent.root, &heir.root);
    heir.folder = "delete = \"mirror\"".to_owned();
    agent.s3.reset_counts();
    assert_eq!(heir.synced().await.done("touched"), 2);
    assert_eq!(agent.s3.count("PutObject"), 0);
    heir.assert_in_sync().await;
    assert_eq!(agent.db.column("SELECT agent FROM portail.folder").await, ["agent-2"]);
    assert_eq!(files(&heir.root).len(), 2);
}

#[tokio::test]
async fn two_agents_that_start_together_take_turns() {
    let agent = Agent::start().await;
    for i in 0..50 {
        agent.write(format!("{i}"), "x");
    }
    let (first, second) = tokio::join!(agent.sync(&["--wait"]), agent.sync(&["--wait"]));
    let sent = first.expect_code(0).done("uploaded") + second.expect_code(0).done("uploaded");
    assert_eq!((sent, agent.s3.count("PutObject")), (50, 50));
    agent.assert_in_sync().await;
}
