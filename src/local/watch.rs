//! The watcher: tells which paths something has happened to, and nothing else. What has happened is found out by looking.
//!
//! Each directory has a watch of its own, none is recursive: excluded directories are not watched at all, and a new one is
//! watched before it is read ([`Watch::directory`]). The directories are shared out over several inotify instances, since
//! notify goes through all watches of an instance for each directory that is removed.
//!
//! On macOS (FSEvents) one recursive stream per directory would come instead, with latency of its own and without the kernel's
//! word on closed files. That path is not tested here.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::ShownPath;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Config, Error, ErrorKind, Event, EventHandler, EventKind, EventKindMask, RecommendedWatcher};
use notify::{RecursiveMode, Watcher, WatcherKind};
use notify_debouncer_full::{DebounceEventResult, Debouncer, NoCache, new_debouncer_opt};

/// Instances that the directories are shared out over. The kernel allows a user 128 by default.
const INSTANCES: usize = 8;
/// The debouncer's tick is a quarter of its quiet time, and at least this.
const SHORTEST_TICK: Duration = Duration::from_millis(10);

/// What the watcher tells. Called from its threads; must not block.
pub trait Sink: Send + Sync + 'static {
    /// Something has happened to this path and it has been quiet since.
    fn changed(&self, path: &Path);
    /// A directory has appeared here: it is to be watched and gone through.
    fn appeared(&self, directory: &Path);
    /// Events were lost, so anything may have changed.
    fn overflowed(&self);
    /// The kernel allows no more watches: changes below this directory are not seen.
    fn out_of_watches(&self, directory: &Path);
}

/// Keeps the watches. Dropping it ends them.
pub struct Watch {
    instances: Vec<Mutex<RecommendedWatcher>>,
    hasher: BuildHasherDefault<DefaultHasher>,
    sink: Arc<dyn Sink>,
    /// The inode that was watched under each path, both in eight bytes.
    watched: Mutex<HashMap<u64, u64>>,
    _debouncer: Option<Debouncer<Relay, NoCache>>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("instances", &self.instances.len()).finish_non_exhaustive()
    }
}

/// The watcher could not begin.
#[derive(Debug, thiserror::Error)]
#[error("begin to watch: raise fs.inotify.max_user_instances if it is used up")]
pub struct WatchError(#[source] Error);

impl Watch {
    /// Watches nothing yet. Paths are told after `debounce` of quiet, but at least each `max_delay` while they never go quiet.
    ///
    /// # Errors
    /// If the kernel grants no instance.
    pub fn new(debounce: Duration, max_delay: Duration, sink: Arc<dyn Sink>) -> Result<Self, WatchError> {
        let tap =
            Arc::new(Tap { sink: Arc::clone(&sink), debounced: Mutex::new(None), first: Mutex::default(), max_delay });
        let debouncer = if debounce.is_zero() { None } else { Some(debouncer(debounce, &tap)?) };
        let config = Config::default()
            .with_follow_symlinks(false)
            // Our own reading must not be told, or each upload would lead to the next look.
            .with_event_kinds(EventKindMask::CORE | EventKindMask::ACCESS_CLOSE);
        let mut instances = Vec::with_capacity(INSTANCES);
        for _ in 0..INSTANCES {
            let tap = Arc::clone(&tap);
            match RecommendedWatcher::new(move |event| tap.take(event), config) {
                Ok(watcher) => instances.push(Mutex::new(watcher)),
                // Fewer do as well, only slower when directories go.
                Err(error) if !instances.is_empty() => {
                    tracing::debug!(
                        error = %crate::model::chain(&error),
                        "fewer inotify instances than wished for"
                    );
                    break;
                }
                Err(error) => return Err(WatchError(error)),
            }
        }
        Ok(Self {
            instances,
            hasher: BuildHasherDefault::default(),
            sink,
            watched: Mutex::default(),
            _debouncer: debouncer,
        })
    }

    /// Watches a directory, not what lies below it. Called again for one that is watched, it makes sure of it. Blocks, and
    /// must not be called from the sink.
    ///
    /// A watch is the inode's, not the path's, and the watcher takes a path that it has for watched, whatever has taken its
    /// place. So one that has another inode now, or that has just `appeared` and may have been elsewhere meanwhile, is set
    /// afresh; not the others, since the watcher goes through all its watches for each that it gives up.
    pub fn directory(&self, path: &Path, appeared: bool) {
        let hash = self.hasher.hash_one(path);
        let index = usize::try_from(hash).unwrap_or(usize::MAX) % self.instances.len();
        let Ok(seen) = path.symlink_metadata() else { return };
        let mut watcher = self.instances[index].lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, seen.ino());
        if before.is_some_and(|inode| appeared || inode != seen.ino()) {
            // Its watch may have gone with what was there before, which is as well.
            let _ = watcher.unwatch(path);
        }
        if let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive) {
            self.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
            drop(watcher);
            self.refused(path, &error);
        }
    }

    /// Directories that were given a watch. Those that have gone since are among them.
    pub fn count(&self) -> u64 {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn refused(&self, path: &Path, error: &Error) {
        match &error.kind {
            ErrorKind::MaxFilesWatch => self.sink.out_of_watches(path),
            // It has gone meanwhile: its parent tells.
            ErrorKind::PathNotFound | ErrorKind::WatchNotFound => {}
            ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::NotFound => {}
            ErrorKind::Io(_) | ErrorKind::Generic(_) | ErrorKind::InvalidConfig(_) => {
                tracing::warn!(path = %ShownPath(path), error = %crate::model::chain(error), "failed to watch a directory; the reconciliation will see its changes");
            }
        }
    }
}

