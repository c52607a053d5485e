//! `portail.folder`: who mirrors what to where, and how it stands.

use std::path::Path;
use std::time::SystemTime;

use tokio_postgres::Row as SqlRow;
use tokio_postgres::types::ToSql;

use super::{Catalog, CatalogError, Cause};
use crate::boundary::{Boundary, reached};
use crate::model::{FolderId, FolderState, Identity, Stamp};

/// What a folder is claimed as.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The agent's name.
    pub agent: &'a str,
    /// The folder's name.
    pub name: &'a str,
    /// Where it is.
    pub path: &'a Path,
    /// `aws`, or the URL of a compatible store.
    pub endpoint: &'a str,
    /// Where it is mirrored to.
    pub bucket: &'a str,
    /// Before each key.
    pub prefix: &'a str,
}

/// A folder that the catalog knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderRecord {
    /// Stable.
    pub id: FolderId,
    /// None before the first complete pass, and after a person has accepted another one.
    pub identity: Option<Identity>,
}

/// A pass that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassStart {
    /// Of this folder, counted up.
    pub number: i64,
    /// Rows that the folder has.
    pub rows: u64,
    /// Of them, those that are synced.
    pub synced: u64,
}

/// For `status`.
#[derive(Clone, Debug)]
pub struct FolderOverview {
    /// Stable.
    pub id: FolderId,
    /// Its present holder.
    pub agent: String,
    /// Its name there.
    pub name: String,
    /// Its path there.
    pub path: String,
    /// `aws`, or the URL of a compatible store.
    pub endpoint: String,
    /// Where it is mirrored to.
    pub bucket: String,
    /// Before each key.
    pub prefix: String,
    /// How it stands.
    pub state: FolderState,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    pub since: SystemTime,
    /// Rows with an object.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows whose object is being removed.
    pub deleting: u64,
    /// Rows whose file is gone and whose object stays.
    pub kept: u64,
    /// Deletions that wait for a person.
    pub held: u64,
    /// When the last reconciliation came to its end.
    pub last_reconciled_at: Option<SystemTime>,
}

/// Writes down that this agent mirrors this folder, taking it over from whoever held it before.
///
/// # Errors
/// If another agent's prefix in the same bucket begins this one or is begun by it, or the catalog can't be written to.
pub async fn claim(catalog: &Catalog, claim: &Claim<'_>) -> Result<FolderRecord, CatalogError> {
    let what = "claim the folder";
    let path = claim.path.to_string_lossy();
    // Two agents could slip in overlapping prefixes side by side.
    let lock = format!("portail.folder {} {}", claim.endpoint, claim.bucket);
    let sql = "
        WITH other AS MATERIALIZED (
            SELECT f.prefix, f.name, f.agent FROM portail.folder f
            WHERE f.endpoint = $4 AND f.bucket = $5 AND f.prefix <> $6
              AND f.agent <> $1 AND (starts_with(f.prefix, $6) OR starts_with($6, f.prefix)) LIMIT 1
        ), claimed AS (
            INSERT INTO portail.folder (agent, name, path, endpoint, bucket, prefix)
            SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT FROM other)
            ON CONFLICT (endpoint, bucket, prefix) DO UPDATE SET
                agent = excluded.agent, name = excluded.name, path = excluded.path
            RETURNING id, fs_id, root_inode, root_birth_ns
        )
        SELECT c.id, c.fs_id, c.root_inode, c.root_birth_ns, o.prefix, o.name, o.agent
        FROM (SELECT) one LEFT JOIN claimed c ON true LEFT JOIN other o ON true";
    let parameters: [&(dyn ToSql + Sync); 6] =
        [&claim.agent, &claim.name, &&*path, &claim.endpoint, &claim.bucket, &claim.prefix];
    let rows = catalog.query_alone(what, &lock, sql, &parameters).await?;
    let row = catalog.one(what, rows)?;
    if catalog.column::<Option<i64>>(what, &row, 0)?.is_none() {
        let cause = Cause::Overlap {
            prefix: claim.prefix.to_owned(),
            other: catalog.column::<Option<String>>(what, &row, 4)?.unwrap_or_default(),
            folder: catalog.column::<Option<String>>(what, &row, 5)?.unwrap_or_default(),
            agent: catalog.column::<Option<String>>(what, &row, 6)?.unwrap_or_default(),
        };
        return Err(CatalogError::new(what, &catalog.place, cause));
    }
    reached(Boundary::Claimed);
    to_record(catalog, what, &row)
}

