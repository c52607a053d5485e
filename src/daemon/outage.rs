//! An outage of an active folder, from its beginning to its end.

use std::sync::Arc;
use std::time::Duration;

use crate::daemon::active::Shared;
use crate::daemon::wishes::Cause;
use crate::sync::error::SyncError;
use crate::sync::pipeline::Pipeline;

/// During an outage, the first look whether it is over comes after this, the following ones a bit later each.
const PROBE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Waits for an outage, and then for its end.
pub(super) async fn outages(shared: Arc<Shared>) -> Result<(), SyncError> {
    let pipeline = &shared.pipeline;
    loop {
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = shared.gate.closed() => {}
        }
        let mut pause = PROBE.0;
        loop {
            tokio::select! {
                () = pipeline.cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            if works(pipeline).await {
                break;
            }
            pause = (pause * 3 / 2).min(PROBE.1);
        }
        // Before the gate, so that a reconciliation that waits for it knows what it is for.
        shared.activity.wishes.wish(Cause::Outage);
        shared.gate.reopen(&pipeline.folder.name);
        pipeline.feed.wake_all();
    }
}

/// Whether catalog and bucket answer.
async fn works(pipeline: &Pipeline) -> bool {
    if let Err(error) = pipeline.catalog.writable().await {
        tracing::debug!(error = &error as &dyn std::error::Error, "the catalog is still away");
        return false;
    }
    match pipeline.bucket.list(&pipeline.folder.prefix, None).next_page().await {
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "the bucket is still away");
            false
        }
    }
}
