//! The life of one path: look, decide, read, conclude, act, settle.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::task::{JoinError, JoinSet};

use crate::catalog;
use crate::local::hash::{self, Content, ReadError};
use crate::model::{ETag, FileMeta, Local, Remote, Retry, Row, Stamp};
use crate::plan::{self, Conclusion, Decision};
use crate::queue::{Job, Settled, backoff};
use crate::remote::BudgetGuard;
use crate::sync::act::{self, Work};
use crate::sync::error::{Failure, PathError, SyncError};
use crate::sync::pipeline::{MAX_ATTEMPTS, Mode, Pipeline, blocking};

/// Paths whose rows are fetched in one statement.
const BATCH: usize = 256;
/// Larger files are read twice, once for the digest and once for the upload, instead of being held.
const IN_MEMORY: u64 = 8 << 20;

/// Works on the queue until it is closed and empty, or everything is to stop. The first error that concerns the whole folder
/// stops the others and is returned, after what is under way has ended.
pub async fn work(pipeline: &Arc<Pipeline>) -> Result<(), SyncError> {
    // More than there are slots, so that reading and recording overlap with requests.
    let crowd = pipeline.bounds.workers * 2 + 8;
    let mut tasks = JoinSet::new();
    let mut result = Ok(());
    while result.is_ok() {
        let jobs = tokio::select! {
            biased;
            () = pipeline.cancel.cancelled() => break,
            Some(ended) = tasks.join_next() => {
                result = flatten(ended);
                continue;
            }
            jobs = pipeline.feed.next(BATCH) => match jobs {
                Some(jobs) => jobs,
                None => break,
            },
        };
        result = start(pipeline, jobs, &mut tasks, crowd).await;
    }
    if result.is_err() {
        pipeline.cancel.cancel();
    }
    while let Some(ended) = tasks.join_next().await {
        result = result.and(flatten(ended));
    }
    result
}

fn flatten(ended: Result<Result<(), SyncError>, JoinError>) -> Result<(), SyncError> {
    ended.unwrap_or(Err(SyncError::Task { task: "path" }))
}

/// Fetches the rows of a batch and starts its paths, as many at once as the crowd allows.
async fn start(
    pipeline: &Arc<Pipeline>,
    jobs: Vec<Job>,
    tasks: &mut JoinSet<Result<(), SyncError>>,
    crowd: usize,
) -> Result<(), SyncError> {
    let paths: Vec<&str> = jobs.iter().map(|job| job.path.as_str()).collect();
    let inodes: Vec<u64> = jobs.iter().filter_map(|job| job.hint.new_inode).collect();
    let rows = pipeline.rows(&paths).await?;
    let mut rows: HashMap<String, Row> = rows.into_iter().map(|row| (row.path.as_str().to_owned(), row)).collect();
    let mut same_inode: HashMap<u64, Vec<Row>> = HashMap::new();
    for row in pipeline.rows_by_inode(&inodes).await? {
        if let Some(fingerprint) = row.fingerprint {
            same_inode.entry(fingerprint.inode).or_default().push(row);
        }
    }
    for job in jobs {
        while tasks.len() >= crowd {
            if let Some(ended) = tasks.join_next().await {
                flatten(ended)?;
            }
        }
        // A batch is larger than the crowd: what of it has not begun does not begin any more.
        if pipeline.cancel.is_cancelled() {
            break;
        }
        let row = rows.remove(job.path.as_str());
        let candidates = job.hint.new_inode.and_then(|inode| same_inode.get(&inode)).cloned().unwrap_or_default();
        tasks.spawn(live(Arc::clone(pipeline), job, row, candidates));
    }
    Ok(())
}

/// One path from its look to its settling.
async fn live(pipeline: Arc<Pipeline>, job: Job, row: Option<Row>, candidates: Vec<Row>) -> Result<(), SyncError> {
    let outcome = attempt(&pipeline, &job, row.as_ref(), &candidates).await;
    let settled = match outcome {
        Ok(settled) => settled,
        Err(Failure::Cancelled) => Settled::Done,
        Err(Failure::Folder(error)) => {
            pipeline.feed.settle(&job, Settled::Done);
            return Err(error);
        }
        Err(Failure::Path(error)) => match error.retry() {
            Retry::Later if job.attempts + 1 < MAX_ATTEMPTS => {
                tracing::debug!(path = %job.path, error = &error as &dyn std::error::Error, "trying again later");
                Settled::Failed { pause: backoff(job.attempts, &mut rand::rng()) }
            }
            Retry::Later | Retry::Never | Retry::Fatal => {
                act::give_up(&pipeline, &job.path, row.as_ref(), &error).await?;
                Settled::Done
            }
        },
    };
    if settled == Settled::Done {
        pipeline.report.settled.fetch_add(1, Ordering::Relaxed);
    }
    pipeline.feed.settle(&job, settled);
    Ok(())
}

