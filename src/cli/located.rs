//! A path as people type it: a local one, or `FOLDER:REL/PATH`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::UsageError;
use crate::config::settings::{FolderSettings, Settings};
use crate::model::RelPath;
use crate::model::ShownPath;

/// The folder that the path is in, and the path in it.
///
/// # Errors
/// If it is in none of the configured ones.
pub(super) fn locate(settings: &Settings, path: &Path) -> anyhow::Result<(FolderSettings, RelPath)> {
    use std::os::unix::ffi::OsStrExt as _;
    if let Some((name, below)) = path.to_str().and_then(|text| text.split_once(':'))
        && let Some(folder) = settings.folders.iter().find(|folder| folder.name == name)
    {
        return Ok((folder.clone(), RelPath::from_raw(below.trim_start_matches('/').as_bytes())));
    }
    let absolute = std::path::absolute(path).context("make the path absolute")?;
    // The last part may be a link or be gone, so only what leads to it is resolved.
    let parent = absolute.parent().and_then(|parent| parent.canonicalize().ok());
    let resolved: Option<PathBuf> = parent.and_then(|parent| absolute.file_name().map(|name| parent.join(name)));
    for candidate in resolved.iter().chain([&absolute]) {
        for folder in &settings.folders {
            let root = folder.path.canonicalize().unwrap_or_else(|_| folder.path.clone());
            if let Ok(below) = candidate.strip_prefix(&root) {
                return Ok((folder.clone(), RelPath::from_raw(below.as_os_str().as_bytes())));
            }
        }
    }
    Err(UsageError(format!("find a folder for {}: it is below none of the configured ones", ShownPath(path))).into())
}
