//! The story: how the program's parts are wired, in the order in which data flows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::catalog::lock::WriterLock;
use crate::catalog::schema::{self, SchemaState};
use crate::catalog::{Catalog, CatalogError, folder};
use crate::config::settings::{FolderSettings, S3Settings, Settings};
use crate::memory::Budget;
use crate::remote::{self, Client, Limits, Operation, RemoteError};
use crate::sync::error::SyncError;
use crate::sync::pass::{self, PassEnd, Worlds};
use crate::sync::pipeline::{Bounds, PlannedStep};
use crate::sync::report::Report;
use crate::sync::throttle::Throttle;
use crate::sync::verify::{Options, Tell, Verified, verify};

/// How long a command waits for another agent to let go of a folder.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Paths that a pass has under way at most: more would only sit in memory, since a reconciliation can wait for room.
const PASS_QUEUE: usize = 4096;

/// Nothing could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store can't be used.
    #[error(transparent)]
    Remote(RemoteError),
    /// The catalog can't be used.
    #[error("open the catalog")]
    Catalog(#[source] CatalogError),
    /// A dry run changes nothing, so it can't bring the schema up to date either.
    #[error(
        "read the catalog: its schema has version {found}, and this program needs {needed}; run `agent-portail migrate`"
    )]
    SchemaOlder {
        /// In the database.
        found: u32,
        /// By this program.
        needed: u32,
    },
    /// Somebody has upgraded.
    #[error("read the catalog: its schema has version {found}, and this program knows {known}; upgrade agent-portail")]
    SchemaNewer {
        /// In the database.
        found: u32,
        /// By this program.
        known: u32,
    },
}

/// What `sync` is asked to do.
#[derive(Clone)]
pub enum Task {
    /// To sync. With `wait`, it waits for other agents without end.
    Sync {
        /// `--wait`.
        wait: bool,
    },
    /// To show what it would do.
    Plan(Arc<dyn Fn(PlannedStep) + Send + Sync>),
}

/// A folder and its report, which fills while the pass runs.
#[derive(Clone)]
pub struct Watched {
    /// As configured.
    pub folder: FolderSettings,
    /// What has been done.
    pub report: Arc<Report>,
}

/// A pass over several folders that is ready to run.
pub struct Passes {
    worlds: Vec<Worlds>,
    client: Client,
    has_schema: bool,
}

/// The endpoint as the catalog names it.
pub fn endpoint_name(s3: &S3Settings) -> String {
    s3.endpoint_url.clone().unwrap_or_else(|| "aws".to_owned())
}

/// The name that the database's administrator sees.
pub fn application_name(agent: &str) -> String {
    format!("agent-portail {agent}")
}

/// Clients of both servers, and the bounds that all folders share.
pub struct Connected {
    /// PostgreSQL.
    pub catalog: Catalog,
    /// S3.
    pub client: Client,
    bounds: Bounds,
}

impl Connected {
    /// Prepares the clients; only the CA file and the AWS configuration are read here. `queue` is the number of paths that a
    /// folder may have under way.
    ///
    /// # Errors
    /// If a client can't be made.
    pub async fn open(settings: &Settings, queue: usize) -> Result<Self, StartError> {
        let limits = Limits { workers: settings.sync.workers, bandwidth: settings.sync.bandwidth_limit };
        let catalog =
            Catalog::open(&settings.database, &application_name(&settings.agent.name)).map_err(StartError::Catalog)?;
        let client = remote::connect(&settings.s3, &limits).await.map_err(StartError::Remote)?;
        let bounds = Bounds {
            throttle: Arc::new(Throttle::new(settings.sync.workers)),
            budget: Arc::new(Budget::default()),
            part_size: settings.sync.part_size,
            queue_capacity: queue,
        };
        Ok(Self { catalog, client, bounds })
    }

    /// The slots for requests, which all share.
    pub fn throttle(&self) -> Arc<Throttle> {
        Arc::clone(&self.bounds.throttle)
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// If the database can't be reached or changed.
    pub async fn migrate(&self, settings: &Settings) -> Result<(), StartError> {
        schema::migrate(&self.catalog).await.map_err(StartError::Catalog)?;
        schema::maintain_history(&self.catalog, settings.agent.history_retention).await.map_err(StartError::Catalog)
    }

    /// What a folder is synced with.
    pub fn worlds(&self, settings: &Settings, folder: &FolderSettings, report: Arc<Report>) -> Worlds {
        Worlds {
            folder: folder.clone(),
            agent: settings.agent.name.clone(),
            endpoint: endpoint_name(&settings.s3),
            bucket: self.client.bucket(&folder.bucket),
            catalog: self.catalog.clone(),
            bounds: self.bounds.clone(),
            report,
        }
    }
}

impl StartError {
    /// Whether no waiting would mend it.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Remote(_) | Self::SchemaOlder { .. } | Self::SchemaNewer { .. } => true,
            Self::Catalog(error) => error.is_final(),
        }
    }
}

