//! Random operations on a folder, the same ones for the same seed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::operation::{Content, Operation};
use super::presence::Presence;
use agent_portail::local::exclude::IGNORE_FILE;

/// Beyond it, removals take turns with everything else: a folder that only grows is another test.
const FILES: usize = 500;
/// Levels of directories, above which nothing is put into another.
const DEPTH: usize = 8;
/// Larger than any `part_size` that a test may choose.
const LARGE: usize = 5 << 20;

/// Somebody who works on the files of a folder.
pub struct Churn {
    /// The folder, wherever it is at the moment.
    pub root: PathBuf,
    /// Beside it: trees are moved there and back.
    outside: PathBuf,
    random: StdRng,
    presence: Arc<Presence>,
    moved: u32,
    /// Makes hard links, too. What is written under one of a file's names is told by no event of its other names.
    pub hard_links: bool,
    /// Tells each operation on standard output.
    pub tells: bool,
    /// What has this name is left alone.
    pub spared: Option<OsString>,
}

/// What is in the folder, in an order that depends on the names only.
struct Listing {
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// Symbolic links and pipes.
    skipped: Vec<PathBuf>,
}

impl Churn {
    /// On the folder `root`; `outside` is an empty directory of the same file system.
    pub fn new(seed: u64, root: &Path, outside: &Path, presence: Arc<Presence>) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self {
            root: root.to_owned(),
            outside: outside.to_owned(),
            random,
            presence,
            moved: 0,
            hard_links: false,
            tells: false,
            spared: None,
        }
    }

    /// Does this many operations, with a pause after each. Those that can't be done, such as the rename of a directory into
    /// itself, are not counted.
    pub fn work(&mut self, operations: usize, pause: Duration) {
        let mut done = 0;
        while done < operations {
            let operation = self.draw();
            self.presence.vanishing(&self.root, &operation.vanishing());
            let result = operation.apply();
            self.presence.appearing(&self.root, &operation.appearing());
            if self.tells && result.is_ok() {
                let text = format!("{operation:?}");
                println!("    {}", text.replace(&self.root.to_string_lossy().to_string(), "").replace("\"/", "\""));
            }
            done += usize::from(result.is_ok());
            std::thread::sleep(pause);
        }
    }

    fn draw(&mut self) -> Operation {
        let found = list(&self.root, self.spared.as_deref());
        let directory = self.pick(&found.directories).unwrap_or_else(|| self.root.clone());
        let new = directory.join(self.name());
        let file = self.pick(&found.files).unwrap_or_else(|| new.clone());
        let beside = file.with_file_name(self.name());
        let other = self.pick(&found.files).unwrap_or_else(|| new.clone());
        let skipped = self.pick(&found.skipped).unwrap_or_else(|| new.clone());
        let content = self.content();
        let is_root = directory == self.root;
        let is_deep = directory.components().count() - self.root.components().count() > DEPTH;
        if found.files.len() > FILES && self.random.random_bool(0.3) {
            return if is_root { Operation::Remove(file) } else { Operation::RemoveTree(directory) };
        }
        match self.random.random_range(0..1000) {
            0..150 => Operation::Write(new, content),
            150..240 => Operation::Write(file, content),
            240..310 => Operation::Append(file, content),
            310..350 => Operation::Truncate(file, self.random.random_range(0..4000)),
            350..420 => Operation::Save(file, content),
            420..510 => Operation::Again(file, content, self.gap()),
            510..560 => Operation::Rename(file, beside),
            560..610 => Operation::Rename(file, new),
            610..650 => Operation::Rename(file, other),
            650..690 if !is_root && !is_deep => {
                let target = self.pick(&found.directories).unwrap_or_else(|| self.root.clone());
                Operation::Rename(directory, target.join(self.name()))
            }
            690..720 if self.hard_links => Operation::Link(file, new),
            720..790 if !is_deep => Operation::Burst(new, self.burst()),
            790..850 => Operation::Remove(file),
            850..870 if !is_root => Operation::RemoveTree(directory),
            870..900 => Operation::Mode(file, 0o600 + self.random.random_range(0..0o100)),
            900..930 => Operation::Stamp(file, self.random.random_range(0..2_000_000_000)),
            930..945 => Operation::Symlink(new, self.target(&found)),
            945..950 => Operation::Pipe(new),
            950..965 => Operation::Remove(skipped),
            965..980 if !is_root => Operation::Rename(directory, self.slot()),
            980..995 if !is_deep => Operation::Rename(self.taken(), new),
            995..998 => Operation::Write(new, Content { length: LARGE + content.length * 1000, ..content }),
            _ => Operation::Write(new, content),
        }
    }

    fn pick(&mut self, paths: &[PathBuf]) -> Option<PathBuf> {
        if paths.is_empty() { None } else { Some(paths[self.random.random_range(0..paths.len())].clone()) }
    }

    /// A name that others draw too, now and then an odd one.
    fn name(&mut self) -> OsString {
        let number: u32 = self.random.random_range(0..40);
        match number {
            0 => OsString::from("zwei Wörter"),
            1 => OsString::from("%41"),
            2 => OsString::from("new\nline"),
            3 => OsString::from_vec(b"latin-\xe9".to_vec()),
            4 => OsString::from("漢字 & <tag>"),
            // Excluded whenever the rule of the tests is in force.
            5..8 => OsString::from(format!("n{number}.skip")),
            // In byte order these lie between a directory and what it holds.
            8 => OsString::from("n9-"),
            10 => OsString::from("n9.x"),
            _ => OsString::from(format!("n{number}")),
        }
    }

    fn content(&mut self) -> Content {
        let length = if self.random.random_bool(0.05) { 0 } else { self.random.random_range(1..3000) };
        Content { seed: self.random.random(), length }
    }

    /// Mostly a handful of files, now and then a crowd, once in a while more than the smallest queue holds.
    fn burst(&mut self) -> u64 {
        match self.random.random_range(0..100) {
            0 => 1200,
            1..5 => 200,
            _ => self.random.random_range(0..12),
        }
    }

    /// For as long as a file is absent: hardly at all, until its deletion is about to be judged, or until its object has gone.
    fn gap(&mut self) -> Duration {
        let longest = [5, 150, 500][self.random.random_range(0..3)];
        Duration::from_millis(self.random.random_range(0..longest))
    }

    /// Of a symbolic link: a file or directory of the folder, something outside, or nothing.
    fn target(&mut self, found: &Listing) -> PathBuf {
        match self.random.random_range(0..4) {
            0 => self.pick(&found.files).unwrap_or_default(),
            1 => self.pick(&found.directories).unwrap_or_default(),
            2 => PathBuf::from("/etc/hostname"),
            _ => PathBuf::from("nowhere"),
        }
    }

    /// A new place outside.
    fn slot(&mut self) -> PathBuf {
        self.moved += 1;
        self.outside.join(self.moved.to_string())
    }

    /// Something that was moved outside.
    fn taken(&mut self) -> PathBuf {
        self.outside.join(self.random.random_range(0..=self.moved).to_string())
    }
}

/// All directories and files below the root.
pub fn below(root: &Path) -> Vec<PathBuf> {
    let mut found = list(root, None);
    found.directories.remove(0);
    found.directories.append(&mut found.files);
    found.directories
}

/// Without following any link. Files of the tests' own are left out.
fn list(root: &Path, spared: Option<&OsStr>) -> Listing {
    let mut found = Listing { directories: vec![root.to_owned()], files: Vec::new(), skipped: Vec::new() };
    let mut next = 0;
    while let Some(directory) = found.directories.get(next).cloned() {
        next += 1;
        let Ok(entries) = fs::read_dir(directory) else { continue };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        let is_spared = |name: &OsStr| name == IGNORE_FILE || Some(name) == spared;
        for entry in entries.into_iter().filter(|entry| !is_spared(&entry.file_name())) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => found.directories.push(entry.path()),
                Ok(kind) if kind.is_file() => found.files.push(entry.path()),
                Ok(_) => found.skipped.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    found
}
