//! The program around the folders: starts them, listens for signals, tells systemd, and ends in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::agent::StartError;
use crate::config::{ConfigError, Effective};
use crate::daemon::fleet::Fleet;
use crate::daemon::pulse::Pulse;
use crate::monitor::{self, Shown};
use crate::systemd::{self, Notice};

/// How often systemd hears how it goes.
const STATUS: Duration = Duration::from_secs(2);

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
    /// A part of the program has ended.
    #[error("go on: the task of the folder `{folder}` has ended; please report this as a bug")]
    Task {
        /// Whose.
        folder: String,
    },
}

/// Runs until SIGTERM or SIGINT, or until `cancel`.
///
/// # Errors
/// If it can't start, or a part of it has ended by a defect.
pub async fn run(effective: Effective, reload: Reload, cancel: CancellationToken) -> Result<(), RunError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(RunError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let shown = Shown::default();
    let listener = monitor::listen(effective.settings.monitor.listen).await?;
    let monitoring = tokio::spawn(monitor::serve(listener, Arc::clone(&shown), cancel.clone()));

    let mut fleet = Fleet::connect(effective, shown).await?;
    // Without a schema there is nothing to do, but that is no reason to end: the database may be a moment late.
    tokio::select! {
        migrated = fleet.migrate() => migrated?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        () = cancel.cancelled() => return Ok(()),
    }
    fleet.start_all(&cancel);
    let mut ready = false;
    let mut tick = tokio::time::interval(systemd::watchdog().map_or(STATUS, |watchdog| watchdog.min(STATUS)));
    let mut pulse = Pulse::default();
    let result = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            () = cancel.cancelled() => break Ok(()),
            _ = hangup.recv() => {
                systemd::notify(&Notice::Reloading);
                fleet.reload(&reload, &cancel).await;
                systemd::notify(&Notice::Ready);
            }
            _ = tick.tick() => {
                if let Some(folder) = fleet.ended() {
                    break Err(RunError::Task { folder });
                }
                if !ready && fleet.is_ready() {
                    ready = true;
                    tracing::info!("ready");
                    systemd::notify(&Notice::Ready);
                }
                systemd::notify(&Notice::Status(fleet.status()));
                if pulse.beats(&fleet) {
                    systemd::notify(&Notice::Alive);
                }
            }
        }
    };
    systemd::notify(&Notice::Stopping);
    tracing::info!("stopping");
    fleet.stop_all().await;
    cancel.cancel();
    let _ = monitoring.await;
    result
}
