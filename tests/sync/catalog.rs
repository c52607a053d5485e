//! The catalog's statements, on a real server.

use std::path::Path;
use std::time::Duration;

use agent_portail::catalog::file::{self, Range};
use agent_portail::catalog::folder::{self, Claim};
use agent_portail::catalog::held;
use agent_portail::catalog::lock::{Attempt, try_lock};
use agent_portail::catalog::record::{self, Change};
use agent_portail::catalog::schema::{self, SchemaState};
use agent_portail::catalog::{Catalog, CatalogError, Cause};
use agent_portail::model::{
    Digest, ETag, EventKind, FileMeta, Fingerprint, FolderId, Identity, ObjectKey, RelPath, Retry, RowState, Stamp,
    Synced,
};

use crate::common::agent::until;
use crate::common::pg::Database;

/// A migrated database with one folder.
pub(crate) struct World {
    pub(crate) db: Database,
    pub(crate) catalog: Catalog,
    pub(crate) folder: FolderId,
}

impl World {
    pub(crate) async fn new() -> Self {
        let db = Database::new().await;
        let catalog = Catalog::open(db.settings(), "test").unwrap();
        schema::migrate(&catalog).await.unwrap();
        let folder = folder::claim(&catalog, &claim("agent", "p/")).await.unwrap().id;
        Self { db, catalog, folder }
    }

    pub(crate) async fn apply(&self, changes: &[Change]) -> Vec<(usize, CatalogError)> {
        record::apply(&self.catalog, self.folder, changes).await.unwrap()
    }

    /// Rows that are synced.
    pub(crate) async fn with_synced(paths: &[&str]) -> Self {
        let world = Self::new().await;
        let changes: Vec<Change> = paths.iter().map(|path| synced(path, EventKind::Uploaded)).collect();
        assert!(world.apply(&changes).await.is_empty());
        world
    }
}

fn claim<'a>(agent: &'a str, prefix: &'a str) -> Claim<'a> {
    Claim { agent, name: "files", path: Path::new("/srv/files"), endpoint: "aws", bucket: "bucket", prefix }
}

pub(crate) fn path_of(text: &str) -> RelPath {
    RelPath::from_raw(text.as_bytes())
}

/// Every path has an inode and a digest of its own, but for what follows a `=`.
pub(crate) fn synced(path: &str, kind: EventKind) -> Change {
    let mut digest = [0; 16];
    let identity = path.split_once('=').map_or(path, |(_, shared)| shared);
    for (i, byte) in identity.bytes().enumerate() {
        digest[i % 16] ^= byte.rotate_left(u32::try_from(i % 7).unwrap());
    }
    let inode =
        u64::from_le_bytes(digest[..8].try_into().unwrap()) ^ u64::from_le_bytes(digest[8..].try_into().unwrap());
    let fingerprint = Fingerprint { size: 7, mtime: Stamp(1_700_000_000_123_456_789), ctime: Stamp(-5), inode };
    Change::Synced {
        path: path_of(path),
        key: ObjectKey::new("p/", &path_of(path)),
        meta: FileMeta { fingerprint, birth: None, mode: 0o100_644, uid: 1, gid: 1 },
        synced: Synced { size: 7, digest: Digest(digest), etag: ETag::new("etag"), version: Some("v1".to_owned()) },
        racy: false,
        kind,
        detail: None,
    }
}

pub(crate) fn failed(path: &str, error: &str) -> Change {
    Change::Failed { path: path_of(path), key: ObjectKey::new("p/", &path_of(path)), error: error.to_owned() }
}

