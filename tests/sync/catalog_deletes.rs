//! The catalog's statements about deletions, on a real server: spooled, sorted, held, decided on, carried out.

use std::time::Duration;

use agent_portail::catalog::folder;
use agent_portail::catalog::held::{self, Decision};
use agent_portail::catalog::judgement::{self, FoundBy, Judgement};
use agent_portail::catalog::record::Change;
use agent_portail::catalog::removal::{self, Doomed};
use agent_portail::catalog::spool::{self, Kind, Tally};
use agent_portail::model::{Absence, EventKind, RelPath};

use crate::catalog::{World, failed, path_of, synced};
use crate::common::agent::until;

impl World {
    async fn spool(&self, pass: i64, paths: &[&str]) {
        let paths: Vec<RelPath> = paths.iter().map(|path| path_of(path)).collect();
        spool::spool(&self.catalog, self.folder, pass, &paths).await.unwrap();
    }

    async fn spooled(&self, pass: i64) -> Vec<String> {
        self.db.column(&format!("SELECT path FROM portail.pending_delete WHERE pass = {pass} ORDER BY path")).await
    }

    async fn sort(&self, pass: i64) -> Tally {
        spool::sort(&self.catalog, self.folder, pass, false).await.unwrap()
    }

    /// Holds what a pass has sorted so, and answers how many were not held before.
    async fn hold(&self, pass: i64, kinds: &[Kind]) -> u64 {
        let judgement = Judgement {
            found_by: FoundBy::Reconciliation,
            reason: "test".to_owned(),
            same_folder: true,
            complete: true,
            deletes: 3,
            in_hour: 0,
            held: 0,
            synced: 10,
            max_delete: 25.0,
            max_delete_count: 2,
        };
        let number = judgement::write(&self.catalog, self.folder, &judgement).await.unwrap();
        let (mut held, mut after) = (0, String::new());
        loop {
            let page = spool::page(&self.catalog, self.folder, pass, kinds, &after, 1000).await.unwrap();
            let Some(last) = page.last() else { return held };
            after = last.path.as_str().to_owned();
            let gone: Vec<_> = page.into_iter().map(|spooled| (spooled.path, Absence::NoFile)).collect();
            held += judgement::hold(&self.catalog, self.folder, number, &gone).await.unwrap();
        }
    }

    /// Spools and holds them.
    async fn held(&self, paths: &[&str]) {
        self.spool(1, paths).await;
        self.sort(1).await;
        self.hold(1, &[Kind::Fresh]).await;
    }

    async fn decide(&self, sub: Option<&str>, decision: Decision) -> u64 {
        held::decide(&self.catalog, self.folder, sub, decision, "test").await.unwrap()
    }

    async fn begin_removal(&self, paths: &[&str], counts: bool) -> Vec<RelPath> {
        let doomed: Vec<Doomed> = paths.iter().map(|path| Doomed { path: path_of(path), counts }).collect();
        removal::begin(&self.catalog, self.folder, &doomed).await.unwrap()
    }

    async fn in_hour(&self) -> u64 {
        removal::in_hour(&self.catalog, self.folder).await.unwrap()
    }
}

#[tokio::test]
async fn a_removal_goes_by_way_of_deleting_and_spares_what_is_kept() {
    let world = World::with_synced(&["a", "b", "kept"]).await;
    world.apply(&[failed("never", "x"), Change::Kept { path: path_of("kept") }]).await;
    let all = ["a", "b", "kept", "never", "not there"];
    assert_eq!(world.begin_removal(&all, true).await, ["a", "b"].map(path_of));
    let ends = ["a", "kept", "never", "not there"].map(path_of);
    removal::end(&world.catalog, world.folder, &ends).await.unwrap();
    let expected =
        [("b", "deleting"), ("kept", "kept"), ("never", "failed")].map(|(p, s)| (p.to_owned(), s.to_owned()));
    assert_eq!(world.db.states().await, expected);
    assert_eq!(world.db.events("a").await, ["uploaded", "deleted"]);
}

