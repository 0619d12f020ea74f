//! WebSockets on capture URLs: caught from open to close, within limits, as RFC 6455 asks.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::client::{Connection, KEY, VERSION_13, WebSocket, frame, handshake, opcode};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, body_of, capture_id, check_problem, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_socket_is_caught_from_its_open_to_its_close,
            an_echo_comes_once_the_message_is_kept,
            fragments_are_one_message_and_pings_may_come_between,
            pings_are_answered_and_pongs_are_not_caught,
            a_message_over_the_limit_closes_with_1009,
            a_message_that_finds_no_room_closes_with_1013,
            too_many_messages_close_with_1008,
            a_silent_socket_is_closed_and_one_that_answers_pings_is_not,
            close_codes_are_answered_or_refused_by_the_rules,
            a_peer_that_vanishes_is_a_close_with_1006,
            a_message_that_does_not_end_is_kept_as_far_as_it_came,
            broken_frames_close_with_1002,
            text_that_is_not_utf8_closes_with_1007,
            a_frame_may_come_byte_by_byte,
            a_handshake_that_is_none_is_caught_as_a_request,
            an_upgrade_may_name_others_first_but_not_in_http_1_0,
            sockets_have_a_ceiling,
            a_stopping_node_closes_with_1012,
    }
}

async fn open(node: &Node, target: &str) -> TestResult<WebSocket> {
    WebSocket::open(&node.address(), target, "").await
}

async fn echoing() -> TestResult<Node> {
    Node::builder().setting("capture.websocket.echo", true).start().await
}

/// With so many bytes for bodies in flight.
async fn echoing_within(bytes: u64) -> TestResult<Node> {
    let node = Node::builder().setting("capture.websocket.echo", true);
    node.setting("capture.bodies_in_flight_bytes_max", bytes).start().await
}

async fn a_socket_is_caught_from_its_open_to_its_close() -> TestResult {
    let node = Node::builder().start().await?;
    let mut socket = WebSocket::open(&node.address(), "/r/ws/below?a=1", "X-Own: 1\r\n").await?;
    let opened = capture_id(&socket.opened)?.to_owned();
    socket.send(opcode::TEXT, "héllo".as_bytes()).await?;
    socket.send(opcode::BINARY, b"\0\xff").await?;
    socket.send(opcode::TEXT, b"").await?;
    socket.close(4001, "that is all").await?;
    assert_eq!(socket.closed().await?, Some((4001, String::new())));
    socket.ended().await?;

    let captures = node.captures_of("ws", 5).await;
    let kinds: Vec<_> = captures.iter().filter_map(|capture| capture["kind"].as_str()).collect();
    let expected =
        ["websocket_open", "websocket_text", "websocket_binary", "websocket_text", "websocket_close"];
    assert_eq!(kinds, expected);
    assert_eq!(captures[0]["id"], opened);
    assert_eq!(captures[0]["reply"], json!({"source": "websocket", "status": 101}));
    assert!(
        captures[0]["headers"].as_array().is_some_and(|headers| headers.contains(&json!(["x-own", "1"])))
    );
    let connection = &captures[0]["websocket"]["connection"];
    assert!(connection.is_string());
    for capture in &captures {
        assert_eq!(&capture["websocket"]["connection"], connection);
        assert_eq!(capture["target"], "/r/ws/below?a=1");
    }
    assert_eq!(captures[1]["body"]["content"], "héllo");
    assert_eq!(captures[1]["reply"], json!({"source": "nothing"}));
    assert_eq!(body_of(&captures[2])?, b"\0\xff");
    assert_eq!(captures[3]["body"]["bytes"], 0);
    let close = json!({"connection": connection, "close_code": 4001, "close_reason": "that is all"});
    assert_eq!(captures[4]["websocket"], close);
    node.check_unharmed().await
}

