//! Deletions, the only thing here that can't be undone: they are spooled while the merge runs, judged together when it has
//! ended, and then either drained, each after a fresh look, or held for a person.

use std::collections::HashSet;
use std::sync::Arc;

use crate::catalog;
use crate::catalog::judgement::FoundBy;
use crate::catalog::removal::Doomed;
use crate::catalog::spool::{Kind, Spooled};
use crate::config::settings::FolderSettings;
use crate::local::identity;
use crate::logging::success;
use crate::model::{EventKind, FolderId, Identity, Local, ObjectKey, RelPath};
use crate::plan::{self, IdentityVerdict};
use crate::queue::{Hint, Job, Settled};
use crate::sync::act::chain;
use crate::sync::error::SyncError;
use crate::sync::held;
use crate::sync::judge::{Case, TOO_MANY};
use crate::sync::mounts;
use crate::sync::pipeline::{Pipeline, blocking};
use crate::sync::reconcile::Found;

/// Objects that S3 removes in one request.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
const PAGE: i64 = 1000;

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
        folder.path.display(),
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
                pipeline.folder.path.display(), found.matched, found.rows
            );
        }
    }
    let mounts::Accepted { doubts, again } = mounts::judge(pipeline, id, &found.veils).await?;
    // What is hidden is not back.
    held::forget_returned(pipeline, id, pass, found.is_complete() && found.hidden == 0).await?;
    catalog::held::apply_rejections(catalog, id).await?;
    held::expire(pipeline, id).await?;
    let mut case = Case::open(pipeline, id, pass, FoundBy::Reconciliation, Some(rows_synced)).await?;
    (case.same_folder, case.complete) = (verdict != IdentityVerdict::Doubt, found.is_complete());
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
    match identity_now(pipeline).await? {
        Ok(now) if Some(&now) == known => {}
        Ok(_) => return Ok(postponed("the folder is not the one that was synced; the next reconciliation judges")),
        Err(error) => return Ok(postponed(&format!("the folder could not be looked at: {error}"))),
    }
    let case = Case::open(pipeline, id, pass, FoundBy::Events, None).await?;
    match case.over_threshold(pipeline) {
        Some(_) if !quiet => Ok(Verdict::Early),
        hold => carry_out(pipeline, id, pass, &case, hold.map(|reason| (reason, TOO_MANY)), false).await,
    }
}

async fn identity_now(pipeline: &Pipeline) -> Result<std::io::Result<Identity>, SyncError> {
    let path = pipeline.folder.path.clone();
    blocking("identity", move || identity::read(&path)).await
}

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
    if let Some((reason, kinds)) = hold {
        // Files that are back, or can't be seen any more, are not held; the next pass finds out.
        let gone = case.hold(pipeline, id, pass, &reason, kinds).await?;
        verdict = match gone + case.tally.held {
            0 => postponed("the files that were to be deleted were seen again, or could not be seen, right before"),
            _ => Verdict::Held { reason, doubtful_folder },
        };
    }
    drain(pipeline, id, pass).await?;
    if !pipeline.cancel.is_cancelled() {
        catalog::spool::drop_spool(&pipeline.catalog, id, pass).await?;
    }
    Ok(verdict)
}

fn postponed(reason: &str) -> Verdict {
    Verdict::Postponed { reason: reason.to_owned() }
}

/// Acts on what the spool still holds, a page at a time.
async fn drain(pipeline: &Arc<Pipeline>, id: FolderId, pass: i64) -> Result<(), SyncError> {
    const KINDS: [Kind; 4] = [Kind::Approved, Kind::Deleting, Kind::Renamed, Kind::Fresh];
    let mut after: Option<RelPath> = None;
    while !pipeline.cancel.is_cancelled() {
        let start = after.as_ref().map(RelPath::as_str);
        let page = catalog::spool::page(&pipeline.catalog, id, pass, &KINDS, start, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.path.clone());
        // Nobody may upload what is being removed. A path that is in the queue is looked at by a worker anyway.
        let claims = pipeline.feed.claim(page.iter().map(|spooled| spooled.path.clone()).collect());
        let removed = remove_absent(pipeline, id, &page, &claims).await;
        for claim in &claims {
            pipeline.feed.settle(claim, Settled::Done);
        }
        removed?;
        let paths: Vec<RelPath> = page.into_iter().map(|spooled| spooled.path).collect();
        catalog::spool::unspool(&pipeline.catalog, id, pass, &paths).await?;
    }
    Ok(())
}

