//! The spool of a pass's deletions, and the deletions that wait for a person.

use std::time::SystemTime;

use super::{Catalog, CatalogError};
use crate::model::{Digest, FolderId, RelPath};

/// The channel on which decisions are announced.
pub const DECISION_CHANNEL: &str = "portail_decision";

/// What a pass has spooled, by what may be done with it. The parts don't overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All.
    pub total: u64,
    /// Removals that an earlier pass has begun, and that no person had to approve.
    pub deleting: u64,
    /// Sources of renames: another synced row of the folder has the same inode, size and MD5.
    pub renamed: u64,
    /// A person has said yes.
    pub approved: u64,
    /// Held already, and nobody has decided.
    pub held: u64,
}

/// A deletion that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub path: RelPath,
    /// Bytes.
    pub size: Option<u64>,
    /// Of the object.
    pub digest: Option<Digest>,
    /// Why it is held.
    pub reason: String,
    /// Since when.
    pub held_at: SystemTime,
    /// What a person has said, if anything.
    pub decision: Option<Decision>,
}

/// What a person says of held deletions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let them happen.
    Approve,
    /// Keep the objects for good.
    Reject,
}

impl Decision {
    /// As the column holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Reject => "rejected",
        }
    }
}

/// Adds deletions to a pass's spool; one that is there already stays.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn spool(catalog: &Catalog, folder: FolderId, pass: i64, paths: &[RelPath]) -> Result<(), CatalogError> {
    let sql = "INSERT INTO portail.pending_delete (folder_id, pass, path, raw_path)
         SELECT $1, $2, t.path, t.raw_path FROM UNNEST($3::text[], $4::bytea[]) AS t(path, raw_path)
         ON CONFLICT DO NOTHING";
    let names: Vec<&str> = paths.iter().map(RelPath::as_str).collect();
    let raw: Vec<Option<&[u8]>> = paths.iter().map(RelPath::raw_if_different).collect();
    catalog.query("spool deletions", sql, &[&folder.0, &pass, &names, &raw]).await?;
    Ok(())
}

/// Each spooled path with what may be done with it; the first that applies counts.
const SORTED: &str = "
    SELECT p.path, p.raw_path, f.size, f.md5, CASE
        WHEN h.decision = 'rejected' OR f.state = 'kept' THEN 'rejected'
        WHEN h.decision = 'approved' THEN 'approved'
        WHEN f.state = 'deleting' THEN 'deleting'
        WHEN EXISTS (
            SELECT FROM portail.file o
            WHERE o.folder_id = $1 AND o.inode = f.inode AND o.size = f.size AND o.md5 = f.md5 AND o.path <> f.path
              AND o.state = 'synced'
              AND NOT EXISTS (SELECT FROM portail.pending_delete s WHERE s.folder_id = $1 AND s.pass = $2 AND s.path = o.path)
        ) THEN 'renamed'
        WHEN h.path IS NOT NULL THEN 'held'
        ELSE 'fresh' END AS kind
    FROM portail.pending_delete p
    JOIN portail.file f ON f.folder_id = $1 AND f.path = p.path
    LEFT JOIN portail.held_delete h ON h.folder_id = $1 AND h.path = p.path
    WHERE p.folder_id = $1 AND p.pass = $2";

/// Counts a pass's spool.
///
/// # Errors
/// If the catalog can't be read.
pub async fn tally(catalog: &Catalog, folder: FolderId, pass: i64) -> Result<Tally, CatalogError> {
    let what = "count the deletions";
    let sql = format!(
        "SELECT count(*) FILTER (WHERE kind <> 'rejected'), count(*) FILTER (WHERE kind = 'deleting'),
             count(*) FILTER (WHERE kind = 'renamed'), count(*) FILTER (WHERE kind = 'approved'),
             count(*) FILTER (WHERE kind = 'held')
         FROM ({SORTED}) sorted"
    );
    let rows = catalog.query(what, &sql, &[&folder.0, &pass]).await?;
    let row = catalog.one(what, rows)?;
    let count = |index| catalog.column::<i64>(what, &row, index).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Tally { total: count(0)?, deleting: count(1)?, renamed: count(2)?, approved: count(3)?, held: count(4)? })
}

/// Closes the spool of a pass and answers the number under which it goes on: what is spooled later under the pass's own number,
/// by a path that was tried again, takes no part in what is judged now.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn seal(catalog: &Catalog, folder: FolderId, pass: i64) -> Result<i64, CatalogError> {
    // Passes count up from 1, so no pass has this number.
    let sealed = -pass;
    let sql = "UPDATE portail.pending_delete SET pass = $3 WHERE folder_id = $1 AND pass = $2";
    catalog.query("close the spool of deletions", sql, &[&folder.0, &pass, &sealed]).await?;
    Ok(sealed)
}

