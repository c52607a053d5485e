//! The object store, with a real server: see `common::s3`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

mod common;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agent_portail::config::settings::{Encryption, S3Settings};
use agent_portail::memory::Budget;
use agent_portail::model::{Digest, ETag, FileMeta, Fingerprint, ObjectKey, Parts, Retry, Stamp};
use agent_portail::remote::{
    Attributes, Bucket, Client, LargeUpload, Limits, Operation, Patience, RemoteError, Trouble, UploadError, connect,
    connect_with,
};
use bytes::Bytes;
use common::s3::{Reply, TestS3, error_body};
use md5::{Digest as _, Md5};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

const LIMITS: Limits = Limits { workers: 8, bandwidth: None };
const MIB: usize = 1 << 20;

/// Short enough for tests that wait for a limit to pass.
const HASTY: Patience =
    Patience { connect: Duration::from_millis(300), answer: Duration::from_millis(400), attempts: 2 };

async fn client(s3: &TestS3) -> Client {
    connect(&s3.settings(), &LIMITS).await.unwrap()
}

async fn start() -> (TestS3, Bucket) {
    let s3 = TestS3::start().await;
    let bucket = client(&s3).await.bucket(&s3.new_bucket().await);
    (s3, bucket)
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::from_parts("", text)
}

fn md5(bytes: &[u8]) -> Digest {
    Digest(Md5::digest(bytes).into())
}

fn attributes() -> Attributes {
    let fingerprint =
        Fingerprint { size: 0, mtime: Stamp::from_parts(1_700_000_000, 123_456_789), ctime: Stamp(0), inode: 1 };
    let meta = FileMeta { fingerprint, birth: None, mode: 0o100_640, uid: 1000, gid: 1001 };
    Attributes { content_type: "text/plain".to_owned(), meta, md5chksum: None }
}

async fn put(bucket: &Bucket, name: &str, bytes: &[u8]) -> Result<agent_portail::remote::Stored, RemoteError> {
    bucket.put(&key(name), &Bytes::copy_from_slice(bytes).into(), md5(bytes), &attributes()).await
}

/// Bytes that differ everywhere.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

/// All that a large upload is given, with nothing out of the ordinary.
struct Large {
    bytes: Vec<u8>,
    file: Arc<std::fs::File>,
    part_size: u64,
    attributes: Attributes,
    unchanged: bool,
    budget: Budget,
    slots: Semaphore,
    cancel: CancellationToken,
    sent: AtomicU64,
}

impl Large {
    fn new(length: usize, part_size: usize) -> Self {
        let bytes = noise(length);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        Self {
            bytes,
            file: Arc::new(file),
            part_size: part_size as u64,
            attributes: attributes(),
            unchanged: true,
            budget: Budget::default(),
            slots: Semaphore::new(4),
            cancel: CancellationToken::new(),
            sent: AtomicU64::new(0),
        }
    }

    async fn send(&self, bucket: &Bucket, name: &str) -> Result<agent_portail::remote::Stored, UploadError> {
        let parts =
            Parts { size: self.part_size, digests: self.bytes.chunks(self.part_size as usize).map(md5).collect() };
        let upload = LargeUpload {
            file: self.file.clone(),
            size: self.bytes.len() as u64,
            digest: md5(&self.bytes),
            parts: &parts,
            unchanged: &|| Ok(self.unchanged),
            budget: &self.budget,
            slots: &self.slots,
            cancel: &self.cancel,
            progress: &|bytes| {
                self.sent.fetch_add(bytes, Ordering::Relaxed);
            },
        };
        let id = bucket.create_upload(&key(name), &self.attributes, md5(&self.bytes)).await?;
        let sent = bucket.send_upload(&key(name), &id, upload, Vec::new()).await;
        sent.map_err(|failed| {
            assert!(!failed.left, "parts are left in the store");
            failed.error
        })
    }
}

#[tokio::test]
async fn an_object_has_its_bytes_type_and_metadata_and_its_md5_for_an_etag() {
    let (s3, bucket) = start().await;
    let stored = put(&bucket, "dir/hello é+ &<>\".txt", b"hello").await.unwrap();
    let object = s3.object(bucket.name(), "dir/hello é+ &<>\".txt").await.unwrap();
    assert_eq!(object.bytes, b"hello");
    assert_eq!(object.content_type, "text/plain");
    assert_eq!(object.etag, md5(b"hello").to_hex());
    assert_eq!(stored.etag.as_str(), object.etag);
    let metadata = |name: &str| object.metadata.get(name).map(String::as_str);
    assert_eq!(metadata("mtime"), Some("1700000000.123456789"));
    assert_eq!(metadata("mode"), Some("0100640"));
    assert_eq!((metadata("uid"), metadata("gid")), (Some("1000"), Some("1001")));
    assert_eq!(metadata("md5chksum"), None, "the ETag says it already");
    let head = bucket.head(&key("dir/hello é+ &<>\".txt")).await.unwrap().unwrap();
    assert_eq!((head.size, head.etag), (5, stored.etag));
    assert_eq!(bucket.head(&key("nothing")).await.unwrap(), None);
}

