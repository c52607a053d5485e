//! The decision table, row by row, and the properties that hold over all of it.

use proptest::prelude::*;

use super::*;
use crate::model::{FileMeta, Listed, RelPath};

fn fingerprint(size: u64, change: i64) -> Fingerprint {
    Fingerprint { size, mtime: Stamp(1_000 + change), ctime: Stamp(2_000 + change), inode: 7 }
}

fn present(size: u64, change: i64) -> Local {
    Local::Present(FileMeta { fingerprint: fingerprint(size, change), birth: None, mode: 0o100_644, uid: 0, gid: 0 })
}

fn digest(content: u8) -> Digest {
    Digest([content; 16])
}

fn object(size: u64, content: u8) -> Remote {
    Remote::Present(Listed { size, etag: ETag::new(&digest(content).to_hex()) })
}

fn row(state: RowState, size: u64, content: u8) -> Row {
    Row {
        path: RelPath::from_raw(b"a"),
        state,
        fingerprint: Some(fingerprint(size, 0)),
        racy: false,
        synced: Some(Synced {
            size,
            digest: digest(content),
            etag: ETag::new(&digest(content).to_hex()),
            version: None,
        }),
        attempts: 0,
    }
}

fn never_synced() -> Row {
    Row { synced: None, fingerprint: None, ..row(RowState::Failed, 0, 0) }
}

#[track_caller]
fn check(local: &Local, row: Option<&Row>, remote: &Remote, expected: Decision) {
    assert_eq!(decide(local, row, remote, DeletePolicy::Mirror), expected, "{local:?} {row:?} {remote:?}");
}

#[test]
fn a_new_file_is_uploaded_unless_the_object_may_hold_it() {
    check(&present(3, 0), None, &Remote::NotKnown, Decision::Upload(Cause::New));
    check(&present(3, 0), None, &Remote::Missing, Decision::Upload(Cause::New));
    check(&present(3, 0), None, &object(4, 1), Decision::Upload(Cause::New));
    check(&present(3, 0), None, &object(3, 1), Decision::Adopt);
}

#[test]
fn an_unchanged_file_costs_nothing_while_its_object_is_sound() {
    let synced = row(RowState::Synced, 3, 1);
    check(&present(3, 0), Some(&synced), &Remote::NotKnown, Decision::Nothing);
    check(&present(3, 0), Some(&synced), &object(3, 1), Decision::Nothing);
    check(&present(3, 0), Some(&synced), &Remote::Missing, Decision::Upload(Cause::Drift));
    check(&present(3, 0), Some(&synced), &object(3, 2), Decision::Upload(Cause::Drift));
    check(&present(3, 0), Some(&synced), &object(4, 1), Decision::Upload(Cause::Drift));
}

#[test]
fn a_changed_or_doubtful_fingerprint_is_compared() {
    let synced = row(RowState::Synced, 3, 1);
    check(&present(3, 5), Some(&synced), &object(3, 1), Decision::Compare(Cause::Changed));
    let racy = Row { racy: true, ..synced };
    check(&present(3, 0), Some(&racy), &object(3, 1), Decision::Compare(Cause::Changed));
}

#[test]
fn a_kept_row_whose_file_is_back_is_synced_again() {
    check(&present(3, 0), Some(&row(RowState::Kept, 3, 1)), &object(3, 1), Decision::Resume);
    check(&present(3, 5), Some(&row(RowState::Kept, 3, 1)), &object(3, 1), Decision::Compare(Cause::Changed));
}

#[test]
fn what_was_left_unfinished_is_taken_up_again() {
    check(&present(3, 0), Some(&row(RowState::Failed, 3, 1)), &Remote::NotKnown, Decision::Compare(Cause::Unfinished));
    check(
        &present(3, 0),
        Some(&row(RowState::Deleting, 3, 1)),
        &Remote::NotKnown,
        Decision::Compare(Cause::Unfinished),
    );
    check(&present(3, 0), Some(&never_synced()), &Remote::NotKnown, Decision::Upload(Cause::Unfinished));
    check(&present(3, 0), Some(&never_synced()), &object(3, 1), Decision::Adopt);
}

