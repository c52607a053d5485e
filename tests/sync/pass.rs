//! A pass over files that come, stay, change and go.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::common::agent::{Agent, set_mtime, until};

#[tokio::test]
async fn a_cold_pass_mirrors_and_records_every_file() {
    let agent = Agent::start().await;
    agent.write("a.txt", "hello");
    agent.write("deep/er/still/b.html", "<p>");
    agent.write("empty", "");
    fs::create_dir_all(agent.path("no/files/here")).unwrap();
    set_mtime(&agent.path("a.txt"), SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789));
    let pass = agent.synced().await;
    assert_eq!((pass.done("uploaded"), pass.number("bytes_sent")), (3, 8));
    assert_eq!(pass.number("empty_folders"), 1, "only the innermost has no entry at all");
    agent.assert_in_sync().await;
    let object = agent.s3.object(&agent.bucket, "deep/er/still/b.html").await.unwrap();
    assert_eq!(object.content_type, "text/html");
    assert_eq!(agent.db.events("a.txt").await, ["uploaded"]);
    let row = "SELECT modified_at = '2009-02-13 23:31:30.123456+00', synced_at > now() - interval '1 minute', attempts
               FROM portail.file WHERE path = 'a.txt'";
    assert_eq!(agent.db.rows(row).await, [["t", "t", "0"]]);
    let folder = "SELECT agent, name, state, state_reason, last_reconciled_at IS NOT NULL FROM portail.folder";
    assert_eq!(agent.db.rows(folder).await, [["agent-1", "files", "in_sync", "NULL", "t"]]);
}

#[tokio::test]
async fn an_in_sync_pass_lists_a_thousand_objects_a_request_and_asks_nothing_else() {
    let agent = Agent::start().await;
    for i in 0..2001 {
        agent.write(format!("d{}/{i}", i % 7), "x");
    }
    agent.synced().await;
    agent.s3.reset_counts();
    let pass = agent.synced().await;
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 3)].into());
    assert_eq!(pass.json["s3_requests"]["ListObjectsV2"], 3);
    assert_eq!(pass.folder()["done"], serde_json::json!({}));
    assert_eq!(pass.number("checked"), 2001);
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.event").await, 2001, "nothing happened twice");
}

#[tokio::test]
async fn a_change_with_equal_size_and_mtime_is_found_by_the_ctime() {
    let agent = Agent::start().await;
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    for name in ["changed", "same"] {
        agent.write(name, "before");
        set_mtime(&agent.path(name), long_ago);
    }
    agent.synced().await;
    agent.s3.reset_counts();
    agent.write("changed", "after!");
    set_mtime(&agent.path("changed"), long_ago);
    assert_eq!(agent.synced().await.done("uploaded"), 1);
    assert_eq!(agent.s3.count("PutObject"), 1);
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_touch_sends_nothing_and_moves_the_row() {
    let agent = Agent::start().await;
    agent.write("a", "content");
    agent.synced().await;
    agent.s3.reset_counts();
    set_mtime(&agent.path("a"), SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000));
    let pass = agent.synced().await;
    assert_eq!((pass.done("touched"), agent.s3.counts()), (1, [("ListObjectsV2", 1)].into()));
    agent.assert_same_content().await;
    assert_eq!(agent.db.events("a").await, ["uploaded", "touched"]);
    let pass = agent.synced().await;
    assert_eq!(pass.done("touched"), 0, "a touch is seen once");
}

