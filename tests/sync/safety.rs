//! What must never happen to an object or a row: the cases that need a real PostgreSQL or S3 to be told apart.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::common::s3::{Reply, TestS3};
use agent_portail::agent::{Passes, Task};
use agent_portail::catalog::folder::{self, Claim};
use agent_portail::catalog::held::{self, Decision};
use agent_portail::catalog::record::{self, Change};
use agent_portail::catalog::removal::{self, Doomed};
use agent_portail::catalog::{Catalog, Cause, schema};
use agent_portail::config::settings::Settings;
use agent_portail::config::{ConfigFile, Sources, load};
use agent_portail::demo::postgres::Cluster;
use agent_portail::model::{FolderId, ObjectKey, RelPath};
use agent_portail::sync::deletes::Verdict;
use agent_portail::sync::error::SyncError;
use agent_portail::sync::pass::PassEnd;
use tokio_util::sync::CancellationToken;

const DATABASE: &str = "safety";

struct Database {
    cluster: Cluster,
    catalog: Catalog,
}

impl Database {
    async fn start() -> Self {
        let cluster = Cluster::start().unwrap();
        cluster.create_database(DATABASE).unwrap();
        let catalog = Catalog::open(&cluster.settings(DATABASE), "test").unwrap();
        schema::migrate(&catalog).await.unwrap();
        Self { cluster, catalog }
    }

    fn sql(&self, sql: &str) -> String {
        self.cluster.run_sql(DATABASE, sql).unwrap()
    }

    async fn folder(&self, prefix: &str) -> FolderId {
        folder::claim(&self.catalog, &claim_of(prefix)).await.unwrap().id
    }

    /// A row with an object.
    fn row(&self, id: FolderId, path: &str, state: &str) {
        self.sql(&format!(
            "INSERT INTO portail.file (folder_id, path, name, key, size, md5, etag, state)
             VALUES ({}, '{path}', '{path}', '{path}', 1, decode(repeat('00', 16), 'hex'), 'e', '{state}')",
            id.0
        ));
    }

    fn held(&self, id: FolderId, path: &str, decision: &str) {
        let id = id.0;
        self.sql(&format!("INSERT INTO portail.held_delete (folder_id, path, reason, decision) VALUES ({id}, '{path}', 'r', {decision})"));
    }

    fn state(&self, path: &str) -> String {
        self.sql(&format!("SELECT state FROM portail.file WHERE path = '{path}'"))
    }
}

fn claim_of(prefix: &str) -> Claim<'_> {
    Claim { agent: "a", name: "f", path: Path::new("/f"), endpoint: "aws", bucket: "b", prefix }
}

fn path(name: &str) -> RelPath {
    RelPath::from_raw(name.as_bytes())
}