async fn an_echo_comes_once_the_message_is_kept() -> TestResult {
    let node = echoing().await?;
    let mut socket = open(&node, "/r/echo").await?;
    let large: Vec<u8> = (0..200_000u32).map(|i| u8::try_from(i % 251).expect("below 251")).collect();
    for (code, payload) in
        [(opcode::TEXT, b"hello".as_slice()), (opcode::BINARY, b"\xff\0"), (opcode::BINARY, &large)]
    {
        socket.send(code, payload).await?;
        let echo = socket.next().await?;
        assert_eq!((echo.last, echo.opcode), (true, code));
        assert!(echo.payload == payload);
        let newest = node.json("/api/captures?limit=1").await?["captures"][0].clone();
        assert_eq!(newest["body"]["bytes"], payload.len());
    }
    let newest = node.json("/api/captures?limit=1").await?["captures"][0].clone();
    assert_eq!(newest["reply"], json!({"source": "websocket"}));
    Ok(())
}

async fn fragments_are_one_message_and_pings_may_come_between() -> TestResult {
    let node = echoing().await?;
    let mut socket = open(&node, "/r/frag").await?;
    // "é" is cut in two: only the whole has to be UTF-8.
    socket.send_frame(opcode::TEXT, true, b"h\xc3").await?;
    socket.send(opcode::PING, b"between").await?;
    socket.send_frame(opcode::CONTINUE, true, b"\xa9l").await?;
    socket.send_frame(opcode::CONTINUE, true, b"").await?;
    socket.send_frame(0x80 | opcode::CONTINUE, true, b"lo").await?;
    let pong = socket.next().await?;
    assert_eq!((pong.opcode, pong.payload.as_slice()), (opcode::PONG, b"between".as_slice()));
    let echo = socket.next().await?;
    assert_eq!((echo.opcode, String::from_utf8(echo.payload)?), (opcode::TEXT, "héllo".to_owned()));
    assert_eq!(node.captures_of("frag", 2).await.len(), 2, "the open and one message");
    Ok(())
}

async fn pings_are_answered_and_pongs_are_not_caught() -> TestResult {
    let node = Node::builder().start().await?;
    let mut socket = open(&node, "/r/ping").await?;
    let longest = [7; 125];
    for payload in [b"".as_slice(), b"hello", &longest] {
        socket.send(opcode::PONG, b"nobody asked").await?;
        socket.send(opcode::PING, payload).await?;
        let pong = socket.next().await?;
        assert_eq!((pong.opcode, pong.payload.as_slice()), (opcode::PONG, payload));
    }
    socket.send_frame(0x80 | opcode::CLOSE, true, b"").await?;
    assert_eq!(socket.closed().await?, None);
    let captures = node.captures_of("ping", 2).await;
    assert_eq!(captures.len(), 2, "only the open and the close");
    assert_eq!(captures[1]["websocket"]["close_code"], 1005);
    Ok(())
}

async fn a_message_over_the_limit_closes_with_1009() -> TestResult {
    let node = Node::builder().setting("capture.websocket.message_bytes_max", 100).start().await?;
    let mut at_limit = open(&node, "/r/big").await?;
    at_limit.send(opcode::BINARY, &[1; 100]).await?;
    let mut whole = open(&node, "/r/big").await?;
    // The head alone tells that it is too big.
    whole.send_raw(&frame(0x82, true, &[1; 101])[..8]).await?;
    let mut in_pieces = open(&node, "/r/big").await?;
    in_pieces.send_frame(opcode::BINARY, true, &[1; 60]).await?;
    in_pieces.send_frame(opcode::CONTINUE, true, &[1; 41]).await?;
    let mut absurd = open(&node, "/r/big").await?;
    absurd.send_raw(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).await?;
    for socket in [&mut whole, &mut in_pieces, &mut absurd] {
        assert_eq!(socket.closed().await?.map(|(code, _)| code), Some(1009));
    }
    let captures = node.captures_of("big", 8).await;
    let messages: Vec<&Value> = captures.iter().filter(|c| c["kind"] == "websocket_binary").collect();
    assert_eq!(messages.len(), 1);
    assert_eq!(captures.iter().filter(|c| c["websocket"]["close_code"] == 1009).count(), 3);
    Ok(())
}

