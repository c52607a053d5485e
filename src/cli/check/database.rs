//! PostgreSQL: its version, whether sessions last, the schema, the role's rights, and each folder's identity.

use super::folders::title;
use super::line::{Findings, Line};
use crate::agent::endpoint_name;
use crate::catalog::probe::{self, Rights, Sessions};
use crate::catalog::schema::{self, SchemaState};
use crate::catalog::{Catalog, folder};
use crate::cli::output::OutputError;
use crate::config::settings::{FolderSettings, Settings};
use crate::local::identity;
use crate::model::{Identity, ShownPath};
use crate::sync::pipeline::blocking;

const SERVER: &str = "PostgreSQL";
const SESSIONS: &str = "PostgreSQL sessions";
const SCHEMA: &str = "PostgreSQL schema";
const RIGHTS: &str = "PostgreSQL rights";
const POOLER: &str = "use session pooling or connect directly";
/// A session pool that is too small looks the same.
const NO_SESSIONS: &str =
    "if a pooler is in between, use session pooling with room for database.pool_size and more, or connect directly";

pub(super) async fn check<P>(settings: &Settings, catalog: &Catalog, findings: &mut Findings<P>) -> anyhow::Result<()>
where
    P: FnMut(&Line) -> Result<(), OutputError>,
{
    // Before all else: through a pooler that deals out transactions, whatever follows may fail for that reason only.
    let connected = match catalog.ping().await {
        Ok(version) => {
            findings.say(Line::ok(SERVER, short(&version)))?;
            true
        }
        Err(error) => {
            findings.say(Line::failed(SERVER, &error))?;
            error.retry() != crate::model::Retry::Fatal
        }
    };
    if !connected {
        return Ok(());
    }
    findings.say(match probe::sessions(catalog).await {
        Ok(sessions) => sessions_line(sessions),
        Err(error) => Line::failed(SESSIONS, &error).remedy(NO_SESSIONS),
    })?;
    let state = match schema::state(catalog).await {
        Ok(state) => state,
        Err(error) => return Ok(findings.say(Line::failed(SCHEMA, &error))?),
    };
    match probe::rights(catalog).await {
        Ok(rights) => {
            findings.say(schema_line(state))?;
            findings.say(rights_line(state, &rights))?;
        }
        Err(error) => findings.say(Line::failed(RIGHTS, &error))?,
    }
    if state == SchemaState::Current {
        for folder in &settings.folders {
            if let Some(line) = identity_line(settings, catalog, folder).await? {
                findings.say(line)?;
            }
        }
    }
    Ok(())
}

/// `PostgreSQL 15.13 (Debian …) on x86_64…` without what it was built with.
fn short(version: &str) -> String {
    version.split(" on ").next().unwrap_or(version).to_owned()
}

fn sessions_line(sessions: Sessions) -> Line {
    match sessions {
        Sessions::Lasting => Line::ok(SESSIONS, "each connection has one of its own"),
        Sessions::Shared => {
            Line::fail(SESSIONS, "a pooler deals them out by the transaction, so the writer's lock would not hold")
                .remedy(POOLER)
        }
    }
}

fn schema_line(state: SchemaState) -> Line {
    match state {
        SchemaState::Missing => Line::ok(SCHEMA, "not there yet; `sync`, `run` or `migrate` makes it"),
        SchemaState::Current => Line::ok(SCHEMA, "up to date"),
        SchemaState::Older { found, needed } => {
            Line::warn(SCHEMA, format!("version {found}, and this program needs {needed}"))
                .remedy("`sync`, `run` or `migrate` brings it up to date")
        }
        SchemaState::Newer { found, known } => {
            Line::fail(SCHEMA, format!("version {found}, and this program knows {known}"))
                .remedy("upgrade agent-portail")
        }
    }
}

