//! `portail.mount`: the file systems that are mounted below a folder's root.

use super::{Catalog, CatalogError};
use crate::model::{FolderId, Identity, Mount, RelPath, Stamp};

/// What is known of a folder's mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownMounts {
    /// In order of their path.
    pub mounts: Vec<Mount>,
    /// A person has accepted the folder as it is found next: which one it was is not known any more.
    pub accepted: bool,
}

/// Reads them.
///
/// # Errors
/// If the catalog can't be read.
pub async fn known(catalog: &Catalog, folder: FolderId) -> Result<KnownMounts, CatalogError> {
    let what = "read the folder's mounts";
    let sql = "SELECT f.root_inode IS NULL, m.path, m.raw_path, m.fs_id, m.root_inode, m.root_birth_ns
         FROM portail.folder f LEFT JOIN portail.mount m ON m.folder_id = f.id WHERE f.id = $1 ORDER BY m.path COLLATE \"C\"";
    let rows = catalog.query(what, sql, &[&folder.0]).await?;
    let mut known = KnownMounts::default();
    for row in &rows {
        known.accepted = catalog.column(what, row, 0)?;
        let Some(path) = catalog.column::<Option<String>>(what, row, 1)? else { continue };
        let fs_id: Option<i64> = catalog.column(what, row, 3)?;
        let inode: i64 = catalog.column(what, row, 4)?;
        let birth: Option<i64> = catalog.column(what, row, 5)?;
        known.mounts.push(Mount {
            path: RelPath::from_encoded(path, catalog.column(what, row, 2)?),
            identity: Identity {
                fs_id: fs_id.map(i64::cast_unsigned),
                inode: inode.cast_unsigned(),
                birth: birth.map(Stamp),
            },
        });
    }
    Ok(known)
}

/// Writes down what is mounted at a path.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn note(catalog: &Catalog, folder: FolderId, mount: &Mount) -> Result<(), CatalogError> {
    let sql = "INSERT INTO portail.mount (folder_id, path, raw_path, fs_id, root_inode, root_birth_ns)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (folder_id, path) DO UPDATE SET raw_path = excluded.raw_path, fs_id = excluded.fs_id,
             root_inode = excluded.root_inode, root_birth_ns = excluded.root_birth_ns, noted_at = now()";
    let Identity { fs_id, inode, birth } = mount.identity;
    let (fs_id, birth) = (fs_id.map(u64::cast_signed), birth.map(|birth| birth.0));
    let (path, raw) = (mount.path.as_str(), mount.path.raw_if_different());
    catalog.query("record a mount", sql, &[&folder.0, &path, &raw, &fs_id, &inode.cast_signed(), &birth]).await?;
    Ok(())
}

/// Forgets what was mounted at a path.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn forget(catalog: &Catalog, folder: FolderId, path: &RelPath) -> Result<(), CatalogError> {
    let sql = "DELETE FROM portail.mount WHERE folder_id = $1 AND path = $2";
    catalog.query("forget a mount", sql, &[&folder.0, &path.as_str()]).await?;
    Ok(())
}

/// Whether there is an object below a path that a deletion could take.
///
/// # Errors
/// If the catalog can't be read.
pub async fn has_objects_below(catalog: &Catalog, folder: FolderId, path: &RelPath) -> Result<bool, CatalogError> {
    let what = "look for files below a mount";
    // The half-open range from `d/` to `d0`, the byte after the slash.
    let sql = "SELECT EXISTS (SELECT FROM portail.file WHERE folder_id = $1 AND state <> 'kept' AND etag IS NOT NULL
             AND path > ($2 || '/') COLLATE \"C\" AND path < ($2 || '0') COLLATE \"C\")";
    let rows = catalog.query(what, sql, &[&folder.0, &path.as_str()]).await?;
    let row = catalog.one(what, rows)?;
    catalog.column(what, &row, 0)
}
