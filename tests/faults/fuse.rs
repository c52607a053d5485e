//! A file system that fails: what lies in another folder, shown through FUSE, with the errors and the short reads that a bad disk or a
//! network file system has.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, Request,
};

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    None,
    /// Reading files with these words in their names ends in EIO, from this offset on.
    Broken(&'static str, u64),
    /// A read gets a few bytes, however many are asked for.
    Short,
}

/// A mounted one. It goes when it is dropped.
pub(crate) struct BadDisk {
    failure: Arc<Mutex<Failure>>,
    injected: Arc<AtomicU64>,
    _session: BackgroundSession,
}

impl BadDisk {
    /// Shows `store` at `mount_point`.
    pub(crate) fn mount(store: &Path, mount_point: &Path) -> Self {
        let (failure, injected) = (Arc::new(Mutex::new(Failure::None)), Arc::new(AtomicU64::new(0)));
        let shown = Shown {
            paths: Mutex::new(HashMap::from([(INodeNo::ROOT.0, store.to_owned())])),
            failure: Arc::clone(&failure),
            injected: Arc::clone(&injected),
        };
        let session = fuser::spawn_mount(shown, mount_point, &fuser::Config::default());
        let session = session.expect("this test needs /dev/fuse, and fusermount of the package fuse or fuse3");
        Self { failure, injected, _session: session }
    }

    /// From now on it fails like this.
    pub(crate) fn set(&self, failure: Failure) {
        *self.failure.lock().unwrap() = failure;
    }

    /// Reads that have failed or were short.
    pub(crate) fn injected(&self) -> u64 {
        self.injected.load(Ordering::SeqCst)
    }
}

/// What is shown, read only.
struct Shown {
    /// By inode.
    paths: Mutex<HashMap<u64, PathBuf>>,
    failure: Arc<Mutex<Failure>>,
    injected: Arc<AtomicU64>,
}

impl Shown {
    fn path(&self, inode: INodeNo) -> Option<PathBuf> {
        self.paths.lock().unwrap().get(&inode.0).cloned()
    }

    fn seen(&self, path: PathBuf) -> std::io::Result<FileAttr> {
        let meta = fs::symlink_metadata(&path)?;
        let attributes = attributes(&meta);
        self.paths.lock().unwrap().insert(attributes.ino.0, path);
        Ok(attributes)
    }

    fn bytes(&self, inode: INodeNo, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let path = self.path(inode).ok_or(Errno::ENOENT)?;
        let mut size = size as usize;
        match *self.failure.lock().unwrap() {
            Failure::None => {}
            Failure::Broken(words, from) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if name.contains(words) && offset + size as u64 > from {
                    self.injected.fetch_add(1, Ordering::SeqCst);
                    return Err(Errno::EIO);
                }
            }
            Failure::Short => {
                if size > 1000 {
                    self.injected.fetch_add(1, Ordering::SeqCst);
                }
                size = size.min(1000);
            }
        }
        let mut bytes = vec![0; size];
        let read = File::open(path).and_then(|file| file.read_at(&mut bytes, offset)).map_err(Errno::from)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

fn attributes(meta: &Metadata) -> FileAttr {
    let time = |seconds: i64, nanos: i64| -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds.cast_unsigned(), u32::try_from(nanos).unwrap())
    };
    FileAttr {
        ino: INodeNo(meta.ino()),
        size: meta.size(),
        blocks: meta.blocks(),
        atime: time(meta.atime(), meta.atime_nsec()),
        mtime: time(meta.mtime(), meta.mtime_nsec()),
        ctime: time(meta.ctime(), meta.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: if meta.is_dir() { FileType::Directory } else { FileType::RegularFile },
        perm: (meta.mode() & 0o7777) as u16,
        nlink: u32::try_from(meta.nlink()).unwrap(),
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Nothing is remembered by the kernel: each look is a fresh one.
const NOT_AT_ALL: Duration = Duration::ZERO;

impl Filesystem for Shown {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let Some(parent) = self.path(parent) else { return reply.error(Errno::ENOENT) };
        match self.seen(parent.join(name)) {
            Ok(attributes) => reply.entry(&NOT_AT_ALL, &attributes, Generation(0)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let Some(path) = self.path(inode) else { return reply.error(Errno::ENOENT) };
        match fs::symlink_metadata(path) {
            Ok(meta) => reply.attr(&NOT_AT_ALL, &FileAttr { ino: inode, ..attributes(&meta) }),
            Err(error) => reply.error(error.into()),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Past the page cache, which would ask again until it has a whole page.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.bytes(inode, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(path) = self.path(inode) else { return reply.error(Errno::ENOENT) };
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return reply.error(error.into()),
        };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for (entry, number) in entries.into_iter().zip(1..).skip(usize::try_from(offset).unwrap()) {
            let Ok(meta) = entry.metadata() else { continue };
            let seen = attributes(&meta);
            if reply.add(seen.ino, number, seen.kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }
}
