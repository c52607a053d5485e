//! Going back in time, on a bucket that keeps versions.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::common::agent::{Agent, files, noise, set_mtime};
use crate::common::s3::Reply;

/// An agent on a bucket with versions; none where the store has none.
async fn with_versions() -> Option<Agent> {
    let mut agent = Agent::start().await;
    if !agent.s3.is_embedded() {
        // Garage has none.
        return None;
    }
    agent.folder = "max_delete = \"100%\"".to_owned();
    agent.s3.with_versions(&agent.bucket).await;
    Some(agent)
}

/// A moment between two passes, on the clock of the database.
async fn moment(agent: &Agent) -> String {
    agent.db.value("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')").await
}

/// Name and content of what is restored as of a time.
async fn at(agent: &Agent, time: &str) -> Vec<(String, String)> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let to = agent.aside(&format!("as of {number}"));
    agent.restore(&to, &["--at", time]).await.expect_code(0);
    let names = files(&to).into_keys();
    names.map(|name| (name.clone(), fs::read_to_string(to.join(&name)).unwrap())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
}

#[tokio::test]
async fn each_file_is_brought_back_as_it_was_then() {
    let Some(agent) = with_versions().await else { return };
    for name in ["changed", "deleted", "deleted and back", "renamed", "same"] {
        agent.write(name, format!("{name} 1"));
    }
    agent.synced().await;
    let first = moment(&agent).await;
    agent.write("changed", "changed 2, longer");
    agent.write("new", "new 2");
    agent.remove("deleted");
    agent.remove("deleted and back");
    fs::rename(agent.path("renamed"), agent.path("renamed to")).unwrap();
    agent.synced().await;
    let second = moment(&agent).await;
    agent.write("changed", "changed 3");
    agent.write("deleted and back", "back 3");
    set_mtime(&agent.path("same"), SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000));
    agent.synced().await;
    let third = moment(&agent).await;

    let then = [
        ("changed", "changed 1"),
        ("deleted", "deleted 1"),
        ("deleted and back", "deleted and back 1"),
        ("renamed", "renamed 1"),
        ("same", "same 1"),
    ];
    assert_eq!(at(&agent, &first).await, pairs(&then));
    let then = [("changed", "changed 2, longer"), ("new", "new 2"), ("renamed to", "renamed 1"), ("same", "same 1")];
    assert_eq!(at(&agent, &second).await, pairs(&then));
    let now = [
        ("changed", "changed 3"),
        ("deleted and back", "back 3"),
        ("new", "new 2"),
        ("renamed to", "renamed 1"),
        ("same", "same 1"),
    ];
    assert_eq!(at(&agent, &third).await, pairs(&now));
    assert_eq!(at(&agent, "0s").await, pairs(&now));
    let to = agent.aside("part");
    agent.restore(&to, &["--at", &first, "--path", "deleted"]).await.expect_code(0);
    assert_eq!(files(&to).into_keys().collect::<Vec<_>>(), ["deleted"]);
    agent.restore(&to, &["--at", &first, "--path", "new"]).await.expect_code(1);
    // Mode and time are those of that time.
    let to = agent.aside("times");
    agent.restore(&to, &["--at", &third]).await.expect_code(0);
    crate::common::agent::assert_same_files(&agent.root, &to);
}

#[tokio::test]
async fn large_files_and_files_restored_over_newer_ones_too() {
    let Some(mut agent) = with_versions().await else { return };
    agent.sync = "part_size = \"5MiB\"".to_owned();
    agent.write("large", noise(1, 11 << 20));
    agent.synced().await;
    let first = moment(&agent).await;
    agent.write("large", noise(2, 11 << 20));
    agent.synced().await;
    let outcome = agent.restore(&agent.root, &["--at", &first]).await.expect_code(1);
    assert!(outcome.not_restored()["large"].contains("--force"));
    agent.restore(&agent.root, &["--at", &first, "--force"]).await.expect_code(0);
    assert_eq!(fs::read(agent.path("large")).unwrap(), noise(1, 11 << 20));
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn what_has_no_version_is_named_and_a_time_before_everything_is_refused() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    let before = moment(&agent).await;
    agent.synced().await;
    let then = moment(&agent).await;
    let to = agent.aside("back");
    agent.write("a", "b");
    agent.synced().await;
    let outcome = agent.restore(&to, &["--at", &then]).await.expect_code(1);
    // Garage names a version for each object that it is sent, and keeps none.
    let why = if agent.s3.is_embedded() { "none was recorded then" } else { "does not have that version any more" };
    assert!(outcome.not_restored()["a"].contains(why), "{}", outcome.stdout);
    assert_eq!(files(&to).len(), 0);
    let outcome = agent.restore(&to, &["--at", &before]).await.expect_code(1);
    assert_eq!((outcome.count("restored"), outcome.count("failed")), (0, 0));
    let (since, at) = (outcome.json["history_since"].as_str().unwrap(), outcome.json["at"].as_str().unwrap());
    assert!(since >= at, "{since} {at}");
    let to = to.to_str().unwrap();
    let text = agent.run(&["restore", "--folder", "files", "--to", to, "--at", &before]).await.expect_code(1);
    text.expect_words(&["; the history reaches back to ", "FAILED: that is later"]);
    for time in ["tomorrow", "2100-01-01", "10:00"] {
        agent.run(&["restore", "--folder", "files", "--to", to, "--at", time]).await.expect_code(2);
    }
    agent.run(&["restore", "--folder", "files", "--to", to, "--at", "1h", "--from-bucket"]).await.expect_code(2);
    agent.db.rows("DROP SCHEMA portail CASCADE").await;
    let lost = agent.restore(&agent.aside("lost"), &["--at", &then]).await.expect_code(1);
    lost.expect_words(&["find the versions of that time: the catalog is empty"]);
}

