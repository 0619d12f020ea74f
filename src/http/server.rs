//! The listeners: one for everything, or one for capture and one for the rest.

use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_service::{ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config};
use actix_web::dev::{AppConfig, Server, ServerHandle, Service as _};
use actix_web::rt::net::TcpStream as Socket;
use actix_web::{App, web};
use futures_util::FutureExt as _;
use socket2::SockRef;

use super::door::Door;
use super::inflow::{self, Connection, WRITE_BYTES};
use super::routes::routes;
use super::state::State;
use super::wire::Wire;

/// Connections that the operating system holds until they are accepted.
const BACKLOG: u32 = 4096;

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    Everything,
    CaptureOnly,
    AllButCapture,
}

impl Surface {
    pub fn captures(self) -> bool {
        self != Self::AllButCapture
    }

    pub fn serves_api(self) -> bool {
        self != Self::CaptureOnly
    }
}

/// How a node listens.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    pub listen: SocketAddr,
    pub api_listen: Option<SocketAddr>,
    pub workers: usize,
    pub connections_max: usize,
    pub head_timeout: Duration,
    pub keep_alive: Duration,
    pub write_timeout: Duration,
    /// How long a stopping node waits for bodies; connections that are open still are cut soon after.
    pub patience: Duration,
}

/// The running listeners, with the addresses that they are bound to.
pub struct Listening {
    pub capture: SocketAddr,
    pub api: SocketAddr,
    servers: Vec<ServerHandle>,
    running: Vec<tokio::task::JoinHandle<io::Result<()>>>,
}

/// Binds and starts.
///
/// # Errors
/// Where an address cannot be bound.
pub fn start(options: &ServerOptions, state: &Arc<State>) -> io::Result<Listening> {
    let mut listeners = Vec::new();
    match options.api_listen {
        None => listeners.push((bind(options.listen)?, Surface::Everything)),
        Some(api) => {
            listeners.push((bind(options.listen)?, Surface::CaptureOnly));
            listeners.push((bind(api)?, Surface::AllButCapture));
        }
    }
    let capture = listeners[0].0.local_addr()?;
    let api = listeners.last().map_or(Ok(capture), |(listener, _)| listener.local_addr())?;
    let mut servers = Vec::new();
    let mut running = Vec::new();
    for (listener, surface) in listeners {
        let server = serve(listener, surface, options, web::Data::from(state.clone()))?;
        servers.push(server.handle());
        running.push(tokio::spawn(server));
    }
    Ok(Listening { capture, api, servers, running })
}

impl Listening {
    /// Stops accepting, and waits until what was accepted is finished, within the time that is set.
    pub async fn stop(self) {
        futures_util::future::join_all(self.servers.iter().map(|server| server.stop(true))).await;
        for running in self.running {
            if let Ok(Err(error)) = running.await {
                tracing::error!(%error, "a listener failed");
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("failed to listen on {address}: {error}")))
}

fn serve(
    listener: TcpListener,
    surface: Surface,
    options: &ServerOptions,
    state: web::Data<State>,
) -> io::Result<Server> {
    let workers = match options.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        workers => workers,
    };
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(options.connections_max.div_ceil(workers))
        .backlog(BACKLOG)
        // In whole seconds: one more at most, in which those are answered who were not waited for.
        .shutdown_timeout(options.patience.as_secs() + 1)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let options = options.clone();
    // What `HttpServer` makes, but of connections that are not read further than they are served.
    let server = builder.listen("http", listener, move || {
        let (state, stopping, inflows) = (state.clone(), stopping.clone(), state.inflows.clone());
        let routed = state.clone();
        let door = Door::new(state.clone(), surface);
        let app = App::new().app_data(state).configure(|config| routes(config, &routed, surface));
        let app = map_config(app, |()| AppConfig::default());
        let app = apply_fn_factory(app, move |request, app| door.pass(request, app));
        let app =
            apply_fn_factory(app, inflow::serve).map_err(|error: actix_web::Error| error.error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .client_request_timeout(options.head_timeout)
            .keep_alive(options.keep_alive)
            .h1_write_buffer_size(WRITE_BYTES)
            // The server closes first, and at once: a WebSocket's peer waits for it (RFC 6455, section 7.1.1). What
            // still comes of bodies that nobody reads is not actix's to wait for, but drain.rs'.
            .client_disconnect_timeout(Duration::ZERO)
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.inflow());
                match Wire::of(connection.socket()) {
                    Ok(wire) => drop(data.insert(Rc::new(wire))),
                    Err(error) => {
                        tracing::debug!(%error, "no second handle of a connection: it cannot fail by rule");
                    }
                }
            })
            .h1(app);
        let http = apply_fn_factory(http, |(connection, peer): (Connection, _), http| {
            let inflow = connection.inflow();
            // Not in one `async` block: that would have room for the connection twice.
            http.call((connection, peer)).then(|served| async move {
                inflow.lasted().await;
                served
            })
        });
        let write_timeout = options.write_timeout;
        fn_service(move |socket: Socket| {
            set_up(&socket, write_timeout);
            let peer = socket.peer_addr().ok();
            let connection = Connection::accept(socket, inflows.clone(), options.head_timeout);
            ready(connection.map(|connection| (connection, peer)).map_err(DispatchError::Io))
        })
        .and_then(http)
    })?;
    Ok(server.run())
}

fn set_up(socket: &Socket, write_timeout: Duration) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "failed to have a connection send without delay");
    }
    // A reader that takes nothing, or a peer that is gone without a word: the kernel ends it.
    if let Err(error) = SockRef::from(socket).set_tcp_user_timeout(Some(write_timeout)) {
        tracing::debug!(%error, "failed to limit the time of a connection's writes");
    }
}
