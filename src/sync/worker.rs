//! The life of one path: look, decide, read, conclude, act, settle.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::task::{JoinError, JoinSet};

use crate::local::hash::{self, Content, ReadError};
use crate::model::{ETag, FileMeta, Local, RelPath, Remote, Retry, Row, Stamp};
use crate::plan::{self, Conclusion, Decision};
use crate::queue::{Job, Scope, Settled, backoff};
use crate::remote::BudgetGuard;
use crate::sync::act::{self, Work};
use crate::sync::error::{Failure, PathError, SyncError};
use crate::sync::pipeline::{MAX_ATTEMPTS, Pipeline, blocking};
use crate::sync::reconcile::{Extent, reconcile};

/// Paths whose rows are fetched in one statement.
const BATCH: usize = 256;
/// Larger files are read twice, once for the digest and once for the upload, instead of being held.
const IN_MEMORY: u64 = 8 << 20;
/// A path that met an outage is ready again at once when the gate opens; this only keeps it from spinning until it closes.
const PUT_BACK: Duration = Duration::from_millis(200);

/// Directories that are gone through at once: each waits for room in the queue that the paths' workers make.
const TREES: usize = 4;

/// Works on the queue until it is closed and empty, or everything is to stop.
///
/// In a single pass, the first error that concerns the whole folder stops the others and is returned, after what is under way
/// has ended. In a long-running process it closes the gate, and the path is tried again when the gate is open.
pub async fn work(pipeline: &Arc<Pipeline>) -> Result<(), SyncError> {
    let mut crew = Crew {
        pipeline,
        // More than there are slots, so that reading and recording overlap with requests.
        crowd: pipeline.bounds.throttle.most() * 2 + 8,
        paths: JoinSet::new(),
        trees: JoinSet::new(),
        waiting_trees: VecDeque::new(),
    };
    let mut result = crew.run().await;
    if result.is_err() {
        pipeline.cancel.cancel();
    }
    while let Some(ended) = crew.paths.join_next().await {
        result = result.and(flatten(ended));
    }
    // A tree that waits for room in the queue observes the cancellation; otherwise the queue would not be empty.
    while let Some(ended) = crew.trees.join_next().await {
        result = result.and(flatten(ended));
    }
    result
}

fn flatten(ended: Result<Result<(), SyncError>, JoinError>) -> Result<(), SyncError> {
    ended.unwrap_or(Err(SyncError::Task { task: "path" }))
}

/// Everybody who works on the queue.
struct Crew<'p> {
    pipeline: &'p Arc<Pipeline>,
    crowd: usize,
    paths: JoinSet<Result<(), SyncError>>,
    trees: JoinSet<Result<(), SyncError>>,
    waiting_trees: VecDeque<Job>,
}

impl Crew<'_> {
    async fn run(&mut self) -> Result<(), SyncError> {
        let pipeline = self.pipeline;
        loop {
            if let Some(endurance) = &pipeline.endurance {
                tokio::select! {
                    () = pipeline.cancel.cancelled() => return Ok(()),
                    () = endurance.gate.open() => {}
                }
            }
            let jobs = tokio::select! {
                biased;
                () = pipeline.cancel.cancelled() => return Ok(()),
                Some(ended) = self.paths.join_next() => {
                    flatten(ended)?;
                    continue;
                }
                Some(ended) = self.trees.join_next() => {
                    flatten(ended)?;
                    self.start_trees();
                    continue;
                }
                jobs = pipeline.feed.next(BATCH) => match jobs {
                    Some(jobs) => jobs,
                    None => return Ok(()),
                },
            };
            self.start(jobs).await?;
        }
    }

    /// Fetches the rows of a batch and starts its paths, as many at once as the crowd allows.
    async fn start(&mut self, jobs: Vec<Job>) -> Result<(), SyncError> {
        let pipeline = self.pipeline;
        let mut known = match Known::of(pipeline, &jobs).await {
            Ok(known) => known,
            Err(error) => {
                for job in &jobs {
                    put_back(pipeline, job);
                }
                return stop_or_wait(pipeline, error);
            }
        };
        for job in jobs {
            // The rest of the batch is left for the next pass.
            if pipeline.cancel.is_cancelled() {
                break;
            }
            if job.scope == Scope::Tree || known.had_something_below.contains(job.path.as_str()) {
                self.waiting_trees.push_back(job);
                self.start_trees();
                continue;
            }
            while self.paths.len() >= self.crowd {
                if let Some(ended) = self.paths.join_next().await {
                    flatten(ended)?;
                }
            }
            let row = known.rows.remove(job.path.as_str());
            let inode = job.hint.new_inode.or_else(|| known.inodes.get(job.path.as_str()).copied());
            let candidates = inode.and_then(|inode| known.same_inode.get(&inode)).cloned().unwrap_or_default();
            self.paths.spawn(live(Arc::clone(pipeline), job, row, candidates));
        }
        Ok(())
    }

    fn start_trees(&mut self) {
        while self.trees.len() < TREES {
            let Some(job) = self.waiting_trees.pop_front() else { return };
            self.trees.spawn(go_through(Arc::clone(self.pipeline), job));
        }
    }
}

/// What the catalog knows of a batch.
struct Known {
    rows: HashMap<String, Row>,
    same_inode: HashMap<u64, Vec<Row>>,
    /// Paths without a row, that have rows below them: they were directories.
    had_something_below: HashSet<String>,
    /// Of files that events have told of and that have no row.
    inodes: HashMap<String, u64>,
}

