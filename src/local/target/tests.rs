use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use proptest::prelude::*;

use super::*;
use crate::local::temporary::Placing;

const NEW: Placing = Placing { mode: Some(0o640), mtime: Some(Stamp(-1_500_000_001)), replace: false };

fn path(text: &str) -> RelPath {
    RelPath::from_raw(text.as_bytes())
}

fn restore(target: &Target, to: &str, bytes: &[u8], placing: &Placing) -> Result<(), Obstacle> {
    let mut file = target.begin(&path(to))?;
    file.write(bytes)?;
    file.place(placing)?;
    target.placed(&path(to))
}

/// Names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_gets_its_name_when_it_is_whole_with_mode_and_time() {
    let home = tempfile::tempdir().unwrap();
    let target = Target::open(&home.path().join("new/target")).unwrap();
    let mut file = target.begin(&path("a/b/c")).unwrap();
    file.write(b"thrown away").unwrap();
    file.begin_anew().unwrap();
    file.write(b"con").unwrap();
    file.write(b"tent").unwrap();
    let directory = target.path().join("a/b");
    assert!(is_temporary(names(&directory)[0].as_bytes()) && names(&directory).len() == 1);
    file.place(&NEW).unwrap();
    target.placed(&path("a/b/c")).unwrap();
    target.write_out().unwrap();
    assert_eq!(names(&directory), ["c"]);
    let meta = fs::metadata(directory.join("c")).unwrap();
    assert_eq!(fs::read(directory.join("c")).unwrap(), b"content");
    assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (-2, 499_999_999));
}

#[test]
fn a_file_that_is_given_up_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let target = Target::open(home.path()).unwrap();
    let mut file = target.begin(&path("x")).unwrap();
    file.write(b"half").unwrap();
    drop(file);
    assert_eq!(names(home.path()), [""; 0]);
}

#[test]
fn what_a_crash_has_left_is_taken_away_by_the_next_try() {
    let home = tempfile::tempdir().unwrap();
    let target = Target::open(home.path()).unwrap();
    let mut file = target.begin(&path("x")).unwrap();
    file.write(b"half").unwrap();
    std::mem::forget(file);
    assert_eq!(names(home.path()).len(), 1);
    restore(&target, "x", b"whole", &NEW).unwrap();
    assert_eq!(names(home.path()), ["x"]);
    assert_eq!(fs::read(home.path().join("x")).unwrap(), b"whole");
}

#[test]
fn bits_that_lend_rights_are_never_set() {
    let home = tempfile::tempdir().unwrap();
    let target = Target::open(home.path()).unwrap();
    restore(&target, "x", b"", &Placing { mode: Some(0o106_755), ..NEW }).unwrap();
    assert_eq!(fs::metadata(home.path().join("x")).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn nothing_is_replaced_unless_it_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let target = Target::open(home.path()).unwrap();
    fs::write(home.path().join("x"), "old").unwrap();
    assert!(matches!(restore(&target, "x", b"new", &NEW), Err(Obstacle::Appeared)));
    assert_eq!(fs::read(home.path().join("x")).unwrap(), b"old");
    assert_eq!(names(home.path()), ["x"]);
    restore(&target, "x", b"new", &Placing { replace: true, ..NEW }).unwrap();
    assert_eq!(fs::read(home.path().join("x")).unwrap(), b"new");
    fs::create_dir(home.path().join("d")).unwrap();
    assert!(restore(&target, "d", b"new", &Placing { replace: true, ..NEW }).is_err());
    assert_eq!(names(home.path()), ["d", "x"]);
}

#[test]
fn a_link_is_replaced_itself_and_what_it_leads_to_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let outside = home.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    let target = Target::open(&home.path().join("target")).unwrap();
    symlink(&outside, target.path().join("x")).unwrap();
    assert_eq!(target.look(&path("x")).unwrap(), Standing::Symlink);
    assert!(matches!(restore(&target, "x", b"new", &NEW), Err(Obstacle::Appeared)));
    restore(&target, "x", b"new", &Placing { replace: true, ..NEW }).unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
    assert_eq!(fs::read(target.path().join("x")).unwrap(), b"new");
    assert!(target.open_file(&path("x")).is_ok());
}

