//! The spool of a pass's deletions: found, not yet judged.

use super::{Catalog, CatalogError};
use crate::boundary::{Boundary, reached};
use crate::model::{FolderId, RelPath};

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

impl Tally {
    /// Those that are neither begun, nor renames, nor decided on, nor held already.
    pub fn fresh(&self) -> u64 {
        self.total.saturating_sub(self.deleting + self.renamed + self.approved + self.held)
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
    reached(Boundary::Spooled);
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
/// before; answers how many are newly held. What is held leaves the spool, and so does what was held or rejected before: in the same
/// statement, since what leaves it may make another look like the source of a rename.
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
             WHERE p.folder_id = $1 AND p.pass = $2 AND p.path = s.path
               AND (s.kind = ANY($4) OR s.kind IN ('held', 'rejected'))
         )
         SELECT count(*) FROM held"
    );
    catalog.count("hold deletions", &sql, &[&folder.0, &pass, &reason, &kinds]).await
}

/// Takes out of the spool what waits for a person's decision, or has got a no, where nothing more is held.
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
    reached(Boundary::Unspooled);
    Ok(())
}

/// Spools what a person has approved, and answers how many there are.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn spool_approved(catalog: &Catalog, folder: FolderId, pass: i64) -> Result<u64, CatalogError> {
    let sql = "WITH spooled AS (
             INSERT INTO portail.pending_delete (folder_id, pass, path, raw_path)
             SELECT $1, $2, path, raw_path FROM portail.held_delete WHERE folder_id = $1 AND decision = 'approved'
             ON CONFLICT DO NOTHING RETURNING 1
         ) SELECT count(*) FROM spooled";
    catalog.count("spool approved deletions", sql, &[&folder.0, &pass]).await
}

/// Empties the spool of a pass that is not judged.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn drop_spool(catalog: &Catalog, folder: FolderId, pass: i64) -> Result<(), CatalogError> {
    // Under both of its numbers: see `seal`.
    let sql = "DELETE FROM portail.pending_delete WHERE folder_id = $1 AND pass IN ($2::bigint, -$2::bigint)";
    catalog.query("drop the spool", sql, &[&folder.0, &pass]).await?;
    Ok(())
}
