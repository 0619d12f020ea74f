//! `GET /api/stream?match=`: of captures those that match, and everything else as without.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{LIMIT, bodies, read, subscribe};
use crate::harness::client::{Framing, WebSocket, captures, opcode};
use crate::harness::node::Node;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            an_expression_chooses_captures,
            what_does_not_match_is_behind_the_cursor,
            large_bodies_are_looked_into,
            an_expression_changes_over_a_websocket,
            what_is_no_expression_is_a_problem;
        Needs::POSTGRES => a_stream_goes_on_while_a_body_cannot_be_read;
    }
}

fn encoded(expression: &str) -> String {
    format!("match={}", url::form_urlencoded::byte_serialize(expression.as_bytes()).collect::<String>())
}

async fn an_expression_chooses_captures() -> TestResult {
    let node = Node::builder().start().await?;
    let json =
        json!({"any": [{"at": "body", "equals": "one"}, {"at": "json", "path": "$.n", "gt": 1}]}).to_string();
    for framing in Framing::ALL {
        for expression in [&json, "body~=^on"] {
            let query = format!("endpoint=a*&{}", encoded(expression));
            let mut subscriber = subscribe(&node, framing, &query).await?;
            for (target, body) in [
                ("/r/b", "one"),
                ("/r/a", "other"),
                ("/r/a", "one"),
                ("/r/a", "{\"n\":1}"),
                ("/r/ab", "{\"n\":2}"),
            ] {
                node.post(target, body).await?;
            }
            let shown = match expression.starts_with('{') {
                true => ["one", "{\"n\":2}"].as_slice(),
                false => &["one"],
            };
            assert_eq!(bodies(&mut subscriber, shown.len()).await?, shown, "{expression}");
            // Removals come, whatever they are of.
            assert_eq!(node.request("DELETE", "/api/endpoints/a/captures", "").await?.status, 204);
            let messages = subscriber.read_until(LIMIT, |message| message["type"] == "removal").await?;
            assert!(!messages.iter().any(|message| message["type"] == "capture"), "{messages:?}");
        }
    }
    Ok(())
}

async fn what_does_not_match_is_behind_the_cursor() -> TestResult {
    let node = Node::builder().setting("stream.heartbeat_ms", 100).start().await?;
    let mut subscriber = subscribe(&node, Framing::Ndjson, &encoded("status=500")).await?;
    let before = subscriber.cursor().ok_or("no cursor")?.to_owned();
    node.post("/r/a", "x").await?;
    let moved = |message: &Value| message["type"] == "heartbeat" && message["cursor"] != *before;
    let messages = subscriber.read_until(LIMIT, moved).await?;
    assert!(messages.iter().all(|message| message["type"] == "heartbeat"), "{messages:?}");
    let after = subscriber.cursor().ok_or("no cursor")?.to_owned();
    let mut resumed = subscribe(&node, Framing::Ndjson, &format!("since={after}")).await?;
    node.post("/r/a", "y").await?;
    assert_eq!(bodies(&mut resumed, 1).await?, ["y"]);
    Ok(())
}

async fn large_bodies_are_looked_into() -> TestResult {
    let node = Node::builder().start().await?;
    let long = |end: u32| format!("{{\"fill\":\"{}\",\"end\":{end}}}", "x".repeat(300_000));
    for framing in Framing::ALL {
        let query = format!("body=none&{}", encoded("json.$.end=2"));
        let mut subscriber = subscribe(&node, framing, &query).await?;
        node.post("/r/a", long(1)).await?;
        let id = node.post("/r/a", long(2)).await?;
        let message = subscriber.read_captures(1, LIMIT).await?.remove(0);
        assert_eq!(message["capture"]["id"], json!(id));
    }
    Ok(())
}

