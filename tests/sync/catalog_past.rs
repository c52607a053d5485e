//! What the catalog knows of the past, and of damaged files.

use std::path::Path;
use std::time::{Duration, SystemTime};

use agent_portail::catalog::file::Range;
use agent_portail::catalog::folder::{self, Claim};
use agent_portail::catalog::restorable::{self, Past, Then};
use agent_portail::catalog::{Catalog, schema, verification};
use agent_portail::model::{Digest, Fingerprint, FolderId, Stamp};

use crate::common::pg::Database;

async fn world() -> (Database, Catalog, FolderId) {
    let db = Database::new().await;
    let catalog = Catalog::open(db.settings(), "test").unwrap();
    schema::migrate(&catalog).await.unwrap();
    let claim = Claim { agent: "a", name: "f", path: Path::new("/f"), endpoint: "aws", bucket: "b", prefix: "" };
    let id = folder::claim(&catalog, &claim).await.unwrap().id;
    (db, catalog, id)
}

const NOON: Duration = Duration::from_secs(1_700_000_000);

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOON
}

/// Events as minutes from noon, kind and version.
async fn events(db: &Database, path: &str, events: &[(i64, &str, &str)]) {
    for (minutes, kind, version) in events {
        let at = NOON.as_secs() as i64 + minutes * 60;
        db.rows(&format!(
            "INSERT INTO portail.event (at, folder_id, path, kind, size, md5, version_id)
             SELECT to_timestamp({at}), id, '{path}', '{kind}', 1, '\\x{}', nullif('{version}', '') FROM portail.folder",
            "11".repeat(16)
        ))
        .await;
    }
}

/// A row of this version, written so many minutes from noon.
async fn row(db: &Database, path: &str, version: &str, minutes: i64) {
    let at = NOON.as_secs() as i64 + minutes * 60;
    db.rows(&format!(
        "INSERT INTO portail.file
             (folder_id, path, name, key, size, md5, etag, version_id, mode, mtime_ns, ctime_ns, inode, state, synced_at)
         SELECT id, '{path}', 'n', '{path}', 1, '\\x{}', 'e', nullif('{version}', ''), 33188, 5, 6, 7, 'synced', to_timestamp({at})
         FROM portail.folder",
        "11".repeat(16)
    ))
    .await;
}

/// `v1` for a version, `v1+` if its row tells mtime and mode, or what else is known.
fn describe(past: &Past) -> String {
    let then = match &past.then {
        Then::Version(version) if version.mtime.is_some() => format!("{}+", version.id),
        Then::Version(version) => version.id.clone(),
        Then::NotRecorded => "not recorded".to_owned(),
        Then::Forgotten => "forgotten".to_owned(),
        Then::Absent => "absent".to_owned(),
    };
    format!("{}: {then}", past.path)
}

#[tokio::test]
async fn each_way_of_telling_what_was_there_is_used() {
    let (db, catalog, id) = world().await;
    let up = "uploaded";
    events(&db, "a changed since", &[(-9, up, "v1"), (9, up, "v2")]).await;
    row(&db, "a changed since", "v2", 9).await;
    events(&db, "b deleted before", &[(-9, up, "v1"), (-5, "deleted", "v1")]).await;
    events(&db, "c deleted since", &[(-9, up, "v1"), (5, "deleted", "v1")]).await;
    events(&db, "d back", &[(-9, up, "v1"), (-8, "deleted", "v1"), (-7, up, "v2"), (5, "deleted", "v2")]).await;
    events(&db, "e no version", &[(-9, up, "")]).await;
    events(
        &db,
        "f nothing of it counts",
        &[(-9, up, "v1"), (-8, "failed", ""), (-7, "held", ""), (-6, "restored", "v0")],
    )
    .await;
    events(&db, "g exactly then", &[(-9, up, "v1"), (0, "copied", "v2")]).await;
    // From here on, the history before noon is gone.
    row(&db, "h unchanged", "v1", -9).await;
    row(&db, "i unchanged, no version", "", -9).await;
    events(&db, "j deleted since", &[(5, "deleted", "v1")]).await;
    events(&db, "k touched since", &[(5, "touched", "v1"), (6, up, "v2")]).await;
    row(&db, "l changed since", "v2", 5).await;
    events(&db, "l changed since", &[(5, up, "v2")]).await;
    row(&db, "m the last row that was there", "v1", -1).await;
    row(&db, "n new", "v1", 5).await;
    events(&db, "n new", &[(5, up, "v1")]).await;

    let expected = [
        "a changed since: v1",
        "b deleted before: absent",
        "c deleted since: v1",
        "d back: v2",
        "e no version: not recorded",
        "f nothing of it counts: v1",
        "g exactly then: v2",
        "h unchanged: v1+",
        "i unchanged, no version: not recorded",
        "j deleted since: v1",
        "k touched since: v1",
        "l changed since: forgotten",
        "m the last row that was there: v1+",
        "n new: absent",
    ];
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let range = Range { after: after.as_deref(), before: None };
        let page = restorable::past(&catalog, id, noon(), &range, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.path.as_str().to_owned());
        for past in &page {
            let own = restorable::past_of_path(&catalog, id, noon(), past.path.as_str()).await.unwrap();
            assert_eq!(own.as_ref(), Some(past));
        }
        all.extend(page.iter().map(describe));
    }
    assert_eq!(all, expected);
    assert_eq!(restorable::past_of_path(&catalog, id, noon(), "never").await.unwrap(), None);
    let bounded = Range { after: Some("b"), before: Some("d") };
    let page = restorable::past(&catalog, id, noon(), &bounded, 100).await.unwrap();
    assert_eq!(page.iter().map(describe).collect::<Vec<_>>(), ["b deleted before: absent", "c deleted since: v1"]);
}

