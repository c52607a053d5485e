//! The queue, shared: nominations wait for room, workers wait for paths.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::model::RelPath;
use crate::queue::{Hint, Job, Queue, Settled};

/// A [`Queue`] that tasks share. Its lock is never held over an await.
#[derive(Debug)]
pub struct Feed {
    queue: Mutex<Inner>,
    /// Something became ready, or the last path was settled.
    work: Notify,
    /// Room was made, or the queue went quiet.
    room: Notify,
}

#[derive(Debug)]
struct Inner {
    queue: Queue,
    closed: bool,
}

impl Feed {
    /// Over a queue of this capacity.
    pub fn new(capacity: usize) -> Self {
        Self {
            queue: Mutex::new(Inner { queue: Queue::new(capacity), closed: false }),
            work: Notify::new(),
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The state machine has no step that could leave it half done, so a poisoned lock still guards a sound queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a path, after waiting for room.
    pub async fn nominate(&self, path: RelPath, hint: Hint) {
        loop {
            // Registered before the look, or a wake-up between the two is lost.
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut inner = self.lock();
                if inner.queue.has_room() {
                    inner.queue.nominate(path, hint);
                    break;
                }
            }
            room.await;
        }
        self.work.notify_one();
    }

    /// Up to `max` paths to run, as soon as there is one; none once the feed is closed and everything is settled.
    pub async fn next(&self, max: usize) -> Option<Vec<Job>> {
        loop {
            let work = self.work.notified();
            let due = {
                let mut inner = self.lock();
                let jobs = inner.queue.pop(Instant::now(), max);
                if !jobs.is_empty() {
                    return Some(jobs);
                }
                if inner.closed && inner.queue.is_empty() {
                    return None;
                }
                inner.queue.next_due()
            };
            match due {
                Some(due) => {
                    tokio::select! {
                        () = work => {}
                        () = tokio::time::sleep_until(due.into()) => {}
                    }
                }
                None => work.await,
            }
        }
    }

    /// Takes a path's result.
    pub fn settle(&self, job: &Job, settled: Settled) {
        self.lock().queue.settle(&job.path, settled, Instant::now());
        self.room.notify_waiters();
        self.work.notify_one();
    }

    /// Resolves when every path has had its first try; those that failed may still wait for their next one.
    pub async fn quiet(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.lock().queue.is_quiet() {
                return;
            }
            room.await;
        }
    }

    /// Nothing more will be nominated: [`Self::next`] ends when all is settled.
    pub fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }
}
