//! `agent-portail explain PATH`: why a path is or isn't synced.

use std::fmt::Write as _;
use std::path::Path;

use super::located::locate;
use super::{Exit, output};
use crate::agent::{application_name, endpoint_name};
use crate::catalog::schema::{self, SchemaState};
use crate::catalog::{self, Catalog, file, folder, mount};
use crate::config::settings::{FolderSettings, Settings};
use crate::local::look::Root;
use crate::model::{FolderId, Local, Mount, ObjectKey, Printable, RelPath};

/// Events of the path's history that are shown.
const EVENTS: i64 = 10;

/// Says what the folder, the rules and the catalog know of a path: a local one, or `FOLDER:REL/PATH`.
///
/// # Errors
/// If the path is in no folder, or the catalog can't be read.
pub async fn run(settings: &Settings, path: &Path) -> anyhow::Result<Exit> {
    let (folder, path) = locate(settings, path)?;
    let mut text = format!("{}:{path}\n", Printable(&folder.name));
    let key = ObjectKey::new(&folder.prefix, &path);
    let _ = writeln!(text, "  object   s3://{}/{key}", Printable(&folder.bucket));
    if key.is_too_long() {
        text.push_str("  its key is longer than S3 allows: shorten the path or the prefix\n");
    }
    let catalog = Catalog::open(&settings.database, &application_name(&settings.agent.name))?;
    let record = folder::find(&catalog, &endpoint_name(&settings.s3), &folder.bucket, &folder.prefix).await?;
    let mounts = match &record {
        Some(record) => mount::known(&catalog, record.id).await?.mounts,
        None => Vec::new(),
    };
    text.push_str(&explain_local(&folder, &path, mounts).await?);
    match record {
        Some(record) => text.push_str(&explain_row(&catalog, record.id, &path).await?),
        None => text.push_str("  row      none: the folder was never synced\n"),
    }
    output::print(format_args!("{text}"))?;
    Ok(Exit::Done)
}

async fn explain_local(folder: &FolderSettings, path: &RelPath, mounts: Vec<Mount>) -> anyhow::Result<String> {
    let (settings, path) = (folder.clone(), path.clone());
    let seen = tokio::task::spawn_blocking(move || {
        let root = Root::open(&settings)?;
        root.set_mounts(mounts);
        Ok::<_, crate::local::look::RootError>((root.look(&path), root.excludes().rule(&path)))
    });
    let (local, rule) = seen.await??;
    Ok(match local {
        Local::Present(meta) => {
            let size = super::summary::bytes(meta.fingerprint.size);
            let time = humantime::format_rfc3339_millis(meta.fingerprint.mtime.to_system());
            format!("  file     {size}, changed {time}\n")
        }
        Local::Absent => "  file     none: nothing stands there, or a directory does\n".to_owned(),
        Local::Skipped(reason) => {
            let rule = rule.map(|rule| format!(", by the rule `{}`", Printable(&rule))).unwrap_or_default();
            format!("  file     not synced: {}{rule}\n", reason.describe())
        }
        Local::Unknown(why) => format!("  file     could not be seen: {}\n", Printable(&why)),
    })
}

async fn explain_row(catalog: &Catalog, id: FolderId, path: &RelPath) -> anyhow::Result<String> {
    let mut text = String::new();
    match file::by_paths(catalog, id, &[path.as_str()]).await?.first() {
        None => text.push_str("  row      none\n"),
        Some(row) => {
            let _ = write!(text, "  row      {}", row.state.as_str());
            if let Some(synced) = &row.synced {
                let _ = write!(text, ", {} bytes, MD5 {}, ETag {}", synced.size, synced.digest, synced.etag.as_str());
            }
            if row.attempts > 0 {
                let _ = write!(text, ", {} failed tries", row.attempts);
            }
            text.push('\n');
        }
    }
    // An older schema has no such table.
    if schema::state(catalog).await? == SchemaState::Current
        && let Some(since) = catalog::verification::damaged_since(catalog, id, path.as_str()).await?
    {
        let since = humantime::format_rfc3339_millis(since);
        let _ = writeln!(text, "  damaged  since {since} at the latest: its content is not what was synced");
    }
    for event in catalog::history::of_path(catalog, id, path.as_str(), EVENTS).await? {
        let at = humantime::format_rfc3339_millis(event.at);
        let detail = event.detail.map(|detail| format!(": {}", Printable(&detail))).unwrap_or_default();
        let _ = writeln!(text, "  {at} {}{detail}", event.kind);
    }
    Ok(text)
}
