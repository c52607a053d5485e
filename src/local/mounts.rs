//! File systems that are mounted below a folder's root. One that is unmounted leaves an empty directory, which looks as if all
//! its files had been deleted; one that is mounted over a directory hides the files in it. So a file counts as absent only where
//! nothing but file systems that are known lies between it and the root.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::config::settings::SymlinkPolicy;
use crate::local::beneath::{is_symlink, path_only};
use crate::local::look::{Resolved, Root};
use crate::local::stat::{self, MountId};
use crate::local::{identity, look};
use crate::model::{Identity, Local, Mount, RelPath, ShownPath, SkipReason};

/// The mounts below a root that are known.
#[derive(Debug, Default)]
pub(crate) struct Known(RwLock<Arc<[Mount]>>);

impl Known {
    fn all(&self) -> Arc<[Mount]> {
        // It is replaced as a whole.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, mounts: Vec<Mount>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = mounts.into();
    }
}

/// What was found of a path that should be absent.
pub(crate) enum Proof {
    /// It is.
    Absent,
    /// A mount above it is not the one that is known, or not known at all: its file may be hidden, and why.
    Hidden(Box<str>),
    /// Something else was seen.
    Other(Local),
}

/// Why what lies below a mount that is known can't be seen.
pub fn not_there(root: &Path, mount: &RelPath) -> String {
    format!("the file system that was mounted at {} is not there", ShownPath(&root.join(mount.as_path())))
}

/// Why what lay below a directory can't be seen.
pub fn mounted_over(root: &Path, mount: &RelPath) -> String {
    format!("another file system is mounted at {}, where files were", ShownPath(&root.join(mount.as_path())))
}

impl Root {
    /// The mounts that are known.
    pub fn mounts(&self) -> Arc<[Mount]> {
        self.known_mounts().all()
    }

    /// Says which mounts are known.
    pub fn set_mounts(&self, mounts: Vec<Mount>) {
        self.known_mounts().set(mounts);
    }

    /// Which of the known mounts are not what stands at their path now.
    pub fn missing_mounts(&self) -> Vec<Mount> {
        let known = self.mounts();
        let stands = |mount: &Mount| {
            let way = self.mounts_towards(&mount.path).unwrap_or_default();
            way.last().is_some_and(|last| last.path == mount.path && last.identity == mount.identity)
        };
        let is_missing = |mount: &&Mount| !stands(mount);
        known.iter().filter(is_missing).cloned().collect()
    }

    /// Whether a file that is not there may be hidden: see [`Proof::Hidden`].
    pub fn hides(&self, path: &RelPath) -> bool {
        matches!(self.prove_absent(path), Proof::Hidden(_))
    }

    /// Goes down from the root to a path that should be absent, through each directory in turn: what is not there is looked for
    /// in a directory that is known to be the right one, whatever is mounted or unmounted meanwhile.
    pub(crate) fn prove_absent(&self, path: &RelPath) -> Proof {
        let mut descent = match Descent::begin(self) {
            Ok(descent) => descent,
            Err(errno) => return Proof::Other(look::unknown(errno)),
        };
        let mut parts = path.as_path().components().peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return descent.look_for(part.as_os_str(), path);
            }
            match descent.enter(part) {
                Ok(None) => {}
                Ok(Some(standing)) => {
                    if let Some(why) = descent.doubt(&standing) {
                        return Proof::Hidden(why.into());
                    }
                }
                Err(Stop::Gone) => return descent.gone(path),
                Err(Stop::Link) => return Proof::Other(Local::Skipped(SkipReason::Symlink)),
                Err(Stop::Unknown(errno)) => return Proof::Other(look::unknown(errno)),
            }
        }
        Proof::Other(look::unknown(Errno::INVAL))
    }

    /// The mounts on the way to the directory at `path`, itself included, the outermost first, as far as there are directories.
    pub(crate) fn mounts_towards(&self, path: &RelPath) -> Result<Vec<Standing>, Errno> {
        let mut descent = Descent::begin(self)?;
        let mut found = Vec::new();
        for part in path.as_path().components() {
            match descent.enter(part) {
                Ok(standing) => found.extend(standing),
                Err(Stop::Gone | Stop::Link) => break,
                Err(Stop::Unknown(errno)) => return Err(errno),
            }
        }
        Ok(found)
    }
}

/// What stands where something is or was mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) path: RelPath,
    pub(crate) identity: Identity,
    /// Whether something is mounted there now.
    pub(crate) mounted: bool,
}

/// Why a descent goes no further.
enum Stop {
    /// No directory is there.
    Gone,
    /// A link that is not followed, or leads nowhere.
    Link,
    Unknown(Errno),
}

