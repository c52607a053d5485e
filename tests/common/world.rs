//! A daemon on a folder that is worked on, while everything around it goes wrong: what happens, and what must hold after it.

mod settled;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_portail::demo::postgres::Cluster;
use agent_portail::local::exclude::IGNORE_FILE;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use tokio::task::block_in_place;

use super::agent::{Agent, copy_tree};
use super::churn::{self, Churn};
use super::daemon::Daemon;
use super::fault::{Fault, Scope};
use super::operation::{Content, Operation};
use super::presence::Presence;

/// What somebody else writes over our objects begins with this.
const DRIFT: &[u8] = b"drift ";

/// The daemon and all that is around it.
pub struct World<'a> {
    agent: &'a Agent,
    /// None where the database server is shared with other tests.
    cluster: Option<Cluster>,
    /// None while it is down.
    daemon: Option<Daemon<'a>>,
    /// None while it works.
    churn: Option<Churn>,
    pub presence: Arc<Presence>,
    random: StdRng,
    /// Exclude rules are in force, or have been.
    rules: (bool, bool),
    /// Something was changed that no event tells of: in the bucket, in the catalog.
    drifted: bool,
    /// GET answers with other ETags than PUT and listings do, as no store does: nothing can be brought back by the catalog.
    pub confused: bool,
    /// Where a copy of the database server's files is.
    backup: Option<PathBuf>,
    overwritten: HashSet<String>,
    foreign: BTreeMap<String, Vec<u8>>,
    /// Done on the files so far.
    pub operations: usize,
    /// Tells each step on standard output.
    pub tells: bool,
}

/// What happens next: operations on the files, and beside them a fault.
#[derive(Clone, Debug)]
pub struct Step {
    pub operations: usize,
    /// After each.
    pub pause: Duration,
    /// From the first operation to the fault.
    pub after: Duration,
    pub fault: Fault,
}

impl<'a> World<'a> {
    /// Around an agent whose folder, bucket and database are empty. The daemon is started, and not waited for.
    pub fn new(agent: &'a Agent, cluster: Option<Cluster>, seed: u64) -> Self {
        let presence = Arc::new(Presence::new(&agent.prefix));
        let observing = Arc::clone(&presence);
        agent.s3.observe(move |seen| observing.requested(seen));
        let outside = agent.home.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let churn = Churn::new(seed, &agent.root, &outside, Arc::clone(&presence));
        let mut world = Self {
            agent,
            cluster,
            daemon: None,
            churn: Some(churn),
            presence,
            random: StdRng::seed_from_u64(seed),
            rules: (false, false),
            drifted: false,
            confused: false,
            backup: None,
            overwritten: HashSet::new(),
            foreign: BTreeMap::new(),
            operations: 0,
            tells: true,
        };
        world.start();
        world
    }

