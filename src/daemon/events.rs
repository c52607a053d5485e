//! From the watcher's threads into a folder's queue.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::daemon::live::Live;
use crate::daemon::wishes::{Cause, Wishes};
use crate::local::exclude::IGNORE_FILE;
use crate::local::look::Root;
use crate::local::watch::Sink;
use crate::model::{RelPath, ShownPath};
use crate::queue::Scope;

/// Takes what the watcher tells of one folder. Nothing is decided here: paths are nominated, that is all.
#[derive(Debug)]
pub struct Events {
    /// Canonical, as the watches are set.
    pub root: PathBuf,
    /// Its rules: what is excluded is not even nominated.
    pub rules: Arc<Root>,
    /// Where it is seen.
    pub live: Arc<Live>,
    /// Anything may have changed: a full reconciliation is wanted.
    pub wishes: Arc<Wishes>,
}

impl Events {
    fn relative(&self, path: &Path) -> Option<RelPath> {
        let below = path.strip_prefix(&self.root).ok()?;
        Some(RelPath::from_raw(below.as_os_str().as_bytes()))
    }

    fn nominate(&self, path: &Path, scope: Scope) {
        let Some(path) = self.relative(path) else { return };
        if path.as_str() == IGNORE_FILE {
            self.live.rules_changed.store(true, Ordering::Relaxed);
        }
        // The root is looked at by its identity, not as a path.
        if !path.as_str().is_empty() && !self.rules.excludes().excludes(&path) {
            self.live.feed.nominate_event(path, scope);
        }
    }
}

impl Sink for Events {
    fn changed(&self, path: &Path) {
        self.nominate(path, Scope::Path);
    }

    fn appeared(&self, directory: &Path) {
        self.nominate(directory, Scope::Tree);
    }

    fn overflowed(&self) {
        self.live.overflows.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(folder = %self.live.name, "events of the folder were lost; it is gone through as a whole");
        self.wishes.wish(Cause::Overflow);
    }

    fn out_of_watches(&self, directory: &Path) {
        if !self.live.out_of_watches.swap(true, Ordering::Relaxed) {
            tracing::error!(
                folder = %self.live.name,
                path = %ShownPath(directory),
                "the kernel allows no more watches: raise fs.inotify.max_user_watches (sysctl); until then the folder is gone through more often"
            );
        }
    }
}
