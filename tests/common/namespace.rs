//! Mount namespaces: what is mounted in one is seen by nobody else, and goes with it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tokio::process::Command;

/// A mount namespace, as root or, where they are allowed, in a user namespace of its own.
pub struct MountNamespace {
    /// Keeps it. It ends when its standard input does, however this process ends.
    keeper: Child,
}

impl MountNamespace {
    /// A new one.
    pub fn new() -> Self {
        let unshare: &[&str] = if is_root() { &["-m"] } else { &["-Urm"] };
        let mut keeper = std::process::Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", "echo ready && exec cat >/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux is needed");
        let mut said = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "this test needs mount namespaces: run it as root, or allow user namespaces");
        Self { keeper }
    }

    fn enter(&self) -> Vec<String> {
        let mut words = vec!["nsenter".to_owned(), format!("--target={}", self.keeper.id()), "--mount".to_owned()];
        if !is_root() {
            words.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        words
    }

    /// A command, run in it.
    pub fn command(&self, plain: &Command) -> Command {
        within(&self.enter(), plain)
    }

    /// Runs a program in it, which must succeed.
    pub async fn run(&self, program: &str, args: &[&Path]) {
        let mut plain = Command::new(program);
        plain.args(args);
        let output = self.command(&plain).output().await.unwrap();
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Mounts a folder over another one.
    pub async fn bind(&self, from: &Path, to: &Path) {
        self.run("mount", &[Path::new("--bind"), from, to]).await;
    }

    /// Takes a mount away, whoever uses it.
    pub async fn unmount(&self, path: &Path) {
        self.run("umount", &[Path::new("--lazy"), path]).await;
    }

    /// A path as it is seen there.
    pub fn path(&self, path: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.keeper.id())).join(path.strip_prefix("/").unwrap())
    }
}

impl Drop for MountNamespace {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
    }
}

/// A command, run by another one, with the same environment.
pub fn within(by: &[impl AsRef<str>], plain: &Command) -> Command {
    let mut command = Command::new(by[0].as_ref());
    command.args(by[1..].iter().map(AsRef::as_ref));
    let plain = plain.as_std();
    command.arg(plain.get_program()).args(plain.get_args());
    let env: Vec<_> = plain.get_envs().filter_map(|(name, value)| Some((name, value?))).collect();
    if !env.is_empty() {
        command.env_clear().envs(env);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
