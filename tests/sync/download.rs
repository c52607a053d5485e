//! Fetching objects: conditions, ranges, versions, and lines that break or stand still.

use std::time::{Duration, Instant};

use agent_portail::model::{Digest, ETag, ObjectKey, Stamp};
use agent_portail::remote::{Bucket, Limits, Patience, RemoteError, Trouble, Wanted, connect, connect_with};
use md5::{Digest as _, Md5};

use crate::common::agent::noise;
use crate::common::s3::{Reply, TestS3};

const LIMITS: Limits = Limits { workers: 8, bandwidth: None };

/// Short enough for tests that wait for a limit to pass.
const HASTY: Patience =
    Patience { connect: Duration::from_millis(300), answer: Duration::from_millis(400), attempts: 2 };

async fn start() -> (TestS3, Bucket) {
    let s3 = TestS3::start().await;
    let bucket = connect_with(&s3.settings(), &LIMITS, &HASTY).await.unwrap().bucket(&s3.new_bucket().await);
    (s3, bucket)
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::from_parts("", text)
}

/// All that comes, and how it ended.
async fn fetch(bucket: &Bucket, name: &str, wanted: Wanted<'_>) -> (Vec<u8>, Result<(), RemoteError>) {
    let mut bytes = Vec::new();
    let mut download = match bucket.get(&key(name), wanted).await {
        Ok(download) => download,
        Err(error) => return (bytes, Err(error)),
    };
    loop {
        match download.next().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => return (bytes, Ok(())),
            Err(error) => return (bytes, Err(error)),
        }
    }
}

#[tokio::test]
async fn an_object_comes_with_what_is_written_on_it() {
    let (s3, bucket) = start().await;
    let bytes = noise(1, 300_000);
    s3.put_with(bucket.name(), "a b+é", bytes.clone(), &[("mtime", "1600000000.25"), ("mode", "0100640")]).await;
    let (got, end) = fetch(&bucket, "a b+é", Wanted::default()).await;
    assert!(got == bytes && end.is_ok());
    let about = bucket.about(&key("a b+é"), None).await.unwrap().unwrap();
    assert_eq!(bucket.get(&key("a b+é"), Wanted::default()).await.unwrap().about, about, "HEAD and GET say the same");
    let digest = Digest(Md5::digest(&bytes).into());
    assert_eq!((about.size, about.digest), (300_000, Some(digest)));
    assert_eq!((about.mtime, about.mode), (Some(Stamp::from_parts(1_600_000_000, 250_000_000)), Some(0o100_640)));
    assert!(about.put_at.is_some());
    assert_eq!(bucket.digest(&key("a b+é"), Wanted::default(), |_| {}).await.unwrap(), digest);
    assert_eq!(bucket.about(&key("none"), None).await.unwrap(), None);
    s3.put(bucket.name(), "empty", "").await;
    assert_eq!(fetch(&bucket, "empty", Wanted::default()).await.0, b"");
}

#[tokio::test]
async fn a_download_goes_on_where_it_was_but_never_with_another_object() {
    let (s3, bucket) = start().await;
    let bytes = noise(1, 100_000);
    s3.put(bucket.name(), "a", bytes.clone()).await;
    let etag = bucket.about(&key("a"), None).await.unwrap().unwrap().etag;
    let rest = Wanted { etag: Some(&etag), from: 60_000, ..Wanted::default() };
    let (got, end) = fetch(&bucket, "a", rest).await;
    assert!(got == bytes[60_000..] && end.is_ok());
    assert_eq!(bucket.get(&key("a"), rest).await.unwrap().about.size, 100_000, "of the whole");
    s3.put(bucket.name(), "a", noise(2, 100_000)).await;
    for wanted in [rest, Wanted { from: 0, ..rest }] {
        let error = bucket.get(&key("a"), wanted).await.unwrap_err();
        assert_eq!(error.trouble, Trouble::Precondition, "{error}");
    }
    // A store that takes no notice of the condition, or of the range.
    let other = ETag::new("0123456789abcdef0123456789abcdef");
    s3.put(bucket.name(), "a", bytes.clone()).await;
    let headers = vec![("etag", "\"other\"".to_owned())];
    s3.reply_next("GetObject", 1, Reply::Answer { status: 200, headers: headers.clone(), body: "x".to_owned() });
    let error = bucket.get(&key("a"), Wanted { etag: Some(&other), ..Wanted::default() }).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Precondition, "{error}");
    s3.reply_next("GetObject", 1, Reply::Answer { status: 200, headers, body: "x".to_owned() });
    let error = bucket.get(&key("a"), Wanted { from: 5, ..Wanted::default() }).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Unexpected, "{error}");
}

