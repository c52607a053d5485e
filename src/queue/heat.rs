//! Which paths keep changing: each waits for a quiet time before it is tried again, which doubles while it keeps changing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::RelPath;

/// Paths whose last change is remembered. Beyond it, all are taken for calm again.
const REMEMBERED: usize = 4096;

#[derive(Debug)]
pub(super) struct Heat {
    paths: HashMap<Arc<RelPath>, Warm>,
    /// The first quiet time.
    least: Duration,
    /// And the longest.
    most: Duration,
}

/// A path that was settled after a change.
#[derive(Debug, Clone, Copy)]
struct Warm {
    settled: Instant,
    quiet: Duration,
}

impl Heat {
    pub(super) fn new(least: Duration, most: Duration) -> Self {
        Self { paths: HashMap::new(), least, most }
    }

    /// A path has changed: how long it must be quiet before it is tried, if it has changed not long ago.
    pub(super) fn changed(&mut self, path: &RelPath, now: Instant) -> Option<Duration> {
        let warm = self.paths.get_mut(path)?;
        if now.saturating_duration_since(warm.settled) > warm.quiet * 2 + self.least {
            self.paths.remove(path);
            return None;
        }
        warm.quiet = (warm.quiet * 2).min(self.most);
        Some(warm.quiet)
    }

    /// The quiet time of a path that waits for it.
    pub(super) fn quiet_time(&self, path: &RelPath) -> Option<Duration> {
        self.paths.get(path).map(|warm| warm.quiet)
    }

    /// A path that has changed was settled.
    pub(super) fn settled(&mut self, path: &Arc<RelPath>, now: Instant) {
        if self.paths.len() >= REMEMBERED {
            let (least, most) = (self.least, self.most);
            self.paths
                .retain(|_, warm| now.saturating_duration_since(warm.settled) <= (warm.quiet * 2 + least).min(most));
            if self.paths.len() >= REMEMBERED {
                self.paths.clear();
            }
        }
        self.paths.entry(Arc::clone(path)).or_insert(Warm { settled: now, quiet: self.least }).settled = now;
    }
}
