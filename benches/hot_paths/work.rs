//! The work that is measured, a function each. None is inlined, so that callgrind can count each of them by its name.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use agent_portail::config::settings::DeletePolicy;
use agent_portail::local::hash::{self, Wanted};
use agent_portail::local::look::Root;
use agent_portail::local::walk::{Visitor, walk};
use agent_portail::model::{Digest, FileMeta, Local, ObjectKey, RelPath, Remote, Row, Walked, encode_name};
use agent_portail::plan::{self, Conclusion, Decision};
use agent_portail::queue::{Hint, Pace, Queue, Scope, Settled};
use agent_portail::sync::merge::Merge;

/// A path as it was seen in the three worlds.
pub(crate) struct Seen {
    pub(crate) local: Local,
    pub(crate) row: Row,
    pub(crate) remote: Remote,
    pub(crate) digest: Digest,
}

/// Merges three streams of equal length that agree; answers the number of steps.
#[inline(never)]
pub(crate) fn merge(walked: &[Walked], rows: &[RelPath], objects: &[String]) -> usize {
    let (mut merge, mut steps) = (Merge::default(), 0);
    let (mut entry, mut row, mut object) = (0, 0, 0);
    while let Some(step) =
        merge.step(walked.get(entry), rows.get(row), objects.get(object).map(String::as_str), |_| false)
    {
        entry += usize::from(step.walked);
        row += usize::from(step.row);
        object += usize::from(step.object);
        steps += 1;
    }
    steps
}

/// Decides on each path; answers how many deserve work.
#[inline(never)]
pub(crate) fn decide(seen: &[Seen]) -> usize {
    let decide = |path: &&Seen| {
        plan::decide(&path.local, Some(&path.row), &path.remote, DeletePolicy::Mirror) != Decision::Nothing
    };
    seen.iter().filter(decide).count()
}

/// Concludes from each digest whether the object is to be adopted; answers how many are.
#[inline(never)]
pub(crate) fn conclude(seen: &[Seen]) -> usize {
    let size = |path: &Seen| path.row.synced.as_ref().map_or(0, |synced| synced.size);
    let conclude = |path: &&Seen| {
        plan::conclude(&Decision::Adopt, size(path), path.digest, None, &path.remote) == Conclusion::Adopt
    };
    seen.iter().filter(conclude).count()
}

/// Nominates each path as a reconciliation does, and takes them off in batches as the workers do.
#[inline(never)]
pub(crate) fn queue_found(paths: &[RelPath]) -> usize {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    for path in paths {
        queue.nominate(path.clone(), Hint { by_reconciliation: true, ..Hint::EVENT }, now);
    }
    drain(&mut queue, now)
}

/// Nominates each path by two events, as a file that is made and closed has them.
#[inline(never)]
pub(crate) fn queue_events(paths: &[RelPath]) -> usize {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    for path in paths {
        queue.nominate_event(path.clone(), Scope::Path, now);
        queue.nominate_event(path.clone(), Scope::Path, now);
    }
    drain(&mut queue, now)
}

/// More events than the queue has room for: they collapse into directories.
#[inline(never)]
pub(crate) fn queue_collapse(paths: &[RelPath]) -> usize {
    let (mut queue, now) = (Queue::new(Pace { capacity: paths.len() / 10, ..PACE }), Instant::now());
    for path in paths {
        queue.nominate_event(path.clone(), Scope::Path, now);
    }
    drain(&mut queue, now)
}

const PACE: Pace = Pace { capacity: 1_000_000, quiet: Duration::from_millis(200), max_delay: Duration::from_secs(30) };

fn drain(queue: &mut Queue, now: Instant) -> usize {
    let mut done = 0;
    loop {
        let jobs = queue.pop(now, 256);
        if jobs.is_empty() {
            return done;
        }
        for job in jobs {
            queue.settle(&job.path, Settled::Done, now);
            done += 1;
        }
    }
}

/// Walks a folder; answers the number of entries.
#[inline(never)]
pub(crate) fn walk_folder(root: &Root) -> usize {
    let (mut entries, mut directories) = (0, 0);
    let mut sink = |_: Walked| {
        entries += 1;
        ControlFlow::Continue(())
    };
    let mut on_directory = |_: &Path| directories += 1;
    let counts = walk(root, None, Visitor { on_directory: &mut on_directory, sink: &mut sink });
    assert_eq!(counts.unwrap().directories, directories);
    entries
}

/// Makes path and key of each name as it comes from the file system; answers the bytes of all keys.
#[inline(never)]
pub(crate) fn keys(names: &[Vec<u8>]) -> usize {
    names.iter().map(|name| ObjectKey::new("documents/", &RelPath::from_raw(name)).as_str().len()).sum()
}

/// Encodes each name, of which none is UTF-8.
#[inline(never)]
pub(crate) fn encode(names: &[Vec<u8>]) -> usize {
    names.iter().map(|name| encode_name(name).len()).sum()
}

/// Reads and hashes a file as before an upload.
#[inline(never)]
pub(crate) fn read_and_hash(file: &File, meta: FileMeta, wanted: Wanted<'_>) -> Digest {
    hash::read(file, meta, wanted, &|_| true).unwrap().digest
}
