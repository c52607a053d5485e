//! An S3 server inside this process, on the loopback interface.

mod api;
mod index;
mod store;
mod versions;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use aws_credential_types::Credentials;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use rand::RngExt as _;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use secrecy::ExposeSecret as _;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::config::settings::{S3Settings, StaticCredentials};
use crate::model::ShownPath;
use store::Store;

/// Names the key pair; the secret is new for each server.
const ACCESS_KEY: &str = "agent-portail-demo";

/// What requests are signed for.
const REGION: &str = "us-east-1";

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct EmbeddedS3 {
    address: SocketAddr,
    keys: StaticCredentials,
    store: Store,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// The server could not begin.
#[derive(Debug, Error)]
pub enum EmbeddedS3Error {
    /// The folder for the objects.
    #[error("use folder `{path}` for the embedded S3 server", path = .0)]
    Folder(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The port.
    #[error("listen on 127.0.0.1:{0} for the embedded S3 server; choose a free port")]
    Listen(u16, #[source] io::Error),
    /// A bucket.
    #[error("create bucket `{0}` on the embedded S3 server")]
    Bucket(String, #[source] Box<dyn std::error::Error + Send + Sync>),
}

impl EmbeddedS3 {
    /// Serves an empty store that keeps its bytes in `root`, a new and empty folder, on a port of 127.0.0.1 (0 = any). The
    /// store is for throwing away: what it knows of the objects in `root` ends with the process.
    pub async fn start(root: &Path, port: u16) -> Result<Self, EmbeddedS3Error> {
        let secret: [u8; 20] = rand::rng().random();
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let keys = StaticCredentials { access_key_id: ACCESS_KEY.to_owned(), secret_access_key: secret.into() };
        Self::start_with_keys(root, port, keys).await
    }

    /// The same with a key pair of the caller's.
    pub async fn start_with_keys(root: &Path, port: u16, keys: StaticCredentials) -> Result<Self, EmbeddedS3Error> {
        let store = Store::new(root).map_err(|source| EmbeddedS3Error::Folder(ShownPath(root).to_string(), source))?;
        let listen_error = |source| EmbeddedS3Error::Listen(port, source);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let mut service = S3ServiceBuilder::new(store.clone());
        service.set_auth(SimpleAuth::from_single(keys.access_key_id.as_str(), keys.secret_access_key.expose_secret()));
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, service.build(), stop.clone()));
        Ok(Self { address, keys, store, stop, task: Some(task) })
    }

    /// Of its API: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The only key pair that it accepts.
    pub fn credentials(&self) -> StaticCredentials {
        self.keys.clone()
    }

    /// The same for the SDK.
    pub fn sdk_credentials(&self) -> Credentials {
        let StaticCredentials { access_key_id, secret_access_key } = &self.keys;
        Credentials::new(access_key_id, secret_access_key.expose_secret(), None, None, "embedded S3 server")
    }

    /// The region to sign for.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// How to connect to it.
    pub fn settings(&self) -> S3Settings {
        S3Settings {
            region: Some(REGION.to_owned()),
            endpoint_url: Some(self.endpoint()),
            path_style: true,
            storage_class: None,
            encryption: None,
            credentials: Some(self.credentials()),
        }
    }

    /// Makes an empty bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<(), EmbeddedS3Error> {
        let created = self.store.create(name).await;
        created.map_err(|error| EmbeddedS3Error::Bucket(name.to_owned(), error.into()))
    }

    /// Breaks all connections off and waits until the server has ended.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // It can only fail by panicking, which has been reported by then.
            task.await.ok();
        }
    }
}

impl Drop for EmbeddedS3 {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(listener: TcpListener, service: S3Service, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        // Without this, answers wait for the client's delayed acknowledgements.
        stream.set_nodelay(true).ok();
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        connections.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection to the embedded S3 server broke");
            }
        });
    }
}
