//! The queue of paths that deserve work: a state machine without I/O, clock or randomness.
//!
//! A path is in it once, whatever nominates it. It is *ready*, *running*, running and *dirty* (nominated meanwhile, so that it
//! runs again once), or *waiting*: for its next try, or, if it keeps changing, for a quiet moment. When the queue is full,
//! paths collapse into their directory, in the end into the root: precision is lost, never a change.

mod heat;
mod job;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt as _};

use crate::model::{RelPath, Remote};
use heat::Heat;
pub use job::{Hint, Job, Pace, Scope, Settled};

/// The first pause after a failure is drawn from 0 to this.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// And doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

#[derive(Debug)]
enum State {
    Ready,
    Running { dirty: Option<(Hint, Scope, Instant)> },
    Waiting { until: Instant },
}

#[derive(Debug)]
struct Entry {
    state: State,
    scope: Scope,
    hint: Hint,
    attempts: u32,
    deferred: bool,
    since: Instant,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    entries: BTreeMap<Arc<RelPath>, Entry>,
    ready: VecDeque<Arc<RelPath>>,
    waiting: BTreeSet<(Instant, Arc<RelPath>)>,
    running: usize,
    trees: usize,
    heat: Heat,
    pace: Pace,
}

impl Queue {
    /// An empty queue.
    pub fn new(pace: Pace) -> Self {
        Self {
            entries: BTreeMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            running: 0,
            trees: 0,
            heat: Heat::new(pace.quiet, pace.max_delay),
            pace,
        }
    }

    /// Whether a reconciliation, which can wait, may add paths. It leaves room for events.
    pub fn has_room(&self) -> bool {
        self.entries.len() < self.pace.capacity.div_ceil(2)
    }