#[tokio::test]
async fn a_claim_that_waited_for_another_sees_what_that_one_claimed() {
    let database = Database::start().await;
    let config = format!(
        "host=127.0.0.1 port={} user=postgres password={} dbname={DATABASE}",
        database.cluster.port(),
        database.cluster.password()
    );
    let (first, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    // What `claim` does, stopped half-way.
    first
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('portail.folder aws b', 0))")
        .await
        .unwrap();
    let catalog = database.catalog.clone();
    let second = tokio::spawn(async move { folder::claim(&catalog, &claim_of("docs/old/")).await });
    while database.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == "0" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first
        .batch_execute(
            "INSERT INTO portail.folder (agent, name, path, endpoint, bucket, prefix) VALUES ('x', 'f', '/x', 'aws', 'b', 'docs/');
             COMMIT",
        )
        .await
        .unwrap();
    let refused = second.await.unwrap().unwrap_err();
    assert!(matches!(refused.cause(), Cause::Overlap { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_rejected_deletion_is_kept_even_if_its_removal_had_begun() {
    let database = Database::start().await;
    let id = database.folder("").await;
    database.row(id, "begun", "deleting");
    database.row(id, "late", "synced");
    database.held(id, "begun", "'approved'");
    held::decide(&database.catalog, id, Some("begun"), Decision::Reject, "me").await.unwrap();
    held::apply_rejections(&database.catalog, id).await.unwrap();
    assert_eq!(database.state("begun"), "kept");
    // A rejection that comes after the pass has looked at them all.
    database.held(id, "late", "'rejected'");
    let doomed = ["late", "begun"].map(|name| Doomed { path: path(name), counts: true });
    let marked = removal::begin(&database.catalog, id, &doomed).await.unwrap();
    assert_eq!(marked, []);
    assert_eq!(database.state("late"), "synced");
}

#[tokio::test]
async fn a_failure_does_not_make_a_kept_object_one_that_may_be_deleted() {
    let database = Database::start().await;
    let id = database.folder("").await;
    for (name, state) in [("k", "kept"), ("d", "deleting"), ("s", "synced")] {
        database.row(id, name, state);
    }
    let failed = |name: &str| Change::Failed {
        path: path(name),
        key: ObjectKey::from_parts("", name),
        error: "unreadable".to_owned(),
    };
    for _ in 0..2 {
        let refused = record::apply(&database.catalog, id, &[failed("k"), failed("d"), failed("s")]).await.unwrap();
        assert!(refused.is_empty(), "{refused:?}");
    }
    assert_eq!((database.state("k"), database.state("d")), ("kept".to_owned(), "deleting".to_owned()));
    assert_eq!(database.state("s"), "failed");
    assert_eq!(database.sql("SELECT count(*) FROM portail.file WHERE error = 'unreadable' AND attempts = 2"), "3");
    assert_eq!(database.sql("SELECT count(*) FROM portail.event WHERE kind = 'failed'"), "3", "told once each");
}

/// A folder, a bucket and a catalog.
struct World {
    home: tempfile::TempDir,
    database: Database,
    s3: TestS3,
    settings: Settings,
    bucket: String,
}

impl World {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("folder")).unwrap();
        let (database, s3) = (Database::start().await, TestS3::start().await);
        let bucket = s3.new_bucket().await;
        let environment: [(&str, OsString); 2] =
            [("SYNC_PATH", home.path().join("folder").into()), ("AWS_BUCKET_NAME", bucket.clone().into())];
        let environment = environment.into_iter().map(|(name, value)| (OsString::from(name), value));
        let mut sources = Sources::capture(None, Vec::new(), environment);
        sources.config = ConfigFile::Default(home.path().join("none.toml"));
        let mut settings = load(&sources).unwrap().settings;
        settings.database = database.cluster.settings(DATABASE);
        settings.s3 = s3.settings();
        Self { home, database, s3, settings, bucket }
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.home.path().join("folder").join(name), content).unwrap();
    }

    async fn pass(&self, cancel: &CancellationToken) -> Result<PassEnd, SyncError> {
        let passes = Passes::prepare(&self.settings, &self.settings.folders, false).await.unwrap();
        passes.run(Task::Sync { wait: false }, cancel).await.remove(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder_that_is_not_the_one_that_was_synced_not_even_a_begun_removal_goes_on() {
    let world = World::start().await;
    for name in ["a", "b", "c"] {
        world.write(name, name);
    }
    let end = world.pass(&CancellationToken::new()).await.unwrap();
    assert_eq!(end.verdict, Some(Verdict::Drained));
    world.database.sql("UPDATE portail.file SET state = 'deleting' WHERE path = 'a'");
    let folder = world.home.path().join("folder");
    std::fs::rename(&folder, world.home.path().join("the-real-one")).unwrap();
    std::fs::create_dir(&folder).unwrap();
    world.write("b", "another b");
    world.write("c", "another c");
    let end = world.pass(&CancellationToken::new()).await.unwrap();
    assert!(matches!(end.verdict, Some(Verdict::Held { .. })), "{end:?}");
    assert_eq!(end.held, 1);
    assert_eq!(world.s3.keys(&world.bucket).await, ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_pass_that_breaks_off_has_recorded_which_folder_it_was() {
    let world = World::start().await;
    world.write("a", "a");
    let stopped = CancellationToken::new();
    stopped.cancel();
    let end = world.pass(&stopped).await.unwrap();
    assert!(end.interrupted);
    assert_eq!(world.database.sql("SELECT root_inode IS NOT NULL FROM portail.folder"), "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_cannot_keep_a_pass_from_stopping() {
    let world = World::start().await;
    world.write("a", "a");
    let (asked, mut asking) = tokio::sync::mpsc::unbounded_channel();
    world.s3.script(move |seen| {
        (seen.operation == "ListObjectsV2").then(|| {
            let _ = asked.send(());
            Reply::Hang
        })
    });
    let cancel = CancellationToken::new();
    let stop = async {
        asking.recv().await.unwrap();
        cancel.cancel();
    };
    let both = async { tokio::join!(world.pass(&cancel), stop).0 };
    // The request itself would be given up after 30 s, three times over.
    let end = tokio::time::timeout(Duration::from_secs(15), both).await.expect("it stops at once").unwrap();
    assert!(end.interrupted && end.verdict.is_none(), "{end:?}");
}