#[tokio::test]
async fn a_change_of_mode_moves_the_row_too() {
    use std::os::unix::fs::PermissionsExt as _;
    let agent = Agent::start().await;
    agent.write("a", "content");
    agent.synced().await;
    fs::set_permissions(agent.path("a"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(agent.synced().await.done("touched"), 1);
    agent.assert_same_content().await;
}

#[tokio::test]
async fn stamps_of_long_ago_and_of_the_future_are_stamps_like_others() {
    use std::time::{Duration, UNIX_EPOCH};
    let agent = Agent::start().await;
    let stamps = [
        ("moon", UNIX_EPOCH - Duration::from_millis(14_182_940_500), "-14182940.500000000"),
        ("first", UNIX_EPOCH, "0.000000000"),
        ("tomorrow", UNIX_EPOCH + Duration::from_secs(4_102_444_800), "4102444800.000000000"),
    ];
    let stamp = |name: &str, time| {
        std::fs::File::options().write(true).open(agent.path(name)).unwrap().set_modified(time).unwrap();
    };
    for (name, time, _) in stamps {
        agent.write(name, name);
        stamp(name, time);
    }
    assert_eq!(agent.synced().await.done("uploaded"), 3);
    for (name, time, text) in stamps {
        let object = agent.s3.object(&agent.bucket, name).await.unwrap();
        assert_eq!(object.metadata["mtime"], text, "{name}");
        let row = format!("SELECT modified_at = to_timestamp({text}) FROM portail.file WHERE path = '{name}'");
        assert_eq!(agent.db.value(&row).await, "t", "{name}: {time:?}");
    }
    agent.s3.reset_counts();
    assert_eq!(agent.synced().await.done("uploaded"), 0);
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into(), "and are believed");
    for (name, time, _) in stamps {
        agent.write(name, name.to_uppercase());
        stamp(name, time);
    }
    assert_eq!(agent.synced().await.done("uploaded"), 3, "equal size and mtime hide nothing");
    agent.assert_same_content().await;
}

#[tokio::test]
async fn a_deleted_file_leaves_bucket_and_catalog() {
    let agent = Agent::start().await;
    for name in ["a", "b", "d/c"] {
        agent.write(name, name);
    }
    agent.synced().await;
    agent.remove("a");
    fs::remove_dir_all(agent.path("d")).unwrap();
    assert_eq!(agent.synced().await.done("deleted"), 2);
    agent.assert_in_sync().await;
    assert_eq!(agent.db.events("d/c").await, ["uploaded", "deleted"]);
}

#[tokio::test]
async fn many_deletes_go_a_thousand_a_request() {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"100%\"".to_owned();
    for i in 0..1501 {
        agent.write(format!("d/{i:04}"), "");
    }
    agent.synced().await;
    for i in 0..1500 {
        agent.remove(&format!("d/{i:04}"));
    }
    agent.s3.reset_counts();
    assert_eq!(agent.synced().await.done("deleted"), 1500);
    assert_eq!(agent.s3.counts(), [("DeleteObjects", 2), ("ListObjectsV2", 2)].into());
    agent.assert_in_sync().await;
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.pending_delete").await, 0);
}

#[tokio::test]
async fn a_file_that_becomes_a_directory_and_back_converges() {
    let agent = Agent::start().await;
    for name in ["x", "x-y", "x0", "keep"] {
        agent.write(name, "file");
    }
    agent.synced().await;
    agent.remove("x");
    agent.write("x/y/z", "below");
    agent.synced().await;
    agent.assert_in_sync().await;
    fs::remove_dir_all(agent.path("x")).unwrap();
    agent.write("x", "file again");
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn objects_that_somebody_else_removed_or_overwrote_are_repaired() {
    let agent = Agent::start().await;
    for name in ["gone", "other", "same"] {
        agent.write(name, name);
    }
    agent.synced().await;
    agent.s3.sdk().delete_object().bucket(&agent.bucket).key("gone").send().await.unwrap();
    agent.s3.put(&agent.bucket, "other", "OTHER").await;
    let pass = agent.synced().await;
    assert_eq!((pass.number("drift"), pass.done("uploaded")), (2, 2));
    agent.assert_in_sync().await;
    assert_eq!(agent.synced().await.number("drift"), 0);
}

#[tokio::test]
async fn foreign_objects_are_reported_and_kept() {
    let agent = Agent::start().await;
    agent.write("ours", "ours");
    agent.s3.put(&agent.bucket, "theirs/1", "x").await;
    agent.s3.put(&agent.bucket, "theirs/2", "x").await;
    assert_eq!(agent.synced().await.number("foreign"), 2);
    let text = agent.sync_text(0).await;
    assert!(text.contains("objects that are not ours (kept): 2\n    theirs/1\n"), "{text}");
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["ours", "theirs/1", "theirs/2"]);
    assert_eq!(agent.db.states().await, [("ours".to_owned(), "synced".to_owned())]);
}

#[tokio::test]
async fn a_kept_row_survives_its_file_and_resumes_with_it() {
    let mut agent = Agent::start().await;
    agent.folder = "delete = \"keep\"".to_owned();
    agent.write("a", "a");
    agent.write("b", "b");
    agent.synced().await;
    agent.remove("a");
    let pass = agent.synced().await;
    assert_eq!((pass.done("kept"), pass.done("deleted")), (1, 0));
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["a", "b"]);
    assert_eq!(agent.db.value("SELECT state FROM portail.file WHERE path = 'a'").await, "kept");
    assert_eq!(agent.synced().await.done("kept"), 0, "a kept row stays as it is");
    agent.s3.reset_counts();
    agent.write("a", "a");
    assert_eq!(agent.synced().await.done("touched"), 1);
    assert_eq!(agent.s3.count("PutObject"), 0);
    agent.assert_same_content().await;
}

#[tokio::test]
async fn no_statement_reads_a_table_from_end_to_end_however_it_has_grown() {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"10%\"\nmax_delete_count = 3".to_owned();
    for i in 0..200 {
        agent.write(format!("{}/{i:03}", i % 7), format!("{i}"));
    }
    // The plans are made while the table is empty; nobody analyses it later.
    agent.run(&["migrate"]).await.expect_code(0);
    agent.db.rows("ALTER TABLE portail.file SET (autovacuum_enabled = off)").await;
    agent.synced().await;
    for i in 0..40 {
        agent.write(format!("{}/{i:03}", i % 7), "changed");
        agent.remove(&format!("{}/{:03}", (i + 100) % 7, i + 100));
    }
    std::fs::rename(agent.path("3"), agent.path("9")).unwrap();
    agent.troubled().await;
    agent.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    agent.synced().await;
    agent.assert_in_sync().await;
    // A session tells of its scans when it ends; ours have ended.
    let scans = "SELECT format('%s: %s rows by %s scans', relname, seq_tup_read, seq_scan) FROM pg_stat_user_tables
         WHERE schemaname = 'portail' AND seq_tup_read > 0 AND relname ~ '^(file|event|pending_delete|held_delete|upload)'";
    until("the scans are told", async || {
        agent.db.count("SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'file'").await > 0
    })
    .await;
    assert_eq!(agent.db.column(scans).await, [""; 0]);
}
