//! Hostile input: whatever is sent gets its documented answer, and nothing panics.

use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::client::{Connection, WebSocket, opcode};
use crate::harness::node::Node;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, body_of, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            what_the_parser_refuses_gets_a_bare_400,
            heads_have_limits,
            a_slow_head_gets_a_bare_408,
            a_length_that_is_wrong_harms_nobody_else,
            pipelined_requests_are_answered_in_order,
            http_1_0_is_sent_no_chunks,
            a_zip_bomb_is_kept_as_it_came,
            noise_harms_nothing;
        Needs::POSTGRES => nul_and_odd_octets_are_kept_on_postgres_too,
    }
}

async fn what_the_parser_refuses_gets_a_bare_400() -> TestResult {
    let node = Node::builder().start().await?;
    let requests: Vec<&[u8]> = vec![
        b"GET /r/a?x=\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /r/\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /r/a<b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /r/a\x00b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /r/a?\"x\" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G@T /r/a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET  /r/a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /r/a HTTP/1.1\r\n\r\n",
        b"GET /r/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /r/a HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET /r/a HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET /r/a HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET /r/a HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
        b"POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: three\r\n\r\nabc",
        b"POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc",
        b"POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        b"POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
        b"POST /r/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not HTTP at all\r\n\r\n",
        b"\r\n\x00\x00\x00\r\n\r\n",
    ];
    for request in &requests {
        let start = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        let mut connection = Connection::open(node.address()).await?;
        connection.send(request).await?;
        let answer = connection.response().await.map_err(|error| format!("{start}: {error}"))?;
        assert_eq!((answer.status, answer.body.len()), (400, 0), "{start}");
        connection.rest().await.map_err(|error| format!("{start}: {error}"))?;
    }
    assert_eq!(node.json("/api/captures").await?["captures"], json!([]), "none of it was caught");
    node.check_unharmed().await
}

