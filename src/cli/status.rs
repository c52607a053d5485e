//! `agent-portail status`: how each folder of this agent stands, from the daemon, if one runs, and from the catalog.

mod show;

use std::net::SocketAddr;

use super::{Exit, StatusArgs, output};
use crate::agent::{application_name, endpoint_name};
use crate::catalog::folder::{self, FolderOverview};
use crate::catalog::{Catalog, schema};
use crate::config::settings::{FolderSettings, Settings};
use crate::model::{FolderState, Printable};
use crate::monitor::ask::{Silence, ask};
use crate::monitor::status::{FolderStatus, Status};

/// Prints the state of each folder.
///
/// # Errors
/// If the catalog can't be read; what a daemon says is printed all the same.
pub async fn run(settings: &Settings, args: StatusArgs) -> anyhow::Result<Exit> {
    let address = settings.monitor.listen;
    let (known, answer) = tokio::join!(known(settings), ask(address));
    let (known, trouble) = match known {
        Ok(known) => (known, None),
        // Nothing is known from anywhere.
        Err(error) if answer.is_err() => return Err(error),
        Err(error) => (Vec::new(), Some(error)),
    };
    let overview = overview(settings, known, Daemon::new(address, &settings.agent.name, answer));
    if args.json {
        output::print(format_args!("{}\n", show::to_json(&overview, trouble.as_ref())))?;
    } else {
        output::print(format_args!("{}", show::to_text(&overview, trouble.is_some())))?;
    }
    match trouble {
        Some(error) => Err(error),
        None if overview.folders.iter().all(FolderView::is_well) => Ok(Exit::Done),
        None => Ok(Exit::Trouble),
    }
}

async fn known(settings: &Settings) -> anyhow::Result<Vec<FolderOverview>> {
    let catalog = Catalog::open(&settings.database, &application_name(&settings.agent.name))?;
    match schema::state(&catalog).await? {
        schema::SchemaState::Missing => Ok(Vec::new()),
        schema::SchemaState::Current | schema::SchemaState::Older { .. } => {
            Ok(folder::overview(&catalog, Some(&settings.agent.name)).await?)
        }
        schema::SchemaState::Newer { found, known } => {
            anyhow::bail!(
                "read the catalog: its schema has version {found}, and this program knows {known}; upgrade agent-portail"
            )
        }
    }
}

/// All that is known.
struct Overview {
    folders: Vec<FolderView>,
    /// Of this agent in the catalog, but not in the configuration.
    former: Vec<FolderOverview>,
    daemon: Daemon,
}

/// A folder as the configuration, the catalog and the daemon know it.
struct FolderView {
    name: String,
    path: String,
    bucket: String,
    prefix: String,
    row: Option<FolderOverview>,
    live: Option<FolderStatus>,
}

/// What was found at the monitor's address.
struct Daemon {
    address: SocketAddr,
    /// The folders of our daemon, or why there is none.
    answer: Result<Status, String>,
}

impl Daemon {
    fn new(address: SocketAddr, agent: &str, answer: Result<Status, Silence>) -> Self {
        let answer = match answer {
            // Another configuration's folders may have the same names.
            Ok(status) if status.agent != agent => Err(format!(
                "no daemon of this agent answers at {address}: the one there is of the agent `{}`",
                Printable(&status.agent)
            )),
            Ok(status) => Ok(status),
            Err(Silence::NoAnswer) => Err(format!("no daemon answers at {address}")),
            Err(Silence::Stranger) => Err(format!("no daemon answers at {address}: something else listens there")),
        };
        Self { address, answer }
    }

    fn folder(&self, name: &str, bucket: &str, prefix: &str) -> Option<FolderStatus> {
        let folders = &self.answer.as_ref().ok()?.folders;
        folders.iter().find(|live| live.folder == name && live.bucket == bucket && live.prefix == prefix).cloned()
    }
}

impl FolderView {
    /// As the daemon says, or else the catalog. None for a folder that nobody knows yet.
    fn state(&self) -> Option<&str> {
        let row = self.row.as_ref().map(|row| row.state.as_str());
        self.live.as_ref().map(|live| live.state.as_str()).or(row)
    }

    /// See [`Self::state`].
    fn reason(&self) -> Option<&str> {
        match (&self.live, &self.row) {
            (Some(live), _) => live.reason.as_deref(),
            (None, Some(row)) => row.reason.as_deref(),
            (None, None) => None,
        }
    }

    fn is_well(&self) -> bool {
        self.state() == Some(FolderState::InSync.as_str())
            && self.row.as_ref().is_some_and(|row| row.failed == 0 && row.held == 0)
            && self.live.as_ref().is_none_or(|live| live.failed == 0 && live.held_deletes == 0 && live.queue_depth == 0)
    }
}

/// Puts together what belongs to one folder. A folder that was taken out of the configuration, or had a mistake in its bucket
/// once, is nobody's concern any more. Where no folder is configured, what the catalog knows is all that there is to show.
fn overview(settings: &Settings, mut known: Vec<FolderOverview>, daemon: Daemon) -> Overview {
    let endpoint = endpoint_name(&settings.s3);
    let mut folders = Vec::new();
    for FolderSettings { name, path, bucket, prefix, .. } in &settings.folders {
        let is_of = |row: &FolderOverview| row.endpoint == endpoint && row.bucket == *bucket && row.prefix == *prefix;
        let row = known.iter().position(is_of).map(|index| known.remove(index));
        folders.push(FolderView {
            live: daemon.folder(name, bucket, prefix),
            name: name.clone(),
            path: path.to_string_lossy().into_owned(),
            bucket: bucket.clone(),
            prefix: prefix.clone(),
            row,
        });
    }
    let former = if settings.folders.is_empty() { Vec::new() } else { std::mem::take(&mut known) };
    folders.extend(known.into_iter().map(|row| FolderView {
        live: daemon.folder(&row.name, &row.bucket, &row.prefix),
        name: row.name.clone(),
        path: row.path.clone(),
        bucket: row.bucket.clone(),
        prefix: row.prefix.clone(),
        row: Some(row),
    }));
    Overview { folders, former, daemon }
}
