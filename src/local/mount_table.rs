//! What is mounted below a folder's root, by the kernel's own table, which tells when it has changed: no directory has to be looked
//! at for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::model::RelPath;

/// Of this process's mount namespace.
const TABLE: &str = "/proc/self/mountinfo";

/// The mounts below a root, as they were at the last look.
#[derive(Debug)]
pub struct MountTable {
    /// Canonical.
    root: PathBuf,
    /// None where the system has no such table: then reconciliations have to find out.
    table: Option<File>,
    /// The numbers of what is mounted at each place: the last one is on top.
    below: BTreeMap<PathBuf, Vec<u64>>,
}

impl MountTable {
    /// What is mounted below `root` now.
    pub fn new(root: PathBuf) -> Self {
        let table = File::open(TABLE).ok();
        let mut table = Self { root, table, below: BTreeMap::new() };
        table.below = table.read().unwrap_or_default();
        table
    }

    /// Where something was mounted or unmounted since the last look, relative to the root. Asks the kernel first, which is cheap,
    /// whether anything was anywhere.
    pub fn changed(&mut self) -> Vec<RelPath> {
        let Some(table) = &self.table else { return Vec::new() };
        let mut polled = [PollFd::new(table, PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let told = poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0);
        if !told {
            return Vec::new();
        }
        // If it can't be read now, the next change is compared with what was there before both.
        let Ok(below) = self.read() else { return Vec::new() };
        let before = std::mem::replace(&mut self.below, below);
        let places = before.keys().chain(self.below.keys().filter(|place| !before.contains_key(*place)));
        places
            .filter(|place| before.get(*place) != self.below.get(*place))
            .filter_map(|place| place.strip_prefix(&self.root).ok())
            .map(|place| RelPath::from_raw(place.as_os_str().as_bytes()))
            .collect()
    }

    fn read(&self) -> io::Result<BTreeMap<PathBuf, Vec<u64>>> {
        let Some(table) = &self.table else { return Ok(BTreeMap::new()) };
        let mut text = Vec::new();
        let mut page = vec![0; 1 << 16];
        loop {
            match table.read_at(&mut page, text.len() as u64)? {
                0 => return Ok(parse(&text, &self.root)),
                read => text.extend_from_slice(page.get(..read).unwrap_or_default()),
            }
        }
    }
}

/// The lines of what is mounted below `root`. <https://docs.kernel.org/filesystems/proc.html> (3.5)
fn parse(text: &[u8], root: &Path) -> BTreeMap<PathBuf, Vec<u64>> {
    let mut below: BTreeMap<PathBuf, Vec<u64>> = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        let number =
            fields.next().and_then(|field| std::str::from_utf8(field).ok()).and_then(|field| field.parse().ok());
        let (Some(number), Some(place)) = (number, fields.nth(3)) else { continue };
        let place = PathBuf::from(OsString::from_vec(unescaped(place)));
        if place != root && place.starts_with(root) {
            below.entry(place).or_default().push(number);
        }
    }
    below
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let escape = after.get(..3).filter(|_| byte == b'\\');
        let octal = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) => {
                plain.push(value);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_mounted_below_the_root_counts_whatever_its_name() {
        let text = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 0:21 / /srv rw - tmpfs none rw\n\
            31 30 0:22 / /srv/a\\040b\\134 rw,nosuid shared:3 - tmpfs none rw\n\
            32 30 0:23 /sub /srv/a\\040b\\134 rw - tmpfs none rw\n\
            33 30 0:24 / /srv-b rw - tmpfs none rw\n\
            a line of another kind\n";
        let below = parse(text, Path::new("/srv"));
        assert_eq!(below, BTreeMap::from([(PathBuf::from("/srv/a b\\"), vec![31, 32])]));
        assert_eq!(parse(text, Path::new("/")).len(), 3);
    }

    #[test]
    fn a_name_with_backslashes_that_are_no_escapes_stays() {
        assert_eq!(unescaped(br"a\b\9\0401\"), br"a\b\9 1\");
        assert_eq!(unescaped(br"\777"), br"\777");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn where_nothing_happens_nothing_has_changed() {
        let table = MountTable::new(PathBuf::from("/"));
        assert!(table.table.is_some() && !table.below.is_empty(), "{table:?}");
        let folder = tempfile::tempdir().unwrap();
        let mut table = MountTable::new(folder.path().canonicalize().unwrap());
        assert_eq!(table.changed(), []);
    }
}
