//! Senders: connections that post a body, wait for the answer, and post again. As lean as can be, since
//! they share the machine with what they measure.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::TestResult;

/// `load ADDRESS CONNECTIONS SECONDS [PATHS]`: prints requests a second, p50 and p99 in microseconds,
/// and answers that were not 2xx. Each connection posts to one of `PATHS` endpoints.
pub async fn run(words: &[&str]) -> TestResult {
    let [address, connections, seconds, rest @ ..] = words else { return Err("load: wrong usage".into()) };
    let connections: usize = connections.parse()?;
    let paths: usize = rest.first().map_or(Ok(1), |paths| paths.parse())?;
    let time = Duration::from_secs_f64(seconds.parse()?);
    // Warm up first: connections, pools, prepared statements.
    send_for(address, connections, Duration::from_secs(1), paths).await?;
    let begin = Instant::now();
    let mut result = send_for(address, connections, time, paths).await?;
    let seconds = begin.elapsed().as_secs_f64();
    result.times_us.sort_unstable();
    let at = |share: f64| result.times_us.get((result.times_us.len() as f64 * share) as usize).copied();
    println!(
        "{}",
        json!({
            "per_second": result.times_us.len() as f64 / seconds,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
            "failed": result.failed,
        })
    );
    Ok(())
}

#[derive(Default)]
struct Sent {
    times_us: Vec<u32>,
    failed: u64,
}

async fn send_for(address: &str, connections: usize, time: Duration, paths: usize) -> TestResult<Sent> {
    let until = Instant::now() + time;
    let senders: Vec<_> = (0..connections)
        .map(|n| tokio::spawn(send(address.to_owned(), format!("bench-{}", n % paths), until)))
        .collect();
    let mut all = Sent::default();
    for sender in senders {
        let sent = sender.await??;
        all.times_us.extend(sent.times_us);
        all.failed += sent.failed;
    }
    Ok(all)
}

async fn send(address: String, code: String, until: Instant) -> TestResult<Sent> {
    let request = request(&address, &code, &body(1024));
    let mut stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    let mut sent = Sent::default();
    while Instant::now() < until {
        let begin = Instant::now();
        stream.write_all(&request).await?;
        if read_answer(&mut stream, &mut buffer).await? / 100 == 2 {
            sent.times_us.push(begin.elapsed().as_micros() as u32);
        } else {
            sent.failed += 1;
        }
    }
    Ok(sent)
}

/// A JSON object of so many bytes.
pub fn body(bytes: usize) -> Vec<u8> {
    let frame = r#"{"event":"order.created","note":""}"#.len();
    format!(r#"{{"event":"order.created","note":"{}"}}"#, "x".repeat(bytes - frame)).into_bytes()
}

/// A request with the headers that a sender of webhooks has.
pub fn request(address: &str, code: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /r/{code} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: creel-bench/1\r\nAccept: */*\r\n\
         Content-Type: application/json\r\nX-Request-Id: 6f1c1d2e\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Reads one answer with a Content-Length, and returns its status.
pub async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> TestResult<u16> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server has closed the connection".into());
        }
        let Some(end) = find(buffer, b"\r\n\r\n") else { continue };
        let head = &buffer[..end];
        let length = find(head, b"content-length: ").map_or(0, |at| {
            head[at + 16..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .fold(0, |n, b| n * 10 + usize::from(b - b'0'))
        });
        if buffer.len() >= end + 4 + length {
            return Ok(std::str::from_utf8(&head[9..12])?.parse()?);
        }
    }
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}
