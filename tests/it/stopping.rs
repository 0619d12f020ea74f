//! A node that is told to stop: what it has accepted is kept, whoever is still sending or does not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::harness::client::{Connection, WebSocket, opcode};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            what_is_being_received_is_kept_when_a_node_stops,
            readers_that_take_nothing_do_not_hold_up_the_end,
            who_interrupts_twice_does_not_wait;
    }
}

const LIMIT: Duration = Duration::from_secs(20);

/// What has come of one body in the middle of its second part, and of a small one.
const PART: usize = 262_144;
const IN_PARTS: usize = PART + 100_000;
const SMALL: usize = 3;

async fn what_is_being_received_is_kept_when_a_node_stops() -> TestResult {
    const SENDERS: usize = 20;
    let node = Node::builder().setting("server.shutdown_timeout_ms", 6000).start().await?;
    node.post("/r/whole", "x").await?;
    let mut senders = Vec::new();
    for place in 0..SENDERS {
        let mut sender = Connection::open(node.address()).await?;
        let sent = if place % 2 == 0 { SMALL } else { IN_PARTS };
        let head = format!("POST /r/half HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", sent + 1);
        sender.send(head.as_bytes()).await?;
        sender.send(&vec![b'x'; sent]).await?;
        senders.push(sender);
    }
    // Each small body takes what it has announced, and a large one a part's memory once its first is full.
    let bytes = (SENDERS / 2 * (SMALL + 1 + PART)) as f64;
    eventually(LIMIT, "all are being received", || async {
        node.metric("creel_bodies_in_flight_bytes").await.is_ok_and(|held| held >= bytes)
    })
    .await;
    let answers = async {
        for sender in &mut senders {
            let answer = sender.response().await?;
            assert_eq!(answer.status, 408, "{}", answer.text());
            assert_eq!(answer.header("connection"), Some("close"));
        }
        TestResult::Ok(())
    };
    let (status, answers) = tokio::join!(node.term(), answers);
    answers?;
    assert_eq!(status?.code(), Some(0), "{}", node.log());
    for word in ["panic", "failed", "ERROR"] {
        assert!(!node.log().contains(word), "{}", node.log());
    }

    node.start_again().await?;
    let kept = node.json("/api/captures?endpoint=half&body=none&order=oldest&limit=100").await?;
    let kept = kept["captures"].as_array().ok_or("no list")?;
    assert_eq!(kept.len(), SENDERS);
    let bytes = |sent: usize| kept.iter().filter(|capture| capture["body"]["bytes"] == sent).count();
    assert_eq!((bytes(SMALL), bytes(IN_PARTS)), (SENDERS / 2, SENDERS / 2));
    assert!(kept.iter().all(|capture| capture["body"]["incomplete"] == true));
    let seqs: Vec<Option<u64>> = kept.iter().map(|capture| capture["seq"].as_u64()).collect();
    assert_eq!(seqs, (2..).take(SENDERS).map(Some).collect::<Vec<_>>());
    for capture in kept.iter().filter(|capture| capture["body"]["bytes"] == IN_PARTS) {
        let id = capture["id"].as_str().ok_or("no id")?;
        let body = node.get(&format!("/api/captures/{id}/body")).await?;
        assert_eq!(body.body.len(), IN_PARTS);
    }
    node.check_unharmed().await
}

/// With more time than this test waits for the one who is still sending.
async fn who_interrupts_twice_does_not_wait() -> TestResult {
    let node = Node::builder().setting("server.shutdown_timeout_ms", 600_000).start().await?;
    let mut sender = Connection::open(node.address()).await?;
    sender.send(b"POST /r/half HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await?;
    eventually(LIMIT, "it is being received", || async {
        node.metric("creel_bodies_in_flight_bytes").await.is_ok_and(|held| held > 0.0)
    })
    .await;
    node.signal(Signal::INT)?;
    eventually(LIMIT, "it stops", || async { node.log().contains("what was accepted is finished first") })
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    node.check_running()?;
    node.signal(Signal::INT)?;
    assert_eq!(node.end(LIMIT).await.code(), Some(1), "{}", node.log());
    Ok(())
}

/// With more time than this test waits: it is the peers that are not waited for.
async fn readers_that_take_nothing_do_not_hold_up_the_end() -> TestResult {
    const CAPTURES: usize = 24;
    let node = Node::builder()
        .setting("server.shutdown_timeout_ms", 600_000)
        .setting("stream.write_timeout_ms", 600_000)
        .setting("capture.websocket.echo", true)
        .start()
        .await?;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let sse = "Accept: text/event-stream\r\n";
    let mut readers = Vec::new();
    for headers in ["", sse, upgrade] {
        let mut reader = Connection::open(node.address()).await?;
        let host = node.address();
        reader.send(format!("GET /api/stream HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").as_bytes()).await?;
        readers.push(reader);
    }
    eventually(LIMIT, "all subscribe", || async {
        node.metric("creel_subscribers").await.is_ok_and(|there| there == readers.len() as f64)
    })
    .await;
    for _ in 0..CAPTURES {
        node.post("/r/a", vec![b'z'; 1 << 20]).await?;
    }
    // Echoed to somebody who does not read, until neither side can send any more.
    let socket = WebSocket::open(&node.address(), "/r/echo", "").await?;
    let sent = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn(send_until_cut(socket, sent.clone()));
    let seen = AtomicUsize::new(0);
    eventually(LIMIT, "no more can be sent", || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = sent.load(Ordering::Relaxed);
        now > 0 && seen.swap(now, Ordering::Relaxed) == now
    })
    .await;
    let deliveries = || async { node.metric("creel_deliveries_total").await.unwrap_or_default() };
    assert!(deliveries().await >= readers.len() as f64, "they were sent something");
    let status = node.term().await?;
    assert_eq!(status.code(), Some(0), "{}", node.log());
    assert!(node.log().contains("stopped"), "{}", node.log());
    sending.await?;
    drop(readers);
    node.start_again().await?;
    let kept = node.json("/api/captures?endpoint=a&body=none&limit=100").await?;
    assert_eq!(kept["captures"].as_array().map(Vec::len), Some(CAPTURES));
    let last = node.json("/api/captures?endpoint=echo&body=none&limit=1").await?;
    assert_eq!(last["captures"][0]["kind"], "websocket_close", "how it ended is kept too: {last}");
    Ok(())
}

async fn send_until_cut(mut socket: WebSocket, sent: Arc<AtomicUsize>) {
    let message = vec![b'x'; 256 * 1024];
    while socket.send(opcode::BINARY, &message).await.is_ok() {
        sent.fetch_add(1, Ordering::Relaxed);
    }
}