#[tokio::test]
async fn removals_count_for_an_hour_whatever_happens_to_the_clock() {
    let world = World::with_synced(&["a", "b", "c", "d", "e"]).await;
    assert_eq!(world.in_hour().await, 0);
    assert_eq!(world.begin_removal(&["a", "b", "not there"], true).await.len(), 2);
    assert_eq!(world.begin_removal(&["c"], false).await.len(), 1);
    assert_eq!(world.in_hour().await, 2, "only what was begun, and only what counts");
    world.db.rows("UPDATE portail.recent_delete SET at = now() - interval '59 minutes'").await;
    assert_eq!(world.in_hour().await, 2);
    world.db.rows("UPDATE portail.recent_delete SET at = now() - interval '61 minutes'").await;
    assert_eq!(world.in_hour().await, 0);
    // The clock was set back by a day: what happened in its future is not forgotten, and not remembered for a day either.
    world.db.rows("UPDATE portail.recent_delete SET at = now() + interval '1 day'").await;
    assert_eq!(world.in_hour().await, 2);
    world.begin_removal(&["d"], true).await;
    assert_eq!(world.in_hour().await, 3);
    assert_eq!(world.db.count("SELECT count(*) FROM portail.recent_delete WHERE at > now()").await, 0);
    world.db.rows("UPDATE portail.recent_delete SET at = now() - interval '61 minutes'").await;
    world.begin_removal(&["e"], true).await;
    assert_eq!(world.db.count("SELECT count(*) FROM portail.recent_delete").await, 1, "old ones don't pile up");
}

#[tokio::test]
async fn a_spool_is_sorted_by_what_may_be_done_with_it() {
    let paths = [
        "renamed=1",
        "stays=1",
        "gone-too=2",
        "and-too=2",
        "deleting",
        "approved",
        "rejected",
        "held",
        "fresh",
        "kept",
    ];
    let world = World::with_synced(&paths).await;
    world.begin_removal(&["deleting"], true).await;
    world.apply(&[Change::Kept { path: path_of("kept") }]).await;
    world.spool(1, &["approved", "rejected", "held", "renamed=1"]).await;
    world.sort(1).await;
    // As where the folder is in doubt.
    assert_eq!(world.hold(1, &[Kind::Fresh, Kind::Renamed]).await, 4);
    world.decide(Some("approved"), Decision::Approve).await;
    world.decide(Some("rejected"), Decision::Reject).await;
    let all: Vec<&str> = paths.iter().copied().filter(|path| *path != "stays=1").collect();
    world.spool(2, &all).await;
    world.spool(2, &["fresh", "no row of this name"]).await;
    let expected = Tally { approved: 1, deleting: 1, renamed: 1, held: 1, fresh: 3, held_renames: 1 };
    assert_eq!(world.sort(2).await, expected);
    assert_eq!(world.sort(3).await, Tally::default(), "passes don't mix");
    world.spool(2, &["stays=1"]).await;
    assert_eq!(world.hold(2, &[Kind::Fresh]).await, 3);
    let to_act_on = [Kind::Approved, Kind::Deleting, Kind::Renamed];
    let page = spool::page(&world.catalog, world.folder, 2, &to_act_on, "", 100).await.unwrap();
    let page: Vec<(&str, Kind)> = page.iter().map(|spooled| (spooled.path.as_str(), spooled.kind)).collect();
    let expected = [("approved", Kind::Approved), ("deleting", Kind::Deleting), ("renamed=1", Kind::Renamed)];
    assert_eq!(page, expected, "what is spooled after the sorting waits for the next pass");
    assert_eq!(held::held_count(&world.catalog, world.folder).await.unwrap(), 5);
    assert_eq!(world.db.events("fresh").await, ["uploaded", "held"]);
    assert_eq!(held::apply_rejections(&world.catalog, world.folder).await.unwrap(), 1);
    assert_eq!(world.db.value("SELECT state FROM portail.file WHERE path = 'rejected'").await, "kept");
    let told = "SELECT detail FROM portail.event WHERE path = 'rejected' ORDER BY at DESC LIMIT 1";
    assert_eq!(world.db.value(told).await, "the object is kept, by decision of test");
}

#[tokio::test]
async fn a_decision_covers_a_path_and_what_lies_below_it() {
    let paths = ["a", "a!", "a-b", "a.b", "a/", "a/b", "a/b/c", "a/é", "a0", "aa", "A/b", "b%", "b%/c", "bxc"];
    let world = World::with_synced(&paths).await;
    world.held(&paths).await;
    let decided = async || {
        world
            .db
            .column("SELECT path FROM portail.held_delete WHERE decision IS NOT NULL ORDER BY path COLLATE \"C\"")
            .await
    };
    assert_eq!(world.decide(Some("a/b"), Decision::Approve).await, 2);
    assert_eq!(decided().await, ["a/b", "a/b/c"]);
    assert_eq!(world.decide(Some("/a/"), Decision::Approve).await, 4);
    assert_eq!(decided().await, ["a", "a/b", "a/b/c", "a/é"]);
    assert_eq!(world.decide(Some("b%"), Decision::Reject).await, 2);
    assert_eq!(decided().await, ["a", "a/b", "a/b/c", "a/é", "b%", "b%/c"]);
    assert_eq!(world.decide(Some("c"), Decision::Approve).await, 0);
    assert_eq!(held::accept_identity(&world.catalog, world.folder).await.unwrap(), 8);
    assert_eq!(world.decide(None, Decision::Reject).await, 6);
    let held = held::held(&world.catalog, world.folder, None, Some("a/b"), 2).await.unwrap();
    assert_eq!(held.iter().map(|held| held.path.as_str()).collect::<Vec<_>>(), ["a/b/c", "a/é"]);
    assert!(held.iter().all(|held| held.decision == Some(Decision::Reject) && held.size == Some(7)));
    let below = held::held(&world.catalog, world.folder, Some("a/b/"), None, 10).await.unwrap();
    assert_eq!(below.iter().map(|held| held.path.as_str()).collect::<Vec<_>>(), ["a/b", "a/b/c"]);
}

