//! Every operation of a file's life, as the running daemon sees it: by events alone, without a reconciliation.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::common::agent::{Agent, noise, until};
use crate::common::daemon::Daemon;
use crate::common::s3::Reply;

/// An agent whose daemon reconciles at the start and never again.
pub(crate) async fn by_events() -> Agent {
    let mut agent = Agent::start().await;
    agent.sync = "reconcile_every = \"24h\"".to_owned();
    agent
}

#[tokio::test]
async fn each_way_of_writing_a_file_is_one_upload() {
    let agent = by_events().await;
    for name in ["overwritten", "appended", "truncated", "saved", "log"] {
        agent.write(name, noise(7, 5000));
    }
    let daemon = Daemon::settled(&agent).await;
    daemon.until_in_sync().await;
    let append = || fs::File::options().append(true).open(agent.path("appended")).unwrap().write_all(b"more").unwrap();
    let truncate = || fs::File::options().write(true).open(agent.path("truncated")).unwrap().set_len(100).unwrap();
    let save = || {
        agent.write(".saved.tmp", "saved at once");
        fs::rename(agent.path(".saved.tmp"), agent.path("saved")).unwrap();
    };
    let operations: [(&str, &dyn Fn()); 6] = [
        ("create", &|| agent.write("created", "new")),
        ("create empty", &|| agent.write("empty", "")),
        ("overwrite", &|| agent.write("overwritten", "other bytes")),
        ("append", &append),
        ("truncate", &truncate),
        ("atomic save", &save),
    ];
    for (name, operation) in operations {
        let before = agent.s3.count("PutObject");
        operation();
        daemon.until_in_sync().await;
        assert_eq!(agent.s3.count("PutObject") - before, 1, "{name}\n{}", daemon.log());
    }
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_file_that_is_written_for_long_is_whole_in_the_end() {
    let agent = by_events().await;
    let daemon = Daemon::settled(&agent).await;
    let mut file = fs::File::create(agent.path("log")).unwrap();
    for line in 0..200 {
        writeln!(file, "line {line}").unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    drop(file);
    daemon.until_in_sync().await;
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_changed_mode_is_a_touch_and_a_hard_link_a_copy() {
    let agent = by_events().await;
    agent.write("tool", "#!/bin/sh\n");
    let daemon = Daemon::settled(&agent).await;
    agent.s3.reset_counts();
    fs::set_permissions(agent.path("tool"), fs::Permissions::from_mode(0o750)).unwrap();
    daemon.until_same_content().await;
    assert_eq!(daemon.done("touched").await, 1);
    fs::hard_link(agent.path("tool"), agent.path("link")).unwrap();
    daemon.until_same_content().await;
    assert_eq!((agent.s3.count("PutObject"), agent.s3.count("CopyObject")), (0, 1), "{}", daemon.log());
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_renamed_file_is_copied_inside_the_bucket() {
    let agent = by_events().await;
    agent.write("a/old", noise(1, 10_000));
    fs::create_dir(agent.path("b")).unwrap();
    let daemon = Daemon::settled(&agent).await;
    agent.s3.reset_counts();
    fs::rename(agent.path("a/old"), agent.path("a/new")).unwrap();
    daemon.until_in_sync().await;
    fs::rename(agent.path("a/new"), agent.path("b/new")).unwrap();
    daemon.until_in_sync().await;
    assert_eq!((agent.s3.count("PutObject"), agent.s3.count("CopyObject")), (0, 2), "{}", daemon.log());
    assert_eq!((daemon.done("copied").await, daemon.done("deleted").await), (2, 2));
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_moved_in_arrives_and_what_is_moved_out_goes() {
    let agent = by_events().await;
    agent.write("stays", "stays");
    let outside = agent.home.path().join("outside");
    fs::create_dir_all(outside.join("tree/deep/er")).unwrap();
    fs::write(outside.join("file"), "file").unwrap();
    for i in 0..20 {
        fs::write(outside.join(format!("tree/deep/{i}")), format!("{i}")).unwrap();
        fs::write(outside.join(format!("tree/deep/er/{i}")), format!("er {i}")).unwrap();
    }
    let daemon = Daemon::settled(&agent).await;
    for name in ["file", "tree"] {
        fs::rename(outside.join(name), agent.path(name)).unwrap();
        daemon.until_in_sync().await;
    }
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 42);
    agent.write("tree/deep/er/later", "its watch came along");
    daemon.until_in_sync().await;
    for name in ["file", "tree"] {
        fs::rename(agent.path(name), outside.join(name)).unwrap();
        daemon.until_in_sync().await;
    }
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["stays"]);
    // A watch that went along tells of nothing any more.
    fs::write(outside.join("tree/deep/ghost"), "not ours").unwrap();
    agent.write("last", "last");
    daemon.until_in_sync().await;
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_renamed_directory_is_copied_and_watched_under_its_new_name() {
    let agent = by_events().await;
    for i in 0..30 {
        agent.write(format!("old/{i}"), format!("{i}"));
        agent.write(format!("old/sub/{i}"), format!("sub {i}"));
    }
    let daemon = Daemon::settled(&agent).await;
    agent.s3.reset_counts();
    fs::rename(agent.path("old"), agent.path("new")).unwrap();
    daemon.until_in_sync().await;
    assert_eq!((agent.s3.count("PutObject"), agent.s3.count("CopyObject")), (0, 60), "{}", daemon.log());
    agent.write("new/sub/later", "later");
    agent.write("old/again", "a new directory of the old name");
    daemon.until_in_sync().await;
    agent.write("old/once more", "which is watched");
    agent.remove("new/sub/1");
    daemon.until_in_sync().await;
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_removed_tree_goes_from_the_bucket() {
    let agent = by_events().await;
    agent.write("stays", "stays");
    for i in 0..90 {
        agent.write(format!("tree/{}/{i}", i % 9), format!("{i}"));
    }
    let daemon = Daemon::settled(&agent).await;
    fs::remove_dir_all(agent.path("tree")).unwrap();
    daemon.until_in_sync().await;
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["stays"]);
    assert_eq!(daemon.done("deleted").await, 90);
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_burst_of_files_in_new_directories_is_seen_to_the_last_one() {
    let agent = by_events().await;
    let daemon = Daemon::settled(&agent).await;
    for i in 0..200 {
        agent.write(format!("{}/{}/{}/{i}", i / 50, i / 10, i / 5), format!("{i}"));
    }
    daemon.until_in_sync().await;
    // All of these directories are watched by now.
    for i in (0..200).step_by(7) {
        agent.write(format!("{}/{}/{}/{i}", i / 50, i / 10, i / 5), format!("again {i}"));
    }
    daemon.until_in_sync().await;
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 200);
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_file_becomes_a_directory_and_a_directory_a_file() {
    let agent = by_events().await;
    agent.write("file", "file");
    agent.write("dir/a", "a");
    agent.write("dir/b", "b");
    let daemon = Daemon::settled(&agent).await;
    agent.remove("file");
    agent.write("file/inside", "inside");
    fs::remove_dir_all(agent.path("dir")).unwrap();
    agent.write("dir", "a file now");
    daemon.until_in_sync().await;
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["dir", "file/inside"]);
    fs::remove_dir_all(agent.path("file")).unwrap();
    agent.write("file", "a file again");
    agent.remove("dir");
    agent.write("dir/c", "c");
    daemon.until_in_sync().await;
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["dir/c", "file"]);
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_excluded_is_never_uploaded_nor_recorded() {
    let mut agent = by_events().await;
    agent.folder = "exclude = [\"*.tmp\", \"/cache/\"]".to_owned();
    fs::create_dir(agent.path("cache")).unwrap();
    let daemon = Daemon::settled(&agent).await;
    let watches = daemon.folder("files").await["watches"].clone();
    agent.write("cache/deep/x", "x");
    agent.write("a.tmp", "x");
    agent.write("dir/b.tmp", "x");
    // Written last: when it is there, the others would be as well.
    agent.write("dir/kept", "kept");
    daemon.until_folder("it is uploaded", |folder| folder["done"]["uploaded"] == 1).await;
    daemon.until_folder("nothing waits", |folder| folder["queue_depth"] == 0).await;
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["dir/kept"]);
    assert_eq!(agent.db.states().await, [("dir/kept".to_owned(), "synced".to_owned())]);
    assert_eq!((watches.as_u64(), agent.s3.count("PutObject")), (Some(1), 1), "only the root was watched before");
    daemon.stop().await;
}

#[tokio::test]
async fn changed_exclude_rules_apply_at_once() {
    let agent = by_events().await;
    agent.write("a.log", "a");
    agent.write("b.txt", "b");
    let daemon = Daemon::settled(&agent).await;
    daemon.until_in_sync().await;
    agent.write(".portailignore", "*.log\n");
    let paths = async || agent.db.column("SELECT path FROM portail.file ORDER BY path COLLATE \"C\"").await;
    until("the row is dropped", async || paths().await == [".portailignore", "b.txt"]).await;
    agent.write("c.log", "c");
    agent.write("d.txt", "d");
    until("the other file is there", async || paths().await == [".portailignore", "b.txt", "d.txt"]).await;
    assert_eq!(agent.s3.keys(&agent.bucket).await, [".portailignore", "a.log", "b.txt", "d.txt"], "no object goes");
    agent.remove(".portailignore");
    daemon.until_in_sync().await;
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["a.log", "b.txt", "c.log", "d.txt"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_folder_that_is_opened_anew_forgets_nothing_that_it_had_in_hand() {
    let agent = by_events().await;
    let daemon = Daemon::settled(&agent).await;
    agent.s3.script(|seen| (seen.operation == "PutObject").then_some(Reply::Late(Duration::from_millis(200))));
    for i in 0..300 {
        agent.write(format!("{i}"), format!("{i}"));
    }
    until("uploads are under way", async || agent.s3.count("PutObject") > 5).await;
    agent.write(".portailignore", "*.log\n");
    daemon.until_logged("the folder is opened anew").await;
    agent.s3.clear_scripts();
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_directory_renamed_while_its_new_file_is_uploaded_leaves_nothing_behind() {
    let agent = by_events().await;
    let daemon = Daemon::settled(&agent).await;
    agent.s3.script(|seen| (seen.operation == "PutObject").then_some(Reply::Late(Duration::from_millis(500))));
    agent.write("old/file", "new in a new directory");
    until("it is on its way", async || agent.s3.count("PutObject") > 0).await;
    fs::rename(agent.path("old"), agent.path("new")).unwrap();
    daemon.until_in_sync().await;
    assert_eq!(agent.s3.keys(&agent.bucket).await, ["new/file"]);
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_file_that_goes_while_the_first_reconciliation_still_runs_is_removed_at_once() {
    let agent = by_events().await;
    agent.s3.script(|seen| (seen.operation == "ListObjectsV2").then_some(Reply::Late(Duration::from_secs(3))));
    let daemon = Daemon::start(&agent).await;
    agent.write("stays", "stays");
    agent.write("goes", "goes");
    daemon.until_in_sync().await;
    agent.remove("goes");
    daemon.until_in_sync().await;
    assert!(daemon.log_lines("reconciled files:").is_empty(), "{}", daemon.log());
    daemon.until_state("in_sync").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_directory_that_may_be_listed_at_last_is_gone_through() {
    let mut agent = by_events().await;
    agent.restricted = true;
    agent.write("above/closed/a", "a");
    agent.write("above/closed/deep/b", "b");
    agent.write("open", "open");
    let permit = |mode| fs::set_permissions(agent.path("above/closed"), fs::Permissions::from_mode(mode)).unwrap();
    permit(0);
    let daemon = Daemon::start(&agent).await;
    let folder = daemon.until_state("degraded").await;
    assert_eq!(folder["reason"], "1 directories can't be listed");
    permit(0o755);
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}
