//! Where credentials and the region come from: the standard AWS chain, with a bound on how long it may look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::config::{Region, SharedHttpClient};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;

use super::error::{RemoteError, Trouble};
use super::operation::Operation;
use crate::config::settings::S3Settings;

/// Every source of the chain answers within a second or two where it exists at all.
const PATIENCE: Duration = Duration::from_secs(15);

/// Credentials that expire are exchanged this long before.
const BEFORE_EXPIRY: Duration = Duration::from_secs(60);

/// Refused credentials, and those that could not be exchanged, are looked for again after this, but not for each request.
const AGAIN: Duration = Duration::from_secs(2);

/// What compatible stores without regions are signed for; most take anything.
const ANY_REGION: &str = "us-east-1";

/// Where to and as whom requests are signed.
pub(super) struct Found {
    pub(super) region: Region,
    pub(super) provider: SharedCredentialsProvider,
    /// To be told about refusals; none where the credentials are fixed.
    pub(super) keys: Option<Arc<Keys>>,
}

/// Finds the region, and credentials that exist. Whether they are any good, only the store knows.
pub(super) async fn find(settings: &S3Settings, http: &SharedHttpClient) -> Result<Found, RemoteError> {
    // A store on this machine has nothing to do with the cloud that the machine may be in.
    let ask_instance = !settings.endpoint_url.as_deref().is_some_and(is_loopback);
    let region = match &settings.region {
        Some(region) => Region::new(region.clone()),
        None => find_region(settings, http, ask_instance).await?,
    };
    let mut keys = None;
    let provider = match &settings.credentials {
        Some(credentials) => SharedCredentialsProvider::new(Credentials::new(
            credentials.access_key_id.clone(),
            credentials.secret_access_key.expose_secret(),
            None,
            None,
            "systemd credentials",
        )),
        None => {
            let (region, http) = (region.clone(), http.clone());
            let found = Arc::new(Keys::new(region, http, ask_instance));
            keys = Some(Arc::clone(&found));
            SharedCredentialsProvider::new(Shared(found))
        }
    };
    let found = tokio::time::timeout(PATIENCE, provider.provide_credentials()).await;
    match found.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(PATIENCE))) {
        Ok(_) => Ok(Found { region, provider, keys }),
        Err(error) => Err(connect_error(Trouble::NoCredentials, error)),
    }
}

/// What the standard chain gives, kept until it expires or the store refuses it. The SDK's own cache would keep a refused key
/// for a quarter of an hour, and its provider of profiles reads the files once and for all: a key that was exchanged there must
/// not take a restart.
#[derive(Debug)]
pub(super) struct Keys {
    region: Region,
    http: SharedHttpClient,
    ask_instance: bool,
    /// The store has refused what is held.
    refused: AtomicBool,
    held: Mutex<Option<Held>>,
    /// Of what is held, in seconds since 1970; 0 = never. Beside it, so that nobody who asks has to wait for an exchange.
    expiry: AtomicU64,
}

#[derive(Debug)]
struct Held {
    credentials: Credentials,
    since: Instant,
}

impl Keys {
    fn new(region: Region, http: SharedHttpClient, ask_instance: bool) -> Self {
        let (refused, held, expiry) = (AtomicBool::new(false), Mutex::new(None), AtomicU64::new(0));
        Self { region, http, ask_instance, refused, held, expiry }
    }

