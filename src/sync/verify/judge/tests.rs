use proptest::prelude::*;

use super::*;
use crate::config::settings::DeletePolicy;
use crate::model::{ETag, Fingerprint, Listed, RelPath, Stamp};
use crate::plan::{Decision, decide};

const GOOD: Digest = Digest([1; 16]);
const BAD: Digest = Digest([2; 16]);

fn meta(ctime: i64) -> FileMeta {
    let fingerprint = Fingerprint { size: 3, mtime: Stamp(1), ctime: Stamp(ctime), inode: 4 };
    FileMeta { fingerprint, birth: None, mode: 0o100_644, uid: 0, gid: 0 }
}

fn row(state: RowState) -> Row {
    Row {
        path: RelPath::from_raw(b"a"),
        state,
        fingerprint: Some(meta(2).fingerprint),
        racy: false,
        synced: Some(Synced { size: 3, digest: GOOD, etag: ETag::new("e"), version: None }),
        attempts: 0,
    }
}

fn sound() -> Observation {
    Observation {
        local: Local::Present(meta(2)),
        content: Content::Read(GOOD),
        row: Some(row(RowState::Synced)),
        remote: Remote::Present(Listed { size: 3, etag: ETag::new("e") }),
        fetched: Content::Read(GOOD),
    }
}

fn kinds(change: impl FnOnce(&mut Observation)) -> Vec<Kind> {
    let mut observation = sound();
    change(&mut observation);
    observation.judge().into_iter().map(|finding| finding.kind).collect()
}

fn row_of(observation: &mut Observation) -> &mut Row {
    observation.row.as_mut().unwrap()
}

#[test]
fn each_kind_of_difference_is_told_from_the_others() {
    assert_eq!(kinds(|_| {}), []);
    assert_eq!(kinds(|o| o.content = Content::Read(BAD)), [Kind::DamagedFile]);
    assert_eq!(kinds(|o| (o.content, o.local) = (Content::Read(BAD), Local::Present(meta(9)))), [Kind::Unsynced]);
    assert_eq!(kinds(|o| o.local = Local::Present(meta(9))), [Kind::Unsynced]);
    assert_eq!(kinds(|o| o.row = None), [Kind::NoRow]);
    assert_eq!(kinds(|o| (o.local, o.content) = (Local::Absent, Content::NotRead)), [Kind::NoFile]);
    let skipped = Local::Skipped(SkipReason::Symlink);
    assert_eq!(kinds(|o| (o.local, o.content) = (skipped, Content::NotRead)), [Kind::NoFile]);
    assert_eq!(kinds(|o| o.local = Local::Unknown("EIO".into())), [Kind::Unreadable]);
    assert_eq!(kinds(|o| o.content = Content::Unreadable("EIO".into())), [Kind::Unreadable]);
    assert_eq!(kinds(|o| (o.remote, o.fetched) = (Remote::Missing, Content::NotRead)), [Kind::NoObject]);
    let other = Remote::Present(Listed { size: 3, etag: ETag::new("f") });
    assert_eq!(kinds(|o| o.remote = other), [Kind::ObjectDiffers]);
    let longer = Remote::Present(Listed { size: 4, etag: ETag::new("e") });
    assert_eq!(kinds(|o| o.remote = longer), [Kind::ObjectDiffers]);
    assert_eq!(kinds(|o| o.fetched = Content::Read(BAD)), [Kind::DamagedObject]);
    assert_eq!(kinds(|o| o.fetched = Content::Unreadable("denied".into())), [Kind::Unreadable]);
    assert_eq!(kinds(|o| row_of(o).state = RowState::Failed), [Kind::Failed]);
}

#[test]
fn both_sides_may_be_damaged() {
    let both = |o: &mut Observation| (o.content, o.fetched) = (Content::Read(BAD), Content::Read(BAD));
    assert_eq!(kinds(both), [Kind::DamagedFile, Kind::DamagedObject]);
}

