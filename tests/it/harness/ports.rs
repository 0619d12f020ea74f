//! Ports for programs that have to be told one.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Mutex;

use super::TestResult;

/// Below the range that the kernel takes for outgoing connections: a client that connects again and
/// again to a server that is down could otherwise be given the server's own port, and talk to itself.
const RANGE: std::ops::Range<u16> = 14_000..32_000;

const START_TRIES: usize = 3;

static HANDED_OUT: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port on 127.0.0.1 that nobody listens on now.
pub fn free_port() -> u16 {
    let mut handed_out = HANDED_OUT.lock().expect("nobody panics with the ports");
    let handed_out = handed_out.get_or_insert_default();
    loop {
        let port = rand::random_range(RANGE);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && handed_out.insert(port) {
            return port;
        }
    }
}

/// Starts something on ports of its own choice, and again where another process has taken one of them
/// between its choice and its use.
pub async fn start_on_free_ports<T, F>(start: impl Fn() -> F) -> TestResult<T>
where
    F: Future<Output = TestResult<T>>,
{
    let mut tries = 1;
    loop {
        match start().await {
            Err(error) if tries < START_TRIES && is_clash(&error.to_string()) => tries += 1,
            outcome => return outcome,
        }
    }
}

/// In the words of the system, and in Erlang's.
fn is_clash(log: &str) -> bool {
    log.contains("Address already in use") || log.contains("eaddrinuse")
}
