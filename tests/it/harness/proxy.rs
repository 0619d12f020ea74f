//! A TCP proxy with faults: it stands between a client and its server and cuts, holds or refuses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{TestResult, ports};

const NO_LIMIT: i64 = i64::MAX;

/// Forwards to its target until it is told otherwise. Ends with the value.
pub struct Proxy {
    port: u16,
    control: Arc<Control>,
    listener: JoinHandle<()>,
}

struct Control {
    state: watch::Sender<State>,
    /// Bytes, either way, that may still pass before all connections are cut.
    bytes_left: AtomicI64,
    /// Connections that were cut so far.
    cut: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    mode: Mode,
    /// Connections of an earlier era are cut.
    era: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward,
    Pause,
    HoldReplies,
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Reply,
}

impl Proxy {
    /// In front of `HOST:PORT`.
    pub async fn start(target: impl Into<String>) -> TestResult<Self> {
        let control = Arc::new(Control {
            state: watch::Sender::new(State { mode: Mode::Forward, era: 0 }),
            bytes_left: AtomicI64::new(NO_LIMIT),
            cut: AtomicU64::new(0),
        });
        let (port, listener) = loop {
            let port = ports::free_port();
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
                break (port, listener);
            }
        };
        let listener = tokio::spawn(listen(listener, target.into(), control.clone()));
        Ok(Self { port, control, listener })
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The same URL, but by way of this proxy.
    pub fn through(&self, url: &str) -> TestResult<String> {
        let mut url = url::Url::parse(url)?;
        url.set_port(Some(self.port)).map_err(|()| format!("no port fits into {url}"))?;
        Ok(url.into())
    }

    /// Ends all connections; new ones are forwarded as before.
    pub fn cut(&self) {
        self.control.cut();
    }

    /// Ends all connections once so many more bytes, of both directions together, have passed.
    pub fn cut_after(&self, bytes: u32) {
        self.control.bytes_left.store(i64::from(bytes), Ordering::SeqCst);
    }

    /// Connections that were cut so far, in whichever way.
    pub fn cut_connections(&self) -> u64 {
        self.control.cut.load(Ordering::SeqCst)
    }

    /// Accepts connections and holds on to whatever comes, both ways.
    pub fn pause(&self) {
        self.control.set(Mode::Pause);
    }

    /// Forwards what clients say and holds back what the server answers. With [`cut`](Self::cut)
    /// afterwards, clients cannot know what has become of their requests.
    pub fn hold_replies(&self) {
        self.control.set(Mode::HoldReplies);
    }

    /// Nobody listens for new connections; those that are open go on.
    pub fn refuse(&self) {
        self.control.set(Mode::Refuse);
    }

    /// Forwards again, what was held back first.
    pub fn resume(&self) {
        self.control.set(Mode::Forward);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

impl Control {
    fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    fn cut(&self) {
        self.bytes_left.store(NO_LIMIT, Ordering::SeqCst);
        self.state.send_modify(|state| state.era += 1);
    }

    /// How many of these bytes may pass.
    fn take(&self, bytes: usize) -> usize {
        let bytes = i64::try_from(bytes).expect("a buffer is small");
        let left = self.bytes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            Some(if left == NO_LIMIT { left } else { left.saturating_sub(bytes).max(0) })
        });
        usize::try_from(left.expect("the update always yields a value").min(bytes)).expect("not negative")
    }
}

async fn listen(first: TcpListener, target: String, control: Arc<Control>) {
    let address = first.local_addr().expect("a listener has an address");
    let mut listener = Some(first);
    let mut state = control.state.subscribe();
    loop {
        let mode = state.borrow_and_update().mode;
        if mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.expect("listen on the proxy's port again"));
        }
        tokio::select! {
            _ = state.changed() => {}
            Some(client) = accept(listener.as_ref()) => {
                tokio::spawn(forward(client, target.clone(), control.clone()));
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

/// One connection, until either side ends it or it is cut.
async fn forward(client: TcpStream, target: String, control: Arc<Control>) {
    let mut state = control.state.subscribe();
    let era = state.borrow().era;
    let Ok(server) = TcpStream::connect(&target).await else { return };
    client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::join!(
            pump(from_client, to_server, Direction::Request, &control),
            pump(from_server, to_client, Direction::Reply, &control)
        )
    };
    tokio::select! {
        _ = both => {}
        _ = state.wait_for(|state| state.era != era) => drop(control.cut.fetch_add(1, Ordering::SeqCst)),
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    control: &Control,
) -> io::Result<()> {
    let mut state = control.state.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        // The proxy's end ends the connection by the era; an error cannot come of it.
        state.wait_for(|state| state.mode.lets_pass(direction)).await.ok();
        if read == 0 {
            return to.shutdown().await;
        }
        let allowed = control.take(read);
        to.write_all(&buffer[..allowed]).await?;
        if allowed < read {
            control.cut();
            // Nothing may pass behind what is missing.
            return Ok(());
        }
    }
}

impl Mode {
    fn lets_pass(self, direction: Direction) -> bool {
        match self {
            Self::Forward | Self::Refuse => true,
            Self::HoldReplies => direction == Direction::Request,
            Self::Pause => false,
        }
    }
}