/// The way down from the root, a directory at a time.
struct Descent<'r> {
    root: &'r Root,
    known: Arc<[Mount]>,
    /// Where it is; none at the root.
    at: Option<OwnedFd>,
    mount: MountId,
    raw: Vec<u8>,
    /// Known mounts that were passed.
    passed: usize,
}

impl<'r> Descent<'r> {
    fn begin(root: &'r Root) -> Result<Self, Errno> {
        let mount = stat::mount_of(root.fd())?;
        Ok(Self { root, known: root.mounts(), at: None, mount, raw: Vec::new(), passed: 0 })
    }

    fn open(&self, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        let here = self.at.as_ref().map_or(self.root.fd().as_fd(), AsFd::as_fd);
        rustix::fs::openat(here, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// Goes into a directory; answers what stands there, if something is mounted there or was.
    fn enter(&mut self, part: Component<'_>) -> Result<Option<Standing>, Stop> {
        let Component::Normal(name) = part else { return Err(Stop::Unknown(Errno::XDEV)) };
        let opened = self.open(name, path_only() | OFlags::DIRECTORY);
        if !self.raw.is_empty() {
            self.raw.push(b'/');
        }
        self.raw.extend_from_slice(name.as_bytes());
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Err(Stop::Gone),
            Err(Errno::NOTDIR | Errno::LOOP) => self.through_link(name)?,
            Err(errno) => return Err(Stop::Unknown(errno)),
        };
        let mount = stat::mount_of(&fd).map_err(Stop::Unknown)?;
        let mounted = mount != self.mount;
        let is_known = self.known.iter().any(|known| known.path.raw() == self.raw);
        let standing = if mounted || is_known {
            let identity = identity::of(&fd).map_err(|error| Stop::Unknown(errno_of(&error)))?;
            Some(Standing { path: RelPath::from_raw(&self.raw), identity, mounted })
        } else {
            None
        };
        (self.at, self.mount) = (Some(fd), mount);
        self.passed += usize::from(is_known);
        Ok(standing)
    }

    /// What is in the place of a directory may be a link to one in the folder.
    fn through_link(&self, name: &OsStr) -> Result<OwnedFd, Stop> {
        let seen = self.open(name, path_only()).and_then(stat::of_open);
        match seen {
            Ok(seen) if is_symlink(seen.kind) => {}
            Ok(_) | Err(Errno::NOENT) => return Err(Stop::Gone),
            Err(errno) => return Err(Stop::Unknown(errno)),
        }
        if self.root.symlinks() == SymlinkPolicy::Skip {
            return Err(Stop::Link);
        }
        match self.root.resolve(Path::new(OsStr::from_bytes(&self.raw))) {
            Resolved::Inside(target) => match self.root.open_beneath(&target, path_only() | OFlags::DIRECTORY) {
                Ok(fd) => Ok(fd),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(Stop::Link),
                Err(errno) => Err(Stop::Unknown(errno)),
            },
            Resolved::Absent | Resolved::Bad => Err(Stop::Link),
            Resolved::Unknown(error) => Err(Stop::Unknown(errno_of(&error))),
        }
    }

    /// Why what is not there may be hidden by what stands here.
    fn doubt(&self, standing: &Standing) -> Option<String> {
        match self.known.iter().find(|known| known.path == standing.path) {
            Some(known) if known.identity == standing.identity => None,
            Some(known) => Some(not_there(self.root.path(), &known.path)),
            None => Some(mounted_over(self.root.path(), &standing.path)),
        }
    }

    /// Nothing is here: that is the end, unless something that is known was mounted further down.
    fn gone(&self, path: &RelPath) -> Proof {
        let above = |mount: &&Mount| path.as_str() != mount.path.as_str() && path.is_within(mount.path.as_str());
        let mut above = self.known.iter().filter(above);
        match above.nth(self.passed) {
            Some(mount) => Proof::Hidden(not_there(self.root.path(), &mount.path).into()),
            None => Proof::Absent,
        }
    }

    /// The last part of the way: it is there after all, or it is not.
    fn look_for(&self, name: &OsStr, path: &RelPath) -> Proof {
        let opened = match self.open(name, path_only()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return self.gone(path),
            Err(errno) => return Proof::Other(look::unknown(errno)),
        };
        let seen = stat::of_open(&opened).and_then(|seen| Ok((seen, stat::mount_of(&opened)?)));
        match seen {
            Ok((seen, _)) if is_symlink(seen.kind) && self.root.symlinks() == SymlinkPolicy::Follow => {
                match self.root.look_through(path) {
                    Local::Absent => Proof::Absent,
                    other @ (Local::Present(_) | Local::Skipped(_) | Local::Unknown(_)) => Proof::Other(other),
                }
            }
            // A directory in the file's place, but one that was put over it.
            Ok((seen, mount)) if seen.kind == FileType::Directory && mount != self.mount => {
                Proof::Hidden(mounted_over(self.root.path(), path).into())
            }
            Ok((seen, _)) => match look::classify(seen.kind, seen.meta) {
                Local::Absent => Proof::Absent,
                other @ (Local::Present(_) | Local::Skipped(_) | Local::Unknown(_)) => Proof::Other(other),
            },
            Err(errno) => Proof::Other(look::unknown(errno)),
        }
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::settings::{DeletePolicy, FolderSettings};

    fn root(path: &Path, symlinks: SymlinkPolicy) -> Root {
        let settings = FolderSettings {
            name: "f".to_owned(),
            path: path.to_owned(),
            bucket: "b".to_owned(),
            prefix: String::new(),
            exclude: Vec::new(),
            delete: DeletePolicy::Mirror,
            symlinks,
            max_delete_percent: 25.0,
            max_delete_count: 100,
        };
        Root::open(&settings).unwrap()
    }

    fn path(name: &str) -> RelPath {
        RelPath::from_raw(name.as_bytes())
    }

    fn seen(root: &Root, name: &str) -> &'static str {
        match root.look(&path(name)) {
            Local::Absent => "absent",
            Local::Present(_) => "present",
            Local::Skipped(_) => "skipped",
            Local::Unknown(why) => {
                assert!(why.contains("is not there"), "{why}");
                assert!(root.hides(&path(name)));
                "hidden"
            }
        }
    }

    /// What is mounted can't be told from any directory here: only identities are compared.
    #[test]
    fn what_is_absent_below_a_known_mount_is_hidden_unless_the_same_directory_stands_there() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/disk/sub")).unwrap();
        fs::write(folder.path().join("a/disk/there"), "").unwrap();
        let root = root(folder.path(), SymlinkPolicy::Skip);
        let gone = ["a/disk/x", "a/disk/sub/x", "a/disk/no/x", "a/disk/there/x", "a/disk/sub"];
        let beside = ["x", "a/x", "a/disk", "a/disk2/x", "b/disk/x"];
        assert!(gone.iter().chain(&beside).all(|name| seen(&root, name) == "absent"));
        let identity = identity::read(&folder.path().join("a/disk")).unwrap();
        root.set_mounts(vec![Mount { path: path("a/disk"), identity }]);
        assert!(gone.iter().chain(&beside).all(|name| seen(&root, name) == "absent"), "it is the one that is known");
        assert_eq!(root.missing_mounts(), []);

        let other = Mount { path: path("a/disk"), identity: Identity { inode: identity.inode + 1, ..identity } };
        root.set_mounts(vec![other.clone()]);
        assert_eq!(root.missing_mounts(), [other]);
        assert!(gone.iter().all(|name| seen(&root, name) == "hidden"));
        assert!(beside.iter().all(|name| seen(&root, name) == "absent"));
        assert_eq!(seen(&root, "a/disk/there"), "present", "what is there is there");
        fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        assert!(gone.iter().all(|name| seen(&root, name) == "hidden"), "not even the way to it is there");
        fs::write(folder.path().join("a"), "").unwrap();
        assert!(gone.iter().all(|name| seen(&root, name) == "hidden"), "a file is in its way");
        assert_eq!(seen(&root, "a/x"), "absent");
        fs::remove_file(folder.path().join("a")).unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        assert!(gone.iter().all(|name| seen(&root, name) == "skipped"), "a link that is not followed");
    }

