//! Held deletions whose files are back, and those on which nobody decides.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog;
use crate::model::{FolderId, Local, RelPath};
use crate::sync::error::SyncError;
use crate::sync::pipeline::{Pipeline, blocking};

/// Held deletions that are looked at together.
const PAGE: i64 = 1000;

/// Held deletions on which nobody has decided for this long are given up: the objects are kept. A month, so that nobody's holidays
/// decide, and never the other way round.
pub const KEPT_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

/// Forgets held deletions, decided on or not, whose files are back: what a person has said was about files that were gone. They are
/// those that the pass did not find absent; where it could not see everything, those that are there at a fresh look.
pub(super) async fn forget_returned(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    pass: i64,
    complete: bool,
) -> Result<(), SyncError> {
    let mut after = String::new();
    loop {
        let page = catalog::held::not_spooled(&pipeline.catalog, id, pass, &after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        last.as_str().clone_into(&mut after);
        let back = if complete { page } else { seen_again(pipeline, page).await? };
        catalog::held::forget(&pipeline.catalog, id, &back).await?;
    }
}

async fn seen_again(pipeline: &Arc<Pipeline>, paths: Vec<RelPath>) -> Result<Vec<RelPath>, SyncError> {
    let root = Arc::clone(&pipeline.root);
    let is_back = move |path: &RelPath| match root.look(path) {
        Local::Present(_) | Local::Skipped(_) => true,
        Local::Absent | Local::Unknown(_) => false,
    };
    blocking("look", move || paths.into_iter().filter(is_back).collect()).await
}

/// Gives up what nobody has decided on for too long.
pub(super) async fn expire(pipeline: &Pipeline, id: FolderId) -> Result<(), SyncError> {
    let expired = catalog::held::expire(&pipeline.catalog, id, KEPT_AFTER).await?;
    if expired > 0 {
        tracing::warn!(
            folder = %pipeline.folder.name,
            action = "held",
            expired,
            "{expired} deletions were held for {} days and nobody has decided: the objects are kept",
            KEPT_AFTER.as_secs() / (24 * 3600)
        );
    }
    Ok(())
}
