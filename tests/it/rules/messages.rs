//! Rules for the messages of WebSockets.

use libtest_mimic::Trial;
use serde_json::json;

use super::save;
use crate::harness::client::WebSocket;
use crate::harness::client::opcode::{BINARY, TEXT};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_message_is_answered_by_rule,
            a_rule_for_requests_leaves_messages_alone,
            a_sequence_counts_messages_too;
    }
}

async fn a_message_is_answered_by_rule() -> TestResult {
    let node = Node::builder().start().await?;
    let message = |pattern: &str, message: serde_json::Value| json!({"match": {"at": "message", "matches": pattern}, "reply": {"message": message}});
    save(&node, "hello", message("^hello (.*)", json!({"text": "to {{substr request.body 6}}"}))).await?;
    save(&node, "bytes", message("bytes", json!({"base64": "AP8="}))).await?;
    save(&node, "echo", message("(?-u)^\\xFF", json!({"echo": true}))).await?;
    save(&node, "bye", message("bye", json!({"close": {"code": 4000, "reason": "as you wish"}}))).await?;
    let mut socket = WebSocket::open(&node.address(), "/r/a", "").await?;
    socket.send(TEXT, b"nothing for this").await?;
    socket.send(TEXT, b"hello you").await?;
    let answer = socket.next().await?;
    assert_eq!((answer.opcode, answer.payload.as_slice()), (TEXT, &b"to you"[..]));
    socket.send(TEXT, b"bytes").await?;
    let answer = socket.next().await?;
    assert_eq!((answer.opcode, answer.payload.as_slice()), (BINARY, &[0, 255][..]));
    socket.send(BINARY, &[255, 1, 2]).await?;
    let answer = socket.next().await?;
    assert_eq!((answer.opcode, answer.payload.as_slice()), (BINARY, &[255, 1, 2][..]));
    socket.send(TEXT, b"bye").await?;
    assert_eq!(socket.closed().await?, Some((4000, "as you wish".to_owned())));
    let captures = node.captures_of("a", 7).await;
    let rules: Vec<_> =
        captures.iter().map(|capture| capture["reply"]["rule"].as_str().unwrap_or("")).collect();
    assert_eq!(rules, ["", "", "hello", "bytes", "echo", "bye", ""]);
    Ok(())
}

async fn a_rule_for_requests_leaves_messages_alone() -> TestResult {
    let node = Node::builder().setting("capture.websocket.echo", true).start().await?;
    save(&node, "all", json!({"reply": {"status": 500}})).await?;
    let mut socket = WebSocket::open(&node.address(), "/r/a", "").await?;
    socket.send(TEXT, b"x").await?;
    assert_eq!(socket.next().await?.payload, b"x");
    Ok(())
}

async fn a_sequence_counts_messages_too() -> TestResult {
    let node = Node::builder().start().await?;
    let replies = json!([{"message": {"text": "first"}}, {"message": {"text": "then {{hit}}"}}]);
    save(&node, "a", json!({"replies": replies})).await?;
    let mut socket = WebSocket::open(&node.address(), "/r/a", "").await?;
    for expected in ["first", "then 2", "then 3"] {
        socket.send(TEXT, b"x").await?;
        assert_eq!(String::from_utf8(socket.next().await?.payload)?, expected);
    }
    Ok(())
}
