//! Bringing files back: what is there afterwards, and what it costs.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::agents::hold_lock;
use crate::common::agent::{Agent, assert_same_files, files, noise, set_mtime};
use crate::names::hostile;

/// An agent with files of all sorts, synced.
async fn with_files() -> Agent {
    let mut agent = Agent::start().await;
    agent.sync = "part_size = \"5MiB\"".to_owned();
    for (name, size) in [("empty", 0), ("small", 3), ("in parts", (11 << 20) + 1), ("deep/er/still/file", 100_000)] {
        agent.write(name, noise(size as u64 + 1, size));
    }
    for (name, mode) in [("private", 0o600), ("deep/program", 0o755), ("read-only", 0o444), ("nothing", 0o000)] {
        agent.write(name, name);
        fs::set_permissions(agent.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let epoch = SystemTime::UNIX_EPOCH;
    for (name, time) in [
        ("old", epoch - Duration::new(1_000_000, 1)),
        ("then", epoch + Duration::new(1_234_567_890, 123_456_789)),
        ("to come", epoch + Duration::new(4_000_000_000, 5)),
    ] {
        agent.write(name, name);
        set_mtime(&agent.path(name), time);
    }
    if agent.s3.is_embedded() {
        for name in hostile() {
            agent.write_raw(&[b"hostile/".as_slice(), &name].concat(), &name);
        }
    }
    agent.synced().await;
    agent
}

#[tokio::test]
async fn a_folder_that_is_restored_is_the_same_and_a_second_time_costs_nothing() {
    let agent = with_files().await;
    let (to, count) = (agent.aside("back"), files(&agent.root).len() as u64);
    agent.s3.reset_counts();
    let outcome = agent.restore(&to, &[]).await.expect_code(0);
    assert_eq!((outcome.count("restored"), outcome.count("present")), (count, 0), "{}", outcome.stdout);
    assert_eq!((outcome.json["source"].as_str(), outcome.count("unchecked")), (Some("catalog"), 0));
    assert_eq!(agent.s3.counts(), [("GetObject", count)].into(), "one request a file, and no other");
    assert_same_files(&agent.root, &to);
    let history =
        "SELECT count(*), count(DISTINCT path), count(md5), min(detail) FROM portail.event WHERE kind = 'restored'";
    let all = count.to_string();
    assert_eq!(agent.db.rows(history).await, [[all.clone(), all.clone(), all, to.to_string_lossy().to_string()]]);

    agent.s3.reset_counts();
    let outcome = agent.restore(&to, &[]).await.expect_code(0);
    assert_eq!((outcome.count("restored"), outcome.count("present")), (0, count));
    assert_eq!(agent.s3.counts(), [].into());
    assert_same_files(&agent.root, &to);
    // Nor does a sync of what was restored over the original send anything.
    agent.restore(&agent.root, &[]).await.expect_code(0);
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn nothing_but_the_bucket_is_enough() {
    let mut agent = with_files().await;
    let count = files(&agent.root).len() as u64;
    let raw: Vec<String> = if agent.s3.is_embedded() {
        // Of a name that is not UTF-8, only the catalog knows the bytes.
        let names = files(&agent.root.join("hostile")).into_keys();
        names.filter(|name| agent_portail::model::may_collide(name.as_bytes())).collect()
    } else {
        Vec::new()
    };
    for (name, lost) in [("unreachable", 0), ("empty", 1), ("unknown", 2)] {
        match lost {
            0 => agent.database = Some("host = \"127.0.0.1\"\nport = 1\n".to_owned()),
            1 => {
                agent.database = None;
                agent.db.rows("DROP SCHEMA portail CASCADE").await;
            }
            _ => {
                agent.run(&["migrate"]).await.expect_code(0);
            }
        }
        let to = agent.aside(name);
        agent.s3.reset_counts();
        let outcome = agent.restore(&to, &[]).await.expect_code(0);
        assert_eq!((outcome.count("restored"), outcome.count("unchecked")), (count, 0), "{}", outcome.stdout);
        assert_eq!(outcome.json["source"], "bucket");
        let why = outcome.json["source_reason"].as_str().unwrap();
        assert!(why.starts_with("the catalog "), "{why}");
        assert_eq!(agent.s3.counts(), [("GetObject", count), ("ListObjectsV2", 1)].into());
        for name in &raw {
            let bytes = agent_portail::model::RelPath::from_encoded(name.as_str(), None);
            let literal = to.join("hostile").join(bytes.as_path());
            let original = files(&agent.root)[&format!("hostile/{name}")].md5.clone();
            assert_eq!(files(&to)[&format!("hostile/{name}")].md5, original);
            // Out of the way of the comparison, which knows the bytes.
            fs::remove_file(literal).unwrap();
        }
        let mut expected = files(&agent.root);
        let restored = files(&to);
        expected.retain(|path, _| !raw.iter().any(|name| *path == format!("hostile/{name}")));
        assert_eq!(expected.keys().collect::<Vec<_>>(), restored.keys().collect::<Vec<_>>());
        for (path, file) in &expected {
            let back = &restored[path];
            let describe = |meta: &fs::Metadata| (meta.mtime(), meta.mtime_nsec(), meta.mode() & 0o777);
            assert_eq!((&file.md5, describe(&file.meta)), (&back.md5, describe(&back.meta)), "{path}");
        }
        agent.s3.reset_counts();
        let outcome = agent.restore(&to, &[]).await.expect_code(0);
        assert_eq!(outcome.count("restored"), raw.len() as u64);
        assert_eq!(agent.s3.count("GetObject"), raw.len() as u64, "the others are told by their metadata");
    }
}

#[tokio::test]
async fn a_service_that_was_started_on_an_empty_folder_does_not_hide_the_bucket() {
    let agent = Agent::start().await;
    agent.write("a", "a");
    agent.synced().await;
    agent.db.rows("TRUNCATE portail.folder CASCADE").await;
    agent.remove("a");
    agent.synced().await;
    let outcome = agent.restore(&agent.root, &[]).await.expect_code(0);
    assert_eq!((outcome.count("restored"), &outcome.json["source"]), (1, &"bucket".into()));
    assert_eq!(agent.synced().await.done("adopted"), 1);
    // Now there is a row; what it does not tell of can still be had.
    agent.s3.put(&agent.bucket, "b", "b").await;
    let to = agent.aside("back");
    assert_eq!(agent.restore(&to, &[]).await.expect_code(0).count("restored"), 1);
    let outcome = agent.restore(&to, &["--from-bucket"]).await.expect_code(0);
    assert_eq!((outcome.count("restored"), outcome.count("present")), (1, 1));
    assert_eq!(fs::read(to.join("b")).unwrap(), b"b");
}

#[tokio::test]
async fn a_part_of_the_folder_is_that_path_and_what_is_below_it() {
    let agent = Agent::start().await;
    for name in ["d", "d-x", "d0", "e/f", "e/f-g", "e/g/h", "e!", "e0"] {
        agent.write(name, name);
    }
    agent.synced().await;
    for (sub, expected) in [
        ("d", vec!["d"]),
        ("e", vec!["e/f", "e/f-g", "e/g/h"]),
        ("/e/", vec!["e/f", "e/f-g", "e/g/h"]),
        ("e/f", vec!["e/f"]),
        ("e/g", vec!["e/g/h"]),
    ] {
        for source in [&[][..], &["--from-bucket"]] {
            let to = agent.aside(&format!("{}{}", sub.replace('/', "_"), source.len()));
            agent.restore(&to, &[&["--path", sub], source].concat()).await.expect_code(0);
            assert_eq!(files(&to).into_keys().collect::<Vec<_>>(), expected, "{sub}");
        }
    }
    for sub in ["x", "d/x", "e/f/"] {
        let outcome = agent.restore(&agent.aside("x"), &["--path", sub]).await;
        assert_eq!(outcome.code, Some(if sub == "e/f/" { 0 } else { 1 }), "{sub}: {}", outcome.stdout);
    }
    agent.run(&["restore", "--folder", "files", "--to", "/x", "--path", "a/../b"]).await.expect_code(2);
    agent.run(&["restore", "--folder", "none", "--to", "/x"]).await.expect_code(2);
}

/// A target in which each thing that may stand in the way does.
fn obstruct(to: &Path, agent: &Agent) {
    fs::create_dir_all(to.join("directory")).unwrap();
    fs::write(to.join("differs"), "mine, longer").unwrap();
    fs::write(to.join("same size"), "SAME SIZE").unwrap();
    fs::write(to.join("same content"), "same content").unwrap();
    fs::write(agent.aside("precious"), "precious").unwrap();
    symlink(agent.aside("precious"), to.join("link")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(to.join("fifo")).status().unwrap().success());
    fs::write(to.join("file above"), "").unwrap();
    fs::create_dir(agent.aside("outside")).unwrap();
    symlink(agent.aside("outside"), to.join("link above")).unwrap();
}

#[tokio::test]
async fn what_stands_in_the_way_is_left_alone_or_with_force_replaced_but_never_followed() {
    let agent = Agent::start().await;
    let names =
        ["differs", "directory", "fifo", "file above/x", "link", "link above/x", "plain", "same content", "same size"];
    for name in names {
        agent.write(name, name);
        set_mtime(&agent.path(name), SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000));
    }
    fs::set_permissions(agent.path("same content"), fs::Permissions::from_mode(0o640)).unwrap();
    agent.synced().await;
    let to = agent.aside("back");
    obstruct(&to, &agent);

    agent.s3.reset_counts();
    let outcome = agent.restore(&to, &[]).await.expect_code(1);
    assert_eq!((outcome.count("restored"), outcome.count("adjusted")), (1, 1), "{}", outcome.stdout);
    assert_eq!(agent.s3.counts(), [("GetObject", 1)].into(), "nothing is fetched that can't be put there");
    let failures = outcome.not_restored();
    for (path, words) in [
        ("differs", "--force replaces it"),
        ("same size", "--force replaces it"),
        ("link", "a symbolic link stands there; --force"),
        ("directory", "a directory stands there"),
        ("fifo", "a special file"),
        ("file above/x", "a file stands in the place of a directory"),
        ("link above/x", "a symbolic link stands above it"),
    ] {
        assert!(failures[path].contains(words), "{path}: {}", failures[path]);
    }
    assert_eq!(fs::read(to.join("differs")).unwrap(), b"mine, longer");
    let adjusted = fs::metadata(to.join("same content")).unwrap();
    assert_eq!((adjusted.mtime(), adjusted.mode() & 0o777), (1_600_000_000, 0o640));

    let outcome = agent.restore(&to, &["--force"]).await.expect_code(1);
    assert_eq!((outcome.count("restored"), outcome.count("present")), (3, 2), "{}", outcome.stdout);
    let left: Vec<String> = outcome.not_restored().into_keys().collect();
    assert_eq!(left, ["directory", "fifo", "file above/x", "link above/x"]);
    for name in ["differs", "same size", "link"] {
        assert!(to.join(name).symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read(to.join(name)).unwrap(), name.as_bytes());
    }
    assert_eq!(fs::read(agent.aside("precious")).unwrap(), b"precious");
    assert_eq!(files(&agent.aside("outside")).len(), 0);
}

#[tokio::test]
async fn with_force_a_file_that_only_looks_the_same_is_replaced() {
    let agent = Agent::start().await;
    agent.write("a", "good");
    set_mtime(&agent.path("a"), SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000));
    agent.synced().await;
    let to = agent.aside("back");
    agent.restore(&to, &[]).await.expect_code(0);
    fs::write(to.join("a"), "BAD!").unwrap();
    set_mtime(&to.join("a"), SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000));
    assert_eq!(agent.restore(&to, &[]).await.expect_code(0).count("present"), 1);
    assert_eq!(agent.restore(&to, &["--force"]).await.expect_code(0).count("restored"), 1);
    assert_same_files(&agent.root, &to);
}

