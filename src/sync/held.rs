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

/// Forgets held deletions, decided on or not, whose files are back: what a person has said was about files that were gone. Those
/// that the pass has spooled are not; of the others, which may have gone since it went by, only a fresh look can tell. Where there
/// is no row any more, nothing is left to be held.
pub(super) async fn forget_returned(pipeline: &Arc<Pipeline>, id: FolderId, pass: i64) -> Result<(), SyncError> {
    let mut after = String::new();
    loop {
        let page = catalog::held::not_spooled(&pipeline.catalog, id, pass, &after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        last.as_str().clone_into(&mut after);
        let root = Arc::clone(&pipeline.root);
        let is_over = move |path: &RelPath, has_row: bool| {
            !has_row
                || match root.look(path) {
                    Local::Present(_) | Local::Skipped(_) => true,
                    Local::Absent | Local::Unknown(_) => false,
                }
        };
        let over = blocking("look", move || {
            page.into_iter().filter(|(path, has_row)| is_over(path, *has_row)).map(|(path, _)| path).collect::<Vec<_>>()
        });
        catalog::held::forget(&pipeline.catalog, id, &over.await?).await?;
    }
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