#[tokio::test]
async fn where_the_history_was_dropped_what_can_be_told_is_and_what_cannot_is_named() {
    let Some(agent) = with_versions().await else { return };
    for name in ["changed", "deleted", "same", "touched", "zz last"] {
        agent.write(name, format!("{name} 1"));
    }
    agent.synced().await;
    let then = moment(&agent).await;
    agent.write("changed", "changed 2, longer");
    agent.write("new", "new 2");
    agent.remove("deleted");
    set_mtime(&agent.path("touched"), SystemTime::UNIX_EPOCH);
    agent.synced().await;
    // As if the month of the first pass were over.
    agent.db.rows(&format!("DELETE FROM portail.event WHERE at <= '{then}'")).await;
    let to = agent.aside("back");
    let outcome = agent.restore(&to, &["--at", &then]).await.expect_code(1);
    let failures = outcome.not_restored();
    assert_eq!(failures.keys().collect::<Vec<_>>(), ["changed"]);
    assert!(failures["changed"].contains("agent.history_retention"), "{failures:?}");
    assert_eq!(files(&to).into_keys().collect::<Vec<_>>(), ["deleted", "same", "touched", "zz last"]);
}

#[tokio::test]
async fn an_object_that_somebody_has_replaced_or_deleted_is_brought_back_by_its_version() {
    let Some(agent) = with_versions().await else { return };
    for name in ["deleted", "replaced", "sound"] {
        agent.write(name, name);
    }
    agent.synced().await;
    agent.s3.put(&agent.bucket, "replaced", "by somebody").await;
    agent.s3.sdk().delete_object().bucket(&agent.bucket).key("deleted").send().await.unwrap();
    let to = agent.aside("back");
    let outcome = agent.restore(&to, &[]).await.expect_code(0);
    assert_eq!(outcome.count("restored"), 3);
    crate::common::agent::assert_same_files(&agent.root, &to);
}

#[tokio::test]
async fn without_versions_an_object_that_somebody_has_replaced_or_deleted_is_named() {
    let agent = Agent::start().await;
    for name in ["deleted", "replaced", "sound"] {
        agent.write(name, name);
    }
    agent.synced().await;
    agent.s3.put(&agent.bucket, "replaced", "by somebody").await;
    agent.s3.sdk().delete_object().bucket(&agent.bucket).key("deleted").send().await.unwrap();
    let to = agent.aside("back");
    let outcome = agent.restore(&to, &[]).await.expect_code(1);
    let failures = outcome.not_restored();
    assert!(failures["replaced"].contains("--from-bucket"), "{failures:?}");
    assert!(failures["deleted"].contains("it is gone"), "{failures:?}");
    assert_eq!(files(&to).into_keys().collect::<Vec<_>>(), ["sound"]);
    let outcome = agent.restore(&to, &["--from-bucket"]).await.expect_code(0);
    assert_eq!((outcome.count("restored"), fs::read(to.join("replaced")).unwrap()), (1, b"by somebody".to_vec()));
}

#[tokio::test]
async fn what_a_store_gives_for_a_version_without_saying_so_must_have_the_content() {
    let Some(agent) = with_versions().await else { return };
    for name in ["longer", "other", "replaced", "same"] {
        agent.write(name, name);
    }
    agent.synced().await;
    let then = moment(&agent).await;
    agent.s3.put(&agent.bucket, "replaced", "by another").await;
    agent.s3.script(|request| {
        let body = match (request.operation, request.path.rsplit('/').next()?) {
            _ if !request.query.contains("versionId=") => return None,
            ("GetObject", "longer") => "longer and longer",
            ("GetObject", "other" | "replaced") => "OTHER",
            ("GetObject", name) => name,
            _ => return None,
        };
        let headers = vec![("etag", "\"e\"".to_owned())];
        Some(Reply::Answer { status: 200, headers, body: body.to_owned() })
    });
    let to = agent.aside("back");
    let outcome = agent.restore(&to, &["--at", &then]).await.expect_code(1);
    let failures = outcome.not_restored();
    assert_eq!(failures.keys().collect::<Vec<_>>(), ["longer", "other", "replaced"]);
    assert!(failures.values().all(|why| why.contains("the store does not have that version any more")), "{failures:?}");
    assert_eq!(files(&to).into_keys().collect::<Vec<_>>(), ["same"]);
    // Without a time, the version is only a way out, and what is said is what has led to it.
    let outcome = agent.restore(&agent.aside("now"), &[]).await.expect_code(1);
    assert!(outcome.not_restored()["replaced"].contains("--from-bucket"), "{}", outcome.stdout);
    assert_eq!(outcome.count("restored"), 3);
}
