//! The proof that folder, catalog and bucket hold the same: the three streams of a reconciliation, every file read, and, if
//! wanted, every object.
//!
//! What differs is looked at again before it is called a difference: files change and other agents work meanwhile. With
//! `repair`, what can be mended without guessing is nominated, and goes the way of everything that is synced.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::catalog;
use crate::model::{Entry, FolderId, Local, RelPath, Remote};
use crate::sync::error::SyncError;
use crate::sync::pass::{self, Worlds};
use crate::sync::pipeline::{Mode, Pipeline};
use crate::sync::planned::Planner;
use crate::sync::reconcile::Extent;
use crate::sync::record::Recorder;
use crate::sync::report::Report;
use crate::sync::streams::{Sight, Streams};
use crate::sync::verify::doubt::Doubts;
use crate::sync::verify::judge::{Content, Kind, Observation};
use crate::sync::worker;

mod doubt;
pub mod judge;
mod observe;
mod outcome;
mod remedy;

pub(crate) use observe::read_file;
pub use outcome::{Difference, Options, Tell, Verified};
pub use remedy::Remedy;

/// Files that are read at once: enough to keep a disk and the processors busy.
const READERS: usize = 16;

/// What the parts of a verification share.
struct Verifier {
    pipeline: Arc<Pipeline>,
    worlds: Worlds,
    options: Options,
    tell: Tell,
    /// Reading and fetching, as the progress bars show it.
    report: Arc<Report>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    files: AtomicU64,
    objects: AtomicU64,
    /// Bytes of them.
    fetched: AtomicU64,
    restless: AtomicU64,
    differing: AtomicU64,
    nominated: AtomicU64,
    differences: Mutex<BTreeMap<Kind, u64>>,
    /// It was said that an agent is being waited for.
    waited: AtomicBool,
}

/// A path that does not look right.
struct Candidate {
    path: RelPath,
    seen: Observation,
}

/// Compares the three worlds of a folder. `known`: as the catalog knows it. Reading is counted in `report`.
///
/// # Errors
/// If one of the worlds can't be used.
pub async fn verify(
    worlds: &Worlds,
    known: Option<FolderId>,
    options: Options,
    tell: Tell,
    report: Arc<Report>,
    cancel: CancellationToken,
) -> Result<Verified, SyncError> {
    let (root, _) = pass::open_root(&worlds.folder).await?;
    let (mut known, mut number, mut mode, mut recording) =
        (known, 0, Mode::Plan(Arc::new(Planner::new(Arc::new(|_| {})))), None);
    if options.repair {
        let record = worlds.claim().await?;
        (known, number) = (Some(record.id), catalog::folder::begin_pass(&worlds.catalog, record.id).await?.number);
        let (recorder, task) = Recorder::start(worlds.catalog.clone(), record.id);
        (mode, recording) = (Mode::Act(recorder), Some(task));
    }
    if let Some(id) = known {
        root.set_mounts(catalog::mount::known(&worlds.catalog, id).await?.mounts);
    }
    let pipeline = pass::pipeline(worlds, root, known, number, known.is_some(), mode, cancel);
    let verifier = Arc::new(Verifier {
        pipeline: Arc::clone(&pipeline),
        worlds: worlds.clone(),
        options,
        tell,
        report,
        counts: Counts::default(),
    });
    let shared = Arc::clone(&pipeline);
    let working = tokio::spawn(async move { worker::work(&shared).await });
    let result = go_through(&verifier).await;
    pipeline.feed.close();
    if result.is_err() {
        pipeline.cancel.cancel();
    }
    let worked = working.await.map_err(|_| SyncError::Task { task: "worker" })?;
    let verified = verifier.verified();
    drop((verifier, pipeline));
    if let Some(recording) = recording {
        recording.await.map_err(|_| SyncError::Task { task: "recorder" })?;
    }
    worked?;
    let merged = result?;
    Ok(Verified {
        checked: merged.checked,
        foreign: merged.foreign,
        skipped: merged.skipped,
        unseen: merged.unseen,
        interrupted: verified.interrupted || !merged.ended,
        ..verified
    })
}

/// What the merge has counted.
#[derive(Default)]
struct Merged {
    ended: bool,
    checked: u64,
    foreign: u64,
    skipped: u64,
    unseen: u64,
}

/// Goes through all paths; the content of several is compared at once, and what does not look right is looked at again.
async fn go_through(verifier: &Arc<Verifier>) -> Result<Merged, SyncError> {
    let pipeline = &verifier.pipeline;
    let mut streams = Streams::open(pipeline, &Extent::Folder).await?;
    let mut going =
        Going { verifier, merged: Merged::default(), reading: JoinSet::new(), doubts: Doubts::new(verifier) };
    while !pipeline.cancel.is_cancelled() {
        let Some(seen) = streams.next(pipeline).await? else {
            going.merged.ended = true;
            break;
        };
        going.take(seen).await?;
    }
    while let Some(ended) = going.reading.join_next().await {
        going.doubt(ended).await?;
    }
    going.doubts.end().await?;
    if going.merged.ended {
        streams.end(pipeline).await?;
    }
    Ok(going.merged)
}

