//! Posts to a webhook, signed as [Standard Webhooks](https://www.standardwebhooks.com) has it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ring::hmac;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::config::settings::WebhookUrl;
use crate::tls::{self, CaFileError};

/// For the whole delivery. Who needs longer is to answer first and work afterwards.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of an answer's body, of which nothing but the end of the connection depends on.
const ANSWER: usize = 64 << 10;

/// A webhook that can be posted to.
pub struct Webhook {
    url: WebhookUrl,
    key: Option<hmac::Key>,
    tls: Option<TlsConnector>,
}

/// A notification was not delivered. Nothing here quotes the URL, whose path may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// No connection.
    #[error("connect to {host}")]
    Connect {
        /// And port.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("wait for the answer of {host}: none within {} s", PATIENCE.as_secs())]
    Silent {
        /// And port.
        host: String,
    },
    /// Not HTTP, or cut off.
    #[error("talk to {host}")]
    Http {
        /// And port.
        host: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answers with something else than 2xx.
    #[error("deliver to {host}: it answers {status}")]
    Refused {
        /// And port.
        host: String,
        /// Redirections are not followed: a signed body goes where it was sent to, or nowhere.
        status: StatusCode,
    },
}

impl Webhook {
    /// Reads the authorities, if any are needed.
    ///
    /// # Errors
    /// If the file of authorities can't be used.
    pub fn new(
        url: WebhookUrl,
        secret: Option<&SecretString>,
        ca_file: Option<&std::path::Path>,
    ) -> Result<Self, CaFileError> {
        let tls = match url.is_encrypted() {
            false => None,
            true => Some(TlsConnector::from(Arc::new(
                ClientConfig::builder_with_provider(tls::provider())
                    .with_safe_default_protocol_versions()
                    .map_err(|error| CaFileError { path: String::new(), reason: error.to_string() })?
                    .with_root_certificates(tls::roots(ca_file)?)
                    .with_no_client_auth(),
            ))),
        };
        let key = secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, &key(secret)));
        Ok(Self { url, key, tls })
    }

    /// Posts a body once. `id` is the same each time that the same is posted again.
    ///
    /// # Errors
    /// If it is not known to have arrived.
    pub async fn post(&self, id: &str, now: SystemTime, body: Bytes) -> Result<(), DeliveryError> {
        let host = self.url.authority();
        let status = tokio::time::timeout(PATIENCE, self.send(id, now, body))
            .await
            .map_err(|_| DeliveryError::Silent { host: host.clone() })??;
        if status.is_success() { Ok(()) } else { Err(DeliveryError::Refused { host, status }) }
    }

    async fn send(&self, id: &str, now: SystemTime, body: Bytes) -> Result<StatusCode, DeliveryError> {
        let host = self.url.authority();
        let connect = |source| DeliveryError::Connect { host: host.clone(), source };
        let stream = TcpStream::connect((self.url.host(), self.url.port())).await.map_err(connect)?;
        let request = self
            .request(id, now, body)
            .map_err(|source| DeliveryError::Http { host: host.clone(), source: source.into() })?;
        match &self.tls {
            None => exchange(stream, request, host).await,
            Some(tls) => {
                let name = ServerName::try_from(self.url.host().to_owned());
                let name = name.map_err(|error| connect(std::io::Error::other(error)))?;
                exchange(tls.connect(name, stream).await.map_err(connect)?, request, host).await
            }
        }
    }

    fn request(&self, id: &str, now: SystemTime, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let uri: &Uri = self.url.uri();
        let mut request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, self.url.host_header())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("agent-portail/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp);
        if let Some(key) = &self.key {
            request = request.header("webhook-signature", signature(key, id, timestamp, &body));
        }
        request.body(Full::new(body))
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
    host: String,
) -> Result<StatusCode, DeliveryError> {
    let http = |source: Box<dyn std::error::Error + Send + Sync>| DeliveryError::Http { host: host.clone(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| http(error.into()))?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(|error| http(error.into()))?;
    let status = response.status();
    // A receiver that is cut off in its answer may take what it has received back.
    Limited::new(response.into_body(), ANSWER).collect().await.map_err(http)?;
    Ok(status)
}

/// The bytes of the secret: base64 after `whsec_`, as the libraries write it, else as it is.
fn key(secret: &SecretString) -> Vec<u8> {
    let text = secret.expose_secret();
    let decoded = text.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    decoded.unwrap_or_else(|| text.as_bytes().to_vec())
}

fn signature(key: &hmac::Key, id: &str, timestamp: u64, body: &[u8]) -> String {
    let mut signed = hmac::Context::with_key(key);
    signed.update(format!("{id}.{timestamp}.").as_bytes());
    signed.update(body);
    format!("v1,{}", STANDARD.encode(signed.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_signed_as_the_standard_has_it() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key(&secret));
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_not_of_the_standards_form_is_taken_as_it_is() {
        assert_eq!(key(&SecretString::from("plain")), b"plain");
        assert_eq!(key(&SecretString::from("whsec_!")), b"whsec_!");
        assert_eq!(key(&SecretString::from("whsec_cGxhaW4=")), b"plain");
    }
}
