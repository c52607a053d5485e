//! Folders and files as those see them who only look: the link service.

use std::collections::HashMap;
use std::time::SystemTime;

use tokio_postgres::Row as SqlRow;

use super::{Catalog, CatalogError};
use crate::model::{Digest, FolderId, FolderState, RowState};

/// A folder, without its counts, which take a read of all its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderLine {
    /// Stable.
    pub id: FolderId,
    /// Its present holder.
    pub agent: String,
    /// Its name there; two agents may use the same one.
    pub name: String,
    /// `aws`, or the URL of a compatible store.
    pub endpoint: String,
    /// Where it is mirrored to.
    pub bucket: String,
    /// Before each key.
    pub prefix: String,
    /// How it stands.
    pub state: FolderState,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    pub since: SystemTime,
    /// When the last reconciliation came to its end.
    pub last_reconciled_at: Option<SystemTime>,
}

/// What a folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows with an object.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Rows that failed.
    pub failed: u64,
}

/// A file in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLine {
    /// Stable, as long as the file keeps its path.
    pub id: i64,
    /// Of its folder.
    pub folder: FolderId,
    /// In its folder, encoded.
    pub path: String,
    /// The last part of the path.
    pub name: String,
    /// Bytes; none if it was never synced.
    pub size: Option<u64>,
    /// Of the content.
    pub md5: Option<Digest>,
    /// When the file was changed.
    pub modified_at: Option<SystemTime>,
    /// How far.
    pub state: RowState,
    /// Why it failed.
    pub error: Option<String>,
    /// When the object was acknowledged.
    pub synced_at: Option<SystemTime>,
}

/// Everything about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDetail {
    /// As in a list.
    pub line: FileLine,
    /// Its object.
    pub key: String,
    /// When the file was made, where its file system knows it.
    pub created_at: Option<SystemTime>,
    /// There is an object that the row vouches for.
    pub has_object: bool,
    /// Of the object, where the bucket has versions.
    pub version_id: Option<String>,
    /// Failed tries since the last success.
    pub attempts: u32,
}

/// Of a [`FileLine`], from the table `portail.file` under the name `f`.
pub(super) const LINE: &str =
    "f.id, f.folder_id, f.path, f.name, f.size, f.md5, f.modified_at, f.state, f.error, f.synced_at";
/// How many these are.
pub(super) const LINE_COLUMNS: usize = 10;

/// All folders, in the order of their names.
///
/// # Errors
/// If the catalog can't be read.
pub async fn folders(catalog: &Catalog) -> Result<Vec<FolderLine>, CatalogError> {
    let what = "read the folders";
    let sql = "SELECT id, agent, name, endpoint, bucket, prefix, state, state_reason, state_since, last_reconciled_at
         FROM portail.folder ORDER BY name, id";
    let rows = catalog.query(what, sql, &[]).await?;
    rows.iter().map(|row| to_folder(catalog, what, row)).collect()
}

/// What each folder holds. Reads every row: for a cache.
///
/// # Errors
/// If the catalog can't be read.
pub async fn counts(catalog: &Catalog) -> Result<HashMap<FolderId, Counts>, CatalogError> {
    let what = "count the files";
    let sql = "SELECT o.id, n.files, n.bytes, n.failed FROM portail.folder o CROSS JOIN LATERAL (
             SELECT count(*) FILTER (WHERE etag IS NOT NULL) AS files,
                    coalesce(sum(size) FILTER (WHERE etag IS NOT NULL), 0)::bigint AS bytes,
                    count(*) FILTER (WHERE state = 'failed') AS failed
             FROM portail.file WHERE folder_id = o.id) n";
    let rows = catalog.query(what, sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let count = |index| catalog.column::<i64>(what, row, index).map(|count| u64::try_from(count).unwrap_or(0));
            let counts = Counts { files: count(1)?, bytes: count(2)?, failed: count(3)? };
            Ok((FolderId(catalog.column(what, row, 0)?), counts))
        })
        .collect()
}

/// The file at a path, if it has a row.
///
/// # Errors
/// If the catalog can't be read.
pub async fn file(catalog: &Catalog, folder: FolderId, path: &str) -> Result<Option<FileDetail>, CatalogError> {
    let what = "read a file's row";
    let sql = format!(
        "SELECT {LINE}, f.key, f.created_at, f.etag IS NOT NULL, f.version_id, f.attempts
         FROM portail.file f WHERE f.folder_id = $1 AND f.path = $2"
    );
    let rows = catalog.query(what, &sql, &[&folder.0, &path]).await?;
    rows.first().map(|row| to_detail(catalog, what, row)).transpose()
}

/// Whether somebody has deleted a file there, as far as the history goes back.
///
/// # Errors
/// If the catalog can't be read.
pub async fn was_deleted(catalog: &Catalog, folder: FolderId, path: &str) -> Result<bool, CatalogError> {
    let sql = "SELECT count(*) FROM (SELECT FROM portail.event
         WHERE folder_id = $1 AND path = $2 AND kind = 'deleted' LIMIT 1) e";
    Ok(catalog.count("read a path's history", sql, &[&folder.0, &path]).await? > 0)
}

fn to_folder(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<FolderLine, CatalogError> {
    macro_rules! get {
        ($index:expr) => {
            catalog.column(what, row, $index)?
        };
    }
    let state: &str = get!(6);
    let state =
        FolderState::parse(state).ok_or_else(|| catalog.strange(what, format!("the state `{state}` is unknown")))?;
    Ok(FolderLine {
        id: FolderId(get!(0)),
        agent: get!(1),
        name: get!(2),
        endpoint: get!(3),
        bucket: get!(4),
        prefix: get!(5),
        state,
        reason: get!(7),
        since: get!(8),
        last_reconciled_at: get!(9),
    })
}

/// From the columns of [`LINE`], which come first.
pub(super) fn to_line(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<FileLine, CatalogError> {
    macro_rules! get {
        ($index:expr) => {
            catalog.column(what, row, $index)?
        };
    }
    let state: &str = get!(7);
    let state =
        RowState::parse(state).ok_or_else(|| catalog.strange(what, format!("the state `{state}` is unknown")))?;
    let (size, md5): (Option<i64>, Option<&[u8]>) = (get!(4), get!(5));
    Ok(FileLine {
        id: get!(0),
        folder: FolderId(get!(1)),
        path: get!(2),
        name: get!(3),
        size: size.and_then(|size| u64::try_from(size).ok()),
        md5: md5.and_then(Digest::from_slice),
        modified_at: get!(6),
        state,
        error: get!(8),
        synced_at: get!(9),
    })
}

fn to_detail(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<FileDetail, CatalogError> {
    macro_rules! get {
        ($index:expr) => {
            catalog.column(what, row, LINE_COLUMNS + $index)?
        };
    }
    let attempts: i32 = get!(4);
    Ok(FileDetail {
        line: to_line(catalog, what, row)?,
        key: get!(0),
        created_at: get!(1),
        has_object: get!(2),
        version_id: get!(3),
        attempts: u32::try_from(attempts).unwrap_or(0),
    })
}