#[test]
fn an_absent_file_takes_its_object_along_or_leaves_it_by_policy() {
    for state in [RowState::Synced, RowState::Failed, RowState::Deleting] {
        check(&Local::Absent, Some(&row(state, 3, 1)), &Remote::NotKnown, Decision::Delete);
    }
    check(&Local::Absent, Some(&never_synced()), &Remote::NotKnown, Decision::DropRow(None));
    check(&Local::Absent, Some(&row(RowState::Kept, 3, 1)), &object(3, 1), Decision::Nothing);
    check(&Local::Absent, Some(&row(RowState::Kept, 3, 1)), &Remote::Missing, Decision::DropRow(None));
    let synced = row(RowState::Synced, 3, 1);
    assert_eq!(decide(&Local::Absent, Some(&synced), &object(3, 1), DeletePolicy::Keep), Decision::Keep);
}

#[test]
fn a_foreign_object_is_reported_and_kept() {
    check(&Local::Absent, None, &object(3, 1), Decision::Foreign);
    check(&Local::Absent, None, &Remote::Missing, Decision::Nothing);
}

#[test]
fn a_skipped_path_loses_its_row_and_keeps_its_object() {
    let excluded = Local::Skipped(SkipReason::Excluded);
    check(&excluded, Some(&row(RowState::Synced, 3, 1)), &object(3, 1), Decision::DropRow(Some(SkipReason::Excluded)));
    check(&excluded, None, &object(3, 1), Decision::Nothing);
}

#[test]
fn the_same_content_is_touched_and_other_content_uploaded() {
    let synced = row(RowState::Synced, 3, 1);
    let compare = Decision::Compare(Cause::Changed);
    assert_eq!(conclude(&compare, 3, digest(1), Some(&synced), &Remote::NotKnown), Conclusion::Touch);
    assert_eq!(conclude(&compare, 3, digest(2), Some(&synced), &Remote::NotKnown), Conclusion::Upload);
    assert_eq!(conclude(&compare, 4, digest(1), Some(&synced), &Remote::NotKnown), Conclusion::Upload);
    assert_eq!(conclude(&compare, 3, digest(1), Some(&synced), &Remote::Missing), Conclusion::Upload);
    assert_eq!(conclude(&compare, 3, digest(1), Some(&synced), &object(3, 9)), Conclusion::Upload);
}

#[test]
fn an_interrupted_removal_is_only_believed_undone_when_the_object_is_seen() {
    let deleting = row(RowState::Deleting, 3, 1);
    let compare = Decision::Compare(Cause::Unfinished);
    assert_eq!(conclude(&compare, 3, digest(1), Some(&deleting), &Remote::NotKnown), Conclusion::Upload);
    assert_eq!(conclude(&compare, 3, digest(1), Some(&deleting), &object(3, 1)), Conclusion::Touch);
}

#[test]
fn after_a_failed_try_the_object_is_believed_only_when_it_is_seen() {
    let failed = row(RowState::Failed, 3, 1);
    let compare = Decision::Compare(Cause::Unfinished);
    assert_eq!(conclude(&compare, 3, digest(1), Some(&failed), &Remote::NotKnown), Conclusion::Upload);
    assert_eq!(conclude(&compare, 3, digest(1), Some(&failed), &object(3, 1)), Conclusion::Touch);
}

#[test]
fn what_a_failed_upload_may_have_reached_is_put_again_but_never_removed_for_it() {
    let synced = row(RowState::Synced, 3, 1);
    check(&present(3, 0), Some(&synced), &Remote::Doubtful, Decision::Upload(Cause::Unfinished));
    check(&present(3, 0), None, &Remote::Doubtful, Decision::Upload(Cause::New));
    let compare = Decision::Compare(Cause::Changed);
    assert_eq!(conclude(&compare, 3, digest(1), Some(&synced), &Remote::Doubtful), Conclusion::Upload);
    check(&Local::Absent, None, &Remote::Doubtful, Decision::Nothing);
    check(&Local::Absent, Some(&row(RowState::Kept, 3, 1)), &Remote::Doubtful, Decision::Nothing);
}

