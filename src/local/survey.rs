//! A look over a whole folder before it is synced: how large it is, and what of it can't be read.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use crate::local::look::Root;
use crate::local::walk::{Visitor, walk};
use crate::model::{Entry, Local, RelPath, Walked};

/// Unreadable entries that are named; the rest is counted.
const NAMED: usize = 3;

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Directories that are not excluded, the root included: each takes a watch.
    pub directories: u64,
    /// Regular files that would be synced.
    pub files: u64,
    /// Files and directories that would be synced and can't be read.
    pub unreadable: u64,
    /// The first of these, and why.
    pub first: Vec<(RelPath, String)>,
    /// The time was over before everything was seen.
    pub cut_short: bool,
}

/// Walks the folder until `deadline`. No file is opened.
///
/// # Errors
/// If the root can't be listed.
pub fn survey(root: &Root, deadline: Instant) -> io::Result<Survey> {
    let mut survey = Survey::default();
    let mut sink = |walked| {
        survey.take(root, walked);
        if Instant::now() < deadline {
            return ControlFlow::Continue(());
        }
        survey.cut_short = true;
        ControlFlow::Break(())
    };
    let visitor = Visitor { on_directory: &mut |_| {}, sink: &mut sink };
    let counts = walk(root, None, visitor)?;
    survey.directories = counts.directories;
    Ok(survey)
}

/// What kind of file system holds a path (without links), as `mount` calls it; none where that can't be told.
pub fn file_system(path: &Path) -> Option<String> {
    // Of this process: what a service sees need not be what a shell sees.
    kind_in(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, path)
}

/// `ID PARENT DEVICE ROOT MOUNT-POINT OPTIONS [FIELD…] - KIND SOURCE OPTIONS` a line (proc_pid_mountinfo(5)). Of two that are
/// mounted at one place, the later hides the earlier.
fn kind_in(mounts: &str, path: &Path) -> Option<String> {
    let kind = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        let depth = path.starts_with(&point).then_some(point.len())?;
        Some((depth, file_system.split(' ').next()?.to_owned()))
    };
    mounts.lines().filter_map(kind).max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

impl Survey {
    fn take(&mut self, root: &Root, walked: Walked) {
        match walked.what {
            Entry::Leaf(Local::Present(_)) => {
                self.files += 1;
                // With the effective user's rights, as opening would; a file that has gone meanwhile is no trouble.
                match rustix::fs::accessat(root.fd(), walked.path.as_path(), Access::READ_OK, AtFlags::EACCESS) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => self.unreadable(walked.path, io::Error::from(errno).to_string()),
                }
            }
            Entry::Leaf(Local::Unknown(why)) | Entry::UnreadableDirectory(why) => {
                self.unreadable(walked.path, why.into())
            }
            Entry::Leaf(Local::Absent | Local::Skipped(_)) | Entry::SkippedDirectory(_) | Entry::Mount { .. } => {}
        }
    }

    fn unreadable(&mut self, path: RelPath, why: String) {
        self.unreadable += 1;
        if self.first.len() < NAMED {
            self.first.push((path, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::settings::{DeletePolicy, FolderSettings, SymlinkPolicy};

    fn root(path: &std::path::Path) -> Root {
        Root::open(&FolderSettings {
            name: "f".to_owned(),
            path: path.to_owned(),
            bucket: "b".to_owned(),
            prefix: String::new(),
            exclude: vec!["/cache/".to_owned()],
            delete: DeletePolicy::Mirror,
            symlinks: SymlinkPolicy::Skip,
            max_delete_percent: 25.0,
            max_delete_count: 100,
        })
        .unwrap()
    }

    #[test]
    fn what_is_excluded_takes_no_watch_and_what_cannot_be_told_apart_is_named() {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = tempfile::tempdir().unwrap();
        for directory in ["a/b", "cache/c"] {
            std::fs::create_dir_all(folder.path().join(directory)).unwrap();
        }
        for name in [&b"a/b/file"[..], b"x\xff", b"x%FF"] {
            std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
        }
        let found = survey(&root(folder.path()), Instant::now() + Duration::from_secs(60)).unwrap();
        assert_eq!((found.directories, found.files, found.unreadable), (3, 1, 1));
        assert_eq!(found.first[0].0.as_str(), "x%FF");
        assert!(!found.cut_short);
    }

    #[test]
    fn the_file_system_of_a_path_is_the_last_one_that_is_mounted_above_it() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      30 22 0:40 / /srv/my\\040data rw shared:1 - xfs /dev/sdb1 rw\n\
                      31 22 0:41 / /srv/over rw - tmpfs none rw\n\
                      32 31 0:42 / /srv/over rw shared:2 master:3 - nfs4 server:/x rw\n";
        let kind = |path: &str| kind_in(mounts, Path::new(path)).unwrap();
        assert_eq!(kind("/srv/my data/a"), "xfs");
        assert_eq!(kind("/srv/my data2"), "ext4");
        assert_eq!(kind("/srv/over"), "nfs4");
        assert!(file_system(Path::new("/")).is_some());
    }

    #[test]
    fn a_survey_ends_in_time() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = survey(&root(folder.path()), Instant::now()).unwrap();
        assert!(found.cut_short && found.files == 1, "{found:?}");
    }
}
