//! Encryption of the connection to PostgreSQL, in libpq's terms.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{CatalogError, Cause};
use crate::config::settings::Tls;
use crate::tls::{self, CaFileError};

/// When to encrypt. Connections over a socket never are.
pub(super) fn mode(tls: &Tls) -> SslMode {
    match tls {
        Tls::Disable => SslMode::Disable,
        Tls::Prefer => SslMode::Prefer,
        Tls::Require | Tls::VerifyFull { .. } => SslMode::Require,
    }
}

/// How to encrypt.
pub(super) fn connector(tls: &Tls) -> Result<MakeRustlsConnect, CatalogError> {
    let provider = tls::provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(CaFileError { path: String::new(), reason: error.to_string() }))?;
    let config = match tls {
        Tls::Disable | Tls::Prefer | Tls::Require => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider))).with_no_client_auth()
        }
        Tls::VerifyFull { ca_file } => {
            builder.with_root_certificates(tls::roots(ca_file.as_deref()).map_err(failed)?).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn failed(error: CaFileError) -> CatalogError {
    CatalogError::new("prepare TLS", "PostgreSQL", Cause::CaFile { path: error.path, reason: error.reason })
}

/// Takes any certificate, as libpq does for `prefer` and `require`: the connection is private against who listens, not against
/// who stands in between.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
