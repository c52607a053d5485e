//! All folders of the program: started, stopped and exchanged side by side when the configuration changes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::agent::{Connected, StartError};
use crate::catalog::schema;
use crate::config::Effective;
use crate::config::settings::{FolderSettings, Settings};
use crate::daemon::live::Live;
use crate::daemon::notify::Telling;
use crate::daemon::run::{Reload, RunError};
use crate::daemon::supervise::{Defect, Supervised, supervise};
use crate::daemon::wishes::{Cause, Wishes};
use crate::metrics::Measured;
use crate::model::Printable;
use crate::monitor::Shown;
use crate::queue::Pace;
use crate::sync::act::chain;
use crate::sync::feed::Feed;
use crate::systemd::{self, Notice};

/// The quiet time of a path that keeps changing begins with the debounce, but not below this.
const SHORTEST_QUIET: Duration = Duration::from_millis(100);
/// Between two tries to bring the schema up to date while the database is away.
const SCHEMA: Duration = Duration::from_secs(2);

/// A folder that runs.
pub(super) struct Running {
    settings: FolderSettings,
    pub(super) live: Arc<Live>,
    wishes: Arc<Wishes>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), Defect>>,
}

/// All folders with what they share.
pub(super) struct Fleet {
    effective: Effective,
    connected: Connected,
    pub(super) running: HashMap<String, Running>,
    shown: Shown,
    measured: Measured,
    telling: Vec<Telling>,
}

impl Fleet {
    pub(super) async fn connect(effective: Effective, shown: Shown) -> Result<Self, StartError> {
        let connected = Connected::open(&effective.settings, effective.settings.sync.queue_capacity).await?;
        let measured = Measured::by(&shown.lock().unwrap_or_else(PoisonError::into_inner).meter);
        let fleet = Self { effective, connected, running: HashMap::new(), shown, measured, telling: Vec::new() };
        fleet.announce();
        Ok(fleet)
    }

    fn settings(&self) -> &Settings {
        &self.effective.settings
    }

    /// Brings the schema up to date, however long the database is away. Only what no waiting would mend is an error.
    pub(super) async fn migrate(&self) -> Result<(), StartError> {
        let mut told = false;
        loop {
            match self.connected.migrate(self.settings()).await {
                Ok(()) => {
                    self.shown.lock().unwrap_or_else(PoisonError::into_inner).schema_is_current = true;
                    return Ok(());
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) if !told => {
                    told = true;
                    tracing::error!("waiting for the database: failed to {}", chain(&error));
                    systemd::notify(&Notice::Status("waiting for the database".to_owned()));
                }
                Err(_) => {}
            }
            tokio::time::sleep(SCHEMA).await;
        }
    }

    /// Makes and drops the history's months, in the background.
    pub(super) fn keep_history(&self) {
        let (catalog, retention) = (self.connected.catalog.clone(), self.settings().agent.history_retention);
        tokio::spawn(async move {
            if let Err(error) = schema::maintain_history(&catalog, retention).await {
                tracing::warn!(error = %chain(&error), "the history could not be kept in order; it is tried again in some hours");
            }
        });
    }

    pub(super) fn start_all(&mut self, cancel: &CancellationToken) {
        for folder in self.settings().folders.clone() {
            self.start(folder, cancel);
        }
        self.start_telling(cancel);
        self.announce();
    }

    /// Tells the webhooks of the configuration, and no others any more.
    fn start_telling(&mut self, cancel: &CancellationToken) {
        self.telling.clear();
        let Settings { agent, notify, .. } = self.settings();
        let catalog = &self.connected.catalog;
        let telling = notify.iter().filter_map(|webhook| Telling::start(webhook, catalog.clone(), &agent.name, cancel));
        self.telling = telling.collect();
    }

    fn start(&mut self, settings: FolderSettings, cancel: &CancellationToken) {
        let sync = self.settings().sync.clone();
        let feed = Arc::new(Feed::new(Pace {
            capacity: sync.queue_capacity,
            quiet: sync.debounce.max(SHORTEST_QUIET),
            max_delay: sync.max_delay,
        }));
        let live = Arc::new(Live::new(&settings, feed, self.measured.clone()));
        let wishes = Arc::new(Wishes::default());
        let worlds = self.connected.worlds(self.settings(), &settings, Arc::clone(&live.report));
        let cancel = cancel.child_token();
        let verify_every = self.settings().agent.verify_every;
        let supervised =
            Supervised { worlds, sync, verify_every, live: Arc::clone(&live), wishes: Arc::clone(&wishes) };
        let task = tokio::spawn(supervise(supervised, cancel.clone()));
        self.running.insert(settings.name.clone(), Running { settings, live, wishes, cancel, task });
    }

    /// The monitor shows the folders that run now, in the order of the configuration.
    fn announce(&self) {
        let order = self.settings().folders.iter().filter_map(|folder| self.running.get(&folder.name));
        let folders = order.map(|running| Arc::clone(&running.live)).collect();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.agent.clone_from(&self.settings().agent.name);
        shown.folders = folders;
        shown.webhooks = self.telling.iter().map(|telling| Arc::clone(&telling.told)).collect();
        shown.store = Some(self.connected.client.clone());
    }

