//! A sender of webhooks that retries, small enough to be read: what `examples/e2e` puts to the test.
//!
//! `webhook-sender URL EVENT...` posts each event as a Standard Webhook (id, timestamp, signature), and tries again, with
//! the same id and after twice the time, until it is answered 2xx or has tried five times.

#![expect(clippy::print_stdout, reason = "it tells what it does")]

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use url::Url;

/// Tries in all, and the time before the second one.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_secs(10);

/// What sender and receiver share; of a real one it would be a secret.
const KEY: &[u8] = b"an example's key";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(url) = arguments.next().and_then(|url| Url::parse(&url).ok()) else {
        println!("usage: webhook-sender http://HOST:PORT/PATH EVENT...");
        return ExitCode::from(2);
    };
    let failed = arguments.filter(|event| !deliver(&url, event)).count();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Sends one event until it is taken; whether it was.
fn deliver(url: &Url, event: &str) -> bool {
    let id = format!("msg_{}", uuid::Uuid::new_v4().simple());
    let body = format!(r#"{{"type":"{event}","data":{{"id":"{id}"}}}}"#);
    let mut pause = FIRST_PAUSE;
    for tried in 1..=TRIES {
        match send(url, &id, &body) {
            Ok(status @ 200..=299) => {
                println!("{event}: taken at try {tried} ({status})");
                return true;
            }
            Ok(status) => println!("{event}: try {tried} was answered {status}"),
            Err(error) => println!("{event}: try {tried} failed: {error}"),
        }
        if tried < TRIES {
            std::thread::sleep(pause);
            pause *= 2;
        }
    }
    false
}

/// One request over HTTP/1.1; its answer's status.
fn send(url: &Url, id: &str, body: &str) -> Result<u16, Box<dyn Error>> {
    let host = url.host_str().ok_or("the URL has no host")?;
    let port = url.port_or_known_default().unwrap_or(80);
    let timestamp = UNIX_EPOCH.elapsed()?.as_secs();
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY)?;
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let mut stream = TcpStream::connect((host, port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "POST {} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         webhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: v1,{signature}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        url.path(),
        body.len()
    )?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(std::str::from_utf8(&head[9..])?.parse()?)
}
