//! Reading `portail.event`.

use std::time::SystemTime;

use super::{Catalog, CatalogError};
use crate::model::FolderId;

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