    /// Takes a new configuration over: folders that are new, gone or changed are started and stopped, the others go on. One
    /// that is invalid changes nothing.
    pub(super) async fn reload(&mut self, reload: &Reload, cancel: &CancellationToken) {
        let new = match reload() {
            Ok(new) if new.settings.folders.is_empty() => {
                tracing::error!("the new configuration has no folder; the old one stays in force");
                return;
            }
            Ok(new) => new,
            Err(error) => {
                tracing::error!("the new configuration is invalid, the old one stays in force: {error}");
                return;
            }
        };
        let all = !is_same_surroundings(&self.effective, &new);
        if all {
            match Connected::open(&new.settings, new.settings.sync.queue_capacity).await {
                Ok(connected) => self.connected = connected,
                Err(error) => {
                    tracing::error!(
                        "the new configuration can't be used, the old one stays in force: {}",
                        chain(&error)
                    );
                    return;
                }
            }
        }
        self.effective = new;
        let wanted = self.settings().folders.clone();
        let stay = |running: &Running| !all && wanted.contains(&running.settings);
        let leave: Vec<String> =
            self.running.iter().filter(|(_, running)| !stay(running)).map(|(name, _)| name.clone()).collect();
        for name in leave {
            if let Some(running) = self.running.remove(&name) {
                tracing::info!(folder = %name, "stopping the folder, or starting it anew with its new settings");
                stop(running, self.settings().sync.shutdown_grace).await;
            }
        }
        for folder in wanted {
            match self.running.get(&folder.name) {
                Some(running) => running.wishes.wish(Cause::Reload),
                None => self.start(folder, cancel),
            }
        }
        self.start_telling(cancel);
        self.announce();
        tracing::info!("the configuration was read again");
    }

    pub(super) fn is_ready(&self) -> bool {
        self.running.values().all(|running| running.live.is_ready())
    }

    /// Resolves when the task of a folder has ended although nobody told it to, which is a defect of the program.
    pub(super) async fn defect(&mut self) -> RunError {
        if self.running.is_empty() {
            return std::future::pending().await;
        }
        let tasks = self.running.iter_mut().map(|(name, running)| {
            Box::pin(async move {
                let ended = (&mut running.task).await;
                // One that panicked itself is the one that watches over the others.
                let task = ended.map_or("supervise", |ended| ended.map_or_else(|defect| defect.task, |()| "supervise"));
                (name.clone(), task)
            })
        });
        let ((name, task), ..) = futures_util::future::select_all(tasks).await;
        // What has ended can't be waited for again.
        self.running.remove(&name);
        RunError::Task { task, of: format!("the folder `{}`", Printable(&name)) }
    }

    /// For `systemctl status`.
    pub(super) fn status(&self) -> String {
        let order = self.settings().folders.iter().filter_map(|folder| self.running.get(&folder.name));
        let texts: Vec<String> = order
            .map(|running| {
                let (live, now) = (&running.live, running.live.now());
                let state = if now.standby.is_some() { "stand-by" } else { now.state.as_str() };
                let reason = now.reason.map(|reason| format!(" ({})", Printable(&reason))).unwrap_or_default();
                format!("{}: {state}{reason}, {} queued", Printable(&live.name), live.feed.depth())
            })
            .collect();
        texts.join("; ")
    }

    /// Stops all folders side by side; what is under way gets the grace to end.
    pub(super) async fn stop_all(&mut self) {
        let grace = self.settings().sync.shutdown_grace;
        self.telling.clear();
        let stopping = self.running.drain().map(|(_, running)| stop(running, grace));
        futures_util::future::join_all(stopping).await;
    }
}

async fn stop(running: Running, grace: Duration) {
    running.cancel.cancel();
    let abort = running.task.abort_handle();
    if tokio::time::timeout(grace, running.task).await.is_err() {
        tracing::warn!(folder = %running.settings.name, "not everything under way could be finished; the next start takes it up");
        abort.abort();
    }
}

/// Whether only folders and webhooks differ.
fn is_same_surroundings(old: &Effective, new: &Effective) -> bool {
    let shown = |effective: &Effective| -> Vec<String> {
        let entries = effective.provenance.entries().iter();
        entries
            .filter(|entry| !entry.heading.starts_with("[["))
            .map(|entry| format!("{}.{} {:?}", entry.section, entry.key, entry.shown))
            .collect()
    };
    let password = |effective: &Effective| {
        effective.settings.database.password.as_ref().map(|password| password.expose_secret().to_owned())
    };
    let keys = |effective: &Effective| {
        let keys = effective.settings.s3.credentials.as_ref();
        keys.map(|keys| (keys.access_key_id.clone(), keys.secret_access_key.expose_secret().to_owned()))
    };
    shown(old) == shown(new) && password(old) == password(new) && keys(old) == keys(new)
}

#[cfg(test)]
impl Fleet {
    /// A folder whose task is this one.
    pub(super) fn insert<F>(
        &mut self,
        name: &str,
        cancel: &CancellationToken,
        task: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), Defect>> + Send + 'static,
    {
        let settings = FolderSettings { name: name.to_owned(), ..self.settings().folders[0].clone() };
        let pace = Pace { capacity: 1, quiet: SHORTEST_QUIET, max_delay: SHORTEST_QUIET };
        let live = Arc::new(Live::new(&settings, Arc::new(Feed::new(pace)), Measured::default()));
        let cancel = cancel.child_token();
        let task = tokio::spawn(task(cancel.clone()));
        self.running.insert(name.to_owned(), Running { settings, live, wishes: Arc::default(), cancel, task });
    }
}
