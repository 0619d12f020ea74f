//! `creel send` and `creel diff`: requests are composed and sent as they are told; differences are found.

use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::Signal;

use super::{Done, ask, file, run, start};
use crate::harness::node::Node;
use crate::harness::ports::free_port;
use crate::harness::target::{OK, Target};
use crate::harness::{Needs, TestResult, body_of, trials};

const LIMIT: Duration = Duration::from_secs(30);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_request_of_flags_is_caught_as_it_was_told,
            http_text_is_sent_as_it_stands,
            what_was_caught_is_sent_elsewhere_with_other_headers,
            a_request_goes_where_the_node_catches,
            the_answer_is_shown_and_its_status_told,
            what_cannot_be_sent_is_told,
            a_command_that_waits_ends_at_once_when_it_is_told_to,
            captures_that_are_the_same_end_with_0_and_others_with_1,
            a_capture_that_is_not_there_is_no_difference;
    }
}

/// The id that a command has told on stderr.
fn caught(done: &Done) -> TestResult<&str> {
    let id = done.stderr.trim_end().rsplit_once("caught as ").map(|(_, id)| id);
    id.ok_or_else(|| format!("no id: {}", done.stderr).into())
}

async fn a_request_of_flags_is_caught_as_it_was_told() -> TestResult {
    let node = Node::builder().start().await?;
    let arguments = [
        "send",
        "my shop",
        "-X",
        "PATCH",
        "--path",
        "/orders/4%2F2",
        "-q",
        "a=b c",
        "-q",
        "a=&",
        "-H",
        "X-A: 1",
        "-H",
        "x-a:2",
        "--json",
        r#"{"n": 1.0}"#,
    ];
    let done = ask(&node, &arguments).await?.expect(0)?;
    let capture = node.json(&format!("/api/captures/{}", caught(&done)?)).await?;
    assert_eq!(capture["target"], "/r/my%20shop/orders/4%2F2?a=b%20c&a=%26");
    assert_eq!((&capture["method"], &capture["endpoint"]), (&"PATCH".into(), &"my shop".into()));
    assert_eq!(body_of(&capture)?, br#"{"n": 1.0}"#);
    let mut names: Vec<_> = capture["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pair| {
            format!("{}: {}", pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default())
        })
        .collect();
    names.sort();
    let host = format!("host: {}", node.address());
    let expected = ["content-length: 10", "content-type: application/json", &host, "x-a: 1", "x-a: 2"];
    assert_eq!(names, expected, "and nothing that was not told");
    Ok(())
}

async fn http_text_is_sent_as_it_stands() -> TestResult {
    let node = Node::builder().start().await?;
    let target = Target::start(OK).await?;
    let folder = crate::harness::workplace::new_folder("request")?;
    let file = folder.join("request.http");
    std::fs::write(&file, b"BREW /r/a/x/../y?q HTTP/1.1\nHost: other\nX-Octets: \xff\n\n\x00\xff\r\n")?;
    let name = file.to_str().ok_or("a path that is no text")?;
    let url = target.url("/in");
    ask(&node, &["send", &url, "--file", name]).await?.expect(0)?;
    let received = target.received();
    assert_eq!(received[0].line(), "BREW /in/x/../y?q HTTP/1.1");
    assert_eq!(
        (received[0].all("x-octets"), &received[0].body[..]),
        (vec![&b"\xff"[..]], &b"\x00\xff\r\n"[..])
    );
    assert_eq!(received[0].header("host"), Some(target.address()));

    // What `raw` prints is what `send` reads.
    let id = caught(&ask(&node, &["send", "a", "--file", name]).await?.expect(0)?)?.to_owned();
    let raw = ask(&node, &["captures", "show", &id, "--output", "raw"]).await?.expect(0)?;
    std::fs::write(&file, &raw.data)?;
    let again = ask(&node, &["send", "a", "--file", name]).await?.expect(0)?;
    ask(&node, &["diff", &id, caught(&again)?]).await?.expect(0)?;
    Ok(())
}

async fn what_was_caught_is_sent_elsewhere_with_other_headers() -> TestResult {
    let node = Node::builder().start().await?;
    let id = node.post("/r/a/x?y", vec![0x80; 100_000]).await?;
    let done = ask(&node, &["send", "b", "--capture", &id, "-H", "X-New: 1"]).await?.expect(0)?;
    let capture = node.json(&format!("/api/captures/{}", caught(&done)?)).await?;
    assert_eq!((&capture["target"], &capture["endpoint"]), (&"/r/b/x?y".into(), &"b".into()));
    assert_eq!(body_of(&capture)?, vec![0x80; 100_000]);
    let differ = ask(&node, &["diff", &id, caught(&done)?, "--output", "json", "--ignore", "HOST"])
        .await?
        .expect(1)?;
    let differences = &differ.values()?[0]["differences"];
    assert_eq!(*differences, serde_json::json!([{"at": "header x-new", "left": [], "right": ["1"]}]));
    Ok(())
}

