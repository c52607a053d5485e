//! How an active folder stands, for others to see; and whether it, and what is mounted in it, is still what was opened.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::catalog;
use crate::daemon::active::Shared;
use crate::daemon::wishes::Cause;
use crate::local::identity;
use crate::local::mount_table::MountTable;
use crate::local::mounts::not_there;
use crate::model::{FolderState, Identity, RelPath};
use crate::queue::Scope;
use crate::sync::error::{Away, SyncError};
use crate::sync::pipeline::blocking;
use crate::sync::{deletes, mounts};

/// How often the state is compared with what the catalog says of it.
const PUBLISH: Duration = Duration::from_millis(500);

/// Keeps the state that others see up to date, and watches the root.
pub(super) async fn publish(shared: Arc<Shared>) -> Result<(), SyncError> {
    let (pipeline, live) = (&shared.pipeline, &shared.activity.live);
    let root = shared.activity.root.path().to_owned();
    let mut table = blocking("mounts", move || MountTable::new(root)).await?;
    loop {
        let (path, seen) = (shared.activity.worlds.folder.path.clone(), shared.activity.seen);
        let (trouble, changed);
        (trouble, changed, table) = blocking("root", move || {
            let trouble = root_trouble(&path, seen);
            let changed = table.changed();
            (trouble, changed, table)
        })
        .await?;
        if let Some(reason) = trouble {
            if live.set(FolderState::Suspended, Some(reason.clone())) {
                tracing::error!(folder = %pipeline.folder.name, "the folder `{}` is suspended: {reason}", pipeline.folder.name);
            }
            write_state(&shared, FolderState::Suspended, Some(reason)).await;
            // The supervisor opens the folder anew, when it is there again.
            pipeline.cancel.cancel();
            return Ok(());
        }
        // Trouble with the catalog is found out by those who need it, and the outage's end leads to a reconciliation anyway.
        if !changed.is_empty()
            && let Err(error) = mounts_changed(&shared, changed).await
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "failed to look at what was mounted");
            shared.activity.wishes.wish(Cause::Mount);
        }
        if live.rules_changed.swap(false, Ordering::Relaxed) {
            tracing::info!(folder = %pipeline.folder.name, "the exclude rules have changed; the folder is opened anew");
            pipeline.cancel.cancel();
            return Ok(());
        }
        let (state, reason) = state_of(&shared);
        live.set(state, reason.clone());
        live.set_away(shared.gate.outage().and_then(|outage| outage.away));
        // While the catalog is away it can't be told; the end of the outage sees to it.
        if shared.gate.outage().is_none_or(|outage| outage.away != Some(Away::Catalog)) {
            write_state(&shared, state, reason).await;
        }
        tokio::select! {
            () = pipeline.cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(PUBLISH) => {}
        }
    }
}

/// Something was mounted in the folder, or unmounted: what is there now is gone through, and watched afresh, and what is not the one
/// that is known is in doubt from now on.
async fn mounts_changed(shared: &Shared, changed: Vec<RelPath>) -> Result<(), SyncError> {
    let (pipeline, id, live) = (&shared.pipeline, shared.record.id, &shared.activity.live);
    let root = Arc::clone(&pipeline.root);
    let missing = blocking("mounts", move || root.missing_mounts()).await?;
    let mut doubts = Vec::new();
    for mount in missing {
        if catalog::mount::has_objects_below(&pipeline.catalog, id, &mount.path).await? {
            doubts.push(mounts::doubt(pipeline, &not_there(pipeline.root.path(), &mount.path)));
        }
    }
    if !live.doubts().is_empty() {
        // Some of them may be over.
        shared.activity.wishes.wish(Cause::Mount);
    }
    live.set_doubts(doubts);
    for path in changed {
        if pipeline.root.excludes().excludes(&path) {
            continue;
        }
        tracing::info!(folder = %pipeline.folder.name, path = %path, "something was mounted or unmounted at {path}");
        // Where files may be hidden, or come back, only a look at everything tells.
        let known = pipeline.root.mounts().iter().any(|mount| mount.path == path);
        if known || catalog::mount::has_objects_below(&pipeline.catalog, id, &path).await? {
            shared.activity.wishes.wish(Cause::Mount);
        }
        pipeline.feed.nominate_event(path, Scope::Tree);
    }
    Ok(())
}

async fn write_state(shared: &Shared, state: FolderState, reason: Option<String>) {
    let now = Some((state, reason));
    let published = || shared.published.lock().unwrap_or_else(PoisonError::into_inner);
    let epoch = {
        let published = published();
        if published.state == now {
            return;
        }
        published.epoch
    };
    let reason = now.as_ref().and_then(|(_, reason)| reason.as_deref());
    match catalog::folder::set_state(&shared.pipeline.catalog, shared.record.id, state, reason).await {
        Ok(()) => {
            let mut published = published();
            if published.epoch == epoch {
                published.state = now;
            }
        }
        // The next round tries again; whether the catalog is away is found out by those who need it.
        Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "failed to write the folder's state"),
    }
}

/// Why the root is not the folder that was opened any more.
fn root_trouble(path: &Path, seen: Identity) -> Option<String> {
    match identity::read(path) {
        Ok(now) if now == seen => None,
        Ok(_) => Some(format!("another folder has taken the place of {}; it is looked at afresh", path.display())),
        Err(error) => Some(format!("the folder {} is gone: mount it, or correct its path: {error}", path.display())),
    }
}

fn state_of(shared: &Shared) -> (FolderState, Option<String>) {
    let live = &shared.activity.live;
    if let Some(outage) = shared.gate.outage() {
        return (FolderState::Degraded, Some(outage.reason));
    }
    let mut reasons = Vec::new();
    if live.in_doubt.load(Ordering::Relaxed) {
        reasons.push(deletes::doubt(&shared.pipeline.folder));
    }
    reasons.extend(live.doubts());
    if live.out_of_watches.load(Ordering::Relaxed) {
        reasons.push("the kernel allows no more watches: raise fs.inotify.max_user_watches".to_owned());
    }
    let unseen = shared.pipeline.unseen.count();
    if unseen > 0 {
        reasons.push(format!("{unseen} directories can't be listed"));
    }
    let held = live.held.load(Ordering::Relaxed);
    if held > 0 {
        reasons.push(format!("{held} deletions are held"));
    }
    let failed = live.failed.load(Ordering::Relaxed);
    if failed > 0 {
        reasons.push(format!("{failed} paths failed"));
    }
    let damaged = live.damaged.load(Ordering::Relaxed);
    if damaged > 0 {
        reasons.push(catalog::verification::damage(damaged));
    }
    let unrecorded = shared.pipeline.unrecorded.count();
    if unrecorded > 0 {
        reasons.push(format!("the catalog refuses the rows of {unrecorded} paths; the log says why"));
    }
    if !reasons.is_empty() {
        return (FolderState::Degraded, Some(reasons.join(", ")));
    }
    let catching_up = live.catching_up.load(Ordering::Relaxed) || shared.activity.wishes.is_wished();
    if catching_up || live.feed.depth() > 0 {
        return (FolderState::Syncing, None);
    }
    (FolderState::InSync, None)
}
