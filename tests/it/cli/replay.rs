//! `creel replay`: what was caught goes out again to the octet, so that its sender's signature still holds.

use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use libtest_mimic::Trial;
use rustix::process::Signal;
use sha2::Sha256;

use super::{ask, run, start};
use crate::harness::node::Node;
use crate::harness::ports::free_port;
use crate::harness::target::{OK, Received, Target};
use crate::harness::{Needs, TestResult, eventually, trials};

const LIMIT: Duration = Duration::from_secs(30);
const SECRET: &[u8] = b"a secret of sender and receiver";

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_replay_is_the_request_to_the_octet_and_marked,
            signatures_of_github_stripe_and_standard_webhooks_still_verify,
            what_matches_is_found_and_replayed_the_oldest_first,
            a_dry_run_sends_nothing,
            the_pace_is_as_it_was_or_as_it_is_said,
            what_is_not_answered_well_ends_with_1,
            a_replay_that_is_ended_says_how_far_it_came,
            what_cannot_be_replayed_is_told;
    }
}

/// Sends a request to a node, and replays what was caught of it.
async fn replayed(request: &[u8], arguments: &[&str]) -> TestResult<Received> {
    let node = Node::builder().start().await?;
    let target = Target::start(OK).await?;
    let answer = node.exchange(request).await?;
    let id = crate::harness::capture_id(&answer)?;
    let url = target.url("/hooks");
    ask(&node, &[&["replay", id, "--to", &url], arguments].concat()).await?.expect(0)?;
    let received = target.received();
    assert_eq!(received.len(), 1);
    Ok(received.into_iter().next().ok_or("nothing came")?)
}