async fn remove_absent(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    page: &[Spooled],
    claims: &[Job],
) -> Result<(), SyncError> {
    let paths = claims.iter().map(|claim| RelPath::clone(&claim.path)).collect();
    let gone = still_absent(pipeline, paths).await?;
    let fresh: HashSet<&RelPath> =
        page.iter().filter(|spooled| spooled.kind == Kind::Fresh).map(|spooled| &spooled.path).collect();
    let doomed: Vec<Doomed> = gone.into_iter().map(|path| Doomed { counts: fresh.contains(&path), path }).collect();
    remove(pipeline, id, &doomed).await
}

/// The fresh look that each deletion needs right before it.
async fn still_absent(pipeline: &Arc<Pipeline>, paths: Vec<RelPath>) -> Result<Vec<RelPath>, SyncError> {
    let root = Arc::clone(&pipeline.root);
    blocking("look", move || paths.into_iter().filter(|path| root.look(path) == Local::Absent).collect()).await
}

/// A file that came back in the last moment has a row that says `deleting`: its object is still there, but nobody vouches for it
/// any more until the path is looked at again.
async fn nominate_returned(pipeline: &Arc<Pipeline>, marked: Vec<RelPath>, doomed: &[RelPath]) {
    let doomed: HashSet<&RelPath> = doomed.iter().collect();
    for path in marked.into_iter().filter(|path| !doomed.contains(path)) {
        tokio::select! {
            () = pipeline.feed.nominate(path, Hint::EVENT, None) => {}
            () = pipeline.cancel.cancelled() => return,
        }
    }
}

/// Row `deleting`, object, row gone: a crash anywhere in between is finished by the next pass.
async fn remove(pipeline: &Arc<Pipeline>, id: FolderId, doomed: &[Doomed]) -> Result<(), SyncError> {
    let marked = catalog::removal::begin(&pipeline.catalog, id, doomed).await?;
    // A page is one request, and the rows took a moment: look again at what is about to go.
    let doomed = still_absent(pipeline, marked.clone()).await?;
    nominate_returned(pipeline, marked, &doomed).await;
    if doomed.is_empty() {
        return Ok(());
    }
    let keys: Vec<ObjectKey> = doomed.iter().map(|path| pipeline.key(path)).collect();
    let answers = {
        let _slot = pipeline.bounds.throttle.slot().await;
        pipeline.bucket.delete(&keys).await
    };
    let mut by_key: std::collections::HashMap<ObjectKey, _> = answers.into_iter().collect();
    let mut gone = Vec::with_capacity(doomed.len());
    let mut fatal = None;
    for (path, key) in doomed.into_iter().zip(keys) {
        match by_key.remove(&key) {
            Some(Ok(())) => {
                success!(folder = %pipeline.folder.name, path = %path, key = %key, action = "deleted", "deleted {path}");
                gone.push(path);
            }
            Some(Err(error)) => {
                let why = chain(&error);
                tracing::error!(folder = %pipeline.folder.name, path = %path, key = %key, action = "failed", error = %why, "failed to delete {path}: {why}");
                pipeline.report.failed(&path, &format!("delete its object: {why}"));
                if error.retry() == crate::model::Retry::Fatal {
                    fatal = Some(error);
                }
            }
            // The store said nothing of it, so nothing is known: the row stays `deleting`, and the next pass asks again.
            None => pipeline.report.failed(&path, "delete its object: the store did not answer for it"),
        }
    }
    catalog::removal::end(&pipeline.catalog, id, &gone).await?;
    pipeline.report.done_many(EventKind::Deleted, gone.len() as u64);
    fatal.map_or(Ok(()), |error| Err(pipeline.remote_fatal(error)))
}
