//! Load: senders that post one request after another over connections that they keep, and remember
//! what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
    stop: CancellationToken,
    acknowledged: Arc<AtomicU64>,
    senders: JoinSet<Sent>,
}

/// What became of everything that was sent.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    pub acknowledged: Vec<Acknowledged>,
    /// Answers that were not 2xx, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Requests without an answer: whether they were kept is in doubt.
    pub broken: u64,
}

/// A request that was answered 2xx. Its body is `{"sender":3,"number":17}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    pub capture_id: String,
    pub sender: usize,
    pub number: u64,
}

impl Load {
    /// So many senders, each posting to its node (they are dealt out in turn) until it fails there, and
    /// then to the next one.
    pub fn start(senders: usize, nodes: &[String], path: &str) -> Self {
        let stop = CancellationToken::new();
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut set = JoinSet::new();
        for sender in 0..senders {
            let (nodes, path) = (nodes.to_vec(), path.to_owned());
            set.spawn(send_until(stop.clone(), acknowledged.clone(), sender, nodes, path));
        }
        Self { stop, acknowledged, senders: set }
    }

    /// Requests answered 2xx so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Lets each sender finish its request, and gathers what they did.
    pub async fn stop(self) -> Sent {
        self.stop.cancel();
        let mut all = Sent::default();
        for sent in self.senders.join_all().await {
            all.acknowledged.extend(sent.acknowledged);
            all.broken += sent.broken;
            for (status, count) in sent.refused {
                *all.refused.entry(status).or_default() += count;
            }
        }
        all
    }
}

async fn send_until(
    stop: CancellationToken,
    acknowledged: Arc<AtomicU64>,
    sender: usize,
    nodes: Vec<String>,
    path: String,
) -> Sent {
    let mut sent = Sent::default();
    let mut node = sender;
    let mut connection = None;
    for number in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let host = &nodes[node % nodes.len()];
        let posting = post(&mut connection, host, &path, sender, number);
        let answer = tokio::time::timeout(ANSWER_LIMIT, posting).await;
        match answer {
            Ok(Ok(response)) if (200..300).contains(&response.status) => {
                let capture_id = response.header(ID_HEADER).unwrap_or_default().to_owned();
                sent.acknowledged.push(Acknowledged { capture_id, sender, number });
                acknowledged.fetch_add(1, Ordering::Relaxed);
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

async fn post(
    connection: &mut Option<Connection>,
    host: &str,
    path: &str,
    sender: usize,
    number: u64,
) -> TestResult<Response> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(host).await?),
    };
    let body = format!("{{\"sender\":{sender},\"number\":{number}}}");
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(request.as_bytes()).await?;
    connection.response().await
}
