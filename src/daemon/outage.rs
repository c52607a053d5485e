//! An outage of an active folder, from its beginning to its end.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::catalog;
use crate::daemon::active::Shared;
use crate::daemon::wishes::Cause;
use crate::model::FolderState;
use crate::sync::error::{Away, SyncError};
use crate::sync::pipeline::Pipeline;

/// During an outage, the first look whether it is over comes after this, the following ones a bit later each.
const PROBE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// What begins so soon after an outage is the same one: the servers answer, but what is asked of them fails, as it does where a
/// disk is full. Then each look costs a reconciliation and uploads that come to nothing, and comes ever later.
const RELAPSE: Duration = Duration::from_secs(30);
/// But not later than this, since the end of it shows only when it is tried.
const LONGEST: Duration = Duration::from_secs(15);

/// Between two looks whether an outage is over.
#[derive(Debug)]
struct Pauses {
    /// In the present or the last outage.
    pause: Duration,
    ended: Option<Instant>,
}

impl Pauses {
    fn new() -> Self {
        Self { pause: PROBE.0, ended: None }
    }

    /// The first one of an outage that begins now.
    fn begin(&mut self, now: Instant) -> Duration {
        let is_relapse = self.ended.is_some_and(|ended| now.saturating_duration_since(ended) < RELAPSE);
        self.pause = if is_relapse { (self.pause * 2).min(LONGEST) } else { PROBE.0 };
        self.pause
    }

    /// The next one. It is over when everything answers, so this goes on in small steps.
    fn next(&mut self) -> Duration {
        self.pause = (self.pause * 3 / 2).min(PROBE.1.max(self.pause));
        self.pause
    }

    fn end(&mut self, now: Instant) {
        self.ended = Some(now);
    }
}

/// Waits for an outage, and then for its end.
pub(super) async fn outages(shared: Arc<Shared>) -> Result<(), SyncError> {
    let pipeline = &shared.pipeline;
    let mut pauses = Pauses::new();
    loop {
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = shared.gate.closed() => {}
        }
        let mut pause = pauses.begin(Instant::now());
        loop {
            tokio::select! {
                () = pipeline.cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            match missing(pipeline).await {
                None if write_down(&shared).await => break,
                None => shared.gate.blame(Away::Catalog),
                Some(away) => shared.gate.blame(away),
            }
            pause = pauses.next();
        }
        pauses.end(Instant::now());
        // Before the gate, so that a reconciliation that waits for it knows what it is for.
        shared.activity.wishes.wish(Cause::Outage);
        shared.gate.reopen(&pipeline.folder.name);
        pipeline.feed.wake_all();
    }
}

/// The catalog hears of the outage before it is over: while it is away itself nobody can tell it, and people are told by it.
async fn write_down(shared: &Shared) -> bool {
    let Some(outage) = shared.gate.outage() else { return true };
    let (catalog, id) = (&shared.pipeline.catalog, shared.record.id);
    // Whatever the state is after this, it is to be written again.
    {
        let mut published = shared.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.state = None;
        published.epoch += 1;
    }
    let written = catalog::folder::set_state(catalog, id, FolderState::Degraded, Some(&outage.reason)).await;
    written
        .inspect_err(|error| tracing::debug!(error = error as &dyn std::error::Error, "the catalog is away again"))
        .is_ok()
}

/// The server that does not answer.
async fn missing(pipeline: &Pipeline) -> Option<Away> {
    if let Err(error) = pipeline.catalog.writable().await {
        tracing::debug!(error = &error as &dyn std::error::Error, "the catalog is still away");
        return Some(Away::Catalog);
    }
    match pipeline.bucket.list(&pipeline.folder.prefix, None).next_page().await {
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "the bucket is still away");
            Some(Away::Store)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_that_comes_back_at_once_is_looked_at_ever_more_seldom_and_another_one_is_not() {
        let (mut pauses, mut now) = (Pauses::new(), Instant::now());
        let mut seen = Vec::new();
        for _ in 0..8 {
            seen.push(pauses.begin(now).as_millis());
            pauses.end(now);
            now += Duration::from_millis(100);
        }
        assert_eq!(seen, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
        now += RELAPSE;
        assert_eq!(pauses.begin(now), PROBE.0);
        let looks: Vec<_> = (0..8).map(|_| pauses.next()).collect();
        assert!(looks.is_sorted() && looks.last() == Some(&PROBE.1), "{looks:?}");
    }
}
