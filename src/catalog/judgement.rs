//! Why deletions are held: the judgements that have held them, with what was seen and the counts and limits at that time.

use std::time::SystemTime;

use tokio_postgres::Row as SqlRow;

use super::{Catalog, CatalogError};
use crate::model::{Absence, FolderId, RelPath};

/// What has led to a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// The whole folder was gone through.
    Reconciliation,
    /// Events have told of it.
    Events,
}

impl FoundBy {
    /// As the column holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reconciliation => "reconciliation",
            Self::Events => "events",
        }
    }
}

/// What a judgement that holds deletions was based on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What has led to it.
    pub found_by: FoundBy,
    /// Why it holds them, in words.
    pub reason: String,
    /// The folder was the one that had been synced, by its file system and root.
    pub same_folder: bool,
    /// Everything in it could be seen; events are about single paths.
    pub complete: bool,
    /// Deletions that were to be judged.
    pub deletes: u64,
    /// Those of the hour before that count.
    pub in_hour: u64,
    /// Those that were held before.
    pub held: u64,
    /// Files that the limit is a share of.
    pub synced: u64,
    /// `max_delete`, in percent.
    pub max_delete: f64,
    /// `max_delete_count`.
    pub max_delete_count: u64,
}

/// Writes a judgement down and answers its number. Those that hold nothing any more are forgotten.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn write(catalog: &Catalog, folder: FolderId, judgement: &Judgement) -> Result<i64, CatalogError> {
    let what = "record a judgement";
    let sql = "WITH forgotten AS (
             DELETE FROM portail.judgement j WHERE folder_id = $1
               AND NOT EXISTS (SELECT FROM portail.held_delete h WHERE h.judgement_id = j.id)
         )
         INSERT INTO portail.judgement
             (folder_id, found_by, reason, same_folder, complete, deletes, in_hour, held, synced, max_delete, max_delete_count)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id";
    let counts = [judgement.deletes, judgement.in_hour, judgement.held, judgement.synced, judgement.max_delete_count];
    let [deletes, in_hour, held, synced, max_delete_count] = counts.map(super::to_bigint);
    let rows = catalog
        .query(
            what,
            sql,
            &[
                &folder.0,
                &judgement.found_by.as_str(),
                &judgement.reason,
                &judgement.same_folder,
                &judgement.complete,
                &deletes,
                &in_hour,
                &held,
                &synced,
                &judgement.max_delete,
                &max_delete_count,
            ],
        )
        .await?;
    let row = catalog.one(what, rows)?;
    catalog.column(what, &row, 0)
}

/// Holds deletions whose files were found to be gone at a fresh look. Answers how many are held that were not before.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn hold(
    catalog: &Catalog,
    folder: FolderId,
    judgement: i64,
    gone: &[(RelPath, Absence)],
) -> Result<u64, CatalogError> {
    let sql = "WITH gone AS MATERIALIZED (
             SELECT * FROM UNNEST($3::text[], $4::bytea[], $5::text[]) AS t(path, raw_path, seen)
         ), held AS (
             INSERT INTO portail.held_delete (folder_id, path, raw_path, size, md5, reason, judgement_id, seen, seen_at)
             SELECT $1, g.path, g.raw_path, f.size, f.md5, j.reason, j.id, g.seen, now()
             FROM gone g CROSS JOIN portail.judgement j
             CROSS JOIN LATERAL (SELECT * FROM portail.file WHERE folder_id = $1 AND path = g.path LIMIT 1) f
             WHERE j.id = $2
             ON CONFLICT DO NOTHING RETURNING path, size, md5, reason
         ), history AS (
             INSERT INTO portail.event (folder_id, path, kind, size, md5, detail)
             SELECT $1, path, 'held', size, md5, reason FROM held
         )
         SELECT count(*) FROM held";
    let names: Vec<&str> = gone.iter().map(|(path, _)| path.as_str()).collect();
    let raw: Vec<Option<&[u8]>> = gone.iter().map(|(path, _)| path.raw_if_different()).collect();
    let seen: Vec<&str> = gone.iter().map(|(_, absence)| absence.as_str()).collect();
    catalog.count("hold deletions", sql, &[&folder.0, &judgement, &names, &raw, &seen]).await
}

/// A judgement as it was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its number.
    pub id: i64,
    /// When it was made.
    pub at: SystemTime,
    /// What it was based on.
    pub judgement: Judgement,
}

