//! Deletions that the threshold holds back, and what a person says of them.

use crate::common::agent::Agent;

/// An agent that holds more than two deletions, in sync with these files.
pub(crate) async fn careful(files: &[&str]) -> Agent {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"10%\"\nmax_delete_count = 2".to_owned();
    for file in files {
        agent.write(file, file);
    }
    agent.synced().await;
    agent
}

pub(crate) const FILES: [&str; 7] = ["a-b", "a/1", "a/2", "a0", "b", "c", "d"];

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

    agent
        .run(&["deletes", "approve", "--folder", "files"])
        .await
        .expect_code(0)
        .expect_words(&["3 deletions approved"]);
    let waiting = agent.run(&["deletes", "list"]).await.expect_code(1);
    waiting.expect_words(&["files: 3 deletions are approved, and not yet carried out (5 B)"]);
    assert_eq!(agent.synced().await.done("deleted"), 3);
    agent.assert_in_sync().await;
    let told = "SELECT detail FROM portail.event WHERE path = 'b' AND kind = 'deleted'";
    assert_eq!(agent.db.value(told).await, "approved by tester");
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

#[tokio::test]
async fn passes_within_an_hour_are_judged_together() {
    let agent = careful(&FILES).await;
    agent.remove("b");
    assert_eq!(agent.synced().await.done("deleted"), 1);
    agent.remove("c");
    assert_eq!(agent.synced().await.done("deleted"), 1);
    agent.remove("d");
    let text = agent.sync_text(1).await;
    let reason = "1 deletions, and 2 in the hour before, of 7 files exceed max_delete = 10% and max_delete_count = 2";
    assert!(text.contains(&format!("HELD: 1 deletions wait for your decision: {reason}")), "{text}");
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["a-b", "a/1", "a/2", "a0", "d"]);
    // What a person approves is not what the limit is there for.
    agent.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    assert_eq!(agent.synced().await.done("deleted"), 1);
    assert_eq!(agent.db.value("SELECT sum(count) FROM portail.recent_delete").await, "2");
    agent.db.rows("UPDATE portail.recent_delete SET at = now() - interval '61 minutes'").await;
    agent.remove("a-b");
    agent.remove("a0");
    assert_eq!(agent.synced().await.done("deleted"), 2, "an hour later");
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn renames_and_removals_that_were_begun_do_not_count_in_the_hour_either() {
    let agent = careful(&FILES).await;
    for name in ["a-b", "b", "c"] {
        std::fs::rename(agent.path(name), agent.path(&format!("{name} renamed"))).unwrap();
    }
    assert_eq!(agent.synced().await.done("deleted"), 3);
    // As a crash between the two steps leaves it: that it was begun was counted then.
    agent.db.rows("UPDATE portail.file SET state = 'deleting' WHERE path = 'a0'").await;
    agent.remove("a0");
    agent.remove("d");
    agent.remove("a/1");
    assert_eq!(agent.synced().await.done("deleted"), 3);
    assert_eq!(agent.db.value("SELECT sum(count) FROM portail.recent_delete").await, "2");
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_removal_that_the_store_has_not_finished_counts_from_its_beginning() {
    let agent = careful(&FILES).await;
    agent.s3.fail_next("DeleteObjects", 20, 500, "");
    agent.s3.fail_next("DeleteObject", 20, 500, "");
    agent.remove("b");
    agent.remove("c");
    agent.troubled().await;
    assert_eq!(agent.db.value("SELECT sum(count) FROM portail.recent_delete").await, "2");
    agent.s3.clear_scripts();
    agent.remove("d");
    let pass = agent.troubled().await;
    assert_eq!(
        (pass.done("deleted"), pass.number("held")),
        (2, 1),
        "what was begun is finished, the rest is one too many"
    );
}

/// Answers for a bucket that has versions, or has not.
fn versioning(agent: &Agent, status: u16, body: &str) {
    agent.s3.clear_scripts();
    agent.s3.fail_next("GetBucketVersioning", 100, status, body);
}

#[tokio::test]
async fn the_list_says_why_when_what_was_seen_and_whether_it_could_be_undone() {
    let agent = careful(&FILES).await;
    std::fs::remove_dir_all(agent.path("a")).unwrap();
    agent.remove("b");
    std::fs::create_dir(agent.path("b")).unwrap();
    agent.remove("c");
    agent.troubled().await;
    versioning(&agent, 200, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
    let list = agent.run(&["deletes", "list"]).await.expect_code(1).stdout;
    for words in [
        "files: 4 deletions wait for your decision (8 B)\n  since ",
        ": 4 deletions of 7 files exceed max_delete = 10% and max_delete_count = 2\n",
        "of which everything could be seen; it was the folder that had been synced",
        "1 were not in their directory any more",
        "2 were gone with their directory",
        "1 were in whose place a directory stands",
        "\n    a/1 (3 B)\n    a/2 (3 B)\n    b (1 B)\n    c (1 B)\n",
        "what nobody decides on is kept for good after 30 days",
        "keeps old versions, so a deletion can be undone there",
        "agent-portail deletes approve --folder files",
    ] {
        assert!(list.contains(words), "{words:?} is missing in {list}");
    }
    let below = agent.run(&["deletes", "list", "--folder", "files", "--path", "a/"]).await.expect_code(1).stdout;
    assert!(below.contains("files: 2 deletions wait") && !below.contains("    b (1 B)"), "{below}");

    versioning(&agent, 403, &crate::common::s3::error_body("AccessDenied"));
    let listed = agent.run(&["deletes", "list", "--json"]).await.expect_code(1);
    let lines: Vec<serde_json::Value> = listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let paths: Vec<&str> = lines.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["a/1", "a/2", "b", "c"]);
    let seen: Vec<&str> = lines.iter().map(|line| line["seen"].as_str().unwrap()).collect();
    assert_eq!(seen, ["no_directory", "no_directory", "directory", "no_file"]);
    let first = &lines[0];
    assert_eq!((&first["size"], &first["decision"], &first["versioning"]), (&3.into(), &().into(), &().into()));
    let evidence = &first["evidence"];
    assert_eq!((&evidence["found_by"], &evidence["same_folder"]), (&"reconciliation".into(), &true.into()));
    assert_eq!((&evidence["deletes"], &evidence["of_files"]), (&4.into(), &7.into()));
    let list = agent.run(&["deletes", "list"]).await.expect_code(1);
    list.expect_words(&["keeps old versions is not known", "s3:GetBucketVersioning"]);
    versioning(&agent, 200, "<VersioningConfiguration/>");
    let list = agent.run(&["deletes", "list"]).await.expect_code(1);
    list.expect_words(&["keeps no old versions: a deletion can't be undone"]);
}

#[tokio::test]
async fn many_held_deletions_are_shown_by_directory() {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"10%\"\nmax_delete_count = 2".to_owned();
    for i in 0..40 {
        agent.write(format!("photos/{}/{i}.jpg", 2000 + i % 2), "12345678");
    }
    agent.write("stays", "stays");
    agent.synced().await;
    std::fs::remove_dir_all(agent.path("photos")).unwrap();
    agent.troubled().await;
    let list = agent.run(&["deletes", "list"]).await.expect_code(1).stdout;
    assert!(list.contains("\n    photos/2000/ 20 files (160 B)\n    photos/2001/ 20 files (160 B)\n"), "{list}");
    assert!(list.lines().count() < 10, "{list}");
    assert_eq!(agent.run(&["deletes", "list", "--json"]).await.expect_code(1).stdout.lines().count(), 40);
}

#[tokio::test]
async fn of_many_judgements_the_latest_are_shown_and_the_others_counted() {
    let agent = careful(&FILES).await;
    for file in ["a-b", "b", "c"] {
        agent.remove(file);
    }
    agent.troubled().await;
    // As if each deletion since then had been judged by itself.
    let more = "WITH more AS (
            INSERT INTO portail.judgement (folder_id, found_by, reason, same_folder, complete, deletes, in_hour, held, synced,
                max_delete, max_delete_count)
            SELECT folder_id, 'events', 'judgement ' || n, true, true, 1, 0, 3, 7, 10, 2
            FROM portail.judgement CROSS JOIN generate_series(1, 25) n RETURNING id, folder_id, reason
        )
        INSERT INTO portail.held_delete (folder_id, path, size, reason, judgement_id)
        SELECT folder_id, 'dir/' || id, 1, reason, id FROM more";
    agent.db.rows(more).await;
    let list = agent.run(&["deletes", "list"]).await.expect_code(1).stdout;
    assert!(list.contains("files: 28 deletions wait for your decision"), "{list}");
    assert_eq!((list.matches(": judgement ").count(), list.matches(": judgement 6\n").count()), (20, 1), "{list}");
    assert!(list.contains("by earlier judgements (--json shows them)\n    / 3 files, directly in it"), "{list}");
    assert!(list.contains("\n    dir/ 5 files (5 B)\n"), "{list}");
    let json = agent.run(&["deletes", "list", "--json"]).await.expect_code(1).stdout;
    let reasons = json.lines().filter(|line| line.contains("judged_at")).count();
    assert_eq!((json.lines().count(), reasons), (28, 28), "{json}");
}

