//! The life of one path: look, decide, read, conclude, act, settle.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use crate::local::hash::{self, Content, ReadError, Wanted};
use crate::memory::BudgetGuard;
use crate::model::{self, ETag, FileMeta, Local, RelPath, Remote, Retry, RowState, Stamp};
use crate::plan::{self, Conclusion, Decision};
use crate::queue::{Job, Scope, Settled, backoff};
use crate::sync::act::{self, Work};
use crate::sync::error::{Failure, PathError, SyncError};
use crate::sync::known::{KnownPath, Seen};
use crate::sync::pipeline::{MAX_ATTEMPTS, Pipeline, blocking};

/// Larger files are read twice, once for the digests and once for the upload, instead of being held.
const IN_MEMORY: u64 = 8 << 20;

/// One path from its look to its settling.
pub(super) async fn live(pipeline: Arc<Pipeline>, job: Job, mut known: KnownPath) -> Result<(), SyncError> {
    pipeline.unrecorded.forget(&job.path);
    let settled = match attempt(&pipeline, &job, &mut known).await {
        Ok(settled) => settled,
        Err(Failure::Cancelled) => Settled::Done,
        Err(Failure::Folder(error)) => {
            pipeline.put_back(&job);
            return pipeline.stop_or_wait(error);
        }
        Err(Failure::Path(error)) => {
            let (again, told_after) = match error.retry() {
                // A file that is being written to, or an answer that comes at the second time, has not failed.
                Retry::Later => (true, MAX_ATTEMPTS),
                // A refusal that is about this key only: nothing tells a long-running process that it is lifted.
                Retry::Fatal => (pipeline.endurance.is_some(), 1),
                Retry::Never => (false, 1),
            };
            let last = job.attempts + 1 >= MAX_ATTEMPTS && pipeline.endurance.is_none();
            if again && !last {
                tracing::debug!(path = %job.path, error = %crate::model::chain(&error), "trying again later");
            }
            // What keeps failing is written down, once.
            let worth_telling = !again || last || (job.attempts + 1 == told_after);
            if worth_telling && let Err(error) = act::give_up(&pipeline, &job.path, known.row.as_ref(), &error).await {
                pipeline.put_back(&job);
                return pipeline.stop_or_wait(error);
            }
            if again && !last {
                pipeline.report.tried_again.fetch_add(1, Ordering::Relaxed);
            }
            match again && !last {
                true => Settled::Failed { pause: backoff(job.attempts, &mut rand::rng()) },
                false => Settled::Done,
            }
        }
    };
    if let Settled::Done | Settled::Untouched = settled {
        pipeline.report.settled.fetch_add(1, Ordering::Relaxed);
    }
    pipeline.feed.settle(&job, settled);
    Ok(())
}

async fn attempt(pipeline: &Pipeline, job: &Job, known: &mut KnownPath) -> Result<Settled, Failure> {
    let local = match known.seen.take().and_then(Seen::fresh) {
        Some(local) => local,
        None => look(pipeline, &job.path).await?,
    };
    if matches!(local, Local::Unknown(_)) && is_hidden(pipeline, &job.path).await? {
        // Below a mount that is in doubt, as the folder's state says: the file has not failed.
        return Ok(Settled::Untouched);
    }
    let row = known.row.as_ref();
    let decision = plan::decide(&local, row, &job.hint.remote, pipeline.folder.delete);
    let work = Work {
        pipeline,
        path: &job.path,
        row,
        candidates: &known.candidates,
        missed: pipeline.is_missed(job, &local),
        told: pipeline.endurance.is_some() && !job.hint.by_reconciliation,
    };
    match (&decision, local) {
        (_, Local::Unknown(why)) => return Err(PathError::Unseen(why).into()),
        (Decision::Upload(_) | Decision::Adopt | Decision::Compare(_), Local::Present(meta)) => {
            let settled = with_content(&work, job, &decision, meta).await?;
            look_once_more(&work, known.losses).await?;
            return Ok(settled);
        }
        (Decision::Resume, Local::Present(meta)) => work.resume(&meta).await?,
        (Decision::DropRow(reason), _) => work.drop_row(*reason).await?,
        (Decision::Keep, _) => work.keep().await?,
        // Its deletion is judged together with others, never by itself.
        (Decision::Delete, _) => pipeline.found_absent(&job.path).await?,
        (
            Decision::Nothing
            | Decision::Foreign
            | Decision::Upload(_)
            | Decision::Adopt
            | Decision::Compare(_)
            | Decision::Resume,
            _,
        ) => return Ok(Settled::Untouched),
    }
    Ok(Settled::Done)
}

