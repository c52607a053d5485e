//! An S3 server for tests, behind a proxy that counts requests and fails as it is told.
//!
//! It is the embedded server, or with `TEST_S3_ENDPOINT`, `TEST_S3_ACCESS_KEY_ID`, `TEST_S3_SECRET_ACCESS_KEY` and
//! `TEST_S3_REGION` whatever those name (`tests/garage.sh env` prints them for Garage).

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use agent_portail::config::settings::{S3Settings, StaticCredentials};
use agent_portail::demo::s3::EmbeddedS3;
use aws_credential_types::Credentials;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::EncodingType;
use bytes::Bytes;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::proxy::{Proxy, opaque, serve};
pub use super::proxy::{Reply, Seen, error_body};

/// For what a process has sent before its end to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store of its own for one test. It ends when it is dropped.
pub struct TestS3 {
    address: SocketAddr,
    upstream: String,
    region: String,
    credentials: StaticCredentials,
    proxy: Arc<Proxy>,
    sdk: aws_sdk_s3::Client,
    server: Option<(EmbeddedS3, tempfile::TempDir)>,
    _task: AbortOnDropHandle<()>,
}

/// An object with everything that a test may ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    pub bytes: Vec<u8>,
    /// Without quotes.
    pub etag: String,
    pub content_type: String,
    pub metadata: HashMap<String, String>,
}

impl TestS3 {
    /// Starts server and proxy.
    pub async fn start() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        let (server, upstream, region, credentials) = match std::env::var("TEST_S3_ENDPOINT") {
            Ok(endpoint) => {
                let credentials = StaticCredentials {
                    access_key_id: variable("TEST_S3_ACCESS_KEY_ID"),
                    secret_access_key: variable("TEST_S3_SECRET_ACCESS_KEY").into(),
                };
                (None, endpoint, variable("TEST_S3_REGION"), credentials)
            }
            Err(_) => {
                let root = tempfile::tempdir().unwrap();
                let server = EmbeddedS3::start(root.path(), 0).await.unwrap();
                let (endpoint, region) = (server.endpoint(), server.region().to_owned());
                let credentials = server.credentials();
                (Some((server, root)), endpoint, region, credentials)
            }
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let authority = upstream.parse::<http::Uri>().unwrap().into_parts().authority.unwrap();
        let proxy = Arc::new(Proxy::new(authority));
        let task = tokio::spawn(serve(listener, proxy.clone()));
        let sdk = sdk(&upstream, &region, &credentials);
        let _task = AbortOnDropHandle::new(task);
        Self { address, upstream, region, credentials, proxy, sdk, server, _task }
    }

    /// Of the proxy.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Of the server itself.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// Whether it is the embedded server and not one that was named.
    pub fn is_embedded(&self) -> bool {
        self.server.is_some()
    }

    /// How to connect through the proxy.
    pub fn settings(&self) -> S3Settings {
        S3Settings {
            region: Some(self.region.clone()),
            endpoint_url: Some(self.endpoint()),
            path_style: true,
            storage_class: None,
            encryption: None,
            credentials: Some(self.credentials.clone()),
        }
    }

    /// The same for a child process.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", self.credentials.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.credentials.secret_access_key.expose_secret().to_owned()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// A client that goes past the proxy: what it does is neither counted nor made to fail.
    pub fn sdk(&self) -> &aws_sdk_s3::Client {
        &self.sdk
    }

