//! The queue of paths that deserve work: a state machine without I/O, clock or randomness.
//!
//! A path is in it once, whatever nominates it. It is *ready*, *running*, running and *dirty* (nominated meanwhile, so that it
//! runs again once), or *waiting* for its next try.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt as _};

use crate::model::{RelPath, Remote};

/// The first pause after a failure is drawn from 0 to this.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// And doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why a path deserves work, besides its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What a listing showed at its key, so that nobody has to ask.
    pub remote: Remote,
    /// The inode that a walk showed for a path without a row: its row under another path may be found by it.
    pub new_inode: Option<u64>,
}

/// One path to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which.
    pub path: Arc<RelPath>,
    /// What is known already.
    pub hint: Hint,
    /// Tries that failed since the last success.
    pub attempts: u32,
    /// It was put off once because its stamps were too young to be believed.
    pub deferred: bool,
}

/// How a try has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing is left to do, now.
    Done,
    /// It failed, and is tried again after the pause.
    Failed {
        /// See [`backoff`].
        pause: Duration,
    },
    /// It is looked at again after the pause, which is no failure.
    Deferred {
        /// How long.
        pause: Duration,
    },
}

#[derive(Debug)]
enum State {
    Ready,
    Running { dirty: Option<Hint> },
    Waiting { until: Instant },
}

#[derive(Debug)]
struct Entry {
    state: State,
    hint: Hint,
    attempts: u32,
    deferred: bool,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    entries: HashMap<Arc<RelPath>, Entry>,
    ready: VecDeque<Arc<RelPath>>,
    waiting: BTreeSet<(Instant, Arc<RelPath>)>,
    running: usize,
    capacity: usize,
}

impl Queue {
    /// A queue for about this many distinct paths.
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), ready: VecDeque::new(), waiting: BTreeSet::new(), running: 0, capacity }
    }

    /// Whether a reconciliation, which can wait, may add paths.
    pub fn has_room(&self) -> bool {
        self.entries.len() < self.capacity
    }

    /// Paths that are ready, running or waiting.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether every path has had its first try: nothing is ready, running or put off. Paths that failed may still wait for their
    /// next one.
    pub fn is_quiet(&self) -> bool {
        self.ready.is_empty()
            && self.running == 0
            && !self.waiting.iter().any(|(_, path)| self.entries.get(path).is_some_and(|entry| entry.deferred))
    }

    /// Adds a path. One that runs is run again afterwards; one that waits is ready at once, since something has changed.
    pub fn nominate(&mut self, path: RelPath, hint: Hint) {
        let path = Arc::new(path);
        let Some(entry) = self.entries.get_mut(&path) else {
            self.ready.push_back(Arc::clone(&path));
            self.entries.insert(path, Entry { state: State::Ready, hint, attempts: 0, deferred: false });
            return;
        };
        match &mut entry.state {
            State::Ready => entry.hint = hint,
            State::Running { dirty } => *dirty = Some(hint),
            State::Waiting { until } => {
                self.waiting.remove(&(*until, Arc::clone(&path)));
                entry.state = State::Ready;
                entry.hint = hint;
                self.ready.push_back(path);
            }
        }
    }

    /// Takes up to `max` paths to run, those first that have been ready the longest.
    pub fn pop(&mut self, now: Instant, max: usize) -> Vec<Job> {
        while self.waiting.first().is_some_and(|(until, _)| *until <= now) {
            let Some((_, path)) = self.waiting.pop_first() else { break };
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.state = State::Ready;
                self.ready.push_back(path);
            }
        }
        let count = max.min(self.ready.len());
        let mut jobs = Vec::with_capacity(count);
        for path in self.ready.drain(..count) {
            let Some(entry) = self.entries.get_mut(&path) else { continue };
            entry.state = State::Running { dirty: None };
            jobs.push(Job { path, hint: entry.hint.clone(), attempts: entry.attempts, deferred: entry.deferred });
        }
        self.running += jobs.len();
        jobs
    }

    /// Takes a path's result. A path that was nominated while it ran is ready again, once, whatever the result.
    pub fn settle(&mut self, path: &Arc<RelPath>, settled: Settled, now: Instant) {
        let Some(entry) = self.entries.get_mut(path) else { return };
        let State::Running { dirty } = &mut entry.state else { return };
        self.running -= 1;
        match settled {
            Settled::Done => entry.attempts = 0,
            Settled::Failed { .. } => entry.attempts = entry.attempts.saturating_add(1),
            Settled::Deferred { .. } => {}
        }
        entry.deferred = matches!(settled, Settled::Deferred { .. });
        if let Some(hint) = dirty.take() {
            entry.hint = hint;
            entry.deferred = false;
            entry.state = State::Ready;
            self.ready.push_back(Arc::clone(path));
            return;
        }
        match settled {
            Settled::Done => {
                self.entries.remove(path);
            }
            Settled::Failed { pause } | Settled::Deferred { pause } => {
                let until = now + pause;
                entry.state = State::Waiting { until };
                self.waiting.insert((until, Arc::clone(path)));
            }
        }
    }

    /// When the next waiting path is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(until, _)| *until)
    }
}

