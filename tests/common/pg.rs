//! PostgreSQL for tests: one cluster for the whole program, an empty database for each test.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use agent_portail::config::settings::DatabaseSettings;
use agent_portail::demo::postgres::Cluster;
use secrecy::ExposeSecret as _;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// The cluster of this program. Nobody drops a static: its watch ends it with the process.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start().unwrap())
}

/// A database of its own for one test.
pub struct Database {
    settings: DatabaseSettings,
    client: Client,
    /// Of a cluster of its own, with which it goes.
    elsewhere: bool,
}

impl Database {
    /// A new and empty one.
    pub async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let database = name.clone();
        let create = move || cluster().create_database(&database).unwrap();
        tokio::task::spawn_blocking(create).await.unwrap();
        let settings = cluster().settings(&name);
        let client = connect(&settings).await;
        Self { settings, client, elsewhere: false }
    }

    /// The database `postgres` of another cluster, which may come and go.
    pub async fn of(cluster: &Cluster) -> Self {
        let settings = cluster.settings("postgres");
        let client = connect(&settings).await;
        Self { settings, client, elsewhere: true }
    }

    /// How to connect to it.
    pub fn settings(&self) -> &DatabaseSettings {
        &self.settings
    }

    /// Runs SQL; the rows that it gives, as text.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let again;
        let client = match self.client.is_closed() {
            true => {
                again = connect(&self.settings).await;
                &again
            }
            false => &self.client,
        };
        let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let mut rows = Vec::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push((0..row.len()).map(|index| row.get(index).unwrap_or("NULL").to_owned()).collect());
            }
        }
        rows
    }

    /// The first column.
    pub async fn column(&self, sql: &str) -> Vec<String> {
        self.rows(sql).await.into_iter().map(|row| row[0].clone()).collect()
    }

    /// The only value.
    pub async fn value(&self, sql: &str) -> String {
        let mut column = self.column(sql).await;
        assert_eq!(column.len(), 1, "{sql}");
        column.remove(0)
    }

    /// The only value, a number.
    pub async fn count(&self, sql: &str) -> u64 {
        self.value(sql).await.parse().unwrap()
    }

    /// Path and state of each row, in order.
    pub async fn states(&self) -> Vec<(String, String)> {
        let rows = self.rows("SELECT path, state FROM portail.file ORDER BY path COLLATE \"C\"").await;
        rows.into_iter().map(|mut row| (std::mem::take(&mut row[0]), std::mem::take(&mut row[1]))).collect()
    }

    /// The kinds of a path's events, the oldest first.
    pub async fn events(&self, path: &str) -> Vec<String> {
        self.column(&format!("SELECT kind FROM portail.event WHERE path = '{path}' ORDER BY at")).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.elsewhere {
            return;
        }
        // A hundred databases take room; one that stays does no other harm.
        let _ = cluster().run_sql("postgres", &format!("DROP DATABASE \"{}\" WITH (FORCE)", self.settings.name));
    }
}

/// A connection without encryption.
pub async fn connect(settings: &DatabaseSettings) -> Client {
    let mut config = tokio_postgres::Config::new();
    config.host(&settings.host).port(settings.port).dbname(&settings.name).user(&settings.user);
    if let Some(password) = &settings.password {
        config.password(password.expose_secret());
    }
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    client
}
