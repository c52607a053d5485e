//! Signals, for commands that end in order when they are interrupted.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Exit;

/// Signals that come this soon after the first are the same one: `timeout` and others tell a process, and then its group.
const SAME: Duration = Duration::from_millis(500);

/// Lets the first SIGINT or SIGTERM cancel, and a second one end the process at once. Dropping what it gives ends that.
///
/// # Errors
/// If signals can't be listened for.
pub(super) fn listen(cancel: &CancellationToken) -> anyhow::Result<AbortOnDropHandle<()>> {
    let signals = Signals::new().context("listen for signals")?;
    Ok(AbortOnDropHandle::new(tokio::spawn(interrupt(signals, cancel.clone()))))
}

/// SIGINT and SIGTERM, caught from the moment that this is made.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The first signal ends the pass in order; a second one is left to the default action, which ends the process.
async fn interrupt(mut signals: Signals, cancel: CancellationToken) {
    signals.next().await;
    tracing::warn!("stopping: what is under way is finished, the next run goes on from here");
    cancel.cancel();
    let first = Instant::now();
    while first.elapsed() < SAME {
        signals.next().await;
    }
    tracing::error!("stopped at once");
    std::process::exit(i32::from(Exit::Interrupted.code()));
}
