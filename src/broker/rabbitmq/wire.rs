//! One lapin connection that can always be ended.
//!
//! lapin runs every connection on a thread of its own, and nothing ends that thread while a peer is
//! silent in the middle of a login, or while bytes that it does not take are to be flushed. Trying on
//! against a frozen server would thus gather threads without limit. So the socket is made here, a second
//! handle to it is kept, and cutting that ends the thread. Dropping a [`Wire`] cuts it.

use std::{
    io,
    net::Shutdown,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties, runtime::default_runtime, tcp::RustlsConnector,
    uri::AMQPUri,
};
use rustls::ClientConfig;
use socket2::SockRef;
use tokio::time::timeout;

use crate::broker::{
    dial::dial,
    reconnect::{Cause, fault},
    remote::CONNECT_WITHIN,
};

/// How long a polite goodbye may take.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// A connection and the means to cut it.
pub(super) struct Wire {
    pub(super) connection: Connection,
    // After the connection: dropped after it has tried to say goodbye.
    cutter: Cutter,
}

impl Wire {
    /// Connects and logs in; `name` is what the server's operator sees.
    pub(super) async fn connect(
        uri: &AMQPUri,
        tls: Option<Arc<ClientConfig>>,
        name: String,
    ) -> Result<Self, Cause> {
        let cutter = Cutter::default();
        let socket = cutter.socket.clone();
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = Connection::connector(
            uri.clone(),
            default_runtime().map_err(cause)?,
            async move |uri: AMQPUri, runtime| {
                let (host, port) = (uri.authority.host, uri.authority.port);
                let dialling = async {
                    let connect = |address| AsyncTcpStream::connect(&runtime, address);
                    let stream = dial(&host, port, connect).await?;
                    if let AsyncTcpStream::Plain(stream) = &stream {
                        hold(&socket, SockRef::from(stream.get_ref()).try_clone()?)?;
                    }
                    match &tls {
                        None => Ok(stream),
                        Some(tls) => stream.into_rustls(&RustlsConnector::from(tls.clone()), &host).await,
                    }
                };
                let late = |_| io::Error::from(io::ErrorKind::TimedOut);
                Ok(timeout(CONNECT_WITHIN, dialling).await.map_err(late).flatten()?)
            },
            properties,
        );
        let connected = timeout(CONNECT_WITHIN, connecting).await;
        let connection = connected.map_err(|_| fault("connecting took too long"))?.map_err(cause)?;
        Ok(Self { connection, cutter })
    }

    /// Says goodbye, so that the server frees what hangs on the connection at once, and cuts.
    pub(super) async fn end(self) {
        if timeout(CLOSE_WITHIN, self.connection.close(200, "".into())).await.is_err() {
            tracing::debug!("the connection to the broker was cut without a goodbye");
        }
        drop(self.cutter);
    }
}

/// Cuts the socket when it is dropped, be it open by then or still to be.
#[derive(Default)]
struct Cutter {
    socket: Arc<Mutex<Socket>>,
}

#[derive(Default)]
enum Socket {
    #[default]
    Dialling,
    Open(socket2::Socket),
    Cut,
}

fn lock(socket: &Mutex<Socket>) -> MutexGuard<'_, Socket> {
    socket.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hold(socket: &Mutex<Socket>, handle: socket2::Socket) -> io::Result<()> {
    let mut socket = lock(socket);
    if matches!(*socket, Socket::Cut) {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    *socket = Socket::Open(handle);
    Ok(())
}

impl Drop for Cutter {
    fn drop(&mut self) {
        if let Socket::Open(handle) = std::mem::replace(&mut *lock(&self.socket), Socket::Cut)
            && let Err(error) = handle.shutdown(Shutdown::Both)
        {
            // The peer was quicker.
            tracing::trace!(%error, "the socket to the broker was no longer connected");
        }
    }
}

pub(super) fn cause(error: lapin::Error) -> Cause {
    Arc::new(error)
}
