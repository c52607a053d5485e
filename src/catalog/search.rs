//! Flat lists of files in the order of folder and path, a page at a time, and search by a part of the name.
//!
//! A search may match nearly everything or nearly nothing, and no single plan is good for both. So it begins by reading on in the order
//! of the paths, which fills a page at once where much matches; where that does not, few files do, and the index of the names finds them.
//! Each look is bounded, whatever the catalog holds.

use super::browse::{FileLine, LINE, LINE_COLUMNS, to_line};
use super::{Catalog, CatalogError};
use crate::model::FolderId;

/// Rows that are read on at first: where one file in fifty matches, they fill a page of a hundred.
const GLANCE: i64 = 5_000;
/// Rows that are read on where there is no index, or the part is too short for it.
const STRETCH: i64 = 20_000;
/// Three letters make the shortest piece that the index of names knows.
const LETTERS: usize = 3;

/// A file's place in the order of folder and path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Its folder.
    pub folder: FolderId,
    /// Its path; empty = before the first.
    pub path: String,
}

/// From one place to another, both of them not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// What comes before.
    pub after: Spot,
    /// What comes after.
    pub before: Spot,
}

impl Stretch {
    /// All files of one folder whose path begins with these characters; of all folders for none.
    pub fn new(folder: Option<FolderId>, prefix: &str) -> Self {
        let Some(folder) = folder else {
            let (first, last) = (FolderId(i64::MIN), FolderId(i64::MAX));
            return Self {
                after: Spot { folder: first, path: String::new() },
                before: Spot { folder: last, path: String::new() },
            };
        };
        let before = match after_prefix(prefix) {
            Some(path) => Spot { folder, path },
            None => Spot { folder: FolderId(folder.0.saturating_add(1)), path: String::new() },
        };
        Self { after: Spot { folder, path: before_prefix(prefix) }, before }
    }
}

/// A page of what was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In order. There may be fewer than were asked for, even none, and still more beyond.
    pub files: Vec<FileLine>,
    /// Where to go on; none at the end.
    pub next: Option<Spot>,
}

