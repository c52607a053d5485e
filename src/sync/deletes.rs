//! Deletions, the only thing here that can't be undone: they are spooled while the merge runs, judged together when it has
//! ended, and then either drained, each after a fresh look, or held for a person.

use std::sync::Arc;

use crate::boundary::{Boundary, reached};
use crate::catalog;
use crate::catalog::judgement::FoundBy;
use crate::catalog::spool::Kind;
use crate::config::settings::FolderSettings;
use crate::local::identity;
use crate::model::{FolderId, Identity, ShownPath};
use crate::plan::{self, IdentityVerdict};
use crate::sync::error::SyncError;
use crate::sync::held;
use crate::sync::judge::{Case, TOO_MANY};
use crate::sync::mounts;
use crate::sync::pipeline::{Pipeline, blocking};
use crate::sync::reconcile::Found;
use crate::sync::removal::{drain, identity_of_open};

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
    /// They are too many, but paths are still under way that may turn out to be the other halves of renames: nothing was done.
    Early,
}

/// What a full pass's judgement has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Of the deletions.
    pub verdict: Verdict,
    /// What is mounted in the folder and can't be believed, in words.
    pub doubts: Vec<String>,
    /// Something that is mounted was accepted: what it had hidden is for another pass, which is wanted now.
    pub again: bool,
}

/// What is to be done where the folder is not the one that was synced.
pub fn doubt(folder: &FolderSettings) -> String {
    format!(
        "the folder is not the one that was synced (another file system or directory is at {}): mount it, or, if this is the \
         right one, run `agent-portail deletes approve --identity --folder {}`",
        ShownPath(&folder.path),
        folder.name
    )
}

/// Judges the deletions that a full pass has spooled, and acts accordingly. `quiet` says that no path is under way any more, or that
/// it was waited for long enough.
pub async fn settle(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    pass: i64,
    found: &Found,
    check: &IdentityCheck,
    rows_synced: u64,
    quiet: bool,
) -> Result<Judged, SyncError> {
    let catalog = &pipeline.catalog;
    let unsure = |reason: &str| Judged {
        verdict: postponed(reason),
        doubts: mounts::doubts(pipeline, &found.veils),
        again: false,
    };
    match identity_now(pipeline).await? {
        Ok(now) if now == check.seen => {}
        Ok(_) => return Ok(unsure("the folder was replaced by another one during the pass")),
        Err(error) => return Ok(unsure(&format!("the folder could not be looked at after the pass: {error}"))),
    }
    let verdict =
        plan::judge_identity(check.known.as_ref(), &check.seen, found.is_complete(), found.matched, found.rows);
    if verdict == IdentityVerdict::Take {
        catalog::folder::take_identity(catalog, id, &check.seen).await?;
        if check.known.is_some() {
            tracing::warn!(
                folder = %pipeline.folder.name,
                "the folder {} has a new identity (a restored or moved disk?); it was accepted, since {} of {} files are the same",
                ShownPath(&pipeline.folder.path), found.matched, found.rows
            );
        }
    }
    let mounts::Accepted { doubts, again } = mounts::judge(pipeline, id, &found.veils).await?;
    held::forget_returned(pipeline, id, pass).await?;
    catalog::held::apply_rejections(catalog, id).await?;
    held::expire(pipeline, id).await?;
    let same_folder = verdict != IdentityVerdict::Doubt;
    let mut case = Case::open(pipeline, id, pass, FoundBy::Reconciliation, same_folder, Some(rows_synced)).await?;
    case.complete = found.is_complete();
    let verdict = match case.to_hold(pipeline, found, verdict) {
        Some((_, kinds)) if kinds == TOO_MANY && !quiet => Verdict::Early,
        hold => {
            let doubtful_folder = verdict == IdentityVerdict::Doubt;
            carry_out(pipeline, id, pass, &case, hold, doubtful_folder).await?
        }
    };
    Ok(Judged { verdict, doubts, again })
}

/// Judges deletions that events have led to. `quiet` as for [`settle`].
pub async fn settle_events(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    pass: i64,
    known: Option<&Identity>,
    quiet: bool,
) -> Result<Verdict, SyncError> {
    if Some(identity_of_open(pipeline).await?) != known.copied() {
        return Ok(postponed("the folder is not the one that was synced; the next reconciliation judges"));
    }
    let case = Case::open(pipeline, id, pass, FoundBy::Events, true, None).await?;
    match case.over_threshold(pipeline) {
        Some(_) if !quiet => Ok(Verdict::Early),
        hold => carry_out(pipeline, id, pass, &case, hold.map(|reason| (reason, TOO_MANY)), false).await,
    }
}

async fn identity_now(pipeline: &Pipeline) -> Result<std::io::Result<Identity>, SyncError> {
    let path = pipeline.folder.path.clone();
    blocking("identity", move || identity::read(&path)).await
}

/// What is acted on, unless it is held.
const TO_ACT_ON: [Kind; 4] = [Kind::Approved, Kind::Deleting, Kind::Renamed, Kind::Fresh];

/// Holds what must be held, of which kinds and why, and drains the rest.
async fn carry_out(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    pass: i64,
    case: &Case,
    hold: Option<(String, &[Kind])>,
    doubtful_folder: bool,
) -> Result<Verdict, SyncError> {
    let mut verdict = Verdict::Drained;
    let held = hold.as_ref().map_or(&[][..], |(_, kinds)| *kinds);
    let free: Vec<Kind> = TO_ACT_ON.into_iter().filter(|kind| !held.contains(kind)).collect();
    if let Some((reason, kinds)) = hold {
        // Files that are back, or can't be seen any more, are not held; the next pass finds out.
        let gone = case.hold(pipeline, id, pass, &reason, kinds).await?;
        verdict = match gone + case.tally.held {
            0 => postponed("the files that were to be deleted were seen again, or could not be seen, right before"),
            _ => Verdict::Held { reason, doubtful_folder },
        };
    }
    reached(Boundary::Judged);
    drain(pipeline, id, pass, &free).await?;
    if !pipeline.cancel.is_cancelled() {
        catalog::spool::drop_spool(&pipeline.catalog, id, pass).await?;
    }
    reached(Boundary::Unspooled);
    Ok(verdict)
}

fn postponed(reason: &str) -> Verdict {
    Verdict::Postponed { reason: reason.to_owned() }
}
