//! The root of a folder, and a fresh look at one path below it.
//!
//! Paths are opened beneath the root's descriptor and never through a symbolic link, whatever happens to the tree meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::config::settings::{FolderSettings, SymlinkPolicy};
use crate::local::beneath::{Beneath, is_symlink, path_only};
use crate::local::exclude::{ExcludeError, Excludes, IGNORE_FILE};
use crate::local::mounts::{Known, Proof};
use crate::local::{identity, stat};
use crate::model::{Absence, FileMeta, Identity, Local, RelPath, ShownPath, SkipReason, encode_name};

/// An open folder with its rules.
#[derive(Debug)]
pub struct Root {
    /// Canonical: no link is left in it.
    path: PathBuf,
    beneath: Beneath,
    excludes: Excludes,
    symlinks: SymlinkPolicy,
    /// Of the file system, if its stamps come from another clock.
    remote_kind: Option<&'static str>,
    known_mounts: Known,
}

/// The folder can't be used at all; its files are unknown, not absent.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Nothing stands at its path.
    #[error("open the folder {}: it is not there; mount it, or correct its path", ShownPath(path))]
    Missing {
        /// As configured.
        path: PathBuf,
    },
    /// It could not be opened.
    #[error("open the folder {}", ShownPath(path))]
    Open {
        /// As configured.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another one stands at its path than the one that is open.
    #[error("find the folder {} as it was opened: another one has taken its place", ShownPath(path))]
    Replaced {
        /// As configured.
        path: PathBuf,
    },
    /// Its rules can't be used.
    #[error("read the exclude rules of the folder {}", ShownPath(path))]
    Excludes {
        /// As configured.
        path: PathBuf,
        /// Why.
        source: ExcludeError,
    },
}

/// What a path leads to where links are followed.
pub(crate) enum Resolved {
    /// Its path below the root without any link.
    Inside(PathBuf),
    /// Nothing is there.
    Absent,
    /// A link leads out of the folder, to nothing, or round in a circle.
    Bad,
    /// It could not be seen.
    Unknown(io::Error),
}

impl Root {
    /// Opens the folder and reads its rules.
    pub fn open(folder: &FolderSettings) -> Result<Self, RootError> {
        let failed = |source: io::Error| {
            let path = folder.path.clone();
            if source.kind() == io::ErrorKind::NotFound {
                RootError::Missing { path }
            } else {
                RootError::Open { path, source }
            }
        };
        let path = folder.path.canonicalize().map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let remote_kind = identity::remote_kind(&fd);
        let bad_rules = |source| RootError::Excludes { path: folder.path.clone(), source };
        let no_rules = Excludes::new(&[], None).map_err(bad_rules)?;
        let mut root = Self {
            path,
            beneath: Beneath::new(fd),
            excludes: no_rules,
            symlinks: folder.symlinks,
            remote_kind,
            known_mounts: Known::default(),
        };
        let ignore_file = root.read_ignore_file().map_err(|source| bad_rules(ExcludeError::Read(source)))?;
        root.excludes = Excludes::new(&folder.exclude, ignore_file.as_deref()).map_err(bad_rules)?;
        Ok(root)
    }