/// The files of a stretch.
///
/// # Errors
/// If the catalog can't be read.
pub async fn list(catalog: &Catalog, stretch: &Stretch, limit: i64) -> Result<Found, CatalogError> {
    let what = "read the files";
    let sql = format!(
        "SELECT {LINE} FROM portail.file f
         WHERE (f.folder_id, f.path) > ($1::bigint, $2::text COLLATE \"C\") AND (f.folder_id, f.path) < ($3::bigint, $4::text COLLATE \"C\")
         ORDER BY f.folder_id, f.path COLLATE \"C\" LIMIT $5"
    );
    let Stretch { after, before } = stretch;
    let parameters = (after.folder.0, &after.path, before.folder.0, &before.path);
    let rows =
        catalog.query(what, &sql, &[&parameters.0, parameters.1, &parameters.2, parameters.3, &(limit + 1)]).await?;
    let mut files = Vec::with_capacity(rows.len());
    for row in &rows {
        files.push(to_line(catalog, what, row)?);
    }
    Ok(cut(files, limit))
}

/// The files of a stretch whose name holds `part`, in any case. `indexed` says whether there is an index of names.
///
/// # Errors
/// If the catalog can't be read.
pub async fn search(
    catalog: &Catalog,
    stretch: &Stretch,
    part: &str,
    indexed: bool,
    limit: i64,
) -> Result<Found, CatalogError> {
    let pattern = format!("%{}%", escaped(part));
    let usable = indexed && part.chars().filter(|c| c.is_alphanumeric()).count() >= LETTERS;
    let glance = read_on(catalog, stretch, &pattern, if usable { GLANCE } else { STRETCH }, limit).await?;
    // A full page ends at its last file, a stretch that was read without one at its last row.
    let Some(next) = &glance.next else { return Ok(glance) };
    if !usable || to_usize(limit) <= glance.files.len() {
        return Ok(glance);
    }
    let rest = Stretch { after: next.clone(), before: stretch.before.clone() };
    let missing = limit - i64::try_from(glance.files.len()).unwrap_or(0);
    let more = by_index(catalog, &rest, &pattern, missing).await?;
    let mut files = glance.files;
    files.extend(more.files);
    Ok(Found { files, next: more.next })
}

/// Reads rows in order and keeps those that match.
async fn read_on(
    catalog: &Catalog,
    stretch: &Stretch,
    pattern: &str,
    rows: i64,
    limit: i64,
) -> Result<Found, CatalogError> {
    let what = "search the files";
    // The pattern is hidden from the index of names, which would find all matches first.
    let sql = format!(
        "WITH seen AS MATERIALIZED (
             SELECT id, folder_id, path, name FROM portail.file
             WHERE (folder_id, path) > ($1::bigint, $2::text COLLATE \"C\") AND (folder_id, path) < ($3::bigint, $4::text COLLATE \"C\")
             ORDER BY folder_id, path COLLATE \"C\" LIMIT $5
         ), matching AS (
             SELECT id FROM seen WHERE name ILIKE $6 ORDER BY folder_id, path COLLATE \"C\" LIMIT $7
         ), last AS (
             SELECT folder_id, path FROM seen ORDER BY folder_id DESC, path COLLATE \"C\" DESC LIMIT 1
         )
         (SELECT {LINE}, 0::bigint FROM matching m CROSS JOIN LATERAL (SELECT * FROM portail.file WHERE id = m.id LIMIT 1) f
          ORDER BY f.folder_id, f.path COLLATE \"C\")
         UNION ALL
         SELECT 0, l.folder_id, l.path, '', NULL, NULL, NULL, 'synced', NULL, NULL, (SELECT count(*) FROM seen) FROM last l"
    );
    let Stretch { after, before } = stretch;
    let answer = catalog
        .query(
            what,
            &sql,
            &[&after.folder.0, &after.path, &before.folder.0, &before.path, &rows, &pattern, &(limit + 1)],
        )
        .await?;
    let mut files = Vec::with_capacity(answer.len());
    let mut end = None;
    for row in &answer {
        let line = to_line(catalog, what, row)?;
        match catalog.column::<i64>(what, row, LINE_COLUMNS)? {
            0 => files.push(line),
            seen if seen >= rows => end = Some(Spot { folder: line.folder, path: line.path }),
            _ => {}
        }
    }
    let found = cut(files, limit);
    Ok(Found { next: found.next.or(end), files: found.files })
}

/// Through the index of names.
async fn by_index(catalog: &Catalog, stretch: &Stretch, pattern: &str, limit: i64) -> Result<Found, CatalogError> {
    let what = "search the files by name";
    // Place and order are hidden from the index of paths, so that there is one way to go; and no more than they is read of all matches.
    let sql = format!(
        "SELECT {LINE} FROM (
             SELECT id, folder_id + 0 AS folder, (path || '') COLLATE \"C\" AS place FROM portail.file
             WHERE name ILIKE $1 AND (folder_id + 0, path || '') > ($2::bigint, $3::text COLLATE \"C\")
               AND (folder_id + 0, path || '') < ($4::bigint, $5::text COLLATE \"C\")
             ORDER BY folder_id + 0, (path || '') COLLATE \"C\" LIMIT $6) s
         CROSS JOIN LATERAL (SELECT * FROM portail.file WHERE id = s.id LIMIT 1) f ORDER BY s.folder, s.place"
    );
    let Stretch { after, before } = stretch;
    let answer = catalog
        .query(what, &sql, &[&pattern, &after.folder.0, &after.path, &before.folder.0, &before.path, &(limit + 1)])
        .await?;
    let mut files = Vec::with_capacity(answer.len());
    for row in &answer {
        files.push(to_line(catalog, what, row)?);
    }
    Ok(cut(files, limit))
}

/// Whether the index of names is there.
///
/// # Errors
/// If the catalog can't be read.
pub async fn has_index(catalog: &Catalog) -> Result<bool, CatalogError> {
    let what = "look for the index of names";
    let rows = catalog.query(what, "SELECT to_regclass('portail.file_name_trgm') IS NOT NULL", &[]).await?;
    let row = catalog.one(what, rows)?;
    catalog.column(what, &row, 0)
}

/// A page of at most `limit` files; one more was asked for, to know whether there is one.
fn cut(mut files: Vec<FileLine>, limit: i64) -> Found {
    let limit = to_usize(limit);
    let more = files.len() > limit;
    files.truncate(limit);
    let last = files.last().filter(|_| more);
    Found { next: last.map(|last| Spot { folder: last.folder, path: last.path.clone() }), files }
}

fn to_usize(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or(0)
}

/// For LIKE, in which `%`, `_` and `\` mean something.
fn escaped(part: &str) -> String {
    let mut text = String::with_capacity(part.len() + 4);
    for c in part.chars() {
        if matches!(c, '%' | '_' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// The greatest that is before everything that begins with `prefix`, as far as paths go: they have no character 0.
fn before_prefix(prefix: &str) -> String {
    // With its last character lowered by one and followed by the greatest there is, nothing is between. A path that is the prefix
    // itself belongs to it.
    let Some(last) = prefix.chars().next_back() else { return String::new() };
    let begin = &prefix[..prefix.len() - last.len_utf8()];
    match previous(last) {
        Some(lower) => format!("{begin}{lower}{}", "\u{10FFFF}".repeat(MOST)),
        None => begin.to_owned(),
    }
}

/// No path is longer than a key may be, so none has more characters of four bytes.
const MOST: usize = crate::model::MAX_KEY_BYTES / 4;

/// The least that is after everything that begins with `prefix`; none if everything does, or nothing can be.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut begin = prefix;
    while let Some(last) = begin.chars().next_back() {
        begin = &begin[..begin.len() - last.len_utf8()];
        if let Some(higher) = following(last) {
            return Some(format!("{begin}{higher}"));
        }
    }
    None
}

/// The character before, in byte order, without 0, which no path has.
fn previous(c: char) -> Option<char> {
    match c {
        '\u{0}' | '\u{1}' => None,
        // There are no characters in between: surrogates.
        '\u{E000}' => Some('\u{D7FF}'),
        c => char::from_u32(u32::from(c) - 1),
    }
}

/// The character after.
fn following(c: char) -> Option<char> {
    match c {
        '\u{D7FF}' => Some('\u{E000}'),
        c => char::from_u32(u32::from(c) + 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_means_something_to_like_means_itself() {
        assert_eq!(escaped(r"100%_\x"), r"100\%\_\\x");
    }

    proptest! {
        #[test]
        fn a_stretch_holds_what_begins_with_its_prefix_and_nothing_else(
            prefix in "[a-c\u{1}\u{D7FF}\u{E000}\u{10FFFF}/]{0,3}",
            path in "[a-c\u{1}\u{D7FF}\u{E000}\u{10FFFF}/]{1,5}",
        ) {
            let folder = FolderId(7);
            let stretch = Stretch::new(Some(folder), &prefix);
            let spot = Spot { folder, path: path.clone() };
            prop_assert_eq!(stretch.after < spot && spot < stretch.before, path.starts_with(&prefix));
            for other in [FolderId(6), FolderId(8)] {
                let spot = Spot { folder: other, path: path.clone() };
                prop_assert!(!(stretch.after < spot && spot < stretch.before));
                let all = Stretch::new(None, "");
                prop_assert!(all.after < spot && spot < all.before);
            }
        }
    }
}
