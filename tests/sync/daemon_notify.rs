//! Webhooks: told of what matters, in order, once or more, whatever they do and whenever the daemon ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use agent_portail::demo::postgres::Cluster;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::common::agent::{Agent, until};
use crate::common::daemon::Daemon;
use crate::common::pg::Database;
use crate::common::receiver::{Does, Receiver};
use crate::common::s3::Reply;
use crate::daemon_held::careful;

const TAKES: Does = Does::Answers(204);

fn webhook(agent: &mut Agent, name: &str, receiver: &Receiver, more: &str) {
    let url = format!("http://{}/hook/secret-path?key=secret-query", receiver.address());
    agent.more.push_str(&format!("[[notify]]\nname = \"{name}\"\nurl = \"{url}\"\n{more}\n"));
}

async fn until_taken(receiver: &Receiver, kinds: &[&str]) {
    until(&format!("{kinds:?} of {:?}", receiver.taken()), async || receiver.taken() == kinds).await;
}

#[tokio::test]
async fn what_matters_is_told_in_order_signed_and_in_the_form_of_the_manual() {
    let mut agent = careful().await;
    let (all, some) = (Receiver::start(TAKES).await, Receiver::start(TAKES).await);
    let secret = agent.aside("secret");
    fs::write(&secret, "whsec_c2VjcmV0IG9mIHRoZSBob29r\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    webhook(&mut agent, "all", &all, &format!("secret_file = {secret:?}"));
    webhook(&mut agent, "some", &some, "secret = \"plain\"\nevents = [\"suspended\", \"back\"]");
    let daemon = Daemon::settled(&agent).await;
    // Held, and decided on.
    for i in 0..5 {
        agent.remove(&format!("dir/{i}"));
    }
    daemon.until_state("degraded").await;
    until("it is told", async || all.taken().len() == 2).await;
    agent.run(&["deletes", "reject", "--folder", "files"]).await.expect_code(0);
    daemon.until_state("in_sync").await;
    until("it is back", async || all.taken().len() == 3).await;
    // Away, and back.
    let away = agent.aside("away");
    fs::rename(&agent.root, &away).unwrap();
    daemon.until_state("suspended").await;
    fs::rename(&away, &agent.root).unwrap();
    daemon.until_state("in_sync").await;
    until_taken(&some, &["back", "suspended", "back"]).await;
    until("the other one has it, too", async || all.taken().len() == 5).await;
    let mut kinds = all.taken();
    // Which of the two was first written down is nobody's business.
    kinds[..2].sort_unstable();
    assert_eq!(kinds, ["degraded", "deletions_held", "back", "suspended", "back"]);

    let held = all.seen().into_iter().find(|seen| seen.kind() == "deletions_held").unwrap();
    assert_eq!(held.path, "/hook/secret-path?key=secret-query");
    assert_eq!(held.header("content-type"), "application/json");
    assert!(held.is_signed_with(b"secret of the hook") && !held.is_signed_with(b"plain"));
    assert!(some.seen().iter().all(|seen| seen.is_signed_with(b"plain")));
    let data = &held.json()["data"];
    assert_eq!(
        (&data["agent"], &data["folder"], &data["bucket"]),
        (&"agent-1".into(), &"files".into(), &agent.bucket.as_str().into())
    );
    assert_eq!((&data["held_deletes"], data["path"].as_str()), (&5.into(), agent.root.to_str()));
    assert!(data["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{data}");
    let ids: std::collections::HashSet<String> =
        all.seen().iter().map(|seen| seen.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 5);
    let (_, metrics) = daemon.get("/metrics").await.unwrap();
    assert!(
        metrics.contains("agent_portail_notifications_total{webhook=\"all\",outcome=\"delivered\"} 5\n"),
        "{metrics}"
    );
    let log = daemon.stop().await;
    assert!(!log.contains("secret"), "{log}");
    let config = agent.run(&["config"]).await.expect_code(0).stdout;
    assert!(config.contains("[[notify]]") && config.contains("events = [\"suspended\", \"back\"]"), "{config}");
    assert!(!config.contains("secret-") && !config.contains("plain"), "{config}");
}

#[tokio::test]
async fn a_webhook_that_refuses_fails_or_hangs_is_told_later_and_holds_nobody_up() {
    let mut agent = careful().await;
    // Free now.
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let (failing, hanging, good) =
        (Receiver::start(Does::Answers(500)).await, Receiver::start(Does::Hangs).await, Receiver::start(TAKES).await);
    webhook(&mut agent, "failing", &failing, "");
    webhook(&mut agent, "hanging", &hanging, "");
    webhook(&mut agent, "good", &good, "");
    agent.more.push_str(&format!("[[notify]]\nname = \"closed\"\nurl = \"http://{closed}/\"\n"));
    let daemon = Daemon::settled(&agent).await;
    let away = agent.aside("away");
    fs::rename(&agent.root, &away).unwrap();
    daemon.until_state("suspended").await;
    fs::rename(&away, &agent.root).unwrap();
    until_taken(&good, &["suspended", "back"]).await;
    until("the failing one is asked again", async || failing.seen().len() >= 3).await;
    until("the hanging one is asked", async || hanging.seen().len() == 1).await;
    // Nothing of it is in the way of the work.
    agent.write("meanwhile", "meanwhile");
    daemon.until_in_sync().await;
    assert_eq!(failing.taken(), Vec::<String>::new());
    // A redirection is no delivery, since a signed body goes nowhere else.
    failing.now(Does::Answers(302));
    let before = failing.seen().len();
    until("it is asked again", async || failing.seen().len() > before).await;
    assert_eq!(failing.taken(), Vec::<String>::new());
    failing.now(TAKES);
    hanging.now(TAKES);
    let late = Receiver::start_at(TAKES, closed.port()).await;
    until_taken(&failing, &["suspended", "back"]).await;
    until_taken(&late, &["suspended", "back"]).await;
    until_taken(&hanging, &["suspended", "back"]).await;
    let same: Vec<_> = failing
        .seen()
        .iter()
        .filter(|seen| seen.kind() == "suspended")
        .map(|seen| seen.header("webhook-id").to_owned())
        .collect();
    assert!(same.len() >= 4 && same.iter().all(|id| *id == same[0]), "who gets it twice can tell: {same:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn what_could_not_be_told_is_told_after_a_restart_and_nothing_twice_after_it_was_taken() {
    let mut agent = careful().await;
    let receiver = Receiver::start(Does::Answers(503)).await;
    webhook(&mut agent, "hook", &receiver, "");
    let daemon = Daemon::settled(&agent).await;
    for i in 0..5 {
        agent.remove(&format!("dir/{i}"));
    }
    let written = "SELECT count(*) FROM portail.notice";
    until("both are written down", async || agent.db.count(written).await == 2).await;
    until("one is tried", async || !receiver.seen().is_empty()).await;
    daemon.kill().await;
    // Somebody else lets it end while the daemon is away: `sync` writes into the same history.
    agent.run(&["deletes", "reject", "--folder", "files"]).await.expect_code(0);
    agent.synced().await;
    receiver.now(TAKES);
    let daemon = Daemon::settled(&agent).await;
    until("all is told", async || receiver.taken().len() == 3).await;
    assert_eq!(receiver.taken()[2], "back");
    daemon.stop().await;
    let daemon = Daemon::settled(&agent).await;
    let cursor =
        "SELECT last_notice = (SELECT max(id) FROM portail.notice) AND delivered_at IS NOT NULL FROM portail.webhook";
    assert_eq!(agent.db.value(cursor).await, "t");
    agent.write("later", "later");
    daemon.until_folder("it is uploaded", |folder| folder["done"]["uploaded"] == 1).await;
    assert_eq!(receiver.taken().len(), 3);
    daemon.stop().await;
}

#[tokio::test]
async fn an_outage_is_told_of_whichever_server_is_away() {
    let mut cluster = tokio::task::spawn_blocking(|| Cluster::start().unwrap()).await.unwrap();
    let mut agent = careful().await;
    agent.db = Arc::new(Database::of(&cluster).await);
    let receiver = Receiver::start(TAKES).await;
    webhook(&mut agent, "hook", &receiver, "");
    let daemon = Daemon::settled(&agent).await;
    agent.s3.script(|_| Some(Reply::Disconnect));
    agent.write("a", "a");
    // While it lasts.
    until_taken(&receiver, &["degraded"]).await;
    assert!(
        receiver.seen()[0].json()["data"]["reason"].as_str().unwrap().contains("use the bucket"),
        "{receiver:?}",
        receiver = receiver.seen()
    );
    agent.s3.clear_scripts();
    daemon.until_state("in_sync").await;
    until_taken(&receiver, &["degraded", "back"]).await;
    // The history is away itself, and has it afterwards.
    cluster.stop();
    agent.write("b", "b");
    daemon.until_state("degraded").await;
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.resume().unwrap();
        cluster
    })
    .await
    .unwrap();
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    until_taken(&receiver, &["degraded", "back", "degraded", "back"]).await;
    daemon.stop().await;
    drop(cluster);
}

#[tokio::test]
async fn a_reconciliation_that_fails_is_told_of_once_until_one_succeeds() {
    let mut agent = careful().await;
    let receiver = Receiver::start(TAKES).await;
    webhook(&mut agent, "hook", &receiver, "events = [\"reconciliation_failed\"]");
    agent.sync = "reconcile_every = \"1s\"".to_owned();
    let daemon = Daemon::settled(&agent).await;
    // A listing that the store cuts off: everything else works.
    agent.s3.script(|seen| (seen.operation == "ListObjectsV2").then_some(Reply::Disconnect));
    until_taken(&receiver, &["reconciliation_failed"]).await;
    assert!(
        receiver.seen()[0].json()["data"]["reason"].as_str().unwrap().contains("ListObjectsV2")
            || !receiver.seen()[0].json()["data"]["reason"].is_null()
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(receiver.taken().len(), 1);
    agent.s3.clear_scripts();
    daemon.until_state("in_sync").await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_a_day_old_and_not_taken_is_given_up_with_a_line_in_the_log() {
    let mut agent = careful().await;
    let receiver = Receiver::start(Does::Answers(404)).await;
    webhook(&mut agent, "hook", &receiver, "");
    let daemon = Daemon::settled(&agent).await;
    let old = "INSERT INTO portail.notice (at, folder_id, kind, reason)
         SELECT now() - interval '25 hours', id, 'degraded', 'long ago' FROM portail.folder RETURNING id";
    agent.db.rows(old).await;
    daemon.until_logged("is given up").await;
    let (_, metrics) = daemon.get("/metrics").await.unwrap();
    assert!(metrics.contains("{webhook=\"hook\",outcome=\"given_up\"} 1\n"), "{metrics}");
    assert_eq!(receiver.seen().len(), 1, "but it was tried");
    daemon.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_host_or_authority_gets_nothing() {
    let home = tempfile::tempdir().unwrap();
    let openssl = |args: &str| {
        let output = Command::new("openssl").args(args.split(' ')).current_dir(home.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("{new} -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.crt"));
    for name in ["localhost", "elsewhere"] {
        openssl(&format!("{new} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        fs::write(home.path().join("names"), format!("subjectAltName = DNS:{name}\nbasicConstraints = CA:FALSE\n"))
            .unwrap();
        openssl(&format!(
            "x509 -req -days 2 -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out {name}.crt"
        ));
    }
    let acceptor = |name: &str| {
        let certificate = CertificateDer::from_pem_file(home.path().join(format!("{name}.crt"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(home.path().join(format!("{name}.key"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()))
    };
    let mut agent = careful().await;
    let (good, stranger) = (
        Receiver::start_encrypted(TAKES, acceptor("localhost")).await,
        Receiver::start_encrypted(TAKES, acceptor("elsewhere")).await,
    );
    let ca = home.path().join("ca.crt");
    let mut hook = |name: &str, receiver: &Receiver, more: &str| {
        let url = format!("https://localhost:{}/", receiver.address().port());
        agent.more.push_str(&format!("[[notify]]\nname = \"{name}\"\nurl = \"{url}\"\n{more}\n"));
    };
    hook("good", &good, &format!("ca_file = {ca:?}"));
    hook("other-host", &stranger, &format!("ca_file = {ca:?}"));
    hook("other-authority", &good, "");
    let daemon = Daemon::settled(&agent).await;
    let away = agent.aside("away");
    fs::rename(&agent.root, &away).unwrap();
    daemon.until_state("suspended").await;
    fs::rename(&away, &agent.root).unwrap();
    until_taken(&good, &["suspended", "back"]).await;
    daemon.until_logged("notifications to other-host wait").await;
    daemon.until_logged("notifications to other-authority wait").await;
    assert!(stranger.seen().is_empty(), "{:?}", stranger.seen());
    assert_eq!(good.seen().len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn one_judgement_is_one_notice_and_notices_are_numbered_as_they_are_committed() {
    let agent = careful().await;
    agent.synced().await;
    // A transaction that has drawn its number holds the next one up until it ends.
    agent.db.rows("BEGIN; SELECT portail.add_notice(id, 'degraded', 'slow', NULL) FROM portail.folder").await;
    let settings = agent.db.settings().clone();
    let other = tokio::spawn(async move {
        let client = crate::common::pg::connect(&settings).await;
        client
            .batch_execute("SELECT portail.add_notice(id, 'suspended', 'fast', NULL) FROM portail.folder")
            .await
            .unwrap();
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    until("the other one waits", async || agent.db.count(waits).await == 1).await;
    agent.db.rows("COMMIT").await;
    other.await.unwrap();
    let order = agent.db.column("SELECT reason FROM portail.notice WHERE reason IN ('slow', 'fast') ORDER BY id").await;
    assert_eq!(order, ["slow", "fast"]);
    // The last word on a folder stays, however old.
    agent
        .db
        .rows("UPDATE portail.notice SET at = now() - interval '1 year'; SELECT portail.maintain_notices(3600)")
        .await;
    assert_eq!(agent.db.column("SELECT reason FROM portail.notice").await, ["fast"]);
}

#[tokio::test]
async fn a_role_that_may_read_reads_everything_but_what_opens_links_and_writes_nothing() {
    let agent = careful().await;
    agent.synced().await;
    let role = format!("reader_{}", std::process::id());
    let name = agent.db.settings().name.clone();
    agent.db.rows(&format!("CREATE ROLE {role} LOGIN PASSWORD 'x'; SELECT portail.grant_read('{role}')")).await;
    let mut settings = agent.db.settings().clone();
    settings.user.clone_from(&role);
    settings.password = Some("x".into());
    let reader = crate::common::pg::connect(&settings).await;
    for table in ["folder", "file", "event", "held_delete", "notice", "webhook", "damaged_file", "verification"] {
        reader
            .batch_execute(&format!("SELECT count(*) FROM portail.{table}"))
            .await
            .unwrap_or_else(|error| panic!("{table}: {error:?}"));
    }
    for sql in [
        "DELETE FROM portail.file",
        "UPDATE portail.held_delete SET decision = 'approved'",
        "INSERT INTO portail.notice (folder_id, kind) VALUES (1, 'back')",
        "CREATE TABLE portail.mine (a int)",
        "SELECT portail.grant_read('postgres')",
    ] {
        assert!(reader.batch_execute(sql).await.is_err(), "{sql}");
    }
    // A column whose name begins with `token` is what a later schema may have.
    agent.db.rows("CREATE TABLE portail.test_link (id bigint, token_sha256 bytea)").await;
    agent.db.rows(&format!("SELECT portail.grant_read('{role}')")).await;
    assert!(reader.batch_execute("SELECT id FROM portail.test_link").await.is_ok());
    assert!(reader.batch_execute("SELECT token_sha256 FROM portail.test_link").await.is_err());
    drop(reader);
    let _ = name;
    agent.db.rows(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