    /// A new and empty bucket.
    pub async fn new_bucket(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let moment = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let name = format!("test-{}-{}-{moment}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.sdk.create_bucket().bucket(&name).send().await.unwrap();
        name
    }

    /// Puts an object as another tool would, without metadata.
    pub async fn put(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) {
        let body = ByteStream::from(bytes.into());
        self.sdk.put_object().bucket(bucket).key(key).body(body).send().await.unwrap();
    }

    /// Puts an object with this metadata.
    pub async fn put_with(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>, metadata: &[(&str, &str)]) {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let put = self.sdk.put_object().bucket(bucket).key(key).set_metadata(Some(metadata));
        put.body(ByteStream::from(bytes.into())).send().await.unwrap();
    }

    /// Turns versions on.
    pub async fn with_versions(&self, bucket: &str) {
        use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
        let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        self.sdk.put_bucket_versioning().bucket(bucket).versioning_configuration(on).send().await.unwrap();
        let status = self.sdk.get_bucket_versioning().bucket(bucket).send().await.unwrap();
        assert_eq!(status.status(), Some(&BucketVersioningStatus::Enabled));
    }

    /// One object, or nothing if it is not there.
    pub async fn object(&self, bucket: &str, key: &str) -> Option<Object> {
        let answer = match self.sdk.get_object().bucket(bucket).key(key).send().await {
            Ok(answer) => answer,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => return None,
            Err(error) => panic!("get {key:?}: {error:?}"),
        };
        let etag = answer.e_tag().unwrap().trim_matches('"');
        let is_opaque = self.proxy.opaque.load(Ordering::SeqCst);
        Some(Object {
            key: key.to_owned(),
            etag: if is_opaque { opaque(etag) } else { etag.to_owned() },
            content_type: answer.content_type().unwrap_or_default().to_owned(),
            metadata: answer.metadata().cloned().unwrap_or_default(),
            bytes: answer.body.collect().await.unwrap().to_vec(),
        })
    }

    /// All objects of a bucket with their bytes, by key. For small buckets.
    pub async fn objects(&self, bucket: &str) -> BTreeMap<String, Object> {
        let mut objects = BTreeMap::new();
        for key in self.keys(bucket).await {
            let object = self.object(bucket, &key).await.unwrap();
            objects.insert(key, object);
        }
        objects
    }

    /// All keys of a bucket in the server's order.
    pub async fn keys(&self, bucket: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut token = None;
        loop {
            // XML could not hold every key.
            let list = self.sdk.list_objects_v2().bucket(bucket).encoding_type(EncodingType::Url);
            let page = list.set_continuation_token(token).send().await.unwrap();
            keys.extend(page.contents().iter().map(|object| {
                let key = object.key().unwrap().replace('+', " ");
                percent_encoding::percent_decode_str(&key).decode_utf8().unwrap().into_owned()
            }));
            token = page.next_continuation_token().map(str::to_owned);
            if token.is_none() {
                return keys;
            }
        }
    }

    /// Uploads in parts that are neither completed nor aborted.
    pub async fn unfinished_uploads(&self, bucket: &str) -> usize {
        self.sdk.list_multipart_uploads().bucket(bucket).send().await.unwrap().uploads().len()
    }

    /// How often an operation was requested through the proxy; each attempt counts.
    pub fn count(&self, operation: &str) -> u64 {
        self.proxy.counts.lock().unwrap().get(operation).copied().unwrap_or(0)
    }

    /// All counts that are not zero.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.proxy.counts.lock().unwrap().clone()
    }

    /// Forgets the counts.
    pub fn reset_counts(&self) {
        self.proxy.counts.lock().unwrap().clear();
    }

    /// The next requests of this operation get this answer. An empty body is no error document, as HEAD and proxies give.
    pub fn fail_next(&self, operation: &'static str, times: u32, status: u16, body: &str) {
        let reply = Reply::Answer { status, headers: Vec::new(), body: body.to_owned() };
        self.reply_next(operation, times, reply);
    }

    /// The next requests of this operation get this reply.
    pub fn reply_next(&self, operation: &'static str, times: u32, reply: Reply) {
        let mut left = times;
        self.script(move |seen| {
            if seen.operation != operation || left == 0 {
                return None;
            }
            left -= 1;
            Some(reply.clone())
        });
    }

    /// Asks for each request what to do with it; nothing = hand it on. Scripts that were added earlier are asked first.
    pub fn script(&self, script: impl FnMut(&Seen) -> Option<Reply> + Send + 'static) {
        self.proxy.scripts.lock().unwrap().push(Box::new(script));
    }

    /// Hands everything on again.
    pub fn clear_scripts(&self) {
        self.proxy.scripts.lock().unwrap().clear();
        self.proxy.cleared.notify_waiters();
    }

    /// From now on, ETags say nothing about the content.
    pub fn make_etags_opaque(&self) {
        self.proxy.opaque.store(true, Ordering::SeqCst);
    }

    /// Is shown each request as it arrives, before any script has its say.
    pub fn observe(&self, observer: impl FnMut(&Seen) + Send + 'static) {
        self.proxy.observers.lock().unwrap().push(Box::new(observer));
    }

    /// Waits until nobody is connected: nothing of what a process has sent before its end is still on its way.
    pub async fn until_unused(&self) {
        let began = Instant::now();
        loop {
            let connected = self.proxy.connections.lock().unwrap().clone();
            if connected.is_empty() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "still connected: {connected:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn sdk(endpoint: &str, region: &str, credentials: &StaticCredentials) -> aws_sdk_s3::Client {
    let secret = credentials.secret_access_key.expose_secret();
    let credentials = Credentials::new(&credentials.access_key_id, secret, None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(endpoint)
        .region(Region::new(region.to_owned()))
        .credentials_provider(credentials)
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_s3::Client::from_conf(config)
}
