//! What `--dry-run` says is what a pass then does, and it changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use crate::common::agent::{Agent, set_mtime};

/// All that a dry run could have changed.
async fn everything(agent: &Agent) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for table in ["folder", "file", "event", "held_delete", "pending_delete", "judgement", "recent_delete"] {
        all.extend(agent.db.rows(&format!("SELECT * FROM portail.{table} ORDER BY 1, 2, 3")).await);
    }
    for object in agent.s3.objects(&agent.bucket).await.into_values() {
        all.push(vec![
            object.key,
            object.etag,
            format!("{:?}", object.metadata.into_iter().collect::<BTreeMap<_, _>>()),
        ]);
    }
    all
}

#[tokio::test]
async fn on_an_empty_database_it_makes_no_schema() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    agent.s3.put(&agent.bucket, "b", "b").await;
    agent.write("b", "b");
    let plan = agent.plan().await;
    assert_eq!(plan, [("adopt".to_owned(), "b".to_owned()), ("upload".to_owned(), "a".to_owned())]);
    assert_eq!(agent.db.value("SELECT to_regnamespace('portail') IS NULL").await, "t");
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["b"]);
    let text = agent.run(&["sync", "--dry-run"]).await.expect_code(0).stdout;
    assert!(text.contains("upload   files:a (1 B): new\n") && text.contains("nothing was changed"), "{text}");
}

#[tokio::test]
async fn its_plan_is_what_the_pass_then_does() {
    let mut agent = Agent::start().await;
    for name in ["changed", "touched", "old-name", "gone", "same", "x.tmp", "drifted", "linked"] {
        agent.write(name, name);
    }
    agent.synced().await;
    agent.write("changed", "CHANGED");
    set_mtime(&agent.path("touched"), SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000));
    fs::rename(agent.path("old-name"), agent.path("new-name")).unwrap();
    agent.remove("gone");
    agent.write("new", "new");
    agent.write("adopted", "adopted");
    agent.s3.put(&agent.bucket, "adopted", "adopted").await;
    agent.s3.put(&agent.bucket, "drifted", "DRIFTED").await;
    agent.folder = "exclude = [\"*.tmp\"]".to_owned();
    let before = everything(&agent).await;
    let plan = agent.plan().await;
    assert_eq!(everything(&agent).await, before);
    let expected = [
        ("adopt", "adopted"),
        ("copy", "new-name"),
        ("delete", "gone"),
        ("delete", "old-name"),
        ("drop-row", "x.tmp"),
        ("touch", "touched"),
        ("upload", "changed"),
        ("upload", "drifted"),
        ("upload", "new"),
    ];
    assert_eq!(plan, expected.map(|(action, path)| (action.to_owned(), path.to_owned())));
    let pass = agent.synced().await;
    let done = serde_json::json!({ "adopted": 1, "copied": 1, "deleted": 2, "touched": 1, "uploaded": 3 });
    assert_eq!((&pass.folder()["done"], pass.number("rows_dropped")), (&done, 1));
    assert_eq!(agent.plan().await, []);
}

#[tokio::test]
async fn it_says_what_would_be_held_and_what_was_approved() {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"0%\"\nmax_delete_count = 1".to_owned();
    for name in ["a", "b", "c", "d", "e", "hard", "old"] {
        agent.write(name, name);
    }
    fs::hard_link(agent.path("hard"), agent.path("link")).unwrap();
    agent.synced().await;
    let shown = async |expected: &[(&str, &str)]| {
        let before = everything(&agent).await;
        let plan = agent.plan().await;
        let expected: Vec<_> =
            expected.iter().map(|(action, path)| ((*action).to_owned(), (*path).to_owned())).collect();
        assert_eq!(plan, expected);
        assert_eq!(everything(&agent).await, before);
    };
    agent.remove("a");
    shown(&[("delete", "a")]).await;
    agent.remove("b");
    agent.remove("hard");
    fs::rename(agent.path("old"), agent.path("new")).unwrap();
    // Neither the rename nor the hard link counts; that its other name is gone moves the link's ctime.
    shown(&[("copy", "new"), ("delete", "hard"), ("delete", "old"), ("held", "a"), ("held", "b"), ("touch", "link")])
        .await;
    let text = agent.run(&["sync", "--dry-run"]).await.expect_code(0).stdout;
    let reason = "2 deletions of 8 files exceed max_delete = 0% and max_delete_count = 1";
    assert!(text.contains(&format!("held     files:a: {reason}")), "{text}");
    assert!(text.contains("2 deletions would be held"), "{text}");
    let pass = agent.troubled().await;
    assert_eq!((pass.number("held"), pass.done("deleted")), (2, 2));

    agent.run(&["deletes", "approve", "--folder", "files", "--path", "a"]).await.expect_code(0);
    agent.remove("c");
    shown(&[("delete", "a"), ("held", "b"), ("held", "c")]).await;
    agent.run(&["deletes", "reject", "--folder", "files", "--path", "b"]).await.expect_code(0);
    shown(&[("delete", "a"), ("delete", "c"), ("keep", "b")]).await;
    assert_eq!(agent.synced().await.done("deleted"), 2);
    agent.remove("d");
    shown(&[("held", "d")]).await;
    assert_eq!(agent.troubled().await.number("held"), 1, "the second one in the hour that nobody has approved");
}

#[tokio::test]
async fn in_another_folder_it_shows_everything_as_held() {
    let agent = Agent::start().await;
    for name in ["a", "b", "c"] {
        agent.write(name, name);
    }
    agent.synced().await;
    fs::rename(&agent.root, agent.home.path().join("aside")).unwrap();
    fs::create_dir(&agent.root).unwrap();
    agent.write("c", "another c");
    let held = |path: &str| ("held".to_owned(), path.to_owned());
    assert_eq!(agent.plan().await, [held("a"), held("b"), ("upload".to_owned(), "c".to_owned())]);
}

#[tokio::test]
async fn it_needs_no_lock() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    agent.synced().await;
    let _lock = crate::agents::hold_lock(&agent).await;
    assert_eq!(agent.plan().await, []);
}

#[tokio::test]
async fn it_fails_where_no_plan_can_be_made() {
    let agent = Agent::start().await;
    fs::remove_dir_all(&agent.root).unwrap();
    agent.run(&["sync", "--dry-run"]).await.expect_code(1).expect_words(&["it is not there"]);
}
