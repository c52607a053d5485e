//! The program around the folders: starts them, listens for signals, tells systemd, and ends in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::agent::StartError;
use crate::config::{ConfigError, Effective};
use crate::daemon::fleet::Fleet;
use crate::daemon::pulse::Pulse;
use crate::monitor::{self, Shown};
use crate::systemd::{self, Notice};

/// How often systemd hears how it goes.
const STATUS: Duration = Duration::from_secs(2);
/// How often the history's months are made and dropped: a daemon that runs for months comes to the end of those that it found.
const HISTORY: Duration = Duration::from_secs(6 * 3600);

/// Reads the configuration again.
pub type Reload = Box<dyn Fn() -> Result<Effective, ConfigError> + Send + Sync>;

/// The daemon could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing could be started.
    #[error("start")]
    Start(#[from] StartError),
    /// The monitor's address.
    #[error("start the monitor")]
    Monitor(#[from] monitor::ListenError),
    /// Signals can't be received.
    #[error("listen for signals")]
    Signals(#[source] std::io::Error),
    /// A part of the program has ended by a defect.
    #[error("go on: the task `{task}` of {of} has ended; please report this as a bug")]
    Task {
        /// Its name.
        task: &'static str,
        /// Whose.
        of: String,
    },
}

/// Runs until SIGTERM or SIGINT, or until `cancel`.
///
/// # Errors
/// If it can't start, or a part of it has ended by a defect.
pub async fn run(effective: Effective, reload: Reload, cancel: CancellationToken) -> Result<(), RunError> {
    let mut signals = Signals::listen().map_err(RunError::Signals)?;
    let shown = Shown::default();
    let listener = monitor::listen(effective.settings.monitor.listen).await?;
    let mut monitoring = tokio::spawn(monitor::serve(listener, Arc::clone(&shown), cancel.clone()));

    let mut fleet = Fleet::connect(effective, shown).await?;
    // Without a schema there is nothing to do, but that is no reason to end: the database may be a moment late.
    tokio::select! {
        migrated = fleet.migrate() => migrated?,
        () = signals.end() => return Ok(()),
        () = cancel.cancelled() => return Ok(()),
    }
    fleet.start_all(&cancel);
    let result = tokio::select! {
        biased;
        result = attend(&mut fleet, &mut signals, &reload, &cancel) => result,
        _ = &mut monitoring => match cancel.is_cancelled() {
            true => Ok(()),
            false => Err(RunError::Task { task: "serve", of: "the monitor".to_owned() }),
        },
    };
    systemd::notify(&Notice::Stopping);
    tracing::info!(action = "stopping", "stopping");
    fleet.stop_all().await;
    cancel.cancel();
    if !monitoring.is_finished() {
        let _ = monitoring.await;
    }
    result
}

/// Until somebody or something says that it is to end.
async fn attend(
    fleet: &mut Fleet,
    signals: &mut Signals,
    reload: &Reload,
    cancel: &CancellationToken,
) -> Result<(), RunError> {
    let mut ready = false;
    // Twice in its interval, as sd_watchdog_enabled(3) recommends, or more often.
    let watchdog = systemd::watchdog();
    let mut tick = tokio::time::interval(watchdog.map_or(STATUS, |interval| (interval / 2).min(STATUS)));
    let mut pulse = watchdog.map(|interval| Pulse::new(interval, std::time::Instant::now()));
    // The migration has just seen to it.
    let mut history = tokio::time::interval_at(tokio::time::Instant::now() + HISTORY, HISTORY);
    loop {
        tokio::select! {
            // In this order: a folder that ends because all is to end has no defect.
            biased;
            () = cancel.cancelled() => return Ok(()),
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            defect = fleet.defect() => return Err(defect),
            _ = signals.hangup.recv() => {
                systemd::notify(&Notice::Reloading);
                fleet.reload(reload, cancel).await;
                systemd::notify(&Notice::Ready);
            }
            _ = history.tick() => fleet.keep_history(),
            _ = tick.tick() => {
                if !ready && fleet.is_ready() {
                    ready = true;
                    tracing::info!(action = "ready", "ready");
                    systemd::notify(&Notice::Ready);
                }
                systemd::notify(&Notice::Status(fleet.status()));
                if pulse.as_mut().is_some_and(|pulse| pulse.beats(fleet)) {
                    systemd::notify(&Notice::Alive);
                }
            }
        }
    }
}

/// What the program is told from outside.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Resolves when the program is to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::config::settings::StaticCredentials;
    use crate::config::{ConfigFile, Sources, load};
    use crate::daemon::supervise::Defect;

    /// Connected to nothing yet, and without a folder that runs.
    async fn fleet() -> (Fleet, Reload) {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.toml");
        let text =
            "[s3]\nbucket = \"bucket\"\nendpoint_url = \"http://127.0.0.1:9\"\n[[folder]]\npath = \"/nowhere\"\n";
        std::fs::write(&file, text).unwrap();
        let sources = Sources {
            config: ConfigFile::Named(file),
            environment: Vec::new(),
            flags: Vec::new(),
            credentials: None,
            host_name: "test".to_owned(),
            under_journald: false,
        };
        let mut effective = load(&sources).unwrap();
        effective.settings.s3.credentials =
            Some(StaticCredentials { access_key_id: "a".to_owned(), secret_access_key: "b".into() });
        (Fleet::connect(effective, Shown::default()).await.unwrap(), Box::new(move || load(&sources)))
    }

    #[tokio::test]
    async fn the_first_task_that_fails_is_named_and_the_others_end_in_order() {
        type Fail = fn() -> Result<(), Defect>;
        let failures: [(&str, Fail); 2] =
            [("supervise", || panic!("on purpose")), ("publish", || Err(Defect { task: "publish" }))];
        for (expected, fail) in failures {
            let (mut fleet, reload) = fleet().await;
            let cancel = CancellationToken::new();
            let finished = Arc::new(AtomicBool::new(false));
            let finishes = Arc::clone(&finished);
            fleet.insert("good", &cancel, move |cancel| async move {
                cancel.cancelled().await;
                // What is under way may end.
                tokio::time::sleep(Duration::from_millis(50)).await;
                finishes.store(true, Ordering::Relaxed);
                Ok(())
            });
            fleet.insert("bad", &cancel, move |_| async move { fail() });
            let mut signals = Signals::listen().unwrap();
            let attended = attend(&mut fleet, &mut signals, &reload, &cancel);
            let error = tokio::time::timeout(Duration::from_secs(10), attended).await.unwrap().unwrap_err();
            let text =
                format!("go on: the task `{expected}` of the folder `bad` has ended; please report this as a bug");
            assert_eq!(error.to_string(), text);
            assert!(!finished.load(Ordering::Relaxed) && !cancel.is_cancelled());
            fleet.stop_all().await;
            assert!(finished.load(Ordering::Relaxed), "it was given the time to end");
            assert_eq!(crate::cli::Exit::from_error(&error.into()).code(), 1);
        }
    }

    #[tokio::test]
    async fn folders_that_end_because_all_is_to_end_have_no_defect() {
        let (mut fleet, reload) = fleet().await;
        let cancel = CancellationToken::new();
        fleet.insert("good", &cancel, |cancel| async move {
            cancel.cancelled().await;
            Ok(())
        });
        cancel.cancel();
        tokio::task::yield_now().await;
        attend(&mut fleet, &mut Signals::listen().unwrap(), &reload, &cancel).await.unwrap();
    }
}
