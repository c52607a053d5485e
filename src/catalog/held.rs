//! The deletions that wait for a person, and what the person has said.

use std::time::{Duration, SystemTime};

use super::{Catalog, CatalogError};
use crate::model::{Absence, Digest, FolderId, RelPath};

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
    /// Who has, and when.
    pub decided: Option<(String, SystemTime)>,
    /// The number of the judgement that holds it.
    pub judgement: Option<i64>,
    /// What stood in the file's place, and when it was looked at.
    pub seen: Option<(Absence, SystemTime)>,
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

/// Held deletions after a path, decided on or not, that a pass has not spooled, in order, and whether each still has a row: their
/// files may be back.
///
/// # Errors
/// If the catalog can't be read.
pub async fn not_spooled(
    catalog: &Catalog,
    folder: FolderId,
    pass: i64,
    after: &str,
    limit: i64,
) -> Result<Vec<(RelPath, bool)>, CatalogError> {
    let what = "read the held deletions that a pass has not found";
    // OFFSET keeps them from becoming joins: see the sorting of a spool.
    let sql =
        "SELECT h.path, h.raw_path, EXISTS (SELECT FROM portail.file f WHERE f.folder_id = $1 AND f.path = h.path OFFSET 0)
         FROM portail.held_delete h WHERE h.folder_id = $1 AND h.path > $3 AND NOT EXISTS (
             SELECT FROM portail.pending_delete p WHERE p.folder_id = $1 AND p.pass = $2 AND p.path = h.path OFFSET 0)
         ORDER BY h.path COLLATE \"C\" LIMIT $4";
    let rows = catalog.query(what, sql, &[&folder.0, &pass, &after, &limit]).await?;
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
    let sql = "DELETE FROM portail.held_delete WHERE ctid = ANY(ARRAY(
             SELECT h.ctid FROM UNNEST($2::text[]) AS t(path) CROSS JOIN LATERAL (
                 SELECT ctid FROM portail.held_delete WHERE folder_id = $1 AND path = t.path LIMIT 1) h))";
    catalog.query("forget held deletions", sql, &[&folder.0, &names]).await?;
    Ok(())
}

