//! Method, target, headers and addresses, as they were sent.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::client::{Connection, KEY, VERSION_13};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            every_method_is_caught,
            the_target_is_kept_as_it_was_sent,
            a_target_is_shown_in_its_parts,
            headers_are_kept_with_every_value_and_every_octet,
            http_1_0_is_caught,
            an_upgrade_that_is_not_asked_for_is_a_request_like_any_other,
            peer_and_connection_are_told,
            forwarded_headers_are_believed_from_trusted_proxies_only,
    }
}

async fn every_method_is_caught() -> TestResult {
    let node = Node::builder().start().await?;
    let methods = [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "PROPFIND",
        "PURGE",
        "CONNECT",
        "M-SEARCH",
        "BREW",
        "get",
        "x!*+-.^_`|~9",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    ];
    for method in methods {
        let answer = node.request(method, "/r/methods", "").await?;
        assert_eq!(answer.status, 200, "{method}");
    }
    let captures = node.captures_of("methods", methods.len()).await;
    let kept: Vec<&str> = captures.iter().filter_map(|capture| capture["method"].as_str()).collect();
    assert_eq!(kept, methods);
    node.check_unharmed().await
}

async fn the_target_is_kept_as_it_was_sent() -> TestResult {
    let node = Node::builder().start().await?;
    let targets = [
        "/r/t",
        "/r/t/",
        "/r/t//a///b/",
        "/r/t/./a/../b",
        "/r/t/%2e%2E/%zz/%",
        "/r/t/a%2Fb%20c+d;p=1,2",
        "/r/t?",
        "/r/t?a=1&a=2&&b=%00&c=%ff",
        "/r/t/?x=/r/other?y",
        "/r/t/'\"|{}\\^[]",
        "/r/t?q={[1]}|\\^`'",
        "http://example.com:8080/r/t/x?y=1",
        "http://user@[::1]/r/t",
        "/%72/t/x",
    ];
    for target in targets {
        let kept = node.kept(&node.get(target).await?).await?;
        assert_eq!(kept["target"], target);
        assert_eq!(kept["endpoint"], "t", "{target}");
    }
    Ok(())
}

async fn a_target_is_shown_in_its_parts() -> TestResult {
    let node = Node::builder().start().await?;
    let own = node.address();
    let (host, port) = own.split_once(':').ok_or("no port")?;
    let table = [
        ("/r/t", "/r/t", "", Value::Null, host, port),
        ("/r/t/", "/r/t/", "/", Value::Null, host, port),
        ("/r/t//a/b?x=1?y", "/r/t//a/b", "//a/b", json!("x=1?y"), host, port),
        ("/r/t?", "/r/t", "", json!(""), host, port),
        ("http://example.com:8080/r/t/x?y=1", "/r/t/x", "/x", json!("y=1"), "example.com", "8080"),
        ("http://example.com/r/t", "/r/t", "", Value::Null, "example.com", "80"),
        ("http://user:word@[::1]:99/r/t", "/r/t", "", Value::Null, "[::1]", "99"),
    ];
    for (target, path, remainder, query, host, port) in table {
        let kept = node.kept(&node.get(target).await?).await?;
        assert_eq!(kept["path"], path, "{target}");
        assert_eq!(kept["remainder"], remainder, "{target}");
        assert_eq!(kept["query"], query, "{target}");
        assert_eq!((&kept["host"], kept["port"].to_string().as_str()), (&json!(host), port), "{target}");
    }
    Ok(())
}

async fn headers_are_kept_with_every_value_and_every_octet() -> TestResult {
    let node = Node::builder().start().await?;
    let mut request =
        b"GET /r/h HTTP/1.1\r\nHost: a.example:81\r\nX-Many: one\r\nx-many: two, three\r\n".to_vec();
    request.extend(b"X-Empty:\r\nX-Spaces:  a  b \t\r\nCookie: a=\"1\"; b=2\r\nX-Many: four\r\n");
    request.extend(b"X-Octets: \x80\xfe\xffz\r\nX-Utf8: \xc3\xa9\r\n\r\n");
    let kept = node.kept(&node.exchange(&request).await?).await?;
    let headers = kept["headers"].as_array().ok_or("no headers")?;
    let values = |name: &str| -> Vec<&Value> {
        headers.iter().filter(|pair| pair[0] == name).map(|pair| &pair[1]).collect()
    };
    assert_eq!(values("x-many"), [&json!("one"), &json!("two, three"), &json!("four")]);
    assert_eq!(values("x-empty"), [&json!("")]);
    assert_eq!(values("x-spaces"), [&json!("a  b")]);
    assert_eq!(values("cookie"), [&json!("a=\"1\"; b=2")]);
    assert_eq!(values("x-octets"), [&json!({"base64": "gP7/eg=="})]);
    assert_eq!(values("x-utf8"), [&json!("é")]);
    assert_eq!((&kept["host"], &kept["port"]), (&json!("a.example"), &json!(81)));
    assert_eq!(headers.len(), 9);
    Ok(())
}

