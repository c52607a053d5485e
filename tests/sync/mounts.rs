//! File systems that are mounted below a folder's root: unmounted, mounted again empty, replaced, put over files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::agent::{Agent, Outcome, finish};
use crate::common::namespace::MountNamespace;

/// An agent whose folder is seen in a mount namespace.
pub(crate) struct Mounted {
    pub(crate) agent: Agent,
    pub(crate) namespace: MountNamespace,
    /// The folder, as the program sees it.
    pub(crate) folder: PathBuf,
}

impl Mounted {
    /// With an empty folder.
    pub(crate) async fn start() -> Self {
        let agent = Agent::start().await;
        let folder = agent.root.clone();
        Self { agent, namespace: MountNamespace::new(), folder }
    }

    /// Where the test writes what the program is to see.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.namespace.path(&self.folder.join(path))
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).unwrap();
    }

    /// Mounts a new and empty file system on a directory of the folder.
    pub(crate) async fn mount(&self, path: &str) {
        fs::create_dir_all(self.path(path)).unwrap();
        self.mount_at(&self.folder.join(path)).await;
    }

    async fn mount_at(&self, path: &Path) {
        self.namespace
            .run("mount", &["-t", "tmpfs", "none"].map(Path::new).into_iter().chain([path]).collect::<Vec<_>>())
            .await;
    }

    /// Mounts a directory beside the folder on one in it. It keeps what it holds while it is not mounted.
    pub(crate) async fn bind(&self, store: &str, path: &str) {
        let store = self.store(store);
        fs::create_dir_all(&store).unwrap();
        fs::create_dir_all(self.path(path)).unwrap();
        self.namespace.bind(&store, &self.folder.join(path)).await;
    }

    pub(crate) fn store(&self, store: &str) -> PathBuf {
        self.agent.home.path().join(store)
    }

    pub(crate) async fn unmount(&self, path: &str) {
        self.namespace.unmount(&self.folder.join(path)).await;
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Outcome {
        finish(self.namespace.command(&self.agent.command(args)).spawn().unwrap()).await
    }

    async fn sync(&self, code: i32) -> Outcome {
        self.run(&["sync", "--json"]).await.expect_code(code)
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        self.agent.s3.keys(&self.agent.bucket).await
    }

    pub(crate) async fn mounts(&self) -> Vec<String> {
        self.agent.db.column("SELECT path FROM portail.mount ORDER BY path COLLATE \"C\"").await
    }

    async fn plan(&self) -> Vec<(String, String)> {
        let outcome = self.run(&["sync", "--json", "--dry-run"]).await.expect_code(0);
        let steps = outcome.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut steps: Vec<_> = steps.map(|step| (text(&step["action"]), text(&step["path"]))).collect();
        steps.sort();
        steps
    }

    /// Folder, bucket and catalog hold the same.
    async fn assert_in_sync(&mut self) {
        let folder = std::mem::replace(&mut self.agent.root, self.namespace.path(&self.folder));
        self.agent.assert_same_content().await;
        self.agent.root = folder;
    }
}

fn in_doubt(outcome: &Outcome) -> String {
    outcome.folder()["in_doubt"].as_array().unwrap().iter().map(|doubt| doubt.as_str().unwrap()).collect()
}

const FILES: [&str; 4] = ["disk/1", "disk/2", "disk/sub/3", "outside"];

#[tokio::test]
async fn what_lies_below_an_unmounted_file_system_is_kept_until_it_is_back() {
    let mut world = Mounted::start().await;
    // Of the same file system as the folder: only the kernel's number tells that it is mounted.
    world.bind("store", "disk").await;
    for file in FILES {
        world.write(file, file);
    }
    world.write("gone", "gone");
    assert_eq!(world.sync(0).await.done("uploaded"), 5);
    assert_eq!(world.mounts().await, ["disk"]);

    world.unmount("disk").await;
    world.remove("gone");
    world.write("disk/below", "what is put into the mount point is synced, too");
    assert_eq!(
        world.plan().await,
        [("delete", "gone"), ("upload", "disk/below")].map(|(action, path)| (action.to_owned(), path.to_owned()))
    );
    let pass = world.sync(1).await;
    assert_eq!((pass.done("deleted"), pass.done("uploaded"), pass.number("held")), (1, 1, 0));
    let doubt = in_doubt(&pass);
    let place = world.folder.join("disk");
    let expected = format!("the file system that was mounted at {} is not there: mount it", place.to_string_lossy());
    assert!(doubt.starts_with(&expected) && doubt.contains("deletes approve --identity --folder files"), "{doubt}");
    assert_eq!(world.keys().await, ["disk/1", "disk/2", "disk/below", "disk/sub/3", "outside"]);
    let status = world.run(&["status"]).await.expect_code(1);
    assert!(status.stdout.contains(&format!("degraded ({doubt})")), "{}", status.stdout);
    let text = world.run(&["sync"]).await.expect_code(1).stdout;
    assert!(text.contains("NOT in sync") && text.contains(&format!("IN DOUBT: {doubt}")), "{text}");
    let explained = world.run(&["explain", "files:disk/1"]).await.expect_code(0);
    explained.expect_words(&["could not be seen: the file system that was mounted at"]);

    let verified = world.run(&["verify"]).await.expect_code(1).stdout;
    assert_eq!(
        verified.matches("the file can't be seen: the file system that was mounted at").count(),
        3,
        "{verified}"
    );

    world.remove("disk/below");
    fs::remove_file(world.store("store").join("2")).unwrap();
    world.bind("store", "disk").await;
    let pass = world.sync(0).await;
    assert_eq!((pass.done("deleted"), in_doubt(&pass)), (2, String::new()), "what is gone there is gone");
    world.assert_in_sync().await;
}