/// Accepts the folder that the next pass finds: which one it was is forgotten, and what was mounted in it, and so are all held
/// deletions on which nobody has decided, since that pass judges them anew. The last of them in one statement with the rest, so
/// that no pass comes in between. Answers how many were forgotten.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn accept_identity(catalog: &Catalog, folder: FolderId) -> Result<u64, CatalogError> {
    let what = "accept the folder's identity";
    let sql = "WITH page AS MATERIALIZED (
             SELECT path FROM portail.held_delete WHERE folder_id = $1 AND decision IS NULL AND path > $2
             ORDER BY path COLLATE \"C\" LIMIT $3
         ), gone AS (
             DELETE FROM portail.held_delete
             WHERE folder_id = $1 AND path > $2 AND path <= (SELECT max(path COLLATE \"C\") FROM page) AND decision IS NULL
         )
         SELECT count(*), max(path COLLATE \"C\") FROM page";
    let many = catalog.in_pages(what, sql, &[&folder.0]).await?;
    let sql = "WITH accepted AS (
             UPDATE portail.folder SET fs_id = NULL, root_inode = NULL, root_birth_ns = NULL WHERE id = $1
         ), mounts AS (
             DELETE FROM portail.mount WHERE folder_id = $1
         ), gone AS (
             DELETE FROM portail.held_delete WHERE folder_id = $1 AND decision IS NULL RETURNING 1
         )
         SELECT count(*), pg_notify($2, $1::text) FROM gone";
    Ok(many + catalog.count(what, sql, &[&folder.0, &DECISION_CHANNEL]).await?)
}

/// A sub-path as people write it, without slashes at its ends; none, if that is the whole folder. What lies below a directory is
/// the half-open range from `sub/` to `sub0`, the byte after the slash.
pub(super) fn trimmed(sub: Option<&str>) -> Option<&str> {
    sub.map(|sub| sub.trim_matches('/')).filter(|sub| !sub.is_empty())
}

/// Held deletions after a path, in order: all, or those at `sub` and below it.
///
/// # Errors
/// If the catalog can't be read.
pub async fn held(
    catalog: &Catalog,
    folder: FolderId,
    sub: Option<&str>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Held>, CatalogError> {
    let what = "read the held deletions";
    let sql = "SELECT path, raw_path, size, md5, reason, held_at, decision, decided_by, decided_at, judgement_id, seen, seen_at
         FROM portail.held_delete
         WHERE folder_id = $1 AND path > $2
           AND ($3::text IS NULL OR path = $3 OR (path > $3 || '/' AND path < $3 || '0'))
         ORDER BY path COLLATE \"C\" LIMIT $4";
    let rows = catalog.query(what, sql, &[&folder.0, &after.unwrap_or(""), &trimmed(sub), &limit]).await?;
    rows.iter()
        .map(|row| {
            let path: String = catalog.column(what, row, 0)?;
            let size: Option<i64> = catalog.column(what, row, 2)?;
            let digest: Option<&[u8]> = catalog.column(what, row, 3)?;
            let decision: Option<&str> = catalog.column(what, row, 6)?;
            let decided_by: Option<String> = catalog.column(what, row, 7)?;
            let decided_at: Option<SystemTime> = catalog.column(what, row, 8)?;
            let seen: Option<&str> = catalog.column(what, row, 10)?;
            let seen_at: Option<SystemTime> = catalog.column(what, row, 11)?;
            Ok(Held {
                path: RelPath::from_encoded(path, catalog.column(what, row, 1)?),
                size: size.and_then(|size| u64::try_from(size).ok()),
                digest: digest.and_then(Digest::from_slice),
                reason: catalog.column(what, row, 4)?,
                held_at: catalog.column(what, row, 5)?,
                decision: decision.and_then(|text| {
                    [Decision::Approve, Decision::Reject].into_iter().find(|decision| decision.as_str() == text)
                }),
                decided: decided_by.zip(decided_at),
                judgement: catalog.column(what, row, 9)?,
                seen: seen
                    .and_then(|text| Absence::ALL.into_iter().find(|absence| absence.as_str() == text))
                    .zip(seen_at),
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
    let what = "decide on held deletions";
    let sql = "WITH page AS MATERIALIZED (
             SELECT path FROM portail.held_delete WHERE folder_id = $1 AND path > $5
               AND ($2::text IS NULL OR path = $2 OR (path > $2 || '/' AND path < $2 || '0'))
             ORDER BY path COLLATE \"C\" LIMIT $6
         ), decided AS (
             UPDATE portail.held_delete SET decision = $3, decided_at = now(), decided_by = $4
             WHERE folder_id = $1 AND path > $5 AND path <= (SELECT max(path COLLATE \"C\") FROM page)
               AND ($2::text IS NULL OR path = $2 OR (path > $2 || '/' AND path < $2 || '0'))
         )
         SELECT count(*), max(path COLLATE \"C\") FROM page";
    let total = catalog.in_pages(what, sql, &[&folder.0, &trimmed(sub), &decision.as_str(), &by]).await?;
    catalog.query(what, "SELECT pg_notify($1, $2)", &[&DECISION_CHANNEL, &folder.0.to_string()]).await?;
    Ok(total)
}

/// Forgets the approvals of these paths: their files are back.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn forget_approved(catalog: &Catalog, folder: FolderId, paths: &[RelPath]) -> Result<(), CatalogError> {
    let names: Vec<&str> = paths.iter().map(RelPath::as_str).collect();
    let sql = "DELETE FROM portail.held_delete WHERE decision = 'approved' AND ctid = ANY(ARRAY(
             SELECT h.ctid FROM UNNEST($2::text[]) AS t(path) CROSS JOIN LATERAL (
                 SELECT ctid FROM portail.held_delete WHERE folder_id = $1 AND path = t.path LIMIT 1) h))";
    catalog.query("forget approvals", sql, &[&folder.0, &names]).await?;
    Ok(())
}

/// When a person has last decided on anything that was not carried out yet.
///
/// # Errors
/// If the catalog can't be read.
pub async fn last_decision(catalog: &Catalog, folder: FolderId) -> Result<Option<SystemTime>, CatalogError> {
    let what = "look for decisions";
    let sql = "SELECT max(decided_at) FROM portail.held_delete WHERE folder_id = $1 AND decision IS NOT NULL";
    let rows = catalog.query(what, sql, &[&folder.0]).await?;
    catalog.column(what, &catalog.one(what, rows)?, 0)
}

/// Carries out rejections: the rows become `kept`, and are held no more.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn apply_rejections(catalog: &Catalog, folder: FolderId) -> Result<u64, CatalogError> {
    let which = "decision = 'rejected'";
    keep(catalog, folder, "keep rejected deletions", which, "the object is kept, by decision of ", None).await
}

/// Keeps the objects of deletions that have been held for longer than this, and on which nobody has decided: their rows become
/// `kept`. Answers how many.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn expire(catalog: &Catalog, folder: FolderId, after: Duration) -> Result<u64, CatalogError> {
    let which = "decision IS NULL AND held_at < now() - make_interval(secs => $2)";
    keep(
        catalog,
        folder,
        "keep what nobody has decided on",
        which,
        "the object is kept: nobody has decided",
        Some(after),
    )
    .await
}

async fn keep(
    catalog: &Catalog,
    folder: FolderId,
    what: &'static str,
    which: &str,
    detail: &str,
    after: Option<Duration>,
) -> Result<u64, CatalogError> {
    let sql = format!(
        "WITH page AS MATERIALIZED (
             SELECT path FROM portail.held_delete
             WHERE folder_id = $1 AND {which} AND $2::double precision >= 0 AND path > $4 ORDER BY path COLLATE \"C\" LIMIT $5
         ), kept AS (
             DELETE FROM portail.held_delete
             WHERE folder_id = $1 AND path > $4 AND path <= (SELECT max(path COLLATE \"C\") FROM page) AND {which}
             RETURNING path, size, md5, decided_by
         ), rows AS (
             UPDATE portail.file SET state = 'kept', error = NULL
             WHERE etag IS NOT NULL AND id = ANY(ARRAY(SELECT f.id FROM kept k CROSS JOIN LATERAL (
                 SELECT id FROM portail.file WHERE folder_id = $1 AND path = k.path LIMIT 1) f))
         ), history AS (
             INSERT INTO portail.event (folder_id, path, kind, size, md5, detail)
             SELECT $1, path, 'held', size, md5, $3 || coalesce(decided_by, '') FROM kept
         )
         SELECT count(*), max(path COLLATE \"C\") FROM page"
    );
    let seconds = after.unwrap_or_default().as_secs_f64();
    catalog.in_pages(what, &sql, &[&folder.0, &seconds, &detail]).await
}
