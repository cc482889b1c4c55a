//! What a TLS receiver must show, and what it is shown.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::sinks::Sink;
use crate::escape::escape;

/// Where distributions keep the authorities that they trust.
const SYSTEM: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub(super) fn config(sink: &Sink) -> Result<Arc<ClientConfig>, String> {
    let ca = if sink.ca.is_empty() {
        let found = SYSTEM.iter().find(|path| Path::new(path).is_file());
        found.copied().ok_or("sink.ca: this system has no list of authorities: name a PEM file")?
    } else {
        &sink.ca
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca", ca)?);
    if roots.is_empty() {
        return Err(format!("sink.ca = \"{}\" has no certificate that can be used", escape(ca)));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_root_certificates(roots);
    let config = if sink.cert.is_empty() {
        builder.with_no_client_auth()
    } else {
        let pem = fs::read(&sink.key).map_err(|error| unreadable("key", &sink.key, &error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|error| unreadable("key", &sink.key, &error.to_string()))?;
        builder
            .with_client_auth_cert(certificates("cert", &sink.cert)?, key)
            .map_err(|error| unreadable("cert", &sink.cert, &error.to_string()))?
    };
    Ok(Arc::new(config))
}

fn certificates(key: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs::read(path).map_err(|error| unreadable(key, path, &error.to_string()))?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match list {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(unreadable(key, path, "it holds no certificate")),
        Err(error) => Err(unreadable(key, path, &error.to_string())),
    }
}

fn unreadable(key: &str, path: &str, error: &str) -> String {
    format!("sink.{key} = \"{}\": {error}; name a PEM file that can be read", escape(path))
}