#[tokio::test]
async fn an_approval_ends_when_the_file_is_back_even_in_a_pass_that_could_not_see_everything() {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"10%\"\nmax_delete_count = 2".to_owned();
    agent.restricted = true;
    for file in FILES {
        agent.write(file, file);
    }
    agent.write("closed/file", "closed");
    agent.synced().await;
    let aside = agent.home.path().join("aside");
    for file in ["b", "c", "d"] {
        agent.remove(file);
    }
    // Back as if it had never been away: nothing will be recorded of it.
    std::fs::rename(agent.path("a-b"), &aside).unwrap();
    assert_eq!(agent.troubled().await.number("held"), 4);
    agent.run(&["deletes", "approve", "--folder", "files", "--path", "a-b"]).await.expect_code(0);
    std::fs::rename(&aside, agent.path("a-b")).unwrap();
    agent.write("b", "b again");
    let closed = agent.path("closed");
    let mode = |mode| std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0);
    let pass = agent.troubled().await;
    assert!(pass.failures().contains_key("closed"), "{:?}", pass.failures());
    agent.assert_held(&["c", "d"]).await;
    mode(0o755);
    agent.remove("a-b");
    let pass = agent.troubled().await;
    assert_eq!((pass.done("deleted"), pass.number("held")), (0, 3), "it is judged like any other");
}