fn rights_line(state: SchemaState, rights: &Rights) -> Line {
    let Rights { role, database, may_create_schema, closed_tables, owns_history } = rights;
    match state {
        SchemaState::Missing if *may_create_schema => Line::ok(RIGHTS, format!("{role} may make the schema")),
        SchemaState::Missing => Line::fail(RIGHTS, format!("{role} may not make the schema"))
            .remedy(format!("GRANT CREATE ON DATABASE {database} TO {role}")),
        SchemaState::Current | SchemaState::Older { .. } | SchemaState::Newer { .. } => {
            if !closed_tables.is_empty() {
                return Line::fail(RIGHTS, format!("{role} may not read and write {}", closed_tables.join(", ")))
                    .remedy("make it the owner of the schema portail and its tables, or run as their owner");
            }
            if !owns_history {
                return Line::fail(RIGHTS, format!("{role} may not make the monthly partitions of portail.event"))
                    .remedy("make it the owner of the schema portail and its tables, or run as their owner");
            }
            Line::ok(RIGHTS, format!("{role} may read and write the catalog"))
        }
    }
}

/// Nothing where there is nothing to compare: the folder was never synced, or can't be opened, which has its own line.
async fn identity_line(
    settings: &Settings,
    catalog: &Catalog,
    folder: &FolderSettings,
) -> anyhow::Result<Option<Line>> {
    let found = folder::find(catalog, &endpoint_name(&settings.s3), &folder.bucket, &folder.prefix).await;
    let known = match found {
        Ok(record) => record.and_then(|record| record.identity),
        Err(error) => return Ok(Some(Line::failed(title(&folder.name), &error))),
    };
    let path = folder.path.clone();
    let seen = blocking("identity", move || identity::read(&path)).await?;
    Ok(known.zip(seen.ok()).map(|(known, seen)| compare(folder, &known, &seen)))
}

fn compare(folder: &FolderSettings, known: &Identity, seen: &Identity) -> Line {
    let title = title(&folder.name);
    if known == seen {
        return Line::ok(title, "it is the one that was synced");
    }
    let found =
        "it is not the directory that was synced: until half of its files are found as they were, deletions are held";
    Line::warn(title, found).remedy(format!(
        "mount the right one at {}, or accept this one: agent-portail deletes approve --identity --folder {}",
        ShownPath(&folder.path),
        folder.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights() -> Rights {
        Rights {
            role: "\"agent-portail\"".to_owned(),
            database: "files".to_owned(),
            may_create_schema: true,
            closed_tables: Vec::new(),
            owns_history: true,
        }
    }

    #[test]
    fn a_pooler_that_shares_sessions_fails_with_the_remedy() {
        assert!(sessions_line(Sessions::Lasting).to_string().starts_with("ok"));
        let line = sessions_line(Sessions::Shared).to_string();
        assert!(line.starts_with("FAIL") && line.ends_with("use session pooling or connect directly"), "{line}");
    }

    #[test]
    fn a_role_that_may_not_make_the_schema_fails_only_while_there_is_none() {
        let may_not = Rights { may_create_schema: false, ..rights() };
        let line = rights_line(SchemaState::Missing, &may_not).to_string();
        assert!(
            line.starts_with("FAIL") && line.ends_with("GRANT CREATE ON DATABASE files TO \"agent-portail\""),
            "{line}"
        );
        assert!(rights_line(SchemaState::Current, &may_not).to_string().starts_with("ok"));
    }

    #[test]
    fn tables_that_may_not_be_written_are_named() {
        let line = rights_line(SchemaState::Current, &Rights { closed_tables: vec!["file".to_owned()], ..rights() });
        assert!(line.to_string().starts_with("FAIL") && line.to_string().contains(" file "), "{line}");
        let line = rights_line(SchemaState::Current, &Rights { owns_history: false, ..rights() });
        assert!(line.to_string().starts_with("FAIL") && line.to_string().contains("portail.event"), "{line}");
    }

    #[test]
    fn an_older_schema_is_a_warning_and_a_newer_one_fails() {
        assert!(schema_line(SchemaState::Older { found: 1, needed: 2 }).to_string().starts_with("warn"));
        let line = schema_line(SchemaState::Newer { found: 3, known: 2 }).to_string();
        assert!(line.starts_with("FAIL") && line.ends_with("upgrade agent-portail"), "{line}");
    }

    #[test]
    fn a_version_is_told_without_its_compiler() {
        assert_eq!(
            short("PostgreSQL 15.13 (Debian 15.13-0) on x86_64-pc-linux-gnu, compiled by gcc"),
            "PostgreSQL 15.13 (Debian 15.13-0)"
        );
    }
}
