//! What connections themselves hold: heads, what stands behind a request that is not answered yet, and what they are
//! sent. All of it comes out of one memory.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;

use super::{SOON, quiet_node, within_bounds};
use crate::harness::client::{Connection, Framing, Subscriber, check_exactly_once_in_order};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, eventually, trials};

/// Connections of a test; the framework by itself would hold 128 KiB of each.
const MANY: usize = 3_500;

/// The least that a node can be told to do with.
const LITTLE_BYTES: usize = 32 << 20;

/// What a connection is counted with.
const CONNECTION_BYTES: usize = 24 * 1024;

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            heads_that_never_end_stay_within_bounds,
            heads_whose_body_never_comes_stay_within_bounds,
            heads_of_many_fields_stay_within_bounds,
            tiny_chunks_stay_within_bounds,
            files_that_nobody_reads_stay_within_bounds,
            many_small_uploads_at_once_find_room,
            a_connection_is_not_held_by_its_heads,
            what_stands_behind_an_unanswered_request_stays_within_bounds,
            a_connection_too_many_is_refused_until_others_end,
            an_event_waits_for_room,
            a_reply_for_which_there_is_no_room_is_a_problem,
            what_is_pipelined_is_answered_however_much_it_is,
            a_pipelined_head_request_takes_nothing_from_the_one_before,
    }
}

/// Many connections on each of which the same is sent, as far as it is taken.
async fn held(node: &Node, count: usize, sent: String) -> TestResult<Vec<Connection>> {
    let sent = Arc::new(sent);
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = Connection::open(node.address()).await?;
        // Who is refused may find the connection closed, and what is not read stays here.
        let sending = connection.send(sent.as_bytes());
        drop(tokio::time::timeout(Duration::from_millis(100), sending).await);
        connections.push(connection);
    }
    Ok(connections)
}

/// What they hold stays within bounds, others are served meanwhile, and it is free again afterwards.
async fn check_held(node: &Node, sent: String) -> TestResult {
    let idle = node.resident_bytes()?;
    let holding = async {
        let connections = held(node, MANY, sent).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        node.post("/r/other", "and it goes on").await?;
        TestResult::Ok(connections)
    };
    let connections = within_bounds(node, idle, holding).await?;
    let counted = node.metric("creel_memory_bytes").await?;
    assert!(counted > 30e6, "too little is counted: {counted}");
    drop(connections);
    eventually(SOON, "their memory is free again", || async {
        let of = |name| node.metric(name);
        let (memory, heads) = (of("creel_memory_bytes").await, of("creel_heads_bytes").await);
        memory.is_ok_and(|bytes| bytes < 1e6) && heads.is_ok_and(|bytes| bytes == 0.0)
    })
    .await;
    node.check_unharmed().await
}

/// A node with little memory, and all patience with connections that say nothing.
async fn little_node() -> TestResult<Node> {
    let builder = Node::builder().setting("server.memory_bytes_max", LITTLE_BYTES);
    builder.setting("server.head_timeout_ms", 600_000).start().await
}

async fn heads_that_never_end_stay_within_bounds() -> TestResult {
    let node = quiet_node().await?;
    check_held(&node, "GET /r/partial HTTP/1.1\r\nHost: a\r\nX: ".to_owned() + &"x".repeat(120_000)).await?;
    assert!(node.metric("creel_connections_refused_total").await? > 1_000.0, "all found room");
    Ok(())
}

async fn heads_whose_body_never_comes_stay_within_bounds() -> TestResult {
    let node = quiet_node().await?;
    let head = "POST /r/half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nX: ".to_owned()
        + &"x".repeat(100_000)
        + "\r\n\r\n";
    check_held(&node, head).await?;
    assert!(node.metric("creel_connections_refused_total").await? > 1_000.0, "all found room");
    Ok(())
}

/// Fields take more than their octets.
async fn heads_of_many_fields_stay_within_bounds() -> TestResult {
    let node = quiet_node().await?;
    let fields: String = (0..94).map(|n| format!("a{n}:\r\n")).collect();
    check_held(&node, format!("POST /r/half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n{fields}\r\n")).await
}

