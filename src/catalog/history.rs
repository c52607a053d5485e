//! The history, `portail.event`: reading it, and what is written into it without a row.

use std::time::SystemTime;

use super::{Catalog, CatalogError, to_bigint};
use crate::model::{Digest, EventKind, FolderId};

/// Something that has happened to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// What, as the column holds it.
    pub kind: String,
    /// Why it failed, where it was copied from.
    pub detail: Option<String>,
}

/// The last events of a path, the newest first.
///
/// # Errors
/// If the catalog can't be read.
pub async fn of_path(catalog: &Catalog, folder: FolderId, path: &str, limit: i64) -> Result<Vec<Event>, CatalogError> {
    let what = "read the history";
    let sql = "SELECT at, kind, detail FROM portail.event WHERE folder_id = $1 AND path = $2 ORDER BY at DESC LIMIT $3";
    let rows = catalog.query(what, sql, &[&folder.0, &path, &limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(Event {
                at: catalog.column(what, row, 0)?,
                kind: catalog.column(what, row, 1)?,
                detail: catalog.column(what, row, 2)?,
            })
        })
        .collect()
}

/// A file that was brought back from S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Encoded.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Of the content, where it is known.
    pub digest: Option<Digest>,
    /// Of the object, where the bucket has versions.
    pub version: Option<String>,
}

/// Writes down that files were brought back to a directory. The rows stay as they are.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn restored(
    catalog: &Catalog,
    folder: FolderId,
    files: &[Restored],
    directory: &str,
) -> Result<(), CatalogError> {
    let sql = "INSERT INTO portail.event (folder_id, path, kind, size, md5, version_id, detail)
         SELECT $1, path, $2, size, md5, version_id, $3
         FROM UNNEST($4::text[], $5::bigint[], $6::bytea[], $7::text[]) AS t(path, size, md5, version_id)";
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let sizes: Vec<i64> = files.iter().map(|file| to_bigint(file.size)).collect();
    let digests: Vec<Option<&[u8]>> = files.iter().map(|file| file.digest.as_ref().map(|md5| &md5.0[..])).collect();
    let versions: Vec<Option<&str>> = files.iter().map(|file| file.version.as_deref()).collect();
    let kind = EventKind::Restored.as_str();
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&folder.0, &kind, &directory, &paths, &sizes, &digests, &versions];
    catalog.query("write down what was restored", sql, &parameters).await?;
    Ok(())
}
