//! What can be brought back: the objects that rows vouch for, now or at an earlier time.

use std::time::SystemTime;

use tokio_postgres::Row as SqlRow;
use tokio_postgres::types::FromSql;

use super::file::Range;
use super::{Catalog, CatalogError};
use crate::model::{Digest, ETag, FolderId, RelPath, Stamp};

/// An object that a row vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restorable {
    /// Of the file.
    pub path: RelPath,
    /// Bytes.
    pub size: u64,
    /// Of the content.
    pub digest: Digest,
    /// As S3 gave it.
    pub etag: ETag,
    /// Where the bucket has versions.
    pub version: Option<String>,
    /// Of the file when it was synced.
    pub mtime: Option<Stamp>,
    /// Its type and permission bits then.
    pub mode: Option<u32>,
}

/// What a path was at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Which.
    pub path: RelPath,
    /// What is known of it.
    pub then: Then,
}

/// What is known of a path at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// This version of its object was the current one.
    Version(Version),
    /// It had an object, and which version that was is not recorded.
    NotRecorded,
    /// It had an object, and the history of that time is no longer kept.
    Forgotten,
    /// It had none.
    Absent,
}

/// A version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As S3 names it.
    pub id: String,
    /// Bytes.
    pub size: Option<u64>,
    /// Of the content.
    pub digest: Option<Digest>,
    /// Of the file, where a row still has them; else the object's own metadata must do.
    pub mtime: Option<Stamp>,
    /// See `mtime`.
    pub mode: Option<u32>,
}

/// From when on the history is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Nothing is known of what happened before.
    pub since: SystemTime,
    /// Whether something had happened before: older months were dropped, instead of there being none.
    pub dropped: bool,
}

const OBJECT: &str = "etag IS NOT NULL AND state <> 'deleting'";

/// The next objects of a range, in byte order of the path.
///
/// # Errors
/// If the catalog can't be read.
pub async fn page(
    catalog: &Catalog,
    folder: FolderId,
    range: &Range<'_>,
    limit: i64,
) -> Result<Vec<Restorable>, CatalogError> {
    let what = "read what can be restored";
    let sql = format!(
        "SELECT path, raw_path, size, md5, etag, version_id, mtime_ns, mode FROM portail.file
         WHERE folder_id = $1 AND path > $2 AND ($3::text IS NULL OR path < $3) AND {OBJECT}
         ORDER BY path COLLATE \"C\" LIMIT $4"
    );
    let rows = catalog.query(what, &sql, &[&folder.0, &range.after.unwrap_or(""), &range.before, &limit]).await?;
    rows.iter().map(|row| to_restorable(catalog, what, row)).collect()
}

/// The object of one path, if there is one.
///
/// # Errors
/// If the catalog can't be read.
pub async fn of_path(catalog: &Catalog, folder: FolderId, path: &str) -> Result<Option<Restorable>, CatalogError> {
    let what = "read what can be restored";
    let sql = format!(
        "SELECT path, raw_path, size, md5, etag, version_id, mtime_ns, mode FROM portail.file
         WHERE folder_id = $1 AND path = $2 AND {OBJECT}"
    );
    let rows = catalog.query(what, &sql, &[&folder.0, &path]).await?;
    rows.first().map(|row| to_restorable(catalog, what, row)).transpose()
}

/// How many objects there are at a path and below it (everywhere, without one), and their bytes.
///
/// # Errors
/// If the catalog can't be read.
pub async fn extent(catalog: &Catalog, folder: FolderId, sub: Option<&str>) -> Result<(u64, u64), CatalogError> {
    let what = "count what can be restored";
    let sql = format!(
        "SELECT count(*), coalesce(sum(size), 0)::bigint FROM portail.file
         WHERE folder_id = $1 AND ($2::text IS NULL OR path = $2 OR (path > $2 || '/' AND path < $2 || '0')) AND {OBJECT}"
    );
    let rows = catalog.query(what, &sql, &[&folder.0, &sub]).await?;
    let row = catalog.one(what, rows)?;
    let unsigned = |count: i64| u64::try_from(count).unwrap_or(0);
    Ok((unsigned(catalog.column(what, &row, 0)?), unsigned(catalog.column(what, &row, 1)?)))
}

