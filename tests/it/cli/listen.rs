//! `creel listen`: what is caught is shown as it is caught, and sent on as it came; each once.

use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::Signal;
use serde_json::Value;

use super::{ask, run, start};
use crate::harness::client::{Load, captures, check_exactly_once_in_order, check_has_all};
use crate::harness::node::Node;
use crate::harness::ports::free_port;
use crate::harness::process::Process;
use crate::harness::servers::shared_postgres;
use crate::harness::target::{OK, Received, Target};
use crate::harness::{Needs, TestResult, eventually, trials};

const LIMIT: Duration = Duration::from_secs(30);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            captures_are_listed_as_they_come_and_counted_at_the_end,
            in_json_ready_is_the_first_line_and_each_capture_one,
            only_what_matches_is_shown,
            the_ready_file_says_that_the_stream_is_open,
            raw_output_is_the_request_as_http_text,
            what_is_sent_on_is_what_came_to_the_octet,
            large_and_chunked_bodies_are_sent_on_whole,
            the_host_is_kept_where_that_is_asked_for,
            a_target_that_fails_is_told_and_the_next_is_sent,
            listening_ends_quietly_when_nobody_reads,
            a_listener_goes_on_where_it_was_and_tells_what_it_caught_up,
            a_listener_that_may_not_listen_ends_with_3,
            a_silent_node_is_given_up_and_come_back_to;
        Needs::POSTGRES => ten_thousand_are_sent_on_in_order_while_the_node_is_killed_and_replaced;
    }
}

/// A listener whose stream is open.
async fn listen(node: &Node, arguments: &[&str]) -> TestResult<Process> {
    let file = crate::harness::workplace::new_folder("ready")?.join("ready");
    let name = file.to_str().ok_or("a path that is no text")?;
    let arguments = [&["listen", "--ready-file", name], arguments].concat();
    let listener = start(&arguments, &[("CREEL_URL", &node.url(""))])?;
    eventually(LIMIT, "the stream is open", || async {
        listener.check_running().expect("the listener runs");
        file.exists()
    })
    .await;
    Ok(listener)
}

/// The whole lines of JSON that it has printed so far.
fn messages(listener: &Process) -> Vec<Value> {
    let log = listener.log();
    let whole = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

async fn captures_are_listed_as_they_come_and_counted_at_the_end() -> TestResult {
    let node = Node::builder().start().await?;
    let listener = listen(&node, &["shop-*"]).await?;
    node.post("/r/elsewhere", "x").await?;
    node.post("/r/shop-1/orders?page=2", "hello").await?;
    eventually(LIMIT, "a row", || async { listener.log().contains("/orders?page=2") }).await;
    let status = listener.end_with(Signal::INT, LIMIT).await?;
    assert_eq!(status.code(), Some(0), "{}", listener.talk());
    let row = listener.log();
    assert!(
        row.contains("shop-1") && row.contains("POST") && row.contains("5 B") && row.contains("200"),
        "{row}"
    );
    assert_eq!(row.lines().count(), 1, "{row}");
    assert!(!row.contains('\u{1b}') && !listener.talk().contains('\u{1b}'), "colour without a terminal");
    assert!(listener.talk().contains("1 capture in"), "{}", listener.talk());
    Ok(())
}

async fn in_json_ready_is_the_first_line_and_each_capture_one() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/a", "before").await?;
    let first = node.post("/r/a", "x".repeat(70_000)).await?;
    let arguments = ["listen", "a", "--output", "json", "--since", "earliest", "--limit", "2"];
    let done = ask(&node, &arguments).await?.expect(0)?;
    let values = done.values()?;
    let kinds: Vec<_> = values.iter().map(|value| value["type"].as_str().unwrap_or_default()).collect();
    assert_eq!(kinds, ["ready", "capture", "capture"]);
    assert_eq!(values[2]["capture"]["id"], *first);
    assert_eq!(crate::harness::body_of(&values[2]["capture"])?.len(), 70_000);
    let cursor = values[1]["cursor"].as_str().ok_or("no cursor")?;
    let arguments = ["listen", "--output", "json", "--since", cursor, "--limit", "1", "--body", "none"];
    let again = ask(&node, &arguments).await?.expect(0)?;
    assert_eq!(again.values()?[1]["capture"]["id"], *first);
    assert_eq!(again.values()?[1]["capture"]["body"]["content"], Value::Null);
    Ok(())
}

