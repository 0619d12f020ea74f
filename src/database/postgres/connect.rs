//! Reaching a Postgres: the URL as libpq reads it, TLS by `sslmode`, time limits on both sides.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use super::errors::classify;
use crate::database::DatabaseError;

#[derive(Clone)]
pub struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    connect_timeout: Duration,
}

/// How much of the server's certificate is checked (libpq, section 34.19.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

impl Connector {
    pub fn new(url: &str, connect_timeout: Duration) -> Result<Self, DatabaseError> {
        let mut url = Url::parse(url).map_err(settings)?;
        let mut mode = SslMode::Prefer;
        let mut check = Check::Nothing;
        let mut root_file = None;
        let mut rest = Vec::new();
        for (key, value) in url.query_pairs() {
            match (key.as_ref(), value.as_ref()) {
                ("sslmode", "disable") => mode = SslMode::Disable,
                ("sslmode", "prefer") => mode = SslMode::Prefer,
                ("sslmode", "require") => mode = SslMode::Require,
                ("sslmode", "verify-ca") => (mode, check) = (SslMode::Require, Check::Chain),
                ("sslmode", "verify-full") => (mode, check) = (SslMode::Require, Check::ChainAndName),
                ("sslmode", other) => return Err(settings(format!("sslmode `{other}` is not known"))),
                ("sslrootcert", file) => root_file = Some(PathBuf::from(file)),
                (key, value) => rest.push((key.to_owned(), value.to_owned())),
            }
        }
        url.query_pairs_mut().clear().extend_pairs(rest);
        let mut config: Config = url.as_str().parse().map_err(settings)?;
        config
            .ssl_mode(mode)
            .connect_timeout(connect_timeout)
            .tcp_user_timeout(connect_timeout.max(Duration::from_secs(5)))
            .keepalives_idle(Duration::from_secs(30))
            .application_name("creel");
        let tls = MakeRustlsConnect::new(client_config(check, root_file)?);
        Ok(Self { config, tls, connect_timeout })
    }

    pub fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// The configuration of a session whose statements and lock waits the server itself ends after a time.
    pub fn config(&self, statement_timeout: Duration) -> Config {
        let ms = statement_timeout.as_millis();
        let mut config = self.config.clone();
        let options = config.get_options().unwrap_or_default().to_owned();
        config.options(format!(
            "{options} -c statement_timeout={ms} -c lock_timeout={ms} -c idle_in_transaction_session_timeout={ms} \
             -c default_transaction_isolation=read\\ committed"
        ));
        config
    }

    /// One connection outside of the pool, and the task that drives it.
    pub async fn connect(
        &self,
        statement_timeout: Duration,
    ) -> Result<(Client, JoinHandle<()>), DatabaseError> {
        let config = self.config(statement_timeout);
        let connecting = config.connect(self.tls.clone());
        let (client, connection) = tokio::time::timeout(self.connect_timeout, connecting)
            .await
            .map_err(|_| DatabaseError::timed_out("connecting", self.connect_timeout))?
            .map_err(classify)?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database ended");
            }
        });
        Ok((client, task))
    }
}

fn client_config(check: Check, root_file: Option<PathBuf>) -> Result<ClientConfig, DatabaseError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(settings)?;
    let inner = match check {
        Check::Nothing => None,
        Check::Chain | Check::ChainAndName => {
            let roots = Arc::new(roots(root_file)?);
            Some(
                WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                    .build()
                    .map_err(settings)?,
            )
        }
    };
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let verifier = Verifier { check, inner, schemes };
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn roots(file: Option<PathBuf>) -> Result<RootCertStore, DatabaseError> {
    let mut store = RootCertStore::empty();
    match file {
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| {
                settings(format!(
                    "failed to read certificates of sslrootcert from {}: {error}",
                    path.display()
                ))
            };
            for certificate in CertificateDer::pem_file_iter(&path).map_err(|error| wrong(&error))? {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                store.add(certificate).map_err(|error| wrong(&error))?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(store)
}

/// Checks as much as `sslmode` asks for.
#[derive(Debug)]
struct Verifier {
    check: Check,
    inner: Option<Arc<WebPkiServerVerifier>>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Check::Chain => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

fn settings(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DatabaseError {
    DatabaseError::Other(error.into())
}
