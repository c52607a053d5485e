//! The monitor: `/healthz`, `/readyz`, `/status` and `/metrics` over HTTP, for probes, people and Prometheus. It only reads, and
//! listens on loopback unless configured otherwise.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::daemon::live::Live;
use crate::daemon::notify::Told;
use crate::metrics::{Meter, Process, table};
use crate::remote::Client;
use status::Status;

pub mod ask;
mod collect;
pub mod status;

/// The text format of Prometheus.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
/// A client that sends its request more slowly is cut off.
const HEADERS: Duration = Duration::from_secs(10);

/// What is shown, as it is now.
pub type Shown = Arc<Mutex<Daemon>>;

/// The daemon, as far as it is seen from outside.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// As it is called in the catalog.
    pub agent: String,
    /// The folders that run, in the order of the configuration.
    pub folders: Vec<Arc<Live>>,
    /// Webhooks that are told.
    pub webhooks: Vec<Arc<Told>>,
    /// What counts the requests to S3; none before it is connected.
    pub store: Option<Client>,
    /// The schema was brought up to date.
    pub schema_is_current: bool,
    /// What is measured.
    pub meter: Arc<Meter>,
    /// When the process was started, in seconds since 1970, by the clock of then.
    pub started: Option<f64>,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            agent: String::new(),
            folders: Vec::new(),
            webhooks: Vec::new(),
            store: None,
            schema_is_current: false,
            meter: Arc::new(Meter::new(table::DAEMON)),
            started: Process::read().map(|process| process.started),
        }
    }
}

/// The address could not be had.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address} for the monitor: choose another monitor.listen")]
pub struct ListenError {
    /// As configured.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// Takes the address.
///
/// # Errors
/// If it is in use, or not of this machine.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}

/// How often what was measured is put into its buckets, although nobody asks for it.
const SETTLE: Duration = Duration::from_secs(5);

/// Answers until `cancel`.
pub async fn serve(listener: TcpListener, shown: Shown, cancel: CancellationToken) {
    let meter = Arc::clone(&shown.lock().unwrap_or_else(PoisonError::into_inner).meter);
    let settle = async {
        loop {
            tokio::time::sleep(SETTLE).await;
            meter.settle();
        }
    };
    tokio::select! {
        () = accept(listener, shown, cancel) => {}
        () = settle => {}
    }
}

async fn accept(listener: TcpListener, shown: Shown, cancel: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cancel.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: give others the time to close theirs.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (shown, cancel) = (Arc::clone(&shown), cancel.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, &shown);
                async { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // Whatever went wrong is the client's to notice.
                _ = connection => {}
                () = cancel.cancelled() => {}
            }
        });
    }
}

fn answer(request: &Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n".to_owned());
    }
    let daemon = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let folders = &daemon.folders;
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => readiness(folders),
        "/metrics" => respond(StatusCode::OK, EXPOSITION, collect::collect(&daemon)),
        "/status" => {
            let folders = folders.iter().map(|live| live.status()).collect();
            let status = Status { version: env!("CARGO_PKG_VERSION").to_owned(), agent: daemon.agent.clone(), folders };
            match serde_json::to_string(&status) {
                Ok(body) => respond(StatusCode::OK, "application/json", body + "\n"),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            }
        }
        _ => text(StatusCode::NOT_FOUND, "there are /healthz, /readyz, /status and /metrics\n".to_owned()),
    }
}

fn readiness(folders: &[Arc<Live>]) -> Response<Full<Bytes>> {
    // Before the schema is current no folder runs, and an empty list would be ready.
    let ready = !folders.is_empty() && folders.iter().all(|live| live.is_ready());
    let mut body = String::new();
    for live in folders {
        let now = live.now();
        let what = match &now.standby {
            Some(_) => "stand-by".to_owned(),
            None => now.state.as_str().to_owned(),
        };
        body.push_str(&format!("{}: {what}\n", crate::model::Printable(&live.name)));
    }
    text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}
