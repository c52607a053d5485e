//! The merge over generated trees, held against a plain look-up in maps.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::{FileMeta, Fingerprint, Identity, Stamp};

fn file() -> Local {
    let fingerprint = Fingerprint { size: 1, mtime: Stamp(0), ctime: Stamp(0), inode: 1 };
    Local::Present(FileMeta { fingerprint, birth: None, mode: 0, uid: 0, gid: 0 })
}

fn mount() -> Entry {
    Entry::Mount { identity: Identity { fs_id: None, inode: 1, birth: None }, mounted: true }
}

fn path(name: &str) -> RelPath {
    RelPath::from_raw(name.as_bytes())
}

fn entry(name: &str, what: Entry) -> Walked {
    Walked { path: path(name), what }
}

/// Runs the merge and collects, by path, what was seen locally and whether row and object were there.
fn run(entries: &[Walked], rows: &[&str], objects: &[&str], excluded: &[&str]) -> Vec<(String, Local, bool, bool)> {
    let rows: Vec<RelPath> = rows.iter().map(|name| path(name)).collect();
    let (mut e, mut r, mut o) = (entries.iter(), rows.iter(), objects.iter());
    let (mut entry, mut row, mut object) = (e.next(), r.next(), o.next());
    let mut merge = Merge::default();
    let mut seen = Vec::new();
    while let Some(step) = merge.step(entry, row, object.copied(), |p| excluded.contains(&p.as_str())) {
        assert!(step.walked || step.row || step.object, "each step takes something");
        if let Some(local) = step.local {
            let name = match (step.walked, step.row) {
                (true, _) => entry.unwrap().path.as_str(),
                (false, true) => row.unwrap().as_str(),
                (false, false) => object.unwrap(),
            };
            seen.push((name.to_owned(), local, step.row, step.object));
        }
        if step.walked {
            entry = e.next();
        }
        if step.row {
            row = r.next();
        }
        if step.object {
            object = o.next();
        }
        assert!(merge.shadows.len() <= 64, "shadows don't pile up");
    }
    seen
}

fn local_of(seen: &[(String, Local, bool, bool)], name: &str) -> Local {
    seen.iter().find(|(path, ..)| path == name).map(|(_, local, ..)| local.clone()).unwrap()
}

#[test]
fn a_path_is_seen_in_all_three_worlds_at_once() {
    let walked = [entry("a", Entry::Leaf(file())), entry("c", Entry::Leaf(file()))];
    let seen = run(&walked, &["a", "b"], &["a", "b", "d"], &[]);
    assert_eq!(
        seen,
        [
            ("a".into(), file(), true, true),
            ("b".into(), Local::Absent, true, true),
            ("c".into(), file(), false, false),
            ("d".into(), Local::Absent, false, true),
        ]
    );
}

#[test]
fn what_lies_below_an_unreadable_directory_is_unknown_not_absent() {
    let why: Box<str> = "EACCES".into();
    let walked = [entry("d-b", Entry::Leaf(file())), entry("d", Entry::UnreadableDirectory(why.clone()))];
    let rows = ["d", "d-b", "d/x", "d/y/z", "d0"];
    let seen = run(&walked, &rows, &["d/x", "d/foreign"].map(|p| p), &[]);
    assert_eq!(local_of(&seen, "d/x"), Local::Unknown(why.clone()));
    assert_eq!(local_of(&seen, "d/y/z"), Local::Unknown(why.clone()));
    assert_eq!(local_of(&seen, "d/foreign"), Local::Unknown(why));
    assert_eq!(local_of(&seen, "d0"), Local::Absent);
    assert_eq!(local_of(&seen, "d"), Local::Absent, "a directory stands where the file was");
}

#[test]
fn what_lies_below_a_link_is_skipped_not_absent() {
    let link = Local::Skipped(SkipReason::Symlink);
    let walked = [entry("d", Entry::Leaf(link.clone())), entry("d-b", Entry::Leaf(file()))];
    let seen = run(&walked, &["d", "d-b", "d/x", "d0"], &[], &[]);
    assert_eq!(local_of(&seen, "d"), link);
    assert_eq!(local_of(&seen, "d/x"), link);
    assert_eq!(local_of(&seen, "d0"), Local::Absent);
}

#[test]
fn an_excluded_row_is_skipped_not_absent() {
    let seen = run(&[], &["a.tmp", "b"], &["c.tmp"], &["a.tmp", "c.tmp"]);
    assert_eq!(local_of(&seen, "a.tmp"), Local::Skipped(SkipReason::Excluded));
    assert_eq!(local_of(&seen, "c.tmp"), Local::Skipped(SkipReason::Excluded));
    assert_eq!(local_of(&seen, "b"), Local::Absent);
}

