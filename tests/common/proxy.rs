//! The proxy before the store of a test: counts requests, shows them to observers, and fails as it is told.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// A request as the proxy sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// As S3 names it: `PutObject`, `ListObjectsV2`…
    pub operation: &'static str,
    pub method: String,
    /// Still encoded.
    pub path: String,
    pub query: String,
    pub headers: HashMap<String, String>,
    /// What it is about: the key of the path, or those that DeleteObjects names in its body.
    pub keys: Vec<String>,
}

/// What the proxy does instead of handing a request on.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers by itself.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: String },
    /// Never answers. The connection breaks when the scripts are cleared.
    Hang,
    /// Breaks the connection.
    Disconnect,
    /// Hands it on after a while.
    Late(Duration),
    /// Hands it on and breaks the connection instead of answering.
    Lost,
    /// Hands it on and answers 500 whatever came of it, as a gateway does that has lost its patience.
    Masked,
    /// Hands it on, and breaks the connection after so many bytes of the answer's body.
    Cut(usize),
    /// Hands it on, and after so many bytes of the answer's body nothing more comes until the scripts are cleared.
    Stall(usize),
    /// Hands it on, and puts other bytes in the place of the answer's body: as many.
    Garbled,
}

type Script = Box<dyn FnMut(&Seen) -> Option<Reply> + Send>;
type Observer = Box<dyn FnMut(&Seen) + Send>;
type ProxyBody = BoxBody<Bytes, Broken>;

/// Between the program and the store.
pub(super) struct Proxy {
    upstream: http::uri::Authority,
    http: HttpClient<HttpConnector, ProxyBody>,
    pub(super) counts: Mutex<BTreeMap<&'static str, u64>>,
    pub(super) scripts: Mutex<Vec<Script>>,
    pub(super) observers: Mutex<Vec<Observer>>,
    /// Ends what hangs.
    pub(super) cleared: Notify,
    /// Who is connected, and what they have asked for and not got an answer to.
    pub(super) connections: Mutex<BTreeMap<u64, String>>,
    /// See [`opaque`].
    pub(super) opaque: AtomicBool,
}

/// S3's error document.
pub fn error_body(code: &str) -> String {
    format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>scripted</Message></Error>")
}

/// Takes connections until it is dropped.
pub(super) async fn serve(listener: TcpListener, proxy: Arc<Proxy>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // Whoever has gone before it was taken is nobody.
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).ok();
        let connected = Arc::new(Connected::new(&proxy));
        let (proxy, asked) = (proxy.clone(), connected.clone());
        let service = service_fn(move |request| proxy.clone().answer(asked.clone(), request));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            connection.await.ok();
            drop(connected);
        });
        while let Some(ended) = connections.try_join_next() {
            if let Err(error) = ended {
                println!("the proxy before the store has a defect: {error}");
            }
        }
    }
}

/// A connection is told of for as long as this lives, however it ends.
struct Connected {
    proxy: Arc<Proxy>,
    number: u64,
}

impl Connected {
    fn new(proxy: &Arc<Proxy>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let connected = Self { proxy: proxy.clone(), number: NEXT.fetch_add(1, Ordering::Relaxed) };
        connected.tell("idle".to_owned());
        connected
    }

    fn tell(&self, what: String) {
        self.proxy.connections.lock().unwrap().insert(self.number, what);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.proxy.connections.lock().unwrap().remove(&self.number);
    }
}

/// Makes hyper break the connection.
type Broken = Box<dyn std::error::Error + Send + Sync>;

