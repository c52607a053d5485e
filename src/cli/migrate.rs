//! `agent-portail migrate`: brings the database schema up to date.

use super::{Exit, output};
use crate::agent::application_name;
use crate::catalog::{Catalog, schema};
use crate::config::settings::Settings;

/// Brings the schema up to date and says what was done; a second run does nothing.
///
/// # Errors
/// If the database can't be reached, refuses, or has a newer schema than this program knows.
pub async fn run(settings: &Settings) -> anyhow::Result<Exit> {
    let catalog = Catalog::open(&settings.database, &application_name(&settings.agent.name))?;
    let migrated = schema::migrate(&catalog).await?;
    schema::maintain_history(&catalog, settings.agent.history_retention).await?;
    match migrated.from {
        Some(from) if from == migrated.to => output::print(format_args!("schema version {from}: up to date\n"))?,
        Some(from) => output::print(format_args!("schema version {from} brought to {}\n", migrated.to))?,
        None => output::print(format_args!("schema version {} created\n", migrated.to))?,
    }
    Ok(Exit::Done)
}
