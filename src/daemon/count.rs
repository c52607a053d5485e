//! How many files the folder has in the bucket, counted again after they have changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::catalog;
use crate::daemon::active::Shared;
use crate::sync::error::SyncError;
use crate::sync::report::Report;

/// Between two counts, at least.
const PAUSE: Duration = Duration::from_secs(5);
/// And this many times as long as the last one took, since each reads every row of the folder: a hundredth of a processor.
const SHARE: u32 = 100;

/// Counts while the folder is active. Whoever only wants the numbers is no reason to call the catalog away.
pub(super) async fn count(shared: Arc<Shared>) -> Result<(), SyncError> {
    let (pipeline, live) = (&shared.pipeline, &shared.activity.live);
    let mut counted = None;
    loop {
        let (done, began) = (changes(&pipeline.report), Instant::now());
        if counted != Some(done) && shared.gate.outage().is_none() {
            match catalog::folder::totals(&pipeline.catalog, shared.record.id).await {
                Ok((files, bytes)) => {
                    live.files.store(files, Ordering::Relaxed);
                    live.bytes.store(bytes, Ordering::Relaxed);
                    counted = Some(done);
                }
                Err(error) => tracing::debug!(error = %crate::model::chain(&error), "failed to count the files"),
            }
        }
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(PAUSE.max(began.elapsed() * SHARE)) => {}
        }
    }
}

/// Of rows that have an object, or had one.
fn changes(report: &Report) -> u64 {
    let summary = report.summary();
    summary.done.values().sum::<u64>() + summary.dropped
}
