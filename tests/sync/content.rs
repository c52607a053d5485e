//! What is uploaded is what the file held, at one instant.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::common::agent::{Agent, noise};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn sizes_around_every_boundary_arrive_whole() {
    let mut agent = Agent::start().await;
    agent.sync = "part_size = \"5MiB\"".to_owned();
    let part = 5 * MIB;
    let sizes = [0, 1, 65_535, 65_536, 65_537, MIB, part - 1, part, part + 1, 2 * part, 2 * part + 1];
    for (seed, size) in sizes.into_iter().enumerate() {
        agent.write(format!("{size:09}"), noise(seed as u64, size));
    }
    agent.synced().await;
    agent.assert_in_sync().await;
    assert_eq!(agent.s3.count("CreateMultipartUpload"), 3, "what fits in a part goes in one request");
    assert_eq!(agent.s3.count("UploadPart"), 2 + 2 + 3);
    let large = agent.s3.object(&agent.bucket, &format!("{:09}", part + 1)).await.unwrap();
    assert!(large.etag.ends_with("-2") && large.metadata.contains_key("md5chksum"), "{:?}", large.metadata);
    agent.s3.reset_counts();
    agent.synced().await;
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
}

#[tokio::test]
async fn a_file_that_never_rests_is_never_uploaded_torn() {
    for size in [2 * MIB, 12 * MIB] {
        let mut agent = Agent::start().await;
        agent.sync = "part_size = \"5MiB\"".to_owned();
        agent.write("restless", vec![b'a'; size]);
        agent.write("calm", "calm");
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let writer = {
            let (stop, rounds, path) = (Arc::clone(&stop), Arc::clone(&rounds), agent.path("restless"));
            std::thread::spawn(move || {
                let file = File::options().write(true).open(path).unwrap();
                for letter in (b'a'..=b'z').cycle() {
                    file.write_all_at(&vec![letter; size], 0).unwrap();
                    rounds.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            })
        };
        let pass = agent.sync(&[]).await;
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        assert!(rounds.load(Ordering::Relaxed) > 10, "the writer had its turns");
        match agent.s3.object(&agent.bucket, "restless").await {
            Some(object) => {
                assert_eq!(object.bytes.len(), size);
                assert_eq!(object.bytes.iter().collect::<BTreeSet<_>>().len(), 1, "one instant, so one letter");
            }
            None => assert!(pass.failures()["restless"].contains("changed"), "{:?}", pass.failures()),
        }
        assert!(agent.s3.object(&agent.bucket, "calm").await.is_some());
        assert_eq!(agent.s3.unfinished_uploads(&agent.bucket).await, 0);
        agent.synced().await;
        agent.assert_in_sync().await;
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_at_once_is_one_or_the_other() {
    let agent = Agent::start().await;
    agent.write("x", vec![b'0'; 100_000]);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, path, fresh) = (Arc::clone(&stop), agent.path("x"), agent.home.path().join("fresh"));
        std::thread::spawn(move || {
            // No content comes twice: one that S3 has already would be a touch, which leaves the object's stamps as they are.
            for round in 0.. {
                fs::write(&fresh, vec![b'0' + (round % 10) as u8; 100_000 + round]).unwrap();
                fs::rename(&fresh, &path).unwrap();
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        })
    };
    agent.sync(&[]).await;
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    if let Some(object) = agent.s3.object(&agent.bucket, "x").await {
        assert_eq!(object.bytes.iter().collect::<BTreeSet<_>>().len(), 1, "one file, whole");
    }
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_large_file_that_changes_during_its_upload_is_thrown_away_and_tried_again() {
    let mut agent = Agent::start().await;
    agent.sync = "part_size = \"5MiB\"".to_owned();
    agent.write("large", noise(1, 11 * MIB));
    let path = agent.path("large");
    let mut once = true;
    agent.s3.script(move |seen| {
        if seen.operation == "UploadPart" && std::mem::take(&mut once) {
            File::options().write(true).open(&path).unwrap().write_all_at(b"changed", 0).unwrap();
        }
        None
    });
    assert_eq!(agent.synced().await.done("uploaded"), 1);
    agent.assert_in_sync().await;
    assert_eq!(agent.s3.count("CreateMultipartUpload"), 2);
    assert_eq!(agent.s3.count("CompleteMultipartUpload"), 1, "the first never became visible");
    assert_eq!(agent.s3.unfinished_uploads(&agent.bucket).await, 0);
}
