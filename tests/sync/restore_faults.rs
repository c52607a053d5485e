//! Restoring over broken lines, onto full disks, and when it is killed: nothing half done, and the next run goes on.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use crate::agents::pid;
use crate::common::agent::{Agent, assert_same_files, files, finish, noise, until};
use crate::common::namespace::MountNamespace;
use crate::common::s3::{Reply, error_body};

const MIB: usize = 1 << 20;

type Asked = (Option<String>, bool);

/// Files that a restore has begun and not finished.
fn unfinished(root: &Path) -> Vec<String> {
    files(root).into_keys().filter(|path| path.contains(".agent-portail-restore-")).collect()
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_was() {
    let agent = Agent::start().await;
    agent.write("large", noise(1, 3 * MIB));
    agent.synced().await;
    // What was asked for, and whether only of the same object.
    let ranges: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let seen = Arc::clone(&ranges);
    agent.s3.script(move |request| {
        if request.operation != "GetObject" {
            return None;
        }
        let mut seen = seen.lock().unwrap();
        seen.push((request.headers.get("range").cloned(), request.headers.contains_key("if-match")));
        match seen.len() {
            1 => Some(Reply::Cut(MIB)),
            2 => Some(Reply::Cut(MIB / 2)),
            3 => Some(Reply::Disconnect),
            _ => None,
        }
    });
    let to = agent.aside("back");
    let outcome = agent.restore(&to, &[]).await.expect_code(0);
    assert_eq!(outcome.count("bytes_fetched"), 3 * MIB as u64, "nothing is fetched twice");
    assert_same_files(&agent.root, &to);
    let ranges = ranges.lock().unwrap();
    let from: Vec<Option<&str>> = ranges.iter().map(|(range, _)| range.as_deref()).collect();
    assert_eq!(from[..3], [None, Some("bytes=1048576-"), Some("bytes=1572864-")]);
    assert!(ranges.iter().all(|(_, matched)| *matched), "only ever of one object");
}

#[tokio::test]
async fn an_object_that_is_replaced_in_the_middle_is_fetched_anew_and_whole() {
    let agent = Agent::start().await;
    agent.s3.put(&agent.bucket, "large", noise(1, 2 * MIB)).await;
    let (sdk, bucket, mut cut) = (agent.s3.sdk().clone(), agent.bucket.clone(), false);
    agent.s3.script(move |request| {
        if request.operation != "GetObject" || std::mem::replace(&mut cut, true) {
            return None;
        }
        let (sdk, bucket) = (sdk.clone(), bucket.clone());
        tokio::spawn(async move {
            sdk.put_object().bucket(bucket).key("large").body(noise(2, MIB).into()).send().await.unwrap();
        });
        Some(Reply::Cut(MIB + 7))
    });
    let to = agent.aside("back");
    agent.restore(&to, &[]).await.expect_code(0);
    let restored = fs::read(to.join("large")).unwrap();
    assert!(restored == noise(2, MIB) || restored == noise(1, 2 * MIB), "one or the other, whole");
}

#[tokio::test]
async fn bytes_that_are_not_what_was_synced_are_thrown_away() {
    let agent = Agent::start().await;
    agent.write("a", "good");
    agent.synced().await;
    let to = agent.aside("back");
    for source in [&[][..], &["--from-bucket"]] {
        agent.s3.reply_next("GetObject", 1, Reply::Garbled);
        let outcome = agent.restore(&to, source).await.expect_code(1);
        assert!(outcome.not_restored()["a"].contains("it is damaged"), "{}", outcome.stdout);
        assert_eq!(files(&to).len(), 0, "neither the file nor a part of it");
    }
    agent.restore(&to, &[]).await.expect_code(0);
}

#[tokio::test]
async fn a_store_that_is_slow_or_fails_at_times_is_waited_for() {
    let agent = Agent::start().await;
    for i in 0..40 {
        agent.write(format!("{i}"), noise(i, 100));
    }
    agent.synced().await;
    agent.s3.fail_next("GetObject", 12, 503, &error_body("SlowDown"));
    agent.s3.fail_next("GetObject", 5, 500, &error_body("InternalError"));
    agent.s3.reply_next("GetObject", 3, Reply::Disconnect);
    let to = agent.aside("back");
    let outcome = agent.restore(&to, &[]).await.expect_code(0);
    assert_eq!(outcome.count("restored"), 40);
    assert_same_files(&agent.root, &to);
}

#[tokio::test]
async fn a_missing_permission_is_named_for_the_key_or_ends_it_all() {
    let agent = Agent::start().await;
    for i in 0..200 {
        agent.write(format!("{i:03}"), "x");
    }
    agent.synced().await;
    let denied = |body: String| Reply::Answer { status: 403, headers: Vec::new(), body };
    let reply = denied(error_body("AccessDenied"));
    let one = reply.clone();
    agent.s3.script(move |request| {
        (request.operation == "GetObject" && request.path.ends_with("/007")).then(|| one.clone())
    });
    let outcome = agent.restore(&agent.aside("one"), &[]).await.expect_code(1);
    assert_eq!((outcome.count("restored"), outcome.count("failed")), (199, 1));
    assert!(outcome.not_restored()["007"].contains("the permission s3:GetObject"), "{:?}", outcome.not_restored());
    agent.s3.clear_scripts();
    agent.s3.script(move |request| (request.operation == "GetObject").then(|| reply.clone()));
    agent.s3.reset_counts();
    let outcome = agent.restore(&agent.aside("all"), &[]).await.expect_code(1);
    assert!(agent.s3.count("GetObject") < 60, "{:?}", agent.s3.counts());
    outcome.expect_words(&["the permission s3:GetObject"]);
    agent.s3.clear_scripts();
    agent.s3.fail_next("GetObject", 1, 403, &error_body("InvalidObjectState"));
    let outcome = agent.restore(&agent.aside("archive"), &["--path", "000"]).await.expect_code(1);
    assert!(outcome.not_restored()["000"].contains("RestoreObject"), "{}", outcome.stdout);
}

#[tokio::test]
async fn a_store_that_is_away_ends_it_with_one_message() {
    let mut agent = Agent::start().await;
    for i in 0..50 {
        agent.write(format!("{i}"), "x");
    }
    agent.synced().await;
    agent.s3.script(|request| (request.operation == "GetObject").then_some(Reply::Disconnect));
    agent.env.insert("AGENT_PORTAIL__SYNC__WORKERS", "1".to_owned());
    let outcome = agent.restore(&agent.aside("back"), &[]).await.expect_code(1);
    outcome.expect_words(&["the store can't be reached"]);
    assert!(agent.s3.count("GetObject") <= 5 * 3, "{:?}", agent.s3.counts());
}

#[tokio::test]
async fn killed_in_the_middle_it_leaves_nothing_wrong_and_the_next_one_goes_on() {
    let mut agent = Agent::start().await;
    for i in 0..60 {
        agent.write(format!("d{}/{i}", i % 3), noise(i, 2 * MIB / 10));
    }
    agent.synced().await;
    let to = agent.aside("back");
    for round in 0..3 {
        let mut seen = 0;
        agent.s3.script(move |request| {
            seen += usize::from(request.operation == "GetObject");
            // The answer of some is cut, so that their files are begun, and their next request never answered.
            match (request.operation, request.headers.contains_key("range")) {
                ("GetObject", false) if seen > 10 && seen % 2 == 0 => Some(Reply::Cut(70_000)),
                ("GetObject", true) => Some(Reply::Hang),
                _ => None,
            }
        });
        let mut child = agent.command(&["restore", "--folder", "files", "--to", to.to_str().unwrap()]).spawn().unwrap();
        until("some are begun", async || to.exists() && unfinished(&to).len() > 2).await;
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        agent.s3.clear_scripts();
        assert!(unfinished(&to).len() > 2, "what it was at is left");
        for (path, file) in files(&to) {
            if !path.contains(".agent-portail-restore-") {
                assert_eq!(file.md5, files(&agent.root)[&path].md5, "round {round}: {path}");
            }
        }
    }
    // What is left is nobody's file.
    let rest = files(&to).len() - unfinished(&to).len();
    let root = std::mem::replace(&mut agent.root, to.clone());
    agent.folder = "max_delete = \"100%\"".to_owned();
    agent.prefix = "elsewhere/".to_owned();
    let pass = agent.synced().await;
    assert_eq!(pass.done("uploaded"), rest as u64);
    (agent.root, agent.prefix) = (root, String::new());

    agent.s3.reset_counts();
    let outcome = agent.restore(&to, &[]).await.expect_code(0);
    assert_eq!((outcome.count("present"), agent.s3.count("GetObject")), (rest as u64, 60 - rest as u64));
    assert_eq!(unfinished(&to), [""; 0]);
    assert_same_files(&agent.root, &to);
}

#[tokio::test]
async fn interrupted_it_removes_what_it_has_begun() {
    let agent = Agent::start().await;
    for i in 0..20 {
        agent.write(format!("{i}"), noise(i, 200_000));
    }
    agent.synced().await;
    agent.s3.script(|request| match (request.operation, request.headers.contains_key("range")) {
        ("GetObject", false) => Some(Reply::Cut(100_000)),
        ("GetObject", true) => Some(Reply::Hang),
        _ => None,
    });
    let to = agent.aside("back");
    let child =
        agent.command(&["restore", "--json", "--folder", "files", "--to", to.to_str().unwrap()]).spawn().unwrap();
    until("all are begun", async || to.exists() && unfinished(&to).len() == 8).await;
    rustix::process::kill_process(pid(&child), Signal::INT).unwrap();
    let outcome = finish(child).await.expect_code(130);
    assert_eq!((outcome.count("restored"), &outcome.json["interrupted"]), (0, &true.into()));
    assert!(outcome.took < Duration::from_secs(20), "{:?}", outcome.took);
    assert_eq!(files(&to).len(), 0);
    agent.s3.clear_scripts();
    agent.restore(&to, &[]).await.expect_code(0);
    assert_same_files(&agent.root, &to);
}

#[tokio::test]
async fn two_restores_do_not_share_a_target() {
    let agent = Agent::start().await;
    agent.write("a", noise(1, 200_000));
    agent.synced().await;
    agent.s3.script(|request| (request.operation == "GetObject").then_some(Reply::Hang));
    let to = agent.aside("back");
    let mut first = agent.command(&["restore", "--folder", "files", "--to", to.to_str().unwrap()]).spawn().unwrap();
    until("it fetches", async || agent.s3.count("GetObject") > 0).await;
    agent.restore(&to, &[]).await.expect_code(1).expect_words(&["another restore is writing there"]);
    first.start_kill().unwrap();
    first.wait().await.unwrap();
    agent.s3.clear_scripts();
    agent.restore(&to, &[]).await.expect_code(0);
}

#[tokio::test]
async fn a_full_disk_ends_it_with_nothing_half_done() {
    let agent = Agent::start().await;
    for i in 0..8 {
        agent.write(format!("{i}"), noise(i, 300_000));
    }
    agent.write("huge", noise(9, 5 * MIB));
    agent.synced().await;
    let (namespace, to) = (MountNamespace::new(), agent.aside("back"));
    fs::create_dir(&to).unwrap();
    let options = Path::new("size=1m");
    let tmpfs = Path::new("tmpfs");
    namespace.run("mount", &[Path::new("-t"), tmpfs, Path::new("-o"), options, tmpfs, &to]).await;
    let restore = |args: &[&str]| {
        let all = ["restore", "--json", "--folder", "files", "--to", to.to_str().unwrap()];
        namespace.command(&agent.command(&[&all, args].concat()))
    };
    let outcome = finish(restore(&["--path", "huge"]).spawn().unwrap()).await.expect_code(1);
    outcome.expect_words(&["make room or choose another directory", "No space left on device"]);
    assert!(agent.s3.count("GetObject") <= 1);
    assert_eq!(files(&namespace.path(&to)).len(), 0);
    let outcome = finish(restore(&[]).spawn().unwrap()).await.expect_code(1);
    outcome.expect_words(&["No space left on device"]);
    let there = files(&namespace.path(&to));
    assert!(there.len() <= 3, "{:?}", there.keys());
    for (path, file) in &there {
        assert_eq!(file.md5, files(&agent.root)[path].md5, "{path}");
    }
    namespace.run("mount", &[Path::new("-o"), Path::new("remount,size=20m"), &to]).await;
    let outcome = finish(restore(&[]).spawn().unwrap()).await.expect_code(0);
    assert_eq!(outcome.count("present"), there.len() as u64);
    assert_same_files(&agent.root, &namespace.path(&to));
}

#[tokio::test]
async fn a_target_that_only_reads_is_said_to_be_one() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    agent.write("b", "b");
    agent.synced().await;
    let (namespace, to) = (MountNamespace::new(), agent.aside("back"));
    fs::create_dir(&to).unwrap();
    namespace.bind(&to, &to).await;
    namespace.run("mount", &[Path::new("-o"), Path::new("remount,bind,ro"), &to]).await;
    let command = agent.command(&["restore", "--folder", "files", "--to", to.to_str().unwrap()]);
    let outcome = finish(namespace.command(&command).spawn().unwrap()).await.expect_code(1);
    outcome.expect_words(&["Read-only file system", "choose another directory"]);
    assert_eq!(files(&to).len(), 0);
}

#[tokio::test]
async fn a_catalog_that_only_reads_is_enough() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    agent.synced().await;
    agent.db.rows(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", agent.db.settings().name)).await;
    let to = agent.aside("back");
    let outcome = agent.restore(&to, &[]).await.expect_code(0);
    assert_eq!((outcome.count("restored"), &outcome.json["source"]), (1, &"catalog".into()));
    assert!(outcome.json["history_error"].as_str().unwrap().contains("read-only"), "{}", outcome.stdout);
    assert_same_files(&agent.root, &to);
}
