//! What does not look right is looked at again, until it stays the same or looks right: between two looks a file may have been
//! written, and an agent that runs may have synced it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Candidate, Verifier};
use crate::catalog::lock;
use crate::model::{Local, RelPath};
use crate::sync::error::SyncError;
use crate::sync::pipeline::blocking;

/// Paths that are looked at again together.
const BATCH: usize = 256;
/// Batches under way, each of which may wait for a running agent.
const AT_ONCE: usize = 16;
/// Looks after which a path that is another each time is given up: it is at work, and not lost.
const LOOKS: u32 = 3;
/// Where nobody else writes, what differs from one look to the next is a file that somebody works on.
const PAUSE: Duration = Duration::from_secs(1);
/// A running agent gets its `max_delay` and this: for its queue, and for the moment between an object and its row.
const AGENT: Duration = Duration::from_secs(5);
/// While it is waited for, files are glanced at this often: one that comes and goes would look the same at both ends.
const GLANCE: Duration = Duration::from_millis(250);

/// The doubtful paths of a verification.
pub(super) struct Doubts<'v> {
    verifier: &'v Arc<Verifier>,
    next: Vec<Candidate>,
    running: JoinSet<Result<(), SyncError>>,
}

impl<'v> Doubts<'v> {
    pub(super) fn new(verifier: &'v Arc<Verifier>) -> Self {
        Self { verifier, next: Vec::new(), running: JoinSet::new() }
    }

    /// Takes one; waits while many are being looked at.
    pub(super) async fn add(&mut self, candidate: Candidate) -> Result<(), SyncError> {
        self.next.push(candidate);
        if self.next.len() >= BATCH {
            self.start().await?;
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<(), SyncError> {
        while self.running.len() >= AT_ONCE {
            self.join().await?;
        }
        let (verifier, batch) = (Arc::clone(self.verifier), std::mem::take(&mut self.next));
        self.running.spawn(async move { verifier.look_again(batch).await });
        Ok(())
    }

    async fn join(&mut self) -> Result<(), SyncError> {
        match self.running.join_next().await {
            Some(ended) => ended.unwrap_or(Err(SyncError::Task { task: "look again" })),
            None => Ok(()),
        }
    }

    /// Waits until everything is certain.
    pub(super) async fn end(&mut self) -> Result<(), SyncError> {
        if !self.next.is_empty() {
            self.start().await?;
        }
        while !self.running.is_empty() {
            self.join().await?;
        }
        Ok(())
    }
}

impl Verifier {
    async fn look_again(&self, mut doubtful: Vec<Candidate>) -> Result<(), SyncError> {
        for look in 0..LOOKS {
            let has_agent = self.has_agent().await?;
            let pause = match (has_agent, look) {
                (false, 0) => Duration::ZERO,
                (false, _) | (true, 0) => PAUSE,
                (true, _) => self.options.max_delay + AGENT,
            };
            if pause > PAUSE && !self.counts.waited.swap(true, Ordering::Relaxed) {
                let seconds = pause.as_secs();
                tracing::warn!(
                    "some paths don't look right; an agent is syncing the folder, and gets {seconds} s to see to them"
                );
            }
            let Some(calm) = self.watch(&doubtful, pause).await? else { return Ok(()) };
            let paths: Vec<RelPath> = doubtful.iter().map(|candidate| candidate.path.clone()).collect();
            let seen = self.observe(&paths).await?;
            if self.pipeline.cancel.is_cancelled() {
                return Ok(());
            }
            let mut still = Vec::new();
            for ((before, calm), seen) in doubtful.into_iter().zip(calm).zip(seen) {
                let findings = seen.judge();
                if findings.is_empty() {
                    continue;
                }
                // The first look after an agent was seen only finds what it was at: it has to stay so for a while.
                let waited = !has_agent || look > 0;
                if waited && calm && seen == before.seen && !seen.is_restless() {
                    self.tell(&before.path, findings, Some(&seen)).await;
                } else {
                    still.push(Candidate { path: before.path, seen });
                }
            }
            if still.is_empty() {
                return Ok(());
            }
            doubtful = still;
        }
        self.counts.restless.fetch_add(doubtful.len() as u64, Ordering::Relaxed);
        for candidate in &doubtful {
            tracing::warn!(path = %candidate.path, "{} changes each time it is looked at; it was not verified", candidate.path);
        }
        Ok(())
    }

    /// Waits, and says of which files nothing could be seen to change meanwhile. None if everything is to stop.
    async fn watch(&self, doubtful: &[Candidate], pause: Duration) -> Result<Option<Vec<bool>>, SyncError> {
        let mut calm = vec![true; doubtful.len()];
        let paths: Arc<[RelPath]> = doubtful.iter().map(|candidate| candidate.path.clone()).collect();
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            tokio::select! {
                () = tokio::time::sleep(left.min(GLANCE)) => {}
                () = self.pipeline.cancel.cancelled() => return Ok(None),
            }
            if left <= GLANCE {
                return Ok(Some(calm));
            }
            let (root, paths) = (Arc::clone(&self.pipeline.root), Arc::clone(&paths));
            let looks = move || paths.iter().map(|path| root.look(path)).collect::<Vec<Local>>();
            let looks = blocking("look", looks).await?;
            for ((calm, now), candidate) in calm.iter_mut().zip(looks).zip(doubtful) {
                *calm &= now == candidate.seen.local;
            }
        }
    }

    /// Whether another agent may be syncing the folder.
    async fn has_agent(&self) -> Result<bool, SyncError> {
        if self.options.repair {
            return Ok(false);
        }
        let worlds = &self.worlds;
        let (bucket, prefix) = (worlds.bucket.name(), worlds.folder.prefix.as_str());
        Ok(lock::holder_of(&worlds.catalog, &worlds.endpoint, bucket, prefix).await?.is_some())
    }
}
