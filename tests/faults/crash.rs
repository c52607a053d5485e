//! The crash matrix: the real process is ended by SIGKILL at each boundary of its acts, and started again.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agent_portail::boundary::{ALL, Boundary};
use rustix::process::Signal;

use crate::common::agent::{Agent, until};
use crate::common::daemon::Daemon;
use crate::common::operation::{Content, Operation};
use crate::common::presence::Presence;
use crate::common::s3::{Reply, error_body};
use crate::trial::{self, Findings, missing, nothing_left};
use crate::{Case, cases};

/// For the process to come to a boundary.
const PATIENCE: Duration = Duration::from_secs(60);
/// In parts of 5 MiB it takes two.
const LARGE: usize = 6_000_000;

pub(crate) fn cases() -> Vec<Case> {
    let matrix = ALL.into_iter().map(|boundary| Case {
        chapter: "SIGKILL",
        name: format!("at `{}`", boundary.name()),
        run: Box::new(move || Box::pin(at(boundary))),
    });
    let back =
        cases!["SIGKILL": "none, but a file is back between the last look and the deletion" => back_in_the_last_moment];
    matrix.chain(back).collect()
}

/// Ends it there the first time, with everything left as it is, and the second time, with changes before it starts again.
async fn at(boundary: Boundary) -> Findings {
    let mut all = Findings { injected: 0, said: "starts again and finishes".to_owned(), same: Ok(()), lost: 0 };
    for (hit, meanwhile) in [(1, false), (second(boundary), true)] {
        let found = one(boundary, hit, meanwhile).await;
        all.injected += found.injected;
        all.lost += found.lost;
        all.same = all.same.and(found.same);
    }
    all
}

/// What comes once in a life, comes no second time.
fn second(boundary: Boundary) -> u32 {
    match boundary {
        Boundary::LockTaken | Boundary::SchemaLocked | Boundary::Claimed => 1,
        Boundary::Migrated
        | Boundary::BeforePut
        | Boundary::AfterPut
        | Boundary::BeforeCopy
        | Boundary::AfterCopy
        | Boundary::UploadNoted
        | Boundary::UploadBegun
        | Boundary::UploadIdNoted
        | Boundary::BeforePart
        | Boundary::AfterPart
        | Boundary::BeforeComplete
        | Boundary::AfterComplete
        | Boundary::BeforeAbort
        | Boundary::AfterAbort
        | Boundary::BeforeForget
        | Boundary::AfterForget
        | Boundary::BeforeRows
        | Boundary::AfterRows
        | Boundary::Spooled
        | Boundary::Judged
        | Boundary::Deleting
        | Boundary::BeforeDelete
        | Boundary::AfterDelete
        | Boundary::RowsGone
        | Boundary::Unspooled => 2,
    }
}

/// A folder, and what is known of its files at each moment.
struct Folder<'a> {
    agent: &'a Agent,
    presence: Arc<Presence>,
}

impl<'a> Folder<'a> {
    fn new(agent: &'a Agent) -> Self {
        let presence = Arc::new(Presence::new(&agent.prefix));
        let observing = Arc::clone(&presence);
        agent.s3.observe(move |seen| observing.requested(seen));
        Self { agent, presence }
    }

    fn apply(&self, operation: &Operation) {
        self.presence.vanishing(&self.agent.root, &operation.vanishing());
        operation.apply().unwrap_or_else(|error| panic!("{operation:?}: {error}"));
        self.presence.appearing(&self.agent.root, &operation.appearing());
    }

    fn write(&self, path: &str, seed: u64, length: usize) {
        let path = self.agent.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        self.apply(&Operation::Write(path, Content { seed, length }));
    }

    fn rename(&self, from: &str, to: &str) {
        self.apply(&Operation::Rename(self.agent.path(from), self.agent.path(to)));
    }

    fn remove(&self, path: &str) {
        self.apply(&Operation::Remove(self.agent.path(path)));
    }

    /// What is done to the files, a step at a time. Together the steps lead over every boundary at least twice.
    fn step(&self, number: usize) -> bool {
        match number {
            0 => {
                for i in 0..4 {
                    self.write(&format!("small/{i}"), i, 1000);
                    self.write(&format!("dir/deep/{i}"), 10 + i, 1000);
                }
                self.write("large", 20, LARGE);
                self.write("refused", 21, LARGE);
                self.write("empty", 0, 0);
            }
            1 => {
                self.write("small/0", 30, 2000);
                self.write("new", 31, 500);
            }
            2 => {
                self.rename("small/1", "small/one");
                self.rename("dir/deep", "dir/other");
            }
            3 => self.remove("small/2"),
            4 => {
                self.apply(&Operation::RemoveTree(self.agent.path("dir/other")));
                self.write("large", 40, LARGE + 1);
            }
            5 => {
                self.remove("small/3");
                self.remove("large");
            }
            _ => return false,
        }
        true
    }

    /// While nobody looks: what was deleted is back, and what was uploaded has changed.
    fn meanwhile(&self) {
        for (path, seed) in [("small/2", 50), ("small/3", 51), ("dir/other/1", 52), ("small/0", 53), ("large", 54)] {
            self.write(path, seed, 1500);
        }
    }
}

