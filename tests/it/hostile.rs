//! Hostile senders: each gets a documented answer, nothing panics, and memory stays in bounds.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::client::{Connection, Framing, Subscriber, exchange};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, eventually, trials};

const SOON: Duration = Duration::from_secs(30);
/// What may come on top of a node that does nothing.
const ROOM_BYTES: u64 = 400 * 1024 * 1024;

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => what_is_no_http_is_answered_by_the_parser_and_harms_nothing;
        Needs::NOTHING => many_large_bodies_at_once_stay_within_bounds;
        Needs::NOTHING => readers_that_read_nothing_stay_within_bounds;
        Needs::NOTHING => cursors_from_elsewhere_are_refused_or_reset;
    }
}

/// It answers, and has made no mistake.
async fn check_well(node: &Node) -> TestResult {
    let request = b"POST /r/well HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(exchange(node.address(), request).await?.status, 200);
    assert_eq!(node.metric("creel_panics_total").await?, 0.0);
    Ok(())
}

async fn what_is_no_http_is_answered_by_the_parser_and_harms_nothing() -> TestResult {
    let node = Node::builder().start().await?;
    let many = "X-A: 1\r\n".repeat(120);
    let large = format!("X-A: {}\r\n", "x".repeat(200_000));
    let table: [(&str, Vec<u8>, &[u16]); 9] = [
        ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_vec(), &[400]),
        ("invalid UTF-8 in the target", b"GET /r/a?\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), &[400]),
        ("NUL in the target", b"GET /r/a\0b HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), &[400]),
        ("NUL in a header", b"GET /r/a HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n".to_vec(), &[400]),
        ("too many headers", format!("GET /r/a HTTP/1.1\r\nHost: x\r\n{many}\r\n").into_bytes(), &[431]),
        ("a head too large", format!("GET /r/a HTTP/1.1\r\nHost: x\r\n{large}\r\n").into_bytes(), &[431]),
        (
            "two lengths",
            b"POST /r/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec(),
            &[400],
        ),
        (
            "a length that is none",
            b"POST /r/a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_vec(),
            &[400],
        ),
        (
            "length and chunks",
            b"POST /r/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_vec(),
            &[400],
        ),
    ];
    for (what, request, expected) in table {
        let answer = exchange(node.address(), &request).await.map_err(|error| format!("{what}: {error}"))?;
        assert!(expected.contains(&answer.status), "{what}: {}", answer.status);
    }
    check_well(&node).await
}

/// 150 bodies of 8 MiB at once are more than may be in flight: some are kept, the others are told to
/// come back.
async fn many_large_bodies_at_once_stay_within_bounds() -> TestResult {
    const SENDERS: usize = 150;
    let node = Node::builder().setting("log.level", "warn").start().await?;
    let idle = node.resident_bytes()?;
    let body = vec![b'x'; 8 * 1024 * 1024];
    let mut request =
        format!("POST /r/a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(&body);
    let request = std::sync::Arc::new(request);
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (address, request) = (node.address(), request.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await?;
                // Who is refused early may find the connection closed.
                let sent = connection.send(&request).await;
                match connection.response().await {
                    Ok(response) => Ok(response.status),
                    Err(_) if sent.is_err() => Ok(503),
                    Err(error) => Err(error),
                }
            })
        })
        .collect();
    let mut most = 0;
    let mut statuses = Vec::new();
    for sender in senders {
        statuses.push(sender.await??);
        most = most.max(node.resident_bytes()?);
    }
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200), "nothing was kept: {statuses:?}");
    assert!(most - idle < ROOM_BYTES, "memory has grown by {} MiB", (most - idle) / 1024 / 1024);
    check_well(&node).await
}

async fn readers_that_read_nothing_stay_within_bounds() -> TestResult {
    let node = Node::builder().setting("log.level", "warn").start().await?;
    let idle = node.resident_bytes()?;
    let mut readers = Vec::new();
    for n in 0..100 {
        readers.push(Subscriber::open(Framing::ALL[n % 3], &node.address(), "endpoint=a&body=full").await?);
    }
    let body = "y".repeat(512 * 1024);
    let request = format!("POST /r/a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut connection = Connection::open(node.address()).await?;
    for _ in 0..200 {
        connection.send(request.as_bytes()).await?;
        assert_eq!(connection.response().await?.status, 200);
    }
    let grown = node.resident_bytes()?.saturating_sub(idle);
    assert!(grown < ROOM_BYTES, "memory has grown by {} MiB", grown / 1024 / 1024);
    eventually(SOON, "all are subscribed still", || async {
        node.metric("creel_subscribers").await.is_ok_and(|subscribers| subscribers == 100.0)
    })
    .await;
    // One that reads after all is fed everything, from the database where the ring has moved on.
    let messages = readers[0].read_captures(200, SOON).await?;
    crate::harness::client::check_exactly_once_in_order(&messages)?;
    check_well(&node).await
}

async fn cursors_from_elsewhere_are_refused_or_reset() -> TestResult {
    let (node, other) = (Node::builder().start().await?, Node::builder().start().await?);
    check_well(&other).await?;
    let mut stranger = Subscriber::open(Framing::WebSocket, &other.address(), "since=earliest").await?;
    stranger.read_captures(1, SOON).await?;
    let foreign = stranger.cursor().ok_or("no cursor")?.to_owned();
    // Another journal's cursor is a cursor, and tells so.
    let mut subscriber = Subscriber::open(Framing::Sse, &node.address(), &format!("since={foreign}")).await?;
    subscriber.read_until(SOON, |message| message["type"] == "reset").await?;
    let garbled = format!("{}A", &foreign[..foreign.len() - 1]);
    for since in ["x", "AAAA", "..%2F..", "%00", "-1", &"A".repeat(5000), &format!("{foreign}AAAA")] {
        let request = format!("GET /api/stream?since={since} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = exchange(node.address(), request.as_bytes()).await?;
        assert_eq!(answer.status, 400, "{since}: {}", answer.text());
        assert_eq!(answer.json()?["type"], "/problems/invalid-cursor", "{since}");
    }
    for cursor in [foreign.as_str(), garbled.as_str(), "x"] {
        let request = format!("GET /api/captures?cursor={cursor} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = exchange(node.address(), request.as_bytes()).await?;
        assert_eq!(
            (answer.status, &answer.json()?["type"]),
            (400, &"/problems/invalid-cursor".into()),
            "{cursor}"
        );
    }
    check_well(&node).await
}
