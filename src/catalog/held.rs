//! The deletions that wait for a person, and what the person has said.

use std::time::SystemTime;

use super::{Catalog, CatalogError};
use crate::model::{Digest, FolderId, RelPath};

/// The channel on which decisions are announced.
pub const DECISION_CHANNEL: &str = "portail_decision";

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

/// Held deletions after a path that a pass has not spooled, in order, and whether each still has a row.
///
/// # Errors
/// If the catalog can't be read.
pub async fn not_spooled(
    catalog: &Catalog,
    folder: FolderId,
    pass: i64,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<(RelPath, bool)>, CatalogError> {
    let what = "read the held deletions that a pass has not found";
    let sql =
        "SELECT h.path, h.raw_path, EXISTS (SELECT FROM portail.file f WHERE f.folder_id = $1 AND f.path = h.path)
         FROM portail.held_delete h WHERE h.folder_id = $1 AND h.path > $3 AND NOT EXISTS (
             SELECT FROM portail.pending_delete p WHERE p.folder_id = $1 AND p.pass = $2 AND p.path = h.path)
         ORDER BY h.path COLLATE \"C\" LIMIT $4";
    let rows = catalog.query(what, sql, &[&folder.0, &pass, &after.unwrap_or(""), &limit]).await?;
    rows.iter()
        .map(|row| {
            let path: String = catalog.column(what, row, 0)?;
            Ok((RelPath::from_encoded(path, catalog.column(what, row, 1)?), catalog.column(what, row, 2)?))
        })
        .collect()
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

/// Accepts the folder that the next pass finds: which one it was is forgotten, and so are all held deletions on which nobody has
/// decided, since that pass judges them anew. In one statement, so that no pass comes in between. Answers how many were forgotten.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn accept_identity(catalog: &Catalog, folder: FolderId) -> Result<u64, CatalogError> {
    let sql = "WITH accepted AS (
             UPDATE portail.folder SET fs_id = NULL, root_inode = NULL, root_birth_ns = NULL WHERE id = $1
         ), gone AS (
             DELETE FROM portail.held_delete WHERE folder_id = $1 AND decision IS NULL RETURNING 1
         )
         SELECT count(*), pg_notify($2, $1::text) FROM gone";
    catalog.count("accept the folder's identity", sql, &[&folder.0, &DECISION_CHANNEL]).await
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
         )
         SELECT count(*), pg_notify($5, $1::text) FROM decided";
    catalog.count("decide on held deletions", sql, &[&folder.0, &sub, &decision.as_str(), &by, &DECISION_CHANNEL]).await
}

/// Forgets the approvals of these paths: their files are back.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn forget_approved(catalog: &Catalog, folder: FolderId, paths: &[&RelPath]) -> Result<(), CatalogError> {
    let names: Vec<&str> = paths.iter().map(|path| path.as_str()).collect();
    let sql = "DELETE FROM portail.held_delete WHERE folder_id = $1 AND path = ANY($2) AND decision = 'approved'";
    catalog.query("forget approvals", sql, &[&folder.0, &names]).await?;
    Ok(())
}

/// Whether a person has decided on anything that was not carried out yet.
///
/// # Errors
/// If the catalog can't be read.
pub async fn has_decisions(catalog: &Catalog, folder: FolderId) -> Result<bool, CatalogError> {
    let sql = "SELECT count(*) FROM (SELECT FROM portail.held_delete WHERE folder_id = $1 AND decision IS NOT NULL LIMIT 1) one";
    Ok(catalog.count("look for decisions", sql, &[&folder.0]).await? > 0)
}

/// Carries out rejections: the rows become `kept`, and are held no more.
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