async fn look(pipeline: &Pipeline, path: &Arc<RelPath>) -> Result<Local, SyncError> {
    let (root, path) = (Arc::clone(&pipeline.root), Arc::clone(path));
    blocking("look", move || root.look(&path)).await
}

async fn is_hidden(pipeline: &Pipeline, path: &Arc<RelPath>) -> Result<bool, SyncError> {
    let (root, path) = (Arc::clone(&pipeline.root), Arc::clone(path));
    blocking("look", move || root.hides(&path)).await
}

/// A file that was read and recorded may have gone with its directory meanwhile. Events tell of the directory only, and what has
/// gone from there is found by its row, which a new file did not have yet, and one that is being deleted may have lost. From now
/// on it has one.
///
/// `losses` is how many there were before the first look. Nothing that was lost since then is nothing that it went with: what is
/// lost is counted before its rows are looked for, so that one of the two sees the other.
async fn look_once_more(work: &Work<'_>, losses: u64) -> Result<(), SyncError> {
    let pipeline = work.pipeline;
    let had_row = work.row.is_some_and(|row| row.state != RowState::Deleting);
    if pipeline.endurance.is_none() || had_row || pipeline.losses.load(Ordering::SeqCst) == losses {
        return Ok(());
    }
    match look(pipeline, work.path).await? {
        Local::Present(_) => {}
        Local::Absent | Local::Skipped(_) | Local::Unknown(_) => {
            pipeline.feed.nominate_event(RelPath::clone(work.path), Scope::Path);
        }
    }
    Ok(())
}

/// The part of a path's life that needs its content.
async fn with_content(work: &Work<'_>, job: &Job, decision: &Decision, meta: FileMeta) -> Result<Settled, Failure> {
    let pipeline = work.pipeline;
    let key = pipeline.key(work.path);
    if key.is_too_long() {
        return Err(PathError::KeyTooLong { length: key.as_str().len() }.into());
    }
    let grain = plan::grain(&meta.fingerprint, pipeline.root.is_remote());
    let eager = pipeline.endurance.as_ref().is_some_and(|endurance| endurance.eager);
    if !eager && !job.deferred && plan::is_racy(&meta.fingerprint, Stamp::from_system(SystemTime::now()), grain) {
        // A stamp's grain later, its fingerprint can be believed.
        return Ok(Settled::Deferred { pause: grain + Duration::from_millis(1) });
    }
    let (file, content, guard) = read(work, &meta).await?;
    // Two stamps in one tick look alike: this file is hardly ever at rest, and is tried again like one that changed.
    if !eager && plan::may_be_torn(&content.meta.fingerprint, content.began, grain) {
        return Err(PathError::Read(ReadError::Changed).into());
    }
    let size = content.meta.fingerprint.size;
    let conclusion = plan::conclude(decision, size, content.digest, work.row, &job.hint.remote);
    let racy = plan::is_racy(&content.meta.fingerprint, content.began, grain);
    let source = act::Source { file, content, key, racy, guard };
    let touched = matches!(conclusion, Conclusion::Touch);
    match conclusion {
        Conclusion::Upload => work.upload(source, cause_of(decision)).await?,
        Conclusion::Touch => work.touch(&source).await?,
        Conclusion::Adopt => work.adopt(&source, listed_etag(&job.hint.remote), None).await?,
        Conclusion::AdoptIfComposite(part_sizes) => {
            let etag = listed_etag(&job.hint.remote);
            if is_composite(pipeline, &source, &part_sizes, etag.as_ref()).await? {
                work.adopt(&source, etag, None).await?;
            } else {
                work.adopt_by_metadata(source).await?;
            }
        }
        Conclusion::AdoptByMetadata => work.adopt_by_metadata(source).await?,
    }
    // Looked at again when its stamps can be believed: a write within their grain would not have shown.
    Ok(if eager && racy && !job.deferred {
        Settled::Deferred { pause: until_round(Stamp::from_system(SystemTime::now()), grain) }
    } else if touched {
        Settled::Untouched
    } else {
        Settled::Done
    })
}

/// From now until a round moment after the grain, so that files that are saved one by one are looked at again together.
fn until_round(now: Stamp, grain: Duration) -> Duration {
    const ROUND: Duration = Duration::from_millis(500);
    let after = grain + Duration::from_millis(1);
    let round = ROUND.as_nanos() as i64;
    let past = now.0.saturating_add(after.as_nanos() as i64).rem_euclid(round);
    after + Duration::from_nanos((round - past) as u64)
}

