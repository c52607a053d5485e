//! One file: what stands in its place, whether that is it already, and if not, fetching it and putting it there.

use std::fs::File;
use std::sync::Arc;

use super::error::{Failure, FileError};
use super::fetch::{self, Fetched};
use super::{Object, Restore, RestoreError, Wanted, why};
use crate::catalog::history::Restored;
use crate::local::hash::{self, ReadError};
use crate::local::target::{Obstacle, Standing, Target, check_path};
use crate::local::temporary::{Placing, Temporary};
use crate::model::{Digest, ETag, FileMeta, RelPath, Stamp};
use crate::plan;
use crate::remote::About;

/// What a dry run shows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// `restore`, `replace`, `adjust`.
    pub action: &'static str,
    /// Encoded.
    pub path: String,
    /// Where it comes from.
    pub key: String,
    /// Of the object, where it is known without asking for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// In words.
    pub reason: &'static str,
}

/// What is known of the file that is to be there.
#[derive(Clone, Copy, Debug)]
struct Facts {
    size: Option<u64>,
    digest: Option<Digest>,
    mtime: Option<Stamp>,
    mode: Option<u32>,
}

impl Facts {
    /// As the catalog says, and where it says nothing, the object.
    fn new(wanted: &Wanted, about: Option<&About>) -> Self {
        Self {
            size: wanted.size.or(about.map(|about| about.size)),
            digest: wanted.digest.or(about.and_then(|about| about.digest)),
            // An object of another tool has at least been put at some time.
            mtime: wanted.mtime.or(about.and_then(|about| about.mtime.or(about.put_at))),
            mode: wanted.mode.or(about.and_then(|about| about.mode)),
        }
    }
}

/// Brings one file back, and counts what has become of it.
///
/// # Errors
/// If nothing more can be done for any file.
pub(super) async fn restore(restore: Arc<Restore>, wanted: Wanted) -> Result<(), RestoreError> {
    let report = &restore.tally.report;
    let ended = match attempt(&restore, &wanted).await {
        Ok(()) | Err(Failure::Cancelled) => Ok(()),
        Err(Failure::Restore(error)) => Err(error),
        Err(Failure::File(FileError::Obstacle(source))) if source.is_of_the_target() => {
            let path = restore.target.as_ref().map(|target| target.path().to_owned()).unwrap_or_default();
            Err(RestoreError::Full { path, source })
        }
        Err(Failure::File(error)) => {
            restore.tally.failed(&wanted.path, &why(&error));
            Ok(())
        }
    };
    report.settled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    ended
}

async fn attempt(restore: &Restore, wanted: &Wanted) -> Result<(), Failure> {
    check_path(wanted.path.raw())?;
    let Some(target) = &restore.target else {
        // Nothing is there yet, so nothing stands in the way.
        show(restore, wanted, "restore", "it is not there");
        return Ok(());
    };
    let (shared, path) = (Arc::clone(target), wanted.path.clone());
    let (replace, reason) = match blocking("look", move || shared.look(&path)).await?? {
        Standing::Absent => (false, "it is not there"),
        Standing::File(meta) => match compare(restore, target, wanted, &meta).await? {
            Some(replace) => replace,
            None => return Ok(()),
        },
        Standing::Symlink if restore.force => (true, "a symbolic link stands there"),
        Standing::Symlink => return Err(FileError::Link.into()),
        Standing::Directory => return Err(FileError::Directory.into()),
        Standing::Special => return Err(FileError::Special.into()),
    };
    if restore.plan.is_some() {
        show(restore, wanted, if replace { "replace" } else { "restore" }, reason);
        return Ok(());
    }
    let fetched = fetch::fetch(restore, target, wanted).await?;
    put(restore, target, wanted, fetched, replace).await
}

/// Whether the file that stands there is to be replaced, and why; none if it is the one already.
async fn compare(
    restore: &Restore,
    target: &Arc<Target>,
    wanted: &Wanted,
    meta: &FileMeta,
) -> Result<Option<(bool, &'static str)>, Failure> {
    let mut facts = Facts::new(wanted, None);
    let mut etag = None;
    if facts.digest.is_none() || facts.mtime.is_none() {
        let about = about(restore, wanted).await?;
        facts = Facts::new(wanted, Some(&about));
        etag = Some(about.etag);
    }
    let same_size = facts.size == Some(meta.fingerprint.size);
    let same_time = facts.mtime == Some(meta.fingerprint.mtime);
    // With --force, what looks the same is looked into: it may be damaged.
    if same_size && same_time && !restore.force {
        restore.tally.present();
        return Ok(None);
    }
    if same_size {
        let read = read(restore, target, &wanted.path).await?;
        let same = match facts.digest {
            Some(digest) => read.digest == digest,
            None => is_composite(Arc::clone(&read.file), meta.fingerprint.size, etag.as_ref()).await?,
        };
        let changed = read.meta.fingerprint != meta.fingerprint;
        if same && !changed {
            let same_mode = facts.mode.is_none_or(|mode| (mode ^ meta.mode) & 0o777 == 0);
            if same_time && same_mode {
                restore.tally.present();
            } else {
                adjust(restore, wanted, facts, read).await?;
            }
            return Ok(None);
        }
    }
    if restore.force { Ok(Some((true, "the file there differs"))) } else { Err(FileError::Differs.into()) }
}