#[tokio::test]
async fn held_deletions_that_nobody_decides_on_are_kept_after_a_month() {
    let agent = careful(&FILES).await;
    for file in ["a-b", "b", "c"] {
        agent.remove(file);
    }
    agent.troubled().await;
    agent.db.rows("UPDATE portail.held_delete SET held_at = now() - interval '31 days' WHERE path <> 'c'").await;
    let plan = agent.plan().await;
    let expected = [("held", "c"), ("keep", "a-b"), ("keep", "b")];
    assert_eq!(plan, expected.map(|(action, path)| (action.to_owned(), path.to_owned())));
    let pass = agent.troubled().await;
    assert_eq!((pass.done("deleted"), pass.number("held")), (0, 1));
    assert!(pass.stderr.contains("2 deletions were held for 30 days and nobody has decided"), "{}", pass.stderr);
    let kept = agent.db.column("SELECT path FROM portail.file WHERE state = 'kept' ORDER BY path").await;
    assert_eq!(kept, ["a-b", "b"]);
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 7);
    assert_eq!(agent.db.events("b").await, ["uploaded", "held", "held"]);
}

impl Agent {
    pub(crate) async fn assert_held(&self, paths: &[&str]) {
        let held = self.db.column("SELECT path FROM portail.held_delete ORDER BY path COLLATE \"C\"").await;
        assert_eq!(held, paths);
    }
}