#[test]
fn an_object_is_adopted_only_when_its_etag_can_be_explained() {
    let adopt = |etag: &str, size| {
        let remote = Remote::Present(Listed { size, etag: ETag::new(etag) });
        conclude(&Decision::Adopt, size, digest(1), None, &remote)
    };
    assert_eq!(adopt(&digest(1).to_hex(), 3), Conclusion::Adopt);
    assert_eq!(adopt(&digest(1).to_hex().to_uppercase(), 3), Conclusion::Adopt);
    assert_eq!(adopt(&digest(2).to_hex(), 3), Conclusion::AdoptByMetadata);
    assert_eq!(adopt("opaque", 3), Conclusion::AdoptByMetadata);
    let composite = format!("{}-2", digest(3).to_hex());
    assert_eq!(adopt(&composite, 10 << 20), Conclusion::AdoptIfComposite(vec![5 << 20, 8 << 20]));
    assert_eq!(adopt(&composite, 31 << 20), Conclusion::AdoptIfComposite(vec![16 << 20]));
    assert_eq!(adopt(&format!("{}-0", digest(3).to_hex()), 10 << 20), Conclusion::AdoptByMetadata);
    let other_size = Remote::Present(Listed { size: 4, etag: ETag::new(&digest(1).to_hex()) });
    assert_eq!(conclude(&Decision::Adopt, 3, digest(1), None, &other_size), Conclusion::Upload);
}

#[test]
fn only_32_hexadecimal_digits_and_a_number_are_the_etag_of_parts() {
    let hex = digest(3).to_hex();
    let count = |text: &str| part_count(&ETag::new(text));
    assert_eq!(count(&format!("{hex}-10000")), Some(10_000));
    for wrong in [&hex, &format!("{hex}-10001"), &format!("{hex}-"), &format!("{}-2", &hex[1..]), &format!("{hex}0-2")]
    {
        assert_eq!(count(wrong), None, "{wrong}");
    }
    assert_eq!(count(&format!("{}-2", "z".repeat(32))), None);
}

#[test]
fn a_renamed_file_is_known_by_inode_size_and_mtime_and_only_of_a_synced_row() {
    let (synced, seen) = (row(RowState::Synced, 3, 1), fingerprint(3, 0));
    assert!(is_same_file(&synced, &seen));
    assert!(is_same_file(&synced, &Fingerprint { ctime: Stamp(9), ..seen }), "a rename moves it");
    for other in
        [Fingerprint { size: 4, ..seen }, Fingerprint { inode: 8, ..seen }, Fingerprint { mtime: Stamp(9), ..seen }]
    {
        assert!(!is_same_file(&synced, &other), "{other:?}");
    }
    let was = row(RowState::Synced, 4, 1);
    assert!(!is_same_file(&Row { fingerprint: Some(seen), ..was.clone() }, &seen), "its object has another size");
    assert!(!is_same_file(&Row { fingerprint: was.fingerprint, ..synced.clone() }, &seen), "the file had another size");
    assert!(!is_same_file(&Row { fingerprint: None, ..synced.clone() }, &seen));
    for state in [RowState::Failed, RowState::Deleting, RowState::Kept] {
        assert!(!is_same_file(&Row { state, ..synced.clone() }, &seen), "{state:?}");
    }
}

#[test]
fn usual_part_sizes_cut_the_file_into_that_many_parts() {
    assert_eq!(usual_part_sizes(100 << 20, 2), vec![50 << 20, 64 << 20]);
    assert_eq!(usual_part_sizes((96 << 20) + 1, 3), vec![33 << 20]);
    assert_eq!(usual_part_sizes(0, 1), vec![5 << 20, 8 << 20, 16 << 20, 50 << 20, 64 << 20]);
    assert!(usual_part_sizes(1 << 20, 9).is_empty());
}

#[test]
fn young_stamps_are_racy() {
    let now = Stamp(10_000_000_000);
    let at = |mtime, ctime| {
        is_racy(&Fingerprint { size: 1, mtime: Stamp(mtime), ctime: Stamp(ctime), inode: 1 }, now, FINE_GRAIN)
    };
    assert!(!at(9_000_000_000, 9_000_000_000));
    assert!(at(9_990_000_000, 9_990_000_000));
    assert!(at(9_000_000_000, 9_990_000_000), "renamed or written with its mtime put back");
    assert!(at(9_990_000_000, 9_000_000_000));
    assert!(!at(90_000_000_000, 9_000_000_000), "an mtime in the future moves with the next write");
    assert!(at(9_000_000_000, 90_000_000_000), "the clock was set back");
    let settled = now.minus(FINE_GRAIN).0;
    assert!(!at(settled, settled), "a grain ago is long enough");
    assert!(at(settled + 1, settled) && at(settled, settled + 1));
}

