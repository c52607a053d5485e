//! One level of a folder's tree: the directories and the files directly in a directory, a page at a time.
//!
//! Neither reads what lies deeper: directories are found by jumping from each to the next one, and so are files in the order of their
//! names. A file's time and size are in no index, since every change of a file would then cost the daemon more: files in that order are
//! sorted out of those of their directory.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::types::ToSql;

use super::browse::{FileLine, LINE, LINE_COLUMNS, to_line};
use super::{Catalog, CatalogError};
use crate::model::FolderId;

/// Jumps over directories that a page of files in the order of their names may take. Where there are more, the files are sorted out.
const JUMPS: i32 = 2_000;

/// Orders before every character that a path may have, and after.
const FIRST: char = '\u{1}';
const LAST: char = '\u{10FFFF}';
/// No part of a path has more characters of this kind: 255 bytes.
const LONGEST: usize = 64;

/// A place in the order of a time.
const TIME: &str = "timestamptz 'epoch' + $4::bigint * interval '1 microsecond'";

/// What files are ordered by. Directories come before them, by their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sort {
    /// In byte order.
    #[default]
    Name,
    /// Those that were never synced are the smallest.
    Size,
    /// By the time of their last change; those of which it is not known are the oldest.
    Modified,
    /// What needs attention first: failed, deleting, kept, synced.
    State,
    /// By the time when their object was acknowledged; those that never were are the oldest.
    Synced,
}

impl Sort {
    /// Whether it is by a time.
    fn is_time(self) -> bool {
        match self {
            Self::Modified | Self::Synced => true,
            Self::Name | Self::Size | Self::State => false,
        }
    }
}

/// An order of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Order {
    /// By what.
    pub sort: Sort,
    /// From the largest to the smallest.
    pub descending: bool,
}

/// Where a page of files begins: after the one with this place in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of the file, in its folder.
    pub path: String,
    /// What it is ordered by, besides its path: bytes, or microseconds since 1970; 0 in the order of names.
    pub value: i64,
}

/// The directories directly in `directory` (`""` or `a/b/`), by their names, after the one that is called `after`.
///
/// # Errors
/// If the catalog can't be read.
pub async fn directories(
    catalog: &Catalog,
    folder: FolderId,
    directory: &str,
    descending: bool,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<String>, CatalogError> {
    let what = "read the directories of a directory";
    // Each step looks for the first row beyond the directory that the last one led into.
    let (sql, edge) = if descending {
        (DIRECTORIES_DOWN, after.map_or_else(|| end_of(directory), |name| format!("{directory}{name}/")))
    } else {
        (DIRECTORIES_UP, after.map_or_else(|| format!("{directory}{FIRST}"), |name| format!("{directory}{name}0")))
    };
    let other = if descending { format!("{directory}{FIRST}") } else { end_of(directory) };
    let rows = catalog.query(what, sql, &[&folder.0, &directory, &edge, &other, &limit]).await?;
    rows.iter().map(|row| catalog.column(what, row, 0)).collect()
}

/// The files directly in `directory`, after a place.
///
/// # Errors
/// If the catalog can't be read.
pub async fn files(
    catalog: &Catalog,
    folder: FolderId,
    directory: &str,
    order: Order,
    after: Option<&Place>,
    limit: i64,
) -> Result<Vec<FileLine>, CatalogError> {
    if order.sort == Sort::Name
        && let Some(files) = files_by_jumps(catalog, folder, directory, order.descending, after, limit).await?
    {
        return Ok(files);
    }
    let what = "read the files of a directory";
    let (value, place) = match order.sort {
        Sort::Name => ("0::bigint", "$4::bigint"),
        Sort::Size => ("coalesce(f.size, -1)", "$4::bigint"),
        // Microseconds of its type would have to be made of each row.
        Sort::Modified => ("coalesce(f.modified_at, timestamptz '0001-01-01 00:00:00+00')", TIME),
        Sort::Synced => ("coalesce(f.synced_at, timestamptz '0001-01-01 00:00:00+00')", TIME),
        Sort::State => (
            "CASE f.state WHEN 'failed' THEN 0 WHEN 'deleting' THEN 1 WHEN 'kept' THEN 2 ELSE 3 END::bigint",
            "$4::bigint",
        ),
    };
    let (compare, direction) = if order.descending { ("<", "DESC") } else { (">", "ASC") };
    let beyond = match after {
        Some(_) => format!("AND ({value}, f.path) {compare} ({place}, $5::text COLLATE \"C\")"),
        None => String::new(),
    };
    // No more than what is sorted by is read of all of them.
    let sql = format!(
        "SELECT {LINE} FROM (
             SELECT f.id, {value} AS value, f.path FROM portail.file f
             WHERE -f.folder_id = -$1::bigint AND left(f.path, -length(f.name)) = $2::text COLLATE \"C\" {beyond}
             ORDER BY {value} {direction}, f.path COLLATE \"C\" {direction} LIMIT $3) s
         CROSS JOIN LATERAL (SELECT * FROM portail.file WHERE id = s.id LIMIT 1) f
         ORDER BY s.value {direction}, s.path COLLATE \"C\" {direction}"
    );
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&folder.0, &directory, &limit];
    // Beyond these no file is, and further out PostgreSQL has no times.
    let bound = |value: i64| if order.sort.is_time() { value.clamp(UNKNOWN_TIME, -UNKNOWN_TIME) } else { value };
    let value = after.map_or(0, |after| bound(after.value));
    if let Some(after) = after {
        parameters.extend([&value as &(dyn ToSql + Sync), &after.path]);
    }
    let rows = catalog.query(what, &sql, &parameters).await?;
    rows.iter().map(|row| to_line(catalog, what, row)).collect()
}