#[tokio::test]
async fn a_dry_run_shows_each_step_and_changes_nothing() {
    let agent = Agent::start().await;
    for name in ["changed", "link", "new", "present", "touched"] {
        agent.write(name, name);
    }
    agent.synced().await;
    let to = agent.aside("back");
    let steps = async |args: &[&str]| -> Vec<(String, String)> {
        let outcome = agent.restore(&to, &[&["--dry-run"], args].concat()).await;
        let step = |line: &str| {
            let step: serde_json::Value = serde_json::from_str(line).unwrap();
            (step["path"].as_str().unwrap().to_owned(), step["action"].as_str().unwrap().to_owned())
        };
        let mut steps: Vec<_> = outcome.stdout.lines().map(step).collect();
        steps.sort();
        steps
    };
    let of = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(path, action)| ((*path).to_owned(), (*action).to_owned())).collect()
    };
    let all = ["changed", "link", "new", "present", "touched"].map(|name| (name, "restore"));
    assert_eq!(steps(&[]).await, of(&all));
    assert!(!to.exists(), "not even the directory");
    agent.restore(&to, &[]).await.expect_code(0);
    fs::remove_file(to.join("new")).unwrap();
    fs::remove_file(to.join("link")).unwrap();
    symlink("nowhere", to.join("link")).unwrap();
    fs::write(to.join("changed"), "changed, and how").unwrap();
    set_mtime(&to.join("touched"), SystemTime::UNIX_EPOCH);
    agent.s3.reset_counts();
    let expected = [("changed", "replace"), ("link", "replace"), ("new", "restore"), ("touched", "adjust")];
    assert_eq!(steps(&["--force"]).await, of(&expected));
    assert_eq!(steps(&[]).await, of(&expected[2..]));
    assert_eq!(agent.s3.counts(), [].into());
    assert_eq!(fs::read(to.join("changed")).unwrap(), b"changed, and how");
    assert_eq!(fs::metadata(to.join("touched")).unwrap().mtime(), 0);
    let restored = "SELECT count(*) FROM portail.event WHERE kind = 'restored'";
    assert_eq!(agent.db.count(restored).await, 5, "of the real one");
}