/// The folder that is mirrored there, if there is one.
///
/// # Errors
/// If the catalog can't be read.
pub async fn find(
    catalog: &Catalog,
    endpoint: &str,
    bucket: &str,
    prefix: &str,
) -> Result<Option<FolderRecord>, CatalogError> {
    let what = "find the folder";
    let sql = "SELECT id, fs_id, root_inode, root_birth_ns FROM portail.folder
         WHERE endpoint = $1 AND bucket = $2 AND prefix = $3";
    let rows = catalog.query(what, sql, &[&endpoint, &bucket, &prefix]).await?;
    rows.first().map(|row| to_record(catalog, what, row)).transpose()
}

fn to_record(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<FolderRecord, CatalogError> {
    let id: i64 = catalog.column(what, row, 0)?;
    let fs_id: Option<i64> = catalog.column(what, row, 1)?;
    let inode: Option<i64> = catalog.column(what, row, 2)?;
    let birth: Option<i64> = catalog.column(what, row, 3)?;
    let identity = inode.map(|inode| Identity {
        fs_id: fs_id.map(i64::cast_unsigned),
        inode: inode.cast_unsigned(),
        birth: birth.map(Stamp),
    });
    Ok(FolderRecord { id: FolderId(id), identity })
}

/// Writes down which folder it is.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn take_identity(catalog: &Catalog, folder: FolderId, identity: &Identity) -> Result<(), CatalogError> {
    let sql = "UPDATE portail.folder SET fs_id = $2, root_inode = $3, root_birth_ns = $4 WHERE id = $1";
    let fs_id = identity.fs_id.map(u64::cast_signed);
    let birth = identity.birth.map(|birth| birth.0);
    catalog
        .query("record the folder's identity", sql, &[&folder.0, &fs_id, &identity.inode.cast_signed(), &birth])
        .await?;
    Ok(())
}

/// Writes down how the folder stands. The time moves only when something changes.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn set_state(
    catalog: &Catalog,
    folder: FolderId,
    state: FolderState,
    reason: Option<&str>,
) -> Result<(), CatalogError> {
    let sql = "UPDATE portail.folder SET state = $2, state_reason = $3, state_since = now()
         WHERE id = $1 AND (state, state_reason) IS DISTINCT FROM ($2, $3)";
    let reason = reason.map(|reason| reason.replace('\0', "\u{fffd}"));
    catalog.query("record the folder's state", sql, &[&folder.0, &state.as_str(), &reason]).await?;
    Ok(())
}

/// As [`set_state`], as long as this agent is the folder's holder: whoever has no lock can't say how another's folder stands.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn set_own_state(
    catalog: &Catalog,
    folder: FolderId,
    agent: &str,
    state: FolderState,
    reason: Option<&str>,
) -> Result<(), CatalogError> {
    let sql = "UPDATE portail.folder SET state = $3, state_reason = $4, state_since = now()
         WHERE id = $1 AND agent = $2 AND (state, state_reason) IS DISTINCT FROM ($3, $4)";
    let reason = reason.map(|reason| reason.replace('\0', "\u{fffd}"));
    catalog.query("record the folder's state", sql, &[&folder.0, &agent, &state.as_str(), &reason]).await?;
    Ok(())
}

/// Begins a pass: gives it a number, and empties the spool that an earlier one may have left.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn begin_pass(catalog: &Catalog, folder: FolderId) -> Result<PassStart, CatalogError> {
    let what = "begin a pass";
    let sql = "WITH spool AS (DELETE FROM portail.pending_delete WHERE folder_id = $1)
         UPDATE portail.folder f SET last_pass = last_pass + 1 WHERE id = $1
         RETURNING last_pass, (SELECT count(*) FROM portail.file WHERE folder_id = $1),
             (SELECT count(*) FROM portail.file WHERE folder_id = $1 AND state <> 'synced')";
    let rows = catalog.query(what, sql, &[&folder.0]).await?;
    let row = catalog.one(what, rows)?;
    let rows: i64 = catalog.column(what, &row, 1)?;
    let others: i64 = catalog.column(what, &row, 2)?;
    let unsigned = |count: i64| u64::try_from(count).unwrap_or(0);
    Ok(PassStart { number: catalog.column(what, &row, 0)?, rows: unsigned(rows), synced: unsigned(rows - others) })
}

/// Gives the next pass its number, beside one that may be running.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn next_pass(catalog: &Catalog, folder: FolderId) -> Result<i64, CatalogError> {
    let what = "number a pass";
    let sql = "UPDATE portail.folder SET last_pass = last_pass + 1 WHERE id = $1 RETURNING last_pass";
    let rows = catalog.query(what, sql, &[&folder.0]).await?;
    let row = catalog.one(what, rows)?;
    catalog.column(what, &row, 0)
}