#[test]
fn content_read_right_after_a_write_may_be_torn() {
    let began = Stamp(10_000_000_000);
    let at = |ctime| {
        may_be_torn(&Fingerprint { size: 1, mtime: Stamp(0), ctime: Stamp(ctime), inode: 1 }, began, FINE_GRAIN)
    };
    assert!(at(9_990_000_000) && at(10_000_000_000) && at(10_001_000_000));
    assert!(!at(9_980_000_000), "a grain ago is long enough");
    assert!(!at(90_000_000_000), "or a file from the future would never be uploaded");
}

#[test]
fn a_change_is_missed_only_when_its_event_has_had_the_time_to_come() {
    let nominated = Stamp(10_000_000_000);
    let at = |ctime| {
        let seen = Fingerprint { size: 1, mtime: Stamp(0), ctime: Stamp(ctime), inode: 1 };
        may_be_told(&seen, nominated, Duration::from_secs(1))
    };
    assert!(at(9_000_000_001) && at(10_000_000_001), "it may even be younger than the nomination");
    assert!(!at(9_000_000_000));
}

#[test]
fn whole_second_stamps_are_coarse() {
    let at = |mtime, ctime| grain(&Fingerprint { size: 1, mtime: Stamp(mtime), ctime: Stamp(ctime), inode: 1 }, false);
    assert_eq!(at(1_000_000_000, 2_000_000_000), COARSE_GRAIN);
    assert_eq!(at(1_000_000_000, 2_000_000_001), FINE_GRAIN, "an unpacked archive on a fine file system");
    assert_eq!(grain(&fingerprint(1, 1), true), COARSE_GRAIN);
}

#[test]
fn the_threshold_is_the_larger_of_share_and_count() {
    assert!(!exceeds_threshold(100, 10, 25.0, 100));
    assert!(exceeds_threshold(101, 10, 25.0, 100));
    assert!(!exceeds_threshold(250, 1000, 25.0, 100));
    assert!(exceeds_threshold(251, 1000, 25.0, 100));
    assert!(!exceeds_threshold(1000, 1000, 100.0, 100), "100% is no threshold");
    assert!(!exceeds_threshold(1000, 10, 100.0, 100), "not even if the rows have become fewer meanwhile");
    assert!(exceeds_threshold(1, 1000, 0.0, 0));
    assert!(!exceeds_threshold(0, 0, 0.0, 0));
}

#[test]
fn a_new_identity_is_taken_only_on_proof() {
    let known = Identity { fs_id: Some(1), inode: 2, birth: None };
    let other = Identity { fs_id: Some(9), inode: 2, birth: None };
    use IdentityVerdict::{Doubt, Same, Take};
    assert_eq!(judge_identity(Some(&known), &known, false, 0, 10), Same);
    assert_eq!(judge_identity(None, &other, false, 0, 10), Take);
    assert_eq!(judge_identity(Some(&known), &other, true, 4, 10), Doubt);
    assert_eq!(judge_identity(Some(&known), &other, true, 5, 10), Take);
    assert_eq!(judge_identity(Some(&known), &other, false, 10, 10), Doubt, "an incomplete walk proves nothing");
    assert_eq!(judge_identity(Some(&known), &other, true, 0, 0), Take, "there is nothing to lose");
}

fn any_local() -> impl Strategy<Value = Local> {
    prop_oneof![
        (0..3_u64, 0..2_i64).prop_map(|(size, change)| present(size, change)),
        Just(Local::Absent),
        Just(Local::Skipped(SkipReason::Symlink)),
        Just(Local::Unknown("EIO".into())),
    ]
}

fn any_row() -> impl Strategy<Value = Option<Row>> {
    let state =
        prop_oneof![Just(RowState::Synced), Just(RowState::Failed), Just(RowState::Deleting), Just(RowState::Kept)];
    let some = (state, 0..3_u64, 0..3_u8, any::<bool>())
        .prop_map(|(state, size, content, racy)| Row { racy, ..row(state, size, content) });
    prop_oneof![Just(None), Just(Some(never_synced())), some.prop_map(Some)]
}

fn any_remote() -> impl Strategy<Value = Remote> {
    prop_oneof![
        Just(Remote::NotKnown),
        Just(Remote::Doubtful),
        Just(Remote::Missing),
        (0..3_u64, 0..3_u8).prop_map(|(size, content)| object(size, content))
    ]
}