async fn http_1_0_is_caught() -> TestResult {
    let node = Node::builder().start().await?;
    let mut connection = Connection::open(node.address()).await?;
    connection.send(b"POST /r/old HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc").await?;
    let answer = connection.rest().await?;
    assert!(answer.starts_with(b"HTTP/1.0 200 OK\r\n") || answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let capture = &node.captures_of("old", 1).await[0];
    assert_eq!(capture["version"], "HTTP/1.0");
    assert_eq!((&capture["host"], &capture["port"]), (&json!(""), &json!(80)));
    assert_eq!(capture["body"]["content"], "abc");
    Ok(())
}

/// As proxies send it that take `Connection` away and leave `Upgrade`.
async fn an_upgrade_that_is_not_asked_for_is_a_request_like_any_other() -> TestResult {
    let node = Node::builder().start().await?;
    let fields = ["", "Connection: close\r\n", "Connection: close, Upgrade\r\n", "Upgrade: h2c\r\n"];
    for (case, connection) in fields.iter().enumerate() {
        for (method, length, body) in [("GET", "", ""), ("POST", "Content-Length: 3\r\n", "abc")] {
            let mut sender = Connection::open(node.address()).await?;
            let request = format!(
                "{method} /r/stripped{case} HTTP/1.1\r\nHost: a\r\n{connection}Upgrade: WebSocket\r\n\
                 {VERSION_13}{KEY}{length}\r\n{body}"
            );
            // What follows cannot be told from the body, so the connection ends.
            sender.send(format!("{request}GET /r/next HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await?;
            let answer = soon(sender.response()).await.map_err(|error| format!("{request}: {error}"))?;
            assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{request}");
            assert_eq!(soon(sender.rest()).await?, b"", "{request}");
            let kept = node.kept(&answer).await?;
            assert_eq!(
                (&kept["method"], &kept["body"]["content"]),
                (&json!(method), &json!(body)),
                "{request}"
            );
            assert_eq!(kept["body"]["incomplete"], false, "{request}");
            assert_eq!(kept["reply"], json!({"source": "default", "status": 200}), "{request}");
        }
    }
    let cut = "POST /r/cut HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nabc";
    let mut sender = Connection::open(node.address()).await?;
    sender.send(cut.as_bytes()).await?;
    drop(sender);
    let kept = &node.captures_of("cut", 1).await[0];
    assert_eq!((&kept["body"]["content"], &kept["body"]["incomplete"]), (&json!("abc"), &json!(true)));
    let chunked = "Transfer-Encoding: chunked\r\nUpgrade: websocket\r\n\r\n3\r\nabc\r\n0\r\n";
    let answer = soon(node.request("POST", "/r/chunked", chunked)).await?;
    assert_eq!(node.kept(&answer).await?["body"]["content"], "abc");
    let rule = r#"{"reply":{"status":204}}"#;
    let headers = format!("Upgrade: websocket\r\nContent-Length: {}\r\n", rule.len());
    let put = format!("PUT /api/rules/a HTTP/1.1\r\nHost: {}\r\n{headers}\r\n{rule}", node.address());
    let answer = soon(node.exchange(put.as_bytes())).await?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    node.check_unharmed().await
}

/// That something comes, before its sender would have to leave.
async fn soon<T>(work: impl Future<Output = TestResult<T>>) -> TestResult<T> {
    tokio::time::timeout(Duration::from_secs(10), work).await?
}

async fn peer_and_connection_are_told() -> TestResult {
    let node = Node::builder().start().await?;
    let mut connection = Connection::open(node.address()).await?;
    connection.send(b"GET /r/p HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n").await?;
    let kept = node.kept(&connection.response().await?).await?;
    assert_eq!(kept["peer"], connection.local_address()?.to_string());
    assert_eq!(kept["client"], "127.0.0.1", "nobody is trusted by default");
    assert_eq!(
        (&kept["scheme"], &kept["version"], &kept["kind"]),
        (&json!("http"), &json!("HTTP/1.1"), &json!("http"))
    );
    let received = kept["received"].as_str().ok_or("no time")?;
    assert_eq!(received.len(), "2026-01-01T00:00:00.000000Z".len(), "microseconds: {received}");
    Ok(())
}

/// Client, scheme, host and port that are kept of a request with these headers.
async fn ends(node: &Node, headers: &str) -> TestResult<(String, String, String, String)> {
    let kept = node.kept(&node.request("GET", "/r/f", headers).await?).await?;
    let told = |name: &str| kept[name].as_str().unwrap_or_default().to_owned();
    Ok((told("client"), told("scheme"), told("host"), kept["port"].to_string()))
}

async fn forwarded_headers_are_believed_from_trusted_proxies_only() -> TestResult {
    let proxied = || {
        Node::builder()
            .setting("auth.mode", "none")
            .setting("server.trusted_proxies", "127.0.0.0/8,10.0.0.0/8")
    };
    let node = proxied().start().await?;
    let by_standard = proxied().setting("server.proxy_headers", "forwarded").start().await?;
    let through_two = "X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.0.0.9\r\nX-Forwarded-Proto: https\r\n\
                       X-Forwarded-Host: hooks.example\r\n";
    assert_eq!(
        ends(&node, through_two).await?,
        ("1.2.3.4".into(), "https".into(), "hooks.example".into(), "443".into())
    );
    let standard =
        "Forwarded: for=6.6.6.6, for=\"[2001:db8::1]:99\";proto=https;host=\"hooks.example:8443\"\r\n";
    let expected = ("2001:db8::1".into(), "https".into(), "hooks.example".into(), "8443".into());
    assert_eq!(ends(&by_standard, standard).await?, expected);
    for (node, passed_on) in [
        (&node, "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=203.0.113.5\r\n"),
        (&by_standard, "Forwarded: for=203.0.113.5;x=\", for=1.2.3.4\r\nX-Forwarded-For: 203.0.113.5\r\n"),
    ] {
        assert_eq!(ends(node, passed_on).await?.0, "1.2.3.4", "{passed_on}");
    }
    let nonsense = "X-Forwarded-For: nonsense\r\nX-Forwarded-Port: 99999\r\n";
    assert_eq!(ends(&node, nonsense).await?.0, "127.0.0.1");
    Ok(())
}
