//! A fault on trial: a daemon that works, the fault while files change, its end, and what is left of it.

use std::fs;
use std::time::{Duration, Instant};

use agent_portail::demo::postgres::Cluster;
use serde_json::Value;

use crate::common::agent::{Agent, files, md5_hex};
use crate::common::fault::Fault;
use crate::common::world::{Step, World};

/// For the program to say that something is wrong: an answer of the store is waited for three times, half a minute each.
const TOLD: Duration = Duration::from_secs(120);
/// For what is left over to be put away.
const SWEPT: Duration = Duration::from_secs(30);
/// How long the program is watched for running in circles.
const WATCHED: Duration = Duration::from_secs(2);
/// What it may use of one core meanwhile, and how often it may ask the store in that time.
const BUSY: f64 = 0.3;
const ASKS: u64 = 60;
/// Connections to store and database come and go.
const CONNECTIONS: usize = 40;

/// Whoever changes files leaves alone what lies in this directory.
pub(crate) const OURS: &str = "ours";

/// What came of a fault.
#[derive(Debug)]
pub(crate) struct Findings {
    /// How often it was brought about.
    pub(crate) injected: u64,
    /// What the program has said or done while it lasted.
    pub(crate) said: String,
    /// Whether folder, bucket and catalog are the same in the end and nothing is left over; else, why not.
    pub(crate) same: Result<(), String>,
    /// Files that S3 does not hold in the end, and objects that were deleted although their file was there.
    pub(crate) lost: u64,
}

impl Findings {
    pub(crate) fn is_good(&self) -> bool {
        self.injected > 0 && self.same.is_ok() && self.lost == 0
    }
}

/// An agent as the trials have it: what events lead to must do, since no reconciliation comes by itself.
pub(crate) async fn agent() -> Agent {
    let mut agent = Agent::start().await;
    agent.sync =
        "debounce = \"20ms\"\nreconcile_every = \"24h\"\npart_size = \"5MiB\"\nshutdown_grace = \"2s\"".to_owned();
    agent.folder = "max_delete = \"100%\"".to_owned();
    agent.restricted = true;
    agent
}

/// A daemon on a folder that is in sync, and everything that was done to it.
pub(crate) struct Trial<'a> {
    pub(crate) agent: &'a Agent,
    pub(crate) world: World<'a>,
    /// Open when all was well.
    descriptors: usize,
}

impl<'a> Trial<'a> {
    /// Starts the daemon, lets files be made, and waits until they are synced.
    pub(crate) async fn begin(agent: &'a Agent, cluster: Option<Cluster>) -> Self {
        let mut trial = Self::unsettled(agent, cluster);
        trial.work(60).await;
        trial.world.settle().await;
        trial.descriptors = trial.descriptors();
        trial
    }

    /// As [`Self::begin`], for a fault that is there from the start.
    pub(crate) fn unsettled(agent: &'a Agent, cluster: Option<Cluster>) -> Self {
        let seed = u64::from(md5_hex(agent.bucket.as_bytes()).as_bytes()[0]);
        let mut world = World::new(agent, cluster, seed);
        world.tells = false;
        world.churn().spared = Some(OURS.into());
        Self { agent, world, descriptors: 0 }
    }

    /// Files change, a bit at a time.
    pub(crate) async fn work(&mut self, operations: usize) {
        let (pause, after) = (Duration::from_millis(5), Duration::ZERO);
        self.world.step(&Step { operations, pause, after, fault: Fault::None }).await;
    }

    /// Waits until the state of the folder is this one and its reason has these words; answers both for the table.
    pub(crate) async fn until_said(&self, state: &str, words: &str) -> String {
        let says =
            |folder: &Value| folder["state"] == state && folder["reason"].as_str().unwrap_or_default().contains(words);
        self.until(&format!("{state}, because of {words:?}"), async || {
            says(&self.world.daemon().folder("files").await)
        })
        .await;
        format!("{state}: “{words}”")
    }

    /// Waits until the catalog says why this path failed; answers it for the table.
    pub(crate) async fn until_recorded(&self, path: &str, words: &str) -> String {
        let sql = format!("SELECT coalesce(error, '') FROM portail.file WHERE path = '{path}'");
        let what = format!("the row of {path} says {words:?}");
        self.until(&what, async || self.agent.db.column(&sql).await.iter().any(|error| error.contains(words))).await;
        format!("its row: “{words}”")
    }

    /// Waits for something.
    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !holds().await {
            let log = || self.world.daemon().log_end();
            assert!(began.elapsed() < TOLD, "still not so: {what}\n{}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// While the fault lasts and nobody changes anything, the program comes to rest and does not run in circles.
    pub(crate) async fn assert_calm(&self) {
        let (began, pid) = (Instant::now(), self.world.daemon().pid());
        loop {
            let (used, asked) = (processor_seconds(pid), self.asked());
            tokio::time::sleep(WATCHED).await;
            let busy = (processor_seconds(pid) - used) / WATCHED.as_secs_f64();
            let asked = self.asked() - asked;
            if busy < BUSY && asked < ASKS {
                return;
            }
            let log = || self.world.daemon().log_end();
            assert!(began.elapsed() < TOLD, "{busy:.2} of a core, {asked} requests\n{}", log());
        }
    }

    fn asked(&self) -> u64 {
        self.agent.s3.counts().values().sum()
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.world.daemon().pid())).unwrap().count()
    }

    /// The fault is over: everything must come to be the same, with nothing left over, and stay so.
    pub(crate) async fn end(mut self, injected: u64, said: String) -> Findings {
        let mut same = self.world.try_settle().await;
        let open = self.descriptors();
        if same.is_ok() && self.descriptors > 0 && open > self.descriptors + CONNECTIONS {
            same = Err(format!("{open} open files, and {} before", self.descriptors));
        }
        if same.is_ok() {
            same = nothing_left(self.agent).await;
        }
        if same.is_ok() {
            self.world.end().await;
        }
        let lost = missing(self.agent).await + self.world.presence.wrong().len() as u64;
        Findings { injected, said, same, lost }
    }
}

/// Neither unfinished uploads nor notes of them, and no deletions under way.
pub(crate) async fn nothing_left(agent: &Agent) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let uploads = agent.s3.unfinished_uploads(&agent.bucket).await;
        let notes = agent.db.count("SELECT count(*) FROM portail.upload").await;
        let spooled = agent.db.count("SELECT count(*) FROM portail.pending_delete").await;
        match (uploads, notes, spooled) {
            (0, 0, 0) => return Ok(()),
            left if began.elapsed() > SWEPT => return Err(format!("left: uploads, notes of them, deletions {left:?}")),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Files whose bytes the bucket does not hold.
pub(crate) async fn missing(agent: &Agent) -> u64 {
    let objects = agent.s3.objects(&agent.bucket).await;
    let is_there = |path: &String, md5: &String| {
        objects.get(&format!("{}{path}", agent.prefix)).is_some_and(|object| md5_hex(&object.bytes) == *md5)
    };
    files(&agent.root).iter().filter(|(path, file)| !is_there(path, &file.md5)).count() as u64
}

/// User and system time that a process has used.
fn processor_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold anything, the fields from the third on. In hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
