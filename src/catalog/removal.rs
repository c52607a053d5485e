//! Removing rows: `deleting` before the object goes, gone after it, and what counts against the threshold meanwhile.

use std::collections::HashSet;

use super::{Catalog, CatalogError};
use crate::boundary::{Boundary, reached};
use crate::model::{FolderId, RelPath};

/// A row whose object is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// Which.
    pub path: RelPath,
    /// It counts against the threshold of the hour that follows.
    pub counts: bool,
}

/// Marks rows as being deleted, and answers those that may be: they have an object, and nobody wants it kept. Those that count
/// are counted here: once begun, a removal is finished whatever happens.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn begin(catalog: &Catalog, folder: FolderId, doomed: &[Doomed]) -> Result<Vec<RelPath>, CatalogError> {
    let what = "mark files as being deleted";
    let names: Vec<&str> = doomed.iter().map(|doomed| doomed.path.as_str()).collect();
    let counts: Vec<bool> = doomed.iter().map(|doomed| doomed.counts).collect();
    let sql = "WITH wanted AS MATERIALIZED (
             SELECT f.id, d.counts FROM UNNEST($2::text[], $3::bool[]) AS d(path, counts) CROSS JOIN LATERAL (
                 SELECT id FROM portail.file WHERE folder_id = $1 AND path = d.path LIMIT 1) f
         ), marked AS (
             UPDATE portail.file f SET state = 'deleting'
             WHERE f.id = ANY(ARRAY(SELECT id FROM wanted)) AND f.state <> 'kept' AND f.etag IS NOT NULL
               AND NOT EXISTS (SELECT FROM portail.held_delete h
                   WHERE h.folder_id = $1 AND h.path = f.path AND h.decision = 'rejected' OFFSET 0)
             RETURNING f.id, f.path
         ), counted AS (
             INSERT INTO portail.recent_delete (folder_id, count)
             SELECT $1, count(*) FROM marked JOIN wanted USING (id) WHERE counts HAVING count(*) > 0
         ), forgotten AS (
             DELETE FROM portail.recent_delete WHERE folder_id = $1 AND at < now() - interval '1 hour'
         ), dated AS (
             -- Else the future of a clock that was set back would have to come first.
             UPDATE portail.recent_delete SET at = now() WHERE folder_id = $1 AND at > now()
         )
         SELECT path FROM marked";
    let rows = catalog.query(what, sql, &[&folder.0, &names, &counts]).await?;
    reached(Boundary::Deleting);
    let mut marked = HashSet::with_capacity(rows.len());
    for row in &rows {
        marked.insert(catalog.column::<String>(what, row, 0)?);
    }
    Ok(doomed.iter().map(|doomed| &doomed.path).filter(|path| marked.contains(path.as_str())).cloned().collect())
}

/// Takes the rows of deleted objects away and writes down that they were, and who has approved it.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn end(catalog: &Catalog, folder: FolderId, paths: &[RelPath]) -> Result<(), CatalogError> {
    let names: Vec<&str> = paths.iter().map(RelPath::as_str).collect();
    let sql = "WITH gone AS (
             DELETE FROM portail.file WHERE state = 'deleting' AND id = ANY(ARRAY(
                 SELECT f.id FROM UNNEST($2::text[]) AS t(path) CROSS JOIN LATERAL (
                     SELECT id FROM portail.file WHERE folder_id = $1 AND path = t.path LIMIT 1) f))
             RETURNING path, size, md5, version_id
         ), held AS (
             DELETE FROM portail.held_delete WHERE ctid = ANY(ARRAY(
                 SELECT h.ctid FROM gone g CROSS JOIN LATERAL (
                     SELECT ctid FROM portail.held_delete WHERE folder_id = $1 AND path = g.path LIMIT 1) h))
             RETURNING path, decision, decided_by
         )
         INSERT INTO portail.event (folder_id, path, kind, size, md5, version_id, detail)
         SELECT $1, g.path, 'deleted', g.size, g.md5, g.version_id,
             CASE WHEN h.decision = 'approved' THEN 'approved by ' || coalesce(h.decided_by, 'unknown') END
         FROM gone g LEFT JOIN held h USING (path)";
    catalog.query("record deletions", sql, &[&folder.0, &names]).await?;
    reached(Boundary::RowsGone);
    Ok(())
}

/// How many removals of the last hour count against the threshold. In the server's time, whose clock may have been set back: what
/// seems to be of the future counts, too.
///
/// # Errors
/// If the catalog can't be read.
pub async fn in_hour(catalog: &Catalog, folder: FolderId) -> Result<u64, CatalogError> {
    let sql = "SELECT coalesce(sum(count), 0)::bigint FROM portail.recent_delete
         WHERE folder_id = $1 AND at > now() - interval '1 hour'";
    catalog.count("count the deletions of the last hour", sql, &[&folder.0]).await
}