async fn a_message_that_finds_no_room_closes_with_1013() -> TestResult {
    let node = echoing_within(3_000_000).await?;
    let part = vec![7; 1_000_000];
    let held = |at_least: f64| {
        let node = &node;
        eventually(Duration::from_secs(10), "what came is counted", move || async move {
            node.metric("creel_bodies_in_flight_bytes").await.is_ok_and(|bytes| bytes >= at_least)
        })
    };
    let mut first = open(&node, "/r/room").await?;
    first.send_frame(opcode::BINARY, true, &part).await?;
    held(1_000_000.0).await;
    let mut second = open(&node, "/r/room").await?;
    second.send_frame(opcode::BINARY, true, &part).await?;
    held(2_000_000.0).await;
    let mut third = open(&node, "/r/room").await?;
    drop(third.send_frame(opcode::BINARY, true, &part).await);
    assert_eq!(third.closed().await?.map(|(code, _)| code), Some(1013));
    assert_eq!(node.outcomes("bodies_full").await, 1.0);
    drop(third);
    second.close(1000, "").await?;
    second.closed().await?;
    // Whoever was in time is served to the end, and gives back what it took.
    first.send_frame(0x80 | opcode::CONTINUE, true, b"end").await?;
    assert_eq!(first.next().await?.payload.len(), part.len() + 3);
    eventually(Duration::from_secs(10), "the memory is free again", || async {
        node.metric("creel_bodies_in_flight_bytes").await.is_ok_and(|bytes| bytes == 0.0)
    })
    .await;
    let captures = node.captures_of("room", 7).await;
    let refused: Vec<&Value> = captures.iter().filter(|c| c["websocket"]["close_code"] == 1013).collect();
    assert_eq!(refused.len(), 1);
    node.check_unharmed().await
}

async fn too_many_messages_close_with_1008() -> TestResult {
    let node = Node::builder().setting("capture.websocket.messages_max", 2).start().await?;
    let mut socket = open(&node, "/r/many").await?;
    for _ in 0..3 {
        socket.send(opcode::TEXT, b"hello").await?;
    }
    assert_eq!(socket.closed().await?, Some((1008, "too many messages".to_owned())));
    assert_eq!(node.captures_of("many", 4).await.len(), 4, "the open, two messages and the close");
    Ok(())
}

async fn a_silent_socket_is_closed_and_one_that_answers_pings_is_not() -> TestResult {
    let node = Node::builder().setting("capture.websocket.idle_timeout_ms", 600).start().await?;
    let mut silent = open(&node, "/r/idle").await?;
    let mut answering = open(&node, "/r/idle").await?;
    let begun = Instant::now();
    let answers = async {
        while begun.elapsed() < Duration::from_millis(1500) {
            let ping = answering.next().await?;
            assert_eq!(ping.opcode, opcode::PING);
            answering.send(opcode::PONG, &ping.payload).await?;
        }
        TestResult::Ok(())
    };
    let (closed, answered) = tokio::join!(silent.closed(), answers);
    answered?;
    assert_eq!(closed?, Some((1001, "idle for too long".to_owned())));
    answering.close(1000, "").await?;
    assert_eq!(answering.closed().await?, Some((1000, String::new())));
    Ok(())
}

