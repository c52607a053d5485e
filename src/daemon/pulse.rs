//! What feeds the watchdog: progress, not mere liveness.

use std::sync::atomic::Ordering::Relaxed;

use crate::daemon::fleet::Fleet;
use crate::model::FolderState;

/// Whether the pipeline makes progress, so that the watchdog may be fed: something was settled since the last look, or there is
/// nothing that could be, or an outage keeps it.
#[derive(Default)]
pub(super) struct Pulse {
    settled: u64,
    stuck_for: u32,
}

/// A large file may be under way for long without anything being settled; its bytes count too.
const STUCK: u32 = 150;

impl Pulse {
    pub(super) fn beats(&mut self, fleet: &Fleet) -> bool {
        let lives = || fleet.running.values().map(|running| &running.live);
        let settled: u64 = lives()
            .map(|live| {
                live.report.settled.load(Relaxed)
                    + live.report.bytes_sent.load(Relaxed)
                    + live.report.checked.load(Relaxed)
            })
            .sum();
        let busy = lives().any(|live| {
            let state = live.now().state;
            live.feed.depth() > 0 && !matches!(state, FolderState::Degraded | FolderState::Suspended)
        });
        self.stuck_for = if busy && settled == self.settled { self.stuck_for + 1 } else { 0 };
        self.settled = settled;
        self.stuck_for < STUCK
    }
}
