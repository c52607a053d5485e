//! What lies in a folder and is not synced: excluded, links, special files, and what can't be read.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use crate::common::agent::Agent;

fn chmod(agent: &Agent, path: &str, mode: u32) {
    fs::set_permissions(agent.path(path), fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn newly_excluded_files_stay_on_s3_and_are_adopted_when_they_are_not_any_more() {
    let mut agent = Agent::start().await;
    for name in ["keep.txt", "x.tmp", "cache/a", "cache/deep/b", "sub/cache/c"] {
        agent.write(name, name);
    }
    agent.synced().await;
    agent.folder = "exclude = [\"*.tmp\", \"/cache/\"]".to_owned();
    agent.s3.reset_counts();
    let pass = agent.synced().await;
    assert_eq!(pass.number("rows_dropped"), 3);
    assert_eq!(pass.folder()["skipped"]["excluded"], 2, "the directory counts once");
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 5);
    assert_eq!(agent.db.column("SELECT path FROM portail.file ORDER BY path").await, ["keep.txt", "sub/cache/c"]);
    // Gone from the folder, too: what is excluded is none of our business.
    agent.remove("cache/a");
    let pass = agent.synced().await;
    assert_eq!((pass.done("deleted"), pass.number("rows_dropped")), (0, 0));
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 5);
    agent.folder.clear();
    agent.s3.reset_counts();
    let pass = agent.synced().await;
    assert_eq!((pass.done("adopted"), pass.number("foreign")), (2, 1));
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
}

#[tokio::test]
async fn an_ignore_file_in_the_folder_adds_rules_and_is_synced_itself() {
    let agent = Agent::start().await;
    agent.write(".portailignore", "# not these\n*.log\n!important.log\n");
    for name in ["a.log", "d/b.log", "important.log", ".hidden", ".gitignore"] {
        agent.write(name, "x.txt\n");
    }
    agent.write("x.txt", "a .gitignore is not read");
    agent.synced().await;
    let keys = [".gitignore", ".hidden", ".portailignore", "important.log", "x.txt"];
    assert_eq!(agent.s3.keys(&agent.bucket).await, keys);
}

#[tokio::test]
async fn an_ignore_file_that_is_wrong_or_unreadable_stops_the_folder() {
    let mut agent = Agent::start().await;
    agent.restricted = true;
    agent.write("secret.key", "secret");
    agent.write(".portailignore", "*.key\n[z-a]\n");
    let text = agent.sync_text(1).await;
    assert!(text.contains("use line 2 of .portailignore"), "{text}");
    agent.write(".portailignore", "*.key\n");
    chmod(&agent, ".portailignore", 0);
    let text = agent.sync_text(1).await;
    assert!(text.contains("read .portailignore: Permission denied"), "{text}");
    assert_eq!(agent.s3.keys(&agent.bucket).await, [""; 0], "to go on without the rules would have uploaded it");
}

#[tokio::test]
async fn links_are_skipped_and_reported() {
    let agent = Agent::start().await;
    agent.write("real", "real");
    agent.write("d/inside", "inside");
    symlink("real", agent.path("link")).unwrap();
    symlink("d", agent.path("link-to-d")).unwrap();
    symlink("/nowhere/at/all", agent.path("broken")).unwrap();
    let pass = agent.synced().await;
    assert_eq!(pass.folder()["skipped"]["symbolic links"], 3);
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["d/inside", "real"]);
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_file_that_becomes_a_link_keeps_its_object_and_loses_its_row() {
    let agent = Agent::start().await;
    for name in ["a", "b", "d/1", "d/2"] {
        agent.write(name, name);
    }
    agent.synced().await;
    agent.remove("a");
    symlink("b", agent.path("a")).unwrap();
    fs::rename(agent.path("d"), agent.home.path().join("d")).unwrap();
    symlink(agent.home.path().join("d"), agent.path("d")).unwrap();
    let pass = agent.synced().await;
    assert_eq!((pass.done("deleted"), pass.number("rows_dropped")), (0, 3));
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["a", "b", "d/1", "d/2"]);
    agent.synced().await;
}

