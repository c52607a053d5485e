//! A link service in this process, on a store and a database of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_portail::catalog::folder::{self, Claim};
use agent_portail::catalog::record::{self, Change};
use agent_portail::catalog::{Catalog, schema};
use agent_portail::config::settings::{RecordAddresses, Settings, UrlsAuth};
use agent_portail::config::{ConfigFile, Sources, load};
use agent_portail::model::{
    Digest, ETag, EventKind, FileMeta, Fingerprint, FolderId, ObjectKey, RelPath, Scopes, Stamp, Synced,
};
use agent_portail::urls::run::Service;
use agent_portail::urls::tokens::{Entry, Tokens, hash};
use agent_portail::urls::{Portal, server};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::common::pg::Database;
use crate::common::s3::TestS3;

/// The settings that most tests want, and what they change of them.
pub(crate) type Change2 = fn(&mut Settings);

/// A service that answers, and the worlds around it.
pub(crate) struct World {
    pub(crate) s3: Arc<TestS3>,
    pub(crate) db: Arc<Database>,
    pub(crate) catalog: Catalog,
    pub(crate) bucket: String,
    /// Called `files`.
    pub(crate) folder: FolderId,
    pub(crate) portal: Portal,
    pub(crate) address: SocketAddr,
    pub(crate) settings: Settings,
    _task: AbortOnDropHandle<()>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: bytes::Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Stops the test unless this is the status; gives the JSON.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Stops the test unless it is a problem document with this status and code.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, code: &str) -> String {
        let json = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(json["status"], status);
        assert_eq!(json["code"], code, "{json}");
        assert_eq!(json["type"], "about:blank");
        assert!(json["title"].is_string());
        json["detail"].as_str().unwrap().to_owned()
    }
}

/// Tokens of the tests: who may read, link, both, and everything.
pub(crate) fn tokens() -> Tokens {
    let line = |name: &str, scopes: &str| {
        let entry = Entry { name: name.to_owned(), scopes: Scopes::parse(scopes).unwrap(), hash: hash(name) };
        entry.line() + "\n"
    };
    let text =
        line("reader", "read") + &line("linker", "link") + &line("both", "read,link") + &line("other", "read,link");
    Tokens::parse(&(text + &line("admin", "admin"))).unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With settings of one's own.
    pub(crate) async fn with(change: Change2) -> Self {
        let (s3, db) = (Arc::new(TestS3::start().await), Arc::new(Database::new().await));
        let bucket = s3.new_bucket().await;
        Self::on(s3, db, bucket, change).await
    }

    pub(crate) async fn on(s3: Arc<TestS3>, db: Arc<Database>, bucket: String, change: Change2) -> Self {
        let catalog = Catalog::open(db.settings(), "test").unwrap();
        schema::migrate(&catalog).await.unwrap();
        let folder = claim(&catalog, "agent", "files", &s3.endpoint(), &bucket, "").await;
        let mut settings = settings(&s3, &db);
        change(&mut settings);
        let portal = Portal::open(&settings, tokens()).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let serving = server::serve(listener, portal.clone(), cancel.clone(), Duration::from_secs(5));
        let _task = AbortOnDropHandle::new(tokio::spawn(serving));
        Self { s3, db, catalog, bucket, folder, portal, address, settings, _task }
    }

    /// A file whose object is there, as if it had been synced.
    pub(crate) async fn put(&self, path: &str, bytes: &str) {
        self.s3.put(&self.bucket, path, bytes.to_owned()).await;
        self.record(&[synced(path, bytes)]).await;
    }

    /// Rows without objects.
    pub(crate) async fn record(&self, changes: &[Change]) {
        self.record_in(self.folder, changes).await;
    }

    pub(crate) async fn record_in(&self, folder: FolderId, changes: &[Change]) {
        for part in changes.chunks(1000) {
            let refused = record::apply(&self.catalog, folder, part).await.unwrap();
            assert!(refused.is_empty(), "{refused:?}");
        }
    }

    /// Rows at these paths.
    pub(crate) async fn rows(&self, paths: &[&str]) {
        let changes: Vec<Change> = paths.iter().map(|path| synced(path, path)).collect();
        self.record(&changes).await;
    }

    /// Any request, with a caller's token.
    pub(crate) async fn send(&self, caller: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut headers = HashMap::new();
        if !caller.is_empty() {
            headers.insert("authorization", format!("Bearer {caller}"));
        }
        if body.is_some() {
            headers.insert("content-type", "application/json".to_owned());
        }
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.raw(method, path, &headers, body.map(|body| body.to_string()).unwrap_or_default()).await
    }

    /// A request of exactly this.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Answer {
        request(method, &format!("http://{}{path}", self.address), headers, body).await
    }

    pub(crate) async fn get(&self, caller: &str, path: &str) -> Answer {
        self.send(caller, "GET", path, None).await
    }

    pub(crate) async fn post(&self, caller: &str, path: &str, body: Value) -> Answer {
        self.send(caller, "POST", path, Some(body)).await
    }

    /// A link to a path, as its address on this service and its id.
    pub(crate) async fn link(&self, path: &str, more: Value) -> (String, i64) {
        let mut body = json!({"folder": "files", "path": path});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.post("both", "/api/v1/links", body).await.expect(201);
        let href = made["href"].as_str().unwrap();
        let path = href.strip_prefix(&format!("http://{}", self.address)).unwrap();
        (path.to_owned(), made["id"].as_i64().unwrap())
    }
}

