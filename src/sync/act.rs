//! The only code that changes S3 or rows, one function an act.
//!
//! The order is always object, then row: a crash between the two leaves an object without a row, which the next pass adopts,
//! and never a row that promises an object that is not there.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::catalog::record::Change;
use crate::local::hash::{Body, Content};
use crate::logging::success;
use crate::memory::BudgetGuard;
pub use crate::model::chain;
use crate::model::{Digest, ETag, EventKind, FileMeta, ObjectKey, RelPath, Row, SkipReason, Synced, millis};
use crate::plan::{self, Cause};
use crate::remote::{self, Attributes, Stored};
use crate::sync::error::{Failure, PathError, SyncError};
use crate::sync::pipeline::{Mode, Pipeline, PlannedStep};
use crate::sync::record::RecordError;
use crate::sync::uploads;

/// The largest object that S3 copies in one request.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
const MAX_COPY: u64 = 5 << 30;

/// One path under work.
pub struct Work<'a> {
    /// The folder's work that it is part of.
    pub pipeline: &'a Pipeline,
    /// Which.
    pub path: &'a Arc<RelPath>,
    /// Its row.
    pub row: Option<&'a Row>,
    /// Synced rows of the same inode, where the path has none.
    pub candidates: &'a [Row],
    /// Whether a reconciliation has found it and no event has told of it.
    pub missed: bool,
    /// Whether an event has told of it.
    pub told: bool,
}

/// A file that was read, ready to be stored.
pub struct Source {
    /// Open: what is uploaded is what was hashed, whatever the path leads to by now.
    pub file: Arc<File>,
    /// What was read.
    pub content: Content,
    /// Where it goes.
    pub key: ObjectKey,
    /// Its fingerprint can't be believed.
    pub racy: bool,
    /// Of the byte budget, held as long as the body is.
    pub guard: Option<BudgetGuard>,
}