#[tokio::test]
async fn eight_agents_that_start_together_make_one_schema() {
    let db = Database::new().await;
    let catalogs: Vec<Catalog> = (0..8).map(|i| Catalog::open(db.settings(), &format!("agent {i}")).unwrap()).collect();
    assert_eq!(schema::state(&catalogs[0]).await.unwrap(), SchemaState::Missing);
    let started = catalogs.iter().cloned().map(|catalog| {
        tokio::spawn(async move {
            let migrated = schema::migrate(&catalog).await?;
            schema::maintain_history(&catalog, Duration::from_secs(86_400)).await?;
            Ok::<_, CatalogError>(migrated)
        })
    });
    let mut created = 0;
    for started in started.collect::<Vec<_>>() {
        created += u32::from(started.await.unwrap().unwrap().from.is_none());
    }
    assert!(created >= 1);
    assert_eq!(schema::state(&catalogs[0]).await.unwrap(), SchemaState::Current);
    let applied =
        db.rows("SELECT version, count(*) FROM portail.schema_history GROUP BY version HAVING count(*) > 1").await;
    assert!(applied.is_empty(), "each migration once: {applied:?}");
    let again = schema::migrate(&catalogs[0]).await.unwrap();
    assert_eq!(again.from, Some(again.to), "nothing is left to do");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let world = World::new().await;
    world.db.rows("UPDATE portail.schema_history SET version = 4711 WHERE version = (SELECT max(version) FROM portail.schema_history)").await;
    assert!(matches!(schema::state(&world.catalog).await.unwrap(), SchemaState::Newer { found: 4711, .. }));
    let error = schema::migrate(&world.catalog).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Newer { found: 4711, .. }), "{error:?}");
    assert_eq!(error.retry(), Retry::Fatal);
}

#[tokio::test]
async fn the_history_has_its_months_and_loses_the_old_ones() {
    let world = World::new().await;
    let retention = Duration::from_secs(90 * 86_400);
    let event = "INSERT INTO portail.event (at, folder_id, path, kind) VALUES";
    world.db.rows("CREATE TABLE portail.event_200001 PARTITION OF portail.event FOR VALUES FROM ('2000-01-01') TO ('2000-02-01')").await;
    world.db.rows(&format!("{event} ('2000-01-15', 1, 'old', 'failed'), ('1999-01-15', 1, 'older', 'failed'), (now(), 1, 'new', 'failed')")).await;
    schema::maintain_history(&world.catalog, retention).await.unwrap();
    schema::maintain_history(&world.catalog, retention).await.unwrap();
    assert_eq!(world.db.column("SELECT path FROM portail.event").await, ["new"]);
    let parts = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'portail.event'::regclass";
    // The row of this month may have made the default partition its home before the month had one.
    assert!((2..=3).contains(&world.db.count(parts).await));
    schema::maintain_history(&world.catalog, Duration::MAX).await.unwrap();
}

#[tokio::test]
async fn rows_come_in_byte_order_page_by_page_and_by_range() {
    let names = [
        "",
        "\u{1}",
        " ",
        "A",
        "a",
        "a b",
        "a!",
        "a-b",
        "a.d/x",
        "a/",
        "a/b",
        "a/b/c",
        "a/é",
        "a0",
        "aa",
        "b",
        "'",
        "\"",
        "\\",
        "%",
        "_",
        "é",
        "e\u{301}",
        "漢",
        "\u{ffff}",
        "🦀",
        "new\nline",
        "\u{7f}",
    ];
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    let world = World::with_synced(&names).await;
    let mut expected = names.clone();
    expected.sort_unstable();
    for limit in [1, 3, 100] {
        let mut found: Vec<String> = Vec::new();
        loop {
            let range = Range { after: found.last().map(String::as_str), before: None };
            let page = file::page(&world.catalog, world.folder, &range, limit).await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page.iter().map(|row| row.path.as_str().to_owned()));
        }
        assert_eq!(found, expected, "pages of {limit}");
    }
    let below = Range { after: Some("a/"), before: Some("a0") };
    let below = file::page(&world.catalog, world.folder, &below, 100).await.unwrap();
    assert_eq!(below.iter().map(|row| row.path.as_str()).collect::<Vec<_>>(), ["a/b", "a/b/c", "a/é"]);
    let by_paths = file::by_paths(&world.catalog, world.folder, &["'", "not there", "a"]).await.unwrap();
    assert_eq!(by_paths.len(), 2);
}

