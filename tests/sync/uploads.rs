//! Uploads in parts that a crash has cut short.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, kill_process};

use crate::agents::pid;
use crate::common::agent::{Agent, finish, noise, until};
use crate::common::s3::Reply;

const MIB: usize = 1 << 20;

async fn with_small_parts() -> Agent {
    let mut agent = Agent::start().await;
    agent.sync = "part_size = \"5MiB\"".to_owned();
    agent
}

/// The ids of the uploads at a key that the store has and that are not ended.
async fn unfinished(agent: &Agent, key: &str) -> Vec<String> {
    let answer = agent.s3.sdk().list_multipart_uploads().bucket(&agent.bucket).send().await.unwrap();
    let here = answer.uploads().iter().filter(|upload| upload.key() == Some(key));
    here.map(|upload| upload.upload_id().unwrap().to_owned()).collect()
}

async fn begin_upload(agent: &Agent, key: &str) -> String {
    let answer = agent.s3.sdk().create_multipart_upload().bucket(&agent.bucket).key(key).send().await.unwrap();
    answer.upload_id().unwrap().to_owned()
}

/// Kills a pass over `large` when this many of its parts have arrived.
async fn crash_after(agent: &Agent, parts: u64) {
    let sent = Arc::new(AtomicU64::new(0));
    agent.s3.script(move |seen| {
        let is_later = seen.operation == "UploadPart" && sent.fetch_add(1, Ordering::SeqCst) >= parts;
        is_later.then_some(Reply::Hang)
    });
    let child = agent.command(&["sync"]).spawn().unwrap();
    let arrived = async || {
        let Some(id) = unfinished(agent, "large").await.pop() else { return false };
        let listed = agent.s3.sdk().list_parts().bucket(&agent.bucket).key("large").upload_id(id).send().await;
        listed.unwrap().parts().len() as u64 == parts
    };
    until("the first parts have arrived", arrived).await;
    kill_process(pid(&child), Signal::KILL).unwrap();
    assert_eq!(finish(child).await.code, None);
    agent.s3.clear_scripts();
    agent.s3.reset_counts();
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.upload").await, 1);
}

async fn assert_nothing_is_left(agent: &Agent) {
    agent.assert_in_sync().await;
    assert_eq!(unfinished(agent, "large").await, [""; 0]);
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.upload").await, 0);
}

#[tokio::test]
async fn an_upload_that_a_crash_cut_short_goes_on_where_it_was() {
    let agent = with_small_parts().await;
    agent.write("large", noise(1, 38 * MIB));
    crash_after(&agent, 3).await;
    agent.synced().await;
    assert_eq!(agent.s3.count("UploadPart"), 8 - 3, "what has arrived is not sent again");
    assert_eq!(agent.s3.count("CreateMultipartUpload"), 0);
    assert_nothing_is_left(&agent).await;
}

#[tokio::test]
async fn an_upload_of_what_has_changed_since_is_thrown_away() {
    let agent = with_small_parts().await;
    agent.write("large", noise(1, 38 * MIB));
    crash_after(&agent, 2).await;
    agent.write("large", noise(2, 38 * MIB));
    agent.synced().await;
    assert_eq!((agent.s3.count("CreateMultipartUpload"), agent.s3.count("UploadPart")), (1, 8));
    assert_nothing_is_left(&agent).await;
}

#[tokio::test]
async fn an_upload_whose_file_is_gone_or_small_is_swept_away_and_no_other() {
    for now in [None, Some("small by now")] {
        let agent = with_small_parts().await;
        agent.write("large", noise(1, 38 * MIB));
        agent.write("other", "other");
        crash_after(&agent, 2).await;
        let strangers = [begin_upload(&agent, "large2").await, begin_upload(&agent, "other").await];
        match now {
            None => agent.remove("large"),
            Some(text) => agent.write("large", text),
        }
        agent.synced().await;
        assert_nothing_is_left(&agent).await;
        assert_eq!(unfinished(&agent, "large2").await, [strangers[0].as_str()], "nobody of ours has begun it");
        assert_eq!(unfinished(&agent, "other").await, [strangers[1].as_str()], "nobody of ours has begun it");
    }
}

#[tokio::test]
async fn an_upload_whose_id_was_never_heard_of_is_found_by_its_key() {
    let agent = with_small_parts().await;
    agent.write("large", noise(1, 11 * MIB));
    // The store has begun the upload, and its answer does not arrive before the crash.
    agent.s3.script(|seen| (seen.operation == "CreateMultipartUpload").then_some(Reply::Lost));
    let child = agent.command(&["sync"]).spawn().unwrap();
    until("it was begun", async || !unfinished(&agent, "large").await.is_empty()).await;
    kill_process(pid(&child), Signal::KILL).unwrap();
    finish(child).await;
    agent.s3.clear_scripts();
    assert_eq!(agent.db.column("SELECT upload_id FROM portail.upload").await, ["NULL"]);
    agent.synced().await;
    assert_nothing_is_left(&agent).await;
}

#[tokio::test]
async fn an_upload_whose_beginning_was_not_answered_is_begun_once_more_and_leaves_nothing() {
    for reply in [Reply::Lost, Reply::Masked, Reply::Disconnect] {
        let agent = with_small_parts().await;
        agent.write("large", noise(1, 11 * MIB));
        agent.s3.reply_next("CreateMultipartUpload", 2, reply);
        agent.synced().await;
        assert_eq!(agent.s3.count("CreateMultipartUpload"), 3);
        assert_nothing_is_left(&agent).await;
    }
}

#[tokio::test]
async fn an_upload_that_was_completed_right_before_the_crash_is_not_sent_again() {
    let agent = with_small_parts().await;
    agent.write("large", noise(1, 11 * MIB));
    agent.synced().await;
    agent.write("large", noise(2, 11 * MIB));
    // The new object is there when the program dies, and the row still tells of the old one.
    let before = agent.db.rows("SELECT size, encode(md5, 'hex'), etag, mtime_ns FROM portail.file").await.remove(0);
    agent.synced().await;
    agent
        .db
        .rows(&format!(
            "INSERT INTO portail.upload (folder_id, path, key, upload_id, size, md5, part_size)
                 SELECT folder_id, path, key, '{}', size, md5, 5 << 20 FROM portail.file;
             UPDATE portail.file SET size = {}, md5 = decode('{}', 'hex'), etag = '{}', mtime_ns = {}",
            "an id that has been completed", before[0], before[1], before[2], before[3]
        ))
        .await;
    agent.s3.reset_counts();
    agent.synced().await;
    assert_eq!((agent.s3.count("CreateMultipartUpload"), agent.s3.count("UploadPart")), (0, 0));
    assert_nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_failed_upload_leaves_neither_parts_nor_a_note() {
    let agent = with_small_parts().await;
    agent.write("large", noise(1, 11 * MIB));
    agent.s3.script(|seen| {
        let refused = seen.operation == "UploadPart" && seen.query.contains("partNumber=2");
        refused.then(|| Reply::Answer {
            status: 400,
            headers: Vec::new(),
            body: crate::common::s3::error_body("InvalidRequest"),
        })
    });
    agent.troubled().await;
    assert_eq!(unfinished(&agent, "large").await, [""; 0]);
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.upload").await, 0);
    agent.s3.clear_scripts();
    agent.synced().await;
    assert_nothing_is_left(&agent).await;
}
