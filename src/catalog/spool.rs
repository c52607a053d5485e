//! The spool of a pass's deletions: found, then sorted by what may be done with each, then acted on, all of it in pages, since
//! a statement over a whole folder would take longer than the server allows.

use std::time::Duration;

use super::{Catalog, CatalogError, PAGE};
use crate::boundary::{Boundary, reached};
use crate::model::{FolderId, RelPath};

/// What a spooled deletion is found to be. Where several apply, the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There is no row any more.
    Gone,
    /// The object is to be kept.
    Rejected,
    /// A person has said yes.
    Approved,
    /// A removal that was begun before.
    Deleting,
    /// The source of a rename: another synced row of the folder has the same inode, size and MD5.
    Renamed,
    /// Held already, and nobody has decided; or somebody has, but it can't be seen now whether the file is gone.
    Held,
    /// None of these.
    Fresh,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Gone, Self::Rejected, Self::Approved, Self::Deleting, Self::Renamed, Self::Held, Self::Fresh];

    fn from_column(catalog: &Catalog, what: &'static str, text: &str) -> Result<Self, CatalogError> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| catalog.strange(what, format!("the kind of deletion `{text}` is unknown")))
    }

    /// As the column holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Rejected => "rejected",
            Self::Approved => "approved",
            Self::Deleting => "deleting",
            Self::Renamed => "renamed",
            Self::Held => "held",
            Self::Fresh => "fresh",
        }
    }
}

/// A pass's spool, counted by what may be done with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// See [`Kind::Approved`].
    pub approved: u64,
    /// See [`Kind::Deleting`].
    pub deleting: u64,
    /// See [`Kind::Renamed`].
    pub renamed: u64,
    /// See [`Kind::Held`].
    pub held: u64,
    /// See [`Kind::Fresh`].
    pub fresh: u64,
    /// Sources of renames that are held, from a time when the rename could not be seen.
    pub held_renames: u64,
}

impl Tally {
    /// Counts deletions of a kind.
    pub fn add(&mut self, kind: Kind, count: u64) {
        match kind {
            Kind::Approved => self.approved += count,
            Kind::Deleting => self.deleting += count,
            Kind::Renamed => self.renamed += count,
            Kind::Held => self.held += count,
            Kind::Fresh => self.fresh += count,
            Kind::Gone | Kind::Rejected => {}
        }
    }
}

/// A deletion out of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Which.
    pub path: RelPath,
    /// What it was found to be.
    pub kind: Kind,
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

/// Finds out what may be done with each deletion of a pass, and counts. What is spooled later, by a path that was tried again,
/// is not sorted, and so takes no part in what is judged now. In `doubtful` folders an approval does not count that a person has
/// given while the folder was the right one: whether the file is still gone from there, nobody can see.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn sort(catalog: &Catalog, folder: FolderId, pass: i64, doubtful: bool) -> Result<Tally, CatalogError> {
    let what = "sort the deletions";
    // One row is looked for at a time, by LIMIT or OFFSET, and written by ON CONFLICT: a join with these tables, or `= ANY` on a path,
    // may be planned to go through all of a table for each row of the other, since the statistics are of another time.
    let sql = "WITH page AS MATERIALIZED (
             SELECT path, raw_path FROM portail.pending_delete WHERE folder_id = $1 AND pass = $2 AND path > $3
             ORDER BY path COLLATE \"C\" LIMIT $4
         ), sorted AS MATERIALIZED (
             SELECT p.path, p.raw_path, CASE
                 WHEN f.path IS NULL THEN 'gone'
                 WHEN h.decision = 'rejected' OR f.state = 'kept' THEN 'rejected'
                 WHEN h.decision = 'approved' AND NOT ($5 AND coalesce(j.same_folder, true)) THEN 'approved'
                 WHEN f.state = 'deleting' THEN 'deleting'
                 WHEN EXISTS (
                     SELECT FROM portail.file o
                     WHERE o.folder_id = $1 AND o.inode = f.inode AND o.size = f.size AND o.md5 = f.md5 AND o.path <> f.path
                       AND o.state = 'synced'
                       AND NOT EXISTS (
                           SELECT FROM portail.pending_delete s
                           WHERE s.folder_id = $1 AND s.pass = $2 AND s.path = o.path OFFSET 0)
                     OFFSET 0
                 ) THEN 'renamed'
                 WHEN h.path IS NOT NULL THEN 'held'
                 ELSE 'fresh' END AS kind, h.path IS NOT NULL AND h.decision IS NULL AS is_held
             FROM page p
             LEFT JOIN LATERAL (
                 SELECT * FROM portail.file WHERE folder_id = $1 AND path = p.path LIMIT 1) f ON true
             LEFT JOIN LATERAL (
                 SELECT * FROM portail.held_delete WHERE folder_id = $1 AND path = p.path LIMIT 1) h ON true
             LEFT JOIN LATERAL (SELECT * FROM portail.judgement WHERE id = h.judgement_id LIMIT 1) j ON true
         ), written AS (
             INSERT INTO portail.pending_delete (folder_id, pass, path, raw_path, kind)
             SELECT $1, $2, path, raw_path, kind FROM sorted
             ON CONFLICT (folder_id, pass, path) DO UPDATE SET kind = excluded.kind
         )
         SELECT kind, count(*), max(path COLLATE \"C\"), count(*) FILTER (WHERE kind = 'renamed' AND is_held)
         FROM sorted GROUP BY kind";
    let mut tally = Tally::default();
    let mut after = String::new();
    loop {
        let rows = catalog.query(what, sql, &[&folder.0, &pass, &after, &PAGE, &doubtful]).await?;
        let mut seen = 0;
        for row in &rows {
            let count: i64 = catalog.column(what, row, 1)?;
            seen += count;
            let held_renames: i64 = catalog.column(what, row, 3)?;
            let kind = Kind::from_column(catalog, what, catalog.column(what, row, 0)?)?;
            tally.add(kind, u64::try_from(count).unwrap_or(0));
            tally.held_renames += u64::try_from(held_renames).unwrap_or(0);
            after = after.max(catalog.column(what, row, 2)?);
        }
        if seen < PAGE {
            return Ok(tally);
        }
    }
}