    fn read_ignore_file(&self) -> io::Result<Option<Vec<u8>>> {
        // Rules are a page or two; a file that is larger is not a list of rules.
        const LIMIT: u64 = 1 << 20;
        match self.beneath.open(Path::new(IGNORE_FILE), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => {
                use io::Read as _;
                let file = File::from(fd);
                if !file.metadata()?.is_file() {
                    return Ok(None);
                }
                let mut text = Vec::new();
                file.take(LIMIT + 1).read_to_end(&mut text)?;
                if text.len() as u64 > LIMIT {
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
                }
                Ok(Some(text))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Where it is, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its identity: of the directory that is open, whatever stands at its path by now.
    pub fn identity(&self) -> io::Result<Identity> {
        identity::of(self.fd())
    }

    /// Its rules.
    pub fn excludes(&self) -> &Excludes {
        &self.excludes
    }

    /// What happens to links.
    pub fn symlinks(&self) -> SymlinkPolicy {
        self.symlinks
    }

    /// Whether the file system's stamps come from another clock.
    pub fn is_remote(&self) -> bool {
        self.remote_kind.is_some()
    }

    /// What the file system is called, if it is remote.
    pub fn remote_kind(&self) -> Option<&'static str> {
        self.remote_kind
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        self.beneath.fd()
    }

    /// A fresh look at one path.
    pub fn look(&self, path: &RelPath) -> Local {
        if self.excludes.excludes(path) {
            return Local::Skipped(SkipReason::Excluded);
        }
        if path.may_collide()
            && let Some(why) = self.collision(path)
        {
            return Local::Unknown(why);
        }
        let seen = match self.look_at(path) {
            Ok(seen) => classify(seen.kind, seen.meta),
            Err(local) => local,
        };
        match seen {
            Local::Absent => match self.prove_absent(path) {
                Proof::Absent => Local::Absent,
                Proof::Hidden(why) => Local::Unknown(why),
                Proof::Other(local) => local,
            },
            seen @ (Local::Present(_) | Local::Skipped(_) | Local::Unknown(_)) => seen,
        }
    }

    /// A look through the links of a path, whatever is mounted on the way.
    pub(crate) fn look_through(&self, path: &RelPath) -> Local {
        match self.follow(path, path_only()).and_then(|fd| stat::of_open(fd).map_err(unknown)) {
            Ok(seen) => classify(seen.kind, seen.meta),
            Err(local) => local,
        }
    }

    /// Opens what is beneath the root; ELOOP if any part of the path is a link.
    pub(crate) fn open_beneath(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.beneath.open(path, flags)
    }

    pub(crate) fn known_mounts(&self) -> &Known {
        &self.known_mounts
    }

    /// As [`Self::look`], for a file that should be gone: what stands in its place, or what was seen instead.
    pub fn absence(&self, path: &RelPath) -> Result<Absence, Local> {
        match self.look(path) {
            Local::Absent => {}
            other @ (Local::Present(_) | Local::Skipped(_) | Local::Unknown(_)) => return Err(other),
        }
        let stands = |path: &Path, flags| self.beneath.open(path, path_only() | flags).is_ok();
        let parent = path.parent();
        Ok(if stands(path.as_path(), OFlags::DIRECTORY) {
            Absence::Directory
        } else if parent.as_str().is_empty() || stands(parent.as_path(), OFlags::DIRECTORY) {
            Absence::NoFile
        } else {
            Absence::NoDirectory
        })
    }

    fn look_at(&self, path: &RelPath) -> Result<stat::Stat, Local> {
        let seen = stat::of_open(self.open_path(path, path_only())?).map_err(unknown)?;
        // Opened as a path only, a link at the end is not refused but opened itself.
        if is_symlink(seen.kind) && self.symlinks == SymlinkPolicy::Follow {
            return stat::of_open(self.follow(path, path_only())?).map_err(unknown);
        }
        Ok(seen)
    }

    /// Opens a path for reading, if a regular file stands there; else what stands there.
    pub fn open_file(&self, path: &RelPath) -> Result<(File, FileMeta), Local> {
        // NONBLOCK: a FIFO that was swapped in must not hang the reader.
        let fd = self.open_path(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let seen = stat::of_open(&fd).map_err(unknown)?;
        match classify(seen.kind, seen.meta) {
            Local::Present(meta) => Ok((File::from(fd), meta)),
            other @ (Local::Absent | Local::Skipped(_) | Local::Unknown(_)) => Err(other),
        }
    }

    /// Opens the directory at a path, to walk it; else what stands there.
    pub(crate) fn open_directory(&self, path: &RelPath) -> Result<OwnedFd, Local> {
        let above = path.as_path().ancestors().filter(|above| !above.as_os_str().is_empty());
        if above.into_iter().any(|above| self.excludes.excludes_entry(above, true)) {
            return Err(Local::Skipped(SkipReason::Excluded));
        }
        match self.open_path(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            // ENOTDIR says only that no directory is there.
            Err(Local::Absent) => Err(self.look(path)),
            other => other,
        }
    }

    fn open_path(&self, path: &RelPath, flags: OFlags) -> Result<OwnedFd, Local> {
        match self.beneath.open(path.as_path(), flags) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(Local::Absent),
            Err(Errno::LOOP) => match self.symlinks {
                SymlinkPolicy::Skip => Err(Local::Skipped(SkipReason::Symlink)),
                SymlinkPolicy::Follow => self.follow(path, flags),
            },
            Err(Errno::NXIO) => Err(Local::Skipped(SkipReason::Special)),
            Err(errno) => Err(unknown(errno)),
        }
    }

    /// Opens what the links in `path` lead to, if that is in the folder.
    fn follow(&self, path: &RelPath, flags: OFlags) -> Result<OwnedFd, Local> {
        match self.resolve(path.as_path()) {
            Resolved::Inside(target) => self.beneath.open(&target, flags).map_err(|errno| match errno {
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Local::Skipped(SkipReason::BadSymlink),
                other => unknown(other),
            }),
            Resolved::Absent => Err(Local::Absent),
            Resolved::Bad => Err(Local::Skipped(SkipReason::BadSymlink)),
            Resolved::Unknown(error) => Err(Local::Unknown(error.to_string().into())),
        }
    }

    /// Follows the links in `path`, part by part, as long as they stay in the folder.
    pub(crate) fn resolve(&self, path: &Path) -> Resolved {
        let mut current = self.path.clone();
        for part in path.components() {
            current.push(part);
            match current.symlink_metadata() {
                Ok(seen) if seen.is_symlink() => match current.canonicalize() {
                    Ok(target) if target.starts_with(&self.path) => current = target,
                    Ok(_) => return Resolved::Bad,
                    Err(error) => return unresolved(error),
                },
                Ok(_) => {}
                Err(error) => {
                    let is_gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
                    return if is_gone { Resolved::Absent } else { Resolved::Unknown(error) };
                }
            }
        }
        match current.strip_prefix(&self.path) {
            Ok(inside) => Resolved::Inside(inside.to_owned()),
            Err(_) => Resolved::Bad,
        }
    }

    /// Whether another name in one of the directories above is encoded as this path's is; if so, why nothing can be done.
    fn collision(&self, path: &RelPath) -> Option<Box<str>> {
        let mut directory = self.path.clone();
        for part in path.as_path().components() {
            let name = part.as_os_str();
            let encoded = encode_name(name.as_bytes());
            if crate::model::may_collide(encoded.as_bytes())
                && let Ok(entries) = std::fs::read_dir(&directory)
                && entries
                    .flatten()
                    .any(|other| other.file_name() != name && encode_name(other.file_name().as_bytes()) == encoded)
            {
                return Some(collision_message(&encoded));
            }
            directory.push(name);
        }
        None
    }
}

/// A link that leads nowhere is told from one of which nothing can be seen: what lies behind that one is unknown.
fn unresolved(error: io::Error) -> Resolved {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Resolved::Bad,
        Some(_) | None => Resolved::Unknown(error),
    }
}

/// Why two names that are encoded alike are both left alone.
pub(crate) fn collision_message(encoded: &str) -> Box<str> {
    format!("two names in one directory both become `{encoded}` as a key: rename one of them").into()
}

/// What an entry of this kind is to us.
pub(crate) fn classify(kind: FileType, meta: FileMeta) -> Local {
    match kind {
        FileType::RegularFile => Local::Present(meta),
        // A directory stands where the file was.
        FileType::Directory => Local::Absent,
        FileType::Symlink => Local::Skipped(SkipReason::Symlink),
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice => {
            Local::Skipped(SkipReason::Special)
        }
        FileType::Unknown => Local::Unknown("its type can't be told".into()),
    }
}

pub(crate) fn unknown(errno: Errno) -> Local {
    Local::Unknown(io::Error::from(errno).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(path: &Path, symlinks: SymlinkPolicy) -> FolderSettings {
        FolderSettings {
            name: "f".to_owned(),
            path: path.to_owned(),
            bucket: "b".to_owned(),
            prefix: String::new(),
            exclude: Vec::new(),
            delete: crate::config::settings::DeletePolicy::Mirror,
            symlinks,
            max_delete_percent: 25.0,
            max_delete_count: 100,
        }
    }

    #[test]
    fn the_identity_is_of_the_directory_that_is_walked_and_not_of_its_successor() {
        let home = tempfile::tempdir().unwrap();
        let (path, moved) = (home.path().join("f"), home.path().join("g"));
        std::fs::create_dir(&path).unwrap();
        let root = Root::open(&settings(&path, SymlinkPolicy::Skip)).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(root.identity().unwrap(), identity::read(&moved).unwrap());
        assert_ne!(root.identity().unwrap(), identity::read(&path).unwrap());
    }

    /// What was looked at and what is opened are two things: somebody may have put a link in the way in between.
    #[test]
    fn a_directory_swapped_for_a_link_after_the_look_leads_nowhere() {
        let path = |name: &str| RelPath::from_raw(name.as_bytes());
        let skip = (SymlinkPolicy::Skip, SkipReason::Symlink);
        let follow = (SymlinkPolicy::Follow, SkipReason::BadSymlink);
        for ((symlinks, expected), old_kernel) in [(skip, false), (follow, false), (skip, true), (follow, true)] {
            let home = tempfile::tempdir().unwrap();
            let (folder, outside) = (home.path().join("f"), home.path().join("outside"));
            for directory in [folder.join("d/sub"), outside.join("sub")] {
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(directory.join("file"), directory.as_os_str().as_bytes()).unwrap();
            }
            let root = Root::open(&settings(&folder, symlinks)).unwrap();
            if old_kernel {
                root.beneath.by_parts_only();
            }
            let (file, directory, gone) = (path("d/sub/file"), path("d/sub"), path("d/sub/gone"));
            assert!(matches!(root.look(&file), Local::Present(_)) && root.look(&gone) == Local::Absent);
            std::fs::rename(folder.join("d"), home.path().join("aside")).unwrap();
            std::os::unix::fs::symlink(&outside, folder.join("d")).unwrap();
            let skipped = Local::Skipped(expected);
            assert_eq!(root.open_file(&file).unwrap_err(), skipped);
            assert_eq!(root.open_directory(&directory).unwrap_err(), skipped);
            assert_eq!((root.look(&file), root.look(&gone)), (skipped.clone(), skipped.clone()));
            assert_eq!(root.absence(&gone), Err(skipped), "nor is it known that anything has gone");
        }
    }

    #[test]
    fn a_link_whose_target_cannot_be_seen_is_unknown_and_not_bad() {
        let of = |errno: Errno| unresolved(errno.into());
        for seen in [Errno::NOENT, Errno::NOTDIR, Errno::LOOP] {
            assert!(matches!(of(seen), Resolved::Bad), "{seen}");
        }
        for unseen in [Errno::IO, Errno::STALE, Errno::ACCESS, Errno::MFILE] {
            assert!(matches!(of(unseen), Resolved::Unknown(_)), "{unseen}");
        }
    }
}
