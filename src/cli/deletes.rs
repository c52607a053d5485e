//! `agent-portail deletes`: the deletions that wait for a person.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};

use super::{DeletesCommand, Exit, UsageError, output, summary};
use crate::agent::{application_name, endpoint_name};
use crate::catalog::held::{self, Decision};
use crate::catalog::{Catalog, folder, schema};
use crate::config::settings::{FolderSettings, Settings};
use crate::model::{FolderId, Printable};

/// Held deletions that are fetched at a time.
const PAGE: i64 = 1000;

/// Lists held deletions, or writes down a decision on them, which the next pass acts on.
///
/// # Errors
/// If the catalog can't be used, or the folder is not known.
pub async fn run(settings: &Settings, command: DeletesCommand) -> anyhow::Result<Exit> {
    let catalog = Catalog::open(&settings.database, &application_name(&settings.agent.name))?;
    let is_empty = schema::state(&catalog).await? == schema::SchemaState::Missing;
    match command {
        DeletesCommand::List { json, .. } if is_empty => {
            if !json {
                output::print(format_args!("no deletion is held\n"))?;
            }
            Ok(Exit::Done)
        }
        DeletesCommand::Approve { .. } | DeletesCommand::Reject { .. } if is_empty => {
            bail!("decide on deletions: the catalog is empty, nothing was synced yet")
        }
        DeletesCommand::List { json, folder } => list(settings, &catalog, json, folder.as_deref()).await,
        DeletesCommand::Approve { folder, path: _, identity: true } => {
            let id = find(settings, &catalog, &folder).await?;
            accept_identity(&catalog, id, &folder).await
        }
        DeletesCommand::Approve { folder, path, identity: false } => {
            let id = find(settings, &catalog, &folder).await?;
            decide(&catalog, id, &folder, path.as_deref(), Decision::Approve).await
        }
        DeletesCommand::Reject { folder, path } => {
            let id = find(settings, &catalog, &folder).await?;
            decide(&catalog, id, &folder, path.as_deref(), Decision::Reject).await
        }
    }
}

async fn decide(
    catalog: &Catalog,
    id: FolderId,
    name: &str,
    sub: Option<&str>,
    decision: Decision,
) -> anyhow::Result<Exit> {
    let by = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "unknown".to_owned());
    let count = held::decide(catalog, id, sub, decision, &by).await?;
    let name = Printable(name);
    if count == 0 {
        let below = sub.map(|sub| format!(" at {}", Printable(sub))).unwrap_or_default();
        output::print(format_args!("{name}: no deletion is held{below}\n"))?;
        return Ok(Exit::Trouble);
    }
    let what = match decision {
        Decision::Approve => "approved; the next pass deletes those whose file is still gone",
        Decision::Reject => "rejected; the objects stay, their rows become `kept` in the next pass",
    };
    output::print(format_args!("{name}: {count} deletions {what}\n"))?;
    Ok(Exit::Done)
}

/// Accepts the folder that is there now for the one that was synced. What was held is judged anew by the next pass.
async fn accept_identity(catalog: &Catalog, id: FolderId, name: &str) -> anyhow::Result<Exit> {
    let held = held::accept_identity(catalog, id).await?;
    let name = Printable(name);
    output::print(format_args!(
        "{name}: the next pass accepts the folder that it finds; {held} held deletions are judged anew\n"
    ))?;
    Ok(Exit::Done)
}

async fn list(settings: &Settings, catalog: &Catalog, json: bool, only: Option<&str>) -> anyhow::Result<Exit> {
    let folders: Vec<&FolderSettings> = match only {
        Some(name) => vec![configured(settings, name)?],
        None => settings.folders.iter().collect(),
    };
    let mut total = 0;
    for folder in folders {
        let Some(record) = folder::find(catalog, &endpoint_name(&settings.s3), &folder.bucket, &folder.prefix).await?
        else {
            continue;
        };
        let mut after: Option<String> = None;
        loop {
            let page = held::held(catalog, record.id, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.path.as_str().to_owned());
            total += page.len();
            output::print(format_args!("{}", show(folder, &page, json)))?;
        }
    }
    if total == 0 && !json {
        output::print(format_args!("no deletion is held\n"))?;
    }
    Ok(if total == 0 { Exit::Done } else { Exit::Trouble })
}

fn show(folder: &FolderSettings, page: &[held::Held], json: bool) -> String {
    let mut text = String::new();
    for held in page {
        let decision = held.decision.map(Decision::as_str);
        if json {
            let line = serde_json::json!({
                "folder": folder.name,
                "path": held.path.as_str(),
                "size": held.size,
                "md5": held.digest.map(|digest| digest.to_hex()),
                "reason": held.reason,
                "held_at": humantime::format_rfc3339_millis(held.held_at).to_string(),
                "decision": decision,
            });
            let _ = writeln!(text, "{line}");
        } else {
            let size = held.size.map(summary::bytes).unwrap_or_default();
            let decision = decision.unwrap_or("waiting");
            let reason = Printable(&held.reason);
            let _ = writeln!(text, "{decision:8} {}:{} ({size}): {reason}", Printable(&folder.name), held.path);
        }
    }
    text
}

fn configured<'s>(settings: &'s Settings, name: &str) -> anyhow::Result<&'s FolderSettings> {
    let found = settings.folders.iter().find(|folder| folder.name == name);
    Ok(found.ok_or_else(|| UsageError(format!("find the folder `{}` in the configuration", Printable(name))))?)
}

async fn find(settings: &Settings, catalog: &Catalog, name: &str) -> anyhow::Result<FolderId> {
    let folder = configured(settings, name)?;
    folder::find(catalog, &endpoint_name(&settings.s3), &folder.bucket, &folder.prefix)
        .await?
        .map(|record| record.id)
        .with_context(|| format!("find the folder `{}` in the catalog: it was never synced", Printable(name)))
}
