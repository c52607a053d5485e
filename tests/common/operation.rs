//! What is done to a folder's files, one operation at a time, and what each may make absent.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use super::agent::noise;

/// Bytes that are told by a number.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    pub seed: u64,
    pub length: usize,
}

/// What people and programs do to files.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A new file, or other bytes in one that is there.
    Write(PathBuf, Content),
    Append(PathBuf, Content),
    Truncate(PathBuf, u64),
    /// As editors save: a new file beside it takes its place.
    Save(PathBuf, Content),
    /// It goes, and is there again after a while.
    Again(PathBuf, Content, Duration),
    /// Of files and directories, also into the folder and out of it.
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    /// Directories that are new, with this many files written at once.
    Burst(PathBuf, u64),
    Remove(PathBuf),
    RemoveTree(PathBuf),
    Mode(PathBuf, u32),
    /// Another modification time, in seconds since 1970.
    Stamp(PathBuf, u64),
    /// To this target.
    Symlink(PathBuf, PathBuf),
    /// A named pipe, which nothing may open.
    Pipe(PathBuf),
}

impl Operation {
    /// Does it. Who can't, because something else stands there, leaves everything as it is.
    pub fn apply(&self) -> io::Result<()> {
        match self {
            Self::Write(path, content) => write(path, *content),
            Self::Append(path, content) => {
                let mut file = options().append(true).open(path)?;
                file.write_all(&content.bytes())
            }
            Self::Truncate(path, length) => options().write(true).open(path)?.set_len(*length),
            Self::Save(path, content) => {
                let new = beside(path);
                write(&new, *content)?;
                let saved = fs::rename(&new, path);
                if saved.is_err() {
                    fs::remove_file(new)?;
                }
                saved
            }
            Self::Again(path, content, pause) => {
                fs::remove_file(path)?;
                std::thread::sleep(*pause);
                write(path, *content)
            }
            Self::Rename(from, to) => fs::rename(from, to),
            Self::Link(from, to) => fs::hard_link(from, to),
            Self::Burst(directory, files) => {
                if is_link(directory) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                let inner = directory.join("deeper").join("still");
                fs::create_dir_all(&inner)?;
                for i in 0..*files {
                    let at = if i % 2 == 0 { &inner } else { directory };
                    write(&at.join(format!("b{i}")), Content { seed: i, length: 100 })?;
                }
                Ok(())
            }
            Self::Remove(path) => fs::remove_file(path),
            Self::RemoveTree(path) => fs::remove_dir_all(path),
            Self::Mode(path, mode) => fs::set_permissions(path, Permissions::from_mode(*mode)),
            Self::Stamp(path, seconds) => {
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds);
                options().append(true).open(path)?.set_modified(time)
            }
            Self::Symlink(path, target) => symlink(target, path),
            Self::Pipe(path) => Ok(mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?),
        }
    }

    /// Paths at and below which a file may be absent for a moment, or for good.
    pub fn vanishing(&self) -> Vec<&Path> {
        match self {
            Self::Again(path, ..) | Self::Remove(path) | Self::RemoveTree(path) => vec![path],
            Self::Rename(from, to) if is_file(from) && is_file(to) => vec![from],
            Self::Rename(from, to) => vec![from, to],
            Self::Write(..)
            | Self::Append(..)
            | Self::Truncate(..)
            | Self::Save(..)
            | Self::Link(..)
            | Self::Burst(..)
            | Self::Mode(..)
            | Self::Stamp(..)
            | Self::Symlink(..)
            | Self::Pipe(..) => Vec::new(),
        }
    }

    /// Paths at and below which there may be a file afterwards.
    pub fn appearing(&self) -> Vec<&Path> {
        match self {
            Self::Rename(from, to) => vec![from, to],
            Self::Write(path, _)
            | Self::Append(path, _)
            | Self::Truncate(path, _)
            | Self::Save(path, _)
            | Self::Again(path, ..)
            | Self::Link(_, path)
            | Self::Burst(path, _)
            | Self::Remove(path)
            | Self::RemoveTree(path)
            | Self::Mode(path, _)
            | Self::Stamp(path, _)
            | Self::Symlink(path, _)
            | Self::Pipe(path) => vec![path],
        }
    }
}

impl Content {
    pub fn bytes(self) -> Vec<u8> {
        noise(self.seed, self.length)
    }
}

/// Never through a link: what lies behind one is not where its path says. Nor does it wait for somebody to read a pipe.
fn options() -> OpenOptions {
    let mut options = File::options();
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

fn write(path: &Path, content: Content) -> io::Result<()> {
    options().write(true).create(true).truncate(true).open(path)?.write_all(&content.bytes())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|seen| seen.is_symlink())
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|seen| seen.is_file())
}