#[tokio::test]
async fn an_empty_file_system_in_the_place_of_another_deletes_nothing_until_a_person_says_so() {
    let mut world = Mounted::start().await;
    world.mount("disk").await;
    for file in FILES {
        world.write(file, file);
    }
    world.sync(0).await;
    world.unmount("disk").await;
    world.mount("disk").await;
    for _ in 0..2 {
        let pass = world.sync(1).await;
        assert_eq!((pass.done("deleted"), pass.number("held")), (0, 0));
        assert!(in_doubt(&pass).contains("is not there"), "{}", pass.stdout);
    }
    // Less than half is not enough.
    world.write("disk/1", "disk/1");
    assert_eq!(world.sync(1).await.done("deleted"), 0);
    world.run(&["deletes", "approve", "--identity", "--folder", "files"]).await.expect_code(0);
    let pass = world.sync(0).await;
    assert_eq!(pass.done("deleted"), 2, "it is what the folder has there now");
    world.assert_in_sync().await;
    assert_eq!(world.mounts().await, ["disk"]);
    world.unmount("disk").await;
    assert!(in_doubt(&world.sync(1).await).contains("is not there"), "and known from now on");
    assert_eq!(world.keys().await, ["disk/1", "outside"]);
}

#[tokio::test]
async fn a_copy_on_another_disk_is_accepted_by_its_content_and_judged_in_the_same_run() {
    let mut world = Mounted::start().await;
    world.mount("disk").await;
    for file in FILES {
        world.write(file, file);
    }
    world.sync(0).await;
    let copy = world.store("copy");
    world.namespace.run("cp", &[Path::new("-a"), &world.folder.join("disk"), &copy]).await;
    fs::remove_file(copy.join("2")).unwrap();
    world.unmount("disk").await;
    world.bind("copy", "disk").await;
    let pass = world.sync(0).await;
    assert_eq!((pass.done("deleted"), pass.done("uploaded"), pass.number("held")), (1, 0, 0));
    assert!(pass.stderr.contains("what is there was accepted, since 2 of 3 files are the same"), "{}", pass.stderr);
    world.assert_in_sync().await;
    world.unmount("disk").await;
    assert!(in_doubt(&world.sync(1).await).contains("is not there"));
    // Its files in the mount point itself: nothing is mounted there any more, and nothing needs to be.
    for file in ["1", "sub"] {
        world.namespace.run("cp", &[Path::new("-a"), &copy.join(file), &world.folder.join("disk").join(file)]).await;
    }
    assert_eq!(world.sync(0).await.done("uploaded"), 0);
    assert_eq!(world.mounts().await, [""; 0]);
    world.remove("disk/1");
    assert_eq!(world.sync(0).await.done("deleted"), 1);
    world.assert_in_sync().await;
}

#[tokio::test]
async fn a_file_system_that_is_mounted_over_files_hides_them_and_deletes_none() {
    let mut world = Mounted::start().await;
    for file in FILES {
        world.write(file, file);
    }
    world.sync(0).await;
    assert_eq!(world.mounts().await, [""; 0]);
    world.mount("disk").await;
    world.write("disk/new", "new");
    world.write("disk/1", "another one of this name");
    let pass = world.sync(1).await;
    assert_eq!((pass.done("deleted"), pass.done("uploaded"), pass.number("held")), (0, 2, 0));
    assert!(in_doubt(&pass).contains("another file system is mounted at"), "{}", pass.stdout);
    assert_eq!(world.mounts().await, [""; 0], "it is not known by that");
    world.unmount("disk").await;
    let pass = world.sync(0).await;
    assert_eq!((pass.done("uploaded"), pass.done("deleted")), (1, 1), "what was on it goes with it");
    world.assert_in_sync().await;

    // Accepted, it is what is there.
    world.mount("disk").await;
    assert!(!in_doubt(&world.sync(1).await).is_empty());
    world.run(&["deletes", "approve", "--identity", "--folder", "files"]).await.expect_code(0);
    assert_eq!(world.sync(0).await.done("deleted"), 3);
    assert_eq!((world.keys().await, world.mounts().await), (vec!["outside".to_owned()], vec!["disk".to_owned()]));
}

