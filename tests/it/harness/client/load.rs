//! Load: senders that post one request after another over connections that they keep, and remember
//! what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::raw::{Connection, Response};
use crate::harness::TestResult;

const ID_HEADER: &str = "x-creel-capture-id";
/// An answer that takes longer is counted as broken.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Pause of a sender whose connection broke or was refused.
const PAUSE: Duration = Duration::from_millis(20);

/// Senders at work.
pub struct Load {
    control: Arc<Control>,
    senders: JoinSet<Sent>,
}

/// What senders and their test tell each other.
#[derive(Default)]
struct Control {
    stop: CancellationToken,
    acknowledged: AtomicU64,
    /// Between two requests of a sender.
    pause_ms: AtomicU64,
}

/// What became of everything that was sent.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    pub acknowledged: Vec<Acknowledged>,
    /// Answers that were not 2xx, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Requests without an answer: whether they were kept is in doubt.
    pub broken: u64,
    /// The longest that an answer took.
    pub slowest: Duration,
    /// Where to, and the size of each body, at least.
    pub path: String,
    pub body_bytes: usize,
}

/// A request that was answered 2xx. It had the [`method`] and the [`body`] that go with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    pub capture_id: String,
    pub sender: usize,
    pub number: u64,
}

/// The method of a sender's request.
pub fn method(number: u64) -> &'static str {
    ["POST", "PUT", "PATCH", "REPORT"][usize::try_from(number % 4).expect("less than four")]
}

/// The body of a sender's request: `{"sender":3,"number":17}`, and spaces up to a size.
pub fn body(sender: usize, number: u64, bytes: usize) -> String {
    format!("{:bytes$}", format!("{{\"sender\":{sender},\"number\":{number}}}"))
}

/// A header of its own value for each request.
pub const HEADER: &str = "x-sent";

impl Load {
    /// So many senders, each sending to its node (they are dealt out in turn) until it fails there, and
    /// then to the next one.
    pub fn start(senders: usize, nodes: &[String], path: &str) -> Self {
        Self::start_large(senders, nodes, path, 0)
    }

    /// The same, with bodies of at least so many bytes.
    pub fn start_large(senders: usize, nodes: &[String], path: &str, body_bytes: usize) -> Self {
        let control = Arc::<Control>::default();
        let mut set = JoinSet::new();
        for sender in 0..senders {
            let sent = Sent { path: path.to_owned(), body_bytes, ..Sent::default() };
            set.spawn(send_until_stopped(control.clone(), sender, nodes.to_vec(), sent));
        }
        Self { control, senders: set }
    }

    /// From now on each sender waits so long before its next request.
    pub fn pause(&self, pause: Duration) {
        self.control.pause_ms.store(pause.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Requests answered 2xx so far.
    pub fn acknowledged(&self) -> u64 {
        self.control.acknowledged.load(Ordering::Relaxed)
    }

    /// Lets each sender finish its request, and gathers what they did.
    pub async fn stop(self) -> Sent {
        self.control.stop.cancel();
        let mut all = Sent::default();
        for sent in self.senders.join_all().await {
            all.acknowledged.extend(sent.acknowledged);
            all.broken += sent.broken;
            all.slowest = all.slowest.max(sent.slowest);
            (all.path, all.body_bytes) = (sent.path, sent.body_bytes);
            for (status, count) in sent.refused {
                *all.refused.entry(status).or_default() += count;
            }
        }
        all
    }
}

async fn send_until_stopped(
    control: Arc<Control>,
    sender: usize,
    nodes: Vec<String>,
    mut sent: Sent,
) -> Sent {
    let mut node = sender;
    let mut connection = None;
    for number in 0.. {
        let pause = Duration::from_millis(control.pause_ms.load(Ordering::Relaxed));
        if !pause.is_zero() {
            control.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        if control.stop.is_cancelled() {
            break;
        }
        let host = &nodes[node % nodes.len()];
        let began = Instant::now();
        let body = body(sender, number, sent.body_bytes);
        let name = format!("{sender}-{number}");
        let sending = send(&mut connection, host, &sent.path, method(number), &name, &body);
        let answer = tokio::time::timeout(ANSWER_LIMIT, sending).await;
        if matches!(answer, Ok(Ok(_))) {
            sent.slowest = sent.slowest.max(began.elapsed());
        }
        match answer {
            Ok(Ok(response)) if (200..300).contains(&response.status) => {
                let capture_id = response.header(ID_HEADER).unwrap_or_default().to_owned();
                sent.acknowledged.push(Acknowledged { capture_id, sender, number });
                control.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Ok(response)) => {
                *sent.refused.entry(response.status).or_default() += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(Err(_)) | Err(_) => {
                sent.broken += 1;
                connection = None;
                node += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    sent
}

async fn send(
    connection: &mut Option<Connection>,
    host: &str,
    path: &str,
    method: &str,
    name: &str,
    body: &str,
) -> TestResult<Response> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(host).await?),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{HEADER}: {name}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(request.as_bytes()).await?;
    connection.response().await
}