/// Plans that were made while the table was empty are kept, and nobody analyses it.
#[tokio::test]
async fn a_batch_reads_its_own_rows_and_no_others_however_many_there_are() {
    const MANY: u64 = 20_000;
    let world = World::new().await;
    world.db.rows("ALTER TABLE portail.file SET (autovacuum_enabled = off)").await;
    let all = async || {
        let (paths, inodes) = (["d1/1", "d2/2", "d3"], [4, 5, 6]);
        let asked = file::Asked { paths: &paths, inodes: &inodes, above: &paths };
        let found = file::find(&world.catalog, world.folder, asked).await.unwrap();
        let rows = file::by_paths(&world.catalog, world.folder, &paths).await.unwrap();
        let path = |path: &str| RelPath::from_raw(path.as_bytes());
        let kept = Change::Kept { path: path("d7/7") };
        let dropped = Change::Dropped { path: path("d8/8") };
        world.apply(&[synced("d9/9", EventKind::Uploaded), failed("d0/10", "why"), kept, dropped]).await;
        (found.rows.len(), found.same_inode.len(), found.had_something_below, rows.len())
    };
    assert_eq!(all().await, (0, 0, vec![], 0));
    world.db.rows("DELETE FROM portail.file").await;
    world.many_files(MANY).await;
    assert_eq!(all().await, (2, 3, vec!["d3".to_owned()], 2));
    let World { db, catalog, .. } = world;
    drop(catalog);
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    until("the sessions have ended", async || db.count(others).await == 0).await;
    let scans = "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE schemaname = 'portail' AND relname = 'file'";
    until("what they have read is told", async || db.count(scans).await > 20).await;
    let read = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE schemaname = 'portail' AND relname = 'file'";
    assert!(db.count(read).await < 100, "{} rows were read", db.count(read).await);
}

#[tokio::test]
async fn a_row_comes_back_as_it_was_written() {
    let world = World::new().await;
    let raw = RelPath::from_raw(b"d/\xff");
    let fingerprint =
        Fingerprint { size: u64::from(u32::MAX) + 1, mtime: Stamp(i64::MAX), ctime: Stamp(i64::MIN), inode: u64::MAX };
    let object = Synced { size: fingerprint.size, digest: Digest([9; 16]), etag: ETag::new("\"x-2\""), version: None };
    let change = Change::Synced {
        path: raw.clone(),
        key: ObjectKey::new("p/", &raw),
        meta: FileMeta { fingerprint, birth: Some(Stamp(0)), mode: u32::MAX, uid: 0, gid: 0 },
        synced: object.clone(),
        racy: true,
        kind: EventKind::Copied,
        detail: Some("from".to_owned()),
    };
    assert!(world.apply(&[change]).await.is_empty());
    let asked = file::Asked { inodes: &[u64::MAX], ..Default::default() };
    let found = file::find(&world.catalog, world.folder, asked).await.unwrap();
    let [row] = &found.same_inode[..] else { panic!("{found:?}") };
    assert!(found.rows.is_empty() && found.had_something_below.is_empty(), "{found:?}");
    assert_eq!((row.path.raw(), row.state, row.racy, row.attempts), (&b"d/\xff"[..], RowState::Synced, true, 0));
    assert_eq!((row.fingerprint, row.synced.as_ref()), (Some(fingerprint), Some(&object)));
}

