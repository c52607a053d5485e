//! Deletions that the threshold holds back, and what a person says of them.

use crate::common::agent::Agent;

/// An agent that holds more than two deletions, in sync with these files.
async fn careful(files: &[&str]) -> Agent {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"10%\"\nmax_delete_count = 2".to_owned();
    for file in files {
        agent.write(file, file);
    }
    agent.synced().await;
    agent
}

const FILES: [&str; 7] = ["a-b", "a/1", "a/2", "a0", "b", "c", "d"];

fn states(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(path, state)| ((*path).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test]
async fn too_many_deletes_are_held_and_the_message_says_how_to_approve() {
    let agent = careful(&FILES).await;
    for file in ["a-b", "b", "c"] {
        agent.remove(file);
    }
    agent.write("new", "uploads go on");
    agent.s3.reset_counts();
    let text = agent.sync_text(1).await;
    assert!(text.contains("HELD: 3 deletions wait for your decision: 3 deletions of 7 files"), "{text}");
    assert!(text.contains("agent-portail deletes approve --folder files"), "{text}");
    assert_eq!((agent.s3.count("DeleteObjects"), agent.s3.count("DeleteObject")), (0, 0));
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 8, "all that was there, and the new file");
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.file WHERE state = 'synced'").await, 8);
    assert_eq!(agent.db.events("b").await, ["uploaded", "held"]);
    let status = agent.run(&["status"]).await.expect_code(1);
    assert!(status.stdout.contains("degraded (3 deletions are held)"), "{}", status.stdout);

    let list = agent.run(&["deletes", "list"]).await.expect_code(1).stdout;
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.starts_with("waiting  files:a-b (3 B): 3 deletions of 7 files exceed"), "{list}");
    let listed = agent.run(&["deletes", "list", "--json", "--folder", "files"]).await.expect_code(1);
    let first: serde_json::Value = serde_json::from_str(listed.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(
        (first["path"].as_str(), first["size"].as_u64(), first["decision"].as_str()),
        (Some("a-b"), Some(3), None)
    );

    agent
        .run(&["deletes", "approve", "--folder", "files"])
        .await
        .expect_code(0)
        .expect_words(&["3 deletions approved"]);
    assert_eq!(agent.synced().await.done("deleted"), 3);
    agent.assert_in_sync().await;
    agent.run(&["deletes", "list"]).await.expect_code(0).expect_words(&["no deletion is held"]);
    agent.run(&["status"]).await.expect_code(0);
}

#[tokio::test]
async fn deletes_up_to_the_larger_of_share_and_count_go_through() {
    let agent = careful(&FILES).await;
    agent.remove("b");
    agent.remove("c");
    assert_eq!(agent.synced().await.done("deleted"), 2);
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn held_deletes_never_slip_through_in_small_bites() {
    let agent = careful(&FILES).await;
    for file in ["a-b", "b", "c"] {
        agent.remove(file);
    }
    assert_eq!(agent.troubled().await.number("held"), 3);
    assert_eq!(agent.troubled().await.number("held"), 3, "a second pass changes nothing");
    agent.remove("d");
    let pass = agent.troubled().await;
    assert_eq!((pass.number("held"), pass.done("deleted")), (4, 0), "one more would be under the limit by itself");
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 7);
    assert_eq!(agent.db.events("b").await, ["uploaded", "held"], "held is told once");
}

#[tokio::test]
async fn a_decision_on_a_path_covers_it_and_what_is_below_only() {
    let agent = careful(&FILES).await;
    for file in FILES {
        if file != "d" {
            agent.remove(file);
        }
    }
    assert_eq!(agent.troubled().await.number("held"), 6);
    agent
        .run(&["deletes", "approve", "--folder", "files", "--path", "a/"])
        .await
        .expect_code(0)
        .expect_words(&["2 deletions"]);
    let pass = agent.troubled().await;
    assert_eq!((pass.done("deleted"), pass.number("held")), (2, 4));
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["a-b", "a0", "b", "c", "d"]);
    agent
        .run(&["deletes", "reject", "--folder", "files", "--path", "b"])
        .await
        .expect_code(0)
        .expect_words(&["1 deletion"]);
    agent.run(&["deletes", "approve", "--folder", "files", "--path", "nothing"]).await.expect_code(1);
    let pass = agent.troubled().await;
    assert_eq!((pass.done("deleted"), pass.number("held")), (0, 3));
    let expected = [("a-b", "synced"), ("a0", "synced"), ("b", "kept"), ("c", "synced"), ("d", "synced")];
    assert_eq!(agent.db.states().await, states(&expected));
}

