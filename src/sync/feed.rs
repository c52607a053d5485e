//! The queue, shared: events are taken at once, a reconciliation waits for room, workers wait for paths.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::model::{RelPath, Remote};
use crate::queue::{Hint, Job, Pace, Queue, Scope, Settled};
use crate::signs;

/// Paths acted on during a reconciliation that are remembered one by one. Beyond it, nothing that was listed counts as known.
const ACTED: usize = 100_000;

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
    /// Only while a reconciliation runs.
    acted: Option<Acted>,
}

/// What was acted on since a reconciliation began: what a listing showed of it before does not hold any more.
#[derive(Debug, Default)]
struct Acted {
    at: HashMap<Arc<RelPath>, Instant>,
    /// Too many to remember: since when.
    all_since: Option<Instant>,
}

impl Feed {
    /// Over an empty queue.
    pub fn new(pace: Pace) -> Self {
        Self {
            queue: Mutex::new(Inner { queue: Queue::new(pace), closed: false, acted: None }),
            work: Notify::new(),
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The state machine has no step that could leave it half done, so a poisoned lock still guards a sound queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what a reconciliation has found, after waiting for room. `listed_at` says when what `hint` knows of the object
    /// was asked for: if the path was acted on after that, it does not count.
    pub async fn nominate(&self, path: RelPath, mut hint: Hint, listed_at: Option<Instant>) {
        loop {
            // Registered before the look, or a wake-up between the two is lost.
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut inner = self.lock();
                if inner.queue.has_room() {
                    if listed_at.is_some_and(|listed_at| inner.was_acted_on(&path, listed_at)) {
                        hint.remote = Remote::NotKnown;
                    }
                    inner.queue.nominate(path, hint, Instant::now());
                    break;
                }
            }
            room.await;
        }
        self.work.notify_one();
    }

    /// Adds a path because something happened to it. Never waits.
    pub fn nominate_event(&self, path: RelPath, scope: Scope) {
        self.lock().queue.nominate_event(path, scope, Instant::now());
        self.work.notify_one();
    }

    /// Whether what was seen of a path at `since` may be out of date: it is in the queue, or was acted on after that.
    pub fn is_stirred(&self, path: &RelPath, since: Instant) -> bool {
        let inner = self.lock();
        inner.queue.contains(path) || inner.was_acted_on(path, since)
    }

    /// Remembers from now on what is acted on.
    pub fn begin_reconciliation(&self) {
        self.lock().acted = Some(Acted::default());
    }

    /// Forgets it again.
    pub fn end_reconciliation(&self) {
        self.lock().acted = None;
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

    /// Takes those of the paths that nobody works on and that are not in the queue, so that nobody begins to.
    pub fn claim(&self, paths: Vec<RelPath>) -> Vec<Job> {
        let mut inner = self.lock();
        let now = Instant::now();
        paths.iter().filter_map(|path| inner.queue.claim(path, now)).collect()
    }

    /// Takes a path's result.
    pub fn settle(&self, job: &Job, settled: Settled) {
        signs::show();
        {
            let mut inner = self.lock();
            let now = Instant::now();
            inner.queue.settle(&job.path, settled, now);
            if let Some(acted) = inner.acted.as_mut().filter(|_| settled != Settled::Untouched) {
                if acted.at.len() >= ACTED {
                    acted.at.clear();
                    acted.all_since = Some(now);
                }
                acted.at.insert(Arc::clone(&job.path), now);
            }
        }
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

    /// Whether every path has had its first try: see [`Self::quiet`].
    pub fn is_quiet(&self) -> bool {
        self.lock().queue.is_quiet()
    }

    /// Makes everything that waits ready: what it waited for has come back.
    pub fn wake_all(&self) {
        self.lock().queue.wake_all();
        self.work.notify_one();
    }

    /// Nobody works on anything any more: what was taken and not settled is ready again.
    pub fn take_back(&self) {
        self.lock().queue.take_back();
        self.room.notify_waiters();
        self.work.notify_one();
    }

    /// Nothing more will be nominated: [`Self::next`] ends when all is settled.
    pub fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }

    /// Paths in the queue.
    pub fn depth(&self) -> usize {
        self.lock().queue.len()
    }

    /// Paths that it holds before they collapse into directories.
    pub fn capacity(&self) -> usize {
        self.lock().queue.capacity()
    }

    /// Whether a path is being worked on or could be.
    pub fn has_work(&self) -> bool {
        self.lock().queue.has_work(Instant::now())
    }

    /// How long the oldest path has been in the queue; zero if it is empty.
    pub fn oldest_pending(&self) -> Duration {
        self.lock().queue.oldest().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Inner {
    fn was_acted_on(&self, path: &RelPath, since: Instant) -> bool {
        self.acted.as_ref().is_some_and(|acted| {
            acted.all_since.is_some_and(|all| all >= since) || acted.at.get(path).is_some_and(|at| *at >= since)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { quiet: Duration::ZERO, max_delay: Duration::from_secs(30), capacity: 10 };

    /// What the next worker is told of an object that a listing did not show, after the path was settled so meanwhile.
    async fn told_after(settled: Settled) -> Remote {
        let feed = Feed::new(PACE);
        feed.nominate_event(RelPath::from_raw(b"a"), Scope::Path);
        let job = feed.next(1).await.unwrap().remove(0);
        feed.begin_reconciliation();
        let listed_at = Instant::now();
        feed.settle(&job, settled);
        let hint = Hint { remote: Remote::Missing, new_inode: None, by_reconciliation: true };
        feed.nominate(RelPath::from_raw(b"a"), hint, Some(listed_at)).await;
        feed.next(1).await.unwrap().remove(0).hint.remote
    }

    #[tokio::test]
    async fn only_what_was_done_since_makes_a_listing_out_of_date() {
        assert_eq!(told_after(Settled::Done).await, Remote::NotKnown);
        assert_eq!(told_after(Settled::Untouched).await, Remote::Missing);
    }
}