#[tokio::test]
async fn links_are_followed_inside_the_folder_and_never_out_of_it() {
    let mut agent = Agent::start().await;
    agent.folder = "symlinks = \"follow\"".to_owned();
    agent.write("real", "real");
    agent.write("d/inside", "inside");
    fs::create_dir(agent.home.path().join("outside")).unwrap();
    fs::write(agent.home.path().join("outside/secret"), "secret").unwrap();
    symlink("real", agent.path("link")).unwrap();
    symlink("../real", agent.path("d/up")).unwrap();
    symlink("d", agent.path("link-to-d")).unwrap();
    symlink(agent.path("real"), agent.path("absolute")).unwrap();
    for (name, target) in [
        ("out", "../outside/secret"),
        ("out-d", "../outside"),
        ("broken", "nothing"),
        ("self", "self"),
        ("d/loop", ".."),
    ] {
        symlink(target, agent.path(name)).unwrap();
    }
    let pass = agent.synced().await;
    let keys = ["absolute", "d/inside", "d/up", "link", "link-to-d/inside", "link-to-d/up", "real"];
    assert_eq!(agent.s3.keys(&agent.bucket).await, keys);
    for (key, content) in [("absolute", "real"), ("link-to-d/inside", "inside"), ("link-to-d/up", "real")] {
        assert_eq!(agent.s3.object(&agent.bucket, key).await.unwrap().bytes, content.as_bytes());
    }
    // The circle is met twice: in `d`, and again by way of the link to it.
    assert_eq!(pass.folder()["skipped"]["links that lead out of the folder or nowhere"], 6);
    agent.s3.reset_counts();
    agent.synced().await;
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
    agent.write("real", "changed");
    agent.synced().await;
    for key in ["absolute", "d/up", "link", "link-to-d/up"] {
        assert_eq!(agent.s3.object(&agent.bucket, key).await.unwrap().bytes, b"changed", "{key}");
    }
    // Turned away from the folder, the objects stay and the rows go.
    agent.remove("link-to-d");
    symlink("../outside", agent.path("link-to-d")).unwrap();
    let pass = agent.synced().await;
    assert_eq!((pass.done("deleted"), pass.number("rows_dropped")), (0, 2));
    assert_eq!(agent.s3.keys(&agent.bucket).await, keys);
}

#[tokio::test]
async fn special_files_are_reported_and_never_opened() {
    let agent = Agent::start().await;
    agent.write("file", "file");
    agent.write("was-a-file", "x");
    agent.synced().await;
    agent.remove("was-a-file");
    for name in ["fifo", "was-a-file"] {
        let made = std::process::Command::new("mkfifo").arg(agent.path(name)).status().unwrap();
        assert!(made.success());
    }
    let _socket = UnixListener::bind(agent.path("socket")).unwrap();
    let pass = agent.synced().await;
    assert_eq!(pass.folder()["skipped"]["special files (FIFO, socket, device)"], 3);
    assert_eq!((pass.done("deleted"), pass.number("rows_dropped")), (0, 1));
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["file", "was-a-file"]);
}

#[tokio::test]
async fn an_unreadable_file_is_reported_and_what_s3_has_of_it_stays() {
    let mut agent = Agent::start().await;
    agent.restricted = true;
    agent.write("a", "a");
    agent.write("old", "before");
    agent.synced().await;
    agent.write("old", "after!");
    agent.write("new", "new");
    chmod(&agent, "old", 0);
    chmod(&agent, "new", 0);
    for attempt in ["1", "2"] {
        let pass = agent.troubled().await;
        for path in ["old", "new"] {
            assert!(pass.failures()[path].contains("Permission denied"), "{:?}", pass.failures());
        }
        let row = "SELECT state, size, attempts FROM portail.file WHERE path = 'old'";
        assert_eq!(agent.db.rows(row).await, [["failed", "6", attempt]]);
    }
    assert_eq!(agent.db.events("old").await, ["uploaded", "failed"], "the same failure is told once");
    assert_eq!(agent.s3.object(&agent.bucket, "old").await.unwrap().bytes, b"before");
    agent.run(&["status"]).await.expect_code(1).expect_words(&["2 failed", "2 paths failed"]);
    chmod(&agent, "old", 0o644);
    chmod(&agent, "new", 0o644);
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn below_an_unreadable_directory_nothing_is_known_and_nothing_changes() {
    let mut agent = Agent::start().await;
    agent.restricted = true;
    for name in ["a", "d/1", "d/deep/2", "d-", "e"] {
        agent.write(name, name);
    }
    agent.synced().await;
    let rows = "SELECT path, state, md5, synced_at FROM portail.file WHERE path LIKE 'd/%' ORDER BY path";
    let before = agent.db.rows(rows).await;
    chmod(&agent, "d", 0);
    agent.remove("e");
    agent.s3.reset_counts();
    let pass = agent.troubled().await;
    assert!(pass.failures()["d"].contains("list the directory: Permission denied"), "{:?}", pass.failures());
    assert_eq!(pass.done("deleted"), 1, "what is known to be gone goes");
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["a", "d-", "d/1", "d/deep/2"]);
    assert_eq!(agent.db.rows(rows).await, before);
    chmod(&agent, "d", 0o755);
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn an_unreadable_folder_changes_nothing() {
    let mut agent = Agent::start().await;
    agent.restricted = true;
    agent.write("a", "a");
    agent.synced().await;
    chmod(&agent, "", 0);
    let text = agent.sync_text(1).await;
    chmod(&agent, "", 0o755);
    assert!(text.contains("open the folder") && text.contains("Permission denied"), "{text}");
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["a"]);
    agent.synced().await;
    agent.assert_in_sync().await;
}