impl Passes {
    /// Connects to S3 and PostgreSQL for these folders, and brings the schema up to date unless it is only to be looked at.
    ///
    /// # Errors
    /// If either can't be used.
    pub async fn prepare(settings: &Settings, folders: &[FolderSettings], dry_run: bool) -> Result<Self, StartError> {
        let connected = Connected::open(settings, settings.sync.queue_capacity.min(PASS_QUEUE)).await?;
        let has_schema = if dry_run {
            match schema::state(&connected.catalog).await.map_err(StartError::Catalog)? {
                SchemaState::Missing => false,
                SchemaState::Current => true,
                SchemaState::Older { found, needed } => return Err(StartError::SchemaOlder { found, needed }),
                SchemaState::Newer { found, known } => return Err(StartError::SchemaNewer { found, known }),
            }
        } else {
            connected.migrate(settings).await?;
            true
        };
        let worlds = folders.iter().map(|folder| connected.worlds(settings, folder, Arc::default())).collect();
        Ok(Self { worlds, client: connected.client, has_schema })
    }

    /// The folders with their reports.
    pub fn watched(&self) -> Vec<Watched> {
        let watched = |worlds: &Worlds| Watched { folder: worlds.folder.clone(), report: Arc::clone(&worlds.report) };
        self.worlds.iter().map(watched).collect()
    }

    /// Requests that were sent to S3, by operation.
    pub fn requests(&self) -> BTreeMap<Operation, u64> {
        self.client.requests()
    }

    /// Runs the passes side by side, so that one folder's trouble stops no other, and returns how each has ended, in order.
    pub async fn run(&self, task: Task, cancel: &CancellationToken) -> Vec<Result<PassEnd, SyncError>> {
        let passes =
            self.worlds.iter().map(|worlds| one(worlds.clone(), self.has_schema, task.clone(), cancel.clone()));
        side_by_side(passes, "pass").await
    }

    /// Compares folder, catalog and bucket, of all folders side by side, and returns what each has come to, in order.
    pub async fn verify(
        &self,
        options: Options,
        tell: &Tell,
        cancel: &CancellationToken,
    ) -> Vec<Result<Verified, SyncError>> {
        let verify = |worlds: &Worlds| {
            // What is read is shown as progress; what is mended is reported elsewhere.
            let (report, worlds) = (Arc::clone(&worlds.report), Worlds { report: Arc::default(), ..worlds.clone() });
            verify_one(worlds, self.has_schema, options, Arc::clone(tell), report, cancel.clone())
        };
        side_by_side(self.worlds.iter().map(verify), "verification").await
    }
}

/// Runs one task for each folder, and returns how each has ended, in order.
async fn side_by_side<T: Send + 'static>(
    tasks: impl Iterator<Item = impl Future<Output = Result<T, SyncError>> + Send + 'static>,
    name: &'static str,
) -> Vec<Result<T, SyncError>> {
    let mut running = JoinSet::new();
    let mut order = HashMap::new();
    for (index, task) in tasks.enumerate() {
        order.insert(running.spawn(task).id(), index);
    }
    let mut ends: Vec<_> = order.iter().map(|_| Err(SyncError::Task { task: name })).collect();
    while let Some(ended) = running.join_next_with_id().await {
        let (id, end) = match ended {
            Ok((id, end)) => (id, end),
            Err(error) => (error.id(), Err(SyncError::Task { task: name })),
        };
        if let Some(slot) = order.get(&id).and_then(|&index| ends.get_mut(index)) {
            *slot = end;
        }
    }
    ends
}

async fn one(worlds: Worlds, has_schema: bool, task: Task, cancel: CancellationToken) -> Result<PassEnd, SyncError> {
    let wait = match task {
        Task::Plan(show) => return pass::plan(&worlds, has_schema, show, cancel).await,
        Task::Sync { wait } => wait,
    };
    let Some(lock) = pass::take_lock(&worlds, (!wait).then_some(LOCK_PATIENCE), &cancel).await? else {
        return Ok(PassEnd {
            found: Default::default(),
            verdict: None,
            held: 0,
            doubts: Vec::new(),
            again: false,
            damaged: 0,
            interrupted: true,
        });
    };
    locked(&worlds, lock, cancel, |cancel| pass::sync(&worlds, cancel)).await
}

async fn verify_one(
    worlds: Worlds,
    has_schema: bool,
    options: Options,
    tell: Tell,
    report: Arc<Report>,
    cancel: CancellationToken,
) -> Result<Verified, SyncError> {
    if !options.repair {
        let (bucket, prefix) = (worlds.bucket.name(), worlds.folder.prefix.as_str());
        let known = match has_schema {
            true => folder::find(&worlds.catalog, &worlds.endpoint, bucket, prefix).await?.map(|record| record.id),
            false => None,
        };
        return verify(&worlds, known, options, tell, report, cancel).await;
    }
    let Some(lock) = pass::take_lock(&worlds, Some(LOCK_PATIENCE), &cancel).await? else {
        return Ok(Verified { interrupted: true, ..Verified::default() });
    };
    locked(&worlds, lock, cancel, |cancel| verify(&worlds, None, options, tell, report, cancel)).await
}

/// Does work that needs the writer's lock, and stops it when that is lost.
async fn locked<T, F: Future<Output = Result<T, SyncError>>>(
    worlds: &Worlds,
    lock: WriterLock,
    cancel: CancellationToken,
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<T, SyncError> {
    // A token of its own, so that a lost lock stops this folder only.
    let cancel = cancel.child_token();
    let work = work(cancel.clone());
    tokio::pin!(work);
    tokio::select! {
        end = &mut work => end,
        () = lock.lost() => {
            // Stop before anything else; what is under way may end, nothing new begins.
            cancel.cancel();
            let _ = work.await;
            Err(SyncError::LockLost { folder: worlds.folder.name.clone() })
        }
    }
}