async fn only_what_matches_is_shown() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/a", r#"{"action":"closed"}"#).await?;
    node.get("/r/a").await?;
    let wanted = node.post("/r/a", r#"{"action":"opened"}"#).await?;
    let arguments = ["listen", "--since", "earliest", "--output", "json", "--limit", "1", "--filter"];
    for filter in ["method=POST json.$.action=opened", r#"{"at":"json","path":"$.action","equals":"opened"}"#]
    {
        let done = ask(&node, &[&arguments[..], &[filter]].concat()).await?.expect(0)?;
        assert_eq!(done.values()?[1]["capture"]["id"], *wanted, "{filter}");
    }
    let done = ask(&node, &[&arguments[..], &["colour=red"]].concat()).await?.expect(2)?;
    assert!(done.stderr.contains("colour=red"), "{}", done.stderr);
    Ok(())
}

async fn the_ready_file_says_that_the_stream_is_open() -> TestResult {
    let node = Node::builder().start().await?;
    let file = crate::harness::workplace::new_folder("ready")?.join("ready");
    std::fs::write(&file, "of another run")?;
    let name = file.to_str().ok_or("a path that is no text")?;
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    run(&["listen", "--ready-file", name, "--url", &nowhere], &[]).await?.expect(3)?;
    assert!(!file.exists(), "an old file must not speak for this run");
    let listener = start(&["listen", "--ready-file", name], &[("CREEL_URL", &node.url(""))])?;
    eventually(LIMIT, "the file", || async { file.exists() }).await;
    node.post("/r/a", "x").await?;
    eventually(LIMIT, "the capture", || async { listener.log().contains("POST") }).await;
    assert!(std::fs::read_to_string(&file)?.len() > 10, "it holds the cursor");
    Ok(())
}

async fn raw_output_is_the_request_as_http_text() -> TestResult {
    let node = Node::builder().start().await?;
    let request =
        b"POST /r/a/x?y HTTP/1.1\r\nHost: h\r\nX-Octets: \xff\xfe\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3\r\n\x00\x01\x02\r\n0\r\n\r\n";
    node.exchange(request).await?;
    let arguments = ["listen", "--output", "raw", "--since", "earliest", "--limit", "1"];
    let done = ask(&node, &arguments).await?.expect(0)?;
    assert!(done.data.starts_with(b"POST /r/a/x?y HTTP/1.1\r\n"), "{}", done.stdout);
    assert!(done.data.windows(14).any(|octets| octets == b"x-octets: \xff\xfe\r\n"), "{}", done.stdout);
    assert!(done.stdout.contains("content-length: 3\r\n") && !done.stdout.contains("transfer-encoding"));
    assert!(done.data.ends_with(b"\r\n\r\n\x00\x01\x02\n\n"), "{}", done.stdout);
    Ok(())
}

/// One listener that sends on; requests that came one by one; what arrived of them.
async fn sent_on(arguments: &[&str], path: &str, requests: &[Vec<u8>]) -> TestResult<Vec<Received>> {
    let node = Node::builder().start().await?;
    let target = Target::start(OK).await?;
    let url = target.url(path);
    let listener = listen(&node, &[&["--forward", &url], arguments].concat()).await?;
    for request in requests {
        let answer = node.exchange(request).await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    eventually(LIMIT, "all are sent on", || async { target.count() >= requests.len() }).await;
    let status = listener.end_with(Signal::INT, LIMIT).await?;
    assert_eq!(status.code(), Some(0));
    let counted = format!("sent on: {} answered 200", requests.len());
    assert!(listener.talk().contains(&counted), "{}", listener.talk());
    Ok(target.received())
}

async fn what_is_sent_on_is_what_came_to_the_octet() -> TestResult {
    let requests = [
        b"GET /r/a/x%2Fy/../z//w/./?q=%20+&&=&a=b?c HTTP/1.1\r\nHost: sender\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n".to_vec(),
        b"BREW /r/a/\"{}|^~?{}|^` HTTP/1.1\r\nHost: sender\r\nX-Octets: \xe9\xff \x80, \xc3\xa9\r\nX-Empty:\r\n\r\n".to_vec(),
        b"POST /r/a/%zz%?x HTTP/1.1\r\nHost: sender\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"DELETE /r/a/ HTTP/1.1\r\nHost: sender\r\nConnection: X-Gone, keep-alive\r\nX-Gone: 1\r\nKeep-Alive: timeout=5\r\n\
          TE: trailers\r\nProxy-Connection: x\r\nAccept-Encoding: br\r\n\r\n".to_vec(),
        b"PUT /r/a? HTTP/1.1\r\nHost: sender\r\nContent-Length: 4\r\nContent-Type: a/b\r\n\r\n\x00\xff\r\n".to_vec(),
    ];
    let received = sent_on(&[], "/hooks", &requests).await?;
    let lines: Vec<_> = received.iter().map(Received::line).collect();
    assert_eq!(
        lines,
        [
            "GET /hooks/x%2Fy/../z//w/./?q=%20+&&=&a=b?c HTTP/1.1",
            "BREW /hooks/\"{}|^~?{}|^` HTTP/1.1",
            "POST /hooks/%zz%?x HTTP/1.1",
            "DELETE /hooks/ HTTP/1.1",
            "PUT /hooks? HTTP/1.1",
        ]
    );
    assert_eq!(received[0].all("x-a"), [b"1", b"3"]);
    assert_eq!(received[0].headers.len(), 4, "nothing was added: {:?}", received[0].headers);
    assert_eq!(received[1].all("x-octets"), [b"\xe9\xff \x80, \xc3\xa9"]);
    assert_eq!(received[1].all("x-empty"), [b""]);
    assert_eq!(received[2].all("content-length"), [b"0"]);
    let names: Vec<_> = received[3].headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.len() == 2 && names.contains(&"host") && names.contains(&"accept-encoding"), "{names:?}");
    assert_eq!(received[4].body, b"\x00\xff\r\n");
    assert_eq!(received[4].all("content-type"), [b"a/b"]);
    for received in &received {
        assert!(received.header("host").is_some_and(|host| host.starts_with("127.0.0.1:")), "{received:?}");
    }
    Ok(())
}

async fn large_and_chunked_bodies_are_sent_on_whole() -> TestResult {
    let octets = |bytes: usize| (0..=250_u8).map(|i| i ^ 0x80).cycle().take(bytes).collect::<Vec<u8>>();
    let bodies = [octets(20_000), octets(1024 * 1024), octets(3 * 1024 * 1024)];
    let mut requests: Vec<Vec<u8>> = bodies
        .iter()
        .map(|body| {
            let head = format!("POST /r/a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), body].concat()
        })
        .collect();
    requests.push(
        b"POST /r/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n\
          5\r\nhello\r\n3\r\n\xff\x00\xfe\r\n0\r\n\r\n"
            .to_vec(),
    );
    let received = sent_on(&[], "", &requests).await?;
    for (received, body) in received.iter().zip(&bodies) {
        assert!(received.body == *body, "{} bytes of {}", received.body.len(), body.len());
    }
    assert_eq!(received[3].body, b"hello\xff\x00\xfe");
    assert_eq!(received[3].all("content-length"), [b"8"]);
    assert_eq!(received[3].all("trailer").len(), 0);
    Ok(())
}

async fn the_host_is_kept_where_that_is_asked_for() -> TestResult {
    let request = b"GET /r/a HTTP/1.1\r\nHost: shop.example:81\r\n\r\n".to_vec();
    let received = sent_on(&["--keep-host"], "/?k=1", &[request]).await?;
    assert_eq!(received[0].line(), "GET /?k=1 HTTP/1.1");
    assert_eq!(received[0].all("host"), [b"shop.example:81"]);
    Ok(())
}

async fn a_target_that_fails_is_told_and_the_next_is_sent() -> TestResult {
    let node = Node::builder().start().await?;
    let (closing, refusing) =
        (Target::start("").await?, Target::start("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await?);
    let nobody = format!("http://127.0.0.1:{}/", free_port());
    let (closing_url, refusing_url) = (closing.url("/"), refusing.url("/"));
    for (url, said) in [(&nobody, "failed"), (&closing_url, "failed"), (&refusing_url, "503")] {
        let listener = listen(&node, &["--forward", url, "--output", "json"]).await?;
        let first = node.post("/r/a", "1").await?;
        let second = node.post("/r/a", "2").await?;
        eventually(LIMIT, "both are told", || async { messages(&listener).len() == 5 }).await;
        let told = messages(&listener);
        let kinds: Vec<_> = told.iter().map(|told| told["type"].as_str().unwrap_or_default()).collect();
        assert_eq!(kinds, ["ready", "capture", "forwarded", "capture", "forwarded"]);
        assert_eq!((&told[2]["capture"], &told[4]["capture"]), (&first.into(), &second.into()));
        assert_eq!(listener.end_with(Signal::TERM, LIMIT).await?.code(), Some(0));
        assert!(listener.talk().contains(said), "{}", listener.talk());
    }
    assert_eq!((closing.count(), refusing.count()), (2, 2), "each once");
    Ok(())
}

async fn listening_ends_quietly_when_nobody_reads() -> TestResult {
    let node = Node::builder().start().await?;
    let folder = crate::harness::workplace::new_folder("pipe")?;
    let url = node.url("");
    let pipe = Process::new("pipe", folder, move || {
        let mut command = std::process::Command::new("sh");
        let script = r#"("$0" listen --output json --url "$1"; echo "code $?" >&2) | head -n 2"#;
        command.args(["-c", script, env!("CARGO_BIN_EXE_creel"), &url]);
        command
    })
    .with_talk_apart();
    pipe.launch()?;
    eventually(LIMIT, "it ends", || async {
        node.post("/r/a", "x").await.is_ok() && pipe.talk().contains("code")
    })
    .await;
    assert_eq!(pipe.talk(), "code 141\n");
    assert_eq!(pipe.log().lines().count(), 2);
    Ok(())
}

async fn a_listener_goes_on_where_it_was_and_tells_what_it_caught_up() -> TestResult {
    let database = shared_file()?;
    let node = Node::builder().database(&database).start().await?;
    let listener = listen(&node, &["--output", "json"]).await?;
    node.post("/r/a", "1").await?;
    eventually(LIMIT, "the first", || async { messages(&listener).len() == 2 }).await;
    node.kill9();
    // Another node on the same journal catches meanwhile.
    let other = Node::builder().database(&database).start().await?;
    let mut expected = other.captures_of("a", 1).await.iter().map(|c| c["id"].clone()).collect::<Vec<_>>();
    for body in ["2", "3"] {
        expected.push(other.post("/r/a", body).await?.into());
    }
    other.term().await?;
    node.start_again().await?;
    eventually(LIMIT, "what was missed", || async { messages(&listener).len() >= 4 }).await;
    expected.push(node.post("/r/a", "4").await?.into());
    eventually(LIMIT, "what is new", || async { messages(&listener).len() >= 5 }).await;
    eventually(LIMIT, "it tells", || async { listener.talk().contains("caught up: 2 captures") }).await;
    assert!(listener.talk().contains("connected again after"), "{}", listener.talk());
    listener.end_with(Signal::INT, LIMIT).await?;
    let told = messages(&listener);
    let ids: Vec<_> = captures(&told).iter().map(|capture| capture["id"].clone()).collect();
    assert_eq!(ids, expected);
    assert_eq!(told.iter().filter(|told| told["type"] == "ready").count(), 1);
    Ok(())
}

/// A SQLite database in a folder of its own.
fn shared_file() -> TestResult<String> {
    let folder = crate::harness::workplace::new_folder("data")?;
    Ok(format!("sqlite://{}", folder.join("creel.db").display()))
}

async fn a_listener_that_may_not_listen_ends_with_3() -> TestResult {
    let token = "a-token-of-twenty-letters-and-more";
    let node = Node::builder().setting("auth.tokens", token).start().await?;
    let done = ask(&node, &["listen"]).await?.expect(3)?;
    assert!(done.stderr.contains("CREEL_TOKEN"), "{}", done.stderr);
    // A token that is revoked ends a stream that is open; coming back is of no use.
    let url = node.url("");
    let made = node
        .http()
        .post(node.url("/api/tokens"))
        .bearer_auth(token)
        .json(&serde_json::json!({"name": "ci", "scope": "read"}))
        .send()
        .await?
        .json::<Value>()
        .await?;
    let (id, secret) = (made["id"].as_str().ok_or("no id")?, made["token"].as_str().ok_or("no token")?);
    let variables = [("CREEL_URL", url.as_str()), ("CREEL_TOKEN", secret)];
    let listener = start(&["listen", "--output", "json"], &variables)?;
    eventually(LIMIT, "ready", || async { listener.log().contains("ready") }).await;
    node.http().delete(node.url(&format!("/api/tokens/{id}"))).bearer_auth(token).send().await?;
    assert_eq!(listener.end(LIMIT).await.code(), Some(3), "{}", listener.talk());
    assert!(listener.talk().contains("not good any more"), "{}", listener.talk());
    assert!(!listener.talk().contains(secret));
    for arguments in [&["listen", "--since", "yesterday"][..], &["listen", "--forward", "localhost:3000"]] {
        run(arguments, &[("CREEL_URL", &url), ("CREEL_TOKEN", token)]).await?.expect(2)?;
    }
    Ok(())
}

async fn a_silent_node_is_given_up_and_come_back_to() -> TestResult {
    let node = Node::builder().start().await?;
    let listener = listen(&node, &["--output", "json"]).await?;
    node.freeze();
    let limit = Duration::from_secs(70);
    eventually(limit, "it is given up", || async { listener.talk().contains("was silent for") }).await;
    node.thaw();
    node.post("/r/a", "x").await?;
    eventually(Duration::from_secs(60), "it is back", || async { messages(&listener).len() == 2 }).await;
    Ok(())
}

async fn ten_thousand_are_sent_on_in_order_while_the_node_is_killed_and_replaced() -> TestResult {
    const COUNT: u64 = 10_000;
    let database = shared_postgres().await?;
    let nodes = Node::builder().database(database.url());
    let (watched, other) = (nodes.start().await?, nodes.start().await?);
    let target = Target::start(OK).await?;
    let url = target.url("/hooks");
    let listener = listen(&watched, &["--output", "json", "--forward", &url]).await?;
    let load = Load::start(16, &[other.address()], "/r/a");
    for killed in [1, 2] {
        let reached = COUNT * 3 * killed / 10;
        eventually(LIMIT * 3, "a part is sent", || async { load.acknowledged() > reached }).await;
        watched.kill9();
        watched.start_again().await?;
        let connected = || listener.talk().matches("connected again").count() as u64;
        eventually(LIMIT, "it is connected again", || async { connected() >= killed }).await;
    }
    eventually(LIMIT * 3, "all are sent", || async { load.acknowledged() >= COUNT }).await;
    let sent = load.stop().await;
    assert_eq!((sent.broken, sent.refused.len()), (0, 0));
    let all = sent.acknowledged.len();
    eventually(LIMIT * 4, "all are sent on", || async { target.count() >= all }).await;
    let status = listener.end_with(Signal::INT, LIMIT).await?;
    assert_eq!(status.code(), Some(0), "{}", listener.talk());

    let told = messages(&listener);
    check_exactly_once_in_order(&told)?;
    let shown = captures(&told);
    check_has_all(&shown, &sent.acknowledged)?;
    assert_eq!(shown.len(), all, "none that nobody sent");
    let header = |capture: &Value| -> String {
        let headers = capture["headers"].as_array().into_iter().flatten();
        let mut found = headers.filter(|pair| pair[0] == "x-sent").map(|pair| pair[1].clone());
        found.next_back().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let expected: Vec<String> = shown.iter().map(|capture| header(capture)).collect();
    let arrived: Vec<String> = target
        .received()
        .iter()
        .map(|received| received.header("x-sent").unwrap_or_default().to_owned())
        .collect();
    assert!(
        arrived == expected,
        "{} arrived, {} were shown, or in another order",
        arrived.len(),
        expected.len()
    );
    Ok(())
}