async fn heads_have_limits() -> TestResult {
    let node = Node::builder().start().await?;
    let with_headers = |count: usize| {
        let headers: String = (1..count).map(|i| format!("X-{i}: {i}\r\n")).collect();
        format!("GET /r/heads HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
    };
    let most = node.exchange(with_headers(96)).await?;
    assert_eq!(node.kept(&most).await?["headers"].as_array().map(Vec::len), Some(96));
    let too_many = node.exchange(with_headers(97)).await?;
    assert_eq!((too_many.status, too_many.body.len()), (431, 0));
    let large =
        |bytes: usize| format!("GET /r/heads HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(bytes));
    let kept = node.kept(&node.exchange(large(100_000)).await?).await?;
    let values = kept["headers"].as_array().into_iter().flatten().map(|header| header[1].as_str());
    assert_eq!(values.flatten().map(str::len).max(), Some(100_000));
    let too_large = node.exchange(large(140_000)).await?;
    assert_eq!((too_large.status, too_large.body.len()), (431, 0));
    let target = |bytes: usize| format!("GET /r/heads?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes));
    let kept = node.kept(&node.exchange(target(65_000)).await?).await?;
    assert_eq!(kept["query"].as_str().map(str::len), Some(65_000));
    assert_eq!(node.exchange(target(66_000)).await?.status, 400);
    assert_eq!(node.captures_of("heads", 3).await.len(), 3);
    Ok(())
}

async fn a_slow_head_gets_a_bare_408() -> TestResult {
    let node = Node::builder().setting("server.head_timeout_ms", 500).start().await?;
    let mut connection = Connection::open(node.address()).await?;
    connection.send(b"GET /r/slow HTTP/1.1\r\nHos").await?;
    let answer = connection.response().await?;
    assert_eq!((answer.status, answer.body.len()), (408, 0));
    connection.rest().await?;
    Ok(())
}

async fn a_length_that_is_wrong_harms_nobody_else() -> TestResult {
    let node = Node::builder().start().await?;
    // Too short: what follows is no request.
    let mut short = Connection::open(node.address()).await?;
    short.send(b"POST /r/cl HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcdefgh\r\n\r\n").await?;
    let kept = node.kept(&short.response().await?).await?;
    assert_eq!(kept["body"]["content"], "abc");
    assert_eq!(short.response().await?.status, 400);
    // Too long: it never comes.
    let mut long = Connection::open(node.address()).await?;
    long.send(b"POST /r/cl HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nabc").await?;
    long.end_sending().await?;
    let answer = long.response().await?;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()?["type"], "/problems/body-incomplete");
    let captures = node.captures_of("cl", 2).await;
    assert_eq!(
        (&captures[1]["body"]["content"], &captures[1]["body"]["incomplete"]),
        (&json!("abc"), &json!(true))
    );
    // Chunks that are none.
    for chunks in ["zz\r\nabc\r\n", "3\r\nabcdef\r\n", "ffffffffffffffffff\r\nabc\r\n", "-1\r\n"] {
        let mut broken = Connection::open(node.address()).await?;
        let head = "POST /r/broken HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        broken.send(format!("{head}{chunks}").as_bytes()).await?;
        // There may be an answer, and it ends.
        let answer = broken.rest().await?;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{chunks}");
    }
    let captures = node.captures_of("broken", 4).await;
    assert!(captures.iter().all(|capture| capture["body"]["incomplete"] == true));
    node.check_unharmed().await
}

async fn pipelined_requests_are_answered_in_order() -> TestResult {
    let node = Node::builder().start().await?;
    let address = node.address();
    let mut connection = Connection::open(&address).await?;
    let request =
        |i: usize| format!("POST /r/pipe/{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{i:02}");
    let all: String = (0..40).map(request).collect();
    // The other way round a HEAD takes away the content of what is answered before it: so the framework is.
    let heads = ["/r/head", "/api/captures", "/healthz", "/api/nothing"];
    let heads_first: String =
        heads.map(|target| format!("HEAD {target} HTTP/1.1\r\nHost: {address}\r\n\r\n")).concat();
    connection.send([heads_first, all].concat().as_bytes()).await?;
    for target in heads {
        let answer = connection.response_to("HEAD").await.map_err(|error| format!("{target}: {error}"))?;
        assert_eq!(answer.status, if target == "/api/nothing" { 404 } else { 200 }, "{target}");
        let length: usize = answer.header("content-length").ok_or("no length")?.parse()?;
        assert!(length > 0, "{target}: as long as what GET is answered");
    }
    for i in 0..40 {
        let kept = node.kept(&connection.response().await?).await?;
        assert_eq!(
            (&kept["remainder"], &kept["body"]["content"]),
            (&json!(format!("/{i}")), &json!(format!("{i:02}")))
        );
    }
    // A body that nobody reads ends no connection where it is there.
    let unread = format!("POST /nothing HTTP/1.1\r\nHost: {address}\r\nContent-Length: 3\r\n\r\nabc");
    connection.send([unread.repeat(3), request(40)].concat().as_bytes()).await?;
    for status in [404, 404, 404, 200] {
        assert_eq!(connection.response().await?.status, status);
    }
    Ok(())
}

async fn http_1_0_is_sent_no_chunks() -> TestResult {
    let node = Node::builder().start().await?;
    let rule = json!({"match": {"at": "endpoint", "equals": "slow"},
                      "reply": {"body": "0123456789", "dribble": {"chunks": 5, "over_ms": 50}}});
    let saved = node.http().put(node.url("/api/rules/slow")).body(rule.to_string()).send().await?;
    assert!(saved.status().is_success(), "{saved:?}");
    let large = node.post("/r/large", "x".repeat(300_000)).await?;
    let shown = format!("GET /api/captures/{large}");
    let wait = r#"{"endpoint": "large", "since": "earliest", "match": "method=POST", "timeout_ms": 10000}"#;
    for (request, body, end) in [
        ("GET /r/slow", "", "0123456789"),
        (&shown, "", "}"),
        ("POST /api/captures/wait", wait, "}"),
        ("GET /r/fast", "", "}"),
    ] {
        let mut connection = Connection::open(node.address()).await?;
        let head = format!(
            "{request} HTTP/1.0\r\nHost: {}\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n{body}",
            node.address(),
            body.len()
        );
        connection.send(head.as_bytes()).await?;
        let answer = connection.head_only().await?;
        assert_eq!((answer.status, answer.header("transfer-encoding")), (200, None), "{request}");
        let rest = match answer.header("content-length") {
            Some(length) => connection.bytes(length.parse()?).await?,
            None => connection.rest().await?,
        };
        assert!(
            rest.trim_ascii_end().ends_with(end.as_bytes()),
            "{request}: {:?}",
            String::from_utf8_lossy(&rest)
        );
    }
    Ok(())
}

async fn a_zip_bomb_is_kept_as_it_came() -> TestResult {
    let node = Node::builder().start().await?;
    let bomb = Command::new("sh").args(["-c", "head -c 100000000 /dev/zero | gzip -n1"]).output()?.stdout;
    assert!(bomb.len() > 100_000 && bomb.len() < 1_000_000, "{} bytes", bomb.len());
    let before = node.resident_bytes()?;
    for headers in [
        "Content-Encoding: gzip\r\n",
        "Content-Encoding: gzip, gzip\r\n",
        "Content-Type: application/gzip\r\n",
    ] {
        let head =
            format!("POST /r/bomb HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {}\r\n\r\n", bomb.len());
        let answer = node.exchange([head.as_bytes(), &bomb].concat()).await?;
        let kept = node.kept(&answer).await?;
        assert!(body_of(&kept)? == bomb, "{headers}");
    }
    assert!(node.resident_bytes_max()? < before + 50_000_000, "nobody has unpacked it");
    Ok(())
}

/// Requests and frames with random damage, the same in every run.
async fn noise_harms_nothing() -> TestResult {
    let node = Node::builder().start().await?;
    let seeds: [&[u8]; 5] = [
        b"POST /r/n/x?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nAccept: text/html;q=0.5\r\n\r\nhello",
        b"POST /r/n HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nForwarded: for=\"[::1]\"\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"GET /api/captures?limit=3&endpoint=n&from=2026-01-01T00:00:00Z HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/captures?cursor=AQAPWWwTM3kvAAAAAAAAAAGlx60z HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n",
        b"OPTIONS /r/%6e HTTP/1.1\r\nHost: a\r\nOrigin: b\r\nAccess-Control-Request-Method: X\r\n\r\n",
    ];
    let mut random = StdRng::seed_from_u64(7);
    let mut connections = JoinSet::new();
    for round in 0..400 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..4) {
                0 => bytes[at] = random.random(),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, random.random()),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let address = node.address();
        connections.spawn(async move {
            let mut connection = Connection::open(address).await?;
            connection.send(&bytes).await?;
            connection.end_sending().await.ok();
            // Whatever comes of it: it ends.
            drop(tokio::time::timeout(Duration::from_secs(30), connection.rest()).await?);
            TestResult::Ok(())
        });
    }
    for round in 0..100 {
        let address = node.address();
        let mut noise = vec![0; random.random_range(1..200)];
        random.fill(noise.as_mut_slice());
        connections.spawn(async move {
            let target = if round % 2 == 0 { "/r/n" } else { "/api/stream" };
            let mut socket = WebSocket::open(&address, target, "").await?;
            socket.send_raw(&noise).await.ok();
            drop(socket);
            TestResult::Ok(())
        });
    }
    while let Some(outcome) = connections.join_next().await {
        outcome??;
    }
    node.post("/r/n", "still here").await?;
    node.check_unharmed().await
}