#[tokio::test]
async fn the_history_reaches_back_to_its_oldest_month_or_to_the_catalogs_birth() {
    let (db, catalog, _) = world().await;
    schema::maintain_history(&catalog, Duration::from_secs(90 * 86_400)).await.unwrap();
    let reach = restorable::reach(&catalog).await.unwrap();
    assert!(!reach.dropped && reach.since.elapsed().unwrap() < Duration::from_secs(300), "{reach:?}");
    db.rows("UPDATE portail.schema_history SET applied_on = '2001-01-01T00:00:00Z'").await;
    let reach = restorable::reach(&catalog).await.unwrap();
    let month = db.value("SELECT extract(epoch FROM date_trunc('month', now() AT TIME ZONE 'UTC'))::bigint").await;
    let since = reach.since.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(reach.dropped && since.to_string() == month, "{reach:?} {month}");
}

#[tokio::test]
async fn what_is_restored_is_what_rows_vouch_for() {
    let (db, catalog, id) = world().await;
    for path in ["d", "d-x", "d/a", "d/b", "d0", "e"] {
        row(&db, path, "", 0).await;
    }
    db.rows("UPDATE portail.file SET state = 'deleting' WHERE path = 'd/b'").await;
    db.rows("UPDATE portail.file SET state = 'failed', etag = NULL WHERE path = 'e'").await;
    let paths = async |range: Range<'_>| -> Vec<String> {
        let page = restorable::page(&catalog, id, &range, 100).await.unwrap();
        page.into_iter().map(|row| row.path.as_str().to_owned()).collect()
    };
    assert_eq!(paths(Range::default()).await, ["d", "d-x", "d/a", "d0"]);
    assert_eq!(paths(Range { after: Some("d/"), before: Some("d0") }).await, ["d/a"]);
    assert_eq!(restorable::extent(&catalog, id, None).await.unwrap(), (4, 4));
    assert_eq!(restorable::extent(&catalog, id, Some("d")).await.unwrap(), (2, 2));
    assert!(restorable::of_path(&catalog, id, "e").await.unwrap().is_none());
    assert_eq!(restorable::of_path(&catalog, id, "d").await.unwrap().unwrap().mode, Some(0o100_644));
}

#[tokio::test]
async fn damage_is_news_once_and_void_as_soon_as_the_row_is_another() {
    let (db, catalog, id) = world().await;
    row(&db, "a", "", 0).await;
    row(&db, "b", "", 0).await;
    let fingerprint = Fingerprint { size: 1, mtime: Stamp(5), ctime: Stamp(6), inode: 7 };
    let damaged = async |path: &str, found: Option<u8>, fingerprint: &Fingerprint| {
        let found = found.map(|byte| Digest([byte; 16]));
        verification::damaged(&catalog, id, path, found, fingerprint).await.unwrap()
    };
    let count = async || verification::damaged_count(&catalog, id).await.unwrap();
    assert!(damaged("a", Some(0x22), &fingerprint).await);
    assert!(!damaged("a", Some(0x22), &fingerprint).await, "known");
    assert!(damaged("a", Some(0x33), &fingerprint).await, "worse");
    assert!(damaged("b", None, &fingerprint).await, "it can't be read");
    assert!(!damaged("b", None, &fingerprint).await);
    assert_eq!(count().await, 2);
    assert_eq!(verification::damaged_paths(&catalog, id, 10).await.unwrap(), ["a", "b"]);
    assert!(verification::damaged_since(&catalog, id, "a").await.unwrap().is_some());
    // Its file was replaced, and synced.
    db.rows("UPDATE portail.file SET ctime_ns = 60 WHERE path = 'a'").await;
    assert!(verification::damaged_since(&catalog, id, "a").await.unwrap().is_none());
    assert_eq!(count().await, 1);
    assert_eq!(db.count("SELECT count(*) FROM portail.damaged_file").await, 1, "it is forgotten");
    // And found damaged anew.
    assert!(damaged("a", Some(0x33), &Fingerprint { ctime: Stamp(60), ..fingerprint }).await);
    verification::found_good(&catalog, id, "a").await.unwrap();
    db.rows("DELETE FROM portail.file WHERE path = 'b'").await;
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn a_round_is_kept_over_its_saves_and_the_next_one_counts_anew() {
    let (db, catalog, id) = world().await;
    row(&db, "a", "", 0).await;
    let mut round = verification::resume(&catalog, id).await.unwrap();
    assert_eq!((round.files, round.bytes, round.checked_files, round.after.as_str()), (1, 1, 0, ""));
    (round.after, round.checked_files, round.checked_bytes) = ("a".to_owned(), 1, 1);
    verification::save(&catalog, id, &round, false).await.unwrap();
    assert_eq!(verification::resume(&catalog, id).await.unwrap(), round);
    verification::save(&catalog, id, &round, true).await.unwrap();
    assert!(verification::resume(&catalog, id).await.unwrap().last_ended_at.is_some());
    row(&db, "b", "", 0).await;
    let next = verification::begin(&catalog, id).await.unwrap();
    assert_eq!((next.files, next.checked_files, next.after.as_str()), (2, 0, ""));
    assert!(next.began_at >= round.began_at && next.last_ended_at.is_some());
}