/// How many rows of the folder are synced.
///
/// # Errors
/// If the catalog can't be read.
pub async fn synced_count(catalog: &Catalog, folder: FolderId) -> Result<u64, CatalogError> {
    let sql = "SELECT (SELECT count(*) FROM portail.file WHERE folder_id = $1)
             - (SELECT count(*) FROM portail.file WHERE folder_id = $1 AND state <> 'synced')";
    catalog.count("count the synced files", sql, &[&folder.0]).await
}

/// How many paths of the folder could not be synced.
///
/// # Errors
/// If the catalog can't be read.
pub async fn failed_count(catalog: &Catalog, folder: FolderId) -> Result<u64, CatalogError> {
    let sql = "SELECT count(*) FROM portail.file WHERE folder_id = $1 AND state = 'failed'";
    catalog.count("count the failed files", sql, &[&folder.0]).await
}

/// How many objects the folder has in the bucket, and their bytes. It reads every row.
///
/// # Errors
/// If the catalog can't be read.
pub async fn totals(catalog: &Catalog, folder: FolderId) -> Result<(u64, u64), CatalogError> {
    let what = "count the files";
    let sql = "SELECT count(*), coalesce(sum(size), 0)::bigint FROM portail.file
         WHERE folder_id = $1 AND etag IS NOT NULL";
    let rows = catalog.query(what, sql, &[&folder.0]).await?;
    let row = catalog.one(what, rows)?;
    let unsigned = |index| catalog.column::<i64>(what, &row, index).map(|count| u64::try_from(count).unwrap_or(0));
    Ok((unsigned(0)?, unsigned(1)?))
}

/// When the last reconciliation came to its end.
///
/// # Errors
/// If the catalog can't be read.
pub async fn reconciled_at(catalog: &Catalog, folder: FolderId) -> Result<Option<SystemTime>, CatalogError> {
    let what = "find the last reconciliation";
    let rows = catalog.query(what, "SELECT last_reconciled_at FROM portail.folder WHERE id = $1", &[&folder.0]).await?;
    let row = catalog.one(what, rows)?;
    catalog.column(what, &row, 0)
}

/// Writes down that a reconciliation has come to its end.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn finish_pass(catalog: &Catalog, folder: FolderId) -> Result<(), CatalogError> {
    let sql = "UPDATE portail.folder SET last_reconciled_at = now() WHERE id = $1";
    catalog.query("end a pass", sql, &[&folder.0]).await?;
    Ok(())
}

/// How the folders of an agent stand, or all.
///
/// # Errors
/// If the catalog can't be read.
pub async fn overview(catalog: &Catalog, agent: Option<&str>) -> Result<Vec<FolderOverview>, CatalogError> {
    let what = "read the folders";
    let sql = "SELECT f.id, f.agent, f.name, f.path, f.bucket, f.prefix, f.state, f.state_reason, f.state_since,
             f.last_reconciled_at, n.files, n.bytes, n.failed, n.deleting, n.kept,
             (SELECT count(*) FROM portail.held_delete h WHERE h.folder_id = f.id AND h.decision IS NULL), f.endpoint
         FROM portail.folder f CROSS JOIN LATERAL (
             SELECT count(*) FILTER (WHERE etag IS NOT NULL) AS files,
                    coalesce(sum(size) FILTER (WHERE etag IS NOT NULL), 0)::bigint AS bytes,
                    count(*) FILTER (WHERE state = 'failed') AS failed,
                    count(*) FILTER (WHERE state = 'deleting') AS deleting,
                    count(*) FILTER (WHERE state = 'kept') AS kept
             FROM portail.file WHERE folder_id = f.id
         ) n WHERE $1::text IS NULL OR f.agent = $1 ORDER BY f.name, f.id";
    let rows = catalog.query(what, sql, &[&agent]).await?;
    rows.iter().map(|row| to_overview(catalog, what, row)).collect()
}

fn to_overview(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<FolderOverview, CatalogError> {
    macro_rules! get {
        ($index:expr) => {
            catalog.column(what, row, $index)?
        };
    }
    let state: String = get!(6);
    let count = |index| catalog.column::<i64>(what, row, index).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(FolderOverview {
        id: FolderId(get!(0)),
        agent: get!(1),
        name: get!(2),
        path: get!(3),
        bucket: get!(4),
        prefix: get!(5),
        state: FolderState::parse(&state)
            .ok_or_else(|| catalog.strange(what, format!("the folder state `{state}` is unknown")))?,
        reason: get!(7),
        since: get!(8),
        last_reconciled_at: get!(9),
        files: count(10)?,
        bytes: count(11)?,
        failed: count(12)?,
        deleting: count(13)?,
        kept: count(14)?,
        held: count(15)?,
        endpoint: get!(16),
    })
}
