//! The walk: every entry of a folder, in byte order of the encoded path, which is the order of S3's keys.
//!
//! A directory's names are sorted with `/` after those of subdirectories, so that `a-b` < `a/b` < `a0`. In memory are the names
//! of the directories that are open, one a level; nothing grows with the number of files.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::config::settings::SymlinkPolicy;
use crate::local::exclude::is_temporary;
use crate::local::look::{Resolved, Root, collision_message};
use crate::local::stat::MountId;
use crate::local::{identity, stat};
use crate::model::{Entry, Local, RelPath, SkipReason, Walked, encode_name};

/// What a walk has seen besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkCounts {
    /// Directories entered, the root included.
    pub directories: u64,
    /// Directories without any entry: they have no object and no row.
    pub empty_directories: u64,
}

/// What an entry is to the walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    File,
    Directory,
    /// A link that is followed to a file in the folder.
    LinkToFile,
    /// A link that is followed to a directory in the folder.
    LinkToDirectory,
    Skipped(SkipReason),
    SkippedDirectory(SkipReason),
    Unseen(Errno),
}

impl Kind {
    fn is_directory(self) -> bool {
        match self {
            Self::Directory | Self::LinkToDirectory | Self::SkippedDirectory(_) => true,
            Self::File | Self::LinkToFile | Self::Skipped(_) | Self::Unseen(_) => false,
        }
    }
}

/// A name in the arena of its [`Level`].
#[derive(Clone, Copy)]
struct Name {
    start: usize,
    encoded: u16,
    /// 0 where it is the same as the encoded one.
    raw: u16,
    kind: Kind,
}

/// A directory that is being walked.
struct Level {
    fd: OwnedFd,
    /// The names' bytes one after another: encoded, then raw where it differs.
    bytes: Vec<u8>,
    names: Vec<Name>,
    next: usize,
    /// Lengths of the path up to and with this directory's `/`, encoded and raw.
    encoded_len: usize,
    raw_len: usize,
    /// Without links, where links are followed: a link to it would be a circle.
    canonical: Option<PathBuf>,
    mount: MountId,
}

impl Level {
    fn encoded(&self, name: &Name) -> &[u8] {
        &self.bytes[name.start..name.start + usize::from(name.encoded)]
    }

    fn raw(&self, name: &Name) -> &[u8] {
        match usize::from(name.raw) {
            0 => self.encoded(name),
            raw => {
                let start = name.start + usize::from(name.encoded);
                &self.bytes[start..start + raw]
            }
        }
    }

    /// Sorts by the encoded name, with `/` after directories.
    fn sort(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let key = |name: &Name| {
            let tail: &[u8] = if name.kind.is_directory() { b"/" } else { b"" };
            bytes[name.start..name.start + usize::from(name.encoded)].iter().chain(tail)
        };
        self.names.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        self.bytes = bytes;
    }
}

/// Who takes part in a walk.
pub struct Visitor<'v> {
    /// Called with each directory before its names are read, so that a watch can be set first and nothing slips between.
    pub on_directory: &'v mut dyn FnMut(&Path),
    /// Takes each entry; stops the walk by answering `Break`.
    pub sink: &'v mut dyn FnMut(Walked) -> ControlFlow<()>,
}

