//! A bucket that another tool has filled is taken over without sending a byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use crate::common::agent::{Agent, noise};
use crate::common::s3::TestS3;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn objects_with_the_same_bytes_are_adopted_without_a_put() {
    let agent = Agent::start().await;
    for name in ["a", "b/c", "empty"] {
        let bytes = if name == "empty" { "" } else { name };
        agent.write(name, bytes);
        agent.s3.put(&agent.bucket, name, bytes).await;
    }
    let pass = agent.synced().await;
    assert_eq!(pass.done("adopted"), 3);
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
    agent.assert_same_content().await;
    assert_eq!(agent.db.events("a").await, ["adopted"]);
}

#[tokio::test]
async fn objects_with_other_bytes_are_overwritten() {
    let agent = Agent::start().await;
    agent.write("same-size", "ours");
    agent.s3.put(&agent.bucket, "same-size", "them").await;
    agent.write("other-size", "ours");
    agent.s3.put(&agent.bucket, "other-size", "theirs").await;
    let pass = agent.synced().await;
    assert_eq!((pass.done("uploaded"), pass.done("adopted")), (2, 0));
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn multipart_objects_of_the_usual_part_sizes_are_adopted_by_their_etag() {
    let agent = Agent::start().await;
    for (seed, part, length) in [(1, 5, 11 * MIB + 7), (2, 8, 20 * MIB), (3, 8, 9 * MIB)] {
        let name = format!("parts-of-{part}-{seed}");
        let bytes = noise(seed, length);
        agent.write(&name, &bytes);
        put_parts(&agent.s3, &agent.bucket, &name, &bytes, part * MIB, None).await;
    }
    assert_eq!(agent.synced().await.done("adopted"), 3);
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
    agent.assert_same_content().await;
    agent.s3.reset_counts();
    agent.synced().await;
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
}

#[tokio::test]
async fn an_object_in_unusual_parts_is_adopted_if_its_metadata_has_the_md5() {
    let agent = Agent::start().await;
    let (told, lied, untold) = (noise(1, 13 * MIB), noise(2, 13 * MIB), noise(3, 13 * MIB));
    let note = |bytes: &[u8]| Some(STANDARD.encode(Md5::digest(bytes)));
    for (name, bytes, noted) in
        [("told", &told, note(&told)), ("lied", &lied, note(b"another")), ("untold", &untold, None)]
    {
        agent.write(name, bytes);
        put_parts(&agent.s3, &agent.bucket, name, bytes, 6 * MIB, noted).await;
    }
    let pass = agent.synced().await;
    assert_eq!((pass.done("adopted"), pass.done("uploaded")), (1, 2));
    assert_eq!(agent.s3.count("HeadObject"), 3);
    assert_eq!(agent.db.events("told").await, ["adopted"]);
    agent.assert_same_content().await;
}

/// As a tool uploads a large object.
async fn put_parts(s3: &TestS3, bucket: &str, key: &str, bytes: &[u8], part_size: usize, md5chksum: Option<String>) {
    let sdk = s3.sdk();
    let begin = sdk.create_multipart_upload().bucket(bucket).key(key);
    let begin = match md5chksum {
        Some(md5) => begin.metadata("md5chksum", md5),
        None => begin,
    };
    let id = begin.send().await.unwrap().upload_id().unwrap().to_owned();
    let mut parts = Vec::new();
    for (number, part) in (1..).zip(bytes.chunks(part_size)) {
        let body = ByteStream::from(part.to_vec());
        let upload = sdk.upload_part().bucket(bucket).key(key).upload_id(&id).part_number(number).body(body);
        let etag = upload.send().await.unwrap().e_tag().unwrap().to_owned();
        parts.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = sdk.complete_multipart_upload().bucket(bucket).key(key).upload_id(&id).multipart_upload(parts);
    complete.send().await.unwrap();
}
