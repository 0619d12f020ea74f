//! The Redis broker: plain pub/sub, so nothing is kept in Redis.
//!
//! It speaks RESP3 (Redis 6 and later, Valkey): there messages come as pushes, which the library hands
//! over as it reads them, so that nothing gathers in an unbounded channel on the way. Pub/sub knows no
//! databases: the one in the URL is selected, but separates nothing; topics do.
//!
//! What Redis does on its own: it cuts off a subscriber that does not read
//! (`client-output-buffer-limit pubsub`, 32 MiB by default), which here is an absence like any other.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisConnectionInfo, Value, aio::MultiplexedConnection,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::{
    Broker, BrokerError,
    dial::dial,
    parse_url,
    reconnect::{Cause, fault},
    remote::{CONNECT_WITHIN, Receiving, Remote, Sending, Transport},
    tls, wrong_url,
};

/// Every connection is asked that often whether it still lives: a subscriber that only listens would
/// stay deaf on a connection that died without a word.
const PING_EVERY: Duration = Duration::from_secs(2);
/// How long the answer may take.
const PING_WITHIN: Duration = Duration::from_secs(3);

/// Opens a broker over a Redis server.
///
/// Begins to connect to `redis://` or `rediss://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`; with
/// `rediss://` the server's certificate is checked against the system's and those in `ca_file`.
/// Fails on settings alone: a server that cannot be reached is tried on. Must be called within a
/// tokio runtime.
pub fn open(url: &str, ca_file: Option<&Path>) -> Result<impl Broker + use<>, BrokerError> {
    Ok(Remote::open(Redis::new(url, ca_file)?))
}

/// Whether [`open`] would take these settings.
pub fn check(url: &str, ca_file: Option<&Path>) -> Result<(), BrokerError> {
    Redis::new(url, ca_file).map(drop)
}

struct Redis {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    login: RedisConnectionInfo,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Moves a connection's bytes; when it ends, the connection has.
type Driver = BoxFuture<'static, ()>;

impl Redis {
    fn new(url: &str, ca_file: Option<&Path>) -> Result<Self, BrokerError> {
        // The library's words on a URL are not passed on: they might quote it.
        let parsed = parse_url(url)?;
        let database = parsed.path().trim_start_matches('/');
        if !database.is_empty() && database.parse::<u32>().is_err() {
            return Err(wrong_url("has a path that is no database's number"));
        }
        let wrong = wrong_url;
        let info = url.into_connection_info().map_err(|_| wrong("is no redis:// or rediss:// URL"))?;
        let (host, port, tls) = match info.addr().clone() {
            ConnectionAddr::Tcp(host, port) => (host, port, None),
            ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong("has no valid host"))?;
                (host, port, Some((TlsConnector::from(tls::client_config(ca_file)?), name)))
            }
            _ => return Err(wrong("must be redis:// or rediss://, without #insecure")),
        };
        if tls.is_none() && ca_file.is_some() {
            return Err(wrong("must be rediss:// where broker.ca_file is given"));
        }
        let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let login = login.set_lib_name("creel", env!("CARGO_PKG_VERSION"));
        Ok(Self { host, port, tls, login })
    }

    async fn connect(&self, config: AsyncConnectionConfig) -> Result<(MultiplexedConnection, Driver), Cause> {
        let connecting = async {
            let stream = dial(&self.host, self.port, TcpStream::connect).await.map_err(cause)?;
            stream.set_nodelay(true).map_err(cause)?;
            let stream: Box<dyn Stream> = match &self.tls {
                None => Box::new(stream),
                Some((connector, name)) => {
                    Box::new(connector.connect(name.clone(), stream).await.map_err(cause)?)
                }
            };
            // All bounds on time are set here, around what is asked.
            let config = config.set_response_timeout(None);
            let connecting = MultiplexedConnection::new_with_config(&self.login, stream, config);
            let (connection, driver) = connecting.await.map_err(cause)?;
            Ok((connection, Box::pin(driver) as Driver))
        };
        timeout(CONNECT_WITHIN, connecting).await.map_err(|_| fault("connecting took too long"))?
    }
}

#[async_trait::async_trait]
impl Transport for Redis {
    type Link = MultiplexedConnection;

    fn name(&self) -> String {
        format!("redis at {}:{}", self.host, self.port)
    }

    async fn live_sending(
        &self,
        sending: &Sending<MultiplexedConnection>,
        stop: &CancellationToken,
    ) -> Result<(), Cause> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            cause = async {
                let (connection, driver) = match self.connect(AsyncConnectionConfig::new()).await {
                    Ok(connected) => connected,
                    Err(cause) => return cause,
                };
                let failed = sending.up(connection.clone());
                tokio::select! {
                    () = driver => fault("the server closed the connection"),
                    () = failed.cancelled() => fault("a publish failed"),
                    cause = keep_asking(connection) => cause,
                }
            } => Err(cause),
        }
    }

    async fn send(&self, link: &MultiplexedConnection, topic: &str, message: &Bytes) -> Result<(), Cause> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(topic).arg(&message[..]);
        publish.exec_async(&mut link.clone()).await.map_err(cause)
    }

    async fn live_receiving(
        &self,
        topic: &str,
        receiving: &Arc<Receiving>,
        stop: &CancellationToken,
    ) -> Result<(), Cause> {
        let pushes = receiving.clone();
        let config = AsyncConnectionConfig::new().set_push_sender(move |push| {
            take_push(&pushes, push);
            Ok::<_, std::convert::Infallible>(())
        });
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            cause = async {
                let (mut connection, driver) = match self.connect(config).await {
                    Ok(connected) => connected,
                    Err(cause) => return cause,
                };
                let subscribed = async {
                    match timeout(CONNECT_WITHIN, connection.subscribe(topic)).await {
                        Ok(Ok(())) => keep_asking(connection).await,
                        Ok(Err(error)) => cause(error),
                        Err(_) => fault("subscribing took too long"),
                    }
                };
                tokio::select! {
                    () = driver => fault("the server closed the connection"),
                    cause = subscribed => cause,
                }
            } => Err(cause),
        }
    }
}

/// The confirmation comes in line with the messages, and so does `Back`.
fn take_push(receiving: &Receiving, mut push: PushInfo) {
    match push.kind {
        PushKind::Subscribe => receiving.up(),
        PushKind::Message => {
            if let Some(Value::BulkString(message)) = push.data.pop() {
                receiving.message(Bytes::from(message));
            }
        }
        _ => {}
    }
}

/// Ends when the server no longer answers.
async fn keep_asking(mut connection: MultiplexedConnection) -> Cause {
    loop {
        sleep(PING_EVERY).await;
        match timeout(PING_WITHIN, redis::cmd("PING").exec_async(&mut connection)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return cause(error),
            Err(_) => return fault("the server does not answer"),
        }
    }
}

fn cause(error: impl std::error::Error + Send + Sync + 'static) -> Cause {
    Arc::new(error)
}