/// Walks the folder, or what lies at and below `start` in it, and shows each entry to the visitor.
///
/// A directory or file that can't be seen is an entry of its own, never an error of the walk; only the root itself must be
/// readable.
pub fn walk(root: &Root, start: Option<&RelPath>, visitor: Visitor<'_>) -> io::Result<WalkCounts> {
    let mut walk = Walk {
        root,
        encoded: String::new(),
        raw: Vec::new(),
        levels: Vec::new(),
        known: root.mounts().iter().map(|mount| mount.path.raw().into()).collect(),
        counts: WalkCounts::default(),
        on_directory: visitor.on_directory,
    };
    match start.filter(|start| !start.as_str().is_empty()) {
        None => {
            let again = rustix::fs::openat(root.fd(), c".", directory_flags(), Mode::empty())?;
            walk.enter(again, Some(root.path().to_owned()))?;
        }
        Some(start) => {
            // The mounts that it lies on come first, as they would in a walk from the root.
            for mount in root.mounts_towards(start)? {
                let what = Entry::Mount { identity: mount.identity, mounted: mount.mounted };
                if (visitor.sink)(Walked { path: mount.path, what }).is_break() {
                    return Ok(walk.counts);
                }
            }
            if let Some(what) = walk.begin_at(start)
                && (visitor.sink)(Walked { path: start.clone(), what }).is_break()
            {
                return Ok(walk.counts);
            }
        }
    }
    while let Some(level) = walk.levels.last_mut() {
        walk.encoded.truncate(level.encoded_len);
        walk.raw.truncate(level.raw_len);
        let Some(&name) = level.names.get(level.next) else {
            walk.levels.pop();
            continue;
        };
        level.next += 1;
        let collides = level.names.get(level.next).is_some_and(|other| {
            other.kind.is_directory() == name.kind.is_directory() && level.encoded(other) == level.encoded(&name)
        });
        // Valid by construction: `encode_name` made it.
        walk.encoded.push_str(&String::from_utf8_lossy(level.encoded(&name)));
        walk.raw.extend_from_slice(level.raw(&name));
        let walked = if collides { Some(walk.collision(&name)) } else { walk.visit(&name) };
        if let Some(what) = walked {
            // A directory that was entered has left its `/`.
            let (encoded, raw) = (walk.encoded.trim_end_matches('/'), walk.raw.as_slice());
            let raw = raw.strip_suffix(b"/").unwrap_or(raw);
            let path = RelPath::from_encoded(encoded, (raw != encoded.as_bytes()).then(|| raw.to_vec()));
            if (visitor.sink)(Walked { path, what }).is_break() {
                break;
            }
        }
    }
    Ok(walk.counts)
}

struct Walk<'r, 'v> {
    root: &'r Root,
    /// The path of the entry at hand, in both forms.
    encoded: String,
    raw: Vec<u8>,
    levels: Vec<Level>,
    /// What is known to be mounted.
    known: HashSet<Box<[u8]>>,
    counts: WalkCounts,
    on_directory: &'v mut dyn FnMut(&Path),
}

impl Walk<'_, '_> {
    /// Enters the directory at `start`; answers what stands there if it is something else. Nothing, if nothing does.
    fn begin_at(&mut self, start: &RelPath) -> Option<Entry> {
        self.encoded.push_str(start.as_str());
        self.raw.extend_from_slice(start.raw());
        let canonical = self.root.path().join(start.as_path());
        match self.root.open_directory(start) {
            Ok(fd) => self.descend(Ok(fd), Some(canonical)),
            Err(Local::Absent) => None,
            // What is known to be mounted above it says so itself, by not being there.
            Err(Local::Unknown(_)) if self.root.hides(start) => None,
            Err(local @ Local::Present(_)) => Some(Entry::Leaf(local)),
            Err(Local::Skipped(reason)) => Some(Entry::Leaf(Local::Skipped(reason))),
            Err(Local::Unknown(why)) => Some(Entry::UnreadableDirectory(why)),
        }
    }

    /// One entry for all names that are encoded alike, whatever their number.
    fn collision(&mut self, name: &Name) -> Entry {
        let why = collision_message(&self.encoded);
        if let Some(level) = self.levels.last_mut() {
            let encoded = level.encoded(name).to_vec();
            while level.names.get(level.next).is_some_and(|other| {
                other.kind.is_directory() == name.kind.is_directory() && level.encoded(other) == encoded
            }) {
                level.next += 1;
            }
        }
        if name.kind.is_directory() { Entry::UnreadableDirectory(why) } else { Entry::Leaf(Local::Unknown(why)) }
    }