async fn a_replay_is_the_request_to_the_octet_and_marked() -> TestResult {
    let body: Vec<u8> = (0..=250_u8).map(|i| i ^ 0x80).cycle().take(3 * 1024 * 1024).collect();
    let head = format!(
        "POST /r/a/x%2Fy/..//z?q=%20+&&a HTTP/1.1\r\nHost: sender\r\nX-A: 1\r\nX-A: 2\r\n\
         Connection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    let request = [head.as_bytes(), b"X-Octets: \xe9\xff\r\n\r\n", &body].concat();
    let received = replayed(&request, &[]).await?;
    assert_eq!(received.line(), "POST /hooks/x%2Fy/..//z?q=%20+&&a HTTP/1.1");
    assert_eq!(
        (received.all("x-a"), received.all("x-octets")),
        (vec![&b"1"[..], b"2"], vec![&b"\xe9\xff"[..]])
    );
    assert!(received.body == body, "{} bytes came", received.body.len());
    assert_eq!(received.all("connection").len(), 0);
    assert_eq!(received.header("creel-replay").map(str::len), Some(36));
    let plain = replayed(b"GET /r/a HTTP/1.1\r\nHost: sender\r\n\r\n", &["--no-mark", "--keep-host"]).await?;
    assert_eq!(plain.headers, [("host".to_owned(), b"sender".to_vec())]);
    Ok(())
}

fn hmac(pieces: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("every key will do");
    pieces.iter().for_each(|piece| mac.update(piece));
    mac.finalize().into_bytes().to_vec()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn base64(octets: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(octets)
}

/// Each is signed as its sender does it, and verified as its receiver would: over what arrived.
async fn signatures_of_github_stripe_and_standard_webhooks_still_verify() -> TestResult {
    // Spaces, escapes and an octet that is no UTF-8: whoever reads and writes it again breaks the signature.
    let body: &[u8] = b"{\"action\": \"opened\",  \"n\":1.0,\"s\":\"\\u00e9\xff\"}\n";
    let signed = |headers: String| {
        let head =
            format!("POST /r/a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let github = signed(format!("X-Hub-Signature-256: sha256={}\r\n", hex(&hmac(&[body]))));
    let received = replayed(&github, &[]).await?;
    let expected = format!("sha256={}", hex(&hmac(&[&received.body])));
    assert_eq!(received.header("x-hub-signature-256"), Some(expected.as_str()));

    let stripe =
        signed(format!("Stripe-Signature: t=1795249811,v1={}\r\n", hex(&hmac(&[b"1795249811.", body]))));
    let received = replayed(&stripe, &[]).await?;
    let header = received.header("stripe-signature").ok_or("no signature")?;
    let part = |name: &str| header.split(',').find_map(|part| part.strip_prefix(name)).unwrap_or_default();
    let time = part("t=").as_bytes();
    assert_eq!(part("v1="), hex(&hmac(&[time, b".", &received.body])));

    let signature = base64(&hmac(&[b"msg_1", b".", b"1795249811", b".", body]));
    let standard = signed(format!(
        "webhook-id: msg_1\r\nwebhook-timestamp: 1795249811\r\nwebhook-signature: v1,{signature}\r\n"
    ));
    let received = replayed(&standard, &[]).await?;
    let value = |name: &str| received.header(name).unwrap_or_default();
    let (id, time) = (value("webhook-id").as_bytes(), value("webhook-timestamp").as_bytes());
    let expected = base64(&hmac(&[id, b".", time, b".", &received.body]));
    assert_eq!(value("webhook-signature"), format!("v1,{expected}"));
    Ok(())
}

async fn what_matches_is_found_and_replayed_the_oldest_first() -> TestResult {
    let node = Node::builder().start().await?;
    let target = Target::start(OK).await?;
    for number in 0..130 {
        node.post(&format!("/r/a-{}?n={number}", number % 2), "x").await?;
    }
    node.get("/r/a-0?n=130").await?;
    let url = target.url("/");
    let find = ["replay", "--filter", "method=POST", "--to", &url, "--output", "json"];
    let done = ask(&node, &find).await?.expect(0)?;
    assert_eq!((done.values()?.len(), target.count()), (130, 130));
    let lines: Vec<_> = target.received().iter().map(Received::line).collect();
    let expected: Vec<_> = (0..130).map(|number| format!("POST /?n={number} HTTP/1.1")).collect();
    assert_eq!(lines, expected);
    let done = ask(&node, &[&find[..], &["--endpoint", "a-1", "--limit", "3"]].concat()).await?.expect(0)?;
    assert!(done.stderr.contains("there are more"), "{}", done.stderr);
    let lines: Vec<_> = target.received()[130..].iter().map(Received::line).collect();
    assert_eq!(lines, ["POST /?n=1 HTTP/1.1", "POST /?n=3 HTTP/1.1", "POST /?n=5 HTTP/1.1"]);
    let done = ask(&node, &["replay", "--filter", "method=PUT", "--to", &url]).await?.expect(1)?;
    assert!(done.stderr.contains("nothing was sent"), "{}", done.stderr);
    ask(&node, &["replay", "--filter", "colour=red", "--to", &url]).await?.expect(2)?;
    ask(&node, &["replay", "--filter", "{", "--to", &url]).await?.expect(2)?;
    Ok(())
}

async fn a_dry_run_sends_nothing() -> TestResult {
    let node = Node::builder().start().await?;
    let target = Target::start(OK).await?;
    let id = node.post("/r/a/x?y=1", "hello").await?;
    let url = target.url("/hooks");
    let done = ask(&node, &["replay", &id, "--to", &url, "--dry-run"]).await?.expect(0)?;
    assert!(done.stdout.contains(&id) && done.stdout.contains("/hooks/x?y=1"), "{}", done.stdout);
    assert!(done.stderr.contains("nothing was sent"), "{}", done.stderr);
    assert_eq!(target.count(), 0);
    Ok(())
}

async fn the_pace_is_as_it_was_or_as_it_is_said() -> TestResult {
    let node = Node::builder().start().await?;
    let target = Target::start(OK).await?;
    let first = node.post("/r/a", "1").await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let second = node.post("/r/a", "2").await?;
    let url = target.url("/");
    for (pace, least, most) in [("original", 690, 20_000), ("1.2s", 1_190, 20_000), ("none", 0, 690)] {
        let arguments = ["replay", &first, &second, "--to", &url, "--pace", pace, "--output", "json"];
        let began = Instant::now();
        let done = ask(&node, &arguments).await?.expect(0)?;
        let took = began.elapsed().as_millis();
        assert!((least..most).contains(&took), "{pace}: {took} ms");
        assert_eq!(done.values()?.len(), 2);
    }
    assert_eq!(target.count(), 6);
    assert!(target.received().chunks(2).all(|pair| pair[0].body == b"1" && pair[1].body == b"2"));
    Ok(())
}

async fn what_is_not_answered_well_ends_with_1() -> TestResult {
    let node = Node::builder().start().await?;
    let target =
        Target::start("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n").await?;
    let failing = Target::start("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno").await?;
    let id = node.post("/r/a", "1").await?;
    ask(&node, &["replay", &id, "--to", &target.url("/")]).await?.expect(0)?;
    assert_eq!(target.count(), 1, "no redirect is followed");
    let done = ask(&node, &["replay", &id, "--to", &failing.url("/")]).await?.expect(1)?;
    assert!(done.stdout.contains("500") && done.stderr.contains("1 answered 500"), "{done:?}");
    let nobody = format!("http://127.0.0.1:{}/", free_port());
    let done = ask(&node, &["replay", &id, &id, "--to", &nobody]).await?.expect(1)?;
    assert!(done.stdout.contains("Connection refused") && done.stderr.contains("2 failed"), "{done:?}");
    Ok(())
}

async fn a_replay_that_is_ended_says_how_far_it_came() -> TestResult {
    let node = Node::builder().start().await?;
    let target = Target::start(OK).await?;
    let id = node.post("/r/a", "1").await?;
    let (url, node_url) = (target.url("/"), node.url(""));
    let arguments = ["replay", &id, &id, "--to", &url, "--pace", "500s"];
    let replay = start(&arguments, &[("CREEL_URL", &node_url)])?;
    eventually(LIMIT, "the first is sent", || async { target.count() == 1 }).await;
    let status = replay.end_with(Signal::INT, LIMIT).await?;
    assert_eq!(status.code(), Some(130), "{}", replay.talk());
    assert!(replay.log().lines().count() <= 2 && replay.log().starts_with("CAPTURE"), "{}", replay.log());
    // One that is under way may have arrived.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", silent.local_addr()?);
    let replay = start(&["replay", &id, &id, "--to", &url], &[("CREEL_URL", &node_url)])?;
    let connected = tokio::time::timeout(LIMIT, silent.accept()).await??;
    let status = replay.end_with(Signal::INT, LIMIT).await?;
    assert_eq!(status.code(), Some(130), "{}", replay.talk());
    assert_eq!(
        replay.log().matches("given up, to end; it may have been sent").count(),
        1,
        "{}",
        replay.log()
    );
    drop(connected);
    Ok(())
}

async fn what_cannot_be_replayed_is_told() -> TestResult {
    let node = Node::builder().start().await?;
    let id = "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33";
    for (arguments, code) in [
        (&["replay", id, "--to", "http://127.0.0.1:9"][..], 1),
        (&["replay", "--to", "http://127.0.0.1:9"], 2),
        (&["replay", id, "--filter", "method=GET", "--to", "http://127.0.0.1:9"], 2),
        (&["replay", id, "--to", "127.0.0.1:9"], 2),
        (&["replay", id], 2),
        (&["replay", id, "--to", "http://127.0.0.1:9", "--pace", "fast"], 2),
    ] {
        let done = ask(&node, arguments).await?.expect(code)?;
        assert!(done.stdout.is_empty() && !done.stderr.is_empty(), "{arguments:?}");
    }
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    run(&["replay", id, "--to", "http://127.0.0.1:9", "--url", &nowhere], &[]).await?.expect(3)?;
    Ok(())
}
