//! A folder that is not the one that was synced: another disk, an empty mount point, a restore.

use std::fs;

use crate::common::agent::{Agent, copy_tree};

async fn synced(count: usize) -> Agent {
    let agent = Agent::start().await;
    for i in 0..count {
        agent.write(format!("{i}"), format!("content {i}"));
    }
    agent.synced().await;
    agent
}

impl Agent {
    /// Puts the folder aside, as an unmount does, and an empty one in its place.
    fn unmount(&self) {
        fs::rename(&self.root, self.home.path().join("aside")).unwrap();
        fs::create_dir(&self.root).unwrap();
    }
}

#[tokio::test]
async fn an_unmounted_folder_deletes_nothing_and_is_itself_again_afterwards() {
    let agent = synced(6).await;
    agent.unmount();
    assert_eq!(agent.troubled().await.number("held"), 6);
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 6);
    fs::remove_dir(&agent.root).unwrap();
    fs::rename(agent.home.path().join("aside"), &agent.root).unwrap();
    agent.s3.reset_counts();
    assert_eq!(agent.synced().await.number("held"), 0);
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn another_folder_in_its_place_uploads_and_deletes_nothing() {
    let agent = synced(6).await;
    agent.unmount();
    agent.write("0", "content 0, and more");
    agent.write("other", "other");
    let text = agent.sync_text(1).await;
    assert!(text.contains("HELD: 5 deletions") && text.contains("not the one that was synced"), "{text}");
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["0", "1", "2", "3", "4", "5", "other"]);
    // Not even one, though that is under the threshold.
    agent.write("1", "content 1");
    assert_eq!(agent.troubled().await.number("held"), 4);
    agent.run(&["deletes", "approve", "--folder", "files", "--identity"]).await.expect_code(0);
    assert_eq!(agent.synced().await.done("deleted"), 4, "a person has said that this is the folder now");
    agent.assert_same_content().await;
}

#[tokio::test]
async fn a_restored_copy_is_accepted_by_its_content() {
    let agent = synced(6).await;
    fs::rename(&agent.root, agent.home.path().join("aside")).unwrap();
    copy_tree(&agent.home.path().join("aside"), &agent.root);
    agent.remove("5");
    agent.s3.reset_counts();
    let pass = agent.synced().await;
    assert_eq!((pass.done("touched"), pass.done("deleted")), (5, 1));
    assert_eq!(agent.s3.count("PutObject"), 0);
    agent.assert_in_sync().await;
    agent.synced().await;
}

#[tokio::test]
async fn a_restore_of_less_than_half_is_not_accepted() {
    let agent = synced(6).await;
    fs::rename(&agent.root, agent.home.path().join("aside")).unwrap();
    copy_tree(&agent.home.path().join("aside"), &agent.root);
    for gone in ["2", "3", "4", "5"] {
        agent.remove(gone);
    }
    let pass = agent.troubled().await;
    assert_eq!((pass.number("held"), pass.done("deleted")), (4, 0));
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 6);
}

#[tokio::test]
async fn an_accepted_identity_still_counts_its_deletes_against_the_threshold() {
    let mut agent = synced(6).await;
    agent.folder = "max_delete = \"0%\"\nmax_delete_count = 1".to_owned();
    agent.unmount();
    agent.write("0", "content 0");
    agent.troubled().await;
    agent.run(&["deletes", "approve", "--folder", "files", "--identity"]).await.expect_code(0);
    let text = agent.sync_text(1).await;
    assert!(text.contains("HELD: 5 deletions") && text.contains("exceed max_delete"), "{text}");
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 6);
}