    /// What is reported of an entry; none for a file that vanished meanwhile, and for a directory that was entered, unless
    /// something is mounted there.
    fn visit(&mut self, name: &Name) -> Option<Entry> {
        let level = self.levels.last()?;
        match name.kind {
            Kind::Skipped(reason) => Some(Entry::Leaf(Local::Skipped(reason))),
            Kind::SkippedDirectory(reason) => Some(Entry::SkippedDirectory(reason)),
            Kind::Unseen(errno) => Some(Entry::Leaf(Local::Unknown(message(errno)))),
            Kind::File => match stat::of_entry(&level.fd, level.raw(name)) {
                Ok(seen) if seen.kind == FileType::RegularFile => Some(Entry::Leaf(Local::Present(seen.meta))),
                // It is something else by now; the next pass sees what.
                Ok(_) => Some(Entry::Leaf(Local::Unknown("it changed its type during the walk".into()))),
                Err(Errno::NOENT) => None,
                Err(errno) => Some(Entry::Leaf(Local::Unknown(message(errno)))),
            },
            Kind::LinkToFile => match self.root.look(&RelPath::from_raw(&self.raw)) {
                Local::Absent => None,
                local @ (Local::Present(_) | Local::Skipped(_) | Local::Unknown(_)) => Some(Entry::Leaf(local)),
            },
            Kind::Directory => {
                let canonical = level.canonical.as_ref().map(|above| above.join(OsStr::from_bytes(level.raw(name))));
                self.descend(
                    rustix::fs::openat(&level.fd, level.raw(name), directory_flags(), Mode::empty()),
                    canonical,
                )
            }
            Kind::LinkToDirectory => match self.root.resolve(Path::new(OsStr::from_bytes(&self.raw))) {
                Resolved::Inside(target) => {
                    let canonical = self.root.path().join(&target);
                    let opened = rustix::fs::open(&canonical, directory_flags(), Mode::empty());
                    self.descend(opened, Some(canonical))
                }
                Resolved::Absent | Resolved::Bad => Some(Entry::SkippedDirectory(SkipReason::BadSymlink)),
                Resolved::Unknown(error) => Some(Entry::UnreadableDirectory(error.to_string().into())),
            },
        }
    }

    fn descend(&mut self, opened: Result<OwnedFd, Errno>, canonical: Option<PathBuf>) -> Option<Entry> {
        match opened {
            Ok(fd) => match self.enter(fd, canonical) {
                Ok(mount) => mount,
                Err(error) => Some(Entry::UnreadableDirectory(error.to_string().into())),
            },
            Err(Errno::NOENT) => None,
            Err(errno) => Some(Entry::UnreadableDirectory(message(errno))),
        }
    }

    /// Reads a directory's names, sorts them and makes it the innermost level; answers what stands there, if something is
    /// mounted there or was. Nothing of it counts if reading fails.
    fn enter(&mut self, fd: OwnedFd, canonical: Option<PathBuf>) -> io::Result<Option<Entry>> {
        let mount = stat::mount_of(&fd)?;
        let mounted = self.levels.last().is_some_and(|above| above.mount != mount);
        let is_known = !self.levels.is_empty() && self.known.contains(self.raw.as_slice());
        let standing = match mounted || is_known {
            true => Some(Entry::Mount { identity: identity::of(&fd)?, mounted }),
            false => None,
        };
        (self.on_directory)(&self.root.path().join(OsStr::from_bytes(&self.raw)));
        let below_root = !self.raw.is_empty();
        if below_root {
            self.encoded.push('/');
            self.raw.push(b'/');
        }
        let follow = self.root.symlinks() == SymlinkPolicy::Follow;
        let mut level = Level {
            fd,
            bytes: Vec::new(),
            names: Vec::new(),
            next: 0,
            encoded_len: self.encoded.len(),
            raw_len: self.raw.len(),
            canonical: canonical.filter(|_| follow),
            mount,
        };
        let read = self.read_names(&mut level);
        if let Err(error) = read {
            // The path names the directory itself again.
            if below_root {
                self.encoded.pop();
                self.raw.pop();
            }
            return Err(error);
        }
        self.counts.directories += 1;
        self.counts.empty_directories += u64::from(level.names.is_empty());
        level.sort();
        self.levels.push(level);
        Ok(standing)
    }

