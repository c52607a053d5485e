//! A file under a new name is copied inside the store.

use std::fs;

use crate::common::agent::{Agent, noise};
use crate::common::s3::error_body;

#[tokio::test]
async fn a_renamed_file_is_copied_and_the_old_object_goes() {
    let agent = Agent::start().await;
    agent.write("old name, +é.txt", "content");
    agent.synced().await;
    agent.s3.reset_counts();
    fs::rename(agent.path("old name, +é.txt"), agent.path("new.html")).unwrap();
    let pass = agent.synced().await;
    assert_eq!((pass.done("copied"), pass.done("deleted"), pass.number("bytes_sent")), (1, 1, 0));
    assert_eq!(agent.s3.counts(), [("CopyObject", 1), ("DeleteObject", 1), ("ListObjectsV2", 1)].into());
    agent.assert_in_sync().await;
    assert_eq!(agent.s3.object(&agent.bucket, "new.html").await.unwrap().content_type, "text/html");
    let event = "SELECT kind, detail FROM portail.event WHERE path = 'new.html'";
    assert_eq!(agent.db.rows(event).await, [["copied", "old name, +é.txt"]]);
}

#[tokio::test]
async fn a_renamed_directory_is_copied_whole_and_never_held() {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"0%\"\nmax_delete_count = 0".to_owned();
    for i in 0..40 {
        agent.write(format!("old/{}/{i}", i % 3), format!("content {i}"));
    }
    agent.synced().await;
    agent.s3.reset_counts();
    fs::rename(agent.path("old"), agent.path("new")).unwrap();
    let pass = agent.synced().await;
    assert_eq!((pass.done("copied"), pass.done("deleted"), pass.number("held")), (40, 40, 0));
    assert_eq!(agent.s3.count("PutObject"), 0);
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_hard_link_is_copied_and_both_stay() {
    let agent = Agent::start().await;
    agent.write("a", "content");
    agent.synced().await;
    agent.s3.reset_counts();
    fs::hard_link(agent.path("a"), agent.path("b")).unwrap();
    let pass = agent.synced().await;
    assert_eq!((pass.done("copied"), pass.done("touched")), (1, 1), "the link moves the ctime of both names");
    assert_eq!(agent.s3.count("PutObject"), 0);
    agent.assert_in_sync().await;
    agent.remove("a");
    assert_eq!(agent.synced().await.done("deleted"), 1);
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_large_renamed_file_keeps_a_digest_that_others_can_read() {
    let mut agent = Agent::start().await;
    agent.sync = "part_size = \"5MiB\"".to_owned();
    agent.write("old", noise(1, 11 << 20));
    agent.synced().await;
    let before = agent.s3.object(&agent.bucket, "old").await.unwrap().metadata["md5chksum"].clone();
    fs::rename(agent.path("old"), agent.path("new")).unwrap();
    assert_eq!(agent.synced().await.done("copied"), 1);
    assert_eq!(agent.s3.object(&agent.bucket, "new").await.unwrap().metadata["md5chksum"], before);
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_renamed_and_rewritten_file_is_uploaded() {
    let agent = Agent::start().await;
    agent.write("a", "before");
    agent.synced().await;
    agent.s3.reset_counts();
    fs::rename(agent.path("a"), agent.path("b")).unwrap();
    agent.write("b", "after!");
    let pass = agent.synced().await;
    assert_eq!((pass.done("uploaded"), pass.done("copied")), (1, 0));
    assert_eq!(agent.s3.count("CopyObject"), 0);
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn where_the_store_refuses_to_copy_the_file_is_uploaded() {
    let agent = Agent::start().await;
    agent.write("a", "content");
    agent.synced().await;
    agent.s3.fail_next("CopyObject", 1, 403, &error_body("AccessDenied"));
    fs::rename(agent.path("a"), agent.path("b")).unwrap();
    let pass = agent.synced().await;
    assert_eq!((pass.done("uploaded"), pass.done("deleted")), (1, 1));
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_copy_of_an_object_that_somebody_overwrote_is_not_made() {
    let agent = Agent::start().await;
    agent.write("a", "content");
    agent.synced().await;
    agent.s3.put(&agent.bucket, "a", "CONTENT").await;
    fs::rename(agent.path("a"), agent.path("b")).unwrap();
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn names_that_change_places_converge() {
    let agent = Agent::start().await;
    agent.write("a", "content of a");
    agent.write("b", "content of b");
    agent.synced().await;
    fs::rename(agent.path("a"), agent.path("t")).unwrap();
    fs::rename(agent.path("b"), agent.path("a")).unwrap();
    fs::rename(agent.path("t"), agent.path("b")).unwrap();
    agent.synced().await;
    agent.assert_in_sync().await;
}
