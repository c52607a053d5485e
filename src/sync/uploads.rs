//! Uploads in parts: written down before they begin, taken up again after a crash, and swept away when nobody goes on with them.
//!
//! Only uploads at a key that is written down are ours. All others are somebody else's, and are left alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::catalog;
use crate::catalog::upload::Begun;
use crate::local::hash::{self, ReadError};
use crate::model::{Parts, RelPath};
use crate::plan;
use crate::queue::Settled;
use crate::remote::{Arrived, Attributes, LargeUpload, RemoteError, Stored, Trouble, UploadError};
use crate::sync::act::Source;
use crate::sync::error::{Failure, PathError, SyncError};
use crate::sync::pipeline::{Mode, Pipeline};

/// Uploads that are read from the catalog at a time.
const PAGE: i64 = 100;
/// Before the second and the third attempt to begin an upload: as the SDK has them for other requests.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(400)];

/// An upload that goes on, or the object that it has become.
enum Start {
    Go { id: String, arrived: Vec<Arrived> },
    Done(Stored),
}

/// Uploads a large file in parts; what an earlier try of the same content has brought to the store is not sent again.
pub(super) async fn send_large(
    pipeline: &Pipeline,
    path: &Arc<RelPath>,
    source: &Source,
    parts: &Parts,
    attributes: &Attributes,
) -> Result<Stored, Failure> {
    let begun = Begun {
        path: RelPath::clone(path),
        key: source.key.clone(),
        upload_id: None,
        size: source.content.meta.fingerprint.size,
        digest: source.content.digest,
        part_size: parts.size,
    };
    let (id, arrived) = match start(pipeline, begun, parts, attributes).await? {
        Start::Go { id, arrived } => (id, arrived),
        Start::Done(stored) => return Ok(stored),
    };
    let fingerprint = source.content.meta.fingerprint;
    let unchanged = || hash::is_unchanged(&source.file, &fingerprint);
    let progress = |bytes| {
        pipeline.report.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    };
    let upload = LargeUpload {
        file: Arc::clone(&source.file),
        size: fingerprint.size,
        digest: source.content.digest,
        parts,
        unchanged: &unchanged,
        budget: &pipeline.bounds.budget,
        slots: pipeline.bounds.throttle.slots(),
        cancel: &pipeline.cancel,
        progress: &progress,
    };
    let failed = match pipeline.bucket.send_upload(&source.key, &id, upload, arrived).await {
        Ok(stored) => {
            pipeline.has_stored.store(true, Ordering::Relaxed);
            return Ok(stored);
        }
        Err(failed) => failed,
    };
    if !failed.left {
        // The failure itself matters more than that this failed, too: then the sweep finds nothing, and forgets it.
        let _ = forget(pipeline, path).await;
    }
    Err(match failed.error {
        UploadError::Remote(error) => pipeline.remote_failure(error),
        UploadError::Read { source, .. } => PathError::Read(ReadError::Io(source)).into(),
        UploadError::Changed { .. } => PathError::Read(ReadError::Changed).into(),
        UploadError::Cancelled { .. } => Failure::Cancelled,
    })
}

/// Forgets an upload of which nothing is left to do: its object and the row are there, or it was thrown away.
///
/// # Errors
/// If the catalog can't be written to.
pub(super) async fn forget(pipeline: &Pipeline, path: &RelPath) -> Result<(), SyncError> {
    match pipeline.id {
        Some(folder) => Ok(catalog::upload::forget(&pipeline.catalog, folder, path).await?),
        None => Ok(()),
    }
}

/// Goes on with the upload that is written down, if it is of this content; else ends that one and begins another.
async fn start(
    pipeline: &Pipeline,
    mut begun: Begun,
    parts: &Parts,
    attributes: &Attributes,
) -> Result<Start, Failure> {
    let Some(folder) = pipeline.id else { return Err(Failure::Cancelled) };
    let remote = |error| pipeline.remote_failure(error);
    if let Some(known) = catalog::upload::of_path(&pipeline.catalog, folder, &begun.path).await? {
        if let Some(start) = go_on(pipeline, &known, &begun, parts).await.map_err(remote)? {
            return Ok(start);
        }
        let _slot = pipeline.slot().await?;
        end(pipeline, &known).await.map_err(remote)?;
    }
    // Written down first: from here on, what is in the store at this key is known for ours.
    catalog::upload::put(&pipeline.catalog, folder, &begun).await?;
    let id = begin(pipeline, &begun, attributes).await?;
    begun.upload_id = Some(id.clone());
    catalog::upload::put(&pipeline.catalog, folder, &begun).await?;
    Ok(Start::Go { id, arrived: Vec::new() })
}