#[tokio::test]
async fn rejected_deletes_keep_their_objects_and_resume_with_their_files() {
    let agent = careful(&FILES).await;
    for file in ["a-b", "b", "c"] {
        agent.remove(file);
    }
    agent.troubled().await;
    agent.run(&["deletes", "reject", "--folder", "files"]).await.expect_code(0);
    agent.synced().await;
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 7);
    let kept = agent.db.column("SELECT path FROM portail.file WHERE state = 'kept' ORDER BY path").await;
    assert_eq!(kept, ["a-b", "b", "c"]);
    agent.synced().await;
    agent.s3.reset_counts();
    for file in ["a-b", "b", "c"] {
        agent.write(file, file);
    }
    assert_eq!(agent.synced().await.done("touched"), 3);
    assert_eq!(agent.s3.count("PutObject"), 0);
    agent.assert_same_content().await;
}

#[tokio::test]
async fn a_held_path_whose_file_is_back_is_forgotten() {
    let agent = careful(&FILES).await;
    for file in ["a-b", "b", "c"] {
        agent.remove(file);
    }
    agent.troubled().await;
    agent.write("b", "back again");
    assert_eq!(agent.troubled().await.number("held"), 2);
    agent.assert_held(&["a-b", "c"]).await;
    agent.write("a-b", "a-b");
    agent.write("c", "c");
    agent.synced().await;
    agent.assert_held(&[]).await;
    agent.assert_same_content().await;
}

#[tokio::test]
async fn an_approval_is_only_for_files_that_are_still_gone() {
    let agent = careful(&FILES).await;
    for file in ["a-b", "b", "c"] {
        agent.remove(file);
    }
    agent.troubled().await;
    agent.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    agent.write("b", "b");
    let pass = agent.synced().await;
    assert_eq!(pass.done("deleted"), 2);
    agent.assert_same_content().await;
}

#[tokio::test]
async fn an_emptied_folder_deletes_nothing() {
    let agent = careful(&["a", "b"]).await;
    agent.remove("a");
    agent.remove("b");
    let text = agent.sync_text(1).await;
    assert!(text.contains("the folder has no file at all; is it mounted?"), "{text}");
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["a", "b"]);
    agent.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    assert_eq!(agent.synced().await.done("deleted"), 2, "a person may say that it is meant");
    assert_eq!(agent.s3.keys(&agent.bucket).await, [""; 0]);
}

#[tokio::test]
async fn a_missing_folder_deletes_nothing() {
    let agent = careful(&["a", "b"]).await;
    std::fs::remove_dir_all(&agent.root).unwrap();
    let text = agent.sync_text(1).await;
    assert!(text.contains("it is not there; mount it, or correct its path"), "{text}");
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["a", "b"]);
    assert_eq!(agent.db.states().await, states(&[("a", "synced"), ("b", "synced")]));
    agent.run(&["status"]).await.expect_code(1).expect_words(&["suspended"]);
}

#[tokio::test]
async fn a_delete_that_the_store_refuses_is_reported_and_finished_later() {
    let agent = careful(&["a", "b", "c", "d"]).await;
    agent.remove("a");
    agent.s3.fail_next("DeleteObject", 20, 403, &crate::common::s3::error_body("AccessDenied"));
    let pass = agent.troubled().await;
    assert!(pass.failures()["a"].contains("s3:DeleteObject"), "{:?}", pass.failures());
    assert_eq!(agent.db.value("SELECT state FROM portail.file WHERE path = 'a'").await, "deleting");
    agent.s3.clear_scripts();
    assert_eq!(agent.synced().await.done("deleted"), 1);
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_removal_that_was_interrupted_ends_well_if_the_file_is_back() {
    let agent = careful(&["a", "b"]).await;
    // As a crash between the two steps leaves it: once with the object, once without.
    agent.db.rows("UPDATE portail.file SET state = 'deleting'").await;
    agent.s3.sdk().delete_object().bucket(&agent.bucket).key("b").send().await.unwrap();
    agent.synced().await;
    agent.assert_in_sync().await;
}

impl Agent {
    async fn assert_held(&self, paths: &[&str]) {
        let held = self.db.column("SELECT path FROM portail.held_delete ORDER BY path COLLATE \"C\"").await;
        assert_eq!(held, paths);
    }
}
