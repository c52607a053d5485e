//! A folder's life in the daemon: look, watch, wait for the writer's lock, be active, and again from the start whenever the
//! folder goes or the lock is lost.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::catalog::lock::{self, Attempt, WriterLock};
use crate::catalog::{self, CatalogError};
use crate::config::settings::SyncSettings;
use crate::daemon::active::{self, Activity};
use crate::daemon::events::Events;
use crate::daemon::live::Live;
use crate::daemon::wishes::Wishes;
use crate::local::look::{Root, RootError};
use crate::local::walk::{Visitor, walk};
use crate::local::watch::Watch;
use crate::model::{FolderState, Identity, ShownPath};
use crate::sync::act::chain;
use crate::sync::error::SyncError;
use crate::sync::pass::Worlds;
use crate::sync::pipeline::blocking;

/// How often a folder that is not there is looked for, and a lock that another agent holds is tried.
const LOOK: Duration = Duration::from_secs(1);
/// A file system that tells of nothing is gone through this often.
const POLL: Duration = Duration::from_secs(60);

/// A folder under supervision.
pub struct Supervised {
    /// Bucket, catalog and bounds.
    pub worlds: Worlds,
    /// `[sync]`.
    pub sync: SyncSettings,
    /// `agent.verify_every`.
    pub verify_every: Option<Duration>,
    /// What is seen of it.
    pub live: Arc<Live>,
    /// Reconciliations that are wanted.
    pub wishes: Arc<Wishes>,
}

/// One of the folder's tasks has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defect {
    /// Its name.
    pub task: &'static str,
}