async fn close_codes_are_answered_or_refused_by_the_rules() -> TestResult {
    let node = Node::builder().start().await?;
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        let mut socket = open(&node, "/r/close").await?;
        socket.close(code, "why").await?;
        assert_eq!(socket.closed().await?, Some((code, String::new())));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let mut socket = open(&node, "/r/close").await?;
        socket.close(code, "why").await?;
        assert_eq!(socket.closed().await?.map(|(code, _)| code), Some(1002), "{code}");
    }
    for (payload, expected) in [(b"\x03".as_slice(), 1002), (b"\x03\xe8\xff\xfe", 1007), (&[3; 126], 1002)] {
        let mut socket = open(&node, "/r/close").await?;
        socket.send_frame(0x80 | opcode::CLOSE, true, payload).await?;
        assert_eq!(socket.closed().await?.map(|(code, _)| code), Some(expected), "{payload:?}");
        socket.ended().await?;
    }
    node.check_unharmed().await
}

async fn a_peer_that_vanishes_is_a_close_with_1006() -> TestResult {
    let node = Node::builder().start().await?;
    let mut socket = open(&node, "/r/gone").await?;
    socket.send(opcode::PING, b"and gone").await?;
    socket.next().await?;
    drop(socket);
    let captures = node.captures_of("gone", 2).await;
    assert_eq!(captures[1]["kind"], "websocket_close");
    assert_eq!(captures[1]["websocket"]["close_code"], 1006);
    eventually(Duration::from_secs(5), "the socket is no longer counted", || async {
        node.metric("creel_capture_sockets").await.is_ok_and(|open| open == 0.0)
    })
    .await;
    Ok(())
}

/// Whatever ends it: its sender, the rules, or the node.
async fn a_message_that_does_not_end_is_kept_as_far_as_it_came() -> TestResult {
    let node = Node::builder().start().await?;
    let mut gone = open(&node, "/r/cut-gone").await?;
    gone.send_frame(opcode::TEXT, true, b"h\xc3").await?;
    gone.send_frame(opcode::CONTINUE, true, b"\xa9l").await?;
    // Of the last fragment, half.
    gone.send_raw(&frame(0x80 | opcode::CONTINUE, true, b"lo there")[..10]).await?;
    drop(gone);
    let mut broken = open(&node, "/r/cut-broken").await?;
    broken.send_frame(opcode::BINARY, true, b"h\xc3\xa9llo").await?;
    broken.send_frame(0x80 | opcode::TEXT, true, b"another").await?;
    assert_eq!(broken.closed().await?.map(|(code, _)| code), Some(1002));
    let mut garbled = open(&node, "/r/cut-garbled").await?;
    garbled.send(opcode::TEXT, b"h\xc3\xa9llo\xff").await?;
    assert_eq!(garbled.closed().await?.map(|(code, _)| code), Some(1007));
    let mut closed = open(&node, "/r/cut-closed").await?;
    closed.send_frame(opcode::TEXT, true, b"h\xc3\xa9llo").await?;
    closed.close(1000, "").await?;
    closed.closed().await?;
    let mut stopped = open(&node, "/r/cut-stopped").await?;
    stopped.send_frame(opcode::TEXT, true, b"h\xc3\xa9llo").await?;
    stopped.send(opcode::PING, b"").await?;
    stopped.next().await?;
    eventually(Duration::from_secs(5), "each is counted", || async {
        node.outcomes("incomplete").await == 4.0
    })
    .await;
    node.term().await?;
    node.start_again().await?;
    for (code, kind, content, close) in [
        ("cut-gone", "websocket_text", "h\u{e9}llo t".as_bytes(), 1006),
        ("cut-broken", "websocket_binary", "h\u{e9}llo".as_bytes(), 1002),
        ("cut-garbled", "websocket_text", b"h\xc3\xa9llo\xff", 1007),
        ("cut-closed", "websocket_text", "h\u{e9}llo".as_bytes(), 1000),
        ("cut-stopped", "websocket_text", "h\u{e9}llo".as_bytes(), 1012),
    ] {
        let captures = node.captures_of(code, 3).await;
        assert_eq!(
            (&captures[1]["kind"], body_of(&captures[1])?.as_slice()),
            (&json!(kind), content),
            "{code}"
        );
        assert_eq!(captures[1]["body"]["incomplete"], true, "{code}");
        assert_eq!(captures[1]["reply"], json!({"source": "nothing"}), "{code}");
        assert_eq!(captures[2]["websocket"]["close_code"], close, "{code}");
    }
    node.check_unharmed().await
}

