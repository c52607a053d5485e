//! The proof that folder, catalog and bucket hold the same: each planted difference is found, and no other.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::json;

use crate::agents::{hold_lock, pid};
use crate::common::agent::{Agent, finish, noise, set_mtime, until};
use crate::common::daemon::Daemon;
use crate::common::s3::Reply;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(path, kind)| ((*path).to_owned(), (*kind).to_owned())).collect()
}

#[tokio::test]
async fn where_all_is_equal_every_file_is_read_and_nothing_is_asked_but_a_listing() {
    let mut agent = Agent::start().await;
    agent.sync = "part_size = \"5MiB\"".to_owned();
    agent.folder = "exclude = [\"*.tmp\"]".to_owned();
    for i in 0..40 {
        agent.write(format!("d{}/{i}", i % 3), noise(i, 1000));
    }
    agent.write("in parts", noise(1, 11 << 20));
    agent.write("x.tmp", "");
    agent.synced().await;
    agent.s3.put(&agent.bucket, "theirs", "x").await;
    agent.s3.reset_counts();
    let (found, summary) = agent.verify(&[], 0).await;
    assert_eq!((found, &summary["equal"], &summary["files"]), (vec![], &true.into(), &41.into()), "{summary}");
    assert_eq!((&summary["bytes"], &summary["foreign"]), (&((11 << 20) + 40_000).into(), &1.into()));
    assert_eq!((&summary["skipped"], &summary["objects_fetched"]), (&1.into(), &0.into()));
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
    agent.s3.reset_counts();
    let (found, summary) = agent.verify(&["--download"], 0).await;
    assert_eq!((found, &summary["objects_fetched"]), (vec![], &41.into()));
    assert_eq!(agent.s3.counts(), [("GetObject", 41), ("ListObjectsV2", 1)].into());
    let outcome = agent.run(&["verify"]).await.expect_code(0);
    outcome.expect_words(&[
        "files: folder, catalog and bucket are equal\n",
        "41 files read",
        "1 objects that are not ours",
    ]);
}

