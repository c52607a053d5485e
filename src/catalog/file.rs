//! Reading rows of `portail.file`.

use tokio_postgres::Row as SqlRow;

use super::{Catalog, CatalogError};
use crate::model::{Digest, ETag, Fingerprint, FolderId, RelPath, Row, RowState, Stamp, Synced};

const COLUMNS: &str = "path, raw_path, state, size, mtime_ns, ctime_ns, inode, racy, md5, etag, version_id, attempts";
/// How many these are.
const COUNT: usize = 12;

/// Paths between two bounds, in byte order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range<'a> {
    /// Exclusive; none = from the first.
    pub after: Option<&'a str>,
    /// Exclusive; none = to the last.
    pub before: Option<&'a str>,
}

/// The next rows of a range, in byte order of the path.
///
/// # Errors
/// If the catalog can't be read.
pub async fn page(
    catalog: &Catalog,
    folder: FolderId,
    range: &Range<'_>,
    limit: i64,
) -> Result<Vec<Row>, CatalogError> {
    let what = "read rows";
    let after = range.after.unwrap_or("");
    let rows = match range.before {
        None => {
            let sql = format!(
                "SELECT {COLUMNS} FROM portail.file WHERE folder_id = $1 AND path > $2 ORDER BY path COLLATE \"C\" LIMIT $3"
            );
            catalog.query(what, &sql, &[&folder.0, &after, &limit]).await?
        }
        Some(before) => {
            let sql = format!(
                "SELECT {COLUMNS} FROM portail.file WHERE folder_id = $1 AND path > $2 AND path < $3
                 ORDER BY path COLLATE \"C\" LIMIT $4"
            );
            catalog.query(what, &sql, &[&folder.0, &after, &before, &limit]).await?
        }
    };
    rows.iter().map(|row| to_row(catalog, what, row)).collect()
}

/// The rows of these paths, those that there are.
///
/// # Errors
/// If the catalog can't be read.
pub async fn by_paths(catalog: &Catalog, folder: FolderId, paths: &[&str]) -> Result<Vec<Row>, CatalogError> {
    Ok(find(catalog, folder, Asked { paths, ..Asked::default() }).await?.rows)
}

/// What a batch of paths is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Whose rows are wanted.
    pub paths: &'a [&'a str],
    /// Of files whose rows may be found under other paths.
    pub inodes: &'a [u64],
    /// Which may be or have been directories.
    pub above: &'a [&'a str],
}

/// What is known of them.
#[derive(Debug, Default)]
pub struct Found {
    /// The rows of the paths, those that there are.
    pub rows: Vec<Row>,
    /// The synced rows of files with these inodes, in byte order of the path.
    pub same_inode: Vec<Row>,
    /// Those of `above` that have rows below them.
    pub had_something_below: Vec<String>,
}

/// All that is known of a batch of paths, in one statement.
///
/// # Errors
/// If the catalog can't be read.
pub async fn find(catalog: &Catalog, folder: FolderId, asked: Asked<'_>) -> Result<Found, CatalogError> {
    let what = "read the rows of a batch of paths";
    let mut inodes: Vec<i64> = asked.inodes.iter().map(|inode| inode.cast_signed()).collect();
    // Hard links have theirs in common.
    inodes.sort_unstable();
    inodes.dedup();
    // What lies below `d` is the half-open range from `d/` to `d0`, the byte after the slash. LIMIT, OFFSET and `+ 0` leave the
    // planner one way: from each name through the one index to its row. A plan that was made for an empty table, where
    // reading all of it costs nothing, is kept when it is full.
    let sql = format!(
        "SELECT {COLUMNS}, 'path' AS found_by FROM UNNEST($2::text[]) AS p(wanted) CROSS JOIN LATERAL (
             SELECT * FROM portail.file WHERE folder_id = $1 AND path = p.wanted LIMIT 1) f
         UNION ALL
         SELECT {COLUMNS}, 'inode' FROM UNNEST($3::bigint[]) AS i(wanted) CROSS JOIN LATERAL (
             SELECT * FROM portail.file WHERE inode = i.wanted AND folder_id + 0 = $1 AND state = 'synced' OFFSET 0) f
         UNION ALL
         SELECT p.wanted, NULL, '', NULL, NULL, NULL, NULL, false, NULL, NULL, NULL, 0, 'below'
         FROM UNNEST($4::text[]) AS p(wanted) WHERE EXISTS (
             SELECT FROM portail.file f WHERE f.folder_id = $1
               AND f.path > (p.wanted || '/') COLLATE \"C\" AND f.path < (p.wanted || '0') COLLATE \"C\" OFFSET 0)"
    );
    let answer = catalog.query(what, &sql, &[&folder.0, &asked.paths, &inodes, &asked.above]).await?;
    let mut found = Found::default();
    for row in &answer {
        match catalog.column(what, row, COUNT)? {
            "path" => found.rows.push(to_row(catalog, what, row)?),
            "inode" => found.same_inode.push(to_row(catalog, what, row)?),
            _ => found.had_something_below.push(catalog.column(what, row, 0)?),
        }
    }
    found.same_inode.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn to_row(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<Row, CatalogError> {
    macro_rules! get {
        ($index:expr) => {
            catalog.column(what, row, $index)?
        };
    }
    let path: &str = get!(0);
    let raw: Option<Vec<u8>> = get!(1);
    let state: &str = get!(2);
    let state =
        RowState::parse(state).ok_or_else(|| catalog.strange(what, format!("the state `{state}` is unknown")))?;
    let (size, mtime, ctime): (Option<i64>, Option<i64>, Option<i64>) = (get!(3), get!(4), get!(5));
    let (inode, racy): (Option<i64>, bool) = (get!(6), get!(7));
    let (md5, etag): (Option<&[u8]>, Option<&str>) = (get!(8), get!(9));
    let (version, attempts): (Option<String>, i32) = (get!(10), get!(11));
    let size = size.and_then(|size| u64::try_from(size).ok());
    let fingerprint = size.zip(mtime).zip(ctime).zip(inode).map(|(((size, mtime), ctime), inode)| Fingerprint {
        size,
        mtime: Stamp(mtime),
        ctime: Stamp(ctime),
        inode: inode.cast_unsigned(),
    });
    let synced = size.zip(md5.and_then(Digest::from_slice)).zip(etag).map(|((size, digest), etag)| Synced {
        size,
        digest,
        etag: ETag::new(etag),
        version,
    });
    let attempts = u32::try_from(attempts).unwrap_or(0);
    Ok(Row { path: RelPath::from_encoded(path, raw), state, fingerprint, racy, synced, attempts })
}
