//! The database fails, or is not what it should be.

use std::sync::Arc;
use std::time::Duration;

use agent_portail::demo::postgres::Cluster;

use crate::common::agent::Agent;
use crate::common::fault::Fault;
use crate::common::pg::{Database, connect};
use crate::common::world::Step;
use crate::trial::{self, Findings, Trial};
use crate::{Case, cases};

/// The advisory lock under which the schema is changed.
const SCHEMA_LOCK: i64 = 0x0070_6f72_7461_696c;

pub(crate) fn cases() -> Vec<Case> {
    cases!["PostgreSQL":
        "the server is restarted" => || restarted(false),
        "the server crashes" => || restarted(true),
        "all sessions are ended, that of the writer's lock too" => sessions,
        "the connection is cut in a transaction" => cut,
        "only a read-only stand-by is left" => read_only,
        "the disk is full" => full,
        "a statement takes too long" => slow,
        "a row is refused: the rest of its batch goes in" => poison,
        "a migration is cut off" => migration,
        "somebody else holds the lock of the schema" => schema_lock,
    ]
}

/// An agent on a server that is nobody else's.
async fn with_server() -> (Agent, Cluster) {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start().unwrap()).await.unwrap();
    let mut agent = trial::agent().await;
    agent.db = Arc::new(Database::of(&cluster).await);
    (agent, cluster)
}

async fn restarted(crash: bool) -> Findings {
    let (agent, cluster) = with_server().await;
    let mut trial = Trial::begin(&agent, Some(cluster)).await;
    for away in [50, 1500, 3000] {
        let fault = Fault::Database { away: Duration::from_millis(away), crash };
        let (pause, after) = (Duration::from_millis(5), Duration::from_millis(100));
        trial.world.step(&Step { operations: 40, pause, after, fault }).await;
        trial.until_said("in_sync", "").await;
    }
    trial.end(3, "degraded, with the reason".to_owned()).await
}

async fn sessions() -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    for _ in 0..5 {
        let (pause, after) = (Duration::from_millis(5), Duration::from_millis(100));
        trial.world.step(&Step { operations: 30, pause, after, fault: Fault::Sessions }).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    trial.end(5, "starts again by taking the lock".to_owned()).await
}

/// A trigger that fires for this many statements, and counts them in a sequence, which no rollback takes back.
async fn trigger(agent: &Agent, table: &str, times: u64, body: &str) {
    let sql = format!(
        "CREATE SEQUENCE public.injected;
         CREATE FUNCTION public.inject() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('public.injected') <= {times} THEN {body}; END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER inject AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION public.inject()"
    );
    agent.db.rows(&sql).await;
}

/// How often it has fired.
async fn fired(agent: &Agent, times: u64) -> u64 {
    let called = agent.db.count("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.injected").await;
    called.min(times)
}

async fn cut() -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    // After the rows of the statement, before its commit.
    trigger(&agent, "portail.event", 4, "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(1)").await;
    trial.work(80).await;
    trial.until("the connection was cut", async || fired(&agent, 4).await == 4).await;
    trial.end(4, "tries again".to_owned()).await
}

async fn read_only() -> Findings {
    let (agent, cluster) = with_server().await;
    let mut trial = Trial::begin(&agent, Some(cluster)).await;
    agent.db.rows("ALTER SYSTEM SET default_transaction_read_only = on").await;
    agent.db.rows("SELECT pg_reload_conf()").await;
    trial
        .world
        .step(&Step { operations: 40, pause: Duration::from_millis(5), after: Duration::ZERO, fault: Fault::Sessions })
        .await;
    let said = trial.until_said("degraded", "read-only transaction").await;
    trial.assert_calm().await;
    agent.db.rows("ALTER SYSTEM RESET default_transaction_read_only").await;
    agent.db.rows("SELECT pg_reload_conf()").await;
    trial.end(1, said).await
}

async fn full() -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    let body =
        "RAISE EXCEPTION 'could not extend file \"base/1/1\": No space left on device' USING ERRCODE = 'disk_full'";
    trigger(&agent, "portail.file", 1_000_000, body).await;
    trial.work(60).await;
    let said = trial.until_said("degraded", "No space left on device").await;
    trial.assert_calm().await;
    let injected = fired(&agent, 1_000_000).await;
    agent.db.rows("DROP TRIGGER inject ON portail.file").await;
    trial.end(injected, said).await
}

/// Another session has the table to itself for longer than a statement may take.
async fn slow() -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    let other = connect(agent.db.settings()).await;
    other.batch_execute("BEGIN; LOCK TABLE portail.file IN ACCESS EXCLUSIVE MODE").await.unwrap();
    trial.work(40).await;
    let said = trial.until_said("degraded", "statement timeout").await;
    trial.assert_calm().await;
    other.batch_execute("ROLLBACK").await.unwrap();
    trial.end(1, said).await
}

async fn poison() -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    agent.db.rows("ALTER TABLE portail.file ADD CONSTRAINT no_poison CHECK (path <> 'ours/poison')").await;
    agent.write("ours/poison", "poison");
    for i in 0..50 {
        agent.write(format!("ours/beside {i}"), format!("{i}"));
    }
    trial.work(20).await;
    let logged = "failed to sync ours/poison: record it";
    trial.until("the row is reported", async || !trial.world.daemon().log_lines(logged).is_empty()).await;
    let beside = "SELECT count(*) FROM portail.file WHERE path LIKE 'ours/beside %' AND state = 'synced'";
    trial.until("the others go in", async || agent.db.count(beside).await == 50).await;
    let said = trial.until_said("degraded", "the catalog refuses the rows of 1 paths; the log says why").await;
    trial.assert_calm().await;
    agent.db.rows("ALTER TABLE portail.file DROP CONSTRAINT no_poison").await;
    // Nobody tells the program that the database takes it now.
    trial.world.daemon().signal(rustix::process::Signal::HUP);
    trial.end(1, said).await
}

/// The server goes down while the schema is made.
async fn migration() -> Findings {
    let agent = trial::agent().await;
    let cut = "CREATE SEQUENCE public.injected;
         CREATE FUNCTION public.inject() RETURNS event_trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF tg_tag = 'CREATE INDEX' AND nextval('public.injected') <= 3 THEN
                 PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(1);
             END IF;
         END $$;
         CREATE EVENT TRIGGER inject ON ddl_command_end EXECUTE FUNCTION public.inject()";
    agent.db.rows(cut).await;
    let mut trial = Trial::unsettled(&agent, None);
    trial.work(40).await;
    trial.until("it was cut off", async || fired(&agent, 3).await == 3).await;
    trial.end(3, "goes on where it was cut off".to_owned()).await
}

/// Longer than the program waits for it, which then says who it is.
async fn schema_lock() -> Findings {
    let agent = trial::agent().await;
    let other = connect(agent.db.settings()).await;
    other
        .batch_execute(&format!("SET application_name = 'somebody else'; SELECT pg_advisory_lock({SCHEMA_LOCK})"))
        .await
        .unwrap();
    let mut trial = Trial::unsettled(&agent, None);
    trial.work(40).await;
    trial.assert_calm().await;
    let told = agent
        .run(&["migrate"])
        .await
        .expect_code(1)
        .expect_words(&["another process is changing the schema", "somebody else"]);
    assert!(told.took < Duration::from_secs(90), "{:?}", told.took);
    other.batch_execute(&format!("SELECT pg_advisory_unlock({SCHEMA_LOCK})")).await.unwrap();
    trial.end(2, "waits; after a minute, names the holder".to_owned()).await
}
