//! What systemd wants to know of a service: `sd_notify(3)`. Elsewhere, and without `NOTIFY_SOCKET`, nothing happens.

use std::time::Duration;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is up.
    Ready,
    /// It re-reads its configuration.
    Reloading,
    /// It is ending.
    Stopping,
    /// For `systemctl status`.
    Status(String),
    /// It makes progress.
    Alive,
}

/// Tells systemd. That it could not be told is said in the log, and changes nothing else.
#[cfg(target_os = "linux")]
pub fn notify(notice: &Notice) {
    use systemd::daemon::{STATE_READY, STATE_RELOADING, STATE_STATUS, STATE_STOPPING, STATE_WATCHDOG};
    let state = match notice {
        Notice::Ready => (STATE_READY, "1"),
        Notice::Reloading => (STATE_RELOADING, "1"),
        Notice::Stopping => (STATE_STOPPING, "1"),
        Notice::Status(text) => (STATE_STATUS, text.as_str()),
        Notice::Alive => (STATE_WATCHDOG, "1"),
    };
    if let Err(error) = systemd::daemon::notify([state].iter()) {
        tracing::debug!(error = %crate::model::chain(&error), "failed to tell systemd {notice:?}");
    }
}

/// There is no systemd here.
#[cfg(not(target_os = "linux"))]
pub fn notify(_notice: &Notice) {}

/// `WatchdogSec`: without [`Notice::Alive`] for that long, the process is ended. None without a watchdog.
#[cfg(target_os = "linux")]
pub fn watchdog() -> Option<Duration> {
    systemd::daemon::watchdog_enabled().ok().filter(|micros| *micros > 0).map(Duration::from_micros)
}

/// There is no systemd here.
#[cfg(not(target_os = "linux"))]
pub fn watchdog() -> Option<Duration> {
    None
}