    /// Paths that are ready, running or waiting.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Paths that it holds before they collapse into directories.
    pub fn capacity(&self) -> usize {
        self.pace.capacity
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

    /// Whether a path is being worked on, or could be: one that waits for its time is neither.
    pub fn has_work(&self, now: Instant) -> bool {
        !self.ready.is_empty() || self.running > 0 || self.waiting.first().is_some_and(|(until, _)| *until <= now)
    }

    /// Whether a path is in it.
    pub fn contains(&self, path: &RelPath) -> bool {
        self.entries.contains_key(path)
    }

    /// When the path that has been in it the longest was nominated.
    pub fn oldest(&self) -> Option<Instant> {
        self.entries.values().map(|entry| entry.since).min()
    }

    /// Adds what a reconciliation has found. Of a path that is in the queue already, only what a listing has shown of its object
    /// is news: whoever works on it next looks at the file for itself.
    pub fn nominate(&mut self, path: RelPath, hint: Hint, now: Instant) {
        let path = Arc::new(path);
        match self.entries.get_mut(&path) {
            None => self.add(path, Scope::Path, hint, State::Ready, now),
            Some(Entry { state: State::Running { dirty }, .. }) => {
                dirty.get_or_insert((hint, Scope::Path, now));
            }
            Some(entry) => {
                if let State::Ready = entry.state {
                    entry.hint.new_inode = entry.hint.new_inode.or(hint.new_inode);
                }
                // Nobody has touched the object since.
                if hint.remote != Remote::NotKnown {
                    entry.hint.remote = hint.remote;
                }
            }
        }
    }

    /// Adds a path because something happened to it. Never refuses: a full queue loses precision instead.
    pub fn nominate_event(&mut self, path: RelPath, scope: Scope, now: Instant) {
        let path = Arc::new(path);
        if let Some(entry) = self.entries.get_mut(&path) {
            match &mut entry.state {
                State::Ready => {
                    entry.hint = entry.hint.clone().told();
                    self.trees += usize::from(scope == Scope::Tree && entry.scope == Scope::Path);
                    entry.scope = widest(entry.scope, scope);
                }
                State::Running { dirty } => {
                    let (scope, since) =
                        dirty.take().map_or((scope, now), |(_, old, since)| (widest(old, scope), since));
                    *dirty = Some((Hint::EVENT, scope, since));
                }
                State::Waiting { until } => {
                    self.trees += usize::from(scope == Scope::Tree && entry.scope == Scope::Path);
                    entry.scope = widest(entry.scope, scope);
                    entry.hint = entry.hint.clone().told();
                    // Something has changed, so a failed path is tried at once; one that keeps changing waits for its quiet.
                    if entry.attempts > 0 {
                        self.waiting.remove(&(*until, Arc::clone(&path)));
                        entry.state = State::Ready;
                        self.ready.push_back(path);
                    } else if let Some(quiet) = self.heat.quiet_time(&path) {
                        let later = (now + quiet).min(entry.since + self.pace.max_delay).max(*until);
                        self.waiting.remove(&(*until, Arc::clone(&path)));
                        *until = later;
                        self.waiting.insert((later, path));
                    }
                }
            }
            return;
        }
        if self.trees > 0 && self.is_covered(&path) {
            return;
        }
        if self.entries.len() >= self.pace.capacity {
            self.collapse(&path, now);
            return;
        }
        let state = self.state_by_heat(&path, now);
        self.add(path, scope, Hint::EVENT, state, now);
    }

    fn add(&mut self, path: Arc<RelPath>, scope: Scope, hint: Hint, state: State, now: Instant) {
        match state {
            State::Ready => self.ready.push_back(Arc::clone(&path)),
            State::Waiting { until } => {
                self.waiting.insert((until, Arc::clone(&path)));
            }
            State::Running { .. } => {}
        }
        self.trees += usize::from(scope == Scope::Tree);
        self.entries.insert(path, Entry { state, scope, hint, attempts: 0, deferred: false, since: now });
    }

    /// A path that changes again soon after it was settled waits for a quiet time.
    fn state_by_heat(&mut self, path: &Arc<RelPath>, now: Instant) -> State {
        self.heat.changed(path, now).map_or(State::Ready, |quiet| State::Waiting { until: now + quiet })
    }

    /// Whether a directory above is to be gone through as a whole anyway, and not yet begun.
    fn is_covered(&self, path: &RelPath) -> bool {
        above(path).any(|directory| {
            self.entries
                .get(&directory)
                .is_some_and(|entry| entry.scope == Scope::Tree && !matches!(entry.state, State::Running { .. }))
        })
    }

    /// Makes room by putting the path's directory, or the first one above it that makes any, in the place of all that lies
    /// below it.
    fn collapse(&mut self, path: &RelPath, now: Instant) {
        // The root itself may be what does not fit, and it is always there to fall back on.
        for directory in above(path).chain([RelPath::from_encoded("", None)]) {
            let below: Vec<Arc<RelPath>> = self.below(&directory).map(|(path, _)| Arc::clone(path)).collect();
            let is_root = directory.as_str().is_empty();
            if below.is_empty() && !is_root && !self.entries.contains_key(&directory) {
                continue;
            }
            for path in below {
                self.forget(&path);
            }
            // Not a nomination by the usual way, which could collapse again: one entry more than the capacity does no harm.
            match self.entries.get_mut(&directory) {
                None => self.add(Arc::new(directory), Scope::Tree, Hint::EVENT, State::Ready, now),
                Some(_) => self.nominate_event(directory, Scope::Tree, now),
            }
            return;
        }
    }

    /// What may be given up for a directory: what runs must end first.
    fn below(&self, directory: &RelPath) -> impl Iterator<Item = (&Arc<RelPath>, &Entry)> {
        let name = directory.as_str();
        let (start, end) = if name.is_empty() {
            (Bound::Excluded(RelPath::from_encoded("", None)), Bound::Unbounded)
        } else {
            let at = |tail: char| RelPath::from_encoded(format!("{name}{tail}"), None);
            // `0` is the byte after `/`.
            (Bound::Excluded(at('/')), Bound::Excluded(at('0')))
        };
        self.entries
            .range::<RelPath, _>((start, end))
            .filter(|(_, entry)| !matches!(entry.state, State::Running { .. }))
    }

    fn forget(&mut self, path: &Arc<RelPath>) {
        let Some(entry) = self.entries.remove(path) else { return };
        self.trees -= usize::from(entry.scope == Scope::Tree);
        // A stale place in `ready` is passed over by `pop`.
        if let State::Waiting { until } = entry.state {
            self.waiting.remove(&(until, Arc::clone(path)));
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
        let mut jobs = Vec::with_capacity(max.min(self.ready.len()));
        while jobs.len() < max {
            let Some(path) = self.ready.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(&path).filter(|entry| matches!(entry.state, State::Ready)) else {
                continue;
            };
            entry.state = State::Running { dirty: None };
            jobs.push(Job {
                path,
                scope: entry.scope,
                hint: entry.hint.clone(),
                attempts: entry.attempts,
                deferred: entry.deferred,
                since: entry.since,
            });
        }
        self.running += jobs.len();
        jobs
    }

    /// Takes a path that nobody works on and that is not in the queue, so that nobody begins to; answers whether it was to be
    /// had. It is given back with [`Self::settle`].
    pub fn claim(&mut self, path: &RelPath, now: Instant) -> Option<Job> {
        if self.entries.contains_key(path) {
            return None;
        }
        let path = Arc::new(path.clone());
        let state = State::Running { dirty: None };
        self.add(Arc::clone(&path), Scope::Path, Hint { by_reconciliation: true, ..Hint::EVENT }, state, now);
        self.running += 1;
        Some(Job { path, scope: Scope::Path, hint: Hint::EVENT, attempts: 0, deferred: false, since: now })
    }

    /// Takes a path's result. A path that was nominated while it ran is ready again, once, whatever the result.
    pub fn settle(&mut self, path: &Arc<RelPath>, settled: Settled, now: Instant) {
        let Some(entry) = self.entries.get_mut(path) else { return };
        let State::Running { dirty } = &mut entry.state else { return };
        self.running -= 1;
        match settled {
            Settled::Done | Settled::Untouched => entry.attempts = 0,
            Settled::Failed { .. } => entry.attempts = entry.attempts.saturating_add(1),
            Settled::Deferred { .. } | Settled::Interrupted { .. } => {}
        }
        entry.deferred = matches!(settled, Settled::Deferred { .. } | Settled::Interrupted { .. });
        let mut dirty = dirty.take();
        // What was done may have changed the object: what was listed meanwhile does not hold any more.
        let remote = match settled {
            Settled::Untouched => None,
            Settled::Done | Settled::Deferred { .. } => Some(Remote::NotKnown),
            Settled::Failed { .. } | Settled::Interrupted { .. } => {
                entry.hint.remote = Remote::Doubtful;
                Some(Remote::Doubtful)
            }
        };
        if let (Some(remote), Some((hint, ..))) = (remote, &mut dirty) {
            hint.remote = remote;
        }
        let by_event = entry.scope == Scope::Path && !entry.hint.by_reconciliation;
        if let (Settled::Done | Settled::Untouched, true) = (settled, by_event) {
            self.heat.settled(path, now);
        }
        match (dirty, settled) {
            (Some((hint, scope, since)), _) => {
                let by_event = !hint.by_reconciliation;
                let state = if by_event { self.state_by_heat(path, now) } else { State::Ready };
                self.forget(path);
                self.add(Arc::clone(path), scope, hint, state, since);
            }
            (None, Settled::Done | Settled::Untouched) => self.forget(path),
            (None, Settled::Failed { pause } | Settled::Deferred { pause } | Settled::Interrupted { pause }) => {
                let until = now + pause;
                if let Some(entry) = self.entries.get_mut(path) {
                    entry.state = State::Waiting { until };
                    self.waiting.insert((until, Arc::clone(path)));
                }
            }
        }
    }

    /// Nobody works on anything any more: what was taken and not settled is ready again.
    pub fn take_back(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for (path, entry) in &mut self.entries {
            let State::Running { dirty } = &mut entry.state else { continue };
            let dirty = dirty.take().map(|(_, scope, _)| scope).unwrap_or(Scope::Path);
            self.trees += usize::from(dirty == Scope::Tree && entry.scope == Scope::Path);
            entry.scope = widest(entry.scope, dirty);
            // Whatever was begun may have changed the object.
            entry.hint = Hint { remote: Remote::NotKnown, ..entry.hint.clone() };
            entry.state = State::Ready;
            ready.push_back(Arc::clone(path));
        }
        self.ready = ready;
        self.running = 0;
    }

    /// When the next waiting path is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(until, _)| *until)
    }

    /// Makes everything that waits ready: what it waited for has come back.
    pub fn wake_all(&mut self) {
        for (_, path) in std::mem::take(&mut self.waiting) {
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.state = State::Ready;
                self.ready.push_back(path);
            }
        }
    }
}

fn widest(a: Scope, b: Scope) -> Scope {
    if a == Scope::Tree || b == Scope::Tree { Scope::Tree } else { Scope::Path }
}

/// The directories above a path, the innermost first, the root last.
fn above(path: &RelPath) -> impl Iterator<Item = RelPath> {
    let mut next = Some(path.parent()).filter(|_| !path.as_str().is_empty());
    std::iter::from_fn(move || {
        let directory = next.take()?;
        if !directory.as_str().is_empty() {
            next = Some(directory.parent());
        }
        Some(directory)
    })
}

/// The pause before try number `attempts + 1`: exponential with full jitter, so that many paths that failed together do not
/// come back together. <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
pub fn backoff(attempts: u32, rng: &mut impl Rng) -> Duration {
    let ceiling = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempts.min(16))).min(LONGEST_PAUSE);
    ceiling.mul_f64(rng.random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests;
