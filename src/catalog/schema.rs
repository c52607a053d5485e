//! The schema: bringing it up to date, and keeping the history's partitions.

use std::time::Duration;

use refinery::{Migration, Target};

use super::{ANSWER, Catalog, CatalogError, Cause};
use crate::boundary::{Boundary, reached};

mod embedded {
    #![allow(missing_docs, unreachable_pub)]
    refinery::embed_migrations!("migrations");
}

/// Where applied migrations are written down.
const HISTORY: &str = "portail.schema_history";
/// The advisory lock under which the schema is changed: "portail" in ASCII, so that no one else's lock is hit by chance.
const LOCK: i64 = 0x0070_6f72_7461_696c;
/// How long a change of the schema by somebody else is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// What [`migrate`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version found; none = there was no schema.
    pub from: Option<u32>,
    /// The version now.
    pub to: u32,
}

/// How the database's schema stands to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// There is none.
    Missing,
    /// [`migrate`] has something to do.
    Older {
        /// In the database.
        found: u32,
        /// By this program.
        needed: u32,
    },
    /// As it should be.
    Current,
    /// A newer program was here.
    Newer {
        /// In the database.
        found: u32,
        /// By this program.
        known: u32,
    },
}

/// Looks at the schema without changing anything.
///
/// # Errors
/// If the database can't be read.
pub async fn state(catalog: &Catalog) -> Result<SchemaState, CatalogError> {
    let what = "look at the schema";
    let known = newest();
    let Some(found) = applied(catalog, what).await? else { return Ok(SchemaState::Missing) };
    Ok(match found.cmp(&known) {
        std::cmp::Ordering::Less => SchemaState::Older { found, needed: known },
        std::cmp::Ordering::Equal => SchemaState::Current,
        std::cmp::Ordering::Greater => SchemaState::Newer { found, known },
    })
}

/// The newest applied version, if there is any.
async fn applied(catalog: &Catalog, what: &'static str) -> Result<Option<u32>, CatalogError> {
    let rows = catalog.query(what, "SELECT to_regclass($1) IS NOT NULL", &[&HISTORY]).await?;
    let row = catalog.one(what, rows)?;
    if !catalog.column::<bool>(what, &row, 0)? {
        return Ok(None);
    }
    let sql = format!("SELECT max(version) FROM {HISTORY}");
    // Not cached: the table may come into being between two looks.
    let rows = catalog.query(what, &sql, &[]).await?;
    let row = catalog.one(what, rows)?;
    let version: Option<i32> = catalog.column(what, &row, 0)?;
    Ok(version.and_then(|version| u32::try_from(version).ok()))
}

/// The newest version that this program knows.
fn newest() -> u32 {
    let migrations = embedded::migrations::runner();
    let newest = migrations.get_migrations().iter().map(Migration::version).max().unwrap_or_default();
    u32::try_from(newest).unwrap_or(0)
}