#[tokio::test]
async fn a_mount_in_a_mount_and_one_behind_a_link_are_known_each_by_itself() {
    let mut world = Mounted::start().await;
    world.agent.folder = "symlinks = \"follow\"".to_owned();
    world.write("outside", "outside");
    world.mount("disk").await;
    world.write("disk/1", "1");
    world.mount("disk/inner").await;
    world.write("disk/inner/2", "2");
    std::os::unix::fs::symlink("disk/inner", world.path("link")).unwrap();
    world.mount("empty").await;
    world.sync(0).await;
    assert_eq!(world.mounts().await, ["disk", "disk/inner", "empty", "link"]);
    assert_eq!(world.keys().await, ["disk/1", "disk/inner/2", "link/2", "outside"]);
    world.unmount("empty").await;
    world.sync(0).await;
    assert_eq!(world.mounts().await, ["disk", "disk/inner", "link"], "there is nothing to lose");
    world.unmount("disk/inner").await;
    let pass = world.sync(1).await;
    assert_eq!(pass.folder()["in_doubt"].as_array().unwrap().len(), 2, "{}", pass.stdout);
    world.remove("disk/1");
    assert_eq!(world.sync(1).await.done("deleted"), 1);
    assert_eq!(world.keys().await, ["disk/inner/2", "link/2", "outside"]);
    world.unmount("disk").await;
    assert_eq!(world.sync(1).await.done("deleted"), 0);
    fs::remove_dir(world.path("disk")).unwrap();
    assert_eq!(world.sync(1).await.done("deleted"), 0, "not even the mount point is there");
    assert_eq!(world.keys().await, ["disk/inner/2", "link/2", "outside"]);
}

#[tokio::test]
async fn a_mount_is_known_before_the_first_file_on_it() {
    let world = Mounted::start().await;
    world.mount("disk").await;
    for file in FILES {
        world.write(file, file);
    }
    world.sync(0).await;
    let stored =
        world.agent.db.count("SELECT count(*) FROM portail.file WHERE state = 'synced' AND path LIKE 'disk/%'").await;
    assert!(stored > 0);
    assert_eq!(
        world
            .agent
            .db
            .count("SELECT count(*) FROM portail.file f, portail.mount m WHERE f.synced_at < m.noted_at")
            .await,
        0
    );
    world.unmount("disk").await;
    let pass = world.sync(1).await;
    assert_eq!(pass.done("deleted"), 0);
    assert!(in_doubt(&pass).contains("is not there"), "{}", pass.stdout);
}

#[tokio::test]
async fn what_is_held_and_then_hidden_stays_held() {
    let mut world = Mounted::start().await;
    world.agent.folder = "max_delete = \"0%\"\nmax_delete_count = 1".to_owned();
    world.bind("store", "disk").await;
    for file in FILES {
        world.write(file, file);
    }
    world.sync(0).await;
    world.remove("disk/1");
    world.remove("disk/2");
    assert_eq!(world.sync(1).await.number("held"), 2);
    world.unmount("disk").await;
    assert_eq!(world.sync(1).await.number("held"), 2);
    world.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(0);
    let pass = world.sync(1).await;
    assert_eq!((pass.done("deleted"), world.keys().await.len()), (0, 4), "not even what was approved");
    world.bind("store", "disk").await;
    assert_eq!(world.sync(0).await.done("deleted"), 2);
}

#[tokio::test]
async fn a_folder_that_is_a_tmpfs_and_was_mounted_again_empty_deletes_nothing() {
    let world = Mounted::start().await;
    world.mount_at(&world.folder).await;
    for file in FILES {
        world.write(file, file);
    }
    world.sync(0).await;
    world.unmount("").await;
    world.mount_at(&world.folder).await;
    let pass = world.sync(1).await;
    assert_eq!((pass.done("deleted"), pass.number("held")), (0, 4));
    // Nor with something in it.
    world.write("outside", "another one");
    assert_eq!(world.sync(1).await.done("deleted"), 0);
    assert_eq!(world.keys().await, FILES);
}
