//! Memory stays within its bound, whatever is sent, held back or not taken.

use std::time::Duration;

use libtest_mimic::Trial;
use tokio::task::JoinHandle;

use crate::harness::client::{
    Connection, Framing, Response, Subscriber, WebSocket, check_exactly_once_in_order, frame, list_captures,
    opcode,
};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, eventually, trials};

mod connections;

const SOON: Duration = Duration::from_secs(30);
/// What may come on top of a node that does nothing.
const ROOM_BYTES: u64 = 400 * 1024 * 1024;

pub fn trials() -> Vec<Trial> {
    let mut trials = connections::trials();
    trials.extend(trials! {
        Needs::NOTHING =>
            many_large_bodies_at_once_stay_within_bounds,
            readers_that_read_nothing_stay_within_bounds,
            readers_that_stop_while_they_catch_up_stay_within_bounds,
            what_is_begun_and_never_ended_stays_within_bounds,
            documents_that_are_never_ended_stay_within_bounds,
            listings_that_nobody_reads_stay_within_bounds,
            messages_that_never_end_stay_within_bounds,
    });
    trials
}

async fn quiet_node() -> TestResult<Node> {
    Node::builder().setting("log.level", "warn").start().await
}

/// Sends the same body again and again; each is kept.
async fn send_many(node: &Node, count: usize, body: &str) -> TestResult {
    let request = format!("POST /r/a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut sender = Connection::open(node.address()).await?;
    for _ in 0..count {
        sender.send(request.as_bytes()).await?;
        assert_eq!(sender.response().await?.status, 200);
    }
    Ok(())
}

/// The outcome of some work, while which the node's memory stays within bounds.
async fn within_bounds<T>(
    node: &Node,
    idle: u64,
    work: impl Future<Output = TestResult<T>>,
) -> TestResult<T> {
    let outcome = work.await?;
    let grown = node.resident_bytes_max()?.saturating_sub(idle);
    assert!(grown < ROOM_BYTES, "memory has grown by {} MiB", grown / 1024 / 1024);
    Ok(outcome)
}

/// What became of tasks, in their order.
async fn all<T>(tasks: Vec<JoinHandle<TestResult<T>>>) -> TestResult<Vec<T>> {
    let mut outcomes = Vec::with_capacity(tasks.len());
    for task in tasks {
        outcomes.push(task.await??);
    }
    Ok(outcomes)
}

/// 150 bodies of 8 MiB at once are more than may be in flight: some are kept, the others are told to
/// come back.
async fn many_large_bodies_at_once_stay_within_bounds() -> TestResult {
    const SENDERS: usize = 150;
    let node = quiet_node().await?;
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
    let statuses = within_bounds(&node, idle, all(senders)).await?;
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200), "nothing was kept: {statuses:?}");
    node.check_unharmed().await
}

async fn readers_that_read_nothing_stay_within_bounds() -> TestResult {
    let node = quiet_node().await?;
    let idle = node.resident_bytes()?;
    let mut readers = Vec::new();
    for n in 0..100 {
        readers.push(Subscriber::open(Framing::ALL[n % 3], &node.address(), "endpoint=a&body=full").await?);
    }
    within_bounds(&node, idle, send_many(&node, 200, &"y".repeat(512 * 1024))).await?;
    eventually(SOON, "all are subscribed still", || async {
        node.metric("creel_subscribers").await.is_ok_and(|subscribers| subscribers == 100.0)
    })
    .await;
    // One that reads after all is fed everything, from the database where the ring has moved on.
    let messages = readers[0].read_captures(200, SOON).await?;
    check_exactly_once_in_order(&messages)?;
    node.check_unharmed().await
}

/// Each is at another place, behind the ring, and is read another page; whoever reads on after all is sent everything.
async fn readers_that_stop_while_they_catch_up_stay_within_bounds() -> TestResult {
    const CAPTURES: usize = 600;
    const READERS: usize = 200;
    let builder = Node::builder().setting("log.level", "warn").setting("feed.ring_events_max", 16);
    let node = builder.start().await?;
    let idle = node.resident_bytes()?;
    send_many(&node, CAPTURES, &"y".repeat(60_000)).await?;
    let mut first = Subscriber::open(Framing::Ndjson, &node.address(), "since=earliest").await?;
    first.read_captures(1, SOON).await?;
    let stalling = async {
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut reader = Connection::open(node.address()).await?;
            reader.send(b"GET /api/stream?since=earliest HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
            assert_eq!(reader.head_only().await?.status, 200);
            readers.push(reader);
        }
        // The word that it is ready, and the beginning of its first event.
        for reader in &mut readers {
            reader.next_chunk().await?;
            reader.next_chunk().await?;
        }
        TestResult::Ok(readers)
    };
    let _readers = within_bounds(&node, idle, stalling).await?;
    // Its page was let go of long ago.
    let messages = first.read_captures(40, SOON).await?;
    check_exactly_once_in_order(&messages)?;
    node.check_unharmed().await
}