/// From file to file through the index of the paths, over directories in one jump each. None if there are too many of these.
async fn files_by_jumps(
    catalog: &Catalog,
    folder: FolderId,
    directory: &str,
    descending: bool,
    after: Option<&Place>,
    limit: i64,
) -> Result<Option<Vec<FileLine>>, CatalogError> {
    let what = "read the files of a directory";
    let (sql, edge, other) = if descending {
        (FILES_DOWN, after.map_or_else(|| end_of(directory), |place| place.path.clone()), format!("{directory}{FIRST}"))
    } else {
        let from = after.map_or_else(|| directory.to_owned(), |place| place.path.clone());
        (FILES_UP, format!("{from}{FIRST}"), end_of(directory))
    };
    let sql = sql.replace("{LINE}", LINE);
    let length = i32::try_from(directory.chars().count()).unwrap_or(i32::MAX);
    let rows = catalog.query(what, &sql, &[&folder.0, &edge, &other, &length, &limit, &JUMPS]).await?;
    let mut files = Vec::with_capacity(rows.len());
    for row in &rows {
        // The last row says whether the jumps were used up before the page was full.
        match catalog.column::<bool>(what, row, LINE_COLUMNS)? {
            true => return Ok(None),
            false => files.push(to_line(catalog, what, row)?),
        }
    }
    Ok(Some(files))
}

/// What stands for a time of change that is not known: the beginning of the year 1, before all that a file system can say.
pub const UNKNOWN_TIME: i64 = -62_135_596_800_000_000;

/// Microseconds since 1970, as PostgreSQL counts them.
pub fn micros(time: SystemTime) -> i64 {
    let to_i64 = |micros: u128| i64::try_from(micros).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => to_i64(since.as_micros()),
        Err(before) => -to_i64(before.duration().as_micros()),
    }
}

/// After everything below a directory.
fn end_of(directory: &str) -> String {
    match directory.strip_suffix('/') {
        // The byte after the slash.
        Some(name) => format!("{name}0"),
        None => std::iter::repeat_n(LAST, LONGEST).collect(),
    }
}

const DIRECTORIES_UP: &str = "WITH RECURSIVE step(parent, n) AS (
         (SELECT left(f.path, -length(f.name)), 1::bigint FROM portail.file f
          WHERE -f.folder_id = -$1::bigint AND left(f.path, -length(f.name)) >= $3::text COLLATE \"C\"
            AND left(f.path, -length(f.name)) < $4::text COLLATE \"C\"
          ORDER BY left(f.path, -length(f.name)) LIMIT 1)
         UNION ALL
         SELECT next.parent, s.n + 1 FROM step s CROSS JOIN LATERAL (
             SELECT left(f.path, -length(f.name)) AS parent FROM portail.file f
             WHERE -f.folder_id = -$1::bigint
               AND left(f.path, -length(f.name)) >= ($2 || split_part(substr(s.parent, length($2) + 1), '/', 1) || '0') COLLATE \"C\"
               AND left(f.path, -length(f.name)) < $4::text COLLATE \"C\"
             ORDER BY left(f.path, -length(f.name)) LIMIT 1) next
         WHERE s.n < $5::bigint
     )
     SELECT split_part(substr(parent, length($2) + 1), '/', 1) FROM step ORDER BY n";