#[tokio::test]
async fn an_empty_object_is_an_object() {
    let (s3, bucket) = start().await;
    put(&bucket, "empty", b"").await.unwrap();
    assert_eq!(s3.object(bucket.name(), "empty").await.unwrap().bytes, b"");
}

#[tokio::test]
async fn a_body_that_is_not_what_was_hashed_is_refused_and_leaves_nothing() {
    let (s3, bucket) = start().await;
    let error = bucket.put(&key("x"), &Bytes::from_static(b"damaged").into(), md5(b"intact"), &attributes()).await;
    let error = error.unwrap_err();
    assert_eq!(error.trouble, Trouble::Damaged, "{error:?}");
    assert_eq!(error.retry(), Retry::Later);
    assert_eq!(s3.object(bucket.name(), "x").await, None);
}

#[tokio::test]
async fn a_file_and_what_lies_below_a_directory_of_its_name_are_both_objects() {
    let (s3, bucket) = start().await;
    for name in ["a", "a/b", "a/b/c", "./x/../y", "x//y", "d/"] {
        put(&bucket, name, if name == "d/" { b"" } else { name.as_bytes() }).await.unwrap();
    }
    for name in ["a", "a/b", "a/b/c", "./x/../y", "x//y"] {
        assert_eq!(s3.object(bucket.name(), name).await.unwrap().bytes, name.as_bytes(), "{name}");
    }
    // Garage on LMDB has no room for the 1,024 bytes that S3 allows.
    let longest = if s3.is_embedded() { 1024 } else { 450 };
    put(&bucket, &"longer/".repeat(200)[..longest], b"").await.unwrap();
}

#[tokio::test]
async fn a_request_body_is_signed_unsigned_and_guarded_by_its_md5() {
    let (s3, bucket) = start().await;
    let (sender, seen) = std::sync::mpsc::channel();
    s3.script(move |request| {
        sender.send(request.clone()).unwrap();
        None
    });
    put(&bucket, "x", b"body").await.unwrap();
    let headers = seen.try_recv().unwrap().headers;
    assert_eq!(headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    assert_eq!(headers["content-md5"], "hBotaJrYa9FhFEdFPCLG/A==");
    assert_eq!(headers["content-length"], "4");
    assert!(!headers.keys().any(|name| name.starts_with("x-amz-checksum-")), "{headers:?}");
}

#[tokio::test]
async fn storage_class_and_encryption_are_asked_for_wherever_an_object_begins() {
    let s3 = TestS3::start().await;
    let settings = S3Settings {
        storage_class: Some("STANDARD_IA".to_owned()),
        encryption: Some(Encryption::Kms { key_id: Some("a-key".to_owned()) }),
        ..s3.settings()
    };
    let bucket = connect(&settings, &LIMITS).await.unwrap().bucket("any-bucket");
    let (sender, seen) = std::sync::mpsc::channel();
    s3.script(move |request| {
        sender.send(request.clone()).unwrap();
        Some(Reply::Answer { status: 403, headers: vec![], body: error_body("AccessDenied") })
    });
    put(&bucket, "x", b"body").await.unwrap_err();
    bucket.copy(&key("x"), &ETag::new("e"), &key("y"), &attributes()).await.unwrap_err();
    Large::new(1, 5 * MIB).send(&bucket, "z").await.unwrap_err();
    for operation in ["PutObject", "CopyObject", "CreateMultipartUpload"] {
        let request = seen.try_recv().unwrap();
        assert_eq!(request.operation, operation);
        assert_eq!(request.headers["x-amz-storage-class"], "STANDARD_IA", "{operation}");
        assert_eq!(request.headers["x-amz-server-side-encryption"], "aws:kms", "{operation}");
        assert_eq!(request.headers["x-amz-server-side-encryption-aws-kms-key-id"], "a-key", "{operation}");
        if operation == "PutObject" {
            assert!(request.headers.contains_key("x-amz-meta-md5chksum"), "under KMS the ETag is no MD5");
        }
    }
}

#[tokio::test]
async fn a_large_file_arrives_whole_below_at_and_above_the_size_of_a_part() {
    let (s3, bucket) = start().await;
    let part = 5 * MIB;
    for (length, parts) in [(part - 1, 1), (part, 1), (part + 1, 2), (3 * part, 3)] {
        s3.reset_counts();
        let large = Large::new(length, part);
        let stored = large.send(&bucket, "large").await.unwrap();
        assert_eq!(s3.count("UploadPart"), parts, "{length} bytes");
        let object = s3.object(bucket.name(), "large").await.unwrap();
        assert!(object.bytes == large.bytes, "{length} bytes are not the same");
        assert_eq!(object.etag, stored.etag.as_str());
        assert!(object.etag.ends_with(&format!("-{parts}")), "{}", object.etag);
        assert_eq!(object.metadata["mtime"], "1700000000.123456789");
        let head = bucket.head(&key("large")).await.unwrap().unwrap();
        assert_eq!(head.md5chksum, Some(md5(&large.bytes)));
        assert_eq!(large.sent.load(Ordering::Relaxed), length as u64);
        assert_eq!(s3.unfinished_uploads(bucket.name()).await, 0);
    }
}

#[tokio::test]
async fn parts_are_streamed_from_the_file_within_the_budget() {
    let (s3, bucket) = start().await;
    let mut large = Large::new(21 * MIB, 10 * MIB);
    large.budget = Budget::new(MIB as u64);
    large.send(&bucket, "large").await.unwrap();
    assert_eq!(s3.count("UploadPart"), 3);
    assert!(s3.object(bucket.name(), "large").await.unwrap().bytes == large.bytes);
    assert_eq!(large.budget.free(), MIB as u64);
}

#[tokio::test]
async fn parts_wait_for_the_budget_and_a_single_slot_and_budget_suffice() {
    let (s3, bucket) = start().await;
    let at_once = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let mut large = Large::new(26 * MIB, 5 * MIB);
    // Room for what two streamed parts have in memory, though there are four slots.
    large.budget = Budget::new(MIB as u64);
    let seen = at_once.clone();
    s3.script(move |request| {
        if request.operation != "UploadPart" {
            return None;
        }
        let now = seen.0.fetch_add(1, Ordering::SeqCst) + 1;
        seen.1.fetch_max(now, Ordering::SeqCst);
        let seen = seen.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            seen.0.fetch_sub(1, Ordering::SeqCst);
        });
        Some(Reply::Late(Duration::from_millis(100)))
    });
    large.send(&bucket, "large").await.unwrap();
    assert_eq!(at_once.1.load(Ordering::SeqCst), 2, "two parts at once fit in the budget");
    s3.clear_scripts();

    let mut narrow = Large::new(11 * MIB, 5 * MIB);
    narrow.budget = Budget::new(1);
    narrow.slots = Semaphore::new(1);
    tokio::time::timeout(Duration::from_secs(30), narrow.send(&bucket, "narrow")).await.expect("a deadlock").unwrap();
    assert_eq!((narrow.budget.free(), narrow.slots.available_permits()), (1, 1));
}