struct Going<'v> {
    verifier: &'v Arc<Verifier>,
    merged: Merged,
    reading: JoinSet<Result<Option<Candidate>, SyncError>>,
    doubts: Doubts<'v>,
}

impl Going<'_> {
    async fn take(&mut self, mut seen: Sight) -> Result<(), SyncError> {
        let Some(local) = seen.local.take() else {
            return self.take_directory(&seen).await;
        };
        self.merged.checked += 1;
        let is_entry = seen.entry.is_some();
        let remote = seen.remote(true);
        let Some(path) = seen.take_path() else { return Ok(()) };
        self.merged.skipped += u64::from(is_entry && matches!(local, Local::Skipped(_)));
        match (&local, &seen.row) {
            // Its directory has been named.
            (Local::Unknown(_), _) if !is_entry => {
                self.merged.unseen += 1;
                return Ok(());
            }
            (Local::Absent | Local::Skipped(_), None) => {
                self.merged.foreign += u64::from(matches!(remote, Remote::Present(_)));
                return Ok(());
            }
            (Local::Present(_) | Local::Absent | Local::Skipped(_) | Local::Unknown(_), _) => {}
        }
        let seen = Observation { local, content: Content::NotRead, row: seen.row, remote, fetched: Content::NotRead };
        let candidate = Candidate { path, seen };
        let fetches = self.verifier.options.download && candidate.seen.can_be_fetched();
        if candidate.seen.wants_content().is_none() && !fetches {
            return match candidate.seen.judge().is_empty() {
                true => Ok(()),
                false => self.doubts.add(candidate).await,
            };
        }
        while self.reading.len() >= READERS {
            if let Some(ended) = self.reading.join_next().await {
                self.doubt(ended).await?;
            }
        }
        let size = candidate.seen.wants_content().map_or(0, |meta| meta.fingerprint.size);
        let object = candidate.seen.synced().filter(|_| fetches).map_or(0, |synced| synced.size);
        self.verifier.report.expect(1, size + object);
        let verifier = Arc::clone(self.verifier);
        self.reading.spawn(async move { verifier.read(candidate).await });
        Ok(())
    }

    async fn take_directory(&mut self, seen: &Sight) -> Result<(), SyncError> {
        let Some(walked) = &seen.entry else { return Ok(()) };
        match &walked.what {
            Entry::SkippedDirectory(_) => self.merged.skipped += 1,
            Entry::UnreadableDirectory(why) => {
                let detail = format!("the directory can't be listed, and nothing below it was verified: {why}");
                self.verifier.tell(&walked.path, vec![judge::Finding { kind: Kind::Unreadable, detail }], None).await;
            }
            // What is absent below one that is not the one that is known is found to be unknown when it is looked at again.
            Entry::Mount { .. } | Entry::Leaf(_) => {}
        }
        Ok(())
    }

    async fn doubt(&mut self, ended: Result<Result<Option<Candidate>, SyncError>, JoinError>) -> Result<(), SyncError> {
        match ended.unwrap_or(Err(SyncError::Task { task: "read" }))? {
            Some(candidate) => self.doubts.add(candidate).await,
            None => Ok(()),
        }
    }
}

impl Verifier {
    /// Reads what is to be read of a path; gives it back if it does not look right.
    async fn read(&self, candidate: Candidate) -> Result<Option<Candidate>, SyncError> {
        let Candidate { path, seen } = candidate;
        let seen = self.with_content(&path, seen).await?;
        self.report.settled.fetch_add(1, Ordering::Relaxed);
        self.counts.files.fetch_add(u64::from(seen.content != Content::NotRead), Ordering::Relaxed);
        Ok((!seen.judge().is_empty()).then_some(Candidate { path, seen }))
    }

    /// Tells of what is certain, and has it mended where that needs no guessing.
    async fn tell(&self, path: &RelPath, findings: Vec<judge::Finding>, seen: Option<&Observation>) {
        let hint = seen.filter(|_| self.options.repair).and_then(|seen| remedy::mend(seen, &findings));
        self.counts.differing.fetch_add(1, Ordering::Relaxed);
        let kinds: Vec<Kind> = findings.iter().map(|finding| finding.kind).collect();
        for judge::Finding { kind, detail } in findings {
            *self.counts.differences.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
            let folder = self.worlds.folder.name.clone();
            let remedy = if hint.is_some() { Remedy::Mending } else { remedy::remedy(kind, &kinds) };
            (self.tell)(Difference { folder, path: path.clone(), kind, detail, remedy });
        }
        if let Some(hint) = hint {
            self.counts.nominated.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                () = self.pipeline.feed.nominate(path.clone(), hint, Some(Instant::now())) => {}
                () = self.pipeline.cancel.cancelled() => {}
            }
        }
    }

    fn verified(&self) -> Verified {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let failed = self.pipeline.report.summary().failures.count;
        Verified {
            files: of(&self.counts.files),
            bytes: of(&self.report.bytes_sent).saturating_sub(of(&self.counts.fetched)),
            objects: of(&self.counts.objects),
            restless: of(&self.counts.restless),
            differences: self.counts.differences.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            differing: of(&self.counts.differing),
            mended: of(&self.counts.nominated).saturating_sub(failed),
            interrupted: self.pipeline.cancel.is_cancelled(),
            ..Verified::default()
        }
    }
}
