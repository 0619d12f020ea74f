//! A capture's request as text: a command that a shell and curl send again, and HTTP text that goes as it stands.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::client::{Connection, WebSocket, opcode};
use crate::harness::node::Node;
use crate::harness::{
    Needs, TestResult, body_of, capture_id, check_problem, eventually_some, trials, workplace,
};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_curl_command_sends_the_same_request_again,
            a_large_body_goes_with_the_command,
            http_text_is_the_request,
            a_hostile_host_is_no_part_of_a_command,
            what_is_no_request_is_not_exported;
    }
}

/// Heads without `Host` and bodies that senders may send.
fn requests() -> Vec<(String, Vec<u8>)> {
    let all: Vec<u8> = (0..=255).collect();
    let quotes = b"it's \"quoted\" `id` $HOME \\ !!\n\n%s ${x}\n".to_vec();
    let length = |body: &[u8]| format!("Content-Length: {}\r\n", body.len());
    let with = |head: &str, body: &[u8]| (format!("{head}{}", length(body)), body.to_vec());
    let usual = "User-Agent: a sender/1.0\r\nAccept: */*\r\nContent-Type: application/json\r\n";
    vec![
        with(&format!("POST /r/a?x=1&y=%27 HTTP/1.1\r\n{usual}"), br#"{"action":"opened","n":1}"#),
        with("POST /r/a/b/c HTTP/1.1\r\n", &quotes),
        with("PUT /r/a HTTP/1.1\r\nContent-Type: application/octet-stream\r\n", &all),
        with("POST /r/a HTTP/1.1\r\n", b"@/etc/passwd"),
        with("POST /r/a HTTP/1.1\r\n", b"-d"),
        with("POST /r/a HTTP/1.1\r\n", b"\0"),
        with("POST /r/a HTTP/1.1\r\n", "ends with lines\r\n\r\n".as_bytes()),
        with("POST /r/a HTTP/1.1\r\n", "żółw \u{202e}".as_bytes()),
        with("POST /r/a HTTP/1.1\r\n", &all.repeat(200)),
        with("POST /r/a HTTP/1.1\r\n", &quotes.repeat(1500)),
        with("POST /r/a HTTP/1.1\r\n", b""),
        with("GET /r/a HTTP/1.1\r\n", b""),
        with("GET /r/a HTTP/1.1\r\n", b"a body with GET"),
        with("POST /r/a HTTP/1.0\r\nConnection: close\r\n", b"old"),
        ("POST /r/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n".to_owned(), b"3\r\nabc\r\n0\r\n\r\n".to_vec()),
        ("POST /r/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n".to_owned(), b"0\r\n\r\n".to_vec()),
        ("POST /r/a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n".to_owned(), b"e".to_vec()),
        ("GET /r/a HTTP/1.1\r\n".to_owned(), Vec::new()),
        ("POST /r/a HTTP/1.1\r\n".to_owned(), Vec::new()),
        ("HEAD /r/a?x HTTP/1.1\r\nAccept: text/html\r\n".to_owned(), Vec::new()),
        ("DELETE /r/a/ HTTP/1.1\r\nUser-Agent: b\r\n".to_owned(), Vec::new()),
        ("OPTIONS /r/a HTTP/1.1\r\n".to_owned(), Vec::new()),
        ("BR*EW! /r/a HTTP/1.1\r\n".to_owned(), Vec::new()),
        ("GET /r/a/../b/./%2e%2E/c//d HTTP/1.1\r\n".to_owned(), Vec::new()),
        ("GET /r/a?x[]=1&y={a,b}[1-3]&z='%27|~$(id) HTTP/1.1\r\n".to_owned(), Vec::new()),
        ("GET /r/a;b?*&$HOME=!;(1) HTTP/1.1\r\n".to_owned(), Vec::new()),
        ("GET http://127.0.0.1/r/a?absolute HTTP/1.1\r\n".to_owned(), Vec::new()),
        (
            "GET /r/a HTTP/1.1\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\nX-Empty:\r\nX-A: 1\r\nCookie: a=b; c=\"d\"\r\n"
                .to_owned(),
            Vec::new(),
        ),
        (
            "GET /r/a HTTP/1.1\r\nX-Quotes: it's \"$HOME\" `id` \\ %s $(id) !!\r\n-Odd'`$: 1;\r\nX-Colon: :;\r\n"
                .to_owned(),
            Vec::new(),
        ),
        (
            "GET /r/a HTTP/1.1\r\nAuthorization: Basic YTpi\r\nAccept-Encoding: gzip, br\r\nTE: trailers\r\n"
                .to_owned(),
            Vec::new(),
        ),
        ("GET /r/a HTTP/1.1\r\nX-Tab: a\tb\r\nX-Utf: żółw\r\n".to_owned(), Vec::new()),
    ]
}

async fn a_curl_command_sends_the_same_request_again() -> TestResult {
    let node = Node::builder().start().await?;
    for host in [node.address(), "hooks.example".to_owned(), "Other.Example:99".to_owned()] {
        for (head, body) in requests() {
            let request = [with_host(&head, &host).as_bytes(), &body].concat();
            check_sent_again(&node, &request, &head).await?;
        }
    }
    // Octets that are no text.
    let mut request = format!("GET /r/a HTTP/1.1\r\nHost: {}\r\nX-Bin: ", node.address()).into_bytes();
    request.extend((0x80..=0xff).chain([b'7', b'%', b'\\', b'\t', b'\'']));
    request.extend(b"\r\n\r\n");
    check_sent_again(&node, &request, "octets").await?;
    check_sent_again(&node, b"GET /r/a HTTP/1.0\r\n\r\n", "no host").await?;
    let (head, body) = ("HEAD /r/a HTTP/1.1\r\nContent-Length: 4\r\n", "body");
    let request = format!("{}{body}", with_host(head, &node.address()));
    check_sent_again(&node, request.as_bytes(), "a body with HEAD").await?;
    node.check_unharmed().await
}

fn with_host(head: &str, host: &str) -> String {
    let (line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    format!("{line}\r\nHost: {host}\r\n{fields}\r\n")
}

/// Sends it, runs the command that it becomes, and compares the two captures.
async fn check_sent_again(node: &Node, request: &[u8], what: &str) -> TestResult {
    let wrong = |error: &dyn std::fmt::Display| format!("{what}: {error}");
    let id = sent(node, request).await.map_err(|error| wrong(&error))?;
    let command = node.get(&format!("/api/captures/{id}?format=curl")).await?;
    assert_eq!(command.header("content-type"), Some("text/plain; charset=utf-8"), "{}", command.text());
    let command = command.body;
    let first = node.json(&format!("/api/captures/{id}")).await?;
    run(node, command.clone()).await.map_err(|error| wrong(&error))?;
    let second = the_next(node, &first).await?;
    assert_eq!(told(&second)?, told(&first)?, "{what}\n{}", String::from_utf8_lossy(&command));
    Ok(())
}

/// Sends a request; the id of its capture.
async fn sent(node: &Node, request: &[u8]) -> TestResult<String> {
    let mut connection = Connection::open(node.address()).await?;
    connection.send(request).await?;
    let mut answer = connection.head_only().await?;
    if answer.status == 100 {
        answer = connection.head_only().await?;
    }
    Ok(capture_id(&answer)?.to_owned())
}

/// What a capture's sender has chosen.
fn told(capture: &Value) -> TestResult<Value> {
    // curl has them in another order.
    let mut headers: Vec<Value> = capture["headers"].as_array().ok_or("no headers")?.clone();
    headers.sort_by_key(|field| field[0].to_string());
    let names = ["method", "target", "version", "scheme", "host", "port"];
    let parts: Vec<&Value> = names.iter().map(|name| &capture[*name]).collect();
    Ok(json!({"parts": parts, "headers": headers, "body": body_of(capture)?, "of": capture["body"]["bytes"]}))
}

/// The one capture behind another.
async fn the_next(node: &Node, first: &Value) -> TestResult<Value> {
    let found = eventually_some(Duration::from_secs(10), "the next capture", || async {
        let page = node.json("/api/captures?limit=2&body=none").await.ok()?;
        (page["captures"][1]["id"] == first["id"]).then(|| page["captures"][0]["id"].clone())
    })
    .await;
    node.json(&format!("/api/captures/{}", found.as_str().ok_or("no id")?)).await
}

/// Runs a command with the shell; whatever host it names, it comes to the node.
async fn run(node: &Node, command: Vec<u8>) -> TestResult {
    let folder = workplace::new_folder("shell")?;
    std::fs::write(
        folder.join(".curlrc"),
        format!("connect-to = \"::{}\"\nsilent\nshow-error\n", node.address()),
    )?;
    let ran = tokio::task::spawn_blocking(move || {
        let mut shell = Command::new("sh");
        shell.env("HOME", &folder).env("CURL_HOME", &folder).current_dir(&folder);
        let streams = || Stdio::piped();
        let mut child = shell.stdin(streams()).stdout(streams()).stderr(streams()).spawn()?;
        child.stdin.take().expect("it is piped").write_all(&command)?;
        child.wait_with_output()
    })
    .await??;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    // What is behind a HEAD with a body says so itself.
    if ran.status.success() || ran.status.code() == Some(28) || ran.status.code() == Some(18) {
        return Ok(());
    }
    Err(format!("{}: {said} (Debian: apt-get install curl)", ran.status).into())
}

async fn a_large_body_goes_with_the_command() -> TestResult {
    let node = Node::builder().start().await?;
    let body: Vec<u8> = (0..1_000_003_u32).map(|i| (i % 251) as u8).collect();
    let request =
        format!("POST /r/a HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", node.address(), body.len());
    check_sent_again(&node, &[request.as_bytes(), &body].concat(), "large").await?;
    Ok(())
}

async fn http_text_is_the_request() -> TestResult {
    let node = Node::builder().start().await?;
    for (head, body) in requests() {
        let request = [with_host(&head, &node.address()).as_bytes(), &body].concat();
        check_text(&node, &request).await.map_err(|error| format!("{head}: {error}"))?;
    }
    let body = vec![b'x'; 700_001];
    let head = format!("POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    check_text(&node, &[head.as_bytes(), &body].concat()).await?;
    let chunks = format!("{:x}\r\n{}\r\n0\r\n\r\n", body.len(), "y".repeat(body.len()));
    let head = "POST /r/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    check_text(&node, &[head, &chunks].concat().into_bytes()).await
}

/// The text of a capture, sent as it is, is caught as the same request.
async fn check_text(node: &Node, request: &[u8]) -> TestResult {
    let id = sent(node, request).await?;
    let text = node.get(&format!("/api/captures/{id}?format=http")).await?;
    assert_eq!(text.header("content-type"), Some("message/http"));
    let first = node.json(&format!("/api/captures/{id}")).await?;
    let second = sent(node, &text.body).await?;
    let second = node.json(&format!("/api/captures/{second}")).await?;
    let (mut first, second) = (told(&first)?, told(&second)?);
    // Chunks have become a length.
    for field in first["headers"].as_array_mut().ok_or("no headers")? {
        if field[0] == "transfer-encoding" {
            *field = json!(["content-length", second["of"].to_string()]);
        }
    }
    let sorted = first["headers"].as_array_mut().ok_or("no headers")?;
    sorted.sort_by_key(|field| field[0].to_string());
    assert_eq!(second, first, "{}", String::from_utf8_lossy(&text.body[..text.body.len().min(500)]));
    Ok(())
}

async fn a_hostile_host_is_no_part_of_a_command() -> TestResult {
    let node = Node::builder().start().await?;
    for host in ["a/b", "user@evil.example", "a'b", "[::1", "", "a b"] {
        let request = format!("GET /r/a HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let Ok(answer) = node.exchange(&request).await else { continue };
        let Ok(id) = capture_id(&answer) else { continue };
        let command = node.get(&format!("/api/captures/{id}?format=curl")).await?.text();
        let url = format!("'http://{}/r/a'\n", node.address());
        assert!(command.ends_with(&url), "{host}: {command}");
    }
    let answer = node.exchange("GET /r/a HTTP/1.1\r\nHost: [::1]:99\r\n\r\n").await?;
    let command = node.get(&format!("/api/captures/{}?format=curl", capture_id(&answer)?)).await?;
    assert!(command.text().contains("--globoff \\\n  'http://[::1]:99/r/a'\n"), "{}", command.text());
    Ok(())
}

async fn what_is_no_request_is_not_exported() -> TestResult {
    let node = Node::builder().start().await?;
    let id = node.post("/r/a", "x").await?;
    for (query, detail) in [
        ("format=xml", "`format`: `json`, `curl` or `http` is expected"),
        ("format=curl&body=none", "`body`: a command and HTTP text have all of it; this is for JSON"),
    ] {
        let answer = node.get(&format!("/api/captures/{id}?{query}")).await?;
        assert_eq!(check_problem(&answer, 400, "invalid-parameter")?["detail"], detail);
    }
    assert_eq!(node.json(&format!("/api/captures/{id}?format=json&body=none")).await?["id"], *id);
    let mut socket = WebSocket::open(&node.address(), "/r/ws", "").await?;
    socket.send(opcode::TEXT, b"hello").await?;
    let captures = node.captures_of("ws", 2).await;
    let export =
        |capture: &Value| format!("/api/captures/{}?format=http", capture["id"].as_str().unwrap_or_default());
    let opening = node.get(&export(&captures[0])).await?;
    assert!(opening.text().starts_with("GET /r/ws HTTP/1.1\r\n"), "{}", opening.text());
    let detail = "`format`: a message of a WebSocket is no request; it is shown as `json` alone";
    let message = node.get(&export(&captures[1])).await?;
    assert_eq!(check_problem(&message, 400, "invalid-parameter")?["detail"], detail);
    Ok(())
}
