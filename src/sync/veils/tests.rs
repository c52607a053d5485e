//! What is hidden and what is not.

use super::*;
use crate::model::{Digest, ETag, FileMeta, Fingerprint, SkipReason, Stamp, Synced};

fn identity(inode: u64) -> Identity {
    Identity { fs_id: Some(7), inode, birth: None }
}

fn path(name: &str) -> RelPath {
    RelPath::from_raw(name.as_bytes())
}

fn mount(name: &str, inode: u64) -> Mount {
    Mount { path: path(name), identity: identity(inode) }
}

fn row(name: &str, state: RowState) -> Row {
    let synced = Synced { size: 1, digest: Digest([0; 16]), etag: ETag::new("e"), version: None };
    Row { path: path(name), state, fingerprint: None, racy: false, synced: Some(synced), attempts: 0 }
}

fn present() -> Local {
    let fingerprint = Fingerprint { size: 1, mtime: Stamp(0), ctime: Stamp(0), inode: 1 };
    Local::Present(FileMeta { fingerprint, birth: None, mode: 0, uid: 0, gid: 0 })
}

const ROOT: &str = "/srv/files";

fn veils(known: &[Mount]) -> Veils {
    Veils::new(Path::new(ROOT), known)
}

#[test]
fn what_lies_below_a_mount_that_is_not_shown_is_hidden_and_nothing_beside_it() {
    let known = [mount("a/disk", 1), mount("a/disk/inner", 2)];
    let mut veils = veils(&known);
    for hidden in ["a/disk/1", "a/disk/inner/2", "a/disk/inner/deep/3"] {
        assert!(veils.over(hidden).is_some(), "{hidden}");
    }
    for seen in ["a/disk", "a/disk-2/1", "a/disk0", "a/1", "1", "b/a/disk/1"] {
        assert_eq!(veils.over(seen), None, "{seen}");
    }
    assert_eq!(veils.show(&path("a/disk"), identity(1), true, &known), Shown::Same);
    assert_eq!(veils.over("a/disk/1"), None);
    assert!(veils.over("a/disk/inner/2").unwrap().contains("mounted at /srv/files/a/disk/inner is not there"));
    // That nothing is mounted there does not matter, if it is the same directory.
    assert_eq!(veils.show(&path("a/disk/inner"), identity(2), false, &known), Shown::Same);
    assert_eq!(veils.over("a/disk/inner/2"), None);
    assert_eq!(veils.into_vec(), []);
}

#[test]
fn another_mount_hides_until_half_of_the_files_are_the_same() {
    let known = [mount("disk", 1)];
    for (same, others, hidden, unknown, proven) in
        [(2, 0, 2, 0, true), (1, 1, 1, 0, false), (0, 0, 0, 0, true), (3, 0, 0, 1, false), (0, 0, 1, 0, false)]
    {
        let mut veils = veils(&known);
        assert_eq!(veils.show(&path("disk"), identity(2), true, &known), Shown::Other);
        let synced = row("disk/x", RowState::Synced);
        for _ in 0..same {
            veils.count("disk/x", Some(&synced), &present(), true, false);
        }
        for _ in 0..others {
            veils.count("disk/x", Some(&synced), &present(), false, false);
        }
        for _ in 0..hidden {
            veils.count("disk/x", Some(&synced), &Local::Unknown("".into()), false, true);
        }
        for _ in 0..unknown {
            veils.count("disk/x", None, &Local::Unknown("EIO".into()), false, false);
        }
        // What is beside it, or has no object to lose, tells nothing.
        veils.count("other", Some(&synced), &present(), true, false);
        veils.count("disk/kept", Some(&row("disk/kept", RowState::Kept)), &Local::Absent, false, true);
        veils.count("disk/excluded", Some(&synced), &Local::Skipped(SkipReason::Excluded), false, false);
        let left = veils.into_vec();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].rows, left[0].matched, left[0].hidden), (same + others + hidden, same, hidden));
        assert_eq!(left[0].is_proven(), proven, "{left:?}");
        assert_eq!(left[0].seen, Some((identity(2), true)));
    }
}

#[test]
fn a_directory_that_could_not_be_listed_keeps_a_mount_from_being_proven() {
    for unreadable in ["disk", "disk/deep/er"] {
        let known = [mount("disk", 1)];
        let mut veils = veils(&known);
        veils.count("disk/x", Some(&row("disk/x", RowState::Synced)), &present(), true, false);
        veils.count_unreadable(&path(unreadable));
        let left = veils.into_vec();
        assert!(!left[0].is_proven() && !left[0].is_doubt(), "{unreadable}");
    }
}

#[test]
fn a_mount_over_a_directory_that_had_files_hides_them() {
    let mut veils = veils(&[]);
    assert_eq!(veils.show(&path("d"), identity(9), true, &[]), Shown::New);
    veils.cast(Path::new(ROOT), &path("d"), identity(9));
    assert!(veils.over("d/x").unwrap().contains("another file system is mounted at /srv/files/d"));
    veils.lift(&path("d"));
    assert_eq!(veils.over("d/x"), None);
}
