//! The memory that contents take while they are in flight: a budget for all of them, and chunks that are used again.
//!
//! Contents of every size are cut into chunks of one size. Buffers that fit each content would be given back to an allocator
//! that keeps them for another thread, and the process would hold a multiple of what is in flight.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a chunk: large enough that reading it and writing it to a socket are worth the call, small enough to stay in the
/// processor's cache in between.
pub const CHUNK: usize = 256 * 1024;

/// A content up to this size has a buffer of its own: small buffers are used again by every allocator.
const SMALL: usize = 64 * 1024;

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
    idle: Arc<Idle>,
}

/// Bytes taken from a [`Budget`], given back when it is dropped.
#[derive(Debug)]
#[must_use = "the bytes are given back at once if nobody holds this"]
pub struct BudgetGuard {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Chunks that nobody uses.
#[derive(Debug)]
struct Idle {
    chunks: Mutex<Vec<Box<[u8]>>>,
    /// More are not kept.
    most: usize,
}

/// A buffer, of which the first bytes count. It is used again when it is dropped.
#[derive(Debug)]
pub struct Chunk {
    bytes: Box<[u8]>,
    length: usize,
    /// None for a buffer that is not a whole chunk.
    home: Option<Arc<Idle>>,
}

/// A content in memory; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    chunks: Vec<Bytes>,
    length: u64,
}

impl Budget {
    /// Of so many bytes, at most 4 GiB.
    pub fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        let idle = Idle { chunks: Mutex::default(), most: total as usize / CHUNK };
        Self { semaphore: Arc::new(Semaphore::new(total as usize)), total, idle: Arc::new(idle) }
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

    /// A buffer for the next of `left` bytes of a content: for all of them, where they are few, else a chunk. What is in it is
    /// whatever was there before.
    pub fn chunk(&self, left: u64) -> Chunk {
        let left = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        if left <= SMALL {
            return Chunk { bytes: vec![0; left].into(), length: left, home: None };
        }
        let idle = self.idle.lock().pop();
        let bytes = idle.unwrap_or_else(|| vec![0; CHUNK].into());
        Chunk { bytes, length: left, home: Some(Arc::clone(&self.idle)) }
    }
}

impl Default for Budget {
    /// 32 MiB: four files of the largest size that is held, or thousands of small ones.
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        // A list of buffers is sound whatever happened.
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunk {
    /// As bytes that are shared; the buffer is used again when the last of them is dropped.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl AsMut<[u8]> for Chunk {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let Some(home) = &self.home else { return };
        let mut idle = home.lock();
        if idle.len() < home.most {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Held {
    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: Bytes) {
        self.length += bytes.len() as u64;
        self.chunks.push(bytes);
    }

    /// The content, piece by piece.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl From<Bytes> for Held {
    fn from(bytes: Bytes) -> Self {
        let mut held = Self::default();
        held.push(bytes);
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_used_again_and_no_more_are_kept_than_the_budget_has_room_for() {
        let budget = Budget::new(2 * CHUNK as u64);
        let chunks: Vec<Bytes> = (0..5).map(|_| budget.chunk(u64::MAX).freeze()).collect();
        assert!(chunks.iter().all(|chunk| chunk.len() == CHUNK));
        let again = chunks[0].clone();
        drop(chunks);
        assert_eq!(budget.idle.lock().len(), 2, "one more is in use, and two are too many");
        drop(again);
        assert_eq!(budget.idle.lock().len(), 2);
        let address = budget.idle.lock()[1].as_ptr();
        let mut chunk = budget.chunk(CHUNK as u64 - 1);
        assert_eq!((chunk.as_mut().as_ptr(), chunk.as_mut().len()), (address, CHUNK - 1));
    }

    #[test]
    fn a_small_content_has_a_buffer_of_its_size() {
        let budget = Budget::default();
        for length in [0, 1, SMALL] {
            assert_eq!(budget.chunk(length as u64).bytes.len(), length);
        }
        assert_eq!(budget.idle.lock().len(), 0);
    }

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