/// Each takes more for being a chunk than for what it brings.
async fn tiny_chunks_stay_within_bounds() -> TestResult {
    let node = quiet_node().await?;
    let head = "POST /r/half HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    check_held(&node, head + &"1\r\nX\r\n".repeat(1_300)).await
}

/// A stream's answer never ends; what comes behind its request is left to the kernel, a large head and small requests by
/// the hundred.
async fn what_stands_behind_an_unanswered_request_stays_within_bounds() -> TestResult {
    let node = quiet_node().await?;
    let request = "GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned();
    let large = "GET /r/next HTTP/1.1\r\nHost: a\r\nX: ".to_owned() + &"x".repeat(200_000);
    let small = "GET / HTTP/1.1\r\nHost:a\r\n\r\n".repeat(800);
    for behind in [large, small] {
        check_held(&node, request.clone() + &behind).await?;
    }
    assert!(node.metric("creel_connections_refused_total").await? == 0.0, "somebody was refused");
    Ok(())
}

async fn files_that_nobody_reads_stay_within_bounds() -> TestResult {
    let node = quiet_node().await?;
    let request = "GET /api/docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned();
    check_held(&node, request).await
}

/// What is no head is not counted as one, however much of it comes at once.
async fn many_small_uploads_at_once_find_room() -> TestResult {
    let node = quiet_node().await?;
    let head = "POST /r/half HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n".to_owned();
    check_held(&node, head + &"x".repeat(8_500)).await?;
    assert!(node.metric("creel_connections_refused_total").await? == 0.0, "somebody was refused");
    Ok(())
}

/// Every head has its time, not the first of a connection alone; and a large one is the last of its connection.
async fn a_connection_is_not_held_by_its_heads() -> TestResult {
    let node = Node::builder().setting("server.head_timeout_ms", 1_000).start().await?;
    let small = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut connection = Connection::open(node.address()).await?;
    connection.send(small).await?;
    assert_eq!(connection.response().await?.status, 200);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    connection.send(small).await?;
    assert_eq!(connection.response().await?.status, 200, "it may rest between requests");
    // Each in two parts, and so that one would be late if its time had begun with the one before.
    for pause in [0, 600, 600] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        connection.send(&small[..20]).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        connection.send(&small[20..]).await?;
        assert_eq!(connection.response().await?.status, 200);
    }
    connection.send(b"GET /healthz HTTP/1.1\r\nHost: local").await?;
    let rest = tokio::time::timeout(SOON, connection.rest()).await?;
    assert!(rest.map_or(true, |rest| rest.is_empty()));
    let mut connection = Connection::open(node.address()).await?;
    let large = "x".repeat(20_000);
    connection
        .send(format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {large}\r\n\r\n").as_bytes())
        .await?;
    let answer = connection.response().await?;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    node.check_unharmed().await
}