/// The latest judgements that hold deletions of a folder, at most `limit`.
///
/// # Errors
/// If the catalog can't be read.
pub async fn latest(catalog: &Catalog, folder: FolderId, limit: i64) -> Result<Vec<Written>, CatalogError> {
    let what = "read the judgements";
    let sql = format!(
        "SELECT {COLUMNS} FROM portail.judgement j WHERE folder_id = $1
           AND EXISTS (SELECT FROM portail.held_delete h WHERE h.judgement_id = j.id) ORDER BY id DESC LIMIT $2"
    );
    let rows = catalog.query(what, &sql, &[&folder.0, &limit]).await?;
    rows.iter().map(|row| to_written(catalog, what, row)).collect()
}

/// Judgements by their numbers.
///
/// # Errors
/// If the catalog can't be read.
pub async fn by_number(catalog: &Catalog, numbers: &[i64]) -> Result<Vec<Written>, CatalogError> {
    let what = "read the judgements";
    let sql = format!("SELECT {COLUMNS} FROM portail.judgement j WHERE id = ANY($1)");
    let rows = catalog.query(what, &sql, &[&numbers]).await?;
    rows.iter().map(|row| to_written(catalog, what, row)).collect()
}

const COLUMNS: &str =
    "id, at, found_by, reason, same_folder, complete, deletes, in_hour, held, synced, max_delete, max_delete_count";

fn to_written(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<Written, CatalogError> {
    let count = |index| catalog.column::<i64>(what, row, index).map(|count| u64::try_from(count).unwrap_or(0));
    let found_by: &str = catalog.column(what, row, 2)?;
    let known = [FoundBy::Reconciliation, FoundBy::Events].into_iter().find(|known| known.as_str() == found_by);
    Ok(Written {
        id: catalog.column(what, row, 0)?,
        at: catalog.column(what, row, 1)?,
        judgement: Judgement {
            found_by: known.ok_or_else(|| catalog.strange(what, format!("it was found by `{found_by}`")))?,
            reason: catalog.column(what, row, 3)?,
            same_folder: catalog.column(what, row, 4)?,
            complete: catalog.column(what, row, 5)?,
            deletes: count(6)?,
            in_hour: count(7)?,
            held: count(8)?,
            synced: count(9)?,
            max_delete: catalog.column(what, row, 10)?,
            max_delete_count: count(11)?,
        },
    })
}

/// Held deletions of one judgement in one directory, of which one thing was seen and said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InDirectory {
    /// The judgement's number; none for what was held before judgements were written down.
    pub judgement: Option<i64>,
    /// What a person has said, as the column holds it.
    pub decision: Option<String>,
    /// What stood in the files' place, as the column holds it.
    pub seen: Option<String>,
    /// Ends in `/`; empty for the top of the folder.
    pub directory: String,
    /// How many.
    pub count: u64,
    /// Bytes of their objects.
    pub bytes: u64,
    /// Since when the first of them is held.
    pub since: SystemTime,
}

/// Held deletions after a path by directory, and the last path of them: all, or those at `sub` and below it. None of them, if there
/// are no more.
///
/// # Errors
/// If the catalog can't be read.
pub async fn by_directory(
    catalog: &Catalog,
    folder: FolderId,
    sub: Option<&str>,
    after: &str,
    limit: i64,
) -> Result<Option<(Vec<InDirectory>, String)>, CatalogError> {
    let what = "count the held deletions by directory";
    let sql = "WITH page AS MATERIALIZED (
             SELECT path, size, held_at, judgement_id, decision, seen FROM portail.held_delete
             WHERE folder_id = $1 AND path > $3
               AND ($2::text IS NULL OR path = $2 OR (path > $2 || '/' AND path < $2 || '0'))
             ORDER BY path COLLATE \"C\" LIMIT $4
         )
         SELECT judgement_id, decision, seen, regexp_replace(path, '[^/]*$', '') AS directory, count(*),
             coalesce(sum(size), 0)::bigint, min(held_at), max(path COLLATE \"C\")
         FROM page GROUP BY 1, 2, 3, 4";
    let rows = catalog.query(what, sql, &[&folder.0, &super::held::trimmed(sub), &after, &limit]).await?;
    let mut last = String::new();
    let mut directories = Vec::with_capacity(rows.len());
    for row in &rows {
        let count = |index| catalog.column::<i64>(what, row, index).map(|count| u64::try_from(count).unwrap_or(0));
        directories.push(InDirectory {
            judgement: catalog.column(what, row, 0)?,
            decision: catalog.column(what, row, 1)?,
            seen: catalog.column(what, row, 2)?,
            directory: catalog.column(what, row, 3)?,
            count: count(4)?,
            bytes: count(5)?,
            since: catalog.column(what, row, 6)?,
        });
        last = last.max(catalog.column(what, row, 7)?);
    }
    Ok((!directories.is_empty()).then_some((directories, last)))
}