async fn one(boundary: Boundary, hit: u32, meanwhile: bool) -> Findings {
    let agent = trial::agent().await;
    let folder = Folder::new(&agent);
    refuse_twice(&agent);
    folder.step(0);
    let mut command = agent.command(&["run"]);
    let before = if hit > 1 { format!("{}*off->", hit - 1) } else { String::new() };
    command.env("FAILPOINTS", format!("{}={before}return", boundary.name()));
    let mut daemon = Daemon::spawn(&agent, command);
    let mut step = 1;
    while !same_or_dead(&agent, &mut daemon).await {
        assert!(folder.step(step), "it was never at `{}` {hit} times\n{}", boundary.name(), daemon.log_end());
        step += 1;
    }
    let log = daemon.log();
    assert_eq!(daemon.ended().unwrap().signal(), Some(Signal::KILL.as_raw()), "{log}");
    // What it has sent before its end has arrived, or never will.
    agent.s3.until_unused().await;
    let lies = rows_without_object(&agent).await;
    assert!(lies.is_empty(), "no row without its object: {lies:?}\n{log}");
    if meanwhile {
        folder.meanwhile();
    }
    let restarted = Daemon::start(&agent).await;
    let mut same = settled(&agent, &restarted).await.map_err(|why| format!("{why}\nbefore:\n{log}"));
    restarted.stop().await;
    if same.is_ok() {
        let pass = agent.synced().await;
        let done = ["uploaded", "copied", "deleted"].map(|kind| pass.done(kind));
        if done != [0, 0, 0] {
            same = Err(format!("a pass has found something left to do: {}", pass.stdout));
        }
    }
    let wrong = folder.presence.wrong();
    if !wrong.is_empty() {
        same = Err(format!("{wrong:#?}\n{log}"));
    }
    Findings { injected: 1, said: String::new(), same, lost: missing(&agent).await + wrong.len() as u64 }
}

/// The parts of one file are refused until its upload was thrown away twice.
fn refuse_twice(agent: &Agent) {
    let aborts = AtomicU64::new(0);
    agent.s3.script(move |seen| {
        if seen.keys != ["refused"] {
            return None;
        }
        if seen.operation == "AbortMultipartUpload" {
            aborts.fetch_add(1, Ordering::SeqCst);
        }
        let refused = seen.operation == "UploadPart" && aborts.load(Ordering::SeqCst) < 2;
        refused.then(|| Reply::Answer { status: 403, headers: Vec::new(), body: error_body("AccessDenied") })
    });
}

/// Waits until everything is synced or the process has ended; answers whether it has ended.
async fn same_or_dead(agent: &Agent, daemon: &mut Daemon<'_>) -> bool {
    let began = Instant::now();
    loop {
        if daemon.ended().is_some() {
            return true;
        }
        // What is left to do after the last row is a matter of milliseconds.
        if agent.difference(false).await.is_none() && nothing_under_way(agent).await {
            return daemon.ended().is_some();
        }
        assert!(began.elapsed() < PATIENCE, "it neither syncs nor ends\n{}", daemon.log_end());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn nothing_under_way(agent: &Agent) -> bool {
    let sql = "SELECT (SELECT count(*) FROM portail.pending_delete) + (SELECT count(*) FROM portail.upload)";
    agent.db.count(sql).await == 0
}

async fn settled(agent: &Agent, daemon: &Daemon<'_>) -> Result<(), String> {
    let began = Instant::now();
    while let Some(difference) = agent.difference(false).await {
        if began.elapsed() > PATIENCE {
            return Err(format!("not the same: {difference}\n{}", daemon.log_end()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    daemon.until_state("in_sync").await;
    nothing_left(agent).await
}

/// Paths whose row vouches for an object that is not there. It may be a newer one than the row says: object before row.
async fn rows_without_object(agent: &Agent) -> Vec<String> {
    if agent.db.value("SELECT to_regclass('portail.file') IS NOT NULL").await == "f" {
        return Vec::new();
    }
    let rows = agent.db.rows("SELECT path, key, etag FROM portail.file WHERE state = 'synced'").await;
    let mut lies = Vec::new();
    for row in rows {
        let object = agent.s3.object(&agent.bucket, &row[1]).await;
        if object.is_none() {
            lies.push(row[0].clone());
        }
    }
    lies
}

/// A file that appears after the last look is on S3 again, and no reconciliation is waited for.
async fn back_in_the_last_moment() -> Findings {
    let agent = trial::agent().await;
    for name in ["a", "b", "stays"] {
        agent.write(name, name);
    }
    let mut command = agent.command(&["run"]);
    command.env("FAILPOINTS", format!("{}=1*sleep(1500)", Boundary::BeforeDelete.name()));
    let daemon = Daemon::spawn(&agent, command);
    daemon.until_listening().await;
    daemon.until_state("in_sync").await;
    daemon.until_in_sync().await;
    agent.remove("a");
    agent.remove("b");
    let deleting = "SELECT count(*) FROM portail.file WHERE state = 'deleting'";
    until("the rows say `deleting`", async || agent.db.count(deleting).await == 2).await;
    // Long after the look, which takes a millisecond, and long before the request.
    tokio::time::sleep(Duration::from_millis(300)).await;
    agent.write("a", "a");
    daemon.until_same_content().await;
    daemon.until_state("in_sync").await;
    let deleted = agent.s3.count("DeleteObjects");
    daemon.assert_seen_by_events_alone().await;
    let lost = missing(&agent).await;
    let same = nothing_left(&agent).await;
    daemon.stop().await;
    Findings { injected: deleted, said: "uploaded again, by its event".to_owned(), same, lost }
}
