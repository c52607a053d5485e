//! Fetching an object into a temporary file: gone on with where it broke off, and only ever of one object.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::SemaphorePermit;

use super::error::{Failure, FileError};
use super::one::blocking;
use super::writing::Writing;
use super::{Object, Restore, RestoreError, Wanted};
use crate::local::target::{Obstacle, Target};
use crate::local::temporary::Temporary;
use crate::model::{Digest, ETag, Retry};
use crate::queue::backoff;
use crate::remote::{self, About, Download, RemoteError, Trouble};

/// Tries without any progress, after which a file, or the store as a whole, is given up.
const ATTEMPTS: u32 = 5;
/// Somebody waits for the end.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Refused requests, with nothing fetched, after which all are given up: without the permission, each file would only cost one.
const MAX_REFUSED: u32 = 32;

/// A file that has arrived.
pub(super) struct Fetched {
    pub(super) temporary: Temporary,
    pub(super) about: About,
    pub(super) digest: Digest,
    /// Why it may be another object than the wanted one: a version was asked for, and the answer does not say that it is one.
    pub(super) other: Option<FileError>,
}

/// Fetches what is wanted into a temporary file beside its place.
pub(super) async fn fetch(restore: &Restore, target: &Arc<Target>, wanted: &Wanted) -> Result<Fetched, Failure> {
    let mut fetching = Fetching { restore, wanted, version: None, replaced: false, begun: None, attempts: 0 };
    if let Object::Version(version) = &wanted.object {
        fetching.version = Some(version.clone());
    }
    // The first answer comes before the file is made: a file that is not there leaves nothing behind.
    let first = fetching.begin(0).await?;
    let (shared, path, size) = (Arc::clone(target), wanted.path.clone(), first.about.size);
    let temporary = blocking("begin", move || {
        let temporary = shared.begin(&path)?;
        temporary.reserve(size)?;
        Ok::<_, Obstacle>(temporary)
    });
    let mut writing = Writing::start(temporary.await??);
    let arrived = fetching.all(first, &mut writing).await;
    let about = match arrived {
        Ok(about) => about,
        Err(End::Writer) => match writing.end().await {
            Err(failure) => return Err(failure),
            // It only stops listening with an error.
            Ok(_) => return Err(Failure::Restore(RestoreError::Task { task: "write" })),
        },
        Err(End::Failure(failure)) => {
            // Its file is removed before anybody says that it failed.
            let _ = writing.end().await;
            return Err(failure);
        }
    };
    let (temporary, digest) = writing.end().await?;
    let other = is_doubtful(fetching.version.as_deref(), &about).then(|| fetching.gone());
    Ok(Fetched { temporary, about, digest, other })
}

/// Why the bytes stopped coming.
enum End {
    /// The thread that writes has.
    Writer,
    Failure(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<()> for End {
    fn from((): ()) -> Self {
        Self::Writer
    }
}

/// A download with the slot that it takes.
struct Underway<'r> {
    download: Download,
    about: About,
    _slot: SemaphorePermit<'r>,
}

struct Fetching<'r> {
    restore: &'r Restore,
    wanted: &'r Wanted,
    /// To be fetched instead of the current one.
    version: Option<String>,
    /// The current one is another.
    replaced: bool,
    /// The object whose bytes were written so far: only these may follow.
    begun: Option<ETag>,
    /// Since the last progress.
    attempts: u32,
}

impl<'r> Fetching<'r> {
    /// Takes all pieces, going on after each break.
    async fn all(&mut self, first: Underway<'r>, writing: &mut Writing) -> Result<About, End> {
        let mut underway = first;
        loop {
            if let Some(begun) = &self.begun
                && *begun != underway.about.etag
            {
                writing.begin_anew().await?;
            }
            self.begun = Some(underway.about.etag.clone());
            match self.pieces(&mut underway.download, underway.about.size, writing).await? {
                Ok(()) => return Ok(underway.about),
                Err(error) => {
                    drop(underway);
                    self.pause(error).await?;
                }
            }
            underway = self.begin(writing.given).await?;
        }
    }

