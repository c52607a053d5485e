//! `agent-portail run`: the daemon.

use tokio_util::sync::CancellationToken;

use super::Exit;
use crate::config::{self, Effective};
use crate::daemon::run::{self, Reload};

/// Watches and syncs until SIGTERM or SIGINT; SIGHUP reads the configuration again.
///
/// # Errors
/// If it can't start, or a part of it has ended by a defect.
pub async fn run(effective: Effective, reload: Reload) -> anyhow::Result<Exit> {
    config::require_folders(&effective.settings)?;
    run::run(effective, reload, CancellationToken::new()).await?;
    Ok(Exit::Done)
}