impl Work<'_> {
    /// Sends the bytes, or lets S3 copy them from the path that the file was renamed from; then the row.
    pub async fn upload(&self, source: Source, cause: Cause) -> Result<(), Failure> {
        let began = Instant::now();
        let meta = source.content.meta;
        let renamed_from = self.candidates.iter().find(|row| {
            row.path != **self.path
                && plan::is_same_file(row, &meta.fingerprint)
                && row.synced.as_ref().is_some_and(|synced| synced.digest == source.content.digest)
        });
        if let Mode::Plan(planner) = &self.pipeline.mode {
            match renamed_from {
                Some(from) => {
                    planner.copied_from(&from.path);
                    self.plan("copy", Some(&meta), &format!("same file as {}", from.path));
                }
                None => self.plan("upload", Some(&meta), describe(cause)),
            }
            return Ok(());
        }
        if cause == Cause::Drift {
            self.pipeline.report.drift("object");
        } else if self.missed {
            self.pipeline.report.missed();
        }
        let (stored, kind, detail) = match self.copy(&source, renamed_from).await? {
            Some(stored) => (stored, EventKind::Copied, renamed_from.map(|from| from.path.as_str().to_owned())),
            None => (self.send(&source).await?, EventKind::Uploaded, None),
        };
        let Source { content, key, racy, guard, .. } = source;
        // The body has gone; the row needs no memory to speak of.
        drop(guard);
        let size = content.meta.fingerprint.size;
        let synced = Synced { size, digest: content.digest, etag: stored.etag, version: stored.version };
        let in_parts = matches!(content.body, Body::Parts(_)) && kind == EventKind::Uploaded;
        self.record_synced(meta, key.clone(), synced, racy, kind, detail).await?;
        self.measure(kind, began, &meta);
        if in_parts {
            uploads::forget(self.pipeline, self.path).await?;
        }
        let action = kind.as_str();
        let duration_ms = millis(began.elapsed());
        success!(folder = %self.pipeline.folder.name, path = %self.path, key = %key, action, size, duration_ms, "{action} {}", self.path);
        Ok(())
    }

    /// How long it took, and how long after the file's last change it was there.
    fn measure(&self, kind: EventKind, began: Instant, meta: &FileMeta) {
        let measured = &self.pipeline.report.measured;
        let took = if kind == EventKind::Copied { &measured.copy } else { &measured.upload };
        took.record(began.elapsed());
        if self.told {
            // The kernel sets it with each change, and the event follows. It may be ahead of a clock that was set back.
            let changed = UNIX_EPOCH + Duration::from_nanos(meta.fingerprint.ctime.0.max(0).unsigned_abs());
            measured.visible.record(changed.elapsed().unwrap_or_default());
        }
    }

    async fn copy(&self, source: &Source, from: Option<&Row>) -> Result<Option<Stored>, Failure> {
        let Some((from, synced)) = from.and_then(|row| Some((row, row.synced.as_ref()?))) else { return Ok(None) };
        if synced.size > MAX_COPY {
            return Ok(None);
        }
        let _slot = self.pipeline.slot().await?;
        let old_key = self.pipeline.key(&from.path);
        // The ETag of what is copied may say the MD5; that of the copy need not.
        let noted = (!plan::is_md5(&synced.etag, synced.digest)).then_some(synced.digest);
        let attributes = self.attributes(source, noted);
        let copied = self.pipeline.bucket.copy(&old_key, &synced.etag, &source.key, &attributes).await;
        match copied {
            Ok(stored) => Ok(Some(stored)),
            // The object is not what its row says, or the store can't copy: the bytes are here.
            Err(error) => {
                tracing::debug!(path = %self.path, error = %crate::model::chain(&error), "uploading instead of copying");
                Ok(None)
            }
        }
    }

    async fn send(&self, source: &Source) -> Result<Stored, Failure> {
        let (pipeline, attributes) = (self.pipeline, self.attributes(source, None));
        match &source.content.body {
            Body::Parts(parts) => uploads::send_large(pipeline, self.path, source, parts, &attributes).await,
            Body::Held(held) => {
                let _slot = pipeline.slot().await?;
                let stored = pipeline.bucket.put(&source.key, held, source.content.digest, &attributes).await;
                let stored = stored.map_err(|error| pipeline.remote_failure(error))?;
                pipeline.has_stored.store(true, Ordering::Relaxed);
                pipeline.report.bytes_sent.fetch_add(held.len(), Ordering::Relaxed);
                Ok(stored)
            }
        }
    }

    fn attributes(&self, source: &Source, md5chksum: Option<Digest>) -> Attributes {
        Attributes { content_type: remote::content_type(self.path), meta: source.content.meta, md5chksum }
    }

    /// Takes over an object that holds the content already.
    pub async fn adopt(&self, source: &Source, etag: Option<ETag>, version: Option<String>) -> Result<(), Failure> {
        let meta = source.content.meta;
        if let Mode::Plan(_) = self.pipeline.mode {
            self.plan("adopt", Some(&meta), "the object holds the content already");
            return Ok(());
        }
        let Some(etag) = etag else { return Ok(()) };
        let synced = Synced { size: meta.fingerprint.size, digest: source.content.digest, etag, version };
        self.record_synced(meta, source.key.clone(), synced, source.racy, EventKind::Adopted, None).await?;
        success!(folder = %self.pipeline.folder.name, path = %self.path, key = %source.key, action = "adopted", size = meta.fingerprint.size, "adopted {}", self.path);
        Ok(())
    }

    /// Takes over an object if its metadata says that it holds the content; else uploads.
    pub async fn adopt_by_metadata(&self, source: Source) -> Result<(), Failure> {
        let head = {
            let _slot = self.pipeline.slot().await?;
            self.pipeline.bucket.head(&source.key).await.map_err(|error| self.pipeline.remote_failure(error))?
        };
        match head {
            Some(head)
                if head.md5chksum == Some(source.content.digest)
                    && head.size == source.content.meta.fingerprint.size =>
            {
                self.adopt(&source, Some(head.etag), head.version).await
            }
            Some(_) | None => self.upload(source, Cause::Changed).await,
        }
    }

    /// The content is the row's: only stamps, mode or owner have changed.
    pub async fn touch(&self, source: &Source) -> Result<(), Failure> {
        self.touch_row(source.content.meta, source.racy, "the content is the same").await
    }

    /// A `kept` row whose file is back as it was.
    pub async fn resume(&self, meta: &FileMeta) -> Result<(), Failure> {
        self.touch_row(*meta, false, "the file is back").await
    }

    async fn touch_row(&self, meta: FileMeta, racy: bool, reason: &str) -> Result<(), Failure> {
        if let Mode::Plan(_) = self.pipeline.mode {
            self.plan("touch", Some(&meta), reason);
            return Ok(());
        }
        let Some(synced) = self.row.and_then(|row| row.synced.clone()) else { return Ok(()) };
        self.record_synced(meta, self.pipeline.key(self.path), synced, racy, EventKind::Touched, None).await?;
        tracing::debug!(folder = %self.pipeline.folder.name, path = %self.path, action = "touched", "touched {}", self.path);
        Ok(())
    }

    async fn record_synced(
        &self,
        meta: FileMeta,
        key: ObjectKey,
        synced: Synced,
        racy: bool,
        kind: EventKind,
        detail: Option<String>,
    ) -> Result<(), Failure> {
        let path = RelPath::clone(self.path);
        record(self.pipeline, Change::Synced { path, key, meta, synced, racy, kind, detail }).await?;
        self.pipeline.report.done(kind);
        Ok(())
    }

    /// The row goes, the object stays.
    pub async fn drop_row(&self, reason: Option<SkipReason>) -> Result<(), Failure> {
        if let Mode::Plan(_) = self.pipeline.mode {
            self.plan("drop-row", None, reason.map_or("nothing is left of it", SkipReason::describe));
            return Ok(());
        }
        record(self.pipeline, Change::Dropped { path: RelPath::clone(self.path) }).await?;
        self.pipeline.report.dropped();
        Ok(())
    }

    /// The row becomes `kept`, the object stays.
    pub async fn keep(&self) -> Result<(), Failure> {
        if let Mode::Plan(_) = self.pipeline.mode {
            self.plan("keep", None, "the file is gone, and `delete` is \"keep\"");
            return Ok(());
        }
        record(self.pipeline, Change::Kept { path: RelPath::clone(self.path) }).await?;
        self.pipeline.report.done_kept();
        Ok(())
    }

    fn plan(&self, action: &'static str, meta: Option<&FileMeta>, reason: &str) {
        plan_step(self.pipeline, action, self.path, meta.map(|meta| meta.fingerprint.size), reason);
    }
}

