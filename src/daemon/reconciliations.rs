//! Full reconciliations of an active folder: at the start, at intervals, and whenever one is wanted.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::catalog;
use crate::daemon::active::Shared;
use crate::daemon::decisions::count_trouble;
use crate::daemon::wishes::Cause;
use crate::model::Identity;
use crate::sync::act::chain;
use crate::sync::deletes::{self, IdentityCheck, Judged, Verdict};
use crate::sync::error::{Away, SyncError};
use crate::sync::reconcile::{Extent, Found, reconcile};
use crate::sync::uploads;

/// Where watches are short, what they don't see is gone through this often.
const SHORT_OF_WATCHES: Duration = Duration::from_secs(60);
/// How long a pass waits for the queue before it judges its deletions: renames find their sources meanwhile.
const QUIET: Duration = Duration::from_secs(30);
/// And how long before it holds them for being too many: a large directory may have been renamed.
const MANY_RENAMES: Duration = Duration::from_secs(600);

/// A full reconciliation at the start, at intervals, and whenever one is wanted.
pub(super) async fn reconciliations(shared: Arc<Shared>) -> Result<(), SyncError> {
    let (pipeline, wishes) = (&shared.pipeline, &shared.activity.wishes);
    // What the last one was for, if it did not come to its end: that is still to be found.
    let mut unfinished = Some(Cause::Start);
    // Why the last one has failed, if the catalog could not be told of it.
    let mut untold = None;
    loop {
        tokio::select! {
            biased;
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = shared.gate.open() => {}
        }
        let cause = unfinished.take().max(wishes.take()).unwrap_or(Cause::Timer);
        // Where nothing is watched, no event was missed.
        let blame = if shared.activity.polls.is_some() { None } else { cause.blame() };
        pipeline.report.reconciling_for(blame);
        let live = &shared.activity.live;
        // An hourly one is no news to anybody who looks at the state.
        live.catching_up.store(cause != Cause::Timer, Ordering::Relaxed);
        tell(&shared, &mut untold).await;
        let ended = match pass(&shared).await {
            Ok(ended) => ended,
            Err(_) if pipeline.cancel.is_cancelled() => return Ok(()),
            Err(error) => {
                shared.gate.close(&pipeline.folder.name, &error);
                untold = Some(chain(&error));
                if error.away() != Some(Away::Catalog) {
                    tell(&shared, &mut untold).await;
                }
                false
            }
        };
        if !ended {
            unfinished = Some(cause);
            continue;
        }
        live.catching_up.store(false, Ordering::Relaxed);
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(interval(&shared)) => {}
            () = wishes.wished() => {}
        }
    }
}

/// Writes down why a reconciliation has failed, for people to be told.
async fn tell(shared: &Shared, untold: &mut Option<String>) {
    let Some(reason) = &*untold else { return };
    match catalog::notice::reconciliation_failed(&shared.pipeline.catalog, shared.record.id, reason).await {
        Ok(()) => *untold = None,
        // Before the next one it is tried again.
        Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "failed to write the notice"),
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

/// One reconciliation; answers whether it came to its end.
async fn pass(shared: &Shared) -> Result<bool, SyncError> {
    let (pipeline, live, id) = (&shared.pipeline, &shared.activity.live, shared.record.id);
    let catalog = &pipeline.catalog;
    live.begin_reconciliation();
    shared.reaper.drop_abandoned(pipeline, id).await?;
    catalog::held::apply_rejections(catalog, id).await?;
    let number = catalog::folder::next_pass(catalog, id).await?;
    let ended = numbered(shared, number).await;
    if !matches!(ended, Ok(true)) {
        shared.reaper.abandon(number);
    }
    ended
}

/// One reconciliation, which has this number; answers whether it came to its end.
async fn numbered(shared: &Shared, number: i64) -> Result<bool, SyncError> {
    let (pipeline, live, id) = (&shared.pipeline, &shared.activity.live, shared.record.id);
    let catalog = &pipeline.catalog;
    let began = Instant::now();
    let synced = catalog::folder::synced_count(catalog, id).await?;
    let failures = pipeline.report.summary().failures.count;
    pipeline.feed.begin_reconciliation();
    let found = reconcile(pipeline, &Extent::Folder, number).await;
    pipeline.feed.end_reconciliation();
    let found = found?;
    // Those that have gone are still counted by the one, those that the kernel has refused by the other.
    let watches = if shared.activity.polls.is_some() { 0 } else { shared.activity.watch.count() };
    live.watches.store(found.directories.min(watches), Ordering::Relaxed);
    if !found.ended {
        return Ok(false);
    }
    let Some(judged) = judged(shared, number, &found, synced).await? else { return Ok(false) };
    let known = known_identity(shared).await?;
    *shared.reaper.identity.lock().unwrap_or_else(PoisonError::into_inner) = known;
    live.in_doubt.store(known.is_some_and(|known| known != shared.activity.seen), Ordering::Relaxed);
    live.set_doubts(judged.doubts);
    if judged.again {
        shared.activity.wishes.wish(Cause::Mount);
    }
    if let Verdict::Postponed { reason } = &judged.verdict {
        tracing::warn!(folder = %pipeline.folder.name, "deletions are postponed: {reason}");
        catalog::spool::drop_spool(catalog, id, number).await?;
        // If the folder stays away, the supervisor takes over; if it is back already, nobody else would look for them again.
        shared.activity.wishes.wish(Cause::Outage);
    }
    catalog::folder::finish_pass(catalog, id).await?;
    uploads::sweep(pipeline).await?;
    count_trouble(shared, id).await?;
    live.end_reconciliation();
    pipeline.report.measured.reconcile.record(began.elapsed());
    let failed = pipeline.report.summary().failures.count.saturating_sub(failures);
    crate::logging::success!(
        folder = %pipeline.folder.name,
        action = "reconciled",
        files = found.files,
        failed,
        "reconciled {}: {} files, {} deletions found", pipeline.folder.name, found.files, found.deletes
    );
    Ok(true)
}

/// Waits for the queue, and judges the deletions that the pass has spooled. None, if there was an outage first.
async fn judged(shared: &Shared, number: i64, found: &Found, synced: u64) -> Result<Option<Judged>, SyncError> {
    let (pipeline, id) = (&shared.pipeline, shared.record.id);
    let mut longest = QUIET;
    loop {
        let quiet = tokio::select! {
            waited = tokio::time::timeout(longest, pipeline.feed.quiet()) => waited.is_ok(),
            () = shared.gate.closed() => return Ok(None),
            () = pipeline.cancel.cancelled() => return Ok(None),
        };
        // Read now: a person may have accepted another folder since the last one.
        let known = known_identity(shared).await?;
        let check = IdentityCheck { known, seen: shared.activity.seen };
        let enough = quiet || longest == MANY_RENAMES;
        let judged = {
            // Events' deletions are judged before or after, never meanwhile.
            let _judging = shared.reaper.judging.lock().await;
            deletes::settle(pipeline, id, number, found, &check, synced, enough).await?
        };
        if judged.verdict != Verdict::Early {
            return Ok(Some(judged));
        }
        longest = MANY_RENAMES;
    }
}

/// Which folder was synced, as the catalog has it.
pub(super) async fn known_identity(shared: &Shared) -> Result<Option<Identity>, SyncError> {
    let worlds = &shared.activity.worlds;
    let (bucket, prefix) = (worlds.bucket.name(), worlds.folder.prefix.as_str());
    let record = catalog::folder::find(&worlds.catalog, &worlds.endpoint, bucket, prefix).await?;
    Ok(record.and_then(|record| record.identity))
}
