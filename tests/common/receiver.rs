//! A receiver of webhooks: a real HTTP server, which answers as it is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Answers with this status.
    Answers(u16),
    /// Takes the request and says nothing.
    Hangs,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What was answered.
    pub answer: Does,
}

impl Delivered {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// `type`, without `folder.`.
    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().strip_prefix("folder.").unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Whether it is signed with this secret, as a receiver checks it.
    pub fn is_signed_with(&self, secret: &[u8]) -> bool {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let mut signed = format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp")).into_bytes();
        signed.extend_from_slice(&self.body);
        let Some(signature) = self.header("webhook-signature").strip_prefix("v1,") else { return false };
        ring::hmac::verify(&key, &signed, &STANDARD.decode(signature).unwrap()).is_ok()
    }
}

/// One that listens. It ends when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

struct Shared {
    does: Mutex<Does>,
    seen: Mutex<Vec<Delivered>>,
}

impl Receiver {
    pub async fn start(does: Does) -> Self {
        Self::serve(does, None, 0).await
    }

    /// On a port that was free.
    pub async fn start_at(does: Does, port: u16) -> Self {
        Self::serve(does, None, port).await
    }

    /// Over TLS, for `localhost`.
    pub async fn start_encrypted(does: Does, acceptor: TlsAcceptor) -> Self {
        Self::serve(does, Some(acceptor), 0).await
    }

    async fn serve(does: Does, tls: Option<TlsAcceptor>, port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { does: Mutex::new(does), seen: Mutex::default() });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (serving, tls) = (Arc::clone(&serving), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, serving).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, serving).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, shared, _task: AbortOnDropHandle::new(task) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn now(&self, does: Does) {
        *self.shared.does.lock().unwrap() = does;
    }

    /// All that came, in order.
    pub fn seen(&self) -> Vec<Delivered> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// What it has taken, by kind, in order.
    pub fn taken(&self) -> Vec<String> {
        self.seen().iter().filter(|seen| seen.answer == Does::Answers(204)).map(Delivered::kind).collect()
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, shared: Arc<Shared>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let answer = *shared.does.lock().unwrap();
            let path = parts.uri.to_string();
            shared.seen.lock().unwrap().push(Delivered { path, headers: parts.headers, body, answer });
            let status = match answer {
                Does::Answers(status) => status,
                Does::Hangs => {
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                    500
                }
            };
            Ok::<_, std::convert::Infallible>(
                Response::builder().status(status).body(Full::<Bytes>::default()).unwrap(),
            )
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