/// What every event goes through first.
struct Tap {
    sink: Arc<dyn Sink>,
    /// The way into the debouncer, if there is one.
    debounced: Mutex<Option<Box<dyn EventHandler>>>,
    /// When each path that is in the debouncer was first told, since it forgets it while events go on.
    first: Mutex<HashMap<PathBuf, Instant>>,
    max_delay: Duration,
}

impl Tap {
    fn take(&self, event: Result<Event, Error>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => return self.failed(&error),
        };
        // Before anything else: an overflow may come without any path.
        if event.need_rescan() {
            return self.sink.overflowed();
        }
        if is_read_only(&event.kind) {
            return;
        }
        let arrived = arrived(&event);
        for path in event.paths {
            // A name that arrived may be of a directory with all its content, of which nothing else will tell.
            if arrived.tells(&path) {
                self.sink.appeared(&path);
            }
            self.pass_on(path);
        }
    }

    fn failed(&self, error: &Error) {
        match &error.kind {
            ErrorKind::MaxFilesWatch => {
                let nowhere = PathBuf::new();
                self.sink.out_of_watches(error.paths.first().unwrap_or(&nowhere));
            }
            ErrorKind::Io(_)
            | ErrorKind::Generic(_)
            | ErrorKind::PathNotFound
            | ErrorKind::WatchNotFound
            | ErrorKind::InvalidConfig(_) => {
                tracing::warn!(
                    error = %crate::model::chain(error),
                    "the watcher met an error; everything is looked at again"
                );
                self.sink.overflowed();
            }
        }
    }

    /// Into the debouncer, without its kind: the debouncer would pair renames and swallow events by kind, and a removal would
    /// make it go through all paths that it has.
    fn pass_on(&self, path: PathBuf) {
        let mut debounced = self.debounced.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handler) = debounced.as_mut() else { return self.sink.changed(&path) };
        let now = Instant::now();
        let overdue = {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            let since = first.entry(path.clone()).or_insert(now);
            let overdue = now.duration_since(*since) >= self.max_delay;
            if overdue {
                *since = now;
            }
            overdue
        };
        if overdue {
            self.sink.changed(&path);
        }
        handler.handle_event(Ok(Event::new(EventKind::Modify(ModifyKind::Any)).add_path(path)));
    }

    fn quiet(&self, result: DebounceEventResult) {
        match result {
            Ok(events) => {
                let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
                for event in &events {
                    for path in &event.paths {
                        first.remove(path);
                        self.sink.changed(path);
                    }
                }
            }
            Err(errors) => errors.iter().for_each(|error| self.failed(error)),
        }
    }
}

/// Whether the event only says that somebody has read.
fn is_read_only(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

/// What of an event's paths may be a directory that has just appeared.
enum Arrived {
    No,
    /// The kernel says that it is a directory.
    Directory,
    /// A rename, of which the kernel's word on the kind was lost.
    Renamed,
}

fn arrived(event: &Event) -> Arrived {
    match event.kind {
        EventKind::Create(CreateKind::Folder) => Arrived::Directory,
        EventKind::Create(CreateKind::Any | CreateKind::Other)
        | EventKind::Modify(ModifyKind::Name(
            RenameMode::To | RenameMode::Both | RenameMode::Any | RenameMode::Other,
        )) => Arrived::Renamed,
        EventKind::Any
        | EventKind::Access(_)
        | EventKind::Create(CreateKind::File)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => Arrived::No,
    }
}

impl Arrived {
    fn tells(&self, path: &Path) -> bool {
        match self {
            Self::No => false,
            Self::Directory => true,
            Self::Renamed => path.symlink_metadata().is_ok_and(|seen| seen.is_dir()),
        }
    }
}

/// A debouncer that is fed by hand: the watches are ours, so that it neither keeps a list of them nor unwatches.
fn debouncer(quiet: Duration, tap: &Arc<Tap>) -> Result<Debouncer<Relay, NoCache>, WatchError> {
    let tick = (quiet / 4).max(SHORTEST_TICK).min(quiet);
    let told = Arc::clone(tap);
    let handler = move |result: DebounceEventResult| told.quiet(result);
    let debouncer = new_debouncer_opt::<_, Relay, _>(quiet, Some(tick), handler, NoCache::new(), Config::default());
    let debouncer = debouncer.map_err(WatchError)?;
    *tap.debounced.lock().unwrap_or_else(PoisonError::into_inner) = HANDLER.take();
    Ok(debouncer)
}

thread_local! {
    /// The debouncer gives its handler only to a watcher that it makes itself; this is how it gets out of there.
    static HANDLER: Cell<Option<Box<dyn EventHandler>>> = const { Cell::new(None) };
}

/// A watcher that watches nothing, in the debouncer's hands.
#[derive(Debug)]
struct Relay;

impl Watcher for Relay {
    fn new<F: EventHandler>(handler: F, _config: Config) -> notify::Result<Self> {
        HANDLER.set(Some(Box::new(handler)));
        Ok(Self)
    }

    fn watch(&mut self, _path: &Path, _mode: RecursiveMode) -> notify::Result<()> {
        Ok(())
    }

    fn unwatch(&mut self, _path: &Path) -> notify::Result<()> {
        Ok(())
    }

    fn kind() -> WatcherKind {
        WatcherKind::NullWatcher
    }
}