async fn a_request_goes_where_the_node_catches() -> TestResult {
    let node = Node::builder().setting("capture.prefix", "hooks").start().await?;
    let done = ask(&node, &["send", "new-code", "-d", "x"]).await?.expect(0)?;
    let capture = node.json(&format!("/api/captures/{}", caught(&done)?)).await?;
    assert_eq!(capture["target"], "/hooks/new-code");
    let text = file("request.http", "GET /hooks/other/a/b HTTP/1.1\r\n\r\n")?;
    let done = ask(&node, &["send", "new-code", "--file", &text]).await?.expect(0)?;
    let capture = node.json(&format!("/api/captures/{}", caught(&done)?)).await?;
    assert_eq!(capture["target"], "/hooks/new-code/a/b");
    let opened = ask(&node, &["runs", "open", "a", "--output", "json"]).await?.expect(0)?.values()?.remove(0);
    let (run, url) = (opened["id"].as_str().ok_or("no id")?, opened["url_prefix"].as_str().ok_or("no url")?);
    let done = ask(&node, &["send", "hook", "--run", run]).await?.expect(0)?;
    assert!(done.stderr.starts_with(&format!("GET {url}hook -> 200")), "{}", done.stderr);
    let closed = Node::builder().setting("capture.auto_create", "false").start().await?;
    let done = ask(&closed, &["send", "new-code"]).await?.expect(1)?;
    assert!(done.stderr.contains("-> 404") && done.stderr.contains("it was not caught"), "{}", done.stderr);
    Ok(())
}

async fn the_answer_is_shown_and_its_status_told() -> TestResult {
    let node = Node::builder().start().await?;
    let target = Target::start("HTTP/1.1 418 Teapot\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nshort").await?;
    let url = target.url("/");
    let done = ask(&node, &["send", &url, "-d", "hello"]).await?.expect(0)?;
    assert_eq!(done.stdout, "short");
    assert!(done.stderr.starts_with(&format!("POST {url} -> 418 in ")), "{}", done.stderr);
    let done = ask(&node, &["send", &url, "--output", "json"]).await?.expect(0)?;
    let answer = &done.values()?[0];
    assert_eq!((&answer["status"], &answer["body"]["content"]), (&418.into(), &"short".into()));
    assert_eq!(done.stderr, "");
    assert_eq!(target.received()[1].line(), "GET / HTTP/1.1");
    Ok(())
}

async fn what_cannot_be_sent_is_told() -> TestResult {
    let node = Node::builder().start().await?;
    let nobody = format!("http://127.0.0.1:{}/", free_port());
    for (arguments, code) in [
        (&["send", &nobody][..], 3),
        (&["send", "a", "-H", "no colon"], 2),
        (&["send", "a", "-H", "Content-Length: 5"], 2),
        (&["send", "a", "-q", "no-value"], 2),
        (&["send", "a", "--json", "{"], 2),
        (&["send", "a", "--file", "/no/such/file"], 2),
        (&["send", "a", "-X", "TWO WORDS"], 2),
        (&["send", "ftp://a"], 2),
        (&["send", "a", "--capture", "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33"], 1),
    ] {
        let done = ask(&node, arguments).await?.expect(code)?;
        assert!(done.stdout.is_empty() && !done.stderr.is_empty(), "{arguments:?}");
    }
    run(&["send", "a", "--url", &nobody], &[]).await?.expect(3)?;
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", slow.local_addr()?);
    let began = std::time::Instant::now();
    let done = ask(&node, &["send", &url, "--timeout-ms", "300"]).await?.expect(3)?;
    assert!(done.stderr.contains("no answer within 300 ms") && began.elapsed() < LIMIT, "{}", done.stderr);
    Ok(())
}

async fn a_command_that_waits_ends_at_once_when_it_is_told_to() -> TestResult {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", silent.local_addr()?);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let command = start(&["send", &url], &[])?;
        // Whoever has connected has its signals in order.
        let connected = tokio::time::timeout(LIMIT, silent.accept()).await??;
        let began = std::time::Instant::now();
        let status = command.end_with(signal, LIMIT).await?;
        assert_eq!(status.code(), Some(code), "{}", command.talk());
        assert!(began.elapsed() < Duration::from_secs(3) && command.talk().is_empty(), "{}", command.talk());
        drop(connected);
    }
    Ok(())
}

async fn captures_that_are_the_same_end_with_0_and_others_with_1() -> TestResult {
    let node = Node::builder().start().await?;
    let first = node.post("/r/a/x?q=1", r#"{"a":1,"b":[1,2]}"#).await?;
    let same = node.post("/r/b/x?q=1", r#"{"b":[1,2],"a":1}"#).await?;
    let other = node.post("/r/a/x?q=2", r#"{"b":[1,3],"a":1}"#).await?;
    let done = ask(&node, &["diff", &first, &same]).await?.expect(0)?;
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
    let done = ask(&node, &["diff", &first, &other]).await?.expect(1)?;
    let told: Vec<_> = done.stdout.lines().skip(2).collect();
    assert_eq!(told, ["query q", "- 1", "+ 2", "body $.b[1]", "- 2", "+ 3"]);
    assert_eq!(done.stderr, "");
    Ok(())
}

async fn a_capture_that_is_not_there_is_no_difference() -> TestResult {
    let node = Node::builder().start().await?;
    let first = node.post("/r/a", "1").await?;
    let gone = "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33";
    let done = ask(&node, &["diff", &first, gone]).await?.expect(2)?;
    assert!(done.stderr.contains(gone) && done.stdout.is_empty(), "{done:?}");
    ask(&node, &["diff", &first]).await?.expect(2)?;
    Ok(())
}