    /// The database server of its own.
    pub fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().unwrap()
    }

    /// Whoever works on the files.
    pub fn churn(&mut self) -> &mut Churn {
        self.churn.as_mut().unwrap()
    }

    pub fn daemon(&self) -> &Daemon<'a> {
        self.daemon.as_ref().unwrap()
    }

    pub fn scope(&self) -> Scope {
        let permissions = self.agent.restricted && rustix::process::geteuid().is_root();
        Scope { own_server: self.cluster.is_some(), restarts: true, permissions }
    }

    fn tell(&self, what: &str) {
        if self.tells {
            println!("{:8.3} s {what}", self.presence.seconds());
        }
    }

    fn start(&mut self) {
        self.daemon = Some(Daemon::spawn(self.agent, self.agent.command(&["run"])));
    }

    pub async fn step(&mut self, step: &Step) {
        self.tell(&format!("{step:?}"));
        let (operations, pause) = (step.operations, step.pause);
        let mut churn = self.churn.take().unwrap();
        let working = tokio::task::spawn_blocking(move || {
            churn.work(operations, pause);
            churn
        });
        tokio::time::sleep(step.after).await;
        // Who has a path of the folder in hand would make a new folder there, or write behind the link.
        if let Fault::Away { away, replaced } = step.fault {
            self.churn = Some(working.await.unwrap());
            self.move_away(away, replaced).await;
        } else if let Fault::Swapped(lasting) = step.fault {
            self.churn = Some(working.await.unwrap());
            self.swap(lasting).await;
        } else {
            self.meet(&step.fault).await;
            self.churn = Some(working.await.unwrap());
        }
        self.operations += operations;
        self.assert_sound();
    }

    /// Nothing has been done that can't be put right, and the daemon still runs.
    pub fn assert_sound(&mut self) {
        let wrong = self.presence.wrong();
        assert!(wrong.is_empty(), "{wrong:#?}\n{}", self.daemon().log_end());
        self.daemon.as_mut().unwrap().assert_running();
    }

    async fn meet(&mut self, fault: &Fault) {
        let agent = self.agent;
        match fault {
            Fault::None => {}
            Fault::Store(trouble, percent) => {
                agent.s3.clear_scripts();
                agent.s3.script(trouble.script(*percent, StdRng::seed_from_u64(self.random.random())));
            }
            Fault::Calm => agent.s3.clear_scripts(),
            Fault::Sessions => {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
                agent.db.rows(sql).await;
            }
            Fault::Database { away, crash } => {
                let cluster = self.cluster.as_mut().unwrap();
                block_in_place(|| if *crash { cluster.kill() } else { cluster.stop() });
                tokio::time::sleep(*away).await;
                block_in_place(|| cluster.resume().unwrap());
            }
            Fault::Kill { down } => {
                self.daemon.take().unwrap().kill().await;
                self.start_after(*down).await;
            }
            Fault::Stop { down } => {
                let daemon = self.daemon.take().unwrap();
                daemon.until_listening().await;
                daemon.stop().await;
                self.start_after(*down).await;
            }
            Fault::Pause(lasting) => {
                self.daemon().signal(Signal::STOP);
                tokio::time::sleep(*lasting).await;
                self.daemon().signal(Signal::CONT);
            }
            Fault::Reload => self.reload().await,
            // They are the step's business.
            Fault::Away { .. } | Fault::Swapped(_) => {}
            Fault::Backup => block_in_place(|| self.back_up()),
            Fault::Past if self.backup.is_none() => {}
            Fault::Past => {
                self.put_down().await;
                block_in_place(|| self.go_back());
                self.start();
            }
            Fault::Lost => {
                self.put_down().await;
                agent.db.rows("DROP SCHEMA IF EXISTS portail CASCADE").await;
                self.start();
            }
            Fault::Rules(on) => self.rule(*on),
            Fault::Unreadable(lasting) => self.forbid(*lasting).await,
            Fault::Vanished(count) => {
                self.drifted = true;
                for key in self.some_keys(*count).await {
                    agent.s3.sdk().delete_object().bucket(&agent.bucket).key(key).send().await.unwrap();
                }
            }
            Fault::Overwritten(count) => {
                self.drifted = true;
                for key in self.some_keys(*count).await {
                    let bytes = [DRIFT, &self.random.random::<u64>().to_le_bytes()].concat();
                    agent.s3.put(&agent.bucket, &key, bytes).await;
                    self.overwritten.insert(key);
                }
            }
            Fault::Foreign => self.put_foreign().await,
        }
    }

    /// Whoever brings a catalog back, or makes a new one, doesn't do so under the program's hands.
    async fn put_down(&mut self) {
        self.daemon.take().unwrap().kill().await;
        self.agent.s3.until_unused().await;
        self.drifted = true;
    }

    async fn start_after(&mut self, down: Duration) {
        // What it has sent before its end has arrived, or never will.
        self.agent.s3.until_unused().await;
        tokio::time::sleep(down).await;
        self.start();
    }

    async fn reload(&self) {
        self.daemon().until_listening().await;
        self.daemon().signal(Signal::HUP);
    }

    /// Keys of the program's own objects.
    async fn some_keys(&mut self, count: usize) -> Vec<String> {
        let keys = self.agent.s3.keys(&self.agent.bucket).await;
        keys.into_iter().filter(|key| !self.foreign.contains_key(key)).sample(&mut self.random, count)
    }

    async fn put_foreign(&mut self) {
        let (n, prefix) = (self.random.random_range(0..40), &self.agent.prefix);
        // As other tools mark a directory, beside our files, and where nothing is ours.
        for key in [format!("{prefix}n{n}/"), format!("{prefix}n{n}/foreign"), format!("{prefix}foreign/{n}")] {
            let bytes = format!("of somebody else: {key}").into_bytes();
            self.presence.foreign(&key);
            self.agent.s3.put(&self.agent.bucket, &key, bytes.clone()).await;
            self.foreign.insert(key, bytes);
        }
    }

    async fn move_away(&mut self, lasting: Duration, replaced: bool) {
        let (root, away) = (&self.agent.root, self.agent.home.path().join("away"));
        fs::rename(root, &away).unwrap();
        if replaced {
            fs::create_dir(root).unwrap();
        }
        let churn = self.churn.as_mut().unwrap();
        let mut working = std::mem::replace(&mut churn.root, away.clone());
        block_in_place(|| churn.work(10, Duration::ZERO));
        std::mem::swap(&mut churn.root, &mut working);
        tokio::time::sleep(lasting).await;
        if replaced {
            fs::remove_dir(root).unwrap();
        }
        fs::rename(&away, root).unwrap();
    }

    /// A directory is moved out, and a link to it is in its place for a while.
    async fn swap(&mut self, lasting: Duration) {
        let directories = || churn::below(&self.agent.root).into_iter().filter(|path| path.is_dir());
        let Some(path) = block_in_place(|| directories().choose(&mut self.random)) else { return };
        let moved = self.agent.home.path().join("swapped");
        self.presence.vanishing(&self.agent.root, &[&path]);
        fs::rename(&path, &moved).unwrap();
        symlink(&moved, &path).unwrap();
        self.presence.appearing(&self.agent.root, &[&path]);
        tokio::time::sleep(lasting).await;
        fs::remove_file(&path).unwrap();
        fs::rename(&moved, &path).unwrap();
        self.presence.appearing(&self.agent.root, &[&path]);
    }

    fn back_up(&mut self) {
        let to = self.agent.home.path().join("backup");
        let cluster = self.cluster.as_mut().unwrap();
        cluster.stop();
        if to.exists() {
            fs::remove_dir_all(&to).unwrap();
        }
        copy_tree(&cluster.data(), &to);
        cluster.resume().unwrap();
        self.backup = Some(to);
    }

    fn go_back(&mut self) {
        let cluster = self.cluster.as_mut().unwrap();
        cluster.stop();
        fs::remove_dir_all(cluster.data()).unwrap();
        copy_tree(self.backup.as_ref().unwrap(), &cluster.data());
        cluster.resume().unwrap();
    }

    fn rule(&mut self, on: bool) {
        let path = self.agent.path(IGNORE_FILE);
        if on {
            fs::write(path, "*.skip\n").unwrap();
        } else if self.rules.0 {
            fs::remove_file(path).unwrap();
        }
        self.rules = (on, self.rules.1 || on);
    }

    /// Nobody may read a directory or file, for a while; and there is reason to look at what lies below.
    async fn forbid(&mut self, lasting: Duration) {
        let all = block_in_place(|| churn::below(&self.agent.root));
        let Some(path) = all.into_iter().choose(&mut self.random) else { return };
        // Whatever becomes of its name meanwhile, it is what is given back.
        let Ok(open) = fs::File::open(&path) else { return };
        let Ok(before) = open.metadata() else { return };
        open.set_permissions(fs::Permissions::from_mode(0o000)).unwrap();
        for file in block_in_place(|| churn::below(&path)).into_iter().chain([path]) {
            // Whoever has removed it meanwhile has seen to it that it is looked at.
            let _ = Operation::Append(file, Content { seed: 0, length: 1 }).apply();
        }
        tokio::time::sleep(lasting).await;
        open.set_permissions(before.permissions()).unwrap();
    }
}
