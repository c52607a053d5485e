//! `agent-portail status`: how each folder of this agent stands, from the catalog.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::{Exit, StatusArgs, output, summary};
use crate::agent::{application_name, endpoint_name};
use crate::catalog::folder::{self, FolderOverview};
use crate::catalog::{Catalog, schema};
use crate::config::settings::{FolderSettings, Settings};
use crate::model::{FolderState, Printable};

/// Prints the state of each folder.
///
/// # Errors
/// If the catalog can't be read.
pub async fn run(settings: &Settings, args: StatusArgs) -> anyhow::Result<Exit> {
    let catalog = Catalog::open(&settings.database, &application_name(&settings.agent.name))?;
    let known = match schema::state(&catalog).await? {
        schema::SchemaState::Missing => Vec::new(),
        schema::SchemaState::Current | schema::SchemaState::Older { .. } => {
            folder::overview(&catalog, Some(&settings.agent.name)).await?
        }
        schema::SchemaState::Newer { found, known } => {
            anyhow::bail!(
                "read the catalog: its schema has version {found}, and this program knows {known}; upgrade agent-portail"
            )
        }
    };
    let endpoint = endpoint_name(&settings.s3);
    let is_of = |row: &FolderOverview, folder: &FolderSettings| {
        row.endpoint == endpoint && row.bucket == folder.bucket && row.prefix == folder.prefix
    };
    let never: Vec<&FolderSettings> =
        settings.folders.iter().filter(|folder| !known.iter().any(|row| is_of(row, folder))).collect();
    // A folder that was taken out of the configuration, or had a mistake in its bucket once, is nobody's concern any more.
    // Where no folder is configured, what the catalog knows is all that there is to show.
    let is_current =
        |row: &FolderOverview| settings.folders.is_empty() || settings.folders.iter().any(|folder| is_of(row, folder));
    let (known, former): (Vec<_>, Vec<_>) = known.into_iter().partition(is_current);
    if args.json {
        output::print(format_args!("{}\n", to_json(&known, &never)))?;
    } else {
        output::print(format_args!("{}", to_text(&known, &never, &former)))?;
    }
    let well = never.is_empty()
        && known.iter().all(|folder| folder.state == FolderState::InSync && folder.failed == 0 && folder.held == 0);
    Ok(if well { Exit::Done } else { Exit::Trouble })
}

fn to_text(known: &[FolderOverview], never: &[&FolderSettings], former: &[FolderOverview]) -> String {
    let mut text = String::new();
    for folder in known {
        let reason = folder.reason.as_deref().map(|reason| format!(" ({})", Printable(reason))).unwrap_or_default();
        let _ = writeln!(text, "{}: {}{reason}", Printable(&folder.name), folder.state.as_str());
        let _ = writeln!(
            text,
            "  {} -> s3://{}/{}",
            Printable(&folder.path),
            Printable(&folder.bucket),
            Printable(&folder.prefix)
        );
        let _ = writeln!(
            text,
            "  {} files, {}; {} pending, {} failed, {} kept, {} deletions held",
            folder.files,
            summary::bytes(folder.bytes),
            folder.deleting,
            folder.failed,
            folder.kept,
            folder.held
        );
        let when = folder.last_reconciled_at.map_or_else(|| "never".to_owned(), ago);
        let _ = writeln!(text, "  last reconciliation: {when}");
    }
    for folder in never {
        let _ = writeln!(text, "{}: never synced", Printable(&folder.name));
    }
    for folder in former {
        let (name, bucket, prefix) = (Printable(&folder.name), Printable(&folder.bucket), Printable(&folder.prefix));
        let _ = writeln!(text, "{name}: not in the configuration (s3://{bucket}/{prefix}, {} files)", folder.files);
    }
    if text.is_empty() {
        text.push_str("no folder is configured\n");
    }
    text
}

fn to_json(known: &[FolderOverview], never: &[&FolderSettings]) -> serde_json::Value {
    let mut folders: Vec<serde_json::Value> = known
        .iter()
        .map(|folder| {
            serde_json::json!({
                "folder": folder.name,
                "path": folder.path,
                "bucket": folder.bucket,
                "prefix": folder.prefix,
                "state": folder.state.as_str(),
                "reason": folder.reason,
                "files": folder.files,
                "bytes": folder.bytes,
                "pending": folder.deleting,
                "failed": folder.failed,
                "kept": folder.kept,
                "held_deletes": folder.held,
                "last_reconciled_at": folder.last_reconciled_at.map(rfc3339),
            })
        })
        .collect();
    folders.extend(never.iter().map(|folder| serde_json::json!({ "folder": folder.name, "state": null })));
    serde_json::json!({ "folders": folders })
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn ago(time: SystemTime) -> String {
    let elapsed = time.elapsed().unwrap_or_default();
    format!("{} ago ({})", humantime::format_duration(Duration::from_secs(elapsed.as_secs())), rfc3339(time))
}