/// Asks the store for an upload, and after a passing trouble once more. An attempt whose answer did not come may have begun one all the
/// same: it is thrown away before the next, or nobody would ever hear of it.
async fn begin(pipeline: &Pipeline, begun: &Begun, attributes: &Attributes) -> Result<String, Failure> {
    let _slot = pipeline.slot().await?;
    let mut attempt = 0;
    loop {
        let created = pipeline.bucket.create_upload(&begun.key, attributes, begun.digest);
        let error = tokio::select! {
            created = created => match created {
                Ok(id) => return Ok(id),
                Err(error) => error,
            },
            // The next start finds by its key what the store may have begun.
            () = pipeline.cancel.cancelled() => return Err(Failure::Cancelled),
        };
        if attempt == PAUSES.len() || !error.is_passing() {
            return Err(pipeline.remote_failure(error));
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSES[attempt]) => attempt += 1,
            () = pipeline.cancel.cancelled() => return Err(Failure::Cancelled),
        }
        end(pipeline, begun).await.map_err(|error| pipeline.remote_failure(error))?;
    }
}

/// What is left to do of an upload of the same content in the same parts, if it can be gone on with.
async fn go_on(
    pipeline: &Pipeline,
    known: &Begun,
    wanted: &Begun,
    parts: &Parts,
) -> Result<Option<Start>, RemoteError> {
    let same = (known.size, known.digest, known.part_size) == (wanted.size, wanted.digest, wanted.part_size)
        && known.key == wanted.key;
    let Some(id) = known.upload_id.clone().filter(|_| same) else { return Ok(None) };
    match pipeline.bucket.arrived(&known.key, &id).await {
        Ok(Some(arrived)) => {
            let good: Vec<Arrived> = arrived.into_iter().filter(|part| is_good(part, known, parts)).collect();
            tracing::info!(
                folder = %pipeline.folder.name, path = %known.path, parts = good.len(), of = parts.digests.len(),
                "going on with the upload of {}", known.path
            );
            Ok(Some(Start::Go { id, arrived: good }))
        }
        // It was completed, and only the row is missing; or it was thrown away.
        Ok(None) => {
            let done = pipeline.bucket.completed_after_all(&known.key, parts, known.digest).await?;
            Ok(done.map(Start::Done))
        }
        Err(error) if error.trouble == Trouble::Denied => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a part that the store has is the one that would be sent. Where the ETag is no MD5 nobody can tell, so it is sent again.
fn is_good(part: &Arrived, known: &Begun, parts: &Parts) -> bool {
    let index = usize::try_from(part.number).ok().and_then(|number| number.checked_sub(1));
    let Some(digest) = index.and_then(|index| parts.digests.get(index)) else { return false };
    let offset = u64::from(part.number - 1) * parts.size;
    part.size == parts.size.min(known.size.saturating_sub(offset)) && plan::is_md5(&part.etag, *digest)
}

/// Throws away all that is left in the store of an upload that is written down.
async fn end(pipeline: &Pipeline, known: &Begun) -> Result<(), RemoteError> {
    let mut ids = match pipeline.bucket.uploads_at(&known.key).await {
        Ok(ids) => ids,
        // Listing uploads is a permission of its own that not everybody gives; the one that is written down is known anyway.
        Err(error) if error.trouble == Trouble::Denied => Vec::new(),
        Err(error) => return Err(error),
    };
    ids.extend(known.upload_id.clone().filter(|id| !ids.contains(id)));
    for id in ids {
        pipeline.bucket.abort_upload(&known.key, &id).await?;
    }
    Ok(())
}

/// Throws away the uploads that are written down and that nobody goes on with: their file has gone, or is another by now.
///
/// # Errors
/// If the catalog can't be used. What the store refuses is left for the next time.
pub async fn sweep(pipeline: &Pipeline) -> Result<(), SyncError> {
    let (Some(folder), Mode::Act(_)) = (pipeline.id, &pipeline.mode) else { return Ok(()) };
    let mut after: Option<RelPath> = None;
    loop {
        let page = catalog::upload::page(&pipeline.catalog, folder, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.path.clone());
        for begun in page {
            // Whoever works on the path sees to its upload; and nobody begins to while this one is thrown away.
            let Some(claim) = pipeline.feed.claim(vec![begun.path.clone()]).pop() else { continue };
            let swept = sweep_one(pipeline, &begun).await;
            pipeline.feed.settle(&claim, Settled::Done);
            swept?;
        }
    }
}

async fn sweep_one(pipeline: &Pipeline, begun: &Begun) -> Result<(), SyncError> {
    match end(pipeline, begun).await {
        Ok(()) => {
            tracing::info!(folder = %pipeline.folder.name, path = %begun.path, "an unfinished upload of {} was thrown away", begun.path);
            forget(pipeline, &begun.path).await
        }
        Err(error) => {
            tracing::warn!(folder = %pipeline.folder.name, path = %begun.path, error = %crate::model::chain(&error), "an unfinished upload could not be thrown away; the next pass tries again");
            Ok(())
        }
    }
}
