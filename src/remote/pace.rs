//! The bandwidth limit: all bodies of a client share one rate.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a body hands over at a time when there is a limit: small enough to be smooth, large enough to be cheap.
pub(super) const STRIDE: usize = 16 * 1024;

/// Hands out moments to send at, so that on average no more than a rate leaves.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When what was handed out so far has gone.
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(None) }
    }

    pub(super) fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// Reserves `bytes` and says when they may be sent. Time that nobody used is not saved up.
    pub(super) fn reserve(&self, bytes: usize, now: Instant) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free_at.map_or(now, |at| at.max(now));
        *free_at = Some(start + self.time_of(bytes));
        start
    }

    /// Counts `bytes` that have come, and says when the next ones may be taken.
    pub(super) fn arrived(&self, bytes: usize, now: Instant) -> Instant {
        self.reserve(bytes, now) + self.time_of(bytes)
    }

    fn time_of(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_several_bodies() {
        let pace = Pace::new(1000);
        let now = Instant::now();
        let moments: Vec<_> = (0..11).map(|_| pace.reserve(100, now) - now).collect();
        assert_eq!(moments[0], Duration::ZERO);
        assert_eq!(moments[10], Duration::from_secs(1));
    }

    #[test]
    fn what_has_come_takes_its_time_to_its_last_byte() {
        let pace = Pace::new(1000);
        let now = Instant::now();
        assert_eq!(pace.arrived(5000, now), now + Duration::from_secs(5));
        assert_eq!(pace.arrived(1000, now), now + Duration::from_secs(6));
    }

    #[test]
    fn an_idle_time_is_not_made_up_for() {
        let pace = Pace::new(1000);
        let now = Instant::now();
        pace.reserve(100, now);
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.reserve(5000, later), later);
        assert_eq!(pace.reserve(1, later), later + Duration::from_secs(5));
    }
}