    /// When what is held expires, if it does.
    pub(super) fn expire(&self) -> Option<SystemTime> {
        let seconds = self.expiry.load(Ordering::Relaxed);
        (seconds > 0).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// The store does not accept the credentials: the next request looks for others.
    pub(super) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    async fn find(&self) -> Result<Credentials, CredentialsError> {
        // One looks, the others wait for what it finds.
        let mut held = self.held.lock().await;
        let now = SystemTime::now();
        if let Some(held) = &*held {
            let refused = self.refused.load(Ordering::Relaxed) && held.since.elapsed() >= AGAIN;
            let expires = held.credentials.expiry().is_some_and(|expiry| expiry <= now + BEFORE_EXPIRY);
            // Those that could not be exchanged in time are good to their end, and asked for again after a moment.
            if !refused && (!expires || held.since.elapsed() < AGAIN) {
                return Ok(held.credentials.clone());
            }
        }
        // Built anew, so that files are read anew.
        match chain(&self.region, &self.http, self.ask_instance).provide_credentials().await {
            Ok(credentials) => {
                self.refused.store(false, Ordering::Relaxed);
                let expiry = credentials.expiry().and_then(|expiry| expiry.duration_since(UNIX_EPOCH).ok());
                self.expiry.store(expiry.map_or(0, |expiry| expiry.as_secs()), Ordering::Relaxed);
                *held = Some(Held { credentials: credentials.clone(), since: Instant::now() });
                Ok(credentials)
            }
            Err(error) => match &mut *held {
                Some(held) if held.credentials.expiry().is_none_or(|expiry| expiry > now) => {
                    held.since = Instant::now();
                    Ok(held.credentials.clone())
                }
                Some(_) | None => Err(error),
            },
        }
    }
}

impl ProvideCredentials for Keys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.find())
    }
}

/// A provider that others tell about refusals.
#[derive(Clone, Debug)]
struct Shared(Arc<Keys>);

impl ProvideCredentials for Shared {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        self.0.provide_credentials()
    }
}

/// The order of the AWS command line: environment, profile, web identity, container, instance.
fn chain(region: &Region, http: &SharedHttpClient, ask_instance: bool) -> CredentialsProviderChain {
    let config = provider_config(http).with_region(Some(region.clone()));
    let profile = ProfileFileCredentialsProvider::builder().configure(&config).build();
    let web_identity = WebIdentityTokenCredentialsProvider::builder().configure(&config).build();
    let container = EcsCredentialsProvider::builder().configure(&config).build();
    let chain = CredentialsProviderChain::first_try("Environment", EnvironmentVariableCredentialsProvider::new())
        .or_else("Profile", profile)
        .or_else("WebIdentityToken", web_identity)
        .or_else("EcsContainer", container);
    if !ask_instance {
        return chain;
    }
    let instance = ImdsCredentialsProvider::builder().configure(&config).imds_client(instance_metadata(&config));
    chain.or_else("Ec2InstanceMetadata", instance.build())
}

async fn find_region(
    settings: &S3Settings,
    http: &SharedHttpClient,
    ask_instance: bool,
) -> Result<Region, RemoteError> {
    let config = provider_config(http);
    let profile = ProfileFileRegionProvider::builder().configure(&config).build();
    let mut chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(profile);
    if settings.endpoint_url.is_some() {
        chain = chain.or_else(Region::new(ANY_REGION));
    } else if ask_instance {
        let instance = ImdsRegionProvider::builder().configure(&config).imds_client(instance_metadata(&config));
        chain = chain.or_else(instance.build());
    }
    match tokio::time::timeout(PATIENCE, chain.region()).await {
        Ok(Some(region)) => Ok(region),
        Ok(None) | Err(_) => {
            let source = "neither the configuration nor the AWS environment, profile or instance names one";
            Err(connect_error(Trouble::NoRegion, source))
        }
    }
}

fn provider_config(http: &SharedHttpClient) -> ProviderConfig {
    ProviderConfig::without_region().with_http_client(http.clone())
}

/// On a machine outside AWS nobody answers at this address, and packets to it may vanish.
fn instance_metadata(config: &ProviderConfig) -> imds::Client {
    imds::Client::builder()
        .configure(config)
        .max_attempts(2)
        .connect_timeout(Duration::from_secs(1))
        .read_timeout(Duration::from_secs(1))
        .operation_timeout(Duration::from_secs(5))
        .build()
}

fn connect_error(trouble: Trouble, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RemoteError {
    RemoteError { operation: Operation::Connect, bucket: String::new(), key: None, trouble, source: source.into() }
}

/// Whether a URL's host is this machine.
pub(super) fn is_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_loopback() {
        for url in ["http://127.0.0.1:3900", "http://localhost", "https://[::1]:9000/", "http://127.8.8.8"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://10.0.0.1", "https://s3.example.com", "https://localhost.example.com", "nonsense url"] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
