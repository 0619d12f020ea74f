//! TLS towards brokers: one way for all of them. The crypto provider is ring, named here, so that
//! nothing hangs on which one a process happens to have installed.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::BrokerError;

/// Trusts the system's certificates and those of `ca_file` (PEM).
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, BrokerError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let wrong = |reason: &dyn std::fmt::Display| {
            BrokerError::Settings(format!(
                "broker.ca_file: failed to read certificates from {}: {reason}",
                file.display()
            ))
        };
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(&error))?;
        if certificates.is_empty() {
            return Err(wrong(&"there are none in it"));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
    }
    if roots.is_empty() {
        return Err(BrokerError::Settings(
            "TLS wants certificates to check the broker's against: the system has none, and no file is given"
                .to_owned(),
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| BrokerError::Settings(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
