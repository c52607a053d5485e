//! What feeds the watchdog: progress, not mere liveness.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::daemon::fleet::Fleet;
use crate::model::FolderState;
use crate::signs;

/// Whether the pipeline makes progress, so that the watchdog may be fed.
///
/// It is stuck when for as long as `patience` there was work, nobody was told why it could not be done, and nothing moved: no byte
/// was read or sent, no request made or answered, no path compared, no try ended. Whatever may rightly be silent ends sooner by
/// a limit of its own: an answer of S3 by `remote::Patience` (30 s), a body that stands still by the 60 s of `remote/wire.rs`, a
/// statement by those of `catalog`. The exceptions are [`signs::Patient`].
pub(super) struct Pulse {
    patience: Duration,
    seen: u64,
    /// When there was progress, or nothing to do.
    since: Instant,
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// There is work that somebody should be at.
    busy: bool,
    /// Grows while anything moves.
    signs: u64,
}

impl Pulse {
    /// With the interval of the watchdog for `patience`, a pipeline that hangs is ended between one and two of them later.
    pub(super) fn new(patience: Duration, now: Instant) -> Self {
        Self { patience, seen: 0, since: now }
    }

    pub(super) fn beats(&mut self, fleet: &Fleet) -> bool {
        self.goes_on(look(fleet), Instant::now())
    }

    fn goes_on(&mut self, look: Look, now: Instant) -> bool {
        if !look.busy || look.signs != self.seen {
            self.since = now;
        }
        self.seen = look.signs;
        now.duration_since(self.since) < self.patience
    }
}

fn look(fleet: &Fleet) -> Look {
    let lives = || fleet.running.values().map(|running| &running.live);
    let moved: u64 = lives().map(|live| live.report.settled.load(Relaxed) + live.report.checked.load(Relaxed)).sum();
    let busy = lives().any(|live| {
        let now = live.now();
        // Who stands by, or sets its watches, has nobody yet who takes paths off its queue.
        let works = now.armed && now.reconciling && now.standby.is_none();
        let troubled = matches!(now.state, FolderState::Degraded | FolderState::Suspended);
        works && !troubled && live.feed.has_work()
    });
    Look { busy: busy && !signs::is_patient(), signs: moved + signs::count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(180);

    fn after(began: Instant, seconds: u64) -> Instant {
        began + Duration::from_secs(seconds)
    }

    #[test]
    fn work_that_does_not_move_stops_the_pulse_after_the_watchdogs_interval() {
        let began = Instant::now();
        let mut pulse = Pulse::new(PATIENCE, began);
        let stuck = Look { busy: true, signs: 7 };
        assert!(pulse.goes_on(stuck, began));
        assert!(pulse.goes_on(stuck, after(began, 179)));
        assert!(!pulse.goes_on(stuck, after(began, 180)));
        assert!(!pulse.goes_on(stuck, after(began, 1000)));
    }

    #[test]
    fn whatever_moves_keeps_it_going_however_long_it_takes() {
        let began = Instant::now();
        let mut pulse = Pulse::new(PATIENCE, began);
        for round in 0..100 {
            assert!(pulse.goes_on(Look { busy: true, signs: round }, after(began, round * 170)));
        }
    }

    #[test]
    fn silence_without_work_is_no_fault_and_does_not_count_afterwards() {
        let began = Instant::now();
        let mut pulse = Pulse::new(PATIENCE, began);
        assert!(pulse.goes_on(Look { busy: false, signs: 1 }, after(began, 86_400)));
        assert!(pulse.goes_on(Look { busy: true, signs: 1 }, after(began, 86_401)));
        assert!(!pulse.goes_on(Look { busy: true, signs: 1 }, after(began, 86_580)));
    }
}