/// Shows a step of a dry run.
pub fn plan_step(pipeline: &Pipeline, action: &'static str, path: &RelPath, size: Option<u64>, reason: &str) {
    if let Mode::Plan(planner) = &pipeline.mode {
        planner.show(PlannedStep {
            action,
            folder: pipeline.folder.name.clone(),
            path: path.as_str().to_owned(),
            key: pipeline.key(path).as_str().to_owned(),
            size,
            reason: reason.to_owned(),
        });
    }
}

fn describe(cause: Cause) -> &'static str {
    match cause {
        Cause::New => "new",
        Cause::Changed => "its content differs",
        Cause::Drift => "the object is missing or was changed by somebody else",
        Cause::Unfinished => "the last try did not finish",
    }
}

/// Writes down that a path could not be synced. The row keeps what it says of the last object that was.
pub async fn give_up(
    pipeline: &Pipeline,
    path: &RelPath,
    row: Option<&Row>,
    error: &PathError,
) -> Result<(), SyncError> {
    let why = chain(error);
    pipeline.report.failed(path, &why);
    tracing::error!(folder = %pipeline.folder.name, path = %path, key = %pipeline.key(path), action = "failed", error = %why, "failed to sync {path}: {why}");
    if let Mode::Plan(_) = pipeline.mode {
        return Ok(());
    }
    record_failure(pipeline, row.map_or(path, |row| &row.path), why).await
}

/// Writes a failure into a path's row.
pub async fn record_failure(pipeline: &Pipeline, path: &RelPath, error: String) -> Result<(), SyncError> {
    match record(pipeline, Change::Failed { path: path.clone(), key: pipeline.key(path), error }).await {
        Ok(()) => Ok(()),
        Err(Failure::Folder(error)) => Err(error),
        Err(Failure::Path(error)) => {
            tracing::error!(path = %path, "failed to record the failure: {}", chain(&error));
            pipeline.unrecorded.add(path);
            Ok(())
        }
        Err(Failure::Cancelled) => Ok(()),
    }
}

async fn record(pipeline: &Pipeline, change: Change) -> Result<(), Failure> {
    let Mode::Act(recorder) = &pipeline.mode else { return Ok(()) };
    recorder.record(change).await.map_err(|error| match error {
        RecordError::Refused(error) => PathError::Row(error).into(),
        RecordError::Lost(error) => SyncError::Catalog(error).into(),
        RecordError::Ended => Failure::Cancelled,
    })
}
