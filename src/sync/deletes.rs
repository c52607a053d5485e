//! Deletions, the only thing here that can't be undone: they are spooled while the merge runs, judged together when it has
//! ended, and then either drained, each after a fresh look, or held for a person.

use std::collections::HashSet;
use std::sync::Arc;

use crate::boundary::{Boundary, reached};
use crate::catalog;
use crate::config::settings::FolderSettings;
use crate::local::identity;
use crate::model::{FolderId, Identity, RelPath};
use crate::plan::{self, IdentityVerdict};
use crate::sync::error::SyncError;
use crate::sync::pipeline::{Pipeline, blocking};
use crate::sync::reconcile::Found;
use crate::sync::removal::{PAGE, drain, identity_of_open, still_absent};

/// What the pass knows of the folder's identity.
#[derive(Debug, Clone, Copy)]
pub struct IdentityCheck {
    /// In the catalog.
    pub known: Option<Identity>,
    /// When the pass began.
    pub seen: Identity,
}

/// What became of a pass's deletions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They were acted on.
    Drained,
    /// They wait for a person, and why.
    Held {
        /// In words.
        reason: String,
        /// The folder may be another one: that is to be decided on, not each deletion.
        doubtful_folder: bool,
    },
    /// Nothing was judged, since the pass could not see everything: the next one will.
    Postponed {
        /// In words.
        reason: String,
    },
}

/// What is to be done where the folder is not the one that was synced.
pub fn doubt(folder: &FolderSettings) -> String {
    format!(
        "the folder is not the one that was synced (another file system or directory is at {}): mount it, or, if this is the \
         right one, run `agent-portail deletes approve --identity --folder {}`",
        folder.path.display(),
        folder.name
    )
}

/// Judges the deletions that a full pass has spooled, and acts accordingly.
pub async fn settle(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    pass: i64,
    found: &Found,
    check: &IdentityCheck,
    rows_synced: u64,
) -> Result<Verdict, SyncError> {
    match identity_now(pipeline).await? {
        Ok(now) if now == check.seen => {}
        Ok(_) => return Ok(postponed("the folder was replaced by another one during the pass")),
        Err(error) => return Ok(postponed(&format!("the folder could not be looked at after the pass: {error}"))),
    }
    let verdict =
        plan::judge_identity(check.known.as_ref(), &check.seen, found.is_complete(), found.matched, found.rows);
    if verdict == IdentityVerdict::Take {
        catalog::folder::take_identity(&pipeline.catalog, id, &check.seen).await?;
        if check.known.is_some() {
            tracing::warn!(
                folder = %pipeline.folder.name,
                "the folder {} has a new identity (a restored or moved disk?); it was accepted, since {} of {} files are the same",
                pipeline.folder.path.display(), found.matched, found.rows
            );
        }
    }
    if found.is_complete() {
        forget_returned(pipeline, id, pass).await?;
    }
    catalog::held::apply_rejections(&pipeline.catalog, id).await?;
    // A path that is tried again may be found gone at any time; what it spools from here on is for the next pass to judge.
    let pass = catalog::spool::seal(&pipeline.catalog, id, pass).await?;
    let tally = catalog::spool::tally(&pipeline.catalog, id, pass).await?;
    // Then not even what was begun or renamed may go: only what a person has approved.
    let doubtful = verdict == IdentityVerdict::Doubt || found.files == 0;
    let to_judge = if doubtful { tally.fresh() + tally.deleting + tally.renamed } else { tally.fresh() };
    let reason = if to_judge == 0 {
        None
    } else if verdict == IdentityVerdict::Doubt {
        Some(format!(
            "the folder is not the one that was synced (another file system or directory is at {}), and only {} of {} files are as they were",
            pipeline.folder.path.display(),
            found.matched,
            found.rows
        ))
    } else if found.files == 0 {
        Some("the folder has no file at all; is it mounted?".to_owned())
    } else {
        over_threshold(pipeline, tally.fresh() + tally.held, rows_synced)
    };
    let judged = carry_out(pipeline, id, pass, reason, doubtful).await?;
    Ok(match judged {
        Verdict::Held { reason, .. } => Verdict::Held { reason, doubtful_folder: verdict == IdentityVerdict::Doubt },
        other @ (Verdict::Drained | Verdict::Postponed { .. }) => other,
    })
}

/// Judges deletions that events have led to. `before` were deleted in the last hour, when the folder had `rows_synced`.
pub async fn settle_events(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    pass: i64,
    known: Option<&Identity>,
    before: u64,
    rows_synced: u64,
) -> Result<Verdict, SyncError> {
    if Some(identity_of_open(pipeline).await?) != known.copied() {
        return Ok(postponed("the folder is not the one that was synced; the next reconciliation judges"));
    }
    let tally = catalog::spool::tally(&pipeline.catalog, id, pass).await?;
    let reason = match tally.fresh() {
        0 => None,
        fresh => over_threshold(pipeline, before + fresh + tally.held, rows_synced),
    };
    carry_out(pipeline, id, pass, reason, false).await
}

fn over_threshold(pipeline: &Pipeline, deletes: u64, rows_synced: u64) -> Option<String> {
    let (percent, count) = (pipeline.folder.max_delete_percent, pipeline.folder.max_delete_count);
    plan::exceeds_threshold(deletes, rows_synced, percent, count).then(|| {
        format!(
            "{deletes} deletions of {rows_synced} files exceed max_delete = {percent}% and max_delete_count = {count}"
        )
    })
}

async fn identity_now(pipeline: &Pipeline) -> Result<std::io::Result<Identity>, SyncError> {
    let path = pipeline.folder.path.clone();
    blocking("identity", move || identity::read(&path)).await
}

/// Forgets held deletions whose file is back, or of which nothing is left. A complete pass has not spooled them, but that is not
/// enough: a file that has gone since the pass went by is held by those who saw it go.
async fn forget_returned(pipeline: &Arc<Pipeline>, id: FolderId, pass: i64) -> Result<(), SyncError> {
    let mut after: Option<RelPath> = None;
    loop {
        let start = after.as_ref().map(RelPath::as_str);
        let page = catalog::held::not_spooled(&pipeline.catalog, id, pass, start, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        let with_row = page.iter().filter(|(_, has_row)| *has_row).map(|(path, _)| path.clone()).collect();
        let gone: HashSet<RelPath> = still_absent(pipeline, with_row).await?.into_iter().collect();
        let over: Vec<RelPath> = page.into_iter().map(|(path, _)| path).filter(|path| !gone.contains(path)).collect();
        catalog::held::forget(&pipeline.catalog, id, &over).await?;
    }
}

/// Holds what must be held, and drains the rest.
async fn carry_out(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    pass: i64,
    reason: Option<String>,
    doubtful: bool,
) -> Result<Verdict, SyncError> {
    if let Some(reason) = &reason {
        let held = if doubtful {
            catalog::spool::hold_all(&pipeline.catalog, id, pass, reason).await?
        } else {
            catalog::spool::hold(&pipeline.catalog, id, pass, reason).await?
        };
        tracing::warn!(folder = %pipeline.folder.name, action = "held", held, "{held} deletions are held: {reason}");
    } else {
        catalog::spool::leave_held(&pipeline.catalog, id, pass).await?;
    }
    reached(Boundary::Judged);
    drain(pipeline, id, pass).await?;
    Ok(reason.map_or(Verdict::Drained, |reason| Verdict::Held { reason, doubtful_folder: false }))
}

fn postponed(reason: &str) -> Verdict {
    Verdict::Postponed { reason: reason.to_owned() }
}