const DIRECTORIES_DOWN: &str = "WITH RECURSIVE step(parent, n) AS (
         (SELECT left(f.path, -length(f.name)), 1::bigint FROM portail.file f
          WHERE -f.folder_id = -$1::bigint AND left(f.path, -length(f.name)) < $3::text COLLATE \"C\"
            AND left(f.path, -length(f.name)) >= $4::text COLLATE \"C\"
          ORDER BY left(f.path, -length(f.name)) DESC LIMIT 1)
         UNION ALL
         SELECT next.parent, s.n + 1 FROM step s CROSS JOIN LATERAL (
             SELECT left(f.path, -length(f.name)) AS parent FROM portail.file f
             WHERE -f.folder_id = -$1::bigint
               AND left(f.path, -length(f.name)) < ($2 || split_part(substr(s.parent, length($2) + 1), '/', 1) || '/') COLLATE \"C\"
               AND left(f.path, -length(f.name)) >= $4::text COLLATE \"C\"
             ORDER BY left(f.path, -length(f.name)) DESC LIMIT 1) next
         WHERE s.n < $5::bigint
     )
     SELECT split_part(substr(parent, length($2) + 1), '/', 1) FROM step ORDER BY n";

const FILES_UP: &str = "WITH RECURSIVE step(id, path, slash, n, found) AS (
         (SELECT f.id, f.path, strpos(substr(f.path, $4::int + 1), '/'), 1, (strpos(substr(f.path, $4::int + 1), '/') = 0)::int::bigint
          FROM portail.file f WHERE f.folder_id = $1 AND f.path >= $2::text COLLATE \"C\" AND f.path < $3::text COLLATE \"C\"
          ORDER BY f.path LIMIT 1)
         UNION ALL
         SELECT next.id, next.path, next.slash, s.n + (next.slash > 0)::int, s.found + (next.slash = 0)::int
         FROM step s CROSS JOIN LATERAL (
             SELECT f.id, f.path, strpos(substr(f.path, $4::int + 1), '/') AS slash FROM portail.file f
             WHERE f.folder_id = $1 AND f.path < $3::text COLLATE \"C\"
               AND f.path >= (CASE WHEN s.slash = 0 THEN s.path || chr(1) ELSE left(s.path, $4::int + s.slash - 1) || '0' END) COLLATE \"C\"
             ORDER BY f.path LIMIT 1) next
         WHERE s.found < $5::bigint AND s.n < $6::int
     )
     SELECT {LINE}, false FROM step s CROSS JOIN LATERAL (SELECT * FROM portail.file WHERE id = s.id LIMIT 1) f WHERE s.slash = 0
     UNION ALL
     SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true FROM step HAVING max(n) >= $6::int AND max(found) < $5::bigint";

const FILES_DOWN: &str = "WITH RECURSIVE step(id, path, slash, n, found) AS (
         (SELECT f.id, f.path, strpos(substr(f.path, $4::int + 1), '/'), 1, (strpos(substr(f.path, $4::int + 1), '/') = 0)::int::bigint
          FROM portail.file f WHERE f.folder_id = $1 AND f.path < $2::text COLLATE \"C\" AND f.path >= $3::text COLLATE \"C\"
          ORDER BY f.path DESC LIMIT 1)
         UNION ALL
         SELECT next.id, next.path, next.slash, s.n + (next.slash > 0)::int, s.found + (next.slash = 0)::int
         FROM step s CROSS JOIN LATERAL (
             SELECT f.id, f.path, strpos(substr(f.path, $4::int + 1), '/') AS slash FROM portail.file f
             WHERE f.folder_id = $1 AND f.path >= $3::text COLLATE \"C\"
               AND f.path < (CASE WHEN s.slash = 0 THEN s.path ELSE left(s.path, $4::int + s.slash - 1) || '/' END) COLLATE \"C\"
             ORDER BY f.path DESC LIMIT 1) next
         WHERE s.found < $5::bigint AND s.n < $6::int
     )
     SELECT {LINE}, false FROM step s CROSS JOIN LATERAL (SELECT * FROM portail.file WHERE id = s.id LIMIT 1) f WHERE s.slash = 0
     UNION ALL
     SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true FROM step HAVING max(n) >= $6::int AND max(found) < $5::bigint";
