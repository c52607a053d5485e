//! A trial of what the catalog needs of a server besides a connection: sessions that last, and rights.

use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_util::task::AbortOnDropHandle;

use super::{Catalog, CatalogError, Cause};

/// For each step of the trial of sessions.
const STEP: Duration = Duration::from_secs(10);
/// A pooler that deals its connections out in turn may give the same one twice.
const LOOKS: usize = 3;

/// What a connection is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// A session of its own for as long as it lasts, as the writer's lock and LISTEN need it.
    Lasting,
    /// A pooler in between deals out sessions a transaction at a time.
    Shared,
}

/// What the role may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The role, quoted as SQL needs it.
    pub role: String,
    /// The database, quoted likewise.
    pub database: String,
    /// It may make the schema.
    pub may_create_schema: bool,
    /// The schema's tables that it may not read and write; none where there is no schema.
    pub closed_tables: Vec<String>,
    /// It may make the history's partitions, as each month needs one; true where there is no schema.
    pub owns_history: bool,
}

/// Finds out whether a connection keeps its session while others use theirs.
///
/// A sets a variable of its session. B begins a transaction and holds it, which takes from A the server process that a pooler
/// would have put back. A must still find its variable, in the same process.
///
/// # Errors
/// If there is no connection, or no answer: which is what a pooler with nothing left to deal out gives.
pub async fn sessions(catalog: &Catalog) -> Result<Sessions, CatalogError> {
    let (a, _driving_a) = connect(catalog).await?;
    let (b, _driving_b) = connect(catalog).await?;
    let first = ask(catalog, &a, "SELECT set_config('portail.session', 'a', false), pg_backend_pid()").await?;
    ask(catalog, &b, "BEGIN; SELECT 1, 2").await?;
    for _ in 0..LOOKS {
        let again =
            ask(catalog, &a, "SELECT coalesce(current_setting('portail.session', true), ''), pg_backend_pid()").await?;
        if again != first {
            return Ok(Sessions::Shared);
        }
    }
    Ok(Sessions::Lasting)
}

const TRY_SESSIONS: &str = "try sessions";

async fn connect(catalog: &Catalog) -> Result<(Client, AbortOnDropHandle<()>), CatalogError> {
    let (client, connection) = in_time(catalog, catalog.config.connect(catalog.tls.clone())).await?;
    let driving = tokio::spawn(async move {
        // Its error comes to the client's question as well.
        let _ = connection.await;
    });
    Ok((client, AbortOnDropHandle::new(driving)))
}

/// The two columns of the last row. In the simple protocol, since a pooler may know no prepared statements.
async fn ask(catalog: &Catalog, client: &Client, sql: &str) -> Result<(String, String), CatalogError> {
    let messages = in_time(catalog, client.simple_query(sql)).await?;
    let last = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?.to_owned(), row.get(1)?.to_owned())),
        SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) => None,
        // The enum may grow.
        _ => None,
    });
    last.ok_or_else(|| catalog.strange(TRY_SESSIONS, "no row came back"))
}

async fn in_time<T>(
    catalog: &Catalog,
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, CatalogError> {
    let failed = |cause| CatalogError::new(TRY_SESSIONS, &catalog.place, cause);
    match tokio::time::timeout(STEP, asked).await {
        Ok(answer) => answer.map_err(|error| failed(error.into())),
        Err(_) => Err(failed(Cause::NoAnswer)),
    }
}

/// Looks up what the role may do.
///
/// # Errors
/// If the catalog can't be read.
pub async fn rights(catalog: &Catalog) -> Result<Rights, CatalogError> {
    let what = "look up the role's rights";
    let sql = "SELECT quote_ident(current_user), quote_ident(current_database()),
             has_database_privilege(current_database(), 'CREATE'),
             ARRAY(SELECT c.relname::text FROM pg_class c
                 WHERE c.relnamespace = to_regnamespace('portail') AND c.relkind IN ('r', 'p')
                   AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                       AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
                 ORDER BY 1),
             coalesce(has_schema_privilege(to_regnamespace('portail')::oid, 'USAGE')
                 AND has_schema_privilege(to_regnamespace('portail')::oid, 'CREATE'), true)
             AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = to_regnamespace('portail')
                 AND c.relname LIKE 'event%' AND c.relkind IN ('r', 'p') AND NOT pg_has_role(c.relowner, 'USAGE'))";
    let rows = catalog.query(what, sql, &[]).await?;
    let row = catalog.one(what, rows)?;
    Ok(Rights {
        role: catalog.column(what, &row, 0)?,
        database: catalog.column(what, &row, 1)?,
        may_create_schema: catalog.column(what, &row, 2)?,
        closed_tables: catalog.column(what, &row, 3)?,
        owns_history: catalog.column(what, &row, 4)?,
    })
}
