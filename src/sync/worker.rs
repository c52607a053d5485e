//! Who works on the queue: takes paths in batches, fetches what the catalog knows of them, and runs as many at once as there
//! is room for.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use crate::queue::{Job, Scope, Settled};
use crate::sync::error::SyncError;
use crate::sync::known::Known;
use crate::sync::life::live;
use crate::sync::pipeline::Pipeline;
use crate::sync::reconcile::{Extent, reconcile};

/// Paths whose rows are fetched in one statement.
const BATCH: usize = 256;
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
                    pipeline.put_back(job);
                }
                return pipeline.stop_or_wait(error);
            }
        };
        for job in jobs {
            // The rest of the batch is left for the next pass.
            if pipeline.cancel.is_cancelled() {
                break;
            }
            if job.scope == Scope::Tree || known.was_directory(&job.path) {
                self.waiting_trees.push_back(job);
                self.start_trees();
                continue;
            }
            while self.paths.len() >= self.crowd {
                if let Some(ended) = self.paths.join_next().await {
                    flatten(ended)?;
                }
            }
            let known = known.take(&job);
            self.paths.spawn(live(Arc::clone(pipeline), job, known));
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

/// A directory as a whole: what lies below it is compared with the rows, and what differs is nominated.
async fn go_through(pipeline: Arc<Pipeline>, job: Job) -> Result<(), SyncError> {
    match reconcile(&pipeline, &Extent::Tree(Arc::clone(&job.path)), pipeline.pass).await {
        Ok(_) => {
            pipeline.feed.settle(&job, Settled::Done);
            Ok(())
        }
        Err(error) => {
            pipeline.put_back(&job);
            pipeline.stop_or_wait(error)
        }
    }
}