/// From when on the history can be relied on.
///
/// # Errors
/// If the catalog can't be read.
pub async fn reach(catalog: &Catalog) -> Result<Reach, CatalogError> {
    let what = "find the beginning of the history";
    // The months are dropped one by one, the oldest first; the catalog itself is as old as its first migration.
    let sql = "SELECT greatest(born.at, month.at), month.at > born.at FROM
             (SELECT min(applied_on::timestamptz) AS at FROM portail.schema_history) born,
             (SELECT min(to_date(right(c.relname, 6), 'YYYYMM'))::timestamp AT TIME ZONE 'UTC' AS at
              FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
              WHERE i.inhparent = 'portail.event'::regclass AND c.relname ~ '^event_[0-9]{6}$') month";
    let rows = catalog.query(what, sql, &[]).await?;
    let row = catalog.one(what, rows)?;
    let since: Option<SystemTime> = catalog.column(what, &row, 0)?;
    let dropped: Option<bool> = catalog.column(what, &row, 1)?;
    Ok(Reach { since: since.unwrap_or_else(SystemTime::now), dropped: dropped.unwrap_or(false) })
}

/// What the next paths of a range were at a time, in byte order: all that have a row or a history.
///
/// The last event at or before that time tells it. Where the history does not reach back so far, a row that has not been written
/// since tells the same, and so does an event afterwards that changed no object or removed it.
///
/// # Errors
/// If the catalog can't be read.
pub async fn past(
    catalog: &Catalog,
    folder: FolderId,
    at: SystemTime,
    range: &Range<'_>,
    limit: i64,
) -> Result<Vec<Past>, CatalogError> {
    let after = range.after.unwrap_or("");
    let bounds = "folder_id = $1 AND path > $3 AND ($4::text IS NULL OR path < $4)";
    let sql = format!(
        "WITH paths AS (
             SELECT path FROM (
                 (SELECT DISTINCT path FROM portail.event WHERE {bounds} ORDER BY path LIMIT $5)
                 UNION
                 (SELECT path FROM portail.file WHERE {bounds} ORDER BY path COLLATE \"C\" LIMIT $5)
             ) known ORDER BY path COLLATE \"C\" LIMIT $5
         ) {PAST}"
    );
    let what = "read the history";
    let rows = catalog.query(what, &sql, &[&folder.0, &at, &after, &range.before, &limit]).await?;
    rows.iter().map(|row| to_past(catalog, what, row)).collect()
}

/// As [`past`], of one path. None if nothing was ever heard of it.
///
/// # Errors
/// If the catalog can't be read.
pub async fn past_of_path(
    catalog: &Catalog,
    folder: FolderId,
    at: SystemTime,
    path: &str,
) -> Result<Option<Past>, CatalogError> {
    let sql = format!(
        "WITH paths AS (
             SELECT $3::text AS path WHERE EXISTS (SELECT FROM portail.event WHERE folder_id = $1 AND path = $3)
                 OR EXISTS (SELECT FROM portail.file WHERE folder_id = $1 AND path = $3)
         ) {PAST}"
    );
    let what = "read the history";
    let rows = catalog.query(what, &sql, &[&folder.0, &at, &path]).await?;
    rows.first().map(|row| to_past(catalog, what, row)).transpose()
}