async fn nul_and_odd_octets_are_kept_on_postgres_too() -> TestResult {
    let database = shared_postgres().await?;
    let node = Node::builder().database(database.url()).start().await?;
    let mut request = b"PO'ST /r/odd%EF%BF%BD%22%5C/%00?\\u0000='--;%00 HTTP/1.1\r\nHost: a\\\r\n".to_vec();
    request[2] = b'.';
    request.extend(b"X-Octets: \x80\xff\\x00\\\r\nContent-Length: 6\r\n\r\n\0\xff\0\\0'");
    let answer = node.exchange(&request).await?;
    let kept = node.kept(&answer).await?;
    assert_eq!(kept["endpoint"], "odd\u{fffd}\"\\");
    assert_eq!(kept["target"], "/r/odd%EF%BF%BD%22%5C/%00?\\u0000='--;%00");
    assert_eq!(body_of(&kept)?, b"\0\xff\0\\0'");
    let mut socket = WebSocket::open(&node.address(), "/r/odd", "").await?;
    socket.send(opcode::TEXT, b"a\0b").await?;
    socket.close(1000, "why\0not\u{1f3a3}").await?;
    socket.closed().await?;
    let captures = node.captures_of("odd", 3).await;
    assert_eq!(captures[1]["body"]["content"], "a\0b");
    assert_eq!(captures[2]["websocket"]["close_reason"], "why\0not\u{1f3a3}");
    assert_eq!(node.outcomes("data_refused").await, 0.0);
    check_problem(&node.get("/api/captures?endpoint=%00").await?, 400, "invalid-parameter")?;
    check_problem(&node.get("/api/captures?method=%00").await?, 400, "invalid-parameter")?;
    assert_eq!(node.get("/api/endpoints?cursor=%00").await?.status, 400);
    node.check_unharmed().await
}
