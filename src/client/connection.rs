//! Connections: HTTP/1.1, plain or by TLS, kept for a moment for the next request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// No node or target is waited for longer until it takes the connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Shorter than what servers commonly keep, so that a request never meets a connection that is being closed.
const IDLE_LIMIT: Duration = Duration::from_secs(1);
const KEEPALIVE: Duration = Duration::from_secs(15);

pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that follows no redirects and goes by no proxy. The system's certificates are read where TLS is
/// to be spoken (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).
pub fn http_client(tls: bool) -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_LIMIT));
    connector.set_keepalive(Some(KEEPALIVE));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls_config(tls))
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_LIMIT)
        .pool_max_idle_per_host(8)
        .build(connector)
}

/// The provider is ring, named here, so that nothing hangs on which one a process happens to have.
fn tls_config(with_roots: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    if with_roots {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what the default versions of TLS need")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// What went wrong at the bottom, in the system's words.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