    fn read_names(&mut self, level: &mut Level) -> io::Result<()> {
        for entry in Dir::read_from(&level.fd)? {
            let entry = entry?;
            let raw = entry.file_name().to_bytes();
            if raw == b"." || raw == b".." {
                continue;
            }
            let kind = self.kind_of(level, raw, entry.file_type());
            let start = level.bytes.len();
            match std::str::from_utf8(raw) {
                Ok(_) => {
                    level.bytes.extend_from_slice(raw);
                    level.names.push(Name { start, encoded: length(raw)?, raw: 0, kind });
                }
                Err(_) => {
                    let encoded = encode_name(raw);
                    level.bytes.extend_from_slice(encoded.as_bytes());
                    level.bytes.extend_from_slice(raw);
                    level.names.push(Name { start, encoded: length(encoded.as_bytes())?, raw: length(raw)?, kind });
                }
            }
        }
        Ok(())
    }

    fn kind_of(&mut self, level: &Level, raw: &[u8], kind: FileType) -> Kind {
        let kind = if kind == FileType::Unknown {
            // Some file systems don't tell in the directory.
            match stat::of_entry(&level.fd, raw) {
                Ok(seen) => seen.kind,
                Err(errno) => return Kind::Unseen(errno),
            }
        } else {
            kind
        };
        let is_directory = kind == FileType::Directory;
        let excludes = self.root.excludes();
        let follow = level.canonical.is_some();
        if excludes.is_empty() && !(follow && kind == FileType::Symlink) {
            let temporary = !is_directory && is_temporary(raw);
            return if temporary { Kind::Skipped(SkipReason::Excluded) } else { plain_kind(kind) };
        }
        // The path of the entry is only needed from here on.
        let length = self.raw.len();
        self.raw.extend_from_slice(raw);
        let path = Path::new(OsStr::from_bytes(&self.raw));
        let found = if excludes.excludes_entry(path, is_directory) {
            if is_directory {
                Kind::SkippedDirectory(SkipReason::Excluded)
            } else {
                Kind::Skipped(SkipReason::Excluded)
            }
        } else if follow && kind == FileType::Symlink {
            self.kind_of_link(level, path)
        } else {
            plain_kind(kind)
        };
        self.raw.truncate(length);
        found
    }

    fn kind_of_link(&self, level: &Level, path: &Path) -> Kind {
        let target = match self.root.resolve(path) {
            Resolved::Inside(target) => target,
            Resolved::Absent | Resolved::Bad => return Kind::Skipped(SkipReason::BadSymlink),
            Resolved::Unknown(error) => return Kind::Unseen(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        let target = self.root.path().join(target);
        match target.symlink_metadata() {
            Ok(seen) if seen.is_dir() => {
                let mut above = self.levels.iter().chain(std::iter::once(level)).filter_map(|l| l.canonical.as_ref());
                if above.any(|canonical| *canonical == target) {
                    Kind::SkippedDirectory(SkipReason::BadSymlink)
                } else if self.root.excludes().excludes_entry(path, true) {
                    Kind::SkippedDirectory(SkipReason::Excluded)
                } else {
                    Kind::LinkToDirectory
                }
            }
            Ok(seen) if seen.is_file() => Kind::LinkToFile,
            Ok(_) => Kind::Skipped(SkipReason::Special),
            Err(_) => Kind::Skipped(SkipReason::BadSymlink),
        }
    }
}

/// Of an entry that no rule excludes, where links are not followed.
fn plain_kind(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Skipped(SkipReason::Symlink),
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            Kind::Skipped(SkipReason::Special)
        }
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// No file system that this runs on has names whose encoded form is longer than 64 KiB.
fn length(name: &[u8]) -> io::Result<u16> {
    u16::try_from(name.len()).map_err(|_| io::Error::new(io::ErrorKind::InvalidFilename, "the name is too long"))
}

fn message(errno: Errno) -> Box<str> {
    io::Error::from(errno).to_string().into()
}
