//! Folders that are mounts: unmounted and mounted again under the running daemon, and of a file system that tells of nothing.

use std::fs;
use std::process::Stdio;

use tokio::process::Command;

use crate::common::agent::{Agent, until};
use crate::common::daemon::Daemon;
use crate::common::namespace::MountNamespace;
use crate::daemon_files::by_events;

/// The program, ready to run in the namespace on what is mounted over the agent's folder from `store`, in which the agent
/// writes and compares from here on.
fn mounted(agent: &mut Agent, namespace: &MountNamespace) -> Command {
    let command = namespace.command(&agent.command(&["run"]));
    agent.root = agent.home.path().join("store");
    fs::create_dir(&agent.root).unwrap();
    command
}

#[tokio::test]
async fn an_unmounted_folder_deletes_nothing_says_what_to_do_and_goes_on_when_it_is_mounted_again() {
    let mut agent = by_events().await;
    let namespace = MountNamespace::new();
    let mount_point = agent.root.clone();
    let command = mounted(&mut agent, &namespace);
    for i in 0..8 {
        agent.write(format!("dir/{i}"), format!("{i}"));
    }
    namespace.bind(&agent.root, &mount_point).await;
    let mut daemon = Daemon::spawn(&agent, command);
    daemon.until_ready().await;
    daemon.until_state("in_sync").await;
    daemon.until_in_sync().await;

    namespace.unmount(&mount_point).await;
    let held = "8 deletions are held";
    let says = |folder: &serde_json::Value| folder["reason"].as_str().is_some_and(|reason| reason.ends_with(held));
    let folder = daemon.until_folder("its deletions are held", says).await;
    let reason = folder["reason"].as_str().unwrap();
    assert_eq!((&folder["state"], &folder["held_deletes"]), (&"degraded".into(), &8.into()));
    for words in ["not the one that was synced", mount_point.to_str().unwrap(), "mount it", "approve --identity"] {
        assert!(reason.contains(words), "{words:?} is missing in {reason:?}");
    }
    until("the catalog says the same", async || {
        agent.db.value("SELECT state_reason FROM portail.folder").await == reason
    })
    .await;
    // What happens to the files meanwhile is seen when they are there again.
    agent.write("meanwhile", "meanwhile");
    agent.write("dir/1", "changed meanwhile");
    fs::rename(agent.path("dir/2"), agent.path("renamed meanwhile")).unwrap();
    assert_eq!(agent.s3.keys(&agent.bucket).await.len(), 8);
    assert_eq!(agent.db.count("SELECT count(*) FROM portail.file WHERE state = 'synced'").await, 8);

    namespace.bind(&agent.root, &mount_point).await;
    daemon.until_in_sync().await;
    let folder = daemon.until_state("in_sync").await;
    assert_eq!(folder["held_deletes"], 0, "{folder}");
    assert_eq!(daemon.done("deleted").await, 1, "of what was renamed, the old name");
    agent.write("dir/3", "it is watched again");
    agent.remove("dir/4");
    daemon.until_in_sync().await;
    assert_eq!(daemon.folder("files").await["drift"], serde_json::json!({}));
    daemon.stop().await;
}

#[tokio::test]
async fn a_file_system_that_tells_of_nothing_is_gone_through_instead() {
    let mut agent = Agent::start().await;
    agent.sync = "reconcile_every = \"1s\"".to_owned();
    let namespace = MountNamespace::new();
    let mount_point = agent.root.clone();
    let command = mounted(&mut agent, &namespace);
    agent.write("dir/first", "first");
    agent.write("dir/removed", "removed");
    let mut fuse = Command::new("bindfs");
    fuse.arg("-f").arg(&agent.root).arg(&mount_point);
    let mut fuse = namespace.command(&fuse).stderr(Stdio::inherit()).spawn().unwrap();
    until("it is mounted", async || {
        let ended = fuse.try_wait().unwrap();
        assert!(ended.is_none(), "this test needs FUSE: /dev/fuse, and bindfs, which `make setup` installs: {ended:?}");
        namespace.path(&mount_point).join("dir/first").exists()
    })
    .await;
    let mut daemon = Daemon::spawn(&agent, command);
    daemon.until_ready().await;
    daemon.until_state("in_sync").await;
    daemon.until_same_content().await;
    let warnings = daemon.log_lines("tells of no changes by others");
    assert!(warnings.len() == 1 && warnings[0].contains("gone through each 1s "), "{warnings:?}");
    // Behind the mount, as another machine would.
    agent.write("dir/first", "changed");
    agent.write("new/deep", "new");
    agent.remove("dir/removed");
    let began = std::time::Instant::now();
    daemon.until_same_content().await;
    // The interval and its jitter, the two seconds that a remote file's stamps are doubted, and a slow machine.
    assert!(began.elapsed() < std::time::Duration::from_secs(15), "{:?}", began.elapsed());
    let folder = daemon.until_state("in_sync").await;
    assert_eq!((&folder["watches"], &folder["drift"]), (&0.into(), &serde_json::json!({})), "no event was missed");
    daemon.stop().await;
    fuse.kill().await.unwrap();
}
