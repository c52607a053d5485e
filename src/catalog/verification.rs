//! The rolling verification: how far it has come, and the damaged files that it has found.

use std::time::SystemTime;

use tokio_postgres::Row as SqlRow;

use super::{Catalog, CatalogError, to_bigint};
use crate::model::{Digest, Fingerprint, FolderId, Row};

/// A round under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Since when.
    pub began_at: SystemTime,
    /// All paths up to this one were looked at.
    pub after: String,
    /// Files that there were when it began.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the files, those that were looked at.
    pub checked_files: u64,
    /// Of the bytes, those that were looked at.
    pub checked_bytes: u64,
    /// When the round before has ended.
    pub last_ended_at: Option<SystemTime>,
}

/// The round under way; the first one begins now.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn resume(catalog: &Catalog, folder: FolderId) -> Result<Round, CatalogError> {
    let what = "go on with the verification";
    // Two statements in one: the insert gives a row only where there was none.
    let sql = format!(
        "WITH begun AS (
             INSERT INTO portail.verification (folder_id, files, bytes) SELECT $1, {EXTENT}
             ON CONFLICT (folder_id) DO NOTHING RETURNING {ROUND}
         ) SELECT {ROUND} FROM begun UNION ALL SELECT {ROUND} FROM portail.verification WHERE folder_id = $1 LIMIT 1"
    );
    let rows = catalog.query(what, &sql, &[&folder.0]).await?;
    to_round(catalog, what, &catalog.one(what, rows)?)
}

/// Begins the next round, since the last one has come to its end.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn begin(catalog: &Catalog, folder: FolderId) -> Result<Round, CatalogError> {
    let what = "begin a round of the verification";
    let sql = format!(
        "UPDATE portail.verification SET began_at = now(), after = '', checked_files = 0, checked_bytes = 0,
             (files, bytes) = (SELECT {EXTENT})
         WHERE folder_id = $1 RETURNING {ROUND}"
    );
    let rows = catalog.query(what, &sql, &[&folder.0]).await?;
    to_round(catalog, what, &catalog.one(what, rows)?)
}

/// Writes down how far the round has come.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn save(catalog: &Catalog, folder: FolderId, round: &Round, ended: bool) -> Result<(), CatalogError> {
    let sql = "UPDATE portail.verification SET after = $2, checked_files = $3, checked_bytes = $4,
             last_ended_at = CASE WHEN $5 THEN now() ELSE last_ended_at END
         WHERE folder_id = $1";
    let (files, bytes) = (to_bigint(round.checked_files), to_bigint(round.checked_bytes));
    catalog.query("save the verification", sql, &[&folder.0, &round.after, &files, &bytes, &ended]).await?;
    Ok(())
}

const ROUND: &str = "began_at, after, files, bytes, checked_files, checked_bytes, last_ended_at";
const EXTENT: &str =
    "count(*), coalesce(sum(size), 0)::bigint FROM portail.file WHERE folder_id = $1 AND etag IS NOT NULL";

fn to_round(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<Round, CatalogError> {
    let count = |index| catalog.column::<i64>(what, row, index).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Round {
        began_at: catalog.column(what, row, 0)?,
        after: catalog.column(what, row, 1)?,
        files: count(2)?,
        bytes: count(3)?,
        checked_files: count(4)?,
        checked_bytes: count(5)?,
        last_ended_at: catalog.column(what, row, 6)?,
    })
}

/// Writes down that a file is damaged: its content has this MD5 instead of the row's, or none, since it can't be read. Answers whether that is news.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn damaged(
    catalog: &Catalog,
    folder: FolderId,
    path: &str,
    found: Option<Digest>,
    fingerprint: &Fingerprint,
) -> Result<bool, CatalogError> {
    let what = "write down a damaged file";
    let sql = "WITH before AS (
             SELECT FROM portail.damaged_file WHERE folder_id = $1 AND path = $2
                 AND md5 IS NOT DISTINCT FROM $3 AND ctime_ns = $5 AND inode = $6
         ), written AS (
             INSERT INTO portail.damaged_file (folder_id, path, md5, mtime_ns, ctime_ns, inode)
             SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT FROM before)
             ON CONFLICT (folder_id, path) DO UPDATE SET
                 md5 = excluded.md5, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, inode = excluded.inode
             RETURNING 1
         ) SELECT count(*) FROM written";
    let (mtime, ctime, inode) = (fingerprint.mtime.0, fingerprint.ctime.0, fingerprint.inode.cast_signed());
    let found = found.as_ref().map(|md5| &md5.0[..]);
    let written = catalog.count(what, sql, &[&folder.0, &path, &found, &mtime, &ctime, &inode]).await?;
    Ok(written > 0)
}

/// Forgets that files are damaged: they were found good.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn found_good(catalog: &Catalog, folder: FolderId, path: &str) -> Result<(), CatalogError> {
    let sql = "DELETE FROM portail.damaged_file WHERE folder_id = $1 AND path = $2";
    catalog.query("forget a damaged file", sql, &[&folder.0, &path]).await?;
    Ok(())
}

/// How many files are damaged. Those that were synced anew since they were found, or are gone, are forgotten.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn damaged_count(catalog: &Catalog, folder: FolderId) -> Result<u64, CatalogError> {
    let sql = format!(
        "WITH gone AS (
             DELETE FROM portail.damaged_file d WHERE folder_id = $1 AND NOT EXISTS ({SAME}) RETURNING 1
         ) SELECT (SELECT count(*) FROM portail.damaged_file WHERE folder_id = $1) - (SELECT count(*) FROM gone)"
    );
    catalog.count("count the damaged files", &sql, &[&folder.0]).await
}

/// The row is still the one that the file was compared with.
const SAME: &str =
    "SELECT FROM portail.file f WHERE f.folder_id = d.folder_id AND f.path = d.path AND f.md5 IS DISTINCT FROM d.md5
     AND f.mtime_ns = d.mtime_ns AND f.ctime_ns = d.ctime_ns AND f.inode = d.inode";

/// The paths of damaged files, the first so many, in order.
///
/// # Errors
/// If the catalog can't be read.
pub async fn damaged_paths(catalog: &Catalog, folder: FolderId, limit: i64) -> Result<Vec<String>, CatalogError> {
    let what = "read the damaged files";
    let sql = format!(
        "SELECT path FROM portail.damaged_file d WHERE folder_id = $1 AND EXISTS ({SAME}) ORDER BY path LIMIT $2"
    );
    let rows = catalog.query(what, &sql, &[&folder.0, &limit]).await?;
    rows.iter().map(|row| catalog.column(what, row, 0)).collect()
}

/// When this file was found damaged, if it is.
///
/// # Errors
/// If the catalog can't be read.
pub async fn damaged_since(
    catalog: &Catalog,
    folder: FolderId,
    path: &str,
) -> Result<Option<SystemTime>, CatalogError> {
    let what = "read the damaged files";
    let sql =
        format!("SELECT found_at FROM portail.damaged_file d WHERE folder_id = $1 AND path = $2 AND EXISTS ({SAME})");
    let rows = catalog.query(what, &sql, &[&folder.0, &path]).await?;
    rows.first().map(|row| catalog.column(what, row, 0)).transpose()
}

/// Whether a row can be verified: it vouches for an object, and its fingerprint can be believed.
pub fn can_be_verified(row: &Row) -> bool {
    row.synced.is_some() && row.fingerprint.is_some() && !row.racy
}

/// What is said of a folder that has damaged files.
pub fn damage(files: u64) -> String {
    format!("{files} damaged files: `agent-portail verify` names them, and says what to do")
}
