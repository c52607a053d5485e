//! What the program's own connections by TLS have in common.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// A file of authorities that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("read the authorities in {path}: {reason}")]
pub struct CaFileError {
    /// Where.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// One for all: two of them in a program get into each other's way.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The authorities of a PEM file, or the system's.
///
/// # Errors
/// If the file can't be read, or holds none.
pub fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, CaFileError> {
    let mut store = RootCertStore::empty();
    let Some(path) = ca_file else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(store);
    };
    let failed = |reason: String| CaFileError { path: path.display().to_string(), reason };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        store.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(failed("it has no certificate in PEM form".to_owned()));
    }
    Ok(store)
}
