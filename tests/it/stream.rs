//! `GET /api/stream`: every framing, every message, as `docs/protocol.md` describes them.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::client::{
    Connection, Framing, KEY, Subscriber, VERSION_13, WebSocket, captures, handshake, opcode,
};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, body_of, check_problem, eventually, trials};

mod matching;

pub fn trials() -> Vec<Trial> {
    [own(), matching::trials()].into_iter().flatten().collect()
}

fn own() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            every_framing_begins_with_ready_and_shows_captures,
            the_framings_differ_in_nothing_but_their_frames,
            accept_chooses_between_events_and_lines,
            a_method_that_is_none_is_refused,
            a_stream_resumes_behind_its_cursor,
            an_event_source_resumes_by_last_event_id,
            patterns_choose_endpoints,
            methods_choose_captures,
            a_body_is_shown_in_the_form_that_was_asked_for,
            a_large_body_comes_whole_in_every_framing,
            a_stream_begins_now_or_earlier_as_asked,
            heartbeats_move_the_cursor_of_a_filtered_subscriber,
            removals_are_events,
            configuration_changes_are_events,
            a_cursor_of_another_journal_is_told_by_reset,
            what_cannot_be_subscribed_to_is_a_problem,
            subscribers_have_a_ceiling,
            head_tells_what_get_would;
        Needs::NOTHING =>
            a_subscription_changes_over_its_websocket,
            what_a_websocket_client_says_wrong_is_told,
            a_websocket_client_keeps_to_the_protocol,
            a_stopping_node_tells_when_to_come_back,
    }
}

const LIMIT: Duration = Duration::from_secs(10);

async fn subscribe(node: &Node, framing: Framing, query: &str) -> TestResult<Subscriber> {
    let mut subscriber = Subscriber::open(framing, &node.address(), query).await?;
    let ready = subscriber.read_until(LIMIT, |_| true).await?.remove(0);
    assert_eq!(ready["type"], "ready");
    assert!(ready["cursor"].is_string(), "{ready}");
    Ok(subscriber)
}

/// The bodies of so many captures.
async fn bodies(subscriber: &mut Subscriber, count: usize) -> TestResult<Vec<String>> {
    let messages = subscriber.read_captures(count, LIMIT).await?;
    let content = |capture: &&Value| capture["body"]["content"].as_str().unwrap_or_default().to_owned();
    Ok(captures(&messages).iter().map(content).collect())
}

async fn every_framing_begins_with_ready_and_shows_captures() -> TestResult {
    let node = Node::builder().start().await?;
    for framing in Framing::ALL {
        let mut subscriber = subscribe(&node, framing, "").await?;
        let id = node.post("/r/live/below?a=1", "hello").await?;
        let message = subscriber.read_captures(1, LIMIT).await?.remove(0);
        let capture = &message["capture"];
        assert_eq!((&capture["id"], &capture["body"]["content"]), (&json!(id), &json!("hello")));
        let mut shown = node.json(&format!("/api/captures/{id}")).await?;
        shown.as_object_mut().ok_or("no object")?.remove("answer");
        assert_eq!(*capture, shown, "the same as by itself");
    }
    Ok(())
}

