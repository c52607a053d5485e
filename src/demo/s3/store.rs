//! What the embedded store holds: s3s-fs keeps the bytes, and what it does otherwise than S3 is put right here and in
//! [`super::api`].
//!
//! s3s-fs maps a key to a file of that name, so it can't hold `a` and `a/b` at once, nor long names, nor `..`; it lists without
//! ETags and reads the whole tree for each page; it leaves an object behind whose MD5 was wrong; it takes parts without
//! looking at their MD5. Here each object's bytes lie in a file with a number for a name, and [`Index`] knows which.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use s3s::dto::ETagCondition;
use s3s::{S3Error, S3Result, s3_error};
use s3s_fs::FileSystem;

use super::index::{Entry, Index, Upload};

/// A store; clones are the same store.
#[derive(Clone, Debug)]
pub(super) struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    files: FileSystem,
    next_blob: AtomicU64,
    index: Mutex<Index>,
}

impl Store {
    pub(super) fn new(root: &Path) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let files = FileSystem::new(root).map_err(|error| format!("{error:?}"))?;
        let inner =
            Inner { root: root.to_owned(), files, next_blob: AtomicU64::new(0), index: Mutex::new(Index::default()) };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) async fn create(&self, bucket: &str) -> Result<(), S3Error> {
        if self.index().buckets.contains_key(bucket) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        tokio::fs::create_dir(self.inner.root.join(bucket)).await.map_err(S3Error::internal_error)?;
        self.index().buckets.insert(bucket.to_owned(), Default::default());
        Ok(())
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.inner.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn files(&self) -> &FileSystem {
        &self.inner.files
    }

    pub(super) fn new_blob(&self) -> String {
        format!("{:08x}", self.inner.next_blob.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.index().buckets.contains_key(bucket) { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    pub(super) fn find(&self, bucket: &str, key: &str) -> S3Result<Option<Entry>> {
        let index = self.index();
        let bucket = index.buckets.get(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        Ok(bucket.objects.get(key).cloned())
    }

    /// The current version of an object, or the one that is asked for.
    pub(super) fn version(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<Entry> {
        let index = self.index();
        let bucket = index.buckets.get(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        match version {
            None => bucket.objects.get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey)),
            Some(version) => bucket.version(key, version).cloned().ok_or_else(|| s3_error!(NoSuchVersion)),
        }
    }

    /// Makes a blob visible as an object and throws the one before it away, unless that is a version. Answers its own version.
    pub(super) async fn publish(
        &self,
        bucket: &str,
        key: &str,
        blob: String,
        etag: String,
    ) -> S3Result<Option<String>> {
        let size = tokio::fs::metadata(self.blob_path(bucket, &blob)).await.map_err(S3Error::internal_error)?.len();
        let entry = Entry { blob, size, etag, modified: SystemTime::now(), version: None };
        let (version, discarded) = {
            let mut index = self.index();
            let bucket = index.buckets.get_mut(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
            bucket.put(key, entry)
        };
        if let Some(discarded) = discarded {
            self.discard(bucket, &discarded.blob).await;
        }
        Ok(version)
    }

    /// What can't be removed only takes room, in a folder that is thrown away anyway.
    pub(super) async fn discard(&self, bucket: &str, blob: &str) {
        tokio::fs::remove_file(self.blob_path(bucket, blob)).await.ok();
    }

    fn blob_path(&self, bucket: &str, blob: &str) -> PathBuf {
        self.inner.root.join(bucket).join(blob)
    }

    /// Removes an object, or one version of it for good. Answers the version of the marker that is left in its place.
    pub(super) async fn remove(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<Option<String>> {
        let marker = self.new_blob();
        let (marker, discarded) = {
            let mut index = self.index();
            let bucket = index.buckets.get_mut(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
            match version {
                None => bucket.delete(key, marker),
                Some(version) => (None, bucket.forget(key, version)),
            }
        };
        if let Some(entry) = discarded {
            self.discard(bucket, &entry.blob).await;
        }
        Ok(marker)
    }

    pub(super) fn upload(&self, id: &str, bucket: &str, key: &str) -> S3Result<Upload> {
        let upload = self.index().uploads.get(id).cloned();
        let upload = upload.filter(|upload| upload.bucket == bucket && upload.key == key);
        upload.ok_or_else(|| s3_error!(NoSuchUpload))
    }
}

/// Whether what is there may be read or replaced.
pub(super) fn check_conditions(
    present: Option<&Entry>,
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<()> {
    let holds = |condition: &ETagCondition| match (condition, present) {
        (ETagCondition::Any, present) => present.is_some(),
        (ETagCondition::ETag(etag), Some(entry)) => etag.value() == entry.etag,
        (ETagCondition::ETag(_), None) => false,
    };
    if if_match.is_some_and(|condition| !holds(&condition)) || if_none_match.is_some_and(|condition| holds(&condition))
    {
        return Err(s3_error!(PreconditionFailed));
    }
    Ok(())
}