/// The pause before try number `attempts + 1`: exponential with full jitter, so that many paths that failed together do not
/// come back together. <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
pub fn backoff(attempts: u32, rng: &mut impl Rng) -> Duration {
    let ceiling = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempts.min(16))).min(LONGEST_PAUSE);
    ceiling.mul_f64(rng.random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> RelPath {
        RelPath::from_raw(name.as_bytes())
    }

    fn hint() -> Hint {
        Hint { remote: Remote::NotKnown, new_inode: None }
    }

    fn names(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.path.as_str()).collect()
    }

    #[test]
    fn a_path_is_in_the_queue_once_whatever_nominates_it() {
        let (mut queue, now) = (Queue::new(10), Instant::now());
        queue.nominate(path("a"), hint());
        queue.nominate(path("b"), hint());
        queue.nominate(path("a"), hint());
        assert_eq!(names(&queue.pop(now, 10)), ["a", "b"]);
        assert!(queue.pop(now, 10).is_empty());
    }

    #[test]
    fn a_path_nominated_while_running_runs_again_exactly_once() {
        let (mut queue, now) = (Queue::new(10), Instant::now());
        queue.nominate(path("a"), hint());
        let job = queue.pop(now, 1).remove(0);
        queue.nominate(path("a"), hint());
        queue.nominate(path("a"), hint());
        assert!(queue.pop(now, 1).is_empty(), "one path, one worker");
        queue.settle(&job.path, Settled::Done, now);
        let job = queue.pop(now, 2).remove(0);
        queue.settle(&job.path, Settled::Done, now);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_failed_path_waits_for_its_pause_and_counts_its_attempts() {
        let (mut queue, now) = (Queue::new(10), Instant::now());
        queue.nominate(path("a"), hint());
        let job = queue.pop(now, 1).remove(0);
        let pause = Duration::from_secs(3);
        queue.settle(&job.path, Settled::Failed { pause }, now);
        assert!(queue.is_quiet() && !queue.is_empty());
        assert_eq!(queue.next_due(), Some(now + pause));
        assert!(queue.pop(now + pause / 2, 1).is_empty());
        assert_eq!(queue.pop(now + pause, 1)[0].attempts, 1);
    }

    #[test]
    fn a_change_ends_the_wait_of_a_failed_path() {
        let (mut queue, now) = (Queue::new(10), Instant::now());
        queue.nominate(path("a"), hint());
        let job = queue.pop(now, 1).remove(0);
        queue.settle(&job.path, Settled::Failed { pause: Duration::from_secs(60) }, now);
        queue.nominate(path("a"), hint());
        assert_eq!(names(&queue.pop(now, 1)), ["a"]);
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn a_deferred_path_is_no_failure() {
        let (mut queue, now) = (Queue::new(10), Instant::now());
        queue.nominate(path("a"), hint());
        let job = queue.pop(now, 1).remove(0);
        queue.settle(&job.path, Settled::Deferred { pause: Duration::ZERO }, now);
        assert!(!queue.is_quiet(), "it has not had its first try");
        let job = queue.pop(now, 1).remove(0);
        assert_eq!((job.attempts, job.deferred), (0, true));
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_are_spread_out() {
        let mut rng = rand::rng();
        for attempts in 0..40 {
            let pause = backoff(attempts, &mut rng);
            assert!(pause <= LONGEST_PAUSE);
            assert!(attempts > 0 || pause <= FIRST_PAUSE);
        }
        let longest = (0..200).map(|_| backoff(3, &mut rng)).max().unwrap();
        let shortest = (0..200).map(|_| backoff(3, &mut rng)).min().unwrap();
        assert!(longest > shortest * 2, "full jitter");
    }
}
