//! Bodies, to the byte; and what becomes of those that are too large, too slow or broken off.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::client::Connection;
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, body_of, check_problem, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            bodies_are_kept_to_the_byte,
            chunks_are_put_together,
            a_compressed_body_stays_as_it_came,
            who_expects_100_continue_gets_it,
            a_body_at_the_limit_is_kept_whole,
            a_body_over_the_limit_is_refused_and_kept_truncated,
            who_goes_on_sending_sees_the_413,
            a_sender_that_leaves_is_kept_as_far_as_it_came,
            a_slow_sender_gets_a_408_and_is_kept_as_far_as_it_came,
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| u8::try_from(i * 7 % 251).expect("below 251")).collect()
}

async fn bodies_are_kept_to_the_byte() -> TestResult {
    let node = Node::builder().start().await?;
    let bodies = [
        Vec::new(),
        b"{\"a\": 1}".to_vec(),
        (0..=255).collect(),
        b"a\0b\r\n\r\n\xff".to_vec(),
        noise(65_536),
        noise(65_537),
        noise(700_001),
    ];
    for body in bodies {
        let id = node.post("/r/b", &body).await?;
        let capture = node.json(&format!("/api/captures/{id}")).await?;
        assert_eq!(capture["body"]["bytes"], body.len());
        assert_eq!(
            (&capture["body"]["truncated"], &capture["body"]["incomplete"]),
            (&json!(false), &json!(false))
        );
        assert!(body_of(&capture)? == body, "{} bytes as JSON", body.len());
        let raw = node.get(&format!("/api/captures/{id}/body")).await?;
        assert!(raw.body == body, "{} bytes as they are", body.len());
    }
    Ok(())
}