#[tokio::test]
async fn a_body_that_ends_early_or_stands_still_is_an_error_in_time() {
    let (s3, bucket) = start().await;
    s3.put(bucket.name(), "a", noise(1, 100_000)).await;
    s3.reply_next("GetObject", 1, Reply::Cut(50_000));
    let (got, end) = fetch(&bucket, "a", Wanted::default()).await;
    assert_eq!((got.len(), end.unwrap_err().trouble), (50_000, Trouble::Unreachable));
    s3.reply_next("GetObject", 1, Reply::Stall(50_000));
    let began = Instant::now();
    let (got, end) = fetch(&bucket, "a", Wanted::default()).await;
    assert_eq!((got.len(), end.unwrap_err().trouble), (50_000, Trouble::TimedOut));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    s3.reply_next("GetObject", 1, Reply::Cut(50_000));
    assert!(bucket.digest(&key("a"), Wanted::default(), |_| {}).await.is_err(), "half is no digest");
}

#[tokio::test]
async fn what_is_missing_for_it_is_named() {
    let (s3, bucket) = start().await;
    let of = async |wanted| bucket.get(&key("a"), wanted).await.unwrap_err();
    assert_eq!(of(Wanted::default()).await.trouble, Trouble::NotFound);
    s3.fail_next("GetObject", 2, 403, &crate::common::s3::error_body("AccessDenied"));
    let error = of(Wanted::default()).await.to_string();
    assert!(error.ends_with("access denied; the credentials need the permission s3:GetObject"), "{error}");
    let error = of(Wanted { version: Some("v"), ..Wanted::default() }).await.to_string();
    assert!(error.contains("s3:GetObjectVersion"), "{error}");
    s3.fail_next("GetObject", 1, 403, &crate::common::s3::error_body("InvalidObjectState"));
    let error = of(Wanted::default()).await;
    assert!(error.trouble == Trouble::Archived && error.to_string().contains("RestoreObject"), "{error}");
}

#[tokio::test]
async fn a_version_is_had_after_it_was_replaced_and_deleted() {
    let (s3, bucket) = start().await;
    if !s3.is_embedded() {
        // Garage has none.
        return;
    }
    s3.put(bucket.name(), "a", "before").await;
    s3.with_versions(bucket.name()).await;
    s3.put(bucket.name(), "a", "first").await;
    let first = bucket.about(&key("a"), None).await.unwrap().unwrap().version.unwrap();
    s3.put(bucket.name(), "a", "second").await;
    s3.sdk().delete_object().bucket(bucket.name()).key("a").send().await.unwrap();
    assert_eq!(s3.keys(bucket.name()).await, [""; 0]);
    assert!(fetch(&bucket, "a", Wanted::default()).await.1.is_err());
    let of = async |version: &str| fetch(&bucket, "a", Wanted { version: Some(version), ..Wanted::default() }).await.0;
    assert_eq!((of(&first).await, of("null").await), (b"first".to_vec(), b"before".to_vec()));
    assert_eq!(bucket.about(&key("a"), Some(&first)).await.unwrap().unwrap().size, 5);
    // A store that answers with whatever it likes.
    let headers = vec![("etag", "\"e\"".to_owned()), ("x-amz-version-id", "another".to_owned())];
    for operation in ["GetObject", "HeadObject"] {
        s3.reply_next(operation, 1, Reply::Answer { status: 200, headers: headers.clone(), body: String::new() });
    }
    let wanted = Wanted { version: Some(&first), ..Wanted::default() };
    assert_eq!(bucket.get(&key("a"), wanted).await.unwrap_err().trouble, Trouble::NotFound);
    assert_eq!(bucket.about(&key("a"), Some(&first)).await.unwrap(), None);
}

#[tokio::test]
async fn a_bandwidth_limit_holds_for_downloads_too() {
    let (s3, bucket) = start().await;
    let limits = Limits { workers: 8, bandwidth: Some(1 << 20) };
    let limited = connect(&s3.settings(), &limits).await.unwrap().bucket(bucket.name());
    s3.put(bucket.name(), "a", noise(1, 1 << 20)).await;
    let began = Instant::now();
    assert_eq!(fetch(&limited, "a", Wanted::default()).await.0.len(), 1 << 20);
    assert!(began.elapsed() >= Duration::from_millis(800), "{:?}", began.elapsed());
}
