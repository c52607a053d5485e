//! Folders that are mounts: unmounted and mounted again under the running daemon, and of a file system that tells of nothing.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::common::agent::{Agent, until};
use crate::common::daemon::Daemon;
use crate::common::namespace::MountNamespace;
use crate::common::s3::Reply;
use crate::daemon_files::by_events;
use crate::mounts::Mounted;

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

/// A folder with a file system mounted on `disk`, from a store beside it, and the daemon's command, twice. From here on the agent
/// writes and compares what the daemon sees.
async fn with_disk() -> (Mounted, [Command; 2]) {
    let mut world = Mounted::start().await;
    world.agent.sync = "reconcile_every = \"1h\"\ndebounce = \"50ms\"".to_owned();
    world.bind("store", "disk").await;
    let commands = ["run"; 2].map(|run| world.namespace.command(&world.agent.command(&[run])));
    world.agent.root = world.namespace.path(&world.folder);
    for file in ["disk/1", "disk/2", "disk/sub/3", "outside"] {
        world.agent.write(file, file);
    }
    (world, commands)
}

fn says(words: &'static str) -> impl FnMut(&serde_json::Value) -> bool {
    move |folder| folder["reason"].as_str().is_some_and(|reason| reason.contains(words))
}

#[tokio::test]
async fn a_file_system_below_the_root_that_is_unmounted_is_noticed_at_once_and_so_is_its_return() {
    let (world, [command, _]) = with_disk().await;
    let agent = &world.agent;
    let mut daemon = Daemon::spawn(agent, command);
    daemon.until_ready().await;
    daemon.until_state("in_sync").await;
    daemon.until_in_sync().await;
    assert_eq!(world.mounts().await, ["disk"]);

    world.unmount("disk").await;
    let folder = daemon.until_folder("it is in doubt", says("is not there: mount it")).await;
    assert_eq!((&folder["state"], &folder["held_deletes"]), (&"degraded".into(), &0.into()), "{folder}");
    // Events of paths that have rows, in the mount point itself.
    agent.write("disk/1", "in the mount point");
    agent.write("disk/sub/4", "in the mount point");
    let uploaded = "SELECT count(*) FROM portail.file WHERE path = 'disk/sub/4'";
    until("it is uploaded", async || agent.db.count(uploaded).await == 1).await;
    agent.remove("disk/1");
    agent.remove("disk/sub/4");
    fs::remove_dir(agent.path("disk/sub")).unwrap();
    agent.write("elsewhere", "new");
    agent.remove("outside");
    until("what happens elsewhere goes on", async || {
        let keys = world.keys().await;
        keys.contains(&"elsewhere".to_owned()) && !keys.contains(&"outside".to_owned())
    })
    .await;
    let folder = daemon.until_folder("the queue is empty", |folder| folder["queue_depth"] == 0).await;
    assert_eq!((&folder["failed"], &folder["done"]["deleted"]), (&0.into(), &1.into()), "{folder}\n{}", daemon.log());
    assert_eq!(world.keys().await, ["disk/1", "disk/2", "disk/sub/3", "disk/sub/4", "elsewhere"]);

    // What has happened on it meanwhile is seen, and it is watched again.
    fs::remove_file(world.store("store").join("2")).unwrap();
    world.bind("store", "disk").await;
    daemon.until_same_content().await;
    daemon.until_state("in_sync").await;
    agent.write("disk/sub/deep/5", "new");
    agent.remove("disk/1");
    daemon.until_same_content().await;
    daemon.until_state("in_sync").await;
    assert_eq!(daemon.folder("files").await["drift"], serde_json::json!({}), "{}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn an_approval_waits_for_what_is_not_mounted() {
    let (mut world, _) = with_disk().await;
    world.agent.folder = "max_delete = \"0%\"\nmax_delete_count = 1".to_owned();
    let seen = std::mem::replace(&mut world.agent.root, world.folder.clone());
    let command = world.namespace.command(&world.agent.command(&["run"]));
    world.agent.root = seen;
    let agent = &world.agent;
    let mut daemon = Daemon::spawn(agent, command);
    daemon.until_ready().await;
    daemon.until_state("in_sync").await;
    agent.remove("disk/1");
    agent.remove("disk/2");
    daemon.until_folder("they are held", |folder| folder["held_deletes"] == 2).await;
    world.unmount("disk").await;
    daemon.until_folder("it is in doubt", says("is not there: mount it")).await;
    world.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    daemon.until_folder("the approval was heard", |folder| folder["held_deletes"] == 0).await;
    world.bind("store", "disk").await;
    daemon.until_same_content().await;
    daemon.until_state("in_sync").await;
    assert_eq!(world.keys().await, ["disk/sub/3", "outside"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_daemon_that_starts_without_what_was_mounted_deletes_nothing_until_a_person_says_so() {
    let (world, [command, again]) = with_disk().await;
    let agent = &world.agent;
    let mut daemon = Daemon::spawn(agent, command);
    daemon.until_ready().await;
    daemon.until_state("in_sync").await;
    daemon.stop().await;
    world.unmount("disk").await;
    // The reconciliation at the start is kept from ending, so that events come first.
    agent.s3.script(|seen| (seen.operation == "ListObjectsV2").then_some(Reply::Late(Duration::from_secs(3))));
    let mut daemon = Daemon::spawn(agent, again);
    daemon.until_ready().await;
    agent.write("disk/1", "in the mount point");
    agent.remove("disk/1");
    agent.write("disk/sub/3", "in the mount point");
    fs::remove_dir_all(agent.path("disk/sub")).unwrap();
    daemon.until_folder("it is in doubt", says("is not there: mount it")).await;
    agent.s3.clear_scripts();
    daemon.until_folder("the queue is empty", |folder| folder["queue_depth"] == 0).await;
    assert_eq!((daemon.done("deleted").await, world.keys().await.len()), (0, 4), "{}", daemon.log());
    world.run(&["deletes", "approve", "--identity", "--folder", "files"]).await.expect_code(0);
    daemon.until_same_content().await;
    daemon.until_state("in_sync").await;
    assert_eq!(world.keys().await, ["outside"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_file_system_that_is_mounted_over_files_of_a_running_daemon_hides_them() {
    let (world, [command, _]) = with_disk().await;
    let agent = &world.agent;
    let mut daemon = Daemon::spawn(agent, command);
    daemon.until_ready().await;
    daemon.until_state("in_sync").await;
    agent.write("plain/a", "a");
    agent.write("plain/b", "b");
    daemon.until_in_sync().await;

    world.mount("plain").await;
    let folder = daemon.until_folder("it is in doubt", says("another file system is mounted at")).await;
    assert_eq!(folder["state"], "degraded");
    agent.write("plain/c", "c");
    agent.write("plain/a", "another a");
    agent.remove("plain/a");
    until("it is uploaded", async || world.keys().await.contains(&"plain/c".to_owned())).await;
    daemon.until_folder("the queue is empty", |folder| folder["queue_depth"] == 0).await;
    assert_eq!(daemon.done("deleted").await, 0);
    world.unmount("plain").await;
    daemon.until_same_content().await;
    daemon.until_state("in_sync").await;

    // A new one, where there is nothing to hide, is just there.
    world.mount("new").await;
    agent.write("new/file", "on a new file system");
    daemon.until_same_content().await;
    daemon.until_state("in_sync").await;
    assert_eq!(world.mounts().await, ["disk", "new"]);
    agent.write("new/dir/other", "and watched");
    daemon.until_same_content().await;
    daemon.stop().await;
}