async fn broken_frames_close_with_1002() -> TestResult {
    let node = Node::builder().start().await?;
    let text = 0x80 | opcode::TEXT;
    let ping = 0x80 | opcode::PING;
    let long = [0; 126];
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("unmasked".into(), frame(text, false, b"hello")),
        ("a control frame in pieces".into(), frame(opcode::PING, true, b"hello")),
        ("a control frame over 125 bytes".into(), frame(ping, true, &long)),
        ("a continuation of nothing".into(), frame(0x80, true, b"hello")),
        (
            "a message within another".into(),
            [frame(opcode::TEXT, true, b"a"), frame(text, true, b"b")].concat(),
        ),
    ];
    for reserved in [0x40, 0x20, 0x10, 0x70] {
        cases.push((format!("reserved bits {reserved:#x}"), frame(text | reserved, true, b"hello")));
        cases
            .push((format!("reserved bits {reserved:#x} of a ping"), frame(ping | reserved, true, b"hello")));
    }
    for unknown in (3..=7).chain(11..=15) {
        cases.push((format!("opcode {unknown}"), frame(0x80 | unknown, true, b"hello")));
    }
    for (case, bytes) in &cases {
        let mut socket = open(&node, "/r/broken").await?;
        socket.send_raw(bytes).await?;
        let closed = socket.closed().await.map_err(|error| format!("{case}: {error}"))?;
        assert_eq!(closed.map(|(code, _)| code), Some(1002), "{case}");
    }
    // Of the one that began a message before, that is kept.
    let captures = node.captures_of("broken", 2 * cases.len() + 1).await;
    assert_eq!(captures.len(), 2 * cases.len() + 1, "no broken frame is a message");
    node.check_unharmed().await
}

