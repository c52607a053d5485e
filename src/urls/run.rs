//! The process: starts, listens for signals, tells systemd, and ends in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::portal::{OpenError, Portal};
use super::token_file::{self, TokenFileError};
use super::tokens::Tokens;
use super::{counters, server};
use crate::catalog::link;
use crate::catalog::schema::{self, SchemaState};
use crate::config::settings::{Settings, UrlsAuth};
use crate::config::{self, ConfigError, Problem};
use crate::systemd::{self, Notice};

/// How often systemd hears that all is well, and whether the file of tokens has changed is looked at: a token that was taken away is of
/// no use after this.
const TICK: Duration = Duration::from_secs(2);
/// A scrape that is under way takes no longer.
const MONITOR_GRACE: Duration = Duration::from_secs(1);
/// How often old uses and links are forgotten, and how many of them in one statement.
const FORGETTING: (Duration, i64) = (Duration::from_secs(3600), 5_000);

/// The service could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing could be started.
    #[error("start")]
    Start(#[from] OpenError),
    /// Its own configuration.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// An address.
    #[error("listen on {address}: choose another {key}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Of the configuration.
        key: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Signals can't be received.
    #[error("listen for signals")]
    Signals(#[source] std::io::Error),
}

/// A service that has its addresses and is about to answer.
#[derive(Debug)]
pub struct Service {
    portal: Portal,
    listener: TcpListener,
    monitor: TcpListener,
    tokens_file: Option<PathBuf>,
    retention: Duration,
    grace: Duration,
    /// Caught from the moment that systemd may be told of readiness: one that came earlier would end the process.
    hangup: Signal,
}

impl Service {
    /// Reads the tokens, prepares the clients of both servers and takes the addresses.
    ///
    /// # Errors
    /// If the network could reach it and nobody is asked for a token, a token can't be read, or an address can't be had.
    pub async fn open(settings: &Settings) -> Result<Self, RunError> {
        config::require_link_access(&settings.urls)?;
        let tokens_file = match &settings.urls.auth {
            UrlsAuth::Token { tokens_file } => tokens_file.clone(),
            UrlsAuth::Open => None,
        };
        let tokens = match &tokens_file {
            Some(path) => read(path.clone()).await.map_err(|error| ConfigError::from(refused(error)))?,
            None => Tokens::default(),
        };
        // A file without a line is no token.
        if tokens.is_empty() && !settings.urls.listen.ip().to_canonical().is_loopback() {
            return Err(ConfigError::from(Problem::OpenLinks { listen: settings.urls.listen }).into());
        }
        match (&settings.urls.auth, tokens.len()) {
            (UrlsAuth::Token { .. }, 0) => {
                tracing::warn!("there is no token yet, so nobody can log in: run `agent-portail urls token add NAME`");
            }
            (UrlsAuth::Token { .. }, count) => tracing::info!("{count} tokens are known"),
            (UrlsAuth::Open, _) => {
                tracing::warn!("everybody on this machine may see and share all files: urls.auth = \"none\"")
            }
        }
        let portal = Portal::open(settings, tokens).await?;
        Ok(Self {
            portal,
            listener: listen(settings.urls.listen, "urls.listen").await?,
            monitor: listen(settings.urls.monitor_listen, "urls.monitor_listen").await?,
            tokens_file,
            retention: settings.agent.history_retention,
            grace: settings.sync.shutdown_grace,
            hangup: signal(SignalKind::hangup()).map_err(RunError::Signals)?,
        })
    }

    /// Where it answers.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Where its health and metrics are.
    pub fn monitor_address(&self) -> Option<SocketAddr> {
        self.monitor.local_addr().ok()
    }

    /// The service without HTTP.
    pub fn portal(&self) -> &Portal {
        &self.portal
    }

    /// Answers until `cancel`, and then what is under way.
    pub async fn serve(self, cancel: CancellationToken) {
        let monitor =
            server::serve_router(self.monitor, monitor(self.portal.clone()), None, cancel.clone(), MONITOR_GRACE);
        let monitor = tokio::spawn(monitor);
        let keeping =
            tokio::spawn(keep(self.portal.clone(), self.tokens_file, self.retention, self.hangup, cancel.clone()));
        server::serve(self.listener, self.portal, cancel, self.grace).await;
        // They have heard of the end at the same time.
        let _ = tokio::join!(monitor, keeping);
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If it can't start.
pub async fn run(settings: &Settings) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let service = Service::open(settings).await?;
    if let Some(address) = service.address() {
        tracing::info!("answers on http://{address}");
        systemd::notify(&Notice::Status(format!("answers on http://{address}")));
    }
    let cancel = CancellationToken::new();
    let mut serving = tokio::spawn(service.serve(cancel.clone()));
    systemd::notify(&Notice::Ready);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = &mut serving => {}
    }
    systemd::notify(&Notice::Stopping);
    tracing::info!("stopping");
    cancel.cancel();
    if !serving.is_finished() {
        let _ = serving.await;
    }
    Ok(())
}

async fn listen(address: SocketAddr, key: &'static str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, key, source })
}

async fn read(path: PathBuf) -> Result<Tokens, TokenFileError> {
    let failed_path = path.clone();
    tokio::task::spawn_blocking(move || token_file::read(&path)).await.unwrap_or_else(|error| {
        Err(TokenFileError::Io { what: "read", path: failed_path, source: std::io::Error::other(error) })
    })
}

fn refused(error: TokenFileError) -> Problem {
    Problem::Tokens { source: Box::new(error) }
}

/// What is to be done now and then: the file of tokens is read again when it has changed or somebody says so, systemd hears that all is
/// well, and what is old is forgotten.
async fn keep(
    portal: Portal,
    tokens_file: Option<PathBuf>,
    retention: Duration,
    mut hangup: Signal,
    cancel: CancellationToken,
) {
    let mut tick = tokio::time::interval(systemd::watchdog().map_or(TICK, |watchdog| watchdog.min(TICK)));
    let mut forgetting = tokio::time::interval(FORGETTING.0);
    let mut known = tokens_file.as_deref().and_then(token_file::state);
    loop {
        let asked = tokio::select! {
            () = cancel.cancelled() => return,
            Some(()) = hangup.recv() => {
                systemd::notify(&Notice::Reloading);
                true
            }
            _ = tick.tick() => false,
            _ = forgetting.tick() => {
                forget(&portal, retention).await;
                false
            }
        };
        if let Some(path) = &tokens_file {
            let now = token_file::state(path);
            if asked || now != known {
                known = now;
                reload(&portal, path.clone()).await;
            }
        }
        if asked {
            systemd::notify(&Notice::Ready);
        }
        systemd::notify(&Notice::Alive);
    }
}

/// A file that can't be used changes nothing: those who had a token keep it, and the log says why.
async fn reload(portal: &Portal, path: PathBuf) {
    match read(path).await {
        Ok(tokens) => {
            tracing::info!("read the tokens again: {} are known", tokens.len());
            portal.set_tokens(tokens);
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!("failed to {error}: {cause}; the tokens stay as they were");
        }
    }
}

async fn forget(portal: &Portal, retention: Duration) {
    loop {
        match link::forget(portal.catalog(), retention, FORGETTING.1).await {
            Ok(count) if count < u64::try_from(FORGETTING.1).unwrap_or(0) => return,
            Ok(_) => {}
            // Another hour comes.
            Err(error) => {
                tracing::debug!(error = %crate::model::chain(&error), "failed to {error}");
                return;
            }
        }
    }
}

/// What is seen on `urls.monitor_listen`.
fn monitor(portal: Portal) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .fallback(async || (StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"))
        .with_state(Arc::new(portal))
}

async fn metrics(State(portal): State<Arc<Portal>>) -> Response {
    let kind = HeaderValue::from_static(counters::CONTENT_TYPE);
    ([(header::CONTENT_TYPE, kind)], portal.counters().render()).into_response()
}

async fn readiness(State(portal): State<Arc<Portal>>) -> Response {
    let (status, text) = match schema::state(portal.catalog()).await {
        Ok(SchemaState::Current | SchemaState::Newer { .. }) => (StatusCode::OK, "ready\n".to_owned()),
        Ok(SchemaState::Missing) => {
            (StatusCode::SERVICE_UNAVAILABLE, "there is no catalog yet: start `agent-portail run`\n".to_owned())
        }
        Ok(SchemaState::Older { found, needed }) => {
            let text =
                format!("the catalog's schema has version {found}, {needed} is needed: run `agent-portail migrate`\n");
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the catalog can't be reached\n".to_owned()),
    };
    (status, text).into_response()
}