async fn attempt(pipeline: &Pipeline, job: &Job, row: Option<&Row>, candidates: &[Row]) -> Result<Settled, Failure> {
    let (root, path) = (Arc::clone(&pipeline.root), Arc::clone(&job.path));
    let local = blocking("look", move || root.look(&path)).await?;
    let decision = plan::decide(&local, row, &job.hint.remote, pipeline.folder.delete);
    let work = Work { pipeline, path: &job.path, row, candidates };
    match (&decision, local) {
        (_, Local::Unknown(why)) => return Err(PathError::Unseen(why).into()),
        (Decision::Upload(_) | Decision::Adopt | Decision::Compare(_), Local::Present(meta)) => {
            return with_content(&work, job, &decision, meta).await;
        }
        (Decision::Resume, Local::Present(meta)) => work.resume(&meta).await?,
        (Decision::DropRow(reason), _) => work.drop_row(*reason).await?,
        (Decision::Keep, _) => work.keep().await?,
        // It has gone since it was nominated: its deletion joins the others of the pass.
        (Decision::Delete, _) => {
            if let (Mode::Act(_), Some(id)) = (&pipeline.mode, pipeline.id) {
                catalog::deletes::spool(&pipeline.catalog, id, pipeline.pass, std::slice::from_ref(&*job.path)).await?;
            }
        }
        (
            Decision::Nothing
            | Decision::Foreign
            | Decision::Upload(_)
            | Decision::Adopt
            | Decision::Compare(_)
            | Decision::Resume,
            _,
        ) => {}
    }
    Ok(Settled::Done)
}

/// The part of a path's life that needs its content.
async fn with_content(work: &Work<'_>, job: &Job, decision: &Decision, meta: FileMeta) -> Result<Settled, Failure> {
    let pipeline = work.pipeline;
    let key = pipeline.key(work.path);
    if key.is_too_long() {
        return Err(PathError::KeyTooLong { length: key.as_str().len() }.into());
    }
    let grain = plan::grain(&meta.fingerprint, pipeline.root.is_remote());
    if !job.deferred && plan::is_racy(&meta.fingerprint, Stamp::from_system(SystemTime::now()), grain) {
        // A stamp's grain later, its fingerprint can be believed.
        return Ok(Settled::Deferred { pause: grain + Duration::from_millis(1) });
    }
    let (file, content, guard) = read(work, &meta).await?;
    let size = content.meta.fingerprint.size;
    let conclusion = plan::conclude(decision, size, content.digest, work.row, &job.hint.remote);
    let racy = plan::is_racy(&content.meta.fingerprint, content.began, grain);
    let source = act::Source { file, content, key, racy, guard };
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
    Ok(Settled::Done)
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
        Remote::Missing | Remote::NotKnown => None,
    }
}

/// Opens and reads the file: a small one into memory, within the byte budget; of a large one only the digest.
async fn read(work: &Work<'_>, meta: &FileMeta) -> Result<(Arc<File>, Content, Option<BudgetGuard>), Failure> {
    let pipeline = work.pipeline;
    let keep = meta.fingerprint.size <= IN_MEMORY.min(pipeline.bounds.part_size);
    let guard = match keep {
        true => tokio::select! {
            guard = pipeline.bounds.budget.take(meta.fingerprint.size) => Some(guard),
            () = pipeline.cancel.cancelled() => return Err(Failure::Cancelled),
        },
        false => None,
    };
    let (root, path, seen) = (Arc::clone(&pipeline.root), Arc::clone(work.path), meta.fingerprint);
    let cancel = pipeline.cancel.clone();
    let read = blocking("read", move || {
        let (file, meta) = root.open_file(&path).map_err(|local| match local {
            Local::Unknown(why) => PathError::Unseen(why),
            Local::Present(_) | Local::Absent | Local::Skipped(_) => PathError::Read(ReadError::Changed),
        })?;
        // The budget was taken for the size seen; a file that has grown meanwhile is read another time.
        if meta.fingerprint.size != seen.size {
            return Err(PathError::Read(ReadError::Changed));
        }
        let content = hash::read(&file, meta, keep, &|_| keep || !cancel.is_cancelled()).map_err(PathError::Read)?;
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
            blocking("hash parts", move || hash::composite_md5(&file, size, part_size, &|_| !cancel.is_cancelled())).await?;
        match digest {
            Ok(digest) if digest.to_hex().eq_ignore_ascii_case(hex) => return Ok(true),
            Ok(_) => {}
            Err(ReadError::Cancelled) => return Err(Failure::Cancelled),
            Err(error) => return Err(PathError::Read(error).into()),
        }
    }
    Ok(false)
}