async fn text_that_is_not_utf8_closes_with_1007() -> TestResult {
    let node = Node::builder().start().await?;
    let bad: [&[u8]; 5] = [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf"];
    for text in bad {
        let mut socket = open(&node, "/r/text").await?;
        socket.send(opcode::TEXT, text).await?;
        assert_eq!(socket.closed().await?.map(|(code, _)| code), Some(1007), "{text:?}");
    }
    Ok(())
}

async fn a_frame_may_come_byte_by_byte() -> TestResult {
    let node = echoing().await?;
    let mut socket = open(&node, "/r/bytes").await?;
    for byte in frame(0x80 | opcode::TEXT, true, b"hello") {
        socket.send_raw(&[byte]).await?;
    }
    assert_eq!(socket.next().await?.payload, b"hello");
    let two = [frame(0x81, true, b"one"), frame(0x81, true, b"two")].concat();
    socket.send_raw(&two).await?;
    assert_eq!(
        (socket.next().await?.payload, socket.next().await?.payload),
        (b"one".to_vec(), b"two".to_vec())
    );
    Ok(())
}

async fn a_handshake_that_is_none_is_caught_as_a_request() -> TestResult {
    let node = Node::builder().start().await?;
    let host = node.address();
    let (_, old) = handshake(&host, "/r/hands", &format!("Sec-WebSocket-Version: 8\r\n{KEY}")).await?;
    check_problem(&old, 426, "websocket-version")?;
    assert_eq!(old.header("sec-websocket-version"), Some("13"));
    assert_eq!(old.header("upgrade"), Some("websocket"), "a 426 says to what (RFC 9110, 15.5.22)");
    assert!(old.header("connection").is_some_and(|options| options.contains("upgrade")));
    let (_, keyless) = handshake(&host, "/r/hands", VERSION_13).await?;
    check_problem(&keyless, 400, "invalid-websocket-handshake")?;
    for (answer, status) in [(old, 426), (keyless, 400)] {
        let kept = node.kept(&answer).await?;
        assert_eq!(kept["kind"], "http");
        assert_eq!(kept["reply"], json!({"source": "websocket", "status": status}));
    }
    for (length, sent, incomplete) in [
        ("Content-Length: 7", "content and more", false),
        ("Content-Length: 7", "conte", true),
        ("Transfer-Encoding: chunked", "7\r\ncontent\r\n0\r\n\r\n", false),
    ] {
        let mut connection = Connection::open(&host).await?;
        let head = "POST /r/hands HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        connection.send(format!("{head}{length}\r\n\r\n{sent}").as_bytes()).await?;
        if incomplete {
            connection.end_sending().await?;
        }
        let kept = node.kept(&connection.response().await?).await?;
        let expected =
            json!({"content": if incomplete { "conte" } else { "content" }, "incomplete": incomplete});
        for (name, value) in expected.as_object().ok_or("no object")? {
            assert_eq!(&kept["body"][name], value, "{length} {sent}");
        }
    }
    let (_, stream) = handshake(&host, "/api/stream", VERSION_13).await?;
    check_problem(&stream, 400, "invalid-websocket-handshake")?;
    Ok(())
}

async fn an_upgrade_may_name_others_first_but_not_in_http_1_0() -> TestResult {
    let node = echoing().await?;
    for (version, upgrade, status) in [
        ("1.1", "Upgrade: foo\r\nUpgrade: WebSocket\r\n", 101),
        ("1.0", "Upgrade: websocket\r\n", 200),
        ("1.1", "Upgrade: foo, websocket\r\n", 200),
    ] {
        let mut connection = Connection::open(node.address()).await?;
        let head = format!("GET /r/up HTTP/{version}\r\nHost: a\r\nConnection: Upgrade\r\n{upgrade}");
        connection.send(format!("{head}{VERSION_13}{KEY}\r\n").as_bytes()).await?;
        let answer = connection.response().await?;
        assert_eq!(answer.status, status, "{version} {upgrade}");
        if status == 101 {
            connection.send(&frame(0x80 | opcode::TEXT, true, b"hello")).await?;
            assert_eq!(connection.bytes(7).await?, frame(0x80 | opcode::TEXT, false, b"hello"));
        } else {
            assert_eq!(node.kept(&answer).await?["kind"], "http", "{version} {upgrade}");
        }
    }
    Ok(())
}

async fn sockets_have_a_ceiling() -> TestResult {
    let node = Node::builder().setting("capture.websocket.sockets_max", 1).start().await?;
    let mut first = open(&node, "/r/max").await?;
    let (_, refused) = handshake(&node.address(), "/r/max", &format!("{VERSION_13}{KEY}")).await?;
    check_problem(&refused, 503, "overloaded")?;
    assert_eq!(node.outcomes("sockets_full").await, 1.0);
    first.close(1000, "").await?;
    first.closed().await?;
    eventually(Duration::from_secs(5), "its place is free again", || async {
        open(&node, "/r/max").await.is_ok()
    })
    .await;
    Ok(())
}

async fn a_stopping_node_closes_with_1012() -> TestResult {
    let node = Node::builder().start().await?;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(open(&node, "/r/stop").await?);
    }
    let closings = async {
        for socket in &mut sockets {
            let (code, reason) = socket.closed().await?.ok_or("closed without a code")?;
            assert_eq!((code, reason.as_str()), (1012, "the node is stopping"));
        }
        TestResult::Ok(())
    };
    let (status, closed) = tokio::join!(node.term(), closings);
    closed?;
    assert_eq!(status?.code(), Some(0));
    node.start_again().await?;
    let captures = node.captures_of("stop", 6).await;
    assert_eq!(captures.iter().filter(|c| c["websocket"]["close_code"] == 1012).count(), 3);
    Ok(())
}