/// Lives until `cancel`. Trouble of the folder, the bucket or the catalog is a state, never an end.
///
/// # Errors
/// If one of its tasks has panicked.
pub async fn supervise(folder: Supervised, cancel: CancellationToken) -> Result<(), Defect> {
    let name = folder.worlds.folder.name.clone();
    while !cancel.is_cancelled() {
        match life(&folder, &cancel).await {
            Ok(()) => {}
            Err(error) => {
                let (state, reason) = match &error {
                    SyncError::Root { .. } => (FolderState::Suspended, chain(&error)),
                    SyncError::Walk { .. }
                    | SyncError::Catalog(_)
                    | SyncError::Remote { .. }
                    | SyncError::Locked { .. }
                    | SyncError::LockLost { .. } => (FolderState::Degraded, chain(&error)),
                    SyncError::Task { task } => return Err(Defect { task }),
                };
                folder.live.set_away(error.away());
                if folder.live.set(state, Some(reason.clone())) {
                    tracing::error!(folder = %name, action = "suspended", error = %reason, "the folder `{name}` is {}: failed to {reason}", state.as_str());
                }
                // Where the catalog is away, it hears of it when it is back.
                let _ = suspend(&folder, state, &reason).await;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = cancel.cancelled() => {}
        }
    }
    Ok(())
}

/// Lets the catalog know how the folder stands. Another agent that has taken it over is the one to say how it stands.
async fn suspend(folder: &Supervised, state: FolderState, reason: &str) -> Result<(), CatalogError> {
    let worlds = &folder.worlds;
    let (bucket, prefix) = (worlds.bucket.name(), worlds.folder.prefix.as_str());
    match catalog::folder::find(&worlds.catalog, &worlds.endpoint, bucket, prefix).await? {
        Some(known) => {
            catalog::folder::set_own_state(&worlds.catalog, known.id, &worlds.agent, state, Some(reason)).await
        }
        None => Ok(()),
    }
}

async fn life(folder: &Supervised, cancel: &CancellationToken) -> Result<(), SyncError> {
    let (root, seen) = open(folder).await?;
    let armed = arm(folder, &root).await?;
    folder.live.set_armed(true);
    // Before it stands by, as it may for a moment because of a session of its own that has not ended yet.
    let before = folder.live.now();
    let Some(lock) = stand_by(folder, cancel).await? else { return Ok(()) };
    folder.live.set_standby(None);
    folder.live.set_away(None);
    // Trouble that the catalog could not be told of, since it was a part of it.
    if let (FolderState::Degraded | FolderState::Suspended, Some(reason)) = (before.state, &before.reason) {
        suspend(folder, before.state, reason).await?;
    }
    // A folder that was away counts as starting until its state is known.
    folder.live.set(FolderState::Starting, None);
    let polls = root.is_remote().then_some(POLL);
    let activity = Activity {
        worlds: folder.worlds.clone(),
        sync: folder.sync.clone(),
        verify_every: folder.verify_every,
        root,
        seen,
        watch: armed,
        polls,
        live: Arc::clone(&folder.live),
        wishes: Arc::clone(&folder.wishes),
    };
    let ended = active::run(activity, lock, cancel.clone()).await;
    folder.live.set_armed(false);
    ended
}

async fn open(folder: &Supervised) -> Result<(Arc<Root>, Identity), SyncError> {
    let settings = folder.worlds.folder.clone();
    let name = settings.name.clone();
    let opened = blocking("open", move || {
        let root = Root::open(&settings)?;
        let seen = root.identity().map_err(|source| RootError::Open { path: settings.path.clone(), source })?;
        Ok((Arc::new(root), seen))
    });
    opened.await?.map_err(|source| SyncError::Root { folder: name, source })
}

/// Sets a watch on every directory, so that nothing that happens from here on is missed.
async fn arm(folder: &Supervised, root: &Arc<Root>) -> Result<Arc<Watch>, SyncError> {
    let events = Arc::new(Events {
        root: root.path().to_owned(),
        rules: Arc::clone(root),
        live: Arc::clone(&folder.live),
        wishes: Arc::clone(&folder.wishes),
    });
    folder.live.out_of_watches.store(false, std::sync::atomic::Ordering::Relaxed);
    let path = root.path().to_owned();
    let failed = |source| SyncError::Walk { path: path.clone(), source };
    let watch = Watch::new(folder.sync.debounce, folder.sync.max_delay, events);
    let watch = Arc::new(watch.map_err(|error| failed(std::io::Error::other(error)))?);
    if root.is_remote() {
        tracing::warn!(
            folder = %folder.worlds.folder.name,
            "the folder {} is on a file system that tells of no changes by others; it is gone through each {} instead",
            ShownPath(&path),
            humantime::format_duration(POLL.min(folder.sync.reconcile_every))
        );
        return Ok(watch);
    }
    let (root, armed) = (Arc::clone(root), Arc::clone(&watch));
    let walked = blocking("arm", move || {
        let mut on_directory = |directory: &Path| armed.directory(directory, false);
        let mut sink = |_| std::ops::ControlFlow::Continue(());
        walk(&root, None, Visitor { on_directory: &mut on_directory, sink: &mut sink })
    });
    walked.await?.map_err(failed)?;
    Ok(watch)
}

/// Waits for the writer's lock. None when the program is stopping.
async fn stand_by(folder: &Supervised, cancel: &CancellationToken) -> Result<Option<WriterLock>, SyncError> {
    let worlds = &folder.worlds;
    loop {
        let prefix = worlds.folder.prefix.as_str();
        match lock::try_lock(&worlds.catalog, &worlds.endpoint, worlds.bucket.name(), prefix).await? {
            Attempt::Held(lock) => return Ok(Some(lock)),
            Attempt::Taken(holder) => {
                let holder = holder.to_string();
                if folder.live.now().standby.is_none() {
                    tracing::warn!(folder = %worlds.folder.name, "standing by: {holder} writes to this bucket and prefix");
                }
                folder.live.set(FolderState::Starting, Some("standing by".to_owned()));
                folder.live.set_away(None);
                folder.live.set_standby(Some(holder));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = cancel.cancelled() => return Ok(None),
        }
    }
}