#[tokio::test]
async fn a_decision_is_announced() {
    use futures_util::{StreamExt as _, stream};
    use secrecy::ExposeSecret as _;
    let world = World::with_synced(&["a"]).await;
    let settings = world.db.settings();
    let mut config = tokio_postgres::Config::new();
    config.host(&settings.host).port(settings.port).dbname(&settings.name).user(&settings.user);
    config.password(settings.password.as_ref().unwrap().expose_secret());
    let (client, mut connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let mut messages = Box::pin(stream::poll_fn(move |cx| connection.poll_message(cx)));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            if let tokio_postgres::AsyncMessage::Notification(note) = message {
                let _ = tell.send((note.channel().to_owned(), note.payload().to_owned()));
            }
        }
    });
    client.batch_execute(&format!("LISTEN {}", held::DECISION_CHANNEL)).await.unwrap();
    world.decide(None, Decision::Approve).await;
    let note = tokio::time::timeout(Duration::from_secs(5), told.recv()).await.unwrap().unwrap();
    assert_eq!(note, (held::DECISION_CHANNEL.to_owned(), world.folder.0.to_string()));
}

#[tokio::test]
async fn held_deletes_that_a_pass_has_not_found_are_told_from_those_of_which_nothing_is_left() {
    let world = World::with_synced(&["a", "b", "c", "d"]).await;
    world.held(&["a", "b", "c", "d"]).await;
    world.apply(&[Change::Dropped { path: path_of("c") }]).await;
    world.spool(2, &["a"]).await;
    let not_spooled = async |after, limit| {
        let found = held::not_spooled(&world.catalog, world.folder, 2, after, limit).await.unwrap();
        found.into_iter().map(|(path, has_row)| (path.as_str().to_owned(), has_row)).collect::<Vec<_>>()
    };
    let expected = [("b", true), ("c", false), ("d", true)].map(|(path, has_row)| (path.to_owned(), has_row));
    assert_eq!(not_spooled("", 10).await, expected);
    assert_eq!(not_spooled("b", 1).await, expected[1..2]);
}

#[tokio::test]
async fn what_is_held_already_does_not_become_the_source_of_a_rename_when_its_hard_link_is_held() {
    let both = ["held=1", "fresh=1"];
    let world = World::with_synced(&both).await;
    world.held(&both).await;
    // One was back for a while.
    held::forget(&world.catalog, world.folder, &[path_of("fresh=1")]).await.unwrap();
    world.spool(2, &both).await;
    assert_eq!(world.sort(2).await, Tally { held: 1, fresh: 1, ..Tally::default() });
    assert_eq!(world.hold(2, &[Kind::Fresh]).await, 1);
    let to_act_on = [Kind::Approved, Kind::Deleting, Kind::Renamed];
    let left = spool::page(&world.catalog, world.folder, 2, &to_act_on, "", 100).await.unwrap();
    assert_eq!(left, [], "nothing is left to be deleted");
}

#[tokio::test]
async fn whatever_is_recorded_of_a_file_that_is_there_ends_what_was_held_or_said_of_it() {
    let world = World::with_synced(&["a", "b", "c"]).await;
    world.held(&["a", "b", "c"]).await;
    world.decide(Some("b"), Decision::Approve).await;
    world.apply(&[synced("a", EventKind::Touched), synced("b", EventKind::Uploaded), failed("c", "unreadable")]).await;
    assert_eq!(world.db.column("SELECT path FROM portail.held_delete").await, ["c"]);
}

