//! Reading rows of `portail.file`.

use tokio_postgres::Row as SqlRow;

use super::{Catalog, CatalogError};
use crate::model::{Digest, ETag, Fingerprint, FolderId, RelPath, Row, RowState, Stamp, Synced};

const COLUMNS: &str = "path, raw_path, state, size, mtime_ns, ctime_ns, inode, racy, md5, etag, version_id, attempts";

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
    let what = "read rows by path";
    let sql = format!("SELECT {COLUMNS} FROM portail.file WHERE folder_id = $1 AND path = ANY($2)");
    let rows = catalog.query(what, &sql, &[&folder.0, &paths]).await?;
    rows.iter().map(|row| to_row(catalog, what, row)).collect()
}

/// The synced rows of files with these inodes.
///
/// # Errors
/// If the catalog can't be read.
pub async fn by_inodes(catalog: &Catalog, folder: FolderId, inodes: &[u64]) -> Result<Vec<Row>, CatalogError> {
    let what = "read rows by inode";
    let inodes: Vec<i64> = inodes.iter().map(|inode| inode.cast_signed()).collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM portail.file WHERE folder_id = $1 AND inode = ANY($2) AND state = 'synced'
         ORDER BY path COLLATE \"C\""
    );
    let rows = catalog.query(what, &sql, &[&folder.0, &inodes]).await?;
    rows.iter().map(|row| to_row(catalog, what, row)).collect()
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