#[tokio::test]
async fn over_a_synced_folder_it_waits_for_the_writer_and_names_him() {
    let agent = Agent::start().await;
    agent.write("d/a", "a");
    agent.synced().await;
    let lock = hold_lock(&agent).await;
    for to in [agent.root.clone(), agent.path("d"), agent.home.path().to_owned()] {
        let outcome = agent.restore(&to, &["--force"]).await.expect_code(1);
        assert!((Duration::from_secs(5)..Duration::from_secs(15)).contains(&outcome.took), "{:?}", outcome.took);
        outcome.expect_words(&["take the writer's lock of the folder `files`", "`agent-portail rival`"]);
    }
    // What replaces nothing, or is elsewhere, is in nobody's way.
    agent.remove("d/a");
    assert_eq!(agent.restore(&agent.root, &[]).await.expect_code(0).count("restored"), 1);
    agent.restore(&agent.aside("back"), &["--force"]).await.expect_code(0);
    agent.restore(&agent.root, &["--force", "--dry-run"]).await.expect_code(0);
    drop(lock);
    agent.restore(&agent.root, &["--force"]).await.expect_code(0);
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn people_are_told_what_was_done() {
    let agent = Agent::start().await;
    agent.write("a", "aa");
    agent.write("b", "bb");
    fs::set_permissions(agent.path("a"), fs::Permissions::from_mode(0o4755)).unwrap();
    agent.synced().await;
    let to = agent.aside("back");
    fs::create_dir(&to).unwrap();
    fs::write(to.join("b"), "another").unwrap();
    let to = to.to_str().unwrap().to_owned();
    let outcome = agent.run(&["restore", "--folder", "files", "--to", &to]).await.expect_code(1);
    outcome.expect_words(&[
        &format!("files to {to}: NOT restored as a whole\n"),
        "  1 restored (2 B fetched), 0 already there, 1 without their set-user-id, set-group-id or sticky bits\n",
        "  FAILED: 1\n    b: put it there: the file there differs; --force replaces it\n",
        "S3 requests: 1 GetObject",
    ]);
    assert_eq!(fs::metadata(format!("{to}/a")).unwrap().mode() & 0o7777, 0o755);
}