impl Proxy {
    /// Before the store at this address.
    pub(super) fn new(upstream: http::uri::Authority) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            upstream,
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
            counts: Mutex::default(),
            scripts: Mutex::default(),
            observers: Mutex::default(),
            cleared: Notify::new(),
            connections: Mutex::default(),
            opaque: AtomicBool::new(false),
        }
    }

    async fn answer(
        self: Arc<Self>,
        connected: Arc<Connected>,
        request: Request<Incoming>,
    ) -> Result<Response<ProxyBody>, Broken> {
        connected.tell(format!("{} {}", request.method(), request.uri()));
        let answer = self.handle(request).await;
        connected.tell("answered".to_owned());
        answer
    }

    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<ProxyBody>, Broken> {
        let mut seen = Seen::new(&request);
        let (head, body) = request.into_parts();
        let body = if seen.operation == "DeleteObjects" {
            let bytes = body.collect().await?.to_bytes();
            seen.keys = keys_of(&String::from_utf8_lossy(&bytes));
            whole(bytes)
        } else {
            body.map_err(Broken::from).boxed()
        };
        let request = Request::from_parts(head, body);
        *self.counts.lock().unwrap().entry(seen.operation).or_default() += 1;
        self.observers.lock().unwrap().iter_mut().for_each(|observer| observer(&seen));
        // Registered before it is known whether the request hangs, or the end of that could be missed.
        let cleared = self.cleared.notified();
        tokio::pin!(cleared);
        cleared.as_mut().enable();
        let reply = self.scripts.lock().unwrap().iter_mut().find_map(|script| script(&seen));
        match reply {
            None if self.opaque.load(Ordering::SeqCst) => {
                with_opaque_etags(seen.operation, self.forward(request).await?).await
            }
            None => self.forward(request).await,
            Some(Reply::Late(wait)) => {
                tokio::time::sleep(wait).await;
                self.forward(request).await
            }
            Some(Reply::Answer { status, headers, body }) => {
                // The body is read to its end, or the client would see a broken connection instead of the answer.
                request.into_body().collect().await?;
                answer(status, headers, body)
            }
            Some(Reply::Hang) => {
                // Only when all has been read is it seen that the client has gone.
                request.into_body().collect().await?;
                cleared.await;
                Err("scripted".into())
            }
            Some(Reply::Disconnect) => Err("scripted".into()),
            Some(Reply::Lost) => {
                let response = self.forward(request).await?;
                response.into_body().collect().await?;
                Err("scripted".into())
            }
            Some(Reply::Masked) => {
                let response = self.forward(request).await?;
                response.into_body().collect().await?;
                answer(500, Vec::new(), error_body("InternalError"))
            }
            Some(reply @ (Reply::Cut(length) | Reply::Stall(length))) => {
                let (head, body) = self.forward(request).await?.into_parts();
                let bytes = body.collect().await?.to_bytes();
                let frames = [Ok(Frame::data(bytes.slice(..length.min(bytes.len())))), Err("scripted".into())];
                let (stalls, proxy) = (matches!(reply, Reply::Stall(_)), Arc::clone(&self));
                let frames = futures_util::stream::iter(frames).then(move |frame| {
                    let proxy = Arc::clone(&proxy);
                    async move {
                        match (&frame, stalls) {
                            (Err(_), true) => proxy.cleared.notified().await,
                            // The error must not overtake the bytes before it.
                            (Err(_), false) => tokio::time::sleep(Duration::from_millis(50)).await,
                            (Ok(_), _) => {}
                        }
                        frame
                    }
                });
                Ok(Response::from_parts(head, BodyExt::boxed(StreamBody::new(Box::pin(frames)))))
            }
            Some(Reply::Garbled) => {
                let (head, body) = self.forward(request).await?.into_parts();
                let garbled: Vec<u8> = body.collect().await?.to_bytes().iter().map(|byte| !byte).collect();
                Ok(Response::from_parts(head, whole(garbled)))
            }
        }
    }

    /// With the Host header kept, which the signature covers.
    async fn forward(&self, mut request: Request<ProxyBody>) -> Result<Response<ProxyBody>, Broken> {
        let path = request.uri().path_and_query().cloned().ok_or("no path")?;
        *request.uri_mut() =
            http::Uri::builder().scheme("http").authority(self.upstream.clone()).path_and_query(path).build()?;
        Ok(self.http.request(request).await?.map(|body| body.map_err(Broken::from).boxed()))
    }
}

