//! Connections and what every request goes through: whom it comes from, how often, how long it may take.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderValue, Method, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use super::client::Client;
use super::portal::Portal;
use super::refusal::Refusal;
use super::{api, share, web};

/// A client that sends its head more slowly is cut off; so is one that keeps a connection without asking for anything.
const HEADERS: Duration = Duration::from_secs(15);
/// Connections at once. One takes some 20 KiB; more wait to be accepted.
const CONNECTIONS: usize = 1_024;
/// The largest head of a request: a search in a long path is a tenth of it.
const LARGEST_HEAD: usize = 32 * 1024;
/// The largest body that a form may have.
const LARGEST_BODY: usize = 64 * 1024;

/// All routes, with what every request goes through.
pub fn router(portal: Portal) -> Router {
    Router::new()
        .merge(api::router())
        .merge(share::router())
        .merge(web::router())
        .route("/healthz", get(healthy))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn_with_state(portal.clone(), attend))
        .with_state(portal)
}

async fn healthy() -> &'static str {
    "ok\n"
}

async fn nothing() -> Refusal {
    Refusal::NotFound("route")
}

async fn wrong_method() -> Refusal {
    Refusal::Method
}

fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    Refusal::Defect.into_response()
}

/// Around every request.
async fn attend(
    State(portal): State<Portal>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = Client::of(peer, request.headers(), &portal.settings().proxies);
    let (path, asked, from) = (request.uri().path().to_owned(), request.headers().clone(), client.clone());
    let response = match admit(&portal, &client, &request) {
        Err(refusal) => refusal.into_response(),
        Ok(()) => {
            request.extensions_mut().insert(client);
            match tokio::time::timeout(portal.settings().request_timeout, next.run(request)).await {
                Ok(response) => response,
                Err(_) => Refusal::TooSlow.into_response(),
            }
        }
    };
    portal.counters().answered(response.status());
    let mut response = web::dress(&portal, &from, &path, &asked, response);
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    response
}

fn admit(portal: &Portal, client: &Client, request: &Request) -> Result<(), Refusal> {
    portal.admit(client.address)?;
    // Where nobody is asked for a token, the name is what tells this machine's browser from a page that was led here.
    if portal.is_open() && !client.means_this_machine() {
        return Err(Refusal::Misdirected);
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let site = request.headers().get("sec-fetch-site").and_then(|site| site.to_str().ok());
    match site {
        Some("cross-site" | "same-site") if !reads => Err(Refusal::CrossSite),
        Some(_) | None => Ok(()),
    }
}

/// Answers until `cancel`, and then what is under way, for as long as `grace`.
pub async fn serve(listener: TcpListener, portal: Portal, cancel: CancellationToken, grace: Duration) {
    serve_router(listener, router(portal.clone()), Some(portal), cancel, grace).await;
}

/// As [`serve`], with routes of one's own; `counted` counts the connections.
pub(super) async fn serve_router(
    listener: TcpListener,
    router: Router,
    counted: Option<Portal>,
    cancel: CancellationToken,
    grace: Duration,
) {
    let head = counted.as_ref().map_or(HEADERS, |portal| portal.settings().request_timeout.min(HEADERS));
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Some((stream, peer, slot)) = accepted else {
            // Out of descriptors, most likely: give others the time to close theirs.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (router, counted, cancel) = (router.clone(), counted.clone(), cancel.clone());
        connections.spawn(async move {
            let _open = counted.as_ref().map(|portal| Open::new(&portal.counters().connections));
            attend_connection(stream, peer, router, head, cancel).await;
            drop(slot);
        });
    }
    drop(listener);
    let ended = tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() && !connections.is_empty() {
        tracing::warn!("{} connections were still open after {grace:?} and are closed now", connections.len());
    }
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    let (stream, peer) = listener.accept().await.ok()?;
    Some((stream, peer, slot))
}

async fn attend_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    head: Duration,
    cancel: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router.layer(Extension(ConnectInfo(peer))));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // Whatever went wrong is the client's to notice.
        _ = connection.as_mut() => return,
        () = cancel.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Counts a connection for as long as it is there.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