/// Bytes as they come: `type` and `cursor` stand first, an event is one line.
async fn the_framings_differ_in_nothing_but_their_frames() -> TestResult {
    let node = Node::builder().start().await?;
    let ask = |accept: &str| {
        let host = node.address();
        format!("GET /api/stream?since=earliest HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n\r\n")
    };
    node.post("/r/a", "x").await?;

    let mut lines = Connection::open(node.address()).await?;
    lines.send(ask("*/*").as_bytes()).await?;
    let head = lines.head_only().await?;
    assert_eq!(head.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(head.header("cache-control"), Some("no-cache, no-store"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    let ready = String::from_utf8(lines.next_chunk().await?)?;
    let event = String::from_utf8(lines.next_chunk().await?)?;
    assert!(ready.starts_with("{\"type\":\"ready\",\"cursor\":\"") && ready.ends_with("\"}\n"), "{ready}");
    assert!(event.starts_with("{\"type\":\"capture\",\"cursor\":\""), "{event}");
    assert_eq!(event.matches('\n').count(), 1);

    let mut sse = Connection::open(node.address()).await?;
    sse.send(ask("text/event-stream").as_bytes()).await?;
    assert_eq!(sse.head_only().await?.header("content-type"), Some("text/event-stream"));
    let mut text = String::new();
    while text.matches("\n\n").count() < 2 {
        text += &String::from_utf8(sse.next_chunk().await?)?;
    }
    let cursor = serde_json::from_str::<Value>(&event)?["cursor"].as_str().unwrap_or_default().to_owned();
    let second = text.split("\n\n").nth(1).ok_or("no second event")?;
    assert_eq!(second, format!("id: {cursor}\ndata: {}", event.trim_end()));

    let mut socket = WebSocket::open(&node.address(), "/api/stream?since=earliest", "").await?;
    assert_eq!(socket.next().await?.payload, ready.trim_end().as_bytes());
    let frame = socket.next().await?;
    assert_eq!((frame.last, frame.opcode), (true, opcode::TEXT));
    assert_eq!(frame.payload, event.trim_end().as_bytes());
    Ok(())
}

async fn accept_chooses_between_events_and_lines() -> TestResult {
    let node = Node::builder().start().await?;
    let (events, lines) = ("text/event-stream", "application/x-ndjson");
    for (accept, expected) in [
        ("", lines),
        ("*/*", lines),
        ("text/html", lines),
        ("text/event-stream", events),
        ("Text/Event-Stream; charset=utf-8", events),
        ("text/event-stream, */*", events),
        ("text/*", events),
        ("application/x-ndjson, text/event-stream", events),
        ("application/x-ndjson;q=0.1, text/event-stream;q=0.2", events),
        ("application/x-ndjson, text/event-stream;q=0.1", lines),
        ("text/event-stream;q=0.5, */*", lines),
        ("text/event-stream;q=0", lines),
        ("text/event-stream;q=0, application/x-ndjson;q=0", lines),
        ("x-text/event-stream", lines),
        ("text/html\r\nAccept: text/event-stream", events),
    ] {
        let answer = node.request("HEAD", "/api/stream", &format!("Accept: {accept}\r\n")).await?;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(expected)), "{accept}");
    }
    Ok(())
}

async fn a_method_that_is_none_is_refused() -> TestResult {
    let node = Node::builder().start().await?;
    for method in ["", "G%20T", "G%0AT", "%22GET%22", "G%C3%89T", "GET,POST"] {
        for target in ["/api/stream", "/api/captures"] {
            let asked = format!("{target}?method={method}");
            let answer = tokio::time::timeout(LIMIT, node.get(&asked)).await.map_err(|_| asked)??;
            let problem = check_problem(&answer, 400, "invalid-parameter")?;
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(detail.starts_with("`method`: "), "{target} {method}: {detail}");
        }
    }
    let answer = node.get("/api/stream?method=GET&method=").await?;
    check_problem(&answer, 400, "invalid-parameter")?;
    let mut socket = WebSocket::open(&node.address(), "/api/stream?method=x!*%2B-.%5E_%60%7C~9", "").await?;
    socket.next().await?;
    socket.send(opcode::TEXT, br#"{"type":"subscribe","method":["GET",""]}"#).await?;
    let refused: Value = serde_json::from_slice(&socket.next().await?.payload)?;
    assert_eq!(refused["type"], "error", "{refused}");
    Ok(())
}

async fn a_stream_resumes_behind_its_cursor() -> TestResult {
    let node = Node::builder().start().await?;
    for framing in Framing::ALL {
        let mut subscriber = subscribe(&node, framing, "").await?;
        node.post("/r/a", "one").await?;
        assert_eq!(bodies(&mut subscriber, 1).await?, ["one"]);
        let cursor = subscriber.cursor().ok_or("no cursor")?.to_owned();
        drop(subscriber);
        node.post("/r/a", "two").await?;
        node.post("/r/a", "three").await?;
        let mut again = subscribe(&node, framing, &format!("since={cursor}")).await?;
        assert_eq!(bodies(&mut again, 2).await?, ["two", "three"], "{framing:?}");
    }
    Ok(())
}

async fn an_event_source_resumes_by_last_event_id() -> TestResult {
    let node = Node::builder().start().await?;
    let mut subscriber = subscribe(&node, Framing::Sse, "").await?;
    node.post("/r/a", "one").await?;
    bodies(&mut subscriber, 1).await?;
    let cursor = subscriber.cursor().ok_or("no cursor")?.to_owned();
    node.post("/r/a", "two").await?;
    let ask = |accept: &str| {
        format!("GET /api/stream?since=earliest HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nLast-Event-ID: {cursor}\r\n\r\n")
            .replace("Host: a", &format!("Host: {}", node.address()))
    };
    for (accept, expected) in [("text/event-stream", "two"), ("application/x-ndjson", "one")] {
        let mut connection = Connection::open(node.address()).await?;
        connection.send(ask(accept).as_bytes()).await?;
        connection.head_only().await?;
        let mut text = String::new();
        while !text.contains("\"capture\"") {
            text += &String::from_utf8(connection.next_chunk().await?)?;
        }
        let first = text.find("\"content\":").ok_or("no content")?;
        assert!(text[first..].starts_with(&format!("\"content\":\"{expected}\"")), "{accept}: {text}");
    }
    Ok(())
}

async fn patterns_choose_endpoints() -> TestResult {
    let node = Node::builder().start().await?;
    let codes = ["ci-1", "ci-2", "orders", "a%2A", "ab", "xci-1", "%C3%A9"];
    for code in codes {
        node.post(&format!("/r/{code}"), code).await?;
    }
    let table: [(&str, &[&str]); 8] = [
        ("endpoint=ci-*", &["ci-1", "ci-2"]),
        ("endpoint=ci-*&endpoint=orders", &["ci-1", "ci-2", "orders"]),
        ("endpoint=*", &codes),
        ("endpoint=*ci-1", &["ci-1", "xci-1"]),
        ("endpoint=a*", &["a%2A", "ab"]),
        (r"endpoint=a%5C*", &["a%2A"]),
        ("endpoint=%C3%A9", &["%C3%A9"]),
        ("endpoint=*r*r*", &["orders"]),
    ];
    for (query, expected) in table {
        let mut subscriber =
            subscribe(&node, Framing::Ndjson, &format!("since=earliest&{query}&endpoint=end")).await?;
        node.post("/r/end", "end").await?;
        let last = |message: &Value| message["capture"]["endpoint"] == "end";
        let messages = subscriber.read_until(LIMIT, last).await?;
        let found: Vec<&str> =
            captures(&messages).iter().filter_map(|capture| capture["body"]["content"].as_str()).collect();
        assert_eq!(
            found.iter().filter(|code| **code != "end").copied().collect::<Vec<_>>(),
            expected,
            "{query}"
        );
    }
    Ok(())
}

async fn methods_choose_captures() -> TestResult {
    let node = Node::builder().start().await?;
    let mut subscriber = subscribe(&node, Framing::WebSocket, "method=PUT&method=PURGE&method=get").await?;
    for method in ["GET", "PUT", "get", "PATCH", "PURGE"] {
        node.request(method, "/r/m", "").await?;
    }
    let messages = subscriber.read_captures(3, LIMIT).await?;
    let methods: Vec<_> = captures(&messages).iter().map(|capture| capture["method"].clone()).collect();
    assert_eq!(methods, ["PUT", "get", "PURGE"]);
    Ok(())
}

async fn a_body_is_shown_in_the_form_that_was_asked_for() -> TestResult {
    let node = Node::builder().start().await?;
    // A preview ends before the character that it would cut in two.
    let text = format!("{}é{}", "x".repeat(8191), "y".repeat(100));
    let binary = [0xff; 9000];
    let mut full = subscribe(&node, Framing::WebSocket, "body=full").await?;
    let mut preview = subscribe(&node, Framing::Sse, "body=preview").await?;
    let mut none = subscribe(&node, Framing::Ndjson, "body=none").await?;
    node.post("/r/f", &text).await?;
    node.post("/r/f", binary).await?;
    node.post("/r/f", "short").await?;

    let messages = full.read_captures(3, LIMIT).await?;
    let full = captures(&messages);
    assert_eq!(body_of(full[0])?, text.as_bytes());
    assert_eq!(
        (&full[0]["body"]["encoding"], &full[1]["body"]["encoding"]),
        (&json!("utf8"), &json!("base64"))
    );
    assert_eq!(body_of(full[1])?, binary);
    assert!(full[0]["body"].get("preview").is_none());

    let messages = preview.read_captures(3, LIMIT).await?;
    let preview = captures(&messages);
    assert_eq!(body_of(preview[0])?, "x".repeat(8191).as_bytes());
    assert_eq!(body_of(preview[1])?, [0xff; 8192]);
    assert_eq!((&preview[1]["body"]["bytes"], &preview[1]["body"]["preview"]), (&json!(9000), &json!(true)));
    assert_eq!(
        (&preview[2]["body"]["content"], &preview[2]["body"]["preview"]),
        (&json!("short"), &json!(false))
    );

    let messages = none.read_captures(3, LIMIT).await?;
    for capture in captures(&messages) {
        assert!(capture["body"].get("content").is_none() && capture["body"].get("encoding").is_none());
    }
    assert_eq!(captures(&messages)[1]["body"]["bytes"], 9000);
    Ok(())
}

async fn a_large_body_comes_whole_in_every_framing() -> TestResult {
    let node = Node::builder().start().await?;
    let mut subscribers = Vec::new();
    for framing in Framing::ALL {
        subscribers.push(subscribe(&node, framing, "").await?);
    }
    let body: Vec<u8> =
        (0..10_485_760u32).map(|i| u8::try_from(i.wrapping_mul(i) % 253).expect("below 253")).collect();
    let id = node.post("/r/large", &body).await?;
    node.post("/r/large", "behind").await?;
    for (framing, subscriber) in Framing::ALL.iter().zip(&mut subscribers) {
        let messages = subscriber.read_captures(2, Duration::from_secs(60)).await?;
        let shown = captures(&messages);
        assert_eq!(
            (&shown[0]["id"], &shown[1]["body"]["content"]),
            (&json!(id), &json!("behind")),
            "{framing:?}"
        );
        assert!(body_of(shown[0])? == body, "{framing:?}");
    }
    let raw = node.get(&format!("/api/captures/{id}/body")).await?;
    assert_eq!(raw.header("content-length"), Some("10485760"));
    assert!(raw.body == body);
    Ok(())
}

async fn a_stream_begins_now_or_earlier_as_asked() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/a", "one").await?;
    let second = node.post("/r/a", "two").await?;
    let received = node.json(&format!("/api/captures/{second}")).await?["received"].clone();
    let time = received.as_str().ok_or("no time")?.to_owned();
    let mut from_now = subscribe(&node, Framing::Ndjson, "").await?;
    let mut from_now_said = subscribe(&node, Framing::Ndjson, "since=now").await?;
    node.post("/r/a", "three").await?;
    assert_eq!(bodies(&mut from_now, 1).await?, ["three"]);
    assert_eq!(bodies(&mut from_now_said, 1).await?, ["three"]);
    let mut earliest = subscribe(&node, Framing::Ndjson, "since=earliest").await?;
    assert_eq!(bodies(&mut earliest, 3).await?, ["one", "two", "three"]);
    let mut timed = subscribe(&node, Framing::Ndjson, &format!("since={time}")).await?;
    assert_eq!(bodies(&mut timed, 2).await?, ["two", "three"], "from {time}");
    let mut future = subscribe(&node, Framing::Ndjson, "since=2100-01-01T00:00:00Z").await?;
    let mut past = subscribe(&node, Framing::Ndjson, "since=1970-01-01T00:00:00%2B01:00").await?;
    assert_eq!(bodies(&mut past, 3).await?.len(), 3);
    node.post("/r/a", "four").await?;
    let early = tokio::time::timeout(Duration::from_millis(300), future.next()).await;
    assert!(early.is_err(), "nothing of before its time: {early:?}");
    Ok(())
}

async fn heartbeats_move_the_cursor_of_a_filtered_subscriber() -> TestResult {
    let node = Node::builder().setting("stream.heartbeat_ms", 100).start().await?;
    for framing in Framing::ALL {
        let mut filtered = subscribe(&node, framing, "endpoint=nobody").await?;
        let before = filtered.cursor().ok_or("no cursor")?.to_owned();
        node.post("/r/somebody", "x").await?;
        let moved = |message: &Value| message["type"] == "heartbeat" && message["cursor"] != *before;
        filtered.read_until(LIMIT, moved).await?;
        let after = filtered.cursor().ok_or("no cursor")?.to_owned();
        let mut resumed = subscribe(&node, Framing::Ndjson, &format!("since={after}")).await?;
        node.post("/r/somebody", "y").await?;
        assert_eq!(bodies(&mut resumed, 1).await?, ["y"], "what the filter left out is behind the cursor");
    }
    Ok(())
}

async fn removals_are_events() -> TestResult {
    let node = Node::builder().start().await?;
    let id = node.post("/r/gone", "x").await?;
    node.post("/r/gone", "y").await?;
    let mut all = subscribe(&node, Framing::Sse, "method=GET").await?;
    let mut other = subscribe(&node, Framing::Sse, "endpoint=other").await?;
    assert_eq!(node.request("DELETE", &format!("/api/captures/{id}"), "").await?.status, 204);
    assert_eq!(node.request("DELETE", "/api/endpoints/gone/captures", "").await?.status, 204);
    node.get("/r/other").await?;
    let messages = all.read_captures(1, LIMIT).await?;
    let removals: Vec<&Value> =
        messages.iter().filter(|m| m["type"] == "removal").map(|m| &m["removal"]).collect();
    assert_eq!(removals.len(), 2, "whatever the method: {messages:?}");
    assert_eq!((&removals[0]["endpoint"], &removals[0]["capture"]), (&json!("gone"), &json!(id)));
    assert_eq!((&removals[1]["endpoint"], &removals[1]["all"]), (&json!("gone"), &json!(true)));
    assert_eq!(removals[1]["seq"], removals[0]["seq"].as_i64().unwrap_or_default() + 1);
    let messages = other.read_captures(1, LIMIT).await?;
    assert_eq!(messages.len(), 1, "not of this endpoint");
    let mut earliest = subscribe(&node, Framing::Ndjson, "since=earliest").await?;
    let messages = earliest.read_captures(1, LIMIT).await?;
    assert_eq!(captures(&messages)[0]["endpoint"], "other", "what was removed is not shown");
    Ok(())
}

async fn configuration_changes_are_events() -> TestResult {
    let node = Node::builder().start().await?;
    let mut subscriber = subscribe(&node, Framing::WebSocket, "endpoint=de*").await?;
    node.request("PUT", "/api/endpoints/other", "").await?;
    node.request("PUT", "/api/endpoints/declared", "").await?;
    node.request("PUT", "/api/endpoints/declared", "").await?;
    node.request("DELETE", "/api/endpoints/declared", "").await?;
    node.post("/r/declared", "x").await?;
    let messages = subscriber.read_captures(1, LIMIT).await?;
    let changes: Vec<&Value> = messages.iter().map(|message| &message["configuration"]["change"]).collect();
    assert_eq!(changes, [&json!("endpoint.created"), &json!("endpoint.removed"), &Value::Null]);
    assert_eq!(messages[0]["type"], "configuration");
    assert_eq!(messages[0]["configuration"]["endpoint"], "declared");
    assert!(messages[0]["cursor"].is_string() && messages[0]["configuration"]["at"].is_string());
    Ok(())
}

async fn a_cursor_of_another_journal_is_told_by_reset() -> TestResult {
    let (one, other) = (Node::builder().start().await?, Node::builder().start().await?);
    one.post("/r/a", "x").await?;
    let mut subscriber = subscribe(&one, Framing::Ndjson, "since=earliest").await?;
    bodies(&mut subscriber, 1).await?;
    let foreign = subscriber.cursor().ok_or("no cursor")?.to_owned();
    other.post("/r/a", "y").await?;
    let mut reset = subscribe(&other, Framing::Ndjson, &format!("since={foreign}")).await?;
    other.post("/r/a", "z").await?;
    let messages = reset.read_captures(1, LIMIT).await?;
    assert_eq!(messages[0]["type"], "reset", "{messages:?}");
    assert_eq!(captures(&messages)[0]["body"]["content"], "z");
    let problem = other.get(&format!("/api/captures?cursor={foreign}")).await?;
    check_problem(&problem, 400, "invalid-cursor")?;
    Ok(())
}

async fn what_cannot_be_subscribed_to_is_a_problem() -> TestResult {
    let node = Node::builder().start().await?;
    let many = "endpoint=a&".repeat(65);
    let long = format!("endpoint={}", "x".repeat(513));
    let table = [
        ("sinc=now", "invalid-parameter"),
        ("since=now&since=now", "invalid-parameter"),
        ("body=half", "invalid-parameter"),
        ("endpoint=", "invalid-parameter"),
        ("endpoint=a%5Cb", "invalid-parameter"),
        ("endpoint=%ff", "invalid-parameter"),
        (&many, "invalid-parameter"),
        (&long, "invalid-parameter"),
        ("since=yesterday", "invalid-cursor"),
        ("since=AAAA", "invalid-cursor"),
        ("since=", "invalid-cursor"),
    ];
    for (query, slug) in table {
        let answer = node.get(&format!("/api/stream?{query}")).await?;
        let problem = check_problem(&answer, 400, slug)?;
        assert!(problem["detail"].is_string(), "{query}: {problem}");
        let (_, upgrade) =
            handshake(&node.address(), &format!("/api/stream?{query}"), &format!("{VERSION_13}{KEY}"))
                .await?;
        check_problem(&upgrade, 400, slug)?;
    }
    check_problem(&node.request("POST", "/api/stream", "").await?, 405, "method-not-allowed")?;
    assert_eq!(node.metric("creel_subscribers").await?, 0.0);
    Ok(())
}

async fn subscribers_have_a_ceiling() -> TestResult {
    // One that has gone is noticed when it is sent something.
    let node = Node::builder()
        .setting("stream.subscribers_max", 2)
        .setting("stream.heartbeat_ms", 200)
        .start()
        .await?;
    let first = subscribe(&node, Framing::Ndjson, "").await?;
    let _second = subscribe(&node, Framing::WebSocket, "").await?;
    check_problem(&node.get("/api/stream").await?, 503, "overloaded")?;
    let (_, refused) = handshake(&node.address(), "/api/stream", &format!("{VERSION_13}{KEY}")).await?;
    check_problem(&refused, 503, "overloaded")?;
    drop(first);
    eventually(LIMIT, "its place is free again", || async {
        subscribe(&node, Framing::Sse, "").await.is_ok()
    })
    .await;
    Ok(())
}

async fn head_tells_what_get_would() -> TestResult {
    let node = Node::builder().setting("stream.subscribers_max", 1).start().await?;
    for _ in 0..3 {
        let answer = node.request("HEAD", "/api/stream", "Accept: text/event-stream\r\n").await?;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    }
    assert_eq!(node.request("HEAD", "/api/stream?since=x", "").await?.status, 400);
    eventually(LIMIT, "nobody stays subscribed", || async {
        node.metric("creel_subscribers").await.is_ok_and(|subscribers| subscribers == 0.0)
    })
    .await;
    Ok(())
}

async fn read(socket: &mut WebSocket) -> TestResult<Value> {
    Ok(serde_json::from_slice(&socket.next().await?.payload)?)
}

async fn a_subscription_changes_over_its_websocket() -> TestResult {
    let node = Node::builder().start().await?;
    let mut socket = WebSocket::open(&node.address(), "/api/stream?endpoint=a", "").await?;
    let ready = read(&mut socket).await?;
    node.post("/r/a", "one").await?;
    assert_eq!(read(&mut socket).await?["capture"]["body"]["content"], "one");
    let subscribe = json!({"type": "subscribe", "endpoint": ["b*"], "method": ["POST"], "body": "none"});
    socket.send(opcode::TEXT, subscribe.to_string().as_bytes()).await?;
    let subscribed = read(&mut socket).await?;
    assert_eq!(subscribed["type"], "subscribed");
    assert!(
        subscribed["cursor"].is_string() && subscribed["cursor"] != ready["cursor"],
        "its place moved on"
    );
    for target in ["/r/a", "/r/b1", "/r/c"] {
        node.post(target, "two").await?;
    }
    node.get("/r/b1").await?;
    node.post("/r/b2", "three").await?;
    let first = read(&mut socket).await?;
    assert_eq!(first["capture"]["endpoint"], "b1");
    assert!(first["capture"]["body"].get("content").is_none());
    assert_eq!(read(&mut socket).await?["capture"]["endpoint"], "b2");
    socket.send(opcode::TEXT, br#"{"type":"subscribe"}"#).await?;
    assert_eq!(read(&mut socket).await?["type"], "subscribed");
    node.get("/r/c").await?;
    let all = read(&mut socket).await?;
    assert_eq!(all["capture"]["endpoint"], "c", "what is left out means all");
    assert!(all["capture"]["body"].get("content").is_none(), "the form stays");
    Ok(())
}

async fn what_a_websocket_client_says_wrong_is_told() -> TestResult {
    let node = Node::builder().start().await?;
    let mut socket = WebSocket::open(&node.address(), "/api/stream?endpoint=a", "").await?;
    read(&mut socket).await?;
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let nested = format!("{{\"type\":\"subscribe\",\"endpoint\":{deep}}}");
    let many = json!({"type": "subscribe", "endpoint": vec!["a"; 65]}).to_string();
    let long = json!({"type": "subscribe", "endpoint": ["x".repeat(513)]}).to_string();
    let wrong = [
        "",
        "null",
        "[]",
        "7",
        "\"subscribe\"",
        "{",
        "{}",
        "not JSON",
        "\u{0}",
        "{\"type\":\"shout\"}",
        "{\"type\":\"subscribe\",\"endpoints\":[]}",
        "{\"type\":\"subscribe\",\"endpoint\":\"a\"}",
        "{\"type\":\"subscribe\",\"endpoint\":[1e999]}",
        "{\"type\":\"subscribe\",\"endpoint\":[\"\"]}",
        "{\"type\":\"subscribe\",\"endpoint\":[\"a\\\\b\"]}",
        "{\"type\":\"subscribe\",\"body\":\"half\"}",
        "{\"type\":\"subscribe\",\"type\":\"subscribe\"}",
        "{\"type\":\"subscribe\"}{}",
        &deep,
        &nested,
        &many,
        &long,
    ];
    for text in wrong {
        socket.send(opcode::TEXT, text.as_bytes()).await?;
        let answer = read(&mut socket).await?;
        let start: String = text.chars().take(60).collect();
        assert_eq!(answer["type"], "error", "{start}");
        assert!(answer["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{start}: {answer}");
    }
    node.post("/r/b", "x").await?;
    node.post("/r/a", "y").await?;
    assert_eq!(read(&mut socket).await?["capture"]["body"]["content"], "y", "the subscription is as it was");
    node.check_unharmed().await
}

async fn a_websocket_client_keeps_to_the_protocol() -> TestResult {
    let node = Node::builder().start().await?;
    let host = node.address();
    let open = || WebSocket::open(&host, "/api/stream", "");
    let mut socket = open().await?;
    read(&mut socket).await?;
    socket.send(opcode::PING, b"hello").await?;
    let pong = socket.next().await?;
    assert_eq!((pong.opcode, pong.payload), (opcode::PONG, b"hello".to_vec()));
    socket.close(4321, "enough").await?;
    assert_eq!(socket.closed().await?, Some((4321, String::new())));
    socket.ended().await?;
    let mut binary = open().await?;
    binary.send(opcode::BINARY, b"{}").await?;
    assert_eq!(binary.closed().await?, Some((1003, "only text is understood".to_owned())));
    let mut large = open().await?;
    large.send(opcode::TEXT, &[b' '; 16_385]).await?;
    assert_eq!(large.closed().await?.map(|(code, _)| code), Some(1009));
    let mut unmasked = open().await?;
    unmasked.send_frame(0x81, false, b"{}").await?;
    assert_eq!(unmasked.closed().await?.map(|(code, _)| code), Some(1002));
    eventually(LIMIT, "all of them are gone", || async {
        node.metric("creel_subscribers").await.is_ok_and(|subscribers| subscribers == 0.0)
    })
    .await;
    node.check_unharmed().await
}

async fn a_stopping_node_tells_when_to_come_back() -> TestResult {
    let node = Node::builder().setting("stream.reconnect_ms_max", 1234).start().await?;
    let mut subscribers = Vec::new();
    for framing in Framing::ALL {
        subscribers.push(subscribe(&node, framing, "").await?);
    }
    let mut socket = WebSocket::open(&node.address(), "/api/stream", "").await?;
    read(&mut socket).await?;
    node.post("/r/a", "x").await?;
    let endings = async {
        for subscriber in &mut subscribers {
            let messages = subscriber.read_until(LIMIT, |message| message["type"] == "closing").await?;
            let closing = messages.last().ok_or("nothing")?;
            assert!(closing["reconnect_ms"].as_u64().is_some_and(|ms| ms <= 1234), "{closing}");
            assert_eq!(closing["cursor"], messages[0]["cursor"], "behind the one capture");
            assert_eq!(subscriber.next().await?, None);
        }
        assert_eq!(socket.closed().await?, Some((1012, "the node is stopping".to_owned())));
        TestResult::Ok(())
    };
    let (status, ended) = tokio::join!(node.term(), endings);
    ended?;
    assert_eq!(status?.code(), Some(0));
    Ok(())
}