#[tokio::test]
async fn what_nobody_decides_on_for_too_long_is_kept_and_never_deleted() {
    let world = World::with_synced(&["old", "young", "approved", "rejected"]).await;
    world.held(&["old", "young", "approved", "rejected"]).await;
    world.decide(Some("approved"), Decision::Approve).await;
    world.decide(Some("rejected"), Decision::Reject).await;
    let month = Duration::from_secs(30 * 24 * 3600);
    assert_eq!(held::expire(&world.catalog, world.folder, month).await.unwrap(), 0);
    world.db.rows("UPDATE portail.held_delete SET held_at = now() - interval '31 days' WHERE path <> 'young'").await;
    world.spool(2, &["old"]).await;
    assert_eq!(held::expire(&world.catalog, world.folder, month).await.unwrap(), 1);
    let held = world.db.column("SELECT path FROM portail.held_delete ORDER BY path").await;
    assert_eq!(held, ["approved", "rejected", "young"]);
    assert_eq!(world.db.column("SELECT path FROM portail.file WHERE state = 'kept'").await, ["old"]);
    assert_eq!(world.sort(2).await, Tally::default(), "what a pass has found already is not acted on either");
    let told = "SELECT kind || ': ' || detail FROM portail.event WHERE path = 'old' ORDER BY at DESC LIMIT 1";
    assert_eq!(world.db.value(told).await, "held: the object is kept: nobody has decided");
}

#[tokio::test]
async fn a_judgement_lasts_as_long_as_what_it_holds() {
    let world = World::with_synced(&["a/1", "a/2", "b"]).await;
    world.held(&["a/1", "a/2"]).await;
    world.held(&["b"]).await;
    let mut judgements = judgement::latest(&world.catalog, world.folder, 10).await.unwrap();
    judgements.reverse();
    assert_eq!(judgements.len(), 2);
    assert_eq!(judgement::latest(&world.catalog, world.folder, 1).await.unwrap(), judgements[1..]);
    assert_eq!(judgement::by_number(&world.catalog, &[judgements[0].id]).await.unwrap(), judgements[..1]);
    assert_eq!((judgements[0].judgement.deletes, judgements[0].judgement.max_delete), (3, 25.0));
    let page = async |sub, after, limit| {
        judgement::by_directory(&world.catalog, world.folder, sub, after, limit).await.unwrap()
    };
    let (mut directories, last) = page(None, "", 10).await.unwrap();
    assert_eq!((last.as_str(), page(None, &last, 10).await), ("b", None));
    assert_eq!(page(None, "", 1).await.unwrap().1, "a/1");
    assert_eq!(page(Some("a"), "", 10).await.unwrap().1, "a/2");
    directories.sort_by_key(|directory| directory.judgement);
    let shown: Vec<_> = directories.iter().map(|d| (d.judgement, d.directory.as_str(), d.count, d.bytes)).collect();
    assert_eq!(shown, [(Some(judgements[0].id), "a/", 2, 14), (Some(judgements[1].id), "", 1, 7)]);
    assert!(directories.iter().all(|directory| directory.seen.as_deref() == Some("no_file")));
    held::forget(&world.catalog, world.folder, &[path_of("a/1"), path_of("a/2")]).await.unwrap();
    world.held(&["a/1"]).await;
    assert_eq!(world.db.count("SELECT count(*) FROM portail.judgement").await, 2);
}

/// More than any page holds.
#[tokio::test]
async fn a_folder_of_any_size_is_sorted_held_and_decided_on_in_pages() {
    const MANY: u64 = 12_345;
    let world = World::new().await;
    world.many_files(MANY).await;
    world.spool_all(1).await;
    assert_eq!(world.sort(1).await, Tally { fresh: MANY, ..Tally::default() });
    assert_eq!(world.hold(1, &[Kind::Fresh]).await, MANY);
    assert_eq!(held::held_count(&world.catalog, world.folder).await.unwrap(), MANY);
    assert_eq!(
        world.decide(Some("d1"), Decision::Reject).await,
        world.db.count("SELECT count(*) FROM portail.file WHERE path LIKE 'd1/%'").await
    );
    assert_eq!(world.decide(None, Decision::Approve).await, MANY);
    assert_eq!(spool::spool_approved(&world.catalog, world.folder, 2).await.unwrap(), MANY);
    spool::drop_spool(&world.catalog, world.folder, 2).await.unwrap();
    assert_eq!(world.spooled(2).await, [""; 0]);
    assert_eq!(world.decide(None, Decision::Reject).await, MANY);
    assert_eq!(held::apply_rejections(&world.catalog, world.folder).await.unwrap(), MANY);
    assert_eq!(world.db.count("SELECT count(*) FROM portail.file WHERE state = 'kept'").await, MANY);
}