/// An ETag as a store has it that encrypts by itself: nobody can tell the content by it, but it is the same all the time.
pub(super) fn opaque(etag: &str) -> String {
    format!("opaque-{}", etag.chars().rev().collect::<String>())
}

/// An answer with the ETags of its objects exchanged. Those of parts are left alone, since requests bring them back.
async fn with_opaque_etags(operation: &str, response: Response<ProxyBody>) -> Result<Response<ProxyBody>, Broken> {
    if !matches!(
        operation,
        "PutObject" | "HeadObject" | "GetObject" | "CopyObject" | "CompleteMultipartUpload" | "ListObjectsV2"
    ) {
        return Ok(response);
    }
    let (mut head, body) = response.into_parts();
    if let Some(etag) = head.headers.get("etag") {
        let exchanged = format!("\"{}\"", opaque(etag.to_str()?.trim_matches('"')));
        head.headers.insert("etag", exchanged.parse()?);
    }
    if matches!(operation, "PutObject" | "HeadObject" | "GetObject") {
        return Ok(Response::from_parts(head, body));
    }
    let text = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
    let mut parts = text.split("<ETag>");
    let mut exchanged = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (etag, rest) = part.split_once("</ETag>").ok_or("an ETag has no end")?;
        let plain = unescape(etag);
        exchanged.push_str(&format!("<ETag>&quot;{}&quot;</ETag>{rest}", opaque(plain.trim_matches('"'))));
    }
    head.headers.remove("content-length");
    Ok(Response::from_parts(head, whole(exchanged)))
}

fn whole(bytes: impl Into<Bytes>) -> ProxyBody {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

fn answer(status: u16, headers: Vec<(&'static str, String)>, body: String) -> Result<Response<ProxyBody>, Broken> {
    let mut response = Response::builder().status(StatusCode::from_u16(status)?);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(whole(body))?)
}

/// The keys that the body of DeleteObjects names.
fn keys_of(xml: &str) -> Vec<String> {
    let keys = xml.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
    keys.map(unescape).collect()
}

/// Text of XML as it was before it was escaped.
fn unescape(text: &str) -> String {
    let mut parts = text.split('&');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(';').expect("an entity ends in a semicolon");
        plain.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = name.strip_prefix('#').expect("an entity that XML knows");
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => number.parse(),
                };
                char::from_u32(code.unwrap()).unwrap()
            }
        });
        plain.push_str(rest);
    }
    plain
}

impl Seen {
    fn new(request: &Request<Incoming>) -> Self {
        let (method, path) = (request.method().as_str(), request.uri().path());
        let query = request.uri().query().unwrap_or_default();
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let key = path.trim_start_matches('/').split_once('/').map(|(_, key)| key).filter(|key| !key.is_empty());
        let has_key = key.is_some();
        let decode = |key: &str| percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
        let operation = match (method, has_key) {
            ("PUT", true) if has("partNumber") => "UploadPart",
            ("PUT", true) if request.headers().contains_key("x-amz-copy-source") => "CopyObject",
            ("PUT", true) => "PutObject",
            ("POST", true) if has("uploads") => "CreateMultipartUpload",
            ("POST", true) if has("uploadId") => "CompleteMultipartUpload",
            ("GET", true) if has("uploadId") => "ListParts",
            ("GET", true) => "GetObject",
            ("HEAD", true) => "HeadObject",
            ("DELETE", true) if has("uploadId") => "AbortMultipartUpload",
            ("DELETE", true) => "DeleteObject",
            ("POST", false) if has("delete") => "DeleteObjects",
            ("GET", false) if has("list-type") => "ListObjectsV2",
            ("GET", false) if has("uploads") => "ListMultipartUploads",
            ("GET", false) if has("versioning") => "GetBucketVersioning",
            ("HEAD", false) => "HeadBucket",
            ("PUT", false) => "CreateBucket",
            _ => "Other",
        };
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            operation,
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            keys: key.map(decode).into_iter().collect(),
        }
    }
}
