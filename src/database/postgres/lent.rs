//! The pool's connections: who drives them, and what becomes of one whose caller has gone.

use std::time::Duration;

use deadpool_postgres::{ConfigConnectImpl, Connect, Object};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::context::TokioContext;

/// Makes the pool's connections on one runtime, whoever needs one: the runtime of the journal's thread, or of an HTTP
/// worker, may end before the pool, or be busy while others wait for what a connection reads.
#[derive(Clone)]
pub struct Making {
    pub tls: MakeRustlsConnect,
    /// None: that of whoever needs it.
    pub runtime: Option<Handle>,
}

impl Connect for Making {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let config = config.clone();
        let connecting = async move { ConfigConnectImpl { tls: self.tls.clone() }.connect(&config).await };
        match &self.runtime {
            Some(runtime) => Box::pin(TokioContext::new(connecting, runtime.clone())),
            None => Box::pin(connecting),
        }
    }
}

/// A connection for one use. Where its caller goes before the end the statement is stopped, and the connection closed:
/// until the server knows, it counts as used, so that there are never more than there may be.
pub struct Lent<'a> {
    client: Option<Object>,
    making: &'a Making,
    stop_within: Duration,
}

impl<'a> Lent<'a> {
    pub fn new(client: Object, making: &'a Making, stop_within: Duration) -> Self {
        Self { client: Some(client), making, stop_within }
    }

    pub fn client(&mut self) -> &mut Object {
        self.client.as_mut().expect("it is given back or closed once, and not used after that")
    }

    /// The use has ended: the connection is for others.
    pub fn give_back(mut self) {
        drop(self.client.take());
    }

    /// Nobody uses the connection any more; the server ends by itself what runs on it.
    pub fn close(mut self) {
        drop(self.client.take().map(Object::take));
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let Some(runtime) = self.making.runtime.clone().or_else(|| Handle::try_current().ok()) else {
            drop(Object::take(client));
            return;
        };
        let (token, tls, within) = (client.cancel_token(), self.making.tls.clone(), self.stop_within);
        drop(runtime.spawn(async move {
            if !matches!(tokio::time::timeout(within, token.cancel_query(tls)).await, Ok(Ok(()))) {
                tracing::debug!("failed to stop a statement that nobody waits for");
            }
            drop(Object::take(client));
        }));
    }
}
