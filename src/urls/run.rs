//! The process: starts, listens for signals, tells systemd, and ends in order.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::portal::{OpenError, Portal};
use super::server;
use super::tokens::Tokens;
use crate::config::settings::Settings;

/// The service could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing could be started.
    #[error("start")]
    Start(#[from] OpenError),
    /// An address.
    #[error("listen on {address}: choose another {key}")]
    Listen {
        /// As configured.
        address: std::net::SocketAddr,
        /// Of the configuration.
        key: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Serves until `cancel`.
///
/// # Errors
/// If it can't start.
pub async fn run(settings: &Settings, cancel: CancellationToken) -> Result<(), RunError> {
    let portal = Portal::open(settings, Tokens::default()).await?;
    let address = settings.urls.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, key: "urls.listen", source })?;
    server::serve(listener, portal, cancel, Duration::from_secs(20)).await;
    Ok(())
}