/// Holds every deletion of the pass that nobody has approved, that is not the source of a rename, and that was not begun
/// before; answers how many are newly held. What is held leaves the spool.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn hold(catalog: &Catalog, folder: FolderId, pass: i64, reason: &str) -> Result<u64, CatalogError> {
    hold_kinds(catalog, folder, pass, reason, &["fresh"]).await
}

/// As [`hold`], with those that were begun and those that are the source of a rename: for when what was seen of the folder can't
/// be believed at all.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn hold_all(catalog: &Catalog, folder: FolderId, pass: i64, reason: &str) -> Result<u64, CatalogError> {
    hold_kinds(catalog, folder, pass, reason, &["fresh", "deleting", "renamed"]).await
}

async fn hold_kinds(
    catalog: &Catalog,
    folder: FolderId,
    pass: i64,
    reason: &str,
    kinds: &[&str],
) -> Result<u64, CatalogError> {
    let sql = format!(
        "WITH sorted AS MATERIALIZED ({SORTED}),
         held AS (
             INSERT INTO portail.held_delete (folder_id, path, raw_path, size, md5, reason)
             SELECT $1, path, raw_path, size, md5, $3 FROM sorted WHERE kind = ANY($4)
             ON CONFLICT DO NOTHING RETURNING path, size, md5
         ), history AS (
             INSERT INTO portail.event (folder_id, path, kind, size, md5, detail)
             SELECT $1, path, 'held', size, md5, $3 FROM held
         ), left_alone AS (
             DELETE FROM portail.pending_delete p USING sorted s
             WHERE p.folder_id = $1 AND p.pass = $2 AND p.path = s.path AND s.kind = ANY($4)
         )
         SELECT count(*) FROM held"
    );
    catalog.count("hold deletions", &sql, &[&folder.0, &pass, &reason, &kinds]).await
}

/// Takes out of the spool what waits for a person's decision, or has got a no.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn leave_held(catalog: &Catalog, folder: FolderId, pass: i64) -> Result<(), CatalogError> {
    let sql = format!(
        "WITH sorted AS MATERIALIZED ({SORTED})
         DELETE FROM portail.pending_delete p USING sorted s
         WHERE p.folder_id = $1 AND p.pass = $2 AND p.path = s.path AND s.kind IN ('held', 'rejected')"
    );
    catalog.query("leave held deletions alone", &sql, &[&folder.0, &pass]).await?;
    Ok(())
}

/// The next paths of the spool, in order.
///
/// # Errors
/// If the catalog can't be read.
pub async fn next_page(
    catalog: &Catalog,
    folder: FolderId,
    pass: i64,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<RelPath>, CatalogError> {
    let what = "read the spooled deletions";
    let sql = "SELECT path, raw_path FROM portail.pending_delete
         WHERE folder_id = $1 AND pass = $2 AND path > $3 ORDER BY path COLLATE \"C\" LIMIT $4";
    let rows = catalog.query(what, sql, &[&folder.0, &pass, &after.unwrap_or(""), &limit]).await?;
    rows.iter()
        .map(|row| {
            let path: String = catalog.column(what, row, 0)?;
            Ok(RelPath::from_encoded(path, catalog.column(what, row, 1)?))
        })
        .collect()
}

/// Takes paths out of the spool.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn unspool(catalog: &Catalog, folder: FolderId, pass: i64, paths: &[RelPath]) -> Result<(), CatalogError> {
    let names: Vec<&str> = paths.iter().map(RelPath::as_str).collect();
    let sql = "DELETE FROM portail.pending_delete WHERE folder_id = $1 AND pass = $2 AND path = ANY($3)";
    catalog.query("take deletions out of the spool", sql, &[&folder.0, &pass, &names]).await?;
    Ok(())
}

/// Forgets held deletions whose file a complete pass has found again: they are not in its spool.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn forget_returned(catalog: &Catalog, folder: FolderId, pass: i64) -> Result<u64, CatalogError> {
    let sql = "WITH gone AS (
             DELETE FROM portail.held_delete h WHERE h.folder_id = $1 AND NOT EXISTS (
                 SELECT FROM portail.pending_delete p WHERE p.folder_id = $1 AND p.pass = $2 AND p.path = h.path)
             RETURNING 1
         ) SELECT count(*) FROM gone";
    catalog.count("forget held deletions", sql, &[&folder.0, &pass]).await
}

