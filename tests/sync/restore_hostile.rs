//! Restoring what somebody else has put into the bucket or the catalog: nothing gets out of the target.

use std::fs;

use crate::common::agent::{Agent, files, md5_hex};

/// Keys that would lead elsewhere, if anybody followed them, or that no file can have.
const BAD: [&str; 14] = [
    "../out",
    "../../out",
    "a/../../out",
    "..",
    ".",
    "./out",
    "a/./b",
    "a/..",
    "/out",
    "//out",
    "a//b",
    "a/b//",
    "nul\0nul",
    "deep/.agent-portail-restore-0123456789abcdef.tmp",
];

/// Keys that look bad and are plain names.
const PLAIN: [&str; 9] = ["...", "..a", "a..", "C:", "C:\\out", "a\\..\\..\\out", "~", "-rf", "$(out)"];

/// What lies beside the target, which nobody may touch.
fn surroundings(agent: &Agent) -> Vec<String> {
    let entries = fs::read_dir(agent.home.path()).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn hostile_keys_stay_in_the_target() {
    let agent = Agent::start().await;
    for key in BAD.into_iter().chain(PLAIN) {
        agent.s3.put(&agent.bucket, key, key.as_bytes().to_vec()).await;
    }
    for marker in ["marker/", "marker/inner/"] {
        agent.s3.put(&agent.bucket, marker, "").await;
    }
    agent.s3.put(&agent.bucket, "not empty/", "x").await;
    let there = agent.s3.keys(&agent.bucket).await;
    let (mut refused, mut plain) = (Vec::new(), Vec::new());
    for key in there.iter().filter(|key| !key.starts_with("marker/")) {
        let list = if BAD.contains(&key.as_str()) || key == "not empty/" { &mut refused } else { &mut plain };
        list.push(key.as_str());
    }
    if agent.s3.is_embedded() {
        // Garage leaves out slashes at the beginning.
        assert_eq!((refused.len(), plain.len()), (BAD.len() + 1, PLAIN.len()));
    }
    let to = agent.aside("back");
    agent.run(&["migrate"]).await.expect_code(0);
    let mut expected = [surroundings(&agent), vec!["back".to_owned()]].concat();
    expected.sort();
    let outcome = agent.restore(&to, &[]).await.expect_code(1);
    let failures: Vec<String> = outcome.not_restored().into_keys().collect();
    let mut named: Vec<String> = refused.iter().map(|key| shown(key)).collect();
    named.sort();
    assert_eq!(failures, named);
    assert_eq!((outcome.count("restored"), outcome.count("directory_markers")), (plain.len() as u64, 2));
    let restored = files(&to);
    assert_eq!(restored.keys().collect::<Vec<_>>(), plain);
    for key in PLAIN {
        assert_eq!(restored[key].md5, md5_hex(key.as_bytes()), "{key}");
    }
    assert_eq!(surroundings(&agent), expected);
    assert!(!std::path::Path::new("/out").exists());
}

fn shown(key: &str) -> String {
    agent_portail::model::Printable(key).to_string()
}

#[tokio::test]
async fn hostile_rows_stay_in_the_target() {
    let agent = Agent::start().await;
    agent.write("good", "good");
    agent.synced().await;
    let row = |path: &str, raw: &str| {
        format!(
            "INSERT INTO portail.file (folder_id, path, raw_path, name, key, size, md5, etag, mode, mtime_ns, state)
             SELECT folder_id, '{path}', {raw}, 'x', '{path}', size, md5, etag, mode, mtime_ns, 'synced'
             FROM portail.file WHERE path = 'good'"
        )
    };
    for path in BAD.into_iter().filter(|path| !path.contains('\0')) {
        agent.s3.put(&agent.bucket, path, "good").await;
        agent.db.rows(&row(path, "NULL")).await;
    }
    // The raw name is what the file would be called.
    agent.s3.put(&agent.bucket, "innocent", "good").await;
    agent.db.rows(&row("innocent", "'../out'::bytea")).await;
    agent.s3.put(&agent.bucket, "nul", "good").await;
    agent.db.rows(&row("nul", "'\\x6e00'::bytea")).await;
    let to = agent.aside("back");
    let outcome = agent.restore(&to, &[]).await.expect_code(1);
    assert_eq!(outcome.count("restored"), 1, "{}", outcome.stdout);
    assert_eq!(outcome.count("failed"), BAD.len() as u64 - 1 + 2);
    assert_eq!(files(&to).into_keys().collect::<Vec<_>>(), ["good"]);
    assert!(!agent.aside("out").exists());
}

#[tokio::test]
async fn a_path_that_is_both_file_and_directory_is_one_of_them() {
    let agent = Agent::start().await;
    for key in ["a", "a/b", "a/b/c", "d"] {
        agent.s3.put(&agent.bucket, key, key).await;
    }
    let to = agent.aside("back");
    let outcome = agent.restore(&to, &[]).await.expect_code(1);
    assert!(
        outcome.count("restored") + outcome.count("failed") == 4 && outcome.count("failed") >= 1,
        "{}",
        outcome.stdout
    );
    let restored = files(&to);
    assert!(restored.contains_key("d") && restored.len() as u64 == outcome.count("restored"));
    for (path, why) in outcome.not_restored() {
        assert!(
            why.contains("a directory stands there")
                || why.contains("in the place of a directory")
                || why.contains("something else has appeared"),
            "{path}: {why}"
        );
    }
}

#[tokio::test]
async fn names_that_the_file_system_cannot_hold_are_named_and_keep_nothing_else_out() {
    let agent = Agent::start().await;
    let long = "n".repeat(256);
    for key in [long.as_str(), &format!("{long}/x"), "fits"] {
        agent.s3.put(&agent.bucket, key, "x").await;
    }
    let to = agent.aside("back");
    let outcome = agent.restore(&to, &[]).await.expect_code(1);
    assert_eq!((outcome.count("restored"), outcome.count("failed")), (1, 2), "{}", outcome.stdout);
    assert!(outcome.not_restored()[&long].contains("File name too long"), "{:?}", outcome.not_restored());
}

#[tokio::test]
async fn objects_of_other_tools_are_restored_with_what_they_tell() {
    let agent = Agent::start().await;
    let (s3, bucket) = (&agent.s3, &agent.bucket);
    s3.put(bucket, "bare", "bare").await;
    s3.put_with(bucket, "rclone", "rclone", &[("mtime", "1600000000.5"), ("mode", "100640")]).await;
    s3.put_with(bucket, "s3fs", "s3fs", &[("mtime", "1600000001"), ("mode", "33188"), ("uid", "0")]).await;
    s3.put_with(bucket, "nonsense", "nonsense", &[("mtime", "yesterday"), ("mode", "rw"), ("md5chksum", "x")]).await;
    s3.put_with(bucket, "forged", "forged", &[("mode", "0104777"), ("md5chksum", "AAAAAAAAAAAAAAAAAAAAAA==")]).await;
    let upload = s3.sdk().create_multipart_upload().bucket(bucket).key("in parts").send().await.unwrap();
    let id = upload.upload_id().unwrap();
    let mut parts = aws_sdk_s3::types::CompletedMultipartUpload::builder();
    for (number, size) in [(1, 5 << 20), (2, 100)] {
        let body = aws_sdk_s3::primitives::ByteStream::from(vec![b'x'; size]);
        let sent = s3.sdk().upload_part().bucket(bucket).key("in parts").upload_id(id).part_number(number).body(body);
        let etag = sent.send().await.unwrap().e_tag().unwrap().to_owned();
        parts = parts.parts(aws_sdk_s3::types::CompletedPart::builder().part_number(number).e_tag(etag).build());
    }
    let complete = s3.sdk().complete_multipart_upload().bucket(bucket).key("in parts").upload_id(id);
    complete.multipart_upload(parts.build()).send().await.unwrap();

    let to = agent.aside("back");
    let outcome = agent.restore(&to, &[]).await.expect_code(1);
    assert!(outcome.not_restored()["forged"].contains("instead of 0000"), "{:?}", outcome.not_restored());
    assert_eq!((outcome.count("restored"), outcome.count("unchecked")), (5, 0), "an ETag of parts tells as well");
    let restored = files(&to);
    use std::os::unix::fs::MetadataExt as _;
    let of = |name: &str| {
        (restored[name].meta.mtime(), restored[name].meta.mtime_nsec(), restored[name].meta.mode() & 0o7777)
    };
    assert_eq!(of("rclone"), (1_600_000_000, 500_000_000, 0o640));
    assert_eq!(of("s3fs"), (1_600_000_001, 0, 0o644));
    assert_eq!(of("nonsense").2, 0o644);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((now - of("bare").0).abs() < 600, "when it was put");
    assert_eq!(restored["in parts"].meta.len(), (5 << 20) + 100);
    let outcome = agent.restore(&to, &[]).await.expect_code(1);
    assert_eq!((outcome.count("restored"), outcome.count("present")), (0, 5), "{}", outcome.stdout);
}