#[test]
fn a_fingerprint_that_cannot_be_believed_proves_no_damage() {
    let racy = |o: &mut Observation| {
        row_of(o).racy = true;
        o.content = Content::Read(BAD);
    };
    assert_eq!(kinds(racy), [Kind::Unsynced]);
    assert_eq!(kinds(|o| row_of(o).racy = true), []);
}

#[test]
fn what_is_kept_on_purpose_is_no_difference_as_long_as_its_object_is_there() {
    let kept = |o: &mut Observation| {
        row_of(o).state = RowState::Kept;
        (o.local, o.content) = (Local::Absent, Content::NotRead);
    };
    assert_eq!(kinds(kept), []);
    let lost = |o: &mut Observation| {
        kept(o);
        o.remote = Remote::Missing;
    };
    assert_eq!(kinds(lost), [Kind::NoObject]);
}

#[test]
fn an_object_that_nobody_vouches_for_is_no_difference() {
    let foreign = |o: &mut Observation| {
        (o.local, o.content, o.row, o.fetched) = (Local::Absent, Content::NotRead, None, Content::NotRead);
    };
    assert_eq!(kinds(foreign), []);
}

fn local() -> impl Strategy<Value = Local> {
    prop_oneof![
        Just(Local::Present(meta(2))),
        Just(Local::Present(meta(9))),
        Just(Local::Absent),
        Just(Local::Skipped(SkipReason::Excluded)),
        Just(Local::Unknown("EIO".into())),
    ]
}

fn any_row() -> impl Strategy<Value = Option<Row>> {
    let states = [RowState::Synced, RowState::Failed, RowState::Deleting, RowState::Kept];
    let some =
        (prop::sample::select(states.to_vec()), any::<bool>(), any::<bool>()).prop_map(|(state, racy, object)| {
            let mut row = Row { racy, ..row(state) };
            if state == RowState::Failed && !object {
                (row.synced, row.fingerprint) = (None, None);
            }
            row
        });
    prop::option::of(some)
}

fn remote() -> impl Strategy<Value = Remote> {
    let present = |size, etag| Remote::Present(Listed { size, etag: ETag::new(etag) });
    prop_oneof![Just(Remote::Missing), Just(present(3, "e")), Just(present(3, "f")), Just(present(4, "e"))]
}

proptest! {
    /// Where every content is the row's, whatever a sync would see to is a difference, and so is nothing else.
    #[test]
    fn what_a_sync_would_act_on_is_a_difference_and_nothing_else(local in local(), row in any_row(), remote in remote()) {
        let mut seen = Observation { local, content: Content::NotRead, row, remote, fetched: Content::NotRead };
        if seen.wants_content().is_some() {
            seen.content = Content::Read(GOOD);
        }
        let decision = decide(&seen.local, seen.row.as_ref(), &seen.remote, DeletePolicy::Mirror);
        let acts = match decision {
            // A racy row whose content is the same is only written anew.
            Decision::Compare(_) => {
                let racy_only = seen.row.as_ref().is_some_and(|row| {
                    row.racy && row.state == RowState::Synced && row.fingerprint == Some(meta(2).fingerprint)
                        && seen.local == Local::Present(meta(2))
                });
                !racy_only || !seen.can_be_fetched()
            }
            // Nobody can read the one, and no file can mend the other.
            Decision::Nothing => {
                let kept = seen.row.as_ref().is_some_and(|row| row.state == RowState::Kept);
                matches!(seen.local, Local::Unknown(_)) || (kept && !seen.can_be_fetched())
            }
            Decision::Foreign => false,
            Decision::Upload(_) | Decision::Adopt | Decision::Resume | Decision::Delete | Decision::DropRow(_)
            | Decision::Keep => true,
        };
        prop_assert_eq!(!seen.judge().is_empty(), acts, "{:?}: {:?} {:?}", decision, seen, seen.judge());
    }
}