#[test]
fn a_file_that_could_not_be_seen_is_unknown_with_what_was_below_it() {
    let unseen = Local::Unknown("EIO".into());
    let seen = run(&[entry("d", Entry::Leaf(unseen.clone()))], &["d", "d/x"], &[], &[]);
    assert_eq!(local_of(&seen, "d"), unseen);
    assert_eq!(local_of(&seen, "d/x"), unseen);
}

/// Names whose order is easily got wrong: they differ around `/` (0x2F).
fn any_name() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just("a"), Just("-"), Just("."), Just("0"), Just("é"), Just("%")], 1..3)
        .prop_map(|parts| parts.concat())
        .prop_filter("a name", |name| name != "." && name != "..")
}

fn any_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(any_name(), 1..4).prop_map(|parts| parts.join("/"))
}

#[derive(Clone, Debug)]
enum Kind {
    File,
    Link,
    Unreadable,
    Excluded,
    Mount,
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        5 => Just(Kind::File),
        1 => Just(Kind::Link),
        1 => Just(Kind::Unreadable),
        1 => Just(Kind::Excluded),
        1 => Just(Kind::Mount),
    ]
}

/// Turns paths into what a walk would report: nothing lies below a leaf, and the order is that of the keys.
fn to_walk(tree: &BTreeMap<String, Kind>) -> Vec<Walked> {
    let is_leaf = |kind: &Kind| !matches!(kind, Kind::Mount);
    let leaves: BTreeSet<&String> = tree.iter().filter(|(_, kind)| is_leaf(kind)).map(|(name, _)| name).collect();
    let mut walked: Vec<(String, Walked)> = tree
        .iter()
        .filter(|(name, _)| !leaves.iter().any(|other| name.starts_with(&format!("{other}/"))))
        .map(|(name, kind)| match kind {
            Kind::File => (name.clone(), entry(name, Entry::Leaf(file()))),
            Kind::Link => (name.clone(), entry(name, Entry::Leaf(Local::Skipped(SkipReason::Symlink)))),
            Kind::Unreadable => (format!("{name}/"), entry(name, Entry::UnreadableDirectory("EACCES".into()))),
            Kind::Excluded => (format!("{name}/"), entry(name, Entry::SkippedDirectory(SkipReason::Excluded))),
            Kind::Mount => (format!("{name}/"), entry(name, mount())),
        })
        .collect();
    walked.sort_by(|a, b| a.0.cmp(&b.0));
    walked.into_iter().map(|(_, entry)| entry).collect()
}

/// What a person would say of a path, looking at the whole tree.
fn oracle(walked: &[Walked], name: &str) -> Local {
    for entry in walked {
        let own = entry.path.as_str() == name;
        let below = name.starts_with(&format!("{}/", entry.path.as_str()));
        match &entry.what {
            Entry::Leaf(local) if own => return local.clone(),
            Entry::Leaf(local @ (Local::Skipped(_) | Local::Unknown(_))) if below => return local.clone(),
            Entry::SkippedDirectory(reason) if below => return Local::Skipped(*reason),
            Entry::UnreadableDirectory(why) if below => return Local::Unknown(why.clone()),
            Entry::Leaf(_) | Entry::SkippedDirectory(_) | Entry::UnreadableDirectory(_) | Entry::Mount { .. } => {}
        }
    }
    Local::Absent
}

proptest! {
    #[test]
    fn every_path_is_seen_once_and_as_it_is(
        tree in proptest::collection::btree_map(any_path(), any_kind(), 0..12),
        rows in proptest::collection::btree_set(any_path(), 0..12),
        objects in proptest::collection::btree_set(any_path(), 0..12),
    ) {
        let walked = to_walk(&tree);
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        let seen = run(&walked, &rows, &objects, &[]);
        let mut expected: BTreeMap<String, (Local, bool, bool)> = BTreeMap::new();
        let leaves = walked.iter().filter(|entry| matches!(entry.what, Entry::Leaf(_))).map(|entry| entry.path.as_str());
        for name in leaves.chain(rows.iter().copied()).chain(objects.iter().copied()) {
            expected.insert(name.to_owned(), (oracle(&walked, name), rows.contains(&name), objects.contains(&name)));
        }
        let got: BTreeMap<String, (Local, bool, bool)> =
            seen.iter().map(|(name, local, row, object)| (name.clone(), (local.clone(), *row, *object))).collect();
        prop_assert_eq!(got.len(), seen.len(), "no path twice: {:?}", seen);
        prop_assert_eq!(got, expected);
    }
}
