//! Ports for programs that have to be told one.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Mutex;

/// Below the range that the kernel takes for outgoing connections: a client that connects again and
/// again to a server that is down could otherwise be given the server's own port, and talk to itself.
const RANGE: std::ops::Range<u16> = 14_000..32_000;

static HANDED_OUT: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port on 127.0.0.1 that nobody listens on now. Another process may still take it before it is
/// used, so whoever starts a server tries again with another one.
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