    /// Takes the pieces of one answer. The outer error ends the file, the inner one is only the answer's.
    async fn pieces(
        &mut self,
        download: &mut Download,
        size: u64,
        writing: &mut Writing,
    ) -> Result<Result<(), RemoteError>, End> {
        loop {
            let piece = tokio::select! {
                biased;
                () = self.restore.cancel.cancelled() => return Err(Failure::Cancelled.into()),
                piece = download.next() => piece,
            };
            match piece {
                Ok(Some(bytes)) => {
                    self.attempts = 0;
                    self.restore.tally.report.bytes_sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    writing.give(bytes).await?;
                }
                Ok(None) if writing.given == size => return Ok(Ok(())),
                Ok(None) => return Ok(Err(download.short())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Asks for the object, from so many bytes on if it is still the one that these came from.
    async fn begin(&mut self, given: u64) -> Result<Underway<'r>, Failure> {
        let mut from = given;
        loop {
            let slot = slot(self.restore).await?;
            let pinned = match (&self.begun, &self.wanted.object, &self.version) {
                (Some(begun), _, _) if from > 0 => Some(begun),
                (_, Object::OfRow { etag, .. }, None) => Some(etag),
                (_, Object::OfRow { .. }, Some(_)) | (_, Object::Version(_) | Object::Current, _) => None,
            };
            let wanted = remote::Wanted { etag: pinned, version: self.version.as_deref(), from };
            let answer = tokio::select! {
                answer = self.restore.bucket.get(&self.wanted.key, wanted) => answer,
                () = self.restore.cancel.cancelled() => return Err(Failure::Cancelled),
            };
            let error = match answer {
                Ok(download) => {
                    self.restore.has_fetched.store(true, Ordering::Relaxed);
                    let about = download.about.clone();
                    self.check_size(&about)?;
                    return Ok(Underway { download, about, _slot: slot });
                }
                Err(error) => error,
            };
            drop(slot);
            match (error.trouble, &self.wanted.object, &self.version) {
                // The version is still there, whatever became of the object.
                (Trouble::Precondition | Trouble::NotFound, Object::OfRow { version: Some(version), .. }, None) => {
                    self.replaced = error.trouble == Trouble::Precondition;
                    self.version = Some(version.clone());
                }
                (Trouble::Precondition, Object::OfRow { .. }, None) => {
                    return Err(FileError::Replaced(self.wanted.key.clone()).into());
                }
                // It was replaced in the middle: begun anew, it is whole again.
                (Trouble::Precondition, _, _) if from > 0 => from = 0,
                (Trouble::NotFound, _, _) => return Err(self.gone().into()),
                _ => self.pause(error).await?,
            }
        }
    }

    fn check_size(&self, about: &About) -> Result<(), FileError> {
        match self.wanted.size {
            Some(wanted) if wanted != about.size => Err(if is_doubtful(self.version.as_deref(), about) {
                self.gone()
            } else {
                FileError::Size { key: self.wanted.key.clone(), found: about.size, wanted }
            }),
            // Nothing would tell whether it is the one.
            Some(_) | None if is_doubtful(self.version.as_deref(), about) && self.wanted.digest.is_none() => {
                Err(self.gone())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn gone(&self) -> FileError {
        let key = self.wanted.key.clone();
        match &self.wanted.object {
            Object::Version(_) => FileError::NoVersion(key),
            Object::OfRow { .. } if self.replaced => FileError::Replaced(key),
            Object::OfRow { .. } | Object::Current => FileError::Gone(key),
        }
    }

    /// Waits before the next try, if there is to be one.
    async fn pause(&mut self, error: RemoteError) -> Result<(), Failure> {
        self.attempts += 1;
        if !is_passing(&error) || self.attempts >= ATTEMPTS {
            return Err(judge(self.restore, error));
        }
        if error.is_throttled() {
            self.restore.throttle.slow_down(Instant::now());
        }
        tracing::debug!(key = %self.wanted.key, error = %crate::model::chain(&error), "trying again");
        let pause = backoff(self.attempts - 1, &mut rand::rng()).min(LONGEST_PAUSE);
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.restore.cancel.cancelled() => Err(Failure::Cancelled),
        }
    }
}

/// Whether a version was asked for, and this answer does not say that it is one. A store that knows nothing of versions gives what
/// is there now: Garage even names one for each object that it is sent.
pub(super) fn is_doubtful(version: Option<&str>, about: &About) -> bool {
    version.is_some_and(|version| version != "null") && about.version.is_none()
}

/// A slot for one request, unless everything is to stop first.
pub(super) async fn slot(restore: &Restore) -> Result<SemaphorePermit<'_>, Failure> {
    tokio::select! {
        biased;
        () = restore.cancel.cancelled() => Err(Failure::Cancelled),
        slot = restore.throttle.slot() => slot.ok_or(Failure::Cancelled),
    }
}

/// Whether the same request may succeed a moment later. Of a download, also one whose bytes were damaged on their way, or whose
/// object was replaced meanwhile.
fn is_passing(error: &RemoteError) -> bool {
    error.is_passing() || matches!(error.trouble, Trouble::Damaged | Trouble::Precondition)
}

/// Whether an error of the store concerns one file, or all.
pub(super) fn judge(restore: &Restore, error: RemoteError) -> Failure {
    let refused = error.trouble == Trouble::Denied
        && restore.refused.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_REFUSED
        && !restore.has_fetched.load(Ordering::Relaxed);
    if refused || error.retry() == Retry::Fatal {
        return Failure::Restore(RestoreError::Remote(Box::new(error)));
    }
    FileError::Remote(Box::new(error)).into()
}