/// What a deletion would be found to be, without any spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// Which.
    pub path: RelPath,
    /// What it would be, but for [`Kind::Renamed`].
    pub kind: Kind,
    /// Other synced paths with the same inode, size and MD5: if one of them stays, it is a rename.
    pub twins: Vec<String>,
}

/// As [`sort`], for a dry run: nothing is written. What has been held for longer than `kept_after` would be kept.
///
/// # Errors
/// If the catalog can't be read.
pub async fn prospects(
    catalog: &Catalog,
    folder: FolderId,
    paths: &[RelPath],
    kept_after: Duration,
    doubtful: bool,
) -> Result<Vec<Prospect>, CatalogError> {
    let what = "look the deletions up";
    let sql = "SELECT CASE
                 WHEN f.path IS NULL THEN 'gone'
                 WHEN h.decision = 'rejected' OR f.state = 'kept' THEN 'rejected'
                 WHEN h.decision = 'approved' AND NOT ($4 AND coalesce(j.same_folder, true)) THEN 'approved'
                 WHEN h.decision IS NULL AND h.held_at < now() - make_interval(secs => $3) THEN 'rejected'
                 WHEN f.state = 'deleting' THEN 'deleting'
                 WHEN h.path IS NOT NULL THEN 'held'
                 ELSE 'fresh' END,
             ARRAY(SELECT o.path FROM portail.file o
                 WHERE o.folder_id = $1 AND o.inode = f.inode AND o.size = f.size AND o.md5 = f.md5 AND o.path <> f.path
                   AND o.state = 'synced' LIMIT 10)
         FROM UNNEST($2::text[]) WITH ORDINALITY AS p(path, place)
         LEFT JOIN LATERAL (SELECT * FROM portail.file WHERE folder_id = $1 AND path = p.path LIMIT 1) f ON true
         LEFT JOIN LATERAL (SELECT * FROM portail.held_delete WHERE folder_id = $1 AND path = p.path LIMIT 1) h ON true
         LEFT JOIN LATERAL (SELECT * FROM portail.judgement WHERE id = h.judgement_id LIMIT 1) j ON true
         ORDER BY p.place";
    let names: Vec<&str> = paths.iter().map(RelPath::as_str).collect();
    let rows = catalog.query(what, sql, &[&folder.0, &names, &kept_after.as_secs_f64(), &doubtful]).await?;
    rows.iter()
        .zip(paths)
        .map(|(row, path)| {
            let kind = Kind::from_column(catalog, what, catalog.column(what, row, 0)?)?;
            Ok(Prospect { path: path.clone(), kind, twins: catalog.column(what, row, 1)? })
        })
        .collect()
}

/// The next deletions of these kinds, in order.
///
/// # Errors
/// If the catalog can't be read.
pub async fn page(
    catalog: &Catalog,
    folder: FolderId,
    pass: i64,
    kinds: &[Kind],
    after: &str,
    limit: i64,
) -> Result<Vec<Spooled>, CatalogError> {
    let what = "read the spooled deletions";
    let sql = "SELECT path, raw_path, kind FROM portail.pending_delete
         WHERE folder_id = $1 AND pass = $2 AND kind = ANY($3) AND path > $4 ORDER BY path COLLATE \"C\" LIMIT $5";
    let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    let rows = catalog.query(what, sql, &[&folder.0, &pass, &names, &after, &limit]).await?;
    rows.iter()
        .map(|row| {
            let path: String = catalog.column(what, row, 0)?;
            let path = RelPath::from_encoded(path, catalog.column(what, row, 1)?);
            Ok(Spooled { path, kind: Kind::from_column(catalog, what, catalog.column(what, row, 2)?)? })
        })
        .collect()
}

/// Spools what a person has approved, and answers how many there are.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn spool_approved(catalog: &Catalog, folder: FolderId, pass: i64) -> Result<u64, CatalogError> {
    let sql = "WITH page AS MATERIALIZED (
             SELECT path, raw_path FROM portail.held_delete WHERE folder_id = $1 AND decision = 'approved' AND path > $3
             ORDER BY path COLLATE \"C\" LIMIT $4
         ), spooled AS (
             INSERT INTO portail.pending_delete (folder_id, pass, path, raw_path)
             SELECT $1, $2, path, raw_path FROM page ON CONFLICT DO NOTHING
         )
         SELECT count(*), max(path COLLATE \"C\") FROM page";
    catalog.in_pages("spool approved deletions", sql, &[&folder.0, &pass]).await
}

/// Empties the spool of a pass.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn drop_spool(catalog: &Catalog, folder: FolderId, pass: i64) -> Result<(), CatalogError> {
    let sql = "WITH page AS MATERIALIZED (
             SELECT path FROM portail.pending_delete WHERE folder_id = $1 AND pass = $2 AND path > $3
             ORDER BY path COLLATE \"C\" LIMIT $4
         ), dropped AS (
             DELETE FROM portail.pending_delete
             WHERE folder_id = $1 AND pass = $2 AND path > $3 AND path <= (SELECT max(path COLLATE \"C\") FROM page)
         )
         SELECT count(*), max(path COLLATE \"C\") FROM page";
    catalog.in_pages("drop the spool", sql, &[&folder.0, &pass]).await?;
    Ok(())
}