async fn chunks_are_put_together() -> TestResult {
    let node = Node::builder().start().await?;
    let mut connection = Connection::open(node.address()).await?;
    connection.send(b"POST /r/c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    let body = noise(200_000);
    for (i, piece) in body.chunks(13_577).enumerate() {
        let extension = if i == 1 { ";name=value" } else { "" };
        connection.send(format!("{:x}{extension}\r\n", piece.len()).as_bytes()).await?;
        connection.send(&[piece, b"\r\n"].concat()).await?;
    }
    connection.send(b"0\r\n\r\n").await?;
    let kept = node.kept(&connection.response().await?).await?;
    assert!(body_of(&kept)? == body);
    assert_eq!(node.metric("creel_capture_body_bytes_total").await?, 200_000.0);
    Ok(())
}

async fn a_compressed_body_stays_as_it_came() -> TestResult {
    let node = Node::builder().start().await?;
    // `printf hello | gzip -n`
    let hello = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcb\x48\xcd\xc9\xc9\x07\0\x86\xa6\x10\x36\x05\0\0\0";
    let mut request =
        b"POST /r/z HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Type: text/plain\r\n".to_vec();
    request.extend(format!("Content-Length: {}\r\n\r\n", hello.len()).bytes());
    request.extend(hello);
    let kept = node.kept(&node.exchange(&request).await?).await?;
    assert_eq!(body_of(&kept)?, hello);
    let raw = node.get(&format!("/api/captures/{}/body", kept["id"].as_str().unwrap_or_default())).await?;
    assert_eq!(raw.body, hello);
    assert_eq!(raw.header("content-encoding"), None, "it is shown as it came, not for a browser to unpack");
    Ok(())
}

async fn who_expects_100_continue_gets_it() -> TestResult {
    let node = Node::builder().start().await?;
    let mut connection = Connection::open(node.address()).await?;
    connection
        .send(b"POST /r/e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await?;
    assert_eq!(connection.response().await?.status, 100);
    connection.send(b"hello").await?;
    let answer = connection.response().await?;
    assert_eq!(answer.status, 200);
    assert_eq!(node.kept(&answer).await?["body"]["content"], "hello");
    Ok(())
}

async fn a_body_at_the_limit_is_kept_whole() -> TestResult {
    let node = Node::builder().setting("capture.body_bytes_max", 100_000).start().await?;
    let id = node.post("/r/b", noise(100_000)).await?;
    let capture = node.json(&format!("/api/captures/{id}")).await?;
    assert_eq!((&capture["body"]["bytes"], &capture["body"]["truncated"]), (&json!(100_000), &json!(false)));
    Ok(())
}

async fn a_body_over_the_limit_is_refused_and_kept_truncated() -> TestResult {
    let node = Node::builder().setting("capture.body_bytes_max", 100_000).start().await?;
    let body = noise(100_001);
    let head = format!("POST /r/big HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = node.exchange([head.as_bytes(), &body].concat()).await?;
    let problem = check_problem(&answer, 413, "body-too-large")?;
    assert_eq!(problem["detail"], "100000 bytes of it were kept");
    let kept = node.kept(&answer).await?;
    assert_eq!((&kept["body"]["bytes"], &kept["body"]["truncated"]), (&json!(100_000), &json!(true)));
    assert_eq!(kept["reply"], json!({"source": "limit", "status": 413}));
    assert!(body_of(&kept)? == body[..100_000]);
    assert_eq!(node.outcomes("truncated").await, 1.0);
    Ok(())
}

/// A client that writes all before it reads must find the answer, not a reset connection.
async fn who_goes_on_sending_sees_the_413() -> TestResult {
    let node = Node::builder().setting("capture.body_bytes_max", 100_000).start().await?;
    let megabyte = noise(1 << 20);
    for framing in ["Content-Length: 33554432", "Transfer-Encoding: chunked"] {
        let mut connection = Connection::open(node.address()).await?;
        connection.send(format!("POST /r/big HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes()).await?;
        for _ in 0..32 {
            let chunked = framing.ends_with("chunked");
            let sent = async {
                if chunked {
                    connection.send(b"100000\r\n").await?;
                }
                connection.send(&megabyte).await?;
                if chunked { connection.send(b"\r\n").await } else { Ok(()) }
            };
            sent.await.map_err(|error| format!("{framing}: the connection was cut: {error}"))?;
        }
        let answer = connection.response().await.map_err(|error| format!("{framing}: {error}"))?;
        check_problem(&answer, 413, "body-too-large")?;
        assert_eq!(answer.header("connection"), Some("close"));
    }
    assert_eq!(node.captures_of("big", 2).await.len(), 2);
    Ok(())
}

async fn a_sender_that_leaves_is_kept_as_far_as_it_came() -> TestResult {
    let node = Node::builder().start().await?;
    for (count, framing) in [(1, "Content-Length: 1000"), (2, "Transfer-Encoding: chunked")] {
        let mut connection = Connection::open(node.address()).await?;
        connection.send(format!("POST /r/gone HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes()).await?;
        connection.send(b"a\r\n0123456789").await?;
        drop(connection);
        let captures = node.captures_of("gone", count).await;
        let body = &captures[count - 1]["body"];
        assert_eq!((&body["incomplete"], &body["truncated"]), (&json!(true), &json!(false)), "{framing}");
        let expected = if count == 1 { "a\r\n0123456789" } else { "0123456789" };
        assert_eq!(body["content"], expected);
    }
    eventually(Duration::from_secs(5), "both are counted", || async {
        node.outcomes("incomplete").await == 2.0
    })
    .await;
    node.check_unharmed().await
}

async fn a_slow_sender_gets_a_408_and_is_kept_as_far_as_it_came() -> TestResult {
    let node = Node::builder().setting("capture.body_idle_timeout_ms", 300).start().await?;
    let mut connection = Connection::open(node.address()).await?;
    connection.send(b"POST /r/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").await?;
    let begun = Instant::now();
    for byte in b"01234" {
        tokio::time::sleep(Duration::from_millis(150)).await;
        connection.send(&[*byte]).await?;
    }
    let answer = connection.response().await?;
    check_problem(&answer, 408, "body-timeout")?;
    assert!(begun.elapsed() >= Duration::from_millis(1000), "it is the pause that counts");
    assert_eq!(answer.header("connection"), Some("close"));
    let kept = node.kept(&answer).await?;
    assert_eq!(kept["body"]["content"], "01234");
    assert_eq!((&kept["body"]["incomplete"], &kept["reply"]["status"]), (&json!(true), &json!(408)));
    assert_eq!(node.outcomes("timed_out").await, 1.0);
    Ok(())
}