/// Forgets held deletions, such as those that were carried out.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn forget(catalog: &Catalog, folder: FolderId, paths: &[RelPath]) -> Result<(), CatalogError> {
    let names: Vec<&str> = paths.iter().map(RelPath::as_str).collect();
    let sql = "DELETE FROM portail.held_delete WHERE folder_id = $1 AND path = ANY($2)";
    catalog.query("forget held deletions", sql, &[&folder.0, &names]).await?;
    Ok(())
}

/// Forgets all held deletions on which nobody has decided: the next pass judges them anew.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn forget_undecided(catalog: &Catalog, folder: FolderId) -> Result<u64, CatalogError> {
    let sql = "WITH gone AS (DELETE FROM portail.held_delete WHERE folder_id = $1 AND decision IS NULL RETURNING 1)
         SELECT count(*) FROM gone";
    catalog.count("forget held deletions", sql, &[&folder.0]).await
}

/// Held deletions after a path, in order.
///
/// # Errors
/// If the catalog can't be read.
pub async fn held(
    catalog: &Catalog,
    folder: FolderId,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Held>, CatalogError> {
    let what = "read the held deletions";
    let sql = "SELECT path, raw_path, size, md5, reason, held_at, decision FROM portail.held_delete
         WHERE folder_id = $1 AND path > $2 ORDER BY path COLLATE \"C\" LIMIT $3";
    let rows = catalog.query(what, sql, &[&folder.0, &after.unwrap_or(""), &limit]).await?;
    rows.iter()
        .map(|row| {
            let path: String = catalog.column(what, row, 0)?;
            let size: Option<i64> = catalog.column(what, row, 2)?;
            let digest: Option<&[u8]> = catalog.column(what, row, 3)?;
            let decision: Option<&str> = catalog.column(what, row, 6)?;
            Ok(Held {
                path: RelPath::from_encoded(path, catalog.column(what, row, 1)?),
                size: size.and_then(|size| u64::try_from(size).ok()),
                digest: digest.and_then(Digest::from_slice),
                reason: catalog.column(what, row, 4)?,
                held_at: catalog.column(what, row, 5)?,
                decision: decision.and_then(|text| {
                    [Decision::Approve, Decision::Reject].into_iter().find(|decision| decision.as_str() == text)
                }),
            })
        })
        .collect()
}

/// How many deletions wait for a decision.
///
/// # Errors
/// If the catalog can't be read.
pub async fn held_count(catalog: &Catalog, folder: FolderId) -> Result<u64, CatalogError> {
    let sql = "SELECT count(*) FROM portail.held_delete WHERE folder_id = $1 AND decision IS NULL";
    catalog.count("count the held deletions", sql, &[&folder.0]).await
}

/// Writes down a person's decision on held deletions: all, or those at `sub` and below it. Answers how many there were.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn decide(
    catalog: &Catalog,
    folder: FolderId,
    sub: Option<&str>,
    decision: Decision,
    by: &str,
) -> Result<u64, CatalogError> {
    // What lies below a directory is the half-open range from `sub/` to `sub0`, the byte after the slash.
    let sub = sub.map(|sub| sub.trim_matches('/')).filter(|sub| !sub.is_empty());
    let sql = "WITH decided AS (
             UPDATE portail.held_delete SET decision = $3, decided_at = now(), decided_by = $4
             WHERE folder_id = $1 AND ($2::text IS NULL OR path = $2 OR (path > $2 || '/' AND path < $2 || '0'))
             RETURNING 1
         ), told AS (SELECT pg_notify($5, $1::text))
         SELECT count(*) FROM decided, told";
    catalog.count("decide on held deletions", sql, &[&folder.0, &sub, &decision.as_str(), &by, &DECISION_CHANNEL]).await
}

/// Carries out rejections: the rows become `kept`, and are held no more. So do those whose removal has begun and not ended:
/// should the object be gone already, the next listing shows it.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn apply_rejections(catalog: &Catalog, folder: FolderId) -> Result<u64, CatalogError> {
    let sql = "WITH rejected AS (
             DELETE FROM portail.held_delete WHERE folder_id = $1 AND decision = 'rejected' RETURNING path
         ), kept AS (
             UPDATE portail.file f SET state = 'kept', error = NULL FROM rejected r
             WHERE f.folder_id = $1 AND f.path = r.path AND f.etag IS NOT NULL
         ), unspooled AS (
             DELETE FROM portail.pending_delete p USING rejected r WHERE p.folder_id = $1 AND p.path = r.path
         )
         SELECT count(*) FROM rejected";
    catalog.count("keep rejected deletions", sql, &[&folder.0]).await
}