/// Plans that were made while the tables were empty are kept, and nobody analyses them: a join would go through one for each row of
/// the other.
#[tokio::test]
async fn no_statement_about_deletions_goes_through_a_table_for_each_row_of_another() {
    const MANY: u64 = 6_000;
    let world = World::new().await;
    for table in ["file", "pending_delete", "held_delete", "judgement"] {
        world.db.rows(&format!("ALTER TABLE portail.{table} SET (autovacuum_enabled = off)")).await;
    }
    let all = async |pass: i64| {
        world.spool_all(pass).await;
        let tally = world.sort(pass).await;
        world.hold(pass, &[Kind::Fresh]).await;
        let page = held::not_spooled(&world.catalog, world.folder, pass + 1, "", 10_000).await.unwrap();
        assert_eq!(page.len() as u64, tally.fresh);
        let paths: Vec<RelPath> = page.into_iter().map(|(path, _)| path).take(1_000).collect();
        spool::prospects(&world.catalog, world.folder, &paths, Duration::ZERO, false).await.unwrap();
        judgement::by_directory(&world.catalog, world.folder, None, "", 10_000).await.unwrap();
        spool::drop_spool(&world.catalog, world.folder, pass).await.unwrap();
        world.decide(None, Decision::Approve).await;
        spool::spool_approved(&world.catalog, world.folder, pass).await.unwrap();
        world.sort(pass).await;
        let names: Vec<&str> = paths.iter().map(RelPath::as_str).collect();
        let marked = world.begin_removal(&names, true).await;
        removal::end(&world.catalog, world.folder, &marked).await.unwrap();
        held::forget_approved(&world.catalog, world.folder, &paths).await.unwrap();
        held::forget(&world.catalog, world.folder, &paths).await.unwrap();
        world.apply(&[synced("one that is back", EventKind::Uploaded)]).await;
        world.decide(None, Decision::Reject).await;
        held::apply_rejections(&world.catalog, world.folder).await.unwrap();
        held::expire(&world.catalog, world.folder, Duration::ZERO).await.unwrap();
        held::accept_identity(&world.catalog, world.folder).await.unwrap();
        tally.fresh
    };
    assert_eq!(all(1).await, 0);
    world.many_files(MANY).await;
    // And three names of one content, so that renames are looked for.
    world.apply(&["a=1", "b=1", "c=1"].map(|path| synced(path, EventKind::Uploaded))).await;
    assert_eq!(all(2).await, MANY + 4);
    let World { db, catalog, .. } = world;
    drop(catalog);
    // A session tells of what it has read when it ends.
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    until("the sessions have ended", async || db.count(others).await == 0).await;
    let read = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE schemaname = 'portail'";
    until("what they have read is told", async || db.count(read).await > MANY).await;
    let read = db.count(read).await;
    let by_index = "SELECT format('%s: %s', indexrelname, idx_tup_read) FROM pg_stat_user_indexes
         WHERE schemaname = 'portail' AND idx_tup_read > 0";
    assert!(read < 60 * MANY, "{read} rows were read for {MANY}: {:?}", db.column(by_index).await);
}

impl World {
    /// Rows of files in ten directories.
    pub(crate) async fn many_files(&self, count: u64) {
        let sql = format!(
            "INSERT INTO portail.file (folder_id, path, name, key, size, md5, etag, state, inode, mtime_ns, ctime_ns)
             SELECT {}, p, n::text, p, 7, decode(md5(n::text), 'hex'), 'e', 'synced', n, 1, 1
             FROM (SELECT n, 'd' || n % 10 || '/' || n AS p FROM generate_series(1, {count}) n) numbered",
            self.folder.0
        );
        self.db.rows(&sql).await;
    }

    async fn spool_all(&self, pass: i64) {
        let sql = "INSERT INTO portail.pending_delete (folder_id, pass, path)";
        self.db.rows(&format!("{sql} SELECT folder_id, {pass}, path FROM portail.file")).await;
    }
}

#[tokio::test]
async fn a_pass_begins_with_an_empty_spool_and_the_next_number() {
    let world = World::with_synced(&["a", "b"]).await;
    world.apply(&[failed("c", "x")]).await;
    let first = folder::begin_pass(&world.catalog, world.folder).await.unwrap();
    assert_eq!((first.rows, first.synced), (3, 2));
    world.spool(first.number, &["a"]).await;
    let second = folder::begin_pass(&world.catalog, world.folder).await.unwrap();
    assert_eq!(second.number, first.number + 1);
    assert_eq!(world.spooled(first.number).await, [""; 0]);
}