/// What is written on the object, without fetching it.
async fn about(restore: &Restore, wanted: &Wanted) -> Result<About, Failure> {
    let version = match &wanted.object {
        Object::Version(version) => Some(version.as_str()),
        Object::OfRow { .. } | Object::Current => None,
    };
    let _slot = fetch::slot(restore).await?;
    let about = tokio::select! {
        about = restore.bucket.about(&wanted.key, version) => about,
        () = restore.cancel.cancelled() => return Err(Failure::Cancelled),
    };
    let about = about.map_err(|error| fetch::judge(restore, error))?;
    let Some(about) = about else {
        let key = wanted.key.clone();
        return Err(if version.is_some() { FileError::NoVersion(key) } else { FileError::Gone(key) }.into());
    };
    // Where the store does not say that it is the version, the content must.
    if fetch::is_doubtful(version, &about) && (wanted.digest.is_none() || about.digest != wanted.digest) {
        return Err(FileError::NoVersion(wanted.key.clone()).into());
    }
    Ok(about)
}

/// A file that stands there, read to its end.
struct Read {
    file: Arc<File>,
    meta: FileMeta,
    digest: Digest,
}

async fn read(restore: &Restore, target: &Arc<Target>, path: &RelPath) -> Result<Read, Failure> {
    let (target, path, cancel) = (Arc::clone(target), path.clone(), restore.cancel.clone());
    blocking("read", move || {
        let (file, meta) = target.open_file(&path)?;
        match hash::digest(&file, &meta.fingerprint, &|_| !cancel.is_cancelled()) {
            Ok(digest) => Ok(Read { file: Arc::new(file), meta, digest }),
            Err(ReadError::Cancelled) => Err(Failure::Cancelled),
            Err(error) => Err(FileError::Read(error).into()),
        }
    })
    .await?
}

async fn adjust(restore: &Restore, wanted: &Wanted, facts: Facts, read: Read) -> Result<(), Failure> {
    if restore.plan.is_some() {
        show(restore, wanted, "adjust", "the content is there already, with another time or mode");
        return Ok(());
    }
    let seen = read.meta.fingerprint;
    blocking("adjust", move || Target::adjust(&read.file, &seen, facts.mode, facts.mtime)).await??;
    restore.tally.adjusted();
    Ok(())
}

/// Checks what was fetched and gives it its name.
async fn put(
    restore: &Restore,
    target: &Arc<Target>,
    wanted: &Wanted,
    fetched: Fetched,
    replace: bool,
) -> Result<(), Failure> {
    let Fetched { temporary, about, digest, other } = fetched;
    let facts = Facts::new(wanted, Some(&about));
    let (temporary, checked) = match facts.digest {
        Some(wanted_digest) if wanted_digest != digest => {
            let (key, found) = (wanted.key.clone(), digest);
            return Err(other.unwrap_or(FileError::Digest { key, found, wanted: wanted_digest }).into());
        }
        Some(_) => (temporary, true),
        None => check_composite(temporary, about.size, about.etag.clone()).await?,
    };
    let placing = Placing { mode: facts.mode, mtime: facts.mtime, replace };
    let (shared, path) = (Arc::clone(target), wanted.path.clone());
    blocking("place", move || {
        temporary.place(&placing)?;
        shared.placed(&path)
    })
    .await??;
    restore.tally.restored(checked, facts.mode);
    tracing::debug!(path = %wanted.path, key = %wanted.key, action = "restored", size = about.size, "restored {}", wanted.path);
    if let Some(history) = &restore.history {
        let path = wanted.path.as_str().to_owned();
        let restored = Restored { path, size: about.size, digest: Some(digest), version: about.version };
        // Whoever writes it down has said why it does not any more.
        let _ = history.send(restored).await;
    }
    Ok(())
}

/// What another tool has put in parts has an ETag that the parts tell, if one knows how it was cut.
async fn check_composite(temporary: Temporary, size: u64, etag: ETag) -> Result<(Temporary, bool), Failure> {
    let file = temporary.file().try_clone();
    let file = file.map_err(|source| Obstacle::Io { what: "read its temporary file", source })?;
    let checked = is_composite(Arc::new(file), size, Some(&etag)).await?;
    Ok((temporary, checked))
}

async fn is_composite(file: Arc<File>, size: u64, etag: Option<&ETag>) -> Result<bool, Failure> {
    let Some((hex, sizes)) = etag.and_then(|etag| {
        let (hex, _) = etag.as_str().split_once('-')?;
        Some((hex.to_owned(), plan::usual_part_sizes(size, plan::part_count(etag)?)))
    }) else {
        return Ok(false);
    };
    blocking("hash parts", move || {
        for part_size in sizes {
            let digest = hash::composite_md5(&file, size, part_size, &|_| true).map_err(FileError::Read)?;
            if digest.to_hex().eq_ignore_ascii_case(&hex) {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await?
}

fn show(restore: &Restore, wanted: &Wanted, action: &'static str, reason: &'static str) {
    if let Some(show) = &restore.plan {
        show(Step {
            action,
            path: wanted.path.as_str().to_owned(),
            key: wanted.key.as_str().to_owned(),
            size: wanted.size,
            reason,
        });
    }
}

/// Runs code that blocks off the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    task: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Restore(RestoreError::Task { task }))
}
