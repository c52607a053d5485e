//! `agent-portail deletes`: the deletions that wait for a person.

mod blocks;
mod group;
mod list;

use anyhow::{Context as _, bail};

use super::{DeletesCommand, Exit, UsageError, output};
use crate::agent::{StartError, application_name, endpoint_name};
use crate::catalog::held::{self, Decision};
use crate::catalog::schema::{self, SchemaState};
use crate::catalog::{Catalog, folder};
use crate::config::settings::{FolderSettings, Settings};
use crate::model::{FolderId, Printable};

/// Lists held deletions, or writes down a decision on them, which the next pass acts on.
///
/// # Errors
/// If the catalog can't be used, or the folder is not known.
pub async fn run(settings: &Settings, command: DeletesCommand) -> anyhow::Result<Exit> {
    let catalog = Catalog::open(&settings.database, &application_name(&settings.agent.name))?;
    let is_empty = match schema::state(&catalog).await? {
        SchemaState::Missing => true,
        SchemaState::Current => false,
        SchemaState::Older { found, needed } => return Err(StartError::SchemaOlder { found, needed }.into()),
        SchemaState::Newer { found, known } => return Err(StartError::SchemaNewer { found, known }.into()),
    };
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
        DeletesCommand::List { json, folder, path } => {
            let folders: Vec<&FolderSettings> = match folder {
                Some(name) => vec![configured(settings, &name)?],
                None => settings.folders.iter().collect(),
            };
            list::list(settings, &catalog, &folders, path.as_deref(), json).await
        }
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
        "{name}: the next pass accepts the folder that it finds, with what is mounted in it; {held} held deletions are judged anew\n"
    ))?;
    Ok(Exit::Done)
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