/// Takes the endpoint for a folder of an agent.
pub(crate) async fn claim(
    catalog: &Catalog,
    agent: &str,
    name: &str,
    endpoint: &str,
    bucket: &str,
    prefix: &str,
) -> FolderId {
    let claim = Claim { agent, name, path: Path::new("/srv/files"), endpoint, bucket, prefix };
    folder::claim(catalog, &claim).await.unwrap().id
}

/// The defaults, for these servers, without limits that a test would hit.
pub(crate) fn settings(s3: &TestS3, db: &Database) -> Settings {
    let sources = Sources {
        config: ConfigFile::Default("/nonexistent/config.toml".into()),
        environment: Vec::new(),
        flags: Vec::new(),
        credentials: None,
        host_name: "test".to_owned(),
        under_journald: false,
    };
    let mut settings = load(&sources).unwrap().settings;
    settings.s3 = s3.settings();
    settings.database = db.settings().clone();
    settings.urls.listen = "127.0.0.1:0".parse().unwrap();
    settings.urls.monitor_listen = "127.0.0.1:0".parse().unwrap();
    settings.urls.rate_limit = None;
    settings.urls.record_addresses = RecordAddresses::Full;
    settings.urls.auth = UrlsAuth::Token { tokens_file: None };
    settings
}

/// Starts a whole service, as `agent-portail urls` does.
pub(crate) async fn service(settings: &Settings) -> (SocketAddr, SocketAddr, CancellationToken, AbortOnDropHandle<()>) {
    let service = Service::open(settings).await.unwrap();
    let (address, monitor) = (service.address().unwrap(), service.monitor_address().unwrap());
    let cancel = CancellationToken::new();
    let task = AbortOnDropHandle::new(tokio::spawn(service.serve(cancel.clone())));
    (address, monitor, cancel, task)
}

/// A row's content: an inode and a digest of its own for each content.
pub(crate) fn synced(path: &str, content: &str) -> Change {
    let digest: [u8; 16] = Md5::digest(content.as_bytes()).into();
    let inode = u64::from_le_bytes(digest[..8].try_into().unwrap());
    synced_as(path, content.len() as u64, Digest(digest), inode, 1_700_000_000)
}

pub(crate) fn synced_as(path: &str, size: u64, digest: Digest, inode: u64, mtime: i64) -> Change {
    let path = RelPath::from_encoded(path, None);
    let mtime = Stamp(mtime * 1_000_000_000);
    let fingerprint = Fingerprint { size, mtime, ctime: mtime, inode };
    Change::Synced {
        key: ObjectKey::new("", &path),
        path,
        meta: FileMeta { fingerprint, birth: None, mode: 0o100_644, uid: 1, gid: 1 },
        synced: Synced { size, digest, etag: ETag::new("etag"), version: None },
        racy: false,
        kind: EventKind::Uploaded,
        detail: None,
    }
}

pub(crate) fn failed(path: &str, error: &str) -> Change {
    let path = RelPath::from_encoded(path, None);
    Change::Failed { key: ObjectKey::new("", &path), path, error: error.to_owned() }
}

/// One request. Redirects are not followed.
pub(crate) async fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
) -> Answer {
    let client: Client<HttpConnector, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// For a query string.
pub(crate) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
