//! Concurrency that follows the store: halved when it says SlowDown, raised again bit by bit while it does not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Answers to requests that were under way when the first complaint came don't count again.
const SETTLE: Duration = Duration::from_secs(1);
/// A slot comes back this often.
const RECOVER: Duration = Duration::from_millis(500);

/// The slots for S3 requests, additive increase and multiplicative decrease.
#[derive(Debug)]
pub struct Throttle {
    slots: Arc<Semaphore>,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: usize,
    changed: Instant,
}

impl Throttle {
    /// With this many slots at most, and to begin with.
    pub fn new(most: usize) -> Self {
        let state = Mutex::new(State { now: most, changed: Instant::now() });
        Self { slots: Arc::new(Semaphore::new(most)), most, state }
    }

    /// As many as there may ever be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// As many as there are now.
    pub fn now(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).now
    }

    /// The slots themselves, for what takes several.
    pub fn slots(&self) -> &Semaphore {
        &self.slots
    }

    /// A slot for one request. None once the program has closed them, which it never does.
    pub async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        self.recover(Instant::now());
        self.slots.acquire().await.ok()
    }

    /// The store has asked for fewer requests. Must be called within the runtime.
    pub fn slow_down(&self, now: Instant) {
        let fewer = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.now == 1 || (state.now < self.most && now.saturating_duration_since(state.changed) < SETTLE) {
                state.changed = now;
                return;
            }
            let target = (state.now / 2).max(1);
            let fewer = state.now - target;
            *state = State { now: target, changed: now };
            tracing::warn!(slots = target, "the store asks for fewer requests: {target} at once from now on");
            fewer
        };
        // Slots in use are taken away as they come free.
        let debt = fewer - self.slots.forget_permits(fewer);
        if let Ok(debt) = u32::try_from(debt)
            && debt > 0
        {
            let slots = Arc::clone(&self.slots);
            tokio::spawn(async move {
                if let Ok(taken) = slots.acquire_many(debt).await {
                    taken.forget();
                }
            });
        }
    }

    fn recover(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.now < self.most && now.saturating_duration_since(state.changed) >= RECOVER {
            state.now += 1;
            state.changed = now;
            self.slots.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slots_are_halved_once_for_a_burst_of_complaints_and_come_back_one_by_one() {
        let (throttle, start) = (Throttle::new(32), Instant::now());
        for _ in 0..10 {
            throttle.slow_down(start);
        }
        assert_eq!((throttle.now(), throttle.slots().available_permits()), (16, 16));
        throttle.slow_down(start + SETTLE);
        assert_eq!(throttle.now(), 8);
        for step in 1..100 {
            throttle.recover(start + SETTLE + RECOVER * step);
        }
        assert_eq!((throttle.now(), throttle.slots().available_permits()), (32, 32));
    }

    #[tokio::test]
    async fn slots_in_use_are_taken_away_when_they_come_free() {
        let throttle = Throttle::new(4);
        let held = throttle.slots().acquire_many(4).await.unwrap();
        throttle.slow_down(Instant::now());
        drop(held);
        while throttle.slots().available_permits() != 2 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_slot_always_stays() {
        let (throttle, mut now) = (Throttle::new(8), Instant::now());
        for _ in 0..20 {
            now += SETTLE;
            throttle.slow_down(now);
        }
        assert_eq!(throttle.now(), 1);
    }
}
