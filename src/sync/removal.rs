//! Removals: what the judgement has let through is drained, each path after fresh looks, and object before row.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::catalog;
use crate::catalog::file::Asked;
use crate::catalog::removal::Doomed;
use crate::catalog::spool::{Kind, Spooled};
use crate::local::identity;
use crate::local::look::RootError;
use crate::logging::success;
use crate::model::{EventKind, FolderId, Identity, Local, ObjectKey, RelPath, Retry, millis};
use crate::queue::{Hint, Job, Settled, backoff};
use crate::sync::act::{self, chain};
use crate::sync::error::SyncError;
use crate::sync::pipeline::{Pipeline, blocking};

/// Objects that S3 removes in one request.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
pub(super) const PAGE: i64 = 1000;

/// Paths whose deletion is tried again, and after what pause.
type Pauses = HashMap<RelPath, Duration>;

/// Acts on what the spool has of these kinds, a page at a time.
pub(super) async fn drain(pipeline: &Arc<Pipeline>, id: FolderId, pass: i64, kinds: &[Kind]) -> Result<(), SyncError> {
    let mut after = String::new();
    while !pipeline.cancel.is_cancelled() {
        let page = catalog::spool::page(&pipeline.catalog, id, pass, kinds, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        last.path.as_str().clone_into(&mut after);
        // Nobody may upload what is being removed. A path that is in the queue is looked at by a worker anyway.
        let claims = pipeline.feed.claim(page.iter().map(|spooled| spooled.path.clone()).collect());
        let removed = remove_absent(pipeline, id, &page, &claims).await;
        for claim in &claims {
            let again = removed.as_ref().ok().and_then(|again| again.get(&*claim.path));
            pipeline.feed.settle(claim, again.map_or(Settled::Done, |&pause| Settled::Failed { pause }));
        }
        removed?;
    }
    Ok(())
}

/// Removes those whose file is gone; answers which are to be tried again, and after what pause.
async fn remove_absent(
    pipeline: &Arc<Pipeline>,
    id: FolderId,
    page: &[Spooled],
    claims: &[Job],
) -> Result<Pauses, SyncError> {
    let paths = claims.iter().map(|claim| RelPath::clone(&claim.path)).collect();
    let Looked { gone, back } = look_again(pipeline, paths).await?;
    spend_approvals(pipeline, id, &back).await?;
    let fresh: HashSet<&RelPath> =
        page.iter().filter(|spooled| spooled.kind == Kind::Fresh).map(|spooled| &spooled.path).collect();
    let doomed: Vec<Doomed> = gone.into_iter().map(|path| Doomed { counts: fresh.contains(&path), path }).collect();
    remove(pipeline, id, &doomed).await
}

/// An approval holds for a file that is gone, and an object that is ours. For any other path it is spent without a deletion: should
/// its file go again, a person decides again. Only for the paths at hand, since a person may be approving others this moment; and
/// not for those of which nothing could be seen, such as what lies below a file system that is not mounted now.
async fn spend_approvals(pipeline: &Pipeline, id: FolderId, paths: &[RelPath]) -> Result<(), SyncError> {
    if !paths.is_empty() {
        catalog::held::forget_approved(&pipeline.catalog, id, paths).await?;
    }
    Ok(())
}

/// What a fresh look has shown. What could not be seen is in neither.
struct Looked {
    gone: Vec<RelPath>,
    /// Something that is no directory stands there: the file, or a link.
    back: Vec<RelPath>,
}

/// The fresh look that each deletion needs right before it.
async fn look_again(pipeline: &Arc<Pipeline>, paths: Vec<RelPath>) -> Result<Looked, SyncError> {
    let root = Arc::clone(&pipeline.root);
    let looked = blocking("look", move || {
        let mut looked = Looked { gone: Vec::with_capacity(paths.len()), back: Vec::new() };
        for path in paths {
            match root.look(&path) {
                Local::Absent => looked.gone.push(path),
                Local::Present(_) | Local::Skipped(_) => looked.back.push(path),
                Local::Unknown(_) => {}
            }
        }
        looked
    })
    .await?;
    // Afterwards: had it been another one meanwhile, nobody could tell what was seen.
    identity_of_open(pipeline).await?;
    Ok(looked)
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
async fn remove(pipeline: &Arc<Pipeline>, id: FolderId, doomed: &[Doomed]) -> Result<Pauses, SyncError> {
    let marked = catalog::removal::begin(&pipeline.catalog, id, doomed).await?;
    let ours: HashSet<&RelPath> = marked.iter().collect();
    let others: Vec<RelPath> =
        doomed.iter().filter(|doomed| !ours.contains(&doomed.path)).map(|doomed| doomed.path.clone()).collect();
    spend_approvals(pipeline, id, &others).await?;
    // A page is one request, and the rows took a moment: look again at what is about to go.
    let doomed = look_again(pipeline, marked.clone()).await?.gone;
    nominate_returned(pipeline, marked, &doomed).await;
    if doomed.is_empty() {
        return Ok(Pauses::new());
    }
    let keys: Vec<ObjectKey> = doomed.iter().map(|path| pipeline.key(path)).collect();
    let began = Instant::now();
    let answers = {
        let _slot = pipeline.bounds.throttle.slot().await;
        let began = Instant::now();
        let answers = pipeline.bucket.delete(&keys).await;
        pipeline.report.measured.delete.record(began.elapsed());
        answers
    };
    // Of the request, which they share.
    let duration_ms = millis(began.elapsed());
    let mut by_key: HashMap<ObjectKey, _> = answers.into_iter().collect();
    let mut gone = Vec::with_capacity(doomed.len());
    let (mut failed, mut fatal) = (Vec::new(), None);
    for (path, key) in doomed.into_iter().zip(keys) {
        match by_key.remove(&key) {
            Some(Ok(())) => {
                success!(folder = %pipeline.folder.name, path = %path, key = %key, action = "deleted", duration_ms, "deleted {path}");
                gone.push(path);
            }
            Some(Err(error)) if error.retry() == Retry::Fatal => fatal = Some(error),
            Some(Err(error)) => {
                if error.is_throttled() {
                    pipeline.bounds.throttle.slow_down(Instant::now());
                }
                failed.push((path, chain(&error), error.retry()));
            }
            // It said nothing of it, so nothing is known.
            None => failed.push((path, "the store did not answer for it".to_owned(), Retry::Later)),
        }
    }
    catalog::removal::end(&pipeline.catalog, id, &gone).await?;
    pipeline.report.done_many(EventKind::Deleted, gone.len() as u64);
    match fatal {
        Some(error) => Err(pipeline.remote_fatal(error)),
        None => put_off(pipeline, failed).await,
    }
}

/// Writes down which deletions have failed: their rows stay `deleting`. The daemon tries again those that may yet succeed, after
/// pauses that grow; a single pass leaves them to the next one.
async fn put_off(pipeline: &Pipeline, failed: Vec<(RelPath, String, Retry)>) -> Result<Pauses, SyncError> {
    let record = failed.iter().map(|(path, why, _)| {
        tracing::error!(folder = %pipeline.folder.name, path = %path, key = %pipeline.key(path), action = "failed", error = %why, "failed to delete {path}: {why}");
        let why = format!("delete its object: {why}");
        pipeline.report.failed(path, &why);
        pipeline.report.failed_deletes.fetch_add(1, Ordering::Relaxed);
        act::record_failure(pipeline, path, why)
    });
    futures_util::future::try_join_all(record).await?;
    let tries_again = |retry: Retry| retry == Retry::Later && pipeline.endurance.is_some();
    let again: Vec<RelPath> =
        failed.into_iter().filter(|(.., retry)| tries_again(*retry)).map(|(path, ..)| path).collect();
    let names: Vec<&str> = again.iter().map(RelPath::as_str).collect();
    let rows = pipeline.find(Asked { paths: &names, ..Asked::default() }).await?.rows;
    Ok(rows.into_iter().map(|row| (row.path, backoff(row.attempts, &mut rand::rng()))).collect())
}

/// The identity of the folder that is open, which must still be the one at its path: what is absent from one that was renamed away,
/// or that has stood in for another, is not absent from the folder.
pub(super) async fn identity_of_open(pipeline: &Arc<Pipeline>) -> Result<Identity, SyncError> {
    let (root, path) = (Arc::clone(&pipeline.root), pipeline.folder.path.clone());
    let compared = blocking("identity", move || match (root.identity(), identity::read(&path)) {
        (Ok(open), Ok(now)) if open == now => Ok(open),
        (Ok(_), Ok(_)) => Err(RootError::Replaced { path }),
        (Err(source), _) | (_, Err(source)) => Err(RootError::Open { path, source }),
    });
    let folder = || pipeline.folder.name.clone();
    compared.await?.map_err(|source| SyncError::Root { folder: folder(), source: Box::new(source) })
}
