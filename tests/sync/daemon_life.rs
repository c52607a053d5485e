//! The daemon as a service: signals, systemd, a second one, and a kernel that grants too few watches.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::agent::{copy_tree, noise, until};
use crate::common::daemon::Daemon;
use crate::common::namespace::within;
use crate::common::s3::Reply;
use crate::daemon_files::by_events;

#[tokio::test]
async fn a_stand_by_takes_over_within_seconds_after_the_first_is_killed() {
    let first = by_events().await;
    first.write("a", "a");
    let running = Daemon::settled(&first).await;
    let mut second = first.beside("agent-2");
    second.sync = first.sync.clone();
    fs::remove_dir(&second.root).unwrap();
    copy_tree(&first.root, &second.root);
    let waiting = Daemon::start(&second).await;
    let folder = waiting.until_folder("it stands by", |folder| !folder["standby"].is_null()).await;
    assert!(folder["standby"].as_str().unwrap().contains("agent-1"), "{folder}");
    assert!(waiting.get("/readyz").await.unwrap().1.contains("files: stand-by"));
    second.write("b", "b");
    first.write("c", "c");
    running.until_in_sync().await;
    assert_eq!(first.s3.keys(&first.bucket).await, ["a", "c"], "a stand-by writes nothing");
    second.write("c", "c");
    let began = std::time::Instant::now();
    running.kill().await;
    waiting.until_same_content().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let folder = waiting.until_state("in_sync").await;
    assert!(folder["standby"].is_null());
    waiting.stop().await;
}

#[tokio::test]
async fn a_stand_by_whose_folder_is_missing_says_nothing_of_the_folder_of_the_one_that_writes() {
    let first = by_events().await;
    first.write("a", "a");
    let running = Daemon::settled(&first).await;
    let mut second = first.beside("agent-2");
    second.sync = first.sync.clone();
    fs::remove_dir(&second.root).unwrap();
    let missing = Daemon::start(&second).await;
    let folder = missing.until_state("suspended").await;
    assert!(folder["reason"].as_str().unwrap().contains(second.root.to_str().unwrap()), "{folder}");
    // It has had its say by now.
    missing.stop().await;
    let state = "SELECT state FROM portail.folder WHERE agent = 'agent-1'";
    assert_eq!(first.db.value(state).await, "in_sync");
    assert_eq!(first.db.count("SELECT count(*) FROM portail.notice").await, 0);
    running.stop().await;
}

#[tokio::test]
async fn a_reload_adds_and_removes_folders_and_refuses_what_is_invalid() {
    let mut agent = by_events().await;
    agent.prefix = "one/".to_owned();
    agent.write("a", "a");
    let two = agent.home.path().join("two");
    fs::create_dir(&two).unwrap();
    fs::write(two.join("b"), "b").unwrap();
    let config = agent.home.path().join("config.toml");
    let daemon = Daemon::settled(&agent).await;
    let one = fs::read_to_string(&config).unwrap();
    let both = format!("{one}\n[[folder]]\nname = \"two\"\npath = {two:?}\nprefix = \"two/\"\n");
    let keys = async || agent.s3.keys(&agent.bucket).await;

    fs::write(&config, &both).unwrap();
    daemon.signal(Signal::HUP);
    until("the new folder is synced", async || keys().await == ["one/a", "two/b"]).await;
    fs::write(&config, both.replace("[[folder]]", "[[folder]]\nnonsense = 1")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.until_logged("the old one stays in force").await;
    fs::write(two.join("c"), "c").unwrap();
    until("both folders go on", async || keys().await == ["one/a", "two/b", "two/c"]).await;

    fs::write(&config, &one).unwrap();
    daemon.signal(Signal::HUP);
    until("the folder is gone", async || daemon.folder("two").await.is_null()).await;
    fs::write(two.join("d"), "d").unwrap();
    agent.write("e", "e");
    until("the other goes on", async || keys().await == ["one/a", "one/e", "two/b", "two/c"]).await;
    let stopped = daemon.log_lines("stopping the folder, or starting it anew");
    assert!(stopped.len() == 1 && stopped[0].contains("folder=two"), "the other was left alone: {stopped:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_large_file_leaves_no_unfinished_upload() {
    let mut agent = by_events().await;
    agent.sync.push_str("\npart_size = \"5MiB\"\nshutdown_grace = \"10s\"");
    let daemon = Daemon::settled(&agent).await;
    agent.s3.script(|seen| (seen.operation == "UploadPart").then_some(Reply::Late(Duration::from_millis(300))));
    agent.write("large", noise(1, 40 << 20));
    until("parts are on their way", async || agent.s3.count("UploadPart") > 1).await;
    let began = std::time::Instant::now();
    daemon.stop().await;
    assert!(began.elapsed() < Duration::from_secs(11), "{:?}", began.elapsed());
    assert_eq!(agent.s3.unfinished_uploads(&agent.bucket).await, 0);
    agent.s3.clear_scripts();
    let daemon = Daemon::start(&agent).await;
    daemon.until_in_sync().await;
    daemon.stop().await;
}

#[tokio::test]
async fn systemd_hears_of_the_start_the_state_the_watchdog_and_the_end() {
    let agent = by_events().await;
    agent.write("a", "a");
    let path = agent.home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut command = agent.command(&["run"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let mut daemon = Daemon::spawn(&agent, command);
    daemon.until_ready().await;
    let mut heard = String::new();
    let mut hear = || {
        let mut message = [0; 4096];
        while let Ok(length) = socket.recv(&mut message) {
            heard.push_str(&String::from_utf8_lossy(&message[..length]));
            heard.push('\n');
        }
        heard.clone()
    };
    until("it is in sync", async || hear().contains("STATUS=files: in_sync, 0 queued")).await;
    until("the watchdog is fed", async || hear().matches("WATCHDOG=1").count() > 2).await;
    assert_eq!(hear().matches("READY=1").count(), 1);
    assert!(!hear().contains("STOPPING=1"));
    daemon.signal(Signal::HUP);
    until("it reloads", async || hear().matches("READY=1").count() == 2).await;
    assert!(hear().contains("RELOADING=1"));
    daemon.stop().await;
    assert!(hear().contains("STOPPING=1"), "{}", hear());
}

#[tokio::test]
async fn too_few_watches_degrade_the_folder_and_name_the_sysctl() {
    let allowed = std::process::Command::new("unshare").args(["-Ur", "true"]).status();
    assert!(allowed.is_ok_and(|status| status.success()), "this test needs user namespaces: allow them");
    let mut agent = by_events().await;
    agent.sync = "reconcile_every = \"1s\"".to_owned();
    for i in 0..30 {
        agent.write(format!("{i:02}/file"), "x");
    }
    let script = "echo 10 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let command = within(&["unshare", "-Ur", "sh", "-c", script, "sh"], &agent.command(&["run"]));
    let mut daemon = Daemon::spawn(&agent, command);
    daemon.until_ready().await;
    let folder = daemon.until_state("degraded").await;
    assert!(folder["reason"].as_str().unwrap().contains("fs.inotify.max_user_watches"), "{folder}");
    assert_eq!(daemon.log_lines("raise fs.inotify.max_user_watches").len(), 1, "{}", daemon.log());
    until("what was there is synced all the same", async || agent.s3.keys(&agent.bucket).await.len() == 30).await;
    daemon.until_folder("what is watched is counted", |folder| folder["watches"] == 10).await;
    for i in 0..30 {
        agent.write(format!("{i:02}/file"), "changed");
    }
    // Where nobody watches, a reconciliation sees it.
    daemon.until_in_sync().await;
    daemon.stop().await;
}
