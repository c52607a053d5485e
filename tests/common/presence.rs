//! What is certain of a folder's files at each moment, seen from outside the program: so that a deletion of an object whose
//! file was there all the time does not go unnoticed, however soon it is put right.
//!
//! The promise that is checked: **an object is not deleted if its file was there without a break since before its last
//! upload.** A deletion needs a look that finds the file absent; that look comes after the path's last upload was answered, since
//! only one worker at a time has a path, and before the request to delete. So if the file was there all the time between the
//! upload's arrival at the store and the request to delete, then no look can have found it absent, whatever was slow,
//! repeated, lost, stopped or killed in between. There is no time limit in it that a busy machine could break.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Instant, SystemTime};

use agent_portail::local::exclude::IGNORE_FILE;
use agent_portail::model::RelPath;

use super::s3::Seen;

/// Knows which files are there.
pub struct Presence {
    prefix: String,
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Paths at which a regular file is, and since when without a break.
    since: BTreeMap<String, Instant>,
    /// Paths at which something has ever been that is skipped: a symbolic link, a pipe.
    skipped: BTreeSet<String>,
    /// When an upload of each key last arrived at the store, by both clocks.
    uploads: HashMap<String, (Instant, SystemTime)>,
    /// Keys of objects that are none of the program's business.
    foreign: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Presence {
    /// Of an empty folder whose keys begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), began: Instant::now(), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Called before an operation: what is at and below these paths may be absent from now on.
    pub fn vanishing(&self, root: &Path, paths: &[&Path]) {
        let mut inner = self.lock();
        for path in paths.iter().filter_map(|path| relative(root, path)) {
            inner.since.remove(&path);
            // What lies below `d` is the range from `d/` to `d0`, the byte after the slash.
            let below = (Bound::Included(format!("{path}/")), Bound::Excluded(format!("{path}0")));
            let gone: Vec<String> = inner.since.range(below).map(|(path, _)| path.clone()).collect();
            for path in gone {
                inner.since.remove(&path);
            }
        }
    }

    /// Called after an operation, by whoever works on the files: what is at and below these paths is there from now on.
    pub fn appearing(&self, root: &Path, paths: &[&Path]) {
        let mut left: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
        let (mut files, mut skipped) = (Vec::new(), Vec::new());
        while let Some(path) = left.pop() {
            let (Some(name), Ok(seen)) = (relative(root, &path), path.symlink_metadata()) else { continue };
            if seen.is_dir() {
                left.extend(path.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()));
            } else if !seen.is_file() {
                skipped.push(name);
            } else if name != IGNORE_FILE {
                files.push(name);
            }
        }
        let now = Instant::now();
        let mut inner = self.lock();
        inner.skipped.extend(skipped);
        for path in files {
            inner.since.entry(path).or_insert(now);
        }
    }

    /// Somebody else has put an object that must stay.
    pub fn foreign(&self, key: &str) {
        self.lock().foreign.insert(key.to_owned());
    }

    /// Called with each request of the program.
    pub fn requested(&self, seen: &Seen) {
        let now = Instant::now();
        let mut inner = self.lock();
        match seen.operation {
            "PutObject" | "CopyObject" | "CompleteMultipartUpload" => {
                for key in &seen.keys {
                    inner.uploads.insert(key.clone(), (now, SystemTime::now()));
                }
            }
            "DeleteObject" | "DeleteObjects" => {
                for key in &seen.keys {
                    self.deleting(&mut inner, seen.operation, key, now);
                }
            }
            _ => {}
        }
    }

    fn deleting(&self, inner: &mut Inner, operation: &str, key: &str, now: Instant) {
        let at = |moment: Instant| format!("{:.3} s", moment.duration_since(self.began).as_secs_f64());
        if inner.foreign.contains(key) {
            inner.wrong.push(format!("{operation} of the foreign object {key:?} at {}", at(now)));
        }
        let Some(path) = key.strip_prefix(&self.prefix) else {
            inner.wrong.push(format!("{operation} of {key:?}, which is not below the prefix, at {}", at(now)));
            return;
        };
        let (Some(&since), Some(&(uploaded, _))) = (inner.since.get(path), inner.uploads.get(key)) else { return };
        if since < uploaded {
            inner.wrong.push(format!(
                "{operation} of {key:?} at {}: its file is there since {} and was last uploaded at {}",
                at(now),
                at(since),
                at(uploaded)
            ));
        }
    }

    /// What must not have happened.
    pub fn wrong(&self) -> Vec<String> {
        self.lock().wrong.clone()
    }

    /// Whether somebody else has put it.
    pub fn is_foreign(&self, key: &str) -> bool {
        self.lock().foreign.contains(key)
    }

    /// Whether something that is skipped has ever been at this path or above it: then its row was dropped and the object kept.
    pub fn was_skipped(&self, path: &str) -> bool {
        let inner = self.lock();
        let mut above = path.match_indices('/').map(|(end, _)| &path[..end]);
        inner.skipped.contains(path) || above.any(|above| inner.skipped.contains(above))
    }

    /// When an upload of this key last arrived at the store.
    pub fn uploaded(&self, key: &str) -> Option<SystemTime> {
        self.lock().uploads.get(key).map(|(_, time)| *time)
    }

    /// Since the beginning.
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}

/// As key and row have it; none outside the folder.
fn relative(root: &Path, path: &Path) -> Option<String> {
    use std::os::unix::ffi::OsStrExt as _;
    let below = path.strip_prefix(root).ok()?;
    Some(RelPath::from_raw(below.as_os_str().as_bytes()).as_str().to_owned())
}
