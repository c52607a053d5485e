//! The catalog in PostgreSQL, one function an SQL statement.
//!
//! Every name is qualified with its schema, and nothing is left behind in a session: connections are pooled.

pub mod error;
pub mod file;
pub mod folder;
pub mod held;
pub mod history;
pub mod judgement;
pub mod lock;
pub mod mount;
pub mod notice;
pub mod probe;
pub mod record;
pub mod removal;
pub mod restorable;
pub mod schema;
pub mod spool;
mod tls;
pub mod upload;
pub mod verification;

use std::time::Duration;

use deadpool_postgres::{Client, Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use secrecy::ExposeSecret as _;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Connection, Row, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::settings::DatabaseSettings;
pub use error::{CatalogError, Cause};

/// The oldest server that has all that the catalog needs.
const OLDEST_SERVER: i32 = 130_000;
/// For a connection out of the pool, made or waited for.
const CONNECT: Duration = Duration::from_secs(5);
/// For a sign of life of a connection that was idle.
const ALIVE: Duration = Duration::from_secs(2);
/// A connection that was used so recently is taken for good.
const FRESH: Duration = Duration::from_secs(1);
/// Paths that are changed in one statement: one over a million rows would take longer than the server allows.
const PAGE: i64 = 5_000;
/// The server ends a statement that takes longer.
const STATEMENT: Duration = Duration::from_secs(20);
/// And this is when we give up on a server that does not answer at all: the server's own limit does not help on a dead link.
const ANSWER: Duration = Duration::from_secs(25);

/// What every session is set to. Plans must not hang on statistics, which are older than a folder that is being filled: generic
/// plans, since one for the values at hand goes through its rows again and again; and no sequential scans, since a plan that was
/// made for an empty table is kept until somebody analyses it. Every statement here has an index to go by. No JIT, which
/// compiles for longer than any of them takes. Keepalives on the server's side: a holder of the writer's lock whose machine
/// has lost its power must not keep it for hours.
const SESSION: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off; \
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";

/// What keeps a connection outside the pool going.
type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// A pool of connections to the catalog.
#[derive(Clone)]
pub struct Catalog {
    pool: Pool,
    config: Config,
    tls: MakeRustlsConnect,
    /// For messages: where it is, without any secret.
    place: String,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Catalog {
    /// A pool for this database. It connects when it is first used; only the CA file is read here.
    ///
    /// # Errors
    /// If the CA file can't be used.
    pub fn open(settings: &DatabaseSettings, application_name: &str) -> Result<Self, CatalogError> {
        let config = connection_config(settings, application_name);
        let tls = tls::connector(&settings.tls)?;
        let manager = Manager::from_config(
            config.clone(),
            tls.clone(),
            // Verified would ask the server before each statement, and double their number.
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let place = format!("{}:{}/{} as {}", settings.host, settings.port, settings.name, settings.user);
        let pool = Pool::builder(manager)
            .max_size(settings.pool_size.max(2))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(ALIVE))
            .pre_recycle(Hook::async_fn(|client, metrics| {
                let idle = metrics.last_used();
                Box::pin(async move {
                    if idle < FRESH {
                        return Ok(());
                    }
                    // A connection that broke while nobody used it is exchanged, instead of failing whoever takes it.
                    match tokio::time::timeout(ALIVE, client.check_connection()).await {
                        Ok(alive) => alive.map_err(HookError::Backend),
                        Err(_) => Err(HookError::message("the connection is dead")),
                    }
                })
            }))
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    let limit = format!("SET statement_timeout = {}; {SESSION}", STATEMENT.as_millis());
                    client.batch_execute(&limit).await.map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| CatalogError::new("prepare the connections", &place, Cause::Pool(error.to_string())))?;
        Ok(Self { pool, config, tls, place })
    }

    /// Asks the server for its version, and refuses one that is too old.
    ///
    /// # Errors
    /// If there is no connection, or the server is too old.
    pub async fn ping(&self) -> Result<String, CatalogError> {
        let what = "ask PostgreSQL for its version";
        let rows = self.query(what, "SELECT current_setting('server_version_num')::int4, version()", &[]).await?;
        let row = self.one(what, rows)?;
        let (number, version): (i32, String) = (self.column(what, &row, 0)?, self.column(what, &row, 1)?);
        if number < OLDEST_SERVER {
            return Err(CatalogError::new(what, &self.place, Cause::TooOld { version }));
        }
        Ok(version)
    }

    /// Whether it can be written to: a stand-by that only reads is of no use.
    ///
    /// # Errors
    /// If there is no connection, or the server only reads.
    pub async fn writable(&self) -> Result<(), CatalogError> {
        let what = "ask PostgreSQL whether it takes writes";
        let rows = self.query(what, "SELECT current_setting('transaction_read_only')", &[]).await?;
        let row = self.one(what, rows)?;
        match self.column::<&str>(what, &row, 0)? {
            "off" => Ok(()),
            _ => Err(self.strange(what, "it only reads")),
        }
    }

    /// A connection of its own, outside the pool, with what drives it.
    async fn connect(&self, what: &'static str) -> Result<(tokio_postgres::Client, Driver), CatalogError> {
        // The client's own limit covers the TCP connection only, not a server that accepts and says nothing.
        let connected = tokio::time::timeout(CONNECT, self.config.connect(self.tls.clone())).await;
        let connected = connected.map_err(|_| CatalogError::new(what, &self.place, Cause::NoAnswer))?;
        connected.map_err(|error| CatalogError::new(what, &self.place, error.into()))
    }

    /// A connection out of the pool.
    async fn client(&self, what: &'static str) -> Result<Client, CatalogError> {
        self.pool.get().await.map_err(|error| CatalogError::new(what, &self.place, error.into()))
    }

    /// Runs one statement, prepared once a connection.
    async fn query(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, CatalogError> {
        match self.query_once(what, sql, parameters).await {
            // The server ended the session and has done nothing of it; a connection out of the pool may be the last to hear.
            Err(error) if error.is_end_of_session() => self.query_once(what, sql, parameters).await,
            // It may have been done before the connection broke, which only a statement that reads does not mind.
            Err(error) if error.is_broken_connection() && sql.starts_with("SELECT") => {
                self.query_once(what, sql, parameters).await
            }
            answer => answer,
        }
    }

    async fn query_once(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, CatalogError> {
        let client = self.client(what).await?;
        let asked = async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, parameters).await
        };
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                let error = CatalogError::new(what, &self.place, error.into());
                if error.is_end_of_session() {
                    drop(deadpool_postgres::Object::take(client));
                }
                Err(error)
            }
            Err(_) => {
                // The connection is in an unknown state, and must not go back into the pool.
                drop(deadpool_postgres::Object::take(client));
                Err(CatalogError::new(what, &self.place, Cause::NoAnswer))
            }
        }
    }

    /// As [`Self::query`], while no other holds the lock of this name; it ends with the statement.
    ///
    /// Two statements, because one that waits for a lock still sees what was there before it waited.
    async fn query_alone(
        &self,
        what: &'static str,
        lock: &str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, CatalogError> {
        let mut client = self.client(what).await?;
        let asked = async {
            let transaction = client.transaction().await?;
            transaction.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[&lock]).await?;
            let statement = transaction.prepare_cached(sql).await?;
            let rows = transaction.query(&statement, parameters).await?;
            transaction.commit().await?;
            Ok::<_, tokio_postgres::Error>(rows)
        };
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(answer) => answer.map_err(|error| CatalogError::new(what, &self.place, error.into())),
            Err(_) => {
                // As above.
                drop(deadpool_postgres::Object::take(client));
                Err(CatalogError::new(what, &self.place, Cause::NoAnswer))
            }
        }
    }

    /// As [`Self::query`], for a statement whose first column of its only row is a count.
    async fn count(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, CatalogError> {
        let rows = self.query(what, sql, parameters).await?;
        let row = self.one(what, rows)?;
        let count: i64 = self.column(what, &row, 0)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Runs a statement over pages of paths until there are no more, and counts them. Its last two parameters, which are added here,
    /// are the path after which a page begins and how many it may have; it answers how many it had, and the last of them.
    async fn in_pages(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, CatalogError> {
        let (mut total, mut after) = (0, String::new());
        loop {
            let mut all = parameters.to_vec();
            all.extend([&after as &(dyn ToSql + Sync), &PAGE]);
            let rows = self.query(what, sql, &all).await?;
            let row = self.one(what, rows)?;
            let count: i64 = self.column(what, &row, 0)?;
            total += u64::try_from(count).unwrap_or(0);
            match self.column(what, &row, 1)? {
                Some(last) if count == PAGE => after = last,
                Some(_) | None => return Ok(total),
            }
        }
    }

    fn one(&self, what: &'static str, rows: Vec<Row>) -> Result<Row, CatalogError> {
        rows.into_iter().next().ok_or_else(|| self.strange(what, "no row came back"))
    }

    fn column<'r, T: tokio_postgres::types::FromSql<'r>>(
        &self,
        what: &'static str,
        row: &'r Row,
        index: usize,
    ) -> Result<T, CatalogError> {
        row.try_get(index).map_err(|error| CatalogError::new(what, &self.place, error.into()))
    }

    /// The tables don't hold what they must.
    fn strange(&self, what: &'static str, found: impl Into<String>) -> CatalogError {
        CatalogError::new(what, &self.place, Cause::Strange(found.into()))
    }
}

fn connection_config(settings: &DatabaseSettings, application_name: &str) -> Config {
    let mut config = Config::new();
    config
        .host(&settings.host)
        .port(settings.port)
        .dbname(&settings.name)
        .user(&settings.user)
        // The server cuts it there itself, with a notice.
        .application_name(application_name.chars().take(60).collect::<String>())
        .connect_timeout(CONNECT)
        // A socket is never encrypted, whatever is asked of TCP: nobody can listen in on it.
        .ssl_mode(if settings.host.starts_with('/') { SslMode::Disable } else { tls::mode(&settings.tls) })
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3)
        .tcp_user_timeout(Duration::from_secs(20));
    if let Some(password) = &settings.password {
        config.password(password.expose_secret());
    }
    config
}

/// Sizes are counted in `bigint`; no file is as large as would not fit.
fn to_bigint(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