/// Brings the schema up to date. Agents that start together take turns.
///
/// # Errors
/// If the schema is newer than this program, somebody else's change does not come to an end, or the role may not change it.
pub async fn migrate(catalog: &Catalog) -> Result<Migrated, CatalogError> {
    let what = "bring the schema up to date";
    match state(catalog).await? {
        SchemaState::Current => return Ok(Migrated { from: Some(newest()), to: newest() }),
        SchemaState::Newer { found, known } => {
            return Err(CatalogError::new(what, &catalog.place, Cause::Newer { found, known }));
        }
        SchemaState::Missing | SchemaState::Older { .. } => {}
    }
    let failed = |error: tokio_postgres::Error| CatalogError::new(what, &catalog.place, error.into());
    // A connection of its own: the lock ends with it, whatever happens here, and its statements may take long.
    let (mut client, connection) = catalog.connect(what).await?;
    let driving = tokio::spawn(connection);
    let locked = tokio::time::timeout(ANSWER + LOCK_WAIT, async {
        client.batch_execute(&format!("SET lock_timeout = {}", LOCK_WAIT.as_millis())).await?;
        client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await
    });
    match locked.await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) if error.code() == Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE) => {
            let holder = lock_holder(catalog, what).await?;
            return Err(CatalogError::new(what, &catalog.place, Cause::MigrationLock(holder)));
        }
        Ok(Err(error)) => return Err(failed(error)),
        Err(_) => return Err(CatalogError::new(what, &catalog.place, Cause::NoAnswer)),
    }
    reached(Boundary::SchemaLocked);
    let from = applied(catalog, what).await?;
    // The administrator may have made it: then no right to make one is needed.
    let rows = client.query("SELECT FROM pg_namespace WHERE nspname = 'portail'", &[]).await.map_err(failed)?;
    if rows.is_empty() {
        client.batch_execute("CREATE SCHEMA portail").await.map_err(failed)?;
    }
    let result = migrate_step_by_step(&mut client, from).await;
    drop(client);
    driving.abort();
    result.map_err(|error| {
        let text = described(&error);
        // The next try goes on where this one was cut off.
        let cause = if is_cut_off(&error) { Cause::Pool(text) } else { Cause::Migration(text) };
        CatalogError::new(what, &catalog.place, cause)
    })?;
    Ok(Migrated { from, to: newest() })
}

/// Each migration is a transaction together with the note that it was applied, so that one that is cut off was never begun.
async fn migrate_step_by_step(client: &mut tokio_postgres::Client, from: Option<u32>) -> Result<(), refinery::Error> {
    let mut versions: Vec<_> = embedded::migrations::runner().get_migrations().iter().map(Migration::version).collect();
    versions.sort_unstable();
    for version in versions.into_iter().filter(|version| from.is_none_or(|from| i64::from(from) < i64::from(*version)))
    {
        let mut runner = embedded::migrations::runner().set_target(Target::Version(version));
        runner.set_migration_table_name(HISTORY);
        runner.run_async(client).await?;
        reached(Boundary::Migrated);
    }
    Ok(())
}

/// Whether the connection has ended, or the server has ended it, rather than refused a migration.
fn is_cut_off(error: &dyn std::error::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(postgres) = cause.downcast_ref::<tokio_postgres::Error>() {
            return postgres.code().is_none_or(|code| code.code().starts_with("57P") || code.code().starts_with("08"));
        }
        next = cause.source();
    }
    false
}

fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next
            .downcast_ref::<tokio_postgres::Error>()
            .and_then(tokio_postgres::Error::as_db_error)
            .map_or_else(|| next.to_string(), |server| format!("{}: {}", server.code().code(), server.message()));
        text.push_str(": ");
        text.push_str(&more);
        cause = next.source();
    }
    text
}

async fn lock_holder(catalog: &Catalog, what: &'static str) -> Result<String, CatalogError> {
    let sql = "SELECT format('%s, process %s', coalesce(nullif(a.application_name, ''), 'unknown'), a.pid)
         FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE l.locktype = 'advisory' AND l.granted AND ((l.classid::bigint << 32) | l.objid::bigint) = $1 LIMIT 1";
    let rows = catalog.query(what, sql, &[&LOCK]).await?;
    match rows.first() {
        Some(row) => catalog.column(what, row, 0),
        None => Ok("it has just ended, try again".to_owned()),
    }
}

/// Makes the history's partitions of this and the next month, and drops those that are older than `retention`.
///
/// # Errors
/// If the catalog can't be changed.
pub async fn maintain_history(catalog: &Catalog, retention: Duration) -> Result<(), CatalogError> {
    let seconds = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX);
    catalog.query("keep the history", "SELECT portail.maintain_events($1)", &[&seconds]).await?;
    catalog.query("keep the notices", "SELECT portail.maintain_notices($1)", &[&seconds]).await?;
    Ok(())
}
