//! Uploads in parts that were begun: written down before the store is asked for one, so that what a crash leaves there is known
//! for ours.

use tokio_postgres::Row as SqlRow;

use super::{Catalog, CatalogError, to_bigint};
use crate::boundary::{Boundary, reached};
use crate::model::{Digest, FolderId, ObjectKey, RelPath};

/// An upload in parts, and what it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Of the file.
    pub path: RelPath,
    /// Where the object will be.
    pub key: ObjectKey,
    /// The store's; none if its answer was never written down.
    pub upload_id: Option<String>,
    /// Bytes of the content.
    pub size: u64,
    /// Of the content.
    pub digest: Digest,
    /// Bytes of a part.
    pub part_size: u64,
}

const COLUMNS: &str = "path, raw_path, key, upload_id, size, md5, part_size";

/// Writes down that an upload is about to begin, or which id it has got; in place of an earlier one of the path.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn put(catalog: &Catalog, folder: FolderId, begun: &Begun) -> Result<(), CatalogError> {
    let sql = "INSERT INTO portail.upload (folder_id, path, raw_path, key, upload_id, size, md5, part_size)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (folder_id, path) DO UPDATE SET
             raw_path = excluded.raw_path, key = excluded.key, upload_id = excluded.upload_id, size = excluded.size,
             md5 = excluded.md5, part_size = excluded.part_size, began_at = now()";
    catalog
        .query(
            "write down an upload in parts",
            sql,
            &[
                &folder.0,
                &begun.path.as_str(),
                &begun.path.raw_if_different(),
                &begun.key.as_str(),
                &begun.upload_id,
                &to_bigint(begun.size),
                &&begun.digest.0[..],
                &to_bigint(begun.part_size),
            ],
        )
        .await?;
    reached(if begun.upload_id.is_none() { Boundary::UploadNoted } else { Boundary::UploadIdNoted });
    Ok(())
}

/// The upload of a path, if one was begun.
///
/// # Errors
/// If the catalog can't be read.
pub async fn of_path(catalog: &Catalog, folder: FolderId, path: &RelPath) -> Result<Option<Begun>, CatalogError> {
    let what = "look for an upload in parts";
    let sql = format!("SELECT {COLUMNS} FROM portail.upload WHERE folder_id = $1 AND path = $2");
    let rows = catalog.query(what, &sql, &[&folder.0, &path.as_str()]).await?;
    rows.first().map(|row| to_begun(catalog, what, row)).transpose()
}

/// Uploads after a path, in order.
///
/// # Errors
/// If the catalog can't be read.
pub async fn page(
    catalog: &Catalog,
    folder: FolderId,
    after: Option<&RelPath>,
    limit: i64,
) -> Result<Vec<Begun>, CatalogError> {
    let what = "read the uploads in parts";
    let sql = format!(
        "SELECT {COLUMNS} FROM portail.upload WHERE folder_id = $1 AND path > $2 ORDER BY path COLLATE \"C\" LIMIT $3"
    );
    let after = after.map_or("", RelPath::as_str);
    let rows = catalog.query(what, &sql, &[&folder.0, &after, &limit]).await?;
    rows.iter().map(|row| to_begun(catalog, what, row)).collect()
}

/// Forgets an upload of which nothing is left in the store.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn forget(catalog: &Catalog, folder: FolderId, path: &RelPath) -> Result<(), CatalogError> {
    let sql = "DELETE FROM portail.upload WHERE folder_id = $1 AND path = $2";
    reached(Boundary::BeforeForget);
    catalog.query("forget an upload in parts", sql, &[&folder.0, &path.as_str()]).await?;
    reached(Boundary::AfterForget);
    Ok(())
}

fn to_begun(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<Begun, CatalogError> {
    let path: &str = catalog.column(what, row, 0)?;
    let key: &str = catalog.column(what, row, 2)?;
    let size: i64 = catalog.column(what, row, 4)?;
    let md5: &[u8] = catalog.column(what, row, 5)?;
    let part_size: i64 = catalog.column(what, row, 6)?;
    let strange = || catalog.strange(what, format!("the row of {path:?} makes no sense"));
    Ok(Begun {
        path: RelPath::from_encoded(path, catalog.column(what, row, 1)?),
        key: ObjectKey::from_parts("", key),
        upload_id: catalog.column(what, row, 3)?,
        size: u64::try_from(size).map_err(|_| strange())?,
        digest: Digest::from_slice(md5).ok_or_else(strange)?,
        part_size: u64::try_from(part_size).map_err(|_| strange())?,
    })
}
