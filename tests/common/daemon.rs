//! `agent-portail run` as a child, seen through its monitor and its log.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::agent::{Agent, until};

/// Far longer than a folder of a test takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines.
const LOG_END: usize = 5000;

/// An address of this machine that nobody has. Free now; that somebody else takes it within milliseconds is unlikely.
pub fn free_address() -> SocketAddr {
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    free.local_addr().unwrap()
}

/// A daemon that runs. It is killed when it is dropped.
pub struct Daemon<'a> {
    agent: &'a Agent,
    child: Child,
    monitor: SocketAddr,
    log: PathBuf,
}

impl<'a> Daemon<'a> {
    /// Runs it until it is ready.
    pub async fn start(agent: &'a Agent) -> Self {
        let mut daemon = Self::spawn(agent, agent.command(&["run"]));
        daemon.until_ready().await;
        daemon
    }

    /// Runs it until the first reconciliation is over and everything is in sync.
    pub async fn settled(agent: &'a Agent) -> Self {
        let daemon = Self::start(agent).await;
        daemon.until_state("in_sync").await;
        daemon
    }

    /// Starts it with this command and waits for nothing.
    pub fn spawn(agent: &'a Agent, mut command: Command) -> Self {
        let monitor = free_address();
        let log = agent.home.path().join(format!("log-{}", monitor.port()));
        let file = File::create(&log).unwrap();
        command.env("AGENT_PORTAIL__MONITOR__LISTEN", monitor.to_string());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self { agent, child: command.spawn().unwrap(), monitor, log }
    }

    /// Waits for `/readyz`.
    pub async fn until_ready(&mut self) {
        let began = Instant::now();
        while !matches!(self.get("/readyz").await, Some((200, _))) {
            self.assert_running();
            assert!(began.elapsed() < PATIENCE, "it is not ready\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops the test if it has ended.
    pub fn assert_running(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "it has ended: {ended:?}\n{}", self.log_end());
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the monitor, which answers when signals are heard.
    pub async fn until_listening(&self) {
        until("the monitor answers", async || self.get("/healthz").await.is_some()).await;
    }

    /// Status and body, if it answers.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.monitor).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: monitor\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// `/status`.
    pub async fn status(&self) -> Value {
        let (code, body) = self.get("/status").await.expect("the monitor answers");
        assert_eq!(code, 200);
        serde_json::from_str(&body).unwrap()
    }

    /// What `/status` says of a folder; null if it is not there.
    pub async fn folder(&self, name: &str) -> Value {
        let status = self.status().await;
        let folders = status["folders"].as_array().unwrap();
        folders.iter().find(|folder| folder["folder"] == name).cloned().unwrap_or_default()
    }

    /// How many paths of the folder have ended so: `uploaded`, `copied`…
    pub async fn done(&self, kind: &str) -> u64 {
        self.folder("files").await["done"][kind].as_u64().unwrap_or(0)
    }

    /// Waits until the folder is in this state, and gives what is said of it.
    pub async fn until_state(&self, state: &str) -> Value {
        self.until_folder(&format!("it is {state}"), |folder| folder["state"] == state).await
    }

    /// Waits until something holds of the folder's status, and gives it.
    pub async fn until_folder(&self, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let folder = self.folder("files").await;
            if holds(&folder) {
                return folder;
            }
            assert!(began.elapsed() < PATIENCE, "still not so: {what}: {folder}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until folder, bucket and catalog hold the same.
    pub async fn until_in_sync(&self) {
        self.until_same(true).await;
    }

    /// As [`Self::until_in_sync`], but for the objects' metadata, which nobody writes for a touch.
    pub async fn until_same_content(&self) {
        self.until_same(false).await;
    }

    /// As [`Self::until_same_content`], where these objects may be there without a file.
    pub async fn until_same_but_for(&self, may_stay: &dyn Fn(&str) -> bool) {
        self.until_none(async || self.agent.difference_but_for(false, &|_| false, may_stay).await).await;
    }

    async fn until_same(&self, with_metadata: bool) {
        self.until_none(async || self.agent.difference(with_metadata).await).await;
    }

    async fn until_none(&self, mut difference: impl AsyncFnMut() -> Option<String>) {
        let began = Instant::now();
        while let Some(difference) = difference().await {
            assert!(began.elapsed() < PATIENCE, "not in sync: {difference}\n{}\n{}", self.status().await, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All that happened was seen by the watcher: there was one reconciliation, at the start, and it has found no drift.
    pub async fn assert_seen_by_events_alone(&self) {
        let folder = self.folder("files").await;
        assert_eq!(folder["drift"], serde_json::json!({}), "{}", self.log());
        assert_eq!(folder["watch_overflows"], 0, "{}", self.log());
        assert_eq!(self.log_lines("reconciled files:").len(), 1, "{}", self.log());
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The end of it, of which a message has room.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_END)..].join("\n")
    }

    /// The lines of its log that contain this.
    pub fn log_lines(&self, words: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    /// Waits until the log contains this.
    pub async fn until_logged(&self, words: &str) {
        until(&format!("{words:?} in the log"), async || self.log().contains(words)).await;
    }

    /// Waits until so many reconciliations have come to their end since the start.
    pub async fn until_reconciled(&self, times: usize) {
        until(&format!("{times} reconciliations"), async || self.log_lines("reconciled files:").len() >= times).await;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Where its monitor listens.
    pub fn monitor(&self) -> SocketAddr {
        self.monitor
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Ends it with SIGTERM, which must lead to 0; gives all that it has said.
    pub async fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it does not end\n{}", self.log())).unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        self.log()
    }

    /// Ends it with SIGKILL.
    pub async fn kill(mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.child.wait().await.unwrap().signal(), Some(Signal::KILL.as_raw()), "{}", self.log());
    }
}