    #[test]
    fn a_mount_in_a_mount_counts_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("outer/inner")).unwrap();
        let root = root(folder.path(), SymlinkPolicy::Skip);
        let mount =
            |name: &str| Mount { path: path(name), identity: identity::read(&folder.path().join(name)).unwrap() };
        let known = vec![mount("outer"), mount("outer/inner")];
        root.set_mounts(known.clone());
        assert_eq!((seen(&root, "outer/x"), seen(&root, "outer/inner/x")), ("absent", "absent"));
        fs::remove_dir(folder.path().join("outer/inner")).unwrap();
        assert_eq!((seen(&root, "outer/x"), seen(&root, "outer/inner/x")), ("absent", "hidden"));
        assert_eq!(root.missing_mounts(), known[1..]);
    }

    #[test]
    fn links_in_the_way_are_gone_through_where_they_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("real/sub")).unwrap();
        symlink("real", folder.path().join("link")).unwrap();
        let root = root(folder.path(), SymlinkPolicy::Follow);
        assert_eq!((seen(&root, "link/x"), seen(&root, "link/sub/x")), ("absent", "absent"));
        assert_eq!((seen(&root, "link"), seen(&root, "link/sub")), ("absent", "absent"), "directories in their place");
        let identity = Identity { fs_id: None, inode: 1, birth: None };
        root.set_mounts(vec![Mount { path: path("link"), identity }]);
        assert_eq!((seen(&root, "link/sub/x"), seen(&root, "real/sub/x")), ("hidden", "absent"));
    }
}
