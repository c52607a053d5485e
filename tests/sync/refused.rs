//! What is wrong outside is said at once, with its remedy.

use std::time::Duration;

use agent_portail::catalog::{Catalog, schema};

use crate::common::agent::{Agent, Outcome};

/// Fails with 1, soon, and says these words without any secret.
async fn refuses(agent: &Agent, words: &[&str]) -> Outcome {
    let pass = agent.run(&["sync"]).await.expect_code(1).expect_words(words);
    assert!(pass.took < Duration::from_secs(15), "{:?}", pass.took);
    for secret in ["wr0ng-secret", "throw-away"] {
        assert!(!pass.stdout.contains(secret) && !pass.stderr.contains(secret), "{}{}", pass.stdout, pass.stderr);
    }
    pass
}

async fn agent() -> Agent {
    let agent = Agent::start().await;
    agent.write("a", "a");
    agent
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn postgresql_that_is_not_there() {
    let mut agent = agent().await;
    agent.database = Some(format!("host = \"127.0.0.1\"\nport = {}\n", closed_port()));
    refuses(&agent, &["open the catalog", "127.0.0.1", "refused", "check that PostgreSQL runs there"]).await;
    agent.run(&["status"]).await.expect_code(1).expect_words(&["refused"]);
    agent.database = Some("host = \"/nonexistent\"\n".to_owned());
    refuses(&agent, &["/nonexistent", "check that PostgreSQL runs there"]).await;
    assert_eq!(agent.s3.counts(), [].into(), "S3 is not even asked");
}

#[tokio::test]
async fn postgresql_that_never_answers() {
    let mut agent = agent().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    agent.database = Some(format!("host = \"127.0.0.1\"\nport = {}\n", silent.local_addr().unwrap().port()));
    refuses(&agent, &["open the catalog", "no connection in 5 s"]).await;
}

#[tokio::test]
async fn a_wrong_database_password() {
    let mut agent = agent().await;
    let settings = agent.db.settings();
    let port = settings.port;
    agent.database = Some(format!(
        "host = \"127.0.0.1\"\nport = {port}\nname = \"{}\"\nuser = \"postgres\"\npassword = \"wr0ng-secret\"\n",
        settings.name
    ));
    refuses(&agent, &["28P01", "check database.user and its password"]).await;
    agent.database = Some(format!("host = \"127.0.0.1\"\nport = {port}\nuser = \"nobody-here\"\n"));
    refuses(&agent, &["password missing", "[database] is right"]).await;
}

#[tokio::test]
async fn a_missing_database() {
    let mut agent = agent().await;
    let settings = agent.db.settings();
    agent.database = Some(format!(
        "host = \"127.0.0.1\"\nport = {}\nname = \"not-there\"\nuser = \"postgres\"\npassword = \"throw-away\"\n",
        settings.port
    ));
    refuses(&agent, &["not-there", "create the database, or correct database.name"]).await;
}

#[tokio::test]
async fn a_role_that_may_not_make_the_schema() {
    let mut agent = agent().await;
    let settings = agent.db.settings();
    let role = format!("weak_{}", settings.name);
    agent.db.rows(&format!("CREATE ROLE {role} LOGIN PASSWORD 'throw-away'")).await;
    agent.database = Some(format!(
        "host = \"127.0.0.1\"\nport = {}\nname = \"{}\"\nuser = \"{role}\"\npassword = \"throw-away\"\n",
        settings.port, settings.name
    ));
    refuses(&agent, &["bring the schema up to date", "grant the role CREATE on the database"]).await;
    agent.db.rows(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_schema_that_is_newer_than_the_program() {
    let agent = agent().await;
    let catalog = Catalog::open(agent.db.settings(), "test").unwrap();
    schema::migrate(&catalog).await.unwrap();
    let newer = "INSERT INTO portail.schema_history (version, name, applied_on, checksum) VALUES (999, 'future', now()::text, '0')";
    agent.db.rows(newer).await;
    refuses(&agent, &["its schema has version 999, and this program knows", "upgrade agent-portail"]).await;
    for command in [&["sync", "--dry-run"][..], &["status"], &["migrate"]] {
        agent.run(command).await.expect_code(1).expect_words(&["999", "upgrade agent-portail"]);
    }
    assert_eq!(agent.s3.counts(), [].into());
}

#[tokio::test]
async fn wrong_s3_credentials() {
    let mut agent = agent().await;
    agent.env.insert("AWS_SECRET_ACCESS_KEY", "wr0ng-secret".to_owned());
    refuses(&agent, &["use the bucket of the folder `files`", "check the access key, its secret and its expiry"]).await;
    agent.env.insert("AWS_ACCESS_KEY_ID", "nobody".to_owned());
    refuses(&agent, &["check the access key, its secret and its expiry"]).await;
    let reason = agent.db.value("SELECT state || ': ' || state_reason FROM portail.folder").await;
    assert!(reason.starts_with("degraded: use the bucket"), "{reason}");
}

#[tokio::test]
async fn no_s3_credentials() {
    let mut agent = agent().await;
    agent.env.insert("AWS_SECRET_ACCESS_KEY", String::new());
    agent.env.insert("AWS_ACCESS_KEY_ID", String::new());
    refuses(&agent, &["set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"]).await;
}

#[tokio::test]
async fn a_missing_bucket() {
    let mut agent = agent().await;
    agent.bucket = "no-such-bucket-here".to_owned();
    refuses(&agent, &["`no-such-bucket-here`", "there is no such bucket; create it, or correct s3.bucket"]).await;
}

#[tokio::test]
async fn an_endpoint_that_is_not_there() {
    let mut agent = agent().await;
    agent.env.insert("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", closed_port()));
    refuses(&agent, &["the store can't be reached; check the network and s3.endpoint_url"]).await;
}

#[tokio::test]
async fn no_folder_and_wrong_usage() {
    let agent = agent().await;
    let config = agent.home.path().join("empty.toml");
    std::fs::write(&config, "[agent]\nname = \"x\"\n").unwrap();
    let config = config.to_str().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_agent-portail"));
    command
        .env_clear()
        .args(["-c", config, "sync"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let pass = crate::common::agent::finish(command.spawn().unwrap()).await.expect_code(78);
    pass.expect_words(&["no folder is configured", "SYNC_PATH"]);
    agent.run(&["sync", "--nonsense"]).await.expect_code(2);
    agent.run(&["nonsense"]).await.expect_code(2);
    agent.run(&["deletes", "approve"]).await.expect_code(2);
    agent.run(&["sync", "--set", "sync.workers=many"]).await.expect_code(78).expect_words(&["sync.workers"]);
}

#[tokio::test]
async fn deletes_before_the_first_pass() {
    let agent = agent().await;
    agent.run(&["deletes", "list"]).await.expect_code(0).expect_words(&["no deletion is held"]);
    agent.run(&["migrate"]).await.expect_code(0).expect_words(&["schema version", "created"]);
    agent.run(&["migrate"]).await.expect_code(0).expect_words(&["up to date"]);
    agent.run(&["deletes", "list"]).await.expect_code(0).expect_words(&["no deletion is held"]);
    agent.run(&["deletes", "approve", "--folder", "files"]).await.expect_code(1).expect_words(&["was never synced"]);
    agent.run(&["status"]).await.expect_code(1).expect_words(&["files: never synced"]);
}

#[tokio::test]
async fn a_closed_standard_output_is_no_crash() {
    let agent = agent().await;
    agent.synced().await;
    let mut child = agent.command(&["status"]).spawn().unwrap();
    drop(child.stdout.take());
    let ended = crate::common::agent::finish(child).await;
    assert!(ended.code.is_some_and(|code| code <= 1) && ended.stderr.is_empty(), "{ended:?}");
}
