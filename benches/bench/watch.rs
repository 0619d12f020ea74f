//! Subscribers: any number of WebSockets in one process, which count events and how old they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::load::find;
use crate::harness::TestResult;

#[derive(Default)]
struct Seen {
    events: AtomicU64,
    last_us: AtomicU64,
    ages_us: std::sync::Mutex<Vec<u32>>,
}

/// `watch SUBSCRIBERS QUERY ADDRESS...`: subscribes, spread over the nodes, says `ready`; at each line on
/// its input it prints what was seen since the last: events, the time of the last, p50 and p99 of their
/// age (from the header `x-sent`, in microseconds).
pub async fn run(words: &[&str]) -> TestResult {
    let [subscribers, query, addresses @ ..] = words else { return Err("watch: wrong usage".into()) };
    let subscribers: usize = subscribers.parse()?;
    let seen = Arc::new(Seen::default());
    for n in 0..subscribers {
        let stream = connect(addresses[n % addresses.len()], query).await?;
        tokio::spawn(count(stream, seen.clone()));
    }
    println!("ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        // `until N` waits for so many events, for at most a minute.
        if let Some(wanted) = line.strip_prefix("until ") {
            let wanted: u64 = wanted.parse()?;
            let patience = Instant::now() + Duration::from_secs(60);
            while seen.events.load(Ordering::Relaxed) < wanted && Instant::now() < patience {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let mut ages = std::mem::take(&mut *seen.ages_us.lock().unwrap());
        ages.sort_unstable();
        let at = |share: f64| ages.get((ages.len() as f64 * share) as usize).copied();
        println!(
            "{}",
            json!({
                "events": seen.events.swap(0, Ordering::Relaxed),
                "last_us": seen.last_us.load(Ordering::Relaxed),
                "p50_us": at(0.5),
                "p99_us": at(0.99),
            })
        );
    }
    Ok(())
}

async fn connect(address: &str, query: &str) -> TestResult<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET /api/stream?{query} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while find(&head, b"\r\n\r\n").is_none() {
        head.push(stream.read_u8().await?);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err(String::from_utf8_lossy(&head).into_owned().into());
    }
    Ok(stream)
}

/// Counts the frames of events. The age is looked at where there is one.
async fn count(mut stream: TcpStream, seen: Arc<Seen>) -> TestResult {
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let now = now_us();
        let mut at = 0;
        let mut events = 0;
        while let Some((start, end)) = frame(&buffer[at..]) {
            let payload = &buffer[at + start..at + end];
            if payload.starts_with(br#"{"type":"capture""#) {
                events += 1;
                if let Some(sent) = sent_us(payload) {
                    seen.ages_us.lock().unwrap().push(now.saturating_sub(sent) as u32);
                }
            }
            at += end;
        }
        buffer.drain(..at);
        if events > 0 {
            seen.events.fetch_add(events, Ordering::Relaxed);
            seen.last_us.fetch_max(now, Ordering::Relaxed);
        }
    }
}

/// Where the payload of the first whole frame is.
fn frame(buffer: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match *buffer.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    (buffer.len() >= start + length).then_some((start, start + length))
}

fn sent_us(payload: &[u8]) -> Option<u64> {
    let at = find(payload, br#"["x-sent",""#)? + 11;
    let digits = payload[at..].iter().take_while(|b| b.is_ascii_digit());
    Some(digits.fold(0, |n, b| n * 10 + u64::from(b - b'0')))
}

#[expect(clippy::disallowed_methods, reason = "two processes compare their clocks, which are one")]
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Subscribers in a process of their own, from outside.
pub struct Watcher {
    child: tokio::process::Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Watcher {
    /// Returns when all have subscribed.
    pub async fn start(subscribers: usize, query: &str, addresses: &[&str]) -> TestResult<Self> {
        let subscribers = subscribers.to_string();
        let words = [&["watch", &subscribers, query], addresses].concat();
        let mut child = super::role::start(&words)?;
        let output = child.stdout.take().ok_or("the watcher has no output")?;
        let mut lines = BufReader::new(output).lines();
        match lines.next_line().await? {
            Some(line) if line == "ready" => Ok(Self { child, lines }),
            other => Err(format!("the watcher says {other:?}").into()),
        }
    }

    /// What was seen since this was last asked.
    pub async fn seen(&mut self) -> TestResult<serde_json::Value> {
        self.ask("now\n").await
    }

    /// The same, once so many events were seen.
    pub async fn seen_until(&mut self, events: u64) -> TestResult<serde_json::Value> {
        self.ask(&format!("until {events}\n")).await
    }

    async fn ask(&mut self, question: &str) -> TestResult<serde_json::Value> {
        let input = self.child.stdin.as_mut().ok_or("the watcher has no input")?;
        input.write_all(question.as_bytes()).await?;
        input.flush().await?;
        let line = self.lines.next_line().await?.ok_or("the watcher has ended")?;
        Ok(serde_json::from_str(&line)?)
    }
}