/// Of each of `paths`: the event that tells of the object at the time $2, or else the first one afterwards, and the row. Rows are
/// numbered in the order in which they come into being, so one that is older than another which was there is old enough, too.
const PAST: &str = "
    SELECT p.path, f.raw_path, b.kind, b.version_id, b.size, b.md5, a.kind, a.version_id, a.size, a.md5,
        f.version_id, f.size, f.md5, f.mtime_ns, f.mode, f.synced_at <= $2,
        f.id <= (SELECT max(id) FROM portail.file WHERE folder_id = $1 AND synced_at <= $2)
    FROM paths p
    LEFT JOIN LATERAL (
        SELECT kind, version_id, size, md5 FROM portail.event e
        WHERE e.folder_id = $1 AND e.path = p.path AND e.at <= $2
            AND kind IN ('uploaded', 'copied', 'adopted', 'touched', 'deleted')
        ORDER BY at DESC LIMIT 1
    ) b ON true
    LEFT JOIN LATERAL (
        SELECT kind, version_id, size, md5 FROM portail.event e
        WHERE b.kind IS NULL AND e.folder_id = $1 AND e.path = p.path AND e.at > $2
            AND kind IN ('uploaded', 'copied', 'adopted', 'touched', 'deleted')
        ORDER BY at LIMIT 1
    ) a ON true
    LEFT JOIN portail.file f ON f.folder_id = $1 AND f.path = p.path AND f.etag IS NOT NULL
    ORDER BY p.path COLLATE \"C\"";

fn to_restorable(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<Restorable, CatalogError> {
    let path: &str = catalog.column(what, row, 0)?;
    let (size, digest): (Option<i64>, Option<&[u8]>) = (catalog.column(what, row, 2)?, catalog.column(what, row, 3)?);
    let content = size.and_then(|size| u64::try_from(size).ok()).zip(digest.and_then(Digest::from_slice));
    let (size, digest) = content.ok_or_else(|| catalog.strange(what, format!("{path:?} has no size or MD5")))?;
    Ok(Restorable {
        path: RelPath::from_encoded(path, catalog.column(what, row, 1)?),
        size,
        digest,
        etag: ETag::new(catalog.column(what, row, 4)?),
        version: catalog.column(what, row, 5)?,
        mtime: catalog.column::<Option<i64>>(what, row, 6)?.map(Stamp),
        mode: catalog.column::<Option<i32>>(what, row, 7)?.map(i32::cast_unsigned),
    })
}

fn to_past(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<Past, CatalogError> {
    fn get<'r, T: FromSql<'r>>(
        catalog: &Catalog,
        what: &'static str,
        row: &'r SqlRow,
        at: usize,
    ) -> Result<T, CatalogError> {
        catalog.column(what, row, at)
    }
    let path: &str = get(catalog, what, row, 0)?;
    let (before, after): (Option<&str>, Option<&str>) = (get(catalog, what, row, 2)?, get(catalog, what, row, 6)?);
    let row_is_old: Option<bool> = get(catalog, what, row, 15)?;
    let row_was_there: Option<bool> = get(catalog, what, row, 16)?;
    // The version that stands from this column on, with size and MD5; mtime and mode are the row's, if it is of that version.
    let version = |at: usize| -> Result<Then, CatalogError> {
        let Some(id) = get::<Option<String>>(catalog, what, row, at)? else { return Ok(Then::NotRecorded) };
        let of_row = row_is_old == Some(true) && get::<Option<&str>>(catalog, what, row, 10)? == Some(&id);
        let digest: Option<&[u8]> = get(catalog, what, row, at + 2)?;
        let (mtime, mode): (Option<i64>, Option<i32>) = (get(catalog, what, row, 13)?, get(catalog, what, row, 14)?);
        Ok(Then::Version(Version {
            id,
            size: get::<Option<i64>>(catalog, what, row, at + 1)?.and_then(|size| u64::try_from(size).ok()),
            digest: digest.and_then(Digest::from_slice),
            mtime: mtime.filter(|_| of_row).map(Stamp),
            mode: mode.filter(|_| of_row).map(i32::cast_unsigned),
        }))
    };
    let then = match (before, row_is_old, after) {
        (Some("deleted"), _, _) => Then::Absent,
        (Some(_), _, _) => version(3)?,
        (None, Some(true), _) => version(10)?,
        (None, _, Some("deleted" | "touched")) => version(7)?,
        (None, _, _) if row_was_there == Some(true) => Then::Forgotten,
        (None, _, _) => Then::Absent,
    };
    Ok(Past { path: RelPath::from_encoded(path, get(catalog, what, row, 1)?), then })
}
