//! The connection to a store, and a bucket in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_config::identity::IdentityCache;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    AppName, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, Connector, tls};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::timeout::TimeoutConfig;

use super::credentials::{self, Keys};
use super::endpoint::BucketEndpoints;
use super::error::{RemoteError, Trouble};
use super::operation::Operation;
use super::pace::Pace;
use super::wire::{Requests, Wire};
use crate::config::settings::{Encryption, S3Settings};
use crate::model::ObjectKey;

/// S3 closes a connection that was idle for 20 s, and a request sent just then is lost.
const IDLE_CONNECTION: Duration = Duration::from_secs(15);

/// The slowest that a single body may go, in bytes a second, before its request is given up: 32 workers on a line of
/// 2 Mbit/s.
const SLOWEST_BODY: u64 = 8 * 1024;

/// How much a client may do at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Concurrent requests: as many connections are kept.
    pub workers: usize,
    /// Bytes a second of all bodies together; none = no limit.
    pub bandwidth: Option<u64>,
}

/// How long a client waits and how often it tries.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For an answer, in addition to the time that a body takes; and for each next piece of a body that comes.
    pub answer: Duration,
    /// Attempts for one request, the first included. What fails for longer is the queue's business.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), answer: Duration::from_secs(30), attempts: 3 }
    }
}

/// One connection to a store for the whole program: cheap to clone, and all clones share connections and limits.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) sdk: aws_sdk_s3::Client,
    pub(super) storage_class: Option<StorageClass>,
    pub(super) encryption: Option<Encryption>,
    pub(super) pace: Option<Arc<Pace>>,
    /// See [`Patience::answer`].
    pub(super) answer: Duration,
    pub(super) provider: SharedCredentialsProvider,
    keys: Option<Arc<Keys>>,
    pub(super) requests: Arc<Requests>,
    pub(super) md5_on_delete: Arc<AtomicBool>,
    /// How this store takes deletions: see [`super::delete`].
    pub(super) delete_style: AtomicU8,
}

/// A bucket: cheap to clone.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub(super) client: Client,
    name: Arc<str>,
}

/// Finds credentials and region, and sets up what all requests share. No request is sent to the store yet.
pub async fn connect(settings: &S3Settings, limits: &Limits) -> Result<Client, RemoteError> {
    connect_with(settings, limits, &Patience::default()).await
}

/// [`connect`] with time limits of one's own.
pub async fn connect_with(settings: &S3Settings, limits: &Limits, patience: &Patience) -> Result<Client, RemoteError> {
    let http = http_client(settings, limits);
    let found = credentials::find(settings, &http).await?;
    let timeouts =
        TimeoutConfig::builder().connect_timeout(patience.connect).operation_attempt_timeout(patience.answer).build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .region(found.region)
        .credentials_provider(found.provider.clone())
        // They are kept by what provides them.
        .identity_cache(IdentityCache::no_cache())
        .timeout_config(timeouts.clone())
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(patience.attempts)
                .with_initial_backoff(Duration::from_millis(200))
                .with_max_backoff(Duration::from_secs(3)),
        )
        // Turned on by the interceptor for the bodies that are worth watching.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(url) = &settings.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    if let Ok(name) = AppName::new(env!("CARGO_PKG_NAME")) {
        loader = loader.app_name(name);
    }
    let shared = loader.load().await;

    let pace = limits.bandwidth.map(|rate| Arc::new(Pace::new(rate)));
    let requests = Arc::new(Requests::default());
    let md5_on_delete = Arc::new(AtomicBool::new(false));
    let wire = Wire {
        requests: requests.clone(),
        md5_on_delete: md5_on_delete.clone(),
        timeouts,
        answer: patience.answer,
        slowest: slowest_body(pace.as_deref(), limits.workers),
    };
    let config = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(settings.path_style)
        .endpoint_resolver(BucketEndpoints::default())
        .interceptor(wire)
        .build();
    Ok(Client {
        inner: Arc::new(Inner {
            sdk: aws_sdk_s3::Client::from_conf(config),
            storage_class: settings.storage_class.as_deref().map(StorageClass::from),
            encryption: settings.encryption.clone(),
            pace,
            answer: patience.answer,
            provider: found.provider,
            keys: found.keys,
            requests,
            md5_on_delete,
            delete_style: AtomicU8::new(0),
        }),
    })
}

/// A bandwidth limit slows every body down, and that must not look like a broken line.
fn slowest_body(pace: Option<&Pace>, workers: usize) -> u64 {
    match pace {
        None => SLOWEST_BODY,
        Some(pace) => (pace.bytes_per_second() / (4 * workers.max(1) as u64)).clamp(1, SLOWEST_BODY),
    }
}

fn http_client(settings: &S3Settings, limits: &Limits) -> SharedHttpClient {
    let idle = limits.workers + 4;
    // HTTPS_PROXY and NO_PROXY are honoured as every other S3 tool does, but no proxy leads to this machine itself.
    let local = settings.endpoint_url.as_deref().is_some_and(credentials::is_loopback);
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .enable_tcp_nodelay(true)
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(idle)
            .proxy_config(if local { ProxyConfig::disabled() } else { ProxyConfig::from_env() });
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build()
    })
}

impl Client {
    /// A bucket of the store. Nothing is asked of the store.
    pub fn bucket(&self, name: &str) -> Bucket {
        Bucket { client: self.clone(), name: name.into() }
    }

    /// How many requests were sent since the start, by operation. Each attempt counts.
    pub fn requests(&self) -> BTreeMap<Operation, u64> {
        self.inner.requests.sent()
    }

    /// How many answers came since the start, by operation and HTTP status.
    pub fn answers(&self) -> BTreeMap<(Operation, u16), u64> {
        self.inner.requests.answers()
    }

    /// How many requests got no answer since the start, by operation.
    pub fn unanswered(&self) -> BTreeMap<Operation, u64> {
        self.inner.requests.unanswered()
    }

    /// When the credentials in use expire, if they do. None also for those that are fixed.
    pub fn credentials_expire(&self) -> Option<SystemTime> {
        self.inner.keys.as_ref().and_then(|keys| keys.expire())
    }

    /// Seconds that this machine's clock was ahead of the store's at its last answer, negative behind; none if no answer
    /// had a date. A signature is refused beyond 15 minutes.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.inner.requests.clock_ahead()
    }
}

impl Bucket {
    /// As it is configured.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn sdk(&self) -> &aws_sdk_s3::Client {
        &self.client.inner.sdk
    }

    pub(super) fn failed<E>(
        &self,
        operation: Operation,
        key: Option<&ObjectKey>,
        error: SdkError<E, HttpResponse>,
    ) -> RemoteError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let error = RemoteError::from_sdk(operation, &self.name, key, error);
        if let (Trouble::Credentials, Some(keys)) = (error.trouble, &self.client.inner.keys) {
            keys.refuse();
        }
        error
    }

    pub(super) fn unexpected(&self, operation: Operation, key: Option<&ObjectKey>, what: &str) -> RemoteError {
        RemoteError::unexpected(operation, &self.name, key, what)
    }

    /// The header of the configured encryption and the id of its key.
    pub(super) fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.client.inner.encryption {
            None => (None, None),
            Some(Encryption::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms { key_id }) => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_limit_shared_by_all_workers_is_not_taken_for_a_broken_line() {
        assert_eq!(slowest_body(None, 32), SLOWEST_BODY);
        assert!(slowest_body(Some(&Pace::new(64 * 1024)), 32) <= 64 * 1024 / 32);
        assert_eq!(slowest_body(Some(&Pace::new(1)), 32), 1);
    }
}