/// Bodies and messages that stop in the middle, heads without an end, sockets that say nothing.
async fn what_is_begun_and_never_ended_stays_within_bounds() -> TestResult {
    let node = quiet_node().await?;
    let idle = node.resident_bytes()?;
    let body = "POST /r/half HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n\r\n".to_owned()
        + &"x".repeat(300_000);
    let head = "GET /r/partial HTTP/1.1\r\nHost: a\r\nX: ".to_owned() + &"x".repeat(60_000);
    let holding = async {
        let (mut connections, mut sockets) = (Vec::new(), Vec::new());
        for i in 0..400 {
            let mut connection = Connection::open(node.address()).await?;
            connection.send(if i % 2 == 0 { &body } else { &head }.as_bytes()).await?;
            connections.push(connection);
        }
        for i in 0..200 {
            let target = if i % 2 == 0 { "/r/idle" } else { "/api/stream" };
            let mut socket = WebSocket::open(&node.address(), target, "").await?;
            if i % 4 == 0 {
                socket.send_frame(opcode::BINARY, true, &[0; 1_000_000]).await?;
            }
            sockets.push(socket);
        }
        eventually(SOON, "all of them are there", || async {
            node.metric("creel_subscribers").await.is_ok_and(|n| n == 100.0)
                && node.metric("creel_capture_sockets").await.is_ok_and(|n| n == 100.0)
        })
        .await;
        node.post("/r/other", "and it goes on").await?;
        TestResult::Ok(())
    };
    within_bounds(&node, idle, holding).await?;
    node.check_unharmed().await
}

async fn documents_that_are_never_ended_stay_within_bounds() -> TestResult {
    let node = quiet_node().await?;
    let idle = node.resident_bytes()?;
    let head = "PUT /api/config HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33000000\r\n\r\n";
    let begun = std::sync::Arc::new(head.to_owned() + &"x".repeat(30_000_000));
    let senders: Vec<_> = (0..20)
        .map(|_| {
            let (address, begun) = (node.address(), begun.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await?;
                // Who is refused may find the connection closed.
                connection.send(begun.as_bytes()).await.ok();
                TestResult::Ok(connection)
            })
        })
        .collect();
    let _connections = within_bounds(&node, idle, all(senders)).await?;
    assert!(node.metric("creel_api_in_flight_bytes").await? > 30e6, "nothing is held");
    // What is small finds room all the same.
    let put = |length: usize| {
        let head =
            format!("PUT /api/rules/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        node.exchange(head + "{\"reply\":{}}" + &" ".repeat(length - 12))
    };
    assert_eq!(put(12).await?.status, 201);
    let refused = one_more(&node, &begun).await?;
    assert_eq!(refused.header("retry-after"), Some("1"));
    node.check_unharmed().await
}

/// The answer to one more of what nobody ends, while the others are held.
async fn one_more(node: &Node, begun: &str) -> TestResult<Response> {
    let mut connection = Connection::open(node.address()).await?;
    connection.send(begun.as_bytes()).await.ok();
    let answer = tokio::time::timeout(SOON, connection.response()).await??;
    check_problem(&answer, 503, "overloaded")?;
    Ok(answer)
}

async fn listings_that_nobody_reads_stay_within_bounds() -> TestResult {
    const CAPTURES: usize = 500;
    let node = quiet_node().await?;
    let idle = node.resident_bytes()?;
    send_many(&node, CAPTURES, &"z".repeat(9_000)).await?;
    let listing = async {
        let (mut statuses, mut connections) = (Vec::new(), Vec::new());
        for _ in 0..150 {
            let mut connection = Connection::open(node.address()).await?;
            connection.send(b"GET /api/captures?limit=500 HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
            statuses.push(connection.head_only().await?.status);
            connections.push(connection);
        }
        TestResult::Ok((statuses, connections))
    };
    let (statuses, connections) = within_bounds(&node, idle, listing).await?;
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    drop(connections);
    eventually(SOON, "there is room again", || async {
        node.metric("creel_api_in_flight_bytes").await.is_ok_and(|bytes| bytes == 0.0)
    })
    .await;
    let listed = list_captures(node.http(), &node.address(), "").await?;
    assert_eq!(listed.len(), CAPTURES, "a page that ends early goes on where it ended");
    let bytes = node.get("/api/captures?limit=500").await?.body.len();
    assert!((1 << 20..1 << 21).contains(&bytes), "{bytes}");
    node.check_unharmed().await
}

/// More than may be in flight, and less than there may be sockets: some are held, the others are told to come back.
async fn messages_that_never_end_stay_within_bounds() -> TestResult {
    const SOCKETS: u32 = 400;
    let node = quiet_node().await?;
    let idle = node.resident_bytes()?;
    let begun = frame(opcode::BINARY, true, &[0; 1_000_000]);
    let holding = async {
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            let mut socket = WebSocket::open(&node.address(), "/r/begun", "").await?;
            // Who finds no room may find the connection closed.
            drop(socket.send_raw(&begun).await);
            sockets.push(socket);
        }
        eventually(SOON, "who found no room is gone, and all else is held", || async {
            let refused = node.outcomes("bodies_full").await;
            let held = node.metric("creel_capture_sockets").await;
            let bytes = node.metric("creel_bodies_in_flight_bytes").await.unwrap_or_default();
            held.is_ok_and(|held| held + refused == f64::from(SOCKETS) && bytes >= held * 1_000_000.0)
        })
        .await;
        TestResult::Ok(sockets)
    };
    let sockets = within_bounds(&node, idle, holding).await?;
    assert!(node.outcomes("bodies_full").await > 0.0, "all found room");
    drop(sockets);
    eventually(SOON, "their memory is free again", || async {
        node.metric("creel_bodies_in_flight_bytes").await.is_ok_and(|bytes| bytes == 0.0)
    })
    .await;
    node.check_unharmed().await
}
