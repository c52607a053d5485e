//! The memory that bodies may take while they are in flight.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that may be in memory at once for uploads, shared by the whole program.
///
/// Waiting is first come, first served: a large body is not overtaken for ever by small ones.
///
/// **Order**: who needs both takes the budget first and a slot (a place among the concurrent requests) second, and never
/// waits for the budget while holding a slot. So whoever holds a slot can always finish, and gives back both.
#[derive(Clone, Debug)]
pub struct Budget {
    semaphore: Arc<Semaphore>,
    total: u32,
}

/// Bytes taken from a [`Budget`], given back when it is dropped.
#[derive(Debug)]
#[must_use = "the bytes are given back at once if nobody holds this"]
pub struct BudgetGuard {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Of so many bytes, at most 4 GiB.
    pub fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        Self { semaphore: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until so many bytes are free and takes them. More than the whole budget takes all of it.
    pub async fn take(&self, bytes: u64) -> BudgetGuard {
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.total);
        // The semaphore is never closed, so there is always a permit.
        BudgetGuard { _permit: self.semaphore.clone().acquire_many_owned(wanted).await.ok() }
    }

    /// Bytes that are free now.
    pub fn free(&self) -> u64 {
        self.semaphore.available_permits() as u64
    }
}

impl Default for Budget {
    /// 32 MiB: four parts of the default size, or thousands of small files.
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_larger_than_the_budget_takes_all_of_it_and_gives_it_back() {
        let budget = Budget::new(1000);
        let guard = budget.take(5000).await;
        assert_eq!(budget.free(), 0);
        drop(guard);
        assert_eq!(budget.free(), 1000);
    }

    #[tokio::test]
    async fn a_large_request_is_not_overtaken_by_small_ones() {
        let budget = Budget::new(1000);
        let first = budget.take(600).await;
        let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut waiters = tokio::task::JoinSet::new();
        for (name, bytes) in [("large", 900), ("small", 100)] {
            let (budget, done) = (budget.clone(), done.clone());
            waiters.spawn(async move {
                let _guard = budget.take(bytes).await;
                done.send(name).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop(first);
        waiters.join_all().await;
        assert_eq!((order.recv().await, order.recv().await), (Some("large"), Some("small")));
    }
}