impl Known {
    async fn of(pipeline: &Pipeline, jobs: &[Job]) -> Result<Self, SyncError> {
        let paths: Vec<&str> = jobs.iter().map(|job| job.path.as_str()).collect();
        let rows = pipeline.rows(&paths).await?;
        let rows: HashMap<String, Row> = rows.into_iter().map(|row| (row.path.as_str().to_owned(), row)).collect();
        let events: Vec<&str> = jobs
            .iter()
            .filter(|job| {
                job.scope == Scope::Path && !job.hint.by_reconciliation && !rows.contains_key(job.path.as_str())
            })
            .map(|job| job.path.as_str())
            .collect();
        let had_something_below = pipeline.paths_with_rows_below(&events).await?.into_iter().collect();
        // The row of a file that has none may be found under another path by its inode.
        let without_row = jobs.iter().filter(|job| !rows.contains_key(job.path.as_str()));
        let mut inodes: Vec<u64> = without_row.filter_map(|job| job.hint.new_inode).collect();
        let told: Vec<RelPath> = jobs
            .iter()
            .filter(|job| job.hint.new_inode.is_none() && events.contains(&job.path.as_str()))
            .map(|job| RelPath::clone(&job.path))
            .collect();
        let seen = look_at_inodes(pipeline, told).await?;
        inodes.extend(seen.values());
        let mut same_inode: HashMap<u64, Vec<Row>> = HashMap::new();
        for row in pipeline.rows_by_inode(&inodes).await? {
            if let Some(fingerprint) = row.fingerprint {
                same_inode.entry(fingerprint.inode).or_default().push(row);
            }
        }
        Ok(Self { rows, same_inode, had_something_below, inodes: seen })
    }
}

/// The inodes of the regular files among these paths. A rename tells of two paths and of no more.
async fn look_at_inodes(pipeline: &Pipeline, paths: Vec<RelPath>) -> Result<HashMap<String, u64>, SyncError> {
    if paths.is_empty() {
        return Ok(HashMap::new());
    }
    let root = Arc::clone(&pipeline.root);
    let look = move || {
        let inode = |path: RelPath| match root.look(&path) {
            Local::Present(meta) => Some((path.as_str().to_owned(), meta.fingerprint.inode)),
            Local::Absent | Local::Skipped(_) | Local::Unknown(_) => None,
        };
        paths.into_iter().filter_map(inode).collect()
    };
    blocking("look", look).await
}

/// An error that concerns the whole folder ends a single pass; a long-running process waits for better times.
fn stop_or_wait(pipeline: &Pipeline, error: SyncError) -> Result<(), SyncError> {
    match &pipeline.endurance {
        Some(endurance) if !pipeline.cancel.is_cancelled() => {
            endurance.gate.close(&pipeline.folder.name, &error);
            Ok(())
        }
        Some(_) => Ok(()),
        None => Err(error),
    }
}

/// Leaves a path in the queue for when the trouble is over; a single pass, which ends with it, lets it go.
fn put_back(pipeline: &Pipeline, job: &Job) {
    let settled = match &pipeline.endurance {
        Some(_) => Settled::Deferred { pause: PUT_BACK },
        None => Settled::Done,
    };
    pipeline.feed.settle(job, settled);
}

/// A directory as a whole: what lies below it is compared with the rows, and what differs is nominated.
async fn go_through(pipeline: Arc<Pipeline>, job: Job) -> Result<(), SyncError> {
    match reconcile(&pipeline, &Extent::Tree(Arc::clone(&job.path)), pipeline.pass).await {
        Ok(_) => {
            pipeline.feed.settle(&job, Settled::Done);
            Ok(())
        }
        Err(error) => {
            put_back(&pipeline, &job);
            stop_or_wait(&pipeline, error)
        }
    }
}

/// One path from its look to its settling.
async fn live(pipeline: Arc<Pipeline>, job: Job, row: Option<Row>, candidates: Vec<Row>) -> Result<(), SyncError> {
    let settled = match attempt(&pipeline, &job, row.as_ref(), &candidates).await {
        Ok(settled) => settled,
        Err(Failure::Cancelled) => Settled::Done,
        Err(Failure::Folder(error)) => {
            put_back(&pipeline, &job);
            return stop_or_wait(&pipeline, error);
        }
        Err(Failure::Path(error)) => {
            let again = error.retry() == Retry::Later;
            let last = job.attempts + 1 >= MAX_ATTEMPTS && pipeline.endurance.is_none();
            if again && !last {
                tracing::debug!(path = %job.path, error = &error as &dyn std::error::Error, "trying again later");
            }
            // What keeps failing is written down, once; a file that is being written to has not failed.
            let worth_telling = !again || last || (job.attempts + 1 == MAX_ATTEMPTS);
            if worth_telling && let Err(error) = act::give_up(&pipeline, &job.path, row.as_ref(), &error).await {
                put_back(&pipeline, &job);
                return stop_or_wait(&pipeline, error);
            }
            match again && !last {
                true => Settled::Failed { pause: backoff(job.attempts, &mut rand::rng()) },
                false => Settled::Done,
            }
        }
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
    let work = Work { pipeline, path: &job.path, row, candidates, by_reconciliation: job.hint.by_reconciliation };
    match (&decision, local) {
        (_, Local::Unknown(why)) => return Err(PathError::Unseen(why).into()),
        (Decision::Upload(_) | Decision::Adopt | Decision::Compare(_), Local::Present(meta)) => {
            return with_content(&work, job, &decision, meta).await;
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
        Settled::Deferred { pause: grain + Duration::from_millis(1) }
    } else {
        Settled::Done
    })
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