#[test]
fn nothing_is_written_through_a_link_above() {
    let home = tempfile::tempdir().unwrap();
    let (outside, inside) = (home.path().join("outside"), home.path().join("target"));
    fs::create_dir_all(outside.join("deep")).unwrap();
    let target = Target::open(&inside).unwrap();
    fs::create_dir(inside.join("real")).unwrap();
    symlink(&outside, inside.join("link")).unwrap();
    symlink("real", inside.join("inner")).unwrap();
    symlink("nowhere", inside.join("dangling")).unwrap();
    for to in ["link/x", "link/deep/x", "link/new/x", "inner/x", "inner/new/x", "dangling/x", "dangling/new/x"] {
        for replace in [false, true] {
            let refused = restore(&target, to, b"x", &Placing { replace, ..NEW });
            assert!(matches!(refused, Err(Obstacle::LinkAbove)), "{to}: {refused:?}");
        }
        assert!(matches!(target.look(&path(to)), Err(Obstacle::LinkAbove)), "{to}");
    }
    assert_eq!(names(&outside), ["deep"]);
    assert_eq!((names(&outside.join("deep")), names(&inside.join("real"))), (vec![], vec![]));
}

#[test]
fn a_file_in_the_place_of_a_directory_is_said_to_be_one() {
    let home = tempfile::tempdir().unwrap();
    let target = Target::open(home.path()).unwrap();
    fs::write(home.path().join("a"), "").unwrap();
    for to in ["a/b", "a/b/c"] {
        assert!(matches!(restore(&target, to, b"x", &NEW), Err(Obstacle::FileAbove)), "{to}");
        assert!(matches!(target.look(&path(to)), Err(Obstacle::FileAbove)), "{to}");
    }
}

#[test]
fn a_target_has_one_restore_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let target = Target::open(home.path()).unwrap();
    assert!(matches!(Target::open(home.path()), Err(TargetError::Busy { .. })));
    assert!(Target::open_existing(home.path()).is_ok(), "a look is free");
    drop(target);
    Target::open(home.path()).unwrap();
}

#[test]
fn a_temporary_file_that_somebody_took_away_is_not_placed() {
    let home = tempfile::tempdir().unwrap();
    let target = Target::open(home.path()).unwrap();
    let mut file = target.begin(&path("x")).unwrap();
    file.write(b"ours").unwrap();
    let temporary = home.path().join(&names(home.path())[0]);
    fs::remove_file(&temporary).unwrap();
    fs::write(&temporary, "theirs, half").unwrap();
    assert!(matches!(file.place(&NEW), Err(Obstacle::Lost)));
    assert!(!home.path().join("x").exists() && temporary.exists());
}

#[test]
fn names_that_only_other_systems_mind_are_plain() {
    let home = tempfile::tempdir().unwrap();
    let target = Target::open(home.path()).unwrap();
    for name in ["C:", "C:\\x", "a\\..\\b", "con", "...", "..a", "a..", " ", "~", "-rf", "\u{202e}x"] {
        restore(&target, name, name.as_bytes(), &NEW).unwrap();
    }
    assert_eq!(names(home.path()).len(), 11);
}

proptest! {
    #[test]
    fn no_path_leads_out_of_the_target(parts in prop::collection::vec("(\\.|\\.\\.||a|b|\\.\\.\\.|C:|\u{0})", 0..5)) {
        let home = tempfile::tempdir().unwrap();
        let target = Target::open(&home.path().join("target")).unwrap();
        let to = parts.join("/");
        let is_plain = !parts.is_empty() && parts.iter().all(|part| !["", ".", "..", "\0"].contains(&part.as_str()));
        prop_assert_eq!(check_path(to.as_bytes()).is_ok(), is_plain);
        prop_assert_eq!(restore(&target, &to, b"x", &NEW).is_ok(), is_plain);
        prop_assert_eq!(names(home.path()), ["target"]);
        prop_assert_eq!(target.path().join(&to).is_file() && is_plain, is_plain);
    }
}