/// A path in the three worlds: the file's content and age, the row, the object.
#[derive(Clone, Debug)]
struct World {
    file: Option<(u64, u8, i64)>,
    row: Option<Row>,
    remote: Option<(u64, u8)>,
}

impl World {
    fn local(&self) -> Local {
        self.file.map_or(Local::Absent, |(size, _, change)| present(size, change))
    }

    fn remote(&self) -> Remote {
        self.remote.map_or(Remote::Missing, |(size, content)| object(size, content))
    }

    /// Carries out a decision as the program would, deletions included.
    fn apply(&mut self, policy: DeletePolicy) {
        let decision = decide(&self.local(), self.row.as_ref(), &self.remote(), policy);
        match decision {
            Decision::Nothing | Decision::Foreign => {}
            Decision::Upload(_) | Decision::Adopt | Decision::Compare(_) => {
                let (size, content, change) = self.file.unwrap();
                if conclude(&decision, size, digest(content), self.row.as_ref(), &self.remote()) == Conclusion::Upload {
                    self.remote = Some((size, content));
                }
                let (remote_size, remote_content) = self.remote.unwrap();
                assert_eq!((remote_size, remote_content), (size, content), "a row must not lie");
                self.row =
                    Some(Row { fingerprint: Some(fingerprint(size, change)), ..row(RowState::Synced, size, content) });
            }
            Decision::Resume => self.row.as_mut().unwrap().state = RowState::Synced,
            Decision::Delete => (self.row, self.remote) = (None, None),
            Decision::DropRow(_) => self.row = None,
            Decision::Keep => self.row.as_mut().unwrap().state = RowState::Kept,
        }
    }
}

fn any_world() -> impl Strategy<Value = World> {
    // Size is a function of the content here, as it is in life: equal digests have equal sizes.
    let content = 0..3_u8;
    let file = proptest::option::of(
        (content.clone(), 0..2_i64).prop_map(|(content, change)| (u64::from(content), content, change)),
    );
    let remote = proptest::option::of(content.prop_map(|content| (u64::from(content), content)));
    let row = any_row().prop_map(|row| {
        row.map(|mut row| {
            if let Some(synced) = &mut row.synced {
                synced.size = u64::from(synced.digest.0[0]);
                row.fingerprint = Some(fingerprint(synced.size, 0));
            }
            row
        })
    });
    (file, row, remote).prop_map(|(file, row, remote)| World { file, row, remote })
}

proptest! {
    #[test]
    fn nothing_is_removed_unless_the_file_is_proven_absent(local in any_local(), row in any_row(), remote in any_remote()) {
        for policy in [DeletePolicy::Mirror, DeletePolicy::Keep] {
            let decision = decide(&local, row.as_ref(), &remote, policy);
            if decision == Decision::Delete {
                prop_assert_eq!(&local, &Local::Absent);
                prop_assert_eq!(policy, DeletePolicy::Mirror);
                prop_assert!(row.as_ref().is_some_and(|row| row.state != RowState::Kept));
            }
            if matches!(local, Local::Unknown(_)) {
                prop_assert_eq!(decision, Decision::Nothing);
            }
        }
    }

    #[test]
    fn nothing_is_done_twice(mut world in any_world(), keep in any::<bool>()) {
        let policy = if keep { DeletePolicy::Keep } else { DeletePolicy::Mirror };
        // An unchanged fingerprint stands for unchanged content: that is what `is_racy` is for.
        if let (Some((_, content, 0)), Some(row)) = (world.file, world.row.as_ref()) {
            prop_assume!(row.racy || row.synced.as_ref().is_none_or(|synced| synced.digest == digest(content)));
        }
        world.apply(policy);
        let again = decide(&world.local(), world.row.as_ref(), &world.remote(), policy);
        prop_assert!(matches!(again, Decision::Nothing | Decision::Foreign), "{:?} in {:?}", again, world);
        if world.file.is_some() {
            let row = world.row.as_ref().unwrap();
            prop_assert_eq!(row.state, RowState::Synced);
            prop_assert_eq!(world.remote, world.file.map(|(size, content, _)| (size, content)));
        }
    }

    #[test]
    fn without_a_listing_no_object_is_taken_for_missing(local in any_local(), row in any_row()) {
        let decision = decide(&local, row.as_ref(), &Remote::NotKnown, DeletePolicy::Mirror);
        prop_assert!(decision != Decision::Upload(Cause::Drift));
        prop_assert!(decision != Decision::Foreign);
    }
}
