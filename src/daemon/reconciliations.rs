//! Full reconciliations of an active folder: at the start, at intervals, and whenever one is wanted.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::Notify;

use crate::catalog;
use crate::daemon::active::Shared;
use crate::daemon::decisions::count_trouble;
use crate::sync::deletes::{self, IdentityCheck, Verdict};
use crate::sync::error::SyncError;
use crate::sync::reconcile::{Extent, reconcile};

/// Where watches are short, what they don't see is gone through this often.
const SHORT_OF_WATCHES: Duration = Duration::from_secs(60);
/// How long a pass waits for the queue before it judges its deletions: renames find their sources meanwhile.
const QUIET: Duration = Duration::from_secs(30);

/// Why a reconciliation is wanted.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Something has changed, nobody knows what.
    pub wanted: Arc<Notify>,
    /// What for; the last wish counts.
    pub cause: std::sync::Mutex<Option<&'static str>>,
}

impl Wishes {
    /// Wishes for one.
    pub fn wish(&self, cause: &'static str) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
        self.wanted.notify_one();
    }

    fn take(&self) -> Option<&'static str> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A full reconciliation at the start, at intervals, and whenever one is wanted.
pub(super) async fn reconciliations(shared: Arc<Shared>) -> Result<(), SyncError> {
    let (pipeline, wishes) = (&shared.pipeline, &shared.activity.wishes);
    let mut cause = None;
    loop {
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = shared.gate.open() => {}
        }
        pipeline.report.reconciling_for(cause);
        if let Err(error) = pass(&shared).await
            && !pipeline.cancel.is_cancelled()
        {
            shared.gate.close(&pipeline.folder.name, &error);
            cause = Some("outage");
            continue;
        }
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(interval(&shared)) => cause = Some("missed_event"),
            () = wishes.wanted.notified() => cause = wishes.take().or(Some("missed_event")),
        }
    }
}

/// Until the next one, jittered by a quarter so that many agents don't list together.
fn interval(shared: &Shared) -> Duration {
    let activity = &shared.activity;
    let mut interval = activity.polls.unwrap_or(activity.sync.reconcile_every).min(activity.sync.reconcile_every);
    if activity.live.out_of_watches.load(Ordering::Relaxed) {
        interval = interval.min(SHORT_OF_WATCHES);
    }
    interval.mul_f64(rand::rng().random_range(0.75..=1.25))
}

async fn pass(shared: &Shared) -> Result<(), SyncError> {
    let (pipeline, live, id) = (&shared.pipeline, &shared.activity.live, shared.record.id);
    let catalog = &pipeline.catalog;
    live.begin_reconciliation();
    catalog::held::apply_rejections(catalog, id).await?;
    let number = catalog::folder::next_pass(catalog, id).await?;
    let synced = catalog::folder::synced_count(catalog, id).await?;
    let failures = pipeline.report.summary().failures.count;
    pipeline.feed.begin_reconciliation();
    let found = reconcile(pipeline, &Extent::Folder, number).await;
    pipeline.feed.end_reconciliation();
    let found = found?;
    live.watches.store(found.directories, Ordering::Relaxed);
    if !found.ended {
        return Ok(());
    }
    tokio::select! {
        _ = tokio::time::timeout(QUIET, pipeline.feed.quiet()) => {}
        () = shared.gate.closed() => return Ok(()),
        () = pipeline.cancel.cancelled() => return Ok(()),
    }
    let known = *shared.reaper.identity.lock().unwrap_or_else(PoisonError::into_inner);
    let check = IdentityCheck { known, seen: shared.activity.seen };
    let verdict = {
        // Events' deletions are judged before or after, never meanwhile.
        let _judging = shared.reaper.judging.lock().await;
        deletes::settle(pipeline, id, number, &found, &check, synced).await?
    };
    let worlds = &shared.activity.worlds;
    let record = catalog::folder::find(catalog, &worlds.endpoint, worlds.bucket.name(), &worlds.folder.prefix).await?;
    *shared.reaper.identity.lock().unwrap_or_else(PoisonError::into_inner) = record.and_then(|record| record.identity);
    if let Verdict::Postponed { reason } = &verdict {
        tracing::warn!(folder = %pipeline.folder.name, "deletions are postponed: {reason}");
        catalog::spool::drop_spool(catalog, id, number).await?;
        // If the folder stays away, the supervisor takes over; if it is back already, nobody else would look for them again.
        shared.activity.wishes.wish("outage");
    }
    catalog::folder::finish_pass(catalog, id).await?;
    count_trouble(shared, id).await?;
    live.end_reconciliation();
    let failed = pipeline.report.summary().failures.count.saturating_sub(failures);
    crate::logging::success!(
        folder = %pipeline.folder.name,
        action = "reconciled",
        files = found.files,
        failed,
        "reconciled {}: {} files, {} deletions found", pipeline.folder.name, found.files, found.deletes
    );
    Ok(())
}