async fn a_connection_too_many_is_refused_until_others_end() -> TestResult {
    let node = little_node().await?;
    let mut idle = held(&node, LITTLE_BYTES / CONNECTION_BYTES, String::new()).await?;
    let exchange = || async {
        let mut connection = Connection::open(node.address()).await?;
        // Who is refused may find the connection closed, and the answer there all the same.
        drop(connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await);
        let answer = connection.response().await?;
        TestResult::Ok((answer, connection))
    };
    // The test's own connections come and go.
    let refused = loop {
        let (answer, connection) = exchange().await?;
        if answer.status != 200 {
            break answer;
        }
        idle.push(connection);
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    drop(idle);
    eventually(SOON, "there is room again", || async {
        exchange().await.is_ok_and(|(answer, _)| answer.status == 200)
    })
    .await;
    assert!(node.metric("creel_connections_refused_total").await? >= 1.0);
    node.check_unharmed().await
}

/// Connections that take all memory but a few KiB, so that what is small has room and nothing else.
async fn all_but_little(node: &Node, left_bytes: usize) -> TestResult<Vec<Connection>> {
    let used = node.metric("creel_memory_bytes").await?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some MiB")]
    let free = LITTLE_BYTES - used as usize - left_bytes;
    let idle = held(node, free / CONNECTION_BYTES, String::new()).await?;
    // They are there before they are accepted.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(idle)
}

/// An event that takes six times its body waits where there is room for the body alone; those behind it wait with it.
async fn an_event_waits_for_room() -> TestResult {
    let node = little_node().await?;
    let mut subscriber = Subscriber::open(Framing::WebSocket, &node.address(), "body=full").await?;
    assert_eq!(subscriber.next().await?.ok_or("a message")?["type"], "ready");
    let idle = all_but_little(&node, 96 * 1024).await?;
    node.post("/r/a", &"\u{1}".repeat(30_000)).await?;
    node.post("/r/a", "small").await?;
    let early = tokio::time::timeout(Duration::from_secs(2), subscriber.next()).await;
    assert!(early.is_err(), "there was room: {early:?}");
    drop(idle);
    let messages = subscriber.read_captures(2, SOON).await?;
    check_exactly_once_in_order(&messages)?;
    node.check_unharmed().await
}

async fn a_reply_for_which_there_is_no_room_is_a_problem() -> TestResult {
    let node = little_node().await?;
    let rule = serde_json::json!({ "reply": { "body": "x".repeat(60_000) } }).to_string();
    let saved = node.http().put(node.url("/api/rules/large")).body(rule).send().await?;
    assert_eq!(saved.status(), 201, "{}", saved.text().await?);
    let mut sender = Connection::open(node.address()).await?;
    let mut send = async || {
        sender.send(b"POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").await?;
        sender.response().await
    };
    assert_eq!(send().await?.body.len(), 60_000);
    let idle = all_but_little(&node, 16 * 1024).await?;
    let answer = send().await?;
    check_problem(&answer, 503, "overloaded")?;
    assert!(answer.header("x-creel-capture-id").is_some(), "it was not kept");
    drop(idle);
    eventually(SOON, "there is room again", || async {
        node.metric("creel_memory_bytes").await.is_ok_and(|bytes| bytes < 1e6)
    })
    .await;
    assert_eq!(send().await?.body.len(), 60_000);
    node.check_unharmed().await
}

fn chunks(body: &str, size: usize) -> String {
    let chunk = |piece: &[u8]| format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece));
    body.as_bytes().chunks(size).map(chunk).collect::<String>() + "0\r\n\r\n"
}

/// Far more than is read ahead, in one go: each is answered, in order.
async fn what_is_pipelined_is_answered_however_much_it_is() -> TestResult {
    const REQUESTS: usize = 400;
    let node = Node::builder().start().await?;
    let requests: String = (0..REQUESTS)
        .map(|n| {
            let body = format!("{n}-{}", "b".repeat(n * 7 % 3_000));
            let (field, body) = match n % 3 {
                0 => ("Transfer-Encoding: chunked".to_owned(), chunks(&body, 1 + n * 13 % 900)),
                _ => (format!("Content-Length: {}", body.len()), body),
            };
            format!("POST /r/p HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n{body}")
        })
        .collect();
    let mut connection = Connection::open(node.address()).await?;
    let (mut sent, requests) = (0, requests.into_bytes());
    // In pieces that end anywhere.
    for size in (1..).map(|n| 1 + n * 977 % 20_000) {
        let end = (sent + size).min(requests.len());
        connection.send(&requests[sent..end]).await?;
        sent = end;
        if sent == requests.len() {
            break;
        }
    }
    for n in 0..REQUESTS {
        assert_eq!(connection.response().await?.status, 200, "{n}");
    }
    let kept = node.outcomes("kept").await;
    assert!((kept - 400.0).abs() < 0.5, "{kept} were kept");
    node.check_unharmed().await
}

/// The framework frames an answer by the request that it has read last; it is given one at a time.
async fn a_pipelined_head_request_takes_nothing_from_the_one_before() -> TestResult {
    let node = Node::builder().start().await?;
    let mut connection = Connection::open(node.address()).await?;
    let requests: String = ["GET /r/a", "HEAD /r/a", "GET /healthz", "HEAD /healthz", "GET /r/a"]
        .map(|line| format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        .concat();
    connection.send(requests.as_bytes()).await?;
    for method in ["GET", "HEAD", "GET", "HEAD", "GET"] {
        let answer = connection.response_to(method).await?;
        assert_eq!((answer.status, answer.body.is_empty()), (200, method == "HEAD"), "{answer:?}");
    }
    node.check_unharmed().await
}