fn cause_of(decision: &Decision) -> plan::Cause {
    match decision {
        Decision::Upload(cause) | Decision::Compare(cause) => *cause,
        Decision::Adopt => plan::Cause::Changed,
        Decision::Nothing
        | Decision::Resume
        | Decision::Delete
        | Decision::DropRow(_)
        | Decision::Keep
        | Decision::Foreign => plan::Cause::New,
    }
}

fn listed_etag(remote: &Remote) -> Option<ETag> {
    match remote {
        Remote::Present(listed) => Some(listed.etag.clone()),
        Remote::Missing | Remote::NotKnown | Remote::Doubtful => None,
    }
}

/// Opens and reads the file: a small one into memory, within the byte budget; of a large one only the digests.
async fn read(work: &Work<'_>, meta: &FileMeta) -> Result<(Arc<File>, Content, Option<BudgetGuard>), Failure> {
    let pipeline = work.pipeline;
    let (size, part_size) = (meta.fingerprint.size, pipeline.bounds.part_size);
    let keep = size <= IN_MEMORY.min(part_size);
    let guard = match keep {
        true => tokio::select! {
            guard = pipeline.bounds.budget.take(size) => Some(guard),
            () = pipeline.cancel.cancelled() => return Err(Failure::Cancelled),
        },
        false => None,
    };
    let (root, path, seen) = (Arc::clone(&pipeline.root), Arc::clone(work.path), meta.fingerprint);
    let grain = plan::grain(&seen, root.is_remote());
    let eager = pipeline.endurance.as_ref().is_some_and(|endurance| endurance.eager);
    let (cancel, budget) = (pipeline.cancel.clone(), Arc::clone(&pipeline.bounds.budget));
    let read = blocking("read", move || {
        let (file, meta) = root.open_file(&path).map_err(|local| match local {
            Local::Unknown(why) => PathError::Unseen(why),
            Local::Present(_) | Local::Absent | Local::Skipped(_) => PathError::Read(ReadError::Changed),
        })?;
        // The budget was taken for the size seen; a file that has grown meanwhile is read another time.
        if meta.fingerprint.size != seen.size {
            return Err(PathError::Read(ReadError::Changed));
        }
        let wanted = if keep { Wanted::Bytes(&budget) } else { Wanted::Parts(model::part_size(size, part_size)) };
        let go_on = |_| keep || !cancel.is_cancelled();
        let content = hash::read(&file, meta, wanted, &go_on).map_err(PathError::Read)?;
        if eager && plan::may_be_torn(&content.meta.fingerprint, content.began, grain) {
            hash::confirm(&file, &content, &go_on).map_err(PathError::Read)?;
        }
        Ok((Arc::new(file), content))
    })
    .await?;
    match read {
        Ok((file, content)) => Ok((file, content, guard)),
        Err(PathError::Read(ReadError::Cancelled)) => Err(Failure::Cancelled),
        Err(error) => Err(error.into()),
    }
}

/// Whether the ETag is the one that a multipart upload of this content in parts of one of these sizes has.
async fn is_composite(
    pipeline: &Pipeline,
    source: &act::Source,
    part_sizes: &[u64],
    etag: Option<&ETag>,
) -> Result<bool, Failure> {
    let Some((hex, _)) = etag.and_then(|etag| etag.as_str().split_once('-')) else { return Ok(false) };
    for &part_size in part_sizes {
        let (file, size) = (Arc::clone(&source.file), source.content.meta.fingerprint.size);
        let cancel = pipeline.cancel.clone();
        let digest =
            blocking("hash parts", move || hash::composite_md5(&file, size, part_size, &|_| !cancel.is_cancelled()))
                .await?;
        match digest {
            Ok(digest) if digest.to_hex().eq_ignore_ascii_case(hex) => return Ok(true),
            Ok(_) => {}
            Err(ReadError::Cancelled) => return Err(Failure::Cancelled),
            Err(error) => return Err(PathError::Read(error).into()),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_looked_at_again_is_looked_at_together_and_after_the_grain(now in any::<i32>(), grain in 0_u64..3_000) {
            let (now, grain) = (Stamp(i64::from(now) * 1_000), Duration::from_millis(grain));
            let pause = until_round(now, grain);
            prop_assert!(pause > grain && pause <= grain + Duration::from_millis(501));
            prop_assert_eq!((now.0 + pause.as_nanos() as i64) % 500_000_000, 0);
        }
    }
}