#[tokio::test]
async fn a_failure_keeps_the_last_object_counts_tries_and_is_told_once() {
    let world = World::with_synced(&["a"]).await;
    let before = file::by_paths(&world.catalog, world.folder, &["a"]).await.unwrap();
    for error in ["first", "first", "second"] {
        world.apply(&[failed("a", error), failed("never", error)]).await;
    }
    let rows = file::by_paths(&world.catalog, world.folder, &["a", "never"]).await.unwrap();
    let (a, never) = (&rows[0], &rows[1]);
    assert_eq!(
        (a.state, a.attempts, &a.synced, a.fingerprint),
        (RowState::Failed, 3, &before[0].synced, before[0].fingerprint)
    );
    assert_eq!((never.state, never.attempts, &never.synced), (RowState::Failed, 3, &None));
    assert_eq!(world.db.events("a").await, ["uploaded", "failed", "failed"]);
    assert_eq!(
        world.db.column("SELECT detail FROM portail.event WHERE path = 'never' ORDER BY at").await,
        ["first", "second"]
    );
    world.apply(&[synced("a", EventKind::Uploaded)]).await;
    let row = "SELECT state, error, attempts FROM portail.file WHERE path = 'a'";
    assert_eq!(world.db.rows(row).await, [["synced", "NULL", "0"]]);
    world.apply(&[failed("a", "second")]).await;
    assert_eq!(world.db.events("a").await.len(), 5, "after a success the same failure is news again");
}

#[tokio::test]
async fn a_row_keeps_its_id_through_all_its_changes() {
    let world = World::with_synced(&["a"]).await;
    let id = "SELECT id FROM portail.file WHERE path = 'a'";
    let before = world.db.value(id).await;
    for change in [
        failed("a", "x"),
        synced("a", EventKind::Uploaded),
        Change::Kept { path: path_of("a") },
        synced("a", EventKind::Touched),
    ] {
        world.apply(&[change]).await;
    }
    assert_eq!(world.db.value(id).await, before);
}

#[tokio::test]
async fn dropped_and_kept_change_only_what_they_may() {
    let world = World::with_synced(&["a", "b", "c"]).await;
    world.apply(&[failed("never", "x")]).await;
    let kept = |path| Change::Kept { path: path_of(path) };
    let dropped = |path| Change::Dropped { path: path_of(path) };
    world.apply(&[kept("a"), dropped("b"), kept("never"), kept("not there"), dropped("not there either")]).await;
    let expected =
        [("a", "kept"), ("c", "synced"), ("never", "failed")].map(|(path, state)| (path.to_owned(), state.to_owned()));
    assert_eq!(world.db.states().await, expected);
}

#[tokio::test]
async fn a_refused_row_keeps_no_other_out() {
    let world = World::new().await;
    world.db.rows("ALTER TABLE portail.file ADD CHECK (path NOT LIKE '%refuse me%')").await;
    let mut changes: Vec<Change> = (0..500).map(|i| synced(&format!("{i:03}"), EventKind::Uploaded)).collect();
    for i in [0, 250, 251, 499] {
        changes[i] = synced(&format!("{i:03} refuse me"), EventKind::Uploaded);
    }
    changes[100] = failed("nul \0", "x");
    changes[101] = failed("101", "an error with \0");
    let refused = world.apply(&changes).await;
    assert_eq!(refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 100, 101, 250, 251, 499]);
    assert!(refused.iter().all(|(_, error)| error.retry() == Retry::Never), "{refused:?}");
    assert_eq!(world.db.count("SELECT count(*) FROM portail.file").await, 494);
    assert_eq!(world.db.count("SELECT count(*) FROM portail.event").await, 494);
}

#[tokio::test]
async fn a_path_twice_in_a_batch_is_refused_whole() {
    let world = World::new().await;
    let twice = [synced("a", EventKind::Uploaded), failed("a", "x")];
    let error = record::apply(&world.catalog, world.folder, &twice).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Twice(_)), "{error:?}");
    assert_eq!(world.db.states().await, []);
}

#[tokio::test]
async fn a_batch_that_the_database_can_t_take_at_all_is_refused_whole() {
    let world = World::new().await;
    world.db.rows("REVOKE ALL ON SCHEMA portail FROM PUBLIC; DROP TABLE portail.file CASCADE").await;
    let error = record::apply(&world.catalog, world.folder, &[synced("a", EventKind::Uploaded)]).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Fatal, "{error:?}");
    assert!(error.to_string().contains("agent-portail migrate"), "{error}");
}

