//! What happens between an approval and the deletion: it is only for files that are still gone, and for the folder that they were in.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::agent::{Agent, until};
use crate::common::daemon::Daemon;
use crate::daemon_held::careful as watched;
use crate::deletes::{FILES, careful};

impl Agent {
    async fn approve(&self) {
        self.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    }

    async fn approved(&self) -> Vec<String> {
        self.db.column("SELECT path FROM portail.held_delete WHERE decision = 'approved' ORDER BY path").await
    }

    fn deletions(&self) -> u64 {
        self.s3.count("DeleteObject") + self.s3.count("DeleteObjects")
    }
}

/// Three deletions of seven are held, and approved.
async fn approved() -> Agent {
    let agent = careful(&FILES).await;
    for file in ["a-b", "b", "c"] {
        agent.remove(file);
    }
    assert_eq!(agent.troubled().await.number("held"), 3);
    agent.approve().await;
    agent
}

#[tokio::test]
async fn what_was_approved_waits_while_another_folder_stands_there() {
    let agent = approved().await;
    let aside = agent.home.path().join("aside");
    fs::rename(&agent.root, &aside).unwrap();
    fs::create_dir(&agent.root).unwrap();
    agent.s3.reset_counts();
    for content in [None, Some("of another folder")] {
        if let Some(content) = content {
            agent.write("other", content);
        }
        let plan = agent.plan().await;
        assert!(plan.iter().all(|(action, _)| action != "delete"), "{plan:?}");
        let text = agent.sync_text(1).await;
        assert!(text.contains("not the one that was synced"), "{text}");
    }
    assert_eq!((agent.deletions(), agent.approved().await.len()), (0, 3));
    // One of them was back all the time.
    fs::write(aside.join("b"), "b").unwrap();
    fs::remove_dir_all(&agent.root).unwrap();
    fs::rename(&aside, &agent.root).unwrap();
    assert_eq!(agent.synced().await.done("deleted"), 3, "two that were approved, and the one of the other folder");
    agent.assert_same_content().await;
}

#[tokio::test]
async fn even_if_nothing_but_what_was_approved_could_be_deleted_another_folder_is_told() {
    let agent = careful(&["a", "b", "c"]).await;
    for file in ["a", "b", "c"] {
        agent.remove(file);
    }
    agent.troubled().await;
    agent.approve().await;
    let aside = agent.home.path().join("aside");
    fs::rename(&agent.root, &aside).unwrap();
    fs::create_dir(&agent.root).unwrap();
    let text = agent.sync_text(1).await;
    assert!(text.contains("HELD: what you have decided on waits for the folder: the folder is not the one"), "{text}");
    let status = agent.run(&["status"]).await.expect_code(1);
    assert!(status.stdout.contains("degraded"), "{}", status.stdout);
    fs::remove_dir(&agent.root).unwrap();
    fs::rename(&aside, &agent.root).unwrap();
    assert_eq!(agent.synced().await.done("deleted"), 3);
}

#[tokio::test]
async fn a_person_who_knows_that_it_is_another_folder_may_approve_all_the_same() {
    let agent = careful(&FILES).await;
    fs::rename(&agent.root, agent.home.path().join("aside")).unwrap();
    fs::create_dir(&agent.root).unwrap();
    assert_eq!(agent.troubled().await.number("held"), 7);
    agent.approve().await;
    assert_eq!(agent.synced().await.done("deleted"), 7);
    assert_eq!(agent.s3.keys(&agent.bucket).await, [""; 0]);
}

/// Nothing below a link is known to be gone, wherever it leads.
#[tokio::test]
async fn a_directory_that_has_become_a_link_has_lost_nothing() {
    for policy in ["skip", "follow"] {
        let mut agent = careful(&["d/1", "d/2", "d/3", "e"]).await;
        agent.folder.push_str(&format!("\nsymlinks = \"{policy}\""));
        for file in ["d/1", "d/2", "d/3"] {
            agent.remove(file);
        }
        assert_eq!(agent.troubled().await.number("held"), 3);
        agent.approve().await;
        let outside = agent.home.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("1"), "never to be read").unwrap();
        fs::remove_dir(agent.path("d")).unwrap();
        symlink(&outside, agent.path("d")).unwrap();
        agent.s3.reset_counts();
        agent.synced().await;
        assert_eq!((agent.deletions(), agent.s3.count("PutObject")), (0, 0), "{policy}");
        assert_eq!(agent.s3.keys(&agent.bucket).await, ["d/1", "d/2", "d/3", "e"], "{policy}");
        agent.assert_held(&[]).await;
    }
}

async fn held_by_a_daemon(agent: &Agent) -> Daemon<'_> {
    let daemon = Daemon::settled(agent).await;
    for i in 0..5 {
        agent.remove(&format!("dir/{i}"));
    }
    daemon.until_folder("they are held", |folder| folder["held_deletes"] == 5).await;
    daemon
}

#[tokio::test]
async fn a_file_that_comes_back_at_the_last_moment_is_not_deleted() {
    let agent = watched().await;
    let daemon = held_by_a_daemon(&agent).await;
    // The files were looked at, and their rows are about to be marked.
    agent.db.rows("BEGIN; LOCK TABLE portail.recent_delete").await;
    agent.approve().await;
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'portail.recent_delete'::regclass";
    until("their rows are being marked", async || agent.db.count(waits).await > 0).await;
    agent.write("dir/0", "back again");
    agent.db.rows("COMMIT").await;
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    assert_eq!(daemon.done("deleted").await, 4, "{}", daemon.log());
    assert!(!agent.db.events("dir/0").await.contains(&"deleted".to_owned()));
    daemon.stop().await;
}

#[tokio::test]
async fn an_approval_that_meets_another_folder_waits_for_the_right_one() {
    let agent = watched().await;
    let daemon = held_by_a_daemon(&agent).await;
    let aside = agent.home.path().join("aside");
    // Nothing tells the daemon of it but its own look.
    agent.db.rows("BEGIN; LOCK TABLE portail.pending_delete").await;
    agent.approve().await;
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'portail.pending_delete'::regclass";
    until("the daemon acts on it", async || agent.db.count(waits).await > 0).await;
    fs::rename(&agent.root, &aside).unwrap();
    fs::create_dir(&agent.root).unwrap();
    agent.db.rows("COMMIT").await;
    until("another folder is noticed", async || {
        daemon.folder("files").await["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("not the one that was synced"))
    })
    .await;
    assert_eq!((agent.deletions(), agent.approved().await.len()), (0, 5), "{}", daemon.log());
    fs::remove_dir(&agent.root).unwrap();
    fs::rename(&aside, &agent.root).unwrap();
    daemon.until_in_sync().await;
    assert_eq!(daemon.done("deleted").await, 5, "{}", daemon.log());
    daemon.stop().await;
}