/// An agent whose three worlds differ in each way, and what is to be found.
async fn with_differences() -> (Agent, Vec<(String, String)>) {
    let mut agent = Agent::start().await;
    agent.restricted = true;
    agent.folder = "max_delete = \"100%\"".to_owned();
    for name in [
        "changed",
        "damaged",
        "damaged and no object",
        "gone",
        "no object",
        "object differs",
        "object longer",
        "sound",
        "touched",
        "locked/below",
        "unreadable",
    ] {
        agent.write(name, name);
    }
    agent.synced().await;
    agent.write("changed", "changed since");
    set_mtime(&agent.path("touched"), SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000));
    agent.write("new", "new");
    agent.remove("gone");
    for name in ["no object", "damaged and no object"] {
        if name.starts_with("damaged") {
            agent.damage(name).await;
        }
        agent.s3.sdk().delete_object().bucket(&agent.bucket).key(name).send().await.unwrap();
    }
    agent.damage("damaged").await;
    agent.s3.put(&agent.bucket, "object differs", "OBJECT DIFFERS").await;
    agent.s3.put(&agent.bucket, "object longer", "object longer and longer").await;
    use std::os::unix::fs::PermissionsExt as _;
    for name in ["locked", "unreadable"] {
        fs::set_permissions(agent.path(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let found = pairs(&[
        ("changed", "unsynced"),
        ("damaged", "damaged-file"),
        ("damaged and no object", "damaged-file"),
        ("damaged and no object", "no-object"),
        ("gone", "no-file"),
        ("locked", "unreadable"),
        ("new", "no-row"),
        ("no object", "no-object"),
        ("object differs", "object-differs"),
        ("object longer", "object-differs"),
        ("touched", "unsynced"),
        ("unreadable", "unreadable"),
    ]);
    (agent, found)
}

#[tokio::test]
async fn each_difference_is_found_and_named_and_nothing_is_changed() {
    let (agent, expected) = with_differences().await;
    let rows = "SELECT path, state, etag, encode(md5, 'hex'), synced_at FROM portail.file ORDER BY path";
    let before = (agent.db.rows(rows).await, agent.s3.objects(&agent.bucket).await);
    for args in [&[][..], &["--download"]] {
        let (found, summary) = agent.verify(args, 1).await;
        assert_eq!(found, expected);
        assert_eq!((&summary["differing"], &summary["mended"]), (&11.into(), &0.into()));
        assert_eq!(summary["differences"]["object-differs"], 2);
        assert_eq!(summary["unseen"], 1);
    }
    assert_eq!((agent.db.rows(rows).await, agent.s3.objects(&agent.bucket).await), before);
    let outcome = agent.run(&["verify"]).await.expect_code(1);
    outcome.expect_words(&[
        "damaged-file   files:damaged: its content has the MD5 ",
        "`restore --force --folder files --path damaged` while no agent runs, or `touch` the file",
        "neither file nor object is what was synced",
        "unsynced       files:touched: its times, mode or owner have changed since it was synced\n",
        "files: folder, catalog and bucket DIFFER\n",
        "11 paths differ: 2 unsynced, 1 no-row, 1 no-file, 2 no-object, 2 object-differs, 2 damaged-file, 2 unreadable",
    ]);
}

#[tokio::test]
async fn repair_mends_what_needs_no_guessing_and_leaves_the_only_good_copy_alone() {
    let (agent, _) = with_differences().await;
    let good = agent.s3.object(&agent.bucket, "damaged").await.unwrap();
    let (_, summary) = agent.verify(&["--repair"], 1).await;
    assert_eq!(summary["mended"], 6, "{summary}");
    let (left, _) = agent.verify(&[], 1).await;
    let expected = pairs(&[
        ("damaged", "damaged-file"),
        ("damaged and no object", "damaged-file"),
        ("damaged and no object", "no-object"),
        ("gone", "no-file"),
        ("locked", "unreadable"),
        ("unreadable", "unreadable"),
    ]);
    assert_eq!(left, expected);
    assert_eq!(agent.s3.object(&agent.bucket, "damaged").await.unwrap(), good);
    assert!(agent.s3.object(&agent.bucket, "damaged and no object").await.is_none());
    for name in ["changed", "no object", "object differs", "object longer", "new"] {
        let object = agent.s3.object(&agent.bucket, name).await.unwrap();
        assert_eq!(object.bytes, fs::read(agent.path(name)).unwrap(), "{name}");
    }
    // The two ways that are told: the object is brought back, or the file counts as it is.
    agent.restore(&agent.root, &["--force", "--path", "damaged"]).await.expect_code(0);
    assert_eq!(fs::read(agent.path("damaged")).unwrap(), good.bytes);
    set_mtime(&agent.path("damaged and no object"), SystemTime::now());
    use std::os::unix::fs::PermissionsExt as _;
    for name in ["locked", "unreadable"] {
        fs::set_permissions(agent.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    agent.synced().await;
    assert_eq!(agent.verify(&["--download"], 0).await.0, []);
    agent.assert_same_content().await;
}

#[tokio::test]
async fn what_can_be_repaired_is_equal_afterwards() {
    let agent = Agent::start().await;
    for i in 0..600 {
        agent.write(format!("{i:03}"), format!("{i}"));
    }
    agent.synced().await;
    for i in 0..300 {
        match i % 3 {
            0 => {
                drop(agent.s3.sdk().delete_object().bucket(&agent.bucket).key(format!("{i:03}")).send().await.unwrap())
            }
            1 => agent.s3.put(&agent.bucket, &format!("{i:03}"), "other").await,
            _ => agent.write(format!("{i:03}"), format!("{i} changed")),
        }
    }
    agent.db.rows("DELETE FROM portail.file WHERE path >= '500'").await;
    let (found, summary) = agent.verify(&["--repair"], 0).await;
    assert_eq!((found.len(), &summary["mended"], &summary["equal"]), (400, &400.into(), &true.into()));
    agent.assert_in_sync().await;
    assert_eq!(agent.verify(&["--repair", "--download"], 0).await.0, []);
    agent.run(&["verify", "--repair"]).await.expect_code(0).expect_words(&["folder, catalog and bucket are equal"]);
}

#[tokio::test]
async fn bytes_that_decayed_in_the_bucket_are_found_by_fetching_them_and_uploaded_again() {
    let agent = Agent::start().await;
    for name in ["bad", "good"] {
        agent.write(name, name);
    }
    agent.synced().await;
    let decayed = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&decayed);
    agent.s3.script(move |request| {
        if request.operation == "PutObject" && request.path.ends_with("/bad") {
            still.store(false, Ordering::Relaxed);
        }
        let fetched = request.operation == "GetObject" && request.path.ends_with("/bad");
        (fetched && still.load(Ordering::Relaxed)).then_some(Reply::Garbled)
    });
    assert_eq!(agent.verify(&[], 0).await.0, [], "the ETag does not tell");
    assert_eq!(agent.verify(&["--download"], 1).await.0, pairs(&[("bad", "damaged-object")]));
    agent
        .run(&["verify", "--download"])
        .await
        .expect_code(1)
        .expect_words(&["`verify --repair` uploads the file again"]);
    assert_eq!(agent.verify(&["--download", "--repair"], 0).await.0, pairs(&[("bad", "damaged-object")]));
    assert!(!decayed.load(Ordering::Relaxed));
    assert_eq!(agent.verify(&["--download"], 0).await.0, []);
}

#[tokio::test]
async fn a_folder_that_was_never_synced_has_no_rows_and_repair_makes_them() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    assert_eq!(agent.verify(&[], 1).await.0, pairs(&[("a", "no-row")]));
    assert_eq!(agent.verify(&["--repair"], 0).await.0, pairs(&[("a", "no-row")]));
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn what_is_kept_and_what_has_failed_is_told_apart() {
    let mut agent = Agent::start().await;
    agent.folder = "delete = \"keep\"".to_owned();
    for name in ["kept", "kept and lost", "refused"] {
        agent.write(name, name);
    }
    agent.s3.script(|request| {
        let denied =
            || Reply::Answer { status: 403, headers: vec![], body: crate::common::s3::error_body("AccessDenied") };
        (request.operation == "PutObject" && request.path.ends_with("/refused")).then(denied)
    });
    agent.troubled().await;
    agent.remove("kept");
    agent.remove("kept and lost");
    agent.troubled().await;
    agent.s3.sdk().delete_object().bucket(&agent.bucket).key("kept and lost").send().await.unwrap();
    let expected = pairs(&[("kept and lost", "no-object"), ("refused", "failed")]);
    assert_eq!(agent.verify(&[], 1).await.0, expected);
    let (_, summary) = agent.verify(&["--repair"], 1).await;
    assert_eq!((&summary["differing"], &summary["mended"]), (&2.into(), &0.into()), "it is refused again");
    agent.s3.clear_scripts();
    let (_, summary) = agent.verify(&["--repair"], 1).await;
    assert_eq!(summary["mended"], 1);
    assert_eq!(agent.verify(&[], 1).await.0, pairs(&[("kept and lost", "no-object")]));
}

#[tokio::test]
async fn repair_takes_the_writers_lock_and_looking_takes_none() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    agent.synced().await;
    let lock = hold_lock(&agent).await;
    assert_eq!(agent.verify(&[], 0).await.0, []);
    let outcome = agent.run(&["verify", "--repair"]).await.expect_code(1);
    assert!(outcome.took >= Duration::from_secs(5), "{:?}", outcome.took);
    outcome.expect_words(&["take the writer's lock of the folder `files`", "`agent-portail rival`"]);
    drop(lock);
}

#[tokio::test]
async fn a_verification_can_be_interrupted() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    agent.synced().await;
    agent.s3.script(|request| (request.operation == "GetObject").then_some(Reply::Hang));
    let child = agent.command(&["verify", "--download"]).spawn().unwrap();
    until("it fetches", async || agent.s3.count("GetObject") > 0).await;
    rustix::process::kill_process(pid(&child), Signal::INT).unwrap();
    let outcome = finish(child).await.expect_code(130);
    assert!(outcome.took < Duration::from_secs(20), "{:?}", outcome.took);
    outcome.expect_words(&["files: interrupted\n"]);
}

/// Writes, replaces, renames and removes files until it is told to stop.
fn churn(agent: &Agent, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let root = agent.root.join("churn");
    fs::create_dir_all(&root).unwrap();
    std::thread::spawn(move || {
        for round in 0_u64.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let name = |number: u64| root.join(format!("{}", number % 40));
            fs::write(name(round), noise(round, 2000)).unwrap();
            match round % 5 {
                0 => drop(fs::remove_file(name(round + 7))),
                1 => drop(fs::rename(name(round), name(round + 13))),
                2 => {
                    fs::write(root.join("fresh"), noise(round, 1000)).unwrap();
                    fs::rename(root.join("fresh"), name(round + 3)).unwrap();
                }
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    })
}

#[tokio::test]
async fn while_a_daemon_and_others_work_only_true_differences_are_called_so() {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"100%\"".to_owned();
    agent.sync = "max_delay = \"2s\"".to_owned();
    for i in 0..200 {
        agent.write(format!("calm/{i:03}"), noise(i, 5000));
    }
    let daemon = Daemon::settled(&agent).await;
    let stop = Arc::new(AtomicBool::new(false));
    let churning = churn(&agent, Arc::clone(&stop));
    for _ in 0..2 {
        let (found, summary) = agent.verify(&["--download"], 0).await;
        assert_eq!(found, [], "{summary}\n{}", daemon.log());
        assert!(summary["files"].as_u64().unwrap() >= 200);
    }
    // This nobody sees but who reads.
    agent.damage("calm/007").await;
    let (found, summary) = agent.verify(&[], 1).await;
    assert_eq!(found, pairs(&[("calm/007", "damaged-file")]), "{summary}");
    stop.store(true, Ordering::Relaxed);
    churning.join().unwrap();
    daemon.until_folder("the queue is empty", |folder| folder["queue_depth"] == 0).await;
    assert_eq!(daemon.folder("files").await["drift"], json!({}));
    daemon.stop().await;
}