#[tokio::test]
async fn a_folder_keeps_its_rows_and_identity_when_another_agent_takes_it() {
    let world = World::new().await;
    let identity = Identity { fs_id: Some(u64::MAX), inode: u64::MAX - 1, birth: Some(Stamp(-1)) };
    folder::take_identity(&world.catalog, world.folder, &identity).await.unwrap();
    let taken = folder::claim(&world.catalog, &claim("another", "p/")).await.unwrap();
    assert_eq!((taken.id, taken.identity), (world.folder, Some(identity)));
    held::accept_identity(&world.catalog, world.folder).await.unwrap();
    let found = folder::find(&world.catalog, "aws", "bucket", "p/").await.unwrap().unwrap();
    assert_eq!((found.id, found.identity), (world.folder, None));
    assert_eq!(world.db.column("SELECT agent FROM portail.folder").await, ["another"]);
}

#[tokio::test]
async fn of_overlapping_prefixes_claimed_at_once_one_wins() {
    let world = World::new().await;
    for _ in 0..5 {
        world.db.rows("DELETE FROM portail.folder").await;
        let claims = ["q/", "q/r/", "q/r/s/", ""].map(|prefix| {
            let catalog = world.catalog.clone();
            tokio::spawn(async move { folder::claim(&catalog, &claim(&format!("agent of {prefix}"), prefix)).await })
        });
        let mut won = 0;
        for claimed in claims {
            match claimed.await.unwrap() {
                Ok(_) => won += 1,
                Err(error) => assert!(matches!(error.cause(), Cause::Overlap { .. }), "{error:?}"),
            }
        }
        assert_eq!(won, 1);
    }
    world.db.rows("DELETE FROM portail.folder").await;
    for prefix in ["a/", "a-b/", "a0/", "%/", "_/"] {
        folder::claim(&world.catalog, &claim("agent", prefix)).await.unwrap();
    }
    folder::claim(&world.catalog, &claim("agent", "a/b/")).await.expect("an agent may move its own prefix");
    let error = folder::claim(&world.catalog, &claim("another", "a/c/")).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Overlap { .. }));
}

#[tokio::test]
async fn the_writers_lock_excludes_until_it_is_dropped() {
    let world = World::new().await;
    let rival = Catalog::open(world.db.settings(), "agent-portail rival").unwrap();
    let attempt = |catalog: Catalog, prefix: &'static str| async move {
        try_lock(&catalog, "aws", "bucket", prefix).await.unwrap()
    };
    let Attempt::Held(lock) = attempt(rival, "p/").await else { panic!("nobody else has it") };
    let Attempt::Taken(holder) = attempt(world.catalog.clone(), "p/").await else { panic!("it is taken") };
    assert_eq!(holder.application_name, "agent-portail rival");
    assert!(holder.pid.is_some() && holder.client.as_deref() == Some("127.0.0.1"), "{holder:?}");
    assert!(matches!(attempt(world.catalog.clone(), "other/").await, Attempt::Held(_)));
    drop(lock);
    until("it is free", async || matches!(attempt(world.catalog.clone(), "p/").await, Attempt::Held(_))).await;
}

#[tokio::test]
async fn a_lock_whose_session_is_ended_is_lost_and_free() {
    let world = World::new().await;
    let Attempt::Held(lock) = try_lock(&world.catalog, "aws", "bucket", "p/").await.unwrap() else { panic!("free") };
    assert!(tokio::time::timeout(Duration::from_millis(100), lock.lost()).await.is_err(), "not yet");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(world.db.rows(end).await.len(), 1);
    tokio::time::timeout(Duration::from_secs(5), lock.lost()).await.unwrap();
    assert!(matches!(try_lock(&world.catalog, "aws", "bucket", "p/").await.unwrap(), Attempt::Held(_)));
}

#[tokio::test]
async fn a_connection_that_the_server_ended_is_replaced() {
    let world = World::new().await;
    for _ in 0..3 {
        world.catalog.ping().await.unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert!(!world.db.rows(end).await.is_empty());
        world.catalog.ping().await.unwrap();
    }
}
