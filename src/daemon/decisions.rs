//! What people decide about held deletions, while the folder is active.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use crate::catalog;
use crate::catalog::lock::WriterLock;
use crate::daemon::active::Shared;
use crate::daemon::reap;
use crate::daemon::reconciliations::known_identity;
use crate::daemon::wishes::Cause;
use crate::model::FolderId;
use crate::sync::deletes::Verdict;
use crate::sync::error::SyncError;

/// Decisions are announced; this is for those whose announcement was lost.
const DECISIONS: Duration = Duration::from_secs(10);

/// Acts on what a person has decided about held deletions.
pub(super) async fn decisions(shared: Arc<Shared>, lock: Arc<WriterLock>) -> Result<(), SyncError> {
    let (pipeline, id) = (&shared.pipeline, shared.record.id);
    // What a decision leaves undone, such as what can't be seen now, is for the next reconciliation.
    let mut acted_on = None;
    loop {
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = lock.decided() => {}
            () = tokio::time::sleep(DECISIONS) => {}
        }
        if shared.gate.outage().is_some() {
            continue;
        }
        match act_on_decisions(&shared, id, acted_on).await {
            Ok(latest) => acted_on = latest,
            Err(error) => {
                acted_on = None;
                if !pipeline.cancel.is_cancelled() {
                    shared.gate.close(&pipeline.folder.name, &error);
                }
            }
        }
    }
}

/// Acts on decisions that are later than those that were acted on; answers when the last one was made.
async fn act_on_decisions(
    shared: &Shared,
    id: FolderId,
    acted_on: Option<SystemTime>,
) -> Result<Option<SystemTime>, SyncError> {
    let pipeline = &shared.pipeline;
    count_trouble(shared, id).await?;
    let live = &shared.activity.live;
    let in_doubt = live.in_doubt.load(Ordering::Relaxed) || !live.doubts().is_empty();
    if in_doubt && known_identity(shared).await?.is_none() {
        // A person has accepted the folder that is there now: what was held is judged anew.
        shared.activity.wishes.wish(Cause::Decision);
        live.in_doubt.store(false, Ordering::Relaxed);
    }
    let latest = catalog::held::last_decision(&pipeline.catalog, id).await?;
    if latest.is_none() || latest == acted_on {
        return Ok(latest);
    }
    catalog::held::apply_rejections(&pipeline.catalog, id).await?;
    let number = catalog::folder::next_pass(&pipeline.catalog, id).await?;
    if catalog::spool::spool_approved(&pipeline.catalog, id, number).await? > 0 {
        let judged = reap::judge(pipeline, id, &shared.reaper, number, true).await;
        if let Verdict::Postponed { .. } = judged.inspect_err(|_| shared.reaper.abandon(number))? {
            shared.activity.wishes.wish(Cause::Decision);
        }
    }
    count_trouble(shared, id).await?;
    Ok(latest)
}

/// Deletions that are held, paths that failed and files that are damaged, as the catalog has them.
pub(super) async fn count_trouble(shared: &Shared, id: FolderId) -> Result<(), SyncError> {
    let live = &shared.activity.live;
    live.held.store(catalog::held::held_count(&shared.pipeline.catalog, id).await?, Ordering::Relaxed);
    live.failed.store(catalog::folder::failed_count(&shared.pipeline.catalog, id).await?, Ordering::Relaxed);
    live.damaged.store(catalog::verification::damaged_count(&shared.pipeline.catalog, id).await?, Ordering::Relaxed);
    Ok(())
}
