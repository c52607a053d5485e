//! Looking at paths in the three worlds, content included.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::judge::{Content, Observation};
use super::{READERS, Verifier};
use crate::catalog::file::Asked;
use crate::local::hash::{self, ReadError};
use crate::local::look::Root;
use crate::model::{FileMeta, Listed, Local, RelPath, Remote, Retry, Row};
use crate::queue::backoff;
use crate::remote::{RemoteError, Trouble, Wanted};
use crate::sync::act::chain;
use crate::sync::error::{Failure, SyncError};
use crate::sync::pipeline::{MAX_ATTEMPTS, blocking};

impl Verifier {
    /// The same with the content of file and object, as far as it is to be compared.
    pub(super) async fn with_content(&self, path: &RelPath, mut seen: Observation) -> Result<Observation, SyncError> {
        if let Some(meta) = seen.wants_content() {
            seen.content = self.read_file(path, meta).await?;
        }
        if self.options.download && seen.can_be_fetched() {
            seen.fetched = self.fetch(path, &seen).await?;
        }
        Ok(seen)
    }

    /// Reads a file that was just looked at.
    async fn read_file(&self, path: &RelPath, meta: FileMeta) -> Result<Content, SyncError> {
        let (root, path) = (Arc::clone(&self.pipeline.root), path.clone());
        let (report, cancel) = (Arc::clone(&self.report), self.pipeline.cancel.clone());
        blocking("read", move || {
            read_file(&root, &path, &meta, &|bytes| {
                report.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
                !cancel.is_cancelled()
            })
        })
        .await
    }

    /// Fetches the object that the row has, for its MD5.
    async fn fetch(&self, path: &RelPath, seen: &Observation) -> Result<Content, SyncError> {
        let Some(synced) = seen.synced() else { return Ok(Content::NotRead) };
        let key = self.pipeline.key(path);
        for attempt in 0.. {
            let fetched = {
                let slot = match self.pipeline.slot().await {
                    Ok(slot) => slot,
                    // Cancelled: what was not read proves nothing.
                    Err(_) => return Ok(Content::NotRead),
                };
                let wanted = Wanted { etag: Some(&synced.etag), ..Wanted::default() };
                let came = |bytes| {
                    self.report.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
                    self.counts.fetched.fetch_add(bytes, Ordering::Relaxed);
                };
                let fetched = tokio::select! {
                    fetched = self.pipeline.bucket.digest(&key, wanted, came) => fetched,
                    () = self.pipeline.cancel.cancelled() => return Ok(Content::NotRead),
                };
                drop(slot);
                fetched
            };
            let error = match fetched {
                Ok(digest) => {
                    self.counts.objects.fetch_add(1, Ordering::Relaxed);
                    return Ok(Content::Read(digest));
                }
                // It was replaced or removed since it was listed, and is looked at again.
                Err(error) if matches!(error.trouble, Trouble::Precondition | Trouble::NotFound) => {
                    return Ok(Content::Changed);
                }
                Err(error) => error,
            };
            if !self.again(attempt, &error).await {
                return match error.retry() {
                    Retry::Fatal => Err(self.pipeline.remote_fatal(error)),
                    Retry::Later | Retry::Never => Ok(Content::Unreadable(chain(&error).into())),
                };
            }
        }
        Ok(Content::NotRead)
    }

    /// Whether to try once more, after a pause.
    async fn again(&self, attempt: u32, error: &RemoteError) -> bool {
        if error.is_throttled() {
            self.pipeline.bounds.throttle.slow_down(std::time::Instant::now());
        }
        let passing = matches!(error.retry(), Retry::Later) && error.trouble != Trouble::Denied;
        let broken = matches!(error.trouble, Trouble::Unreachable | Trouble::TimedOut);
        if !(passing || broken) || attempt + 1 >= MAX_ATTEMPTS {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff(attempt, &mut rand::rng())) => true,
            () = self.pipeline.cancel.cancelled() => false,
        }
    }

    /// A fresh look at paths in all three worlds.
    pub(super) async fn observe(&self, paths: &[RelPath]) -> Result<Vec<Observation>, SyncError> {
        let pipeline = &self.pipeline;
        let names: Vec<&str> = paths.iter().map(RelPath::as_str).collect();
        let rows = pipeline.find(Asked { paths: &names, ..Asked::default() }).await?.rows;
        let mut rows: HashMap<String, Row> = rows.into_iter().map(|row| (row.path.as_str().to_owned(), row)).collect();
        let (root, looked) = (Arc::clone(&pipeline.root), paths.to_vec());
        let looks = move || looked.iter().map(|path| root.look(path)).collect::<Vec<Local>>();
        let locals = blocking("look", looks).await?;
        let looks = paths.iter().cloned().zip(locals);
        let observed = looks.map(|(path, local)| {
            let row = rows.remove(path.as_str());
            self.observe_one(path, local, row)
        });
        let observed: Vec<_> = observed.collect();
        let observed: Vec<Result<Observation, SyncError>> = stream::iter(observed).buffered(READERS).collect().await;
        observed.into_iter().collect()
    }

    async fn observe_one(&self, path: RelPath, local: Local, row: Option<Row>) -> Result<Observation, SyncError> {
        let remote = self.head(&path).await?;
        let seen = Observation { local, content: Content::NotRead, row, remote, fetched: Content::NotRead };
        self.with_content(&path, seen).await
    }

    async fn head(&self, path: &RelPath) -> Result<Remote, SyncError> {
        let key = self.pipeline.key(path);
        for attempt in 0.. {
            let answer = {
                let _slot = match self.pipeline.slot().await {
                    Ok(slot) => slot,
                    Err(Failure::Folder(error)) => return Err(error),
                    Err(Failure::Path(_) | Failure::Cancelled) => return Ok(Remote::NotKnown),
                };
                tokio::select! {
                    head = self.pipeline.bucket.head(&key) => head,
                    () = self.pipeline.cancel.cancelled() => return Ok(Remote::NotKnown),
                }
            };
            match answer {
                Ok(Some(head)) => return Ok(Remote::Present(Listed { size: head.size, etag: head.etag })),
                Ok(None) => return Ok(Remote::Missing),
                Err(error) if self.again(attempt, &error).await => {}
                Err(error) => return Err(self.pipeline.remote_fatal(error)),
            }
        }
        Ok(Remote::NotKnown)
    }
}

/// Reads a file that looks like this, from the disk rather than from memory: what is damaged there would not show.
pub(crate) fn read_file(root: &Root, path: &RelPath, meta: &FileMeta, read: &dyn Fn(u64) -> bool) -> Content {
    let (file, now) = match root.open_file(path) {
        Ok(opened) => opened,
        Err(Local::Unknown(why)) => return Content::Unreadable(why),
        Err(Local::Present(_) | Local::Absent | Local::Skipped(_)) => return Content::Changed,
    };
    if now.fingerprint != meta.fingerprint {
        return Content::Changed;
    }
    hash::forget_cached(&file);
    let digest = hash::digest(&file, &meta.fingerprint, read);
    // Nor is there a reason to keep what nobody else has read.
    hash::forget_cached(&file);
    match digest {
        Ok(digest) => Content::Read(digest),
        Err(ReadError::Changed) => Content::Changed,
        Err(ReadError::Cancelled) => Content::NotRead,
        Err(ReadError::Io(error)) => Content::Unreadable(error.to_string().into()),
    }
}