/// It is kept alive, and told where it stops, and misses nothing of what it could not look into.
async fn a_stream_goes_on_while_a_body_cannot_be_read() -> TestResult {
    let database = shared_postgres().await?;
    let node = Node::builder()
        .database(database.url())
        .setting("database.statement_timeout_ms", 200)
        .setting("stream.heartbeat_ms", 100)
        .start()
        .await?;
    let (mut client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let large = format!("{{\"fill\":\"{}\",\"end\":1}}", "x".repeat(300_000));
    let id = node.post("/r/a", large).await?;
    let later = node.post("/r/b", "{\"end\":1}").await?;
    let query = |since: &str| format!("body=none&since={since}&{}", encoded("json.$.end=1"));
    let is_beat = |message: &Value| message["type"] == "heartbeat";
    let shown = |messages: &[Value]| {
        captures(messages).iter().map(|capture| capture["id"].clone()).collect::<Vec<_>>()
    };
    for framing in Framing::ALL {
        let held = client.transaction().await?;
        held.batch_execute("LOCK TABLE body_parts IN ACCESS EXCLUSIVE MODE").await?;
        let mut subscriber = subscribe(&node, framing, &query("earliest")).await?;
        for _ in 0..8 {
            let messages = subscriber.read_until(LIMIT, is_beat).await?;
            assert!(messages.iter().all(is_beat), "{messages:?}");
        }
        let before = subscriber.cursor().ok_or("no cursor")?.to_owned();
        held.rollback().await?;
        assert_eq!(shown(&subscriber.read_captures(2, LIMIT).await?), [id.as_str(), later.as_str()]);
        // What a heartbeat told while it was held is before what was held.
        let mut resumed = subscribe(&node, framing, &query(&before)).await?;
        assert_eq!(shown(&resumed.read_captures(2, LIMIT).await?), [id.as_str(), later.as_str()]);
    }
    let held = client.transaction().await?;
    held.batch_execute("LOCK TABLE body_parts IN ACCESS EXCLUSIVE MODE").await?;
    let mut subscriber = subscribe(&node, Framing::Ndjson, &query("earliest")).await?;
    subscriber.read_until(LIMIT, is_beat).await?;
    let (stopped, told) =
        tokio::join!(node.term(), subscriber.read_until(LIMIT, |message| message["type"] == "closing"));
    assert!(stopped?.success() && told.is_ok_and(|told| !told.is_empty()));
    let before = subscriber.cursor().ok_or("no cursor")?.to_owned();
    held.rollback().await?;
    node.start_again().await?;
    let mut resumed = subscribe(&node, Framing::Ndjson, &query(&before)).await?;
    assert_eq!(shown(&resumed.read_captures(2, LIMIT).await?), [id.as_str(), later.as_str()]);
    Ok(())
}

async fn an_expression_changes_over_a_websocket() -> TestResult {
    let node = Node::builder().start().await?;
    let mut socket =
        WebSocket::open(&node.address(), &format!("/api/stream?{}", encoded("body=one")), "").await?;
    assert_eq!(read(&mut socket).await?["type"], "ready");
    for (expression, shown) in [
        (json!("body=two"), "two"),
        (json!({"at": "body", "equals": "three"}), "three"),
        (json!(null), "one"),
    ] {
        let subscribe = json!({"type": "subscribe", "match": expression});
        socket.send(opcode::TEXT, subscribe.to_string().as_bytes()).await?;
        assert_eq!(read(&mut socket).await?["type"], "subscribed");
        for body in ["one", "two", "three"] {
            node.post("/r/a", body).await?;
        }
        assert_eq!(read(&mut socket).await?["capture"]["body"]["content"], shown);
    }
    for body in ["two", "three"] {
        assert_eq!(read(&mut socket).await?["capture"]["body"]["content"], body, "all of them");
    }
    socket.send(opcode::TEXT, br#"{"type":"subscribe","match":"colour=red"}"#).await?;
    let error = read(&mut socket).await?;
    let detail = error["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with("/match: `colour=red`: `colour` is no part of a capture"), "{error}");
    node.post("/r/a", "as before").await?;
    assert_eq!(read(&mut socket).await?["capture"]["body"]["content"], "as before");
    Ok(())
}

async fn what_is_no_expression_is_a_problem() -> TestResult {
    let node = Node::builder().start().await?;
    for (expression, expected) in [
        ("{", "`match`: this is no JSON: "),
        ("{}", "`match`: `all`, `any`, `not` or a leaf with `at` is expected"),
        ("{\"not\":{\"at\":\"x\"}}", "`match`: /not/at: `x` is no part of a capture"),
        ("path='", "`match`: `path='`: a quote is not closed"),
    ] {
        let answer = node.get(&format!("/api/stream?{}", encoded(expression))).await?;
        let problem = check_problem(&answer, 400, "invalid-parameter")?;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with(expected), "{expression}: {detail}");
    }
    let twice = node.get("/api/stream?match=status%3E1&match=status%3E2").await?;
    check_problem(&twice, 400, "invalid-parameter")?;
    Ok(())
}