#[tokio::test]
async fn a_part_that_fails_for_a_moment_is_sent_again() {
    let (s3, bucket) = start().await;
    s3.fail_next("UploadPart", 2, 503, &error_body("SlowDown"));
    for (name, part) in [("small parts", 5 * MIB), ("large parts", 9 * MIB)] {
        let large = Large::new(10 * MIB, part);
        large.send(&bucket, name).await.unwrap();
        assert!(s3.object(bucket.name(), name).await.unwrap().bytes == large.bytes);
    }
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_uploaded_never_becomes_visible_and_leaves_nothing() {
    let (s3, bucket) = start().await;
    let mut touched = Large::new(6 * MIB, 5 * MIB);
    touched.unchanged = false;
    let truncated = Large::new(6 * MIB, 5 * MIB);
    truncated.file.set_len(MIB as u64).unwrap();
    let truncated_stream = Large::new(12 * MIB, 10 * MIB);
    truncated_stream.file.set_len(MIB as u64).unwrap();
    for large in [touched, truncated, truncated_stream] {
        let error = large.send(&bucket, "x").await.unwrap_err();
        assert!(matches!(error, UploadError::Changed { .. }), "{error:?}");
        assert_eq!(s3.object(bucket.name(), "x").await, None);
        assert_eq!(s3.unfinished_uploads(bucket.name()).await, 0);
    }
}

#[tokio::test]
async fn a_file_rewritten_between_the_two_reads_of_a_streamed_part_is_a_changed_file() {
    let (s3, bucket) = start().await;
    let large = Arc::new(Large::new(10 * MIB, 10 * MIB));
    // The first attempt is sent away; before the second the bytes are others than those that were hashed.
    let (file, done) = (large.clone(), Arc::new(AtomicBool::new(false)));
    s3.script(move |request| {
        if request.operation != "UploadPart" || done.swap(true, Ordering::SeqCst) {
            return None;
        }
        std::os::unix::fs::FileExt::write_all_at(&*file.file, b"others", 9 * MIB as u64).unwrap();
        Some(Reply::Answer { status: 503, headers: vec![], body: error_body("SlowDown") })
    });
    let error = large.send(&bucket, "x").await.unwrap_err();
    assert!(matches!(error, UploadError::Changed { .. }), "{error:?}");
    assert_eq!(s3.object(bucket.name(), "x").await, None);
    assert_eq!(s3.unfinished_uploads(bucket.name()).await, 0);
}

#[tokio::test]
async fn a_cancelled_upload_ends_soon_and_leaves_nothing() {
    let (s3, bucket) = start().await;
    let large = Large::new(11 * MIB, 5 * MIB);
    let cancel = large.cancel.clone();
    s3.script(move |request| {
        if request.operation != "UploadPart" {
            return None;
        }
        cancel.cancel();
        Some(Reply::Hang)
    });
    let begun = Instant::now();
    let error = large.send(&bucket, "x").await.unwrap_err();
    assert!(matches!(error, UploadError::Cancelled { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(s3.object(bucket.name(), "x").await, None);
    assert_eq!(s3.unfinished_uploads(bucket.name()).await, 0);
    assert_eq!((large.budget.free(), large.slots.available_permits()), (32 << 20, 4));
}

#[tokio::test]
async fn an_error_in_a_successful_answer_to_completing_is_an_error() {
    let (s3, bucket) = start().await;
    s3.fail_next("CompleteMultipartUpload", 10, 200, &error_body("InternalError"));
    let error = Large::new(6 * MIB, 5 * MIB).send(&bucket, "x").await.unwrap_err();
    let UploadError::Remote(error) = error else { panic!("{error:?}") };
    assert_eq!((error.operation, error.trouble), (Operation::CompleteMultipartUpload, Trouble::Server));
    assert_eq!(s3.object(bucket.name(), "x").await, None);
    assert_eq!(s3.unfinished_uploads(bucket.name()).await, 0);
}

#[tokio::test]
async fn an_upload_whose_last_answer_was_lost_is_not_sent_again() {
    let (s3, bucket) = start().await;
    s3.reply_next("CompleteMultipartUpload", 1, Reply::Lost);
    let large = Large::new(6 * MIB, 5 * MIB);
    let stored = large.send(&bucket, "x").await.unwrap();
    assert_eq!(s3.object(bucket.name(), "x").await.unwrap().etag, stored.etag.as_str());
    assert_eq!(s3.count("UploadPart"), 2);
}

#[tokio::test]
async fn parts_put_together_wrongly_are_an_error() {
    let (s3, bucket) = start().await;
    let answer = "<CompleteMultipartUploadResult><ETag>\"00000000000000000000000000000000-2\"</ETag>\
                  </CompleteMultipartUploadResult>";
    s3.fail_next("CompleteMultipartUpload", 1, 200, answer);
    let error = Large::new(6 * MIB, 5 * MIB).send(&bucket, "x").await.unwrap_err();
    let UploadError::Remote(error) = error else { panic!("{error:?}") };
    assert_eq!(error.trouble, Trouble::Damaged);
}

#[tokio::test]
async fn a_copy_has_attributes_of_its_own_and_only_happens_if_the_source_is_the_one_meant() {
    let (s3, bucket) = start().await;
    let source = "dir/söurce +%41&?#.txt";
    let stored = put(&bucket, source, b"content").await.unwrap();
    let mut other = attributes();
    other.content_type = "image/png".to_owned();
    other.meta.mode = 0o100_600;
    other.md5chksum = Some(md5(b"content"));
    let copied = bucket.copy(&key(source), &stored.etag, &key("copy"), &other).await.unwrap();
    let object = s3.object(bucket.name(), "copy").await.unwrap();
    assert_eq!((object.bytes.as_slice(), object.etag.as_str()), (b"content".as_slice(), copied.etag.as_str()));
    assert_eq!((object.content_type.as_str(), object.metadata["mode"].as_str()), ("image/png", "0100600"));
    assert_eq!(bucket.head(&key("copy")).await.unwrap().unwrap().md5chksum, Some(md5(b"content")));

    let error = bucket.copy(&key(source), &ETag::new("another"), &key("copy2"), &other).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Precondition, "{error:?}");
    let error = bucket.copy(&key("missing"), &stored.etag, &key("copy2"), &other).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::NotFound, "{error:?}");
    assert_eq!(s3.object(bucket.name(), "copy2").await, None);
}

#[tokio::test]
async fn an_error_in_a_successful_answer_to_copying_is_an_error() {
    let (s3, bucket) = start().await;
    s3.fail_next("CopyObject", 10, 200, &error_body("SlowDown"));
    let error = bucket.copy(&key("a"), &ETag::new("e"), &key("b"), &attributes()).await.unwrap_err();
    assert!(error.is_throttled(), "{error:?}");
}

/// Names that sort, encode or parse badly.
fn hostile_names() -> Vec<String> {
    let odd = [
        "a",
        "a-b",
        "a/b",
        "a0",
        "a b",
        "a+b",
        "a%2Bb",
        "a%41",
        "a&b",
        "a<b>",
        "a\"b'",
        "é",
        "e\u{301}",
        "漢字",
        "🦀",
        "\u{ffff}x",
        "\u{10000}",
        "..",
        ".",
        "a/../b",
        "a//b",
        "tab\tx",
        "line\nx",
        " lead",
        "trail ",
        "\u{202e}rtl",
        "q?x=1",
        "h#x",
        "semi;x",
        "~",
        "*",
        "A",
        "Z",
        "_",
    ];
    odd.into_iter().map(str::to_owned).collect()
}

async fn put_all(s3: &TestS3, bucket: &str, keys: &[String]) {
    for chunk in keys.chunks(32) {
        futures_util::future::join_all(chunk.iter().map(|key| s3.put(bucket, key, key.clone().into_bytes()))).await;
    }
}

async fn list_all(bucket: &Bucket, prefix: &str, start_after: Option<&str>) -> Result<Vec<String>, RemoteError> {
    let mut listing = bucket.list(prefix, start_after);
    let mut keys = Vec::new();
    while let Some(page) = listing.next_page().await? {
        keys.extend(page.objects.into_iter().map(|(key, _)| key));
    }
    Ok(keys)
}

#[tokio::test]
async fn a_listing_gives_every_object_once_in_byte_order_over_pages() {
    let (s3, bucket) = start().await;
    let mut names = hostile_names();
    names.extend((0..2_500 - names.len()).map(|n| format!("n/{}", (n * 7919) % 100_003)));
    put_all(&s3, bucket.name(), &names).await;
    names.sort();
    let before = Instant::now();
    let mut listing = bucket.list("", None);
    let mut keys = Vec::new();
    let mut pages = 0;
    while let Some(page) = listing.next_page().await.unwrap() {
        assert!(page.requested_at >= before && page.requested_at <= Instant::now());
        for (key, listed) in page.objects {
            assert_eq!(listed.size, key.len() as u64, "{key:?}");
            assert_eq!(listed.etag.as_str(), md5(key.as_bytes()).to_hex(), "{key:?}");
            keys.push(key);
        }
        pages += 1;
    }
    assert!(keys == names, "{:?}", keys.iter().zip(&names).find(|(a, b)| a != b));
    assert_eq!((pages, s3.count("ListObjectsV2")), (3, 3), "one request for a thousand objects");

    let below: Vec<_> = names.iter().filter(|name| name.starts_with("a/")).cloned().collect();
    assert_eq!(list_all(&bucket, "a/", None).await.unwrap(), below);
    let after: Vec<_> = names.iter().filter(|name| name.as_str() > "a b").cloned().collect();
    assert!(list_all(&bucket, "", Some("a b")).await.unwrap() == after);
    assert!(list_all(&bucket, "no such prefix", None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_listing_that_nobody_reads_stops_after_two_pages() {
    let (s3, bucket) = start().await;
    let page = |n: u32| {
        format!(
            "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t{n}</NextContinuationToken>\
             <Contents><Key>k{n:04}</Key><Size>1</Size><ETag>e</ETag></Contents></ListBucketResult>"
        )
    };
    let mut n = 0;
    s3.script(move |request| {
        n += 1;
        (request.operation == "ListObjectsV2").then(|| Reply::Answer { status: 200, headers: vec![], body: page(n) })
    });
    let mut listing = bucket.list("", None);
    listing.next_page().await.unwrap().unwrap();
    wait_for(|| s3.count("ListObjectsV2") == 3).await;
    // One was taken, one waits in the channel, one waits to be put there: no further request can follow.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(s3.count("ListObjectsV2"), 3);
}

async fn wait_for(mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(10), "waited in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_listing_out_of_order_is_an_error_and_not_a_listing() {
    let (s3, bucket) = start().await;
    let body = "<ListBucketResult><IsTruncated>false</IsTruncated>\
                <Contents><Key>b</Key><Size>1</Size><ETag>e</ETag></Contents>\
                <Contents><Key>a</Key><Size>1</Size><ETag>e</ETag></Contents></ListBucketResult>";
    s3.fail_next("ListObjectsV2", 1, 200, body);
    let error = list_all(&bucket, "", None).await.unwrap_err();
    assert_eq!((error.trouble, error.retry()), (Trouble::Unexpected, Retry::Later));
}

/// By a gateway that has counted the bytes that it sends on: nothing but the document itself shows it.
#[tokio::test]
async fn an_answer_that_is_cut_off_is_an_error_and_not_a_shorter_one() {
    let (s3, bucket) = start().await;
    let list = "<ListBucketResult><IsTruncated>false</IsTruncated>\
                <Contents><Key>a</Key><Size>1</Size><ETag>e</ETag></Contents>\
                <Contents><Key>b</Key><Size>1</Size><ETag>e</ETag></Contents>";
    s3.fail_next("ListObjectsV2", 100, 200, list);
    let error = list_all(&bucket, "", None).await.unwrap_err();
    assert_eq!((error.trouble, error.retry()), (Trouble::Unexpected, Retry::Later));
    // Whose deletion has failed comes after the cut.
    s3.fail_next("DeleteObjects", 100, 200, "<DeleteResult>");
    let outcomes = bucket.delete(&[key("a"), key("b")]).await;
    assert!(outcomes.iter().all(|(_, outcome)| outcome.as_ref().is_err_and(|e| e.trouble == Trouble::Unexpected)));
}

/// Deletes every second object and looks which are left.
async fn delete_half(bucket: &Bucket) {
    let mut names = hostile_names();
    names.extend(["ctl\u{1}x".to_owned(), "cr\rx".to_owned()]);
    for name in &names {
        put(bucket, name, b"x").await.unwrap();
    }
    let keys: Vec<_> = names.iter().step_by(2).map(|name| key(name)).chain([key("was never there")]).collect();
    let outcomes = bucket.delete(&keys).await;
    let mut told: Vec<_> = outcomes.iter().map(|(key, _)| key.clone()).collect();
    let mut asked = keys.clone();
    told.sort();
    asked.sort();
    assert_eq!(told, asked, "an outcome for each key");
    for (key, outcome) in outcomes {
        outcome.unwrap_or_else(|error| panic!("{key}: {error:?}"));
    }
    for (index, name) in names.iter().enumerate() {
        let there = bucket.head(&key(name)).await.unwrap().is_some();
        assert_eq!(there, index % 2 == 1, "{name:?}");
    }
}

#[tokio::test]
async fn a_batch_of_deletions_is_one_request_but_for_what_xml_cannot_carry() {
    let (s3, bucket) = start().await;
    delete_half(&bucket).await;
    assert_eq!(s3.count("DeleteObjects"), 1);
    assert!(s3.count("DeleteObject") >= 1, "control characters and white space at the ends go alone");
}

#[tokio::test]
async fn more_than_a_thousand_deletions_are_several_requests() {
    let (s3, bucket) = start().await;
    let keys: Vec<_> = (0..1_001).map(|n| key(&format!("none/{n}"))).collect();
    let outcomes = bucket.delete(&keys).await;
    assert!(outcomes.len() == 1_001 && outcomes.iter().all(|(_, outcome)| outcome.is_ok()));
    assert_eq!((s3.count("DeleteObjects"), s3.count("DeleteObject")), (1, 1), "a last single one needs no batch");
}

#[tokio::test]
async fn a_store_that_insists_on_content_md5_gets_it_and_is_remembered() {
    let (s3, bucket) = start().await;
    s3.script(|request| {
        let refused = request.operation == "DeleteObjects" && !request.headers.contains_key("content-md5");
        refused.then(|| Reply::Answer { status: 400, headers: vec![], body: error_body("MissingContentMD5") })
    });
    delete_half(&bucket).await;
    assert_eq!(s3.count("DeleteObjects"), 2);
    bucket.delete(&[key("a"), key("b")]).await;
    assert_eq!(s3.count("DeleteObjects"), 3, "the second batch is right at once");
}

#[tokio::test]
async fn a_store_without_batches_gets_single_deletions_and_is_remembered() {
    let (s3, bucket) = start().await;
    s3.fail_next("DeleteObjects", 100, 501, &error_body("NotImplemented"));
    delete_half(&bucket).await;
    let tried = s3.count("DeleteObjects");
    bucket.delete(&[key("a"), key("b")]).await;
    assert_eq!(s3.count("DeleteObjects"), tried, "it is not asked again");
}

#[tokio::test]
async fn a_deletion_that_is_refused_inside_a_batch_is_told_from_those_that_were_not() {
    let (s3, bucket) = start().await;
    let body = "<DeleteResult><Deleted><Key>a</Key></Deleted><Deleted><Key>c</Key></Deleted>\
                <Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
    s3.fail_next("DeleteObjects", 1, 200, body);
    let outcomes = bucket.delete(&[key("a"), key("b"), key("c")]).await;
    let failed: Vec<_> = outcomes.iter().filter_map(|(key, outcome)| Some((key, outcome.as_ref().err()?))).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].0.as_str(), failed[0].1.trouble), ("b", Trouble::Denied));
}

#[tokio::test]
async fn an_error_in_a_batch_that_names_no_key_is_one_of_every_key_that_is_not_listed_as_deleted() {
    let (s3, bucket) = start().await;
    let body = "<DeleteResult><Deleted><Key>a</Key></Deleted>\
                <Error><Code>InternalError</Code><Message>no</Message></Error></DeleteResult>";
    s3.fail_next("DeleteObjects", 1, 200, body);
    let outcomes = bucket.delete(&[key("a"), key("b"), key("c")]).await;
    let told: Vec<_> = outcomes.iter().map(|(key, outcome)| (key.as_str(), outcome.as_ref().err())).collect();
    assert!(matches!(told[..], [("a", None), ("b", Some(_)), ("c", Some(_))]), "{told:?}");
    assert!(told.iter().filter_map(|(_, error)| *error).all(|error| error.trouble == Trouble::Server), "{told:?}");
    assert_eq!((s3.count("DeleteObjects"), s3.count("DeleteObject")), (1, 0));
}

#[tokio::test]
async fn a_key_of_which_the_answer_to_a_batch_says_nothing_is_deleted_by_itself() {
    let (s3, bucket) = start().await;
    for name in ["a", "b", "c"] {
        put(&bucket, name, b"x").await.unwrap();
    }
    s3.fail_next("DeleteObjects", 1, 200, "<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>");
    let outcomes = bucket.delete(&[key("a"), key("b"), key("c")]).await;
    assert!(outcomes.len() == 3 && outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
    assert_eq!((s3.count("DeleteObjects"), s3.count("DeleteObject")), (1, 2));
    assert_eq!(s3.keys(bucket.name()).await, ["a"], "it was believed of that one");
}

#[tokio::test]
async fn a_batch_that_fails_as_a_whole_fails_each_of_its_keys() {
    let (s3, bucket) = start().await;
    s3.fail_next("DeleteObjects", 100, 403, &error_body("AccessDenied"));
    let outcomes = bucket.delete(&[key("a"), key("b")]).await;
    assert!(outcomes.iter().all(|(_, outcome)| outcome.as_ref().is_err_and(|e| e.trouble == Trouble::Denied)));
    assert_eq!((s3.count("DeleteObjects"), s3.count("DeleteObject")), (1, 0), "a refusal is no reason to go on trying");
}

#[tokio::test]
async fn each_error_says_what_it_is_and_what_follows() {
    let (s3, bucket) = start().await;
    let cases = [
        (503, "", Trouble::Throttled, Retry::Later),
        (503, "SlowDown", Trouble::Throttled, Retry::Later),
        (429, "TooManyRequests", Trouble::Throttled, Retry::Later),
        (500, "InternalError", Trouble::Server, Retry::Later),
        (502, "", Trouble::Server, Retry::Later),
        (403, "AccessDenied", Trouble::Denied, Retry::Fatal),
        (403, "InvalidAccessKeyId", Trouble::Credentials, Retry::Fatal),
        (403, "SignatureDoesNotMatch", Trouble::Credentials, Retry::Fatal),
        (400, "ExpiredToken", Trouble::Credentials, Retry::Fatal),
        (403, "RequestTimeTooSkewed", Trouble::ClockSkew, Retry::Fatal),
        (404, "NoSuchBucket", Trouble::NoSuchBucket, Retry::Fatal),
        (301, "PermanentRedirect", Trouble::WrongRegion, Retry::Fatal),
        (301, "", Trouble::WrongRegion, Retry::Fatal),
        (400, "AuthorizationHeaderMalformed", Trouble::WrongRegion, Retry::Fatal),
        (400, "BadDigest", Trouble::Damaged, Retry::Later),
        (412, "PreconditionFailed", Trouble::Precondition, Retry::Later),
        (507, "", Trouble::Full, Retry::Fatal),
        (400, "KeyTooLongError", Trouble::Rejected, Retry::Never),
        (400, "InvalidStorageClass", Trouble::Rejected, Retry::Never),
    ];
    for (status, code, trouble, retry) in cases {
        let body = if code.is_empty() { String::new() } else { error_body(code) };
        s3.fail_next("PutObject", 10, status, &body);
        let error = put(&bucket, "x", b"body").await.unwrap_err();
        assert_eq!((error.trouble, error.retry()), (trouble, retry), "{status} {code}: {error:?}");
        let text = error.to_string();
        assert!(text.contains("`x`") && text.contains(bucket.name()), "{text}");
        let source = error.source.to_string();
        assert!(source.contains(&status.to_string()) && source.contains(code), "{source}");
        s3.clear_scripts();
    }
}

#[tokio::test]
async fn a_moment_of_trouble_is_over_without_the_caller_hearing_of_it() {
    let (s3, bucket) = start().await;
    s3.fail_next("PutObject", 2, 503, "");
    put(&bucket, "x", b"body").await.unwrap();
    assert_eq!(s3.count("PutObject"), 3);
}

#[tokio::test]
async fn every_attempt_and_every_answer_is_counted() {
    let s3 = TestS3::start().await;
    let client = client(&s3).await;
    let bucket = client.bucket(&s3.new_bucket().await);
    s3.fail_next("PutObject", 2, 503, "");
    put(&bucket, "x", b"body").await.unwrap();
    bucket.head(&key("x")).await.unwrap();
    let (requests, answers) = (client.requests(), client.answers());
    assert_eq!(requests, [(Operation::PutObject, 3), (Operation::HeadObject, 1)].into());
    assert_eq!(answers[&(Operation::PutObject, 503)], 2);
    assert_eq!(answers[&(Operation::PutObject, 200)], 1);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let s3 = TestS3::start().await;
    let bucket = client(&s3).await.bucket("no-such-bucket-anywhere");
    for error in [put(&bucket, "x", b"").await.unwrap_err(), list_all(&bucket, "", None).await.unwrap_err()] {
        assert_eq!(error.trouble, Trouble::NoSuchBucket, "{error:?}");
        assert!(error.to_string().contains("no-such-bucket-anywhere"));
    }
}

#[tokio::test]
async fn wrong_credentials_are_told_from_missing_permission() {
    let (s3, bucket) = start().await;
    let mut settings = s3.settings();
    settings.credentials.as_mut().unwrap().secret_access_key = "wrong".to_owned().into();
    let wrong_secret = connect(&settings, &LIMITS).await.unwrap().bucket(bucket.name());
    let error = put(&wrong_secret, "x", b"").await.unwrap_err();
    assert_eq!((error.trouble, error.retry()), (Trouble::Credentials, Retry::Fatal), "{error:?}");
}

#[tokio::test]
async fn a_store_that_nobody_listens_for_is_unreachable_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let s3 = TestS3::start().await;
    let settings = S3Settings { endpoint_url: Some(format!("http://127.0.0.1:{port}")), ..s3.settings() };
    let begun = Instant::now();
    let error = put(&connect(&settings, &LIMITS).await.unwrap().bucket("b"), "x", b"body").await.unwrap_err();
    assert_eq!((error.trouble, error.retry()), (Trouble::Unreachable, Retry::Fatal), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_that_breaks_again_and_again_is_unreachable() {
    let (s3, bucket) = start().await;
    s3.reply_next("PutObject", 100, Reply::Disconnect);
    assert_eq!(put(&bucket, "x", b"body").await.unwrap_err().trouble, Trouble::Unreachable);
}

#[tokio::test]
async fn a_store_that_never_answers_is_given_up_in_time() {
    let (s3, _) = start().await;
    s3.script(|_| Some(Reply::Hang));
    let bucket = connect_with(&s3.settings(), &LIMITS, &HASTY).await.unwrap().bucket("b");
    let begun = Instant::now();
    let error = put(&bucket, "x", b"body").await.unwrap_err();
    assert_eq!((error.trouble, error.retry()), (Trouble::TimedOut, Retry::Fatal), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(s3.count("PutObject"), 2, "two attempts");
}

#[tokio::test]
async fn packets_that_vanish_on_the_way_to_the_store_are_unreachable_in_time() {
    // An address that is set aside for documentation: nobody answers there.
    let s3 = TestS3::start().await;
    let settings = S3Settings { endpoint_url: Some("http://192.0.2.1:9".to_owned()), ..s3.settings() };
    let begun = Instant::now();
    let bucket = connect_with(&settings, &LIMITS, &HASTY).await.unwrap().bucket("b");
    let error = put(&bucket, "x", b"body").await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Unreachable, "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// In a process of its own, because the environment is the process's: see the test below.
#[test]
#[ignore = "run by missing_credentials_are_told_at_once"]
fn connects_with_the_environment_of_the_process() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let settings = S3Settings {
        region: None,
        endpoint_url: std::env::var("TEST_ENDPOINT").ok(),
        path_style: true,
        storage_class: None,
        encryption: None,
        credentials: None,
    };
    match runtime.block_on(connect(&settings, &LIMITS)) {
        Ok(_) => println!("CONNECTED"),
        Err(error) => println!("REFUSED {:?} {error}", error.trouble),
    }
}

/// What [`connects_with_the_environment_of_the_process`] prints, and how long it takes.
fn connect_elsewhere(variables: &[(&str, &str)]) -> (String, Duration) {
    let nowhere = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "connects_with_the_environment_of_the_process", "--ignored", "--nocapture"])
        .env_clear()
        .env("HOME", nowhere.path())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    (String::from_utf8(output.stdout).unwrap(), begun.elapsed())
}

#[test]
fn missing_credentials_are_told_at_once() {
    for variables in [
        [("TEST_ENDPOINT", "http://127.0.0.1:1"), ("AWS_REGION", "any")],
        [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_REGION", "eu-west-3")],
    ] {
        let (output, took) = connect_elsewhere(&variables);
        assert!(output.contains("REFUSED NoCredentials") && output.contains("AWS_ACCESS_KEY_ID"), "{output}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn credentials_and_region_come_from_the_environment() {
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let with = |more: &[(&'static str, &'static str)]| [&keys[..], more].concat();
    let (output, _) = connect_elsewhere(&with(&[("AWS_REGION", "eu-west-3")]));
    assert!(output.contains("CONNECTED"), "{output}");
    let (output, _) = connect_elsewhere(&with(&[("TEST_ENDPOINT", "http://127.0.0.1:1")]));
    assert!(output.contains("CONNECTED"), "a store of one's own needs no region: {output}");
    let (output, _) = connect_elsewhere(&with(&[("AWS_EC2_METADATA_DISABLED", "true")]));
    assert!(output.contains("REFUSED NoRegion") && output.contains("s3.region"), "{output}");
}

#[tokio::test]
async fn a_bandwidth_limit_holds_for_all_uploads_together() {
    let (s3, bucket) = start().await;
    let limits = Limits { workers: 8, bandwidth: Some(4 * MIB as u64) };
    let limited = connect(&s3.settings(), &limits).await.unwrap().bucket(bucket.name());
    let begun = Instant::now();
    let bytes = noise(MIB);
    let uploads = ["a", "b", "c"].map(|name| put(&limited, name, &bytes));
    for stored in futures_util::future::join_all(uploads).await {
        stored.unwrap();
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(700), "3 MiB at 4 MiB/s took only {took:?}");
    assert!(s3.object(bucket.name(), "c").await.unwrap().bytes == bytes);
}

#[tokio::test]
async fn a_probe_tells_each_step_and_leaves_nothing() {
    let (s3, bucket) = start().await;
    let steps = bucket.probe(&key(".agent-portail-probe")).await;
    assert_eq!(steps.len(), 4);
    for (step, outcome) in steps {
        outcome.unwrap_or_else(|error| panic!("{step:?}: {error:?}"));
    }
    assert!(s3.keys(bucket.name()).await.is_empty());

    s3.fail_next("ListObjectsV2", 100, 403, &error_body("AccessDenied"));
    let steps = bucket.probe(&key(".agent-portail-probe")).await;
    let failed: Vec<_> = steps.into_iter().filter_map(|(step, outcome)| Some((step, outcome.err()?))).collect();
    assert_eq!(failed.len(), 1);
    assert!(failed[0].1.to_string().contains("s3:ListBucket"), "{}", failed[0].1);
}

#[tokio::test]
async fn secrets_are_in_no_debug_output() {
    let s3 = TestS3::start().await;
    let client = client(&s3).await;
    let (_, secret) = s3.env().into_iter().find(|(name, _)| *name == "AWS_SECRET_ACCESS_KEY").unwrap();
    assert!(!format!("{client:?}").contains(&secret) && !format!("{:?}", s3.settings()).contains(&secret));
}
