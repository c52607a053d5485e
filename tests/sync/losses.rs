//! The catalog is lost or restored from an old backup, or somebody empties the bucket: nothing is deleted, and all is the same again.

use crate::common::agent::{Agent, noise};

/// With files of all kinds, in sync. The large one is an object in parts.
async fn synced() -> Agent {
    let mut agent = Agent::start().await;
    agent.sync = "part_size = \"5MiB\"".to_owned();
    for name in ["a", "changed", "dir/b", "dir/c", "gone", "renamed", "é"] {
        agent.write(name, name);
    }
    agent.write("large", noise(1, 12 << 20));
    agent.synced().await;
    agent
}

impl Agent {
    fn asks_for_deletions(&self) -> u64 {
        self.s3.count("DeleteObject") + self.s3.count("DeleteObjects")
    }
}

#[tokio::test]
async fn after_the_catalog_is_lost_what_is_the_same_is_adopted_and_nothing_deleted() {
    let agent = synced().await;
    agent.db.rows("DROP SCHEMA portail CASCADE").await;
    // What happens meanwhile nobody writes down.
    agent.remove("gone");
    agent.write("changed", "CHANGED");
    agent.write("new", "new");
    std::fs::rename(agent.path("renamed"), agent.path("dir/renamed")).unwrap();
    agent.s3.reset_counts();
    let pass = agent.synced().await;
    assert_eq!((pass.done("adopted"), pass.done("uploaded"), pass.done("deleted")), (5, 3, 0), "{}", pass.stdout);
    assert_eq!((pass.number("foreign"), agent.asks_for_deletions()), (2, 0), "what has no row is nobody's");
    assert_eq!(agent.s3.count("CreateMultipartUpload"), 0, "the large one is known by its ETag");
    let keys = agent.s3.keys(&agent.bucket).await;
    assert!(keys.contains(&"gone".to_owned()) && keys.contains(&"renamed".to_owned()), "{keys:?}");
    agent.s3.reset_counts();
    agent.synced().await;
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
    let difference = agent.difference_but_for(false, &|_| false, &|key| ["gone", "renamed"].contains(&key)).await;
    assert_eq!(difference, None);
}

#[tokio::test]
async fn after_the_catalog_is_restored_from_an_old_backup_all_is_the_same_again() {
    let agent = synced().await;
    agent.db.rows("CREATE TABLE backup AS TABLE portail.file").await;
    agent.remove("gone");
    agent.write("changed", "CHANGED");
    agent.write("new", "new");
    agent.write("large", noise(2, 12 << 20));
    std::fs::rename(agent.path("renamed"), agent.path("dir/renamed")).unwrap();
    agent.synced().await;
    agent.assert_in_sync().await;
    agent.db.rows("DELETE FROM portail.file").await;
    agent.db.rows("INSERT INTO portail.file OVERRIDING SYSTEM VALUE TABLE backup").await;
    agent.s3.reset_counts();
    let pass = agent.synced().await;
    // Those that have long gone are deleted once more, which hurts nobody.
    assert_eq!((pass.done("deleted"), pass.number("held")), (2, 0), "{}", pass.stdout);
    assert_eq!(pass.done("adopted"), 2, "{}", pass.stdout);
    agent.assert_same_content().await;
    agent.s3.reset_counts();
    agent.synced().await;
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
}

/// A file that is there again, after the backup had been made in which it was not.
#[tokio::test]
async fn a_backup_from_before_most_files_holds_back_no_more_than_a_lost_catalog() {
    let agent = synced().await;
    agent.db.rows("CREATE TABLE backup AS SELECT * FROM portail.file WHERE path = 'gone'").await;
    agent.remove("gone");
    agent.synced().await;
    agent.db.rows("DELETE FROM portail.file").await;
    agent.db.rows("INSERT INTO portail.file OVERRIDING SYSTEM VALUE TABLE backup").await;
    let pass = agent.synced().await;
    assert_eq!((pass.done("adopted"), pass.done("uploaded"), pass.number("held")), (7, 0, 0), "{}", pass.stdout);
    agent.assert_same_content().await;
}

#[tokio::test]
async fn a_bucket_that_somebody_has_emptied_is_filled_again_and_no_row_or_file_is_lost() {
    let agent = synced().await;
    let rows = agent.db.column("SELECT id || path FROM portail.file ORDER BY id").await;
    for key in agent.s3.keys(&agent.bucket).await {
        agent.s3.sdk().delete_object().bucket(&agent.bucket).key(key).send().await.unwrap();
    }
    agent.s3.reset_counts();
    let pass = agent.synced().await;
    assert_eq!((pass.done("uploaded"), pass.number("drift"), pass.done("deleted")), (8, 8, 0), "{}", pass.stdout);
    assert_eq!(agent.asks_for_deletions(), 0);
    assert_eq!(agent.db.column("SELECT id || path FROM portail.file ORDER BY id").await, rows);
    agent.assert_in_sync().await;
}
