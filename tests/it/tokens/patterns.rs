//! A token for some endpoints: of the others it can read nothing, count nothing and infer nothing.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{ROOT, Token, ask, get, get_json, guarded, make};
use crate::harness::client::{Framing, Response, Subscriber, WebSocket, captures, opcode};
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            listings_show_its_own_on_sqlite,
            what_is_foreign_is_not_there,
            rules_of_others_are_not_explained_and_not_tried,
            foreign_endpoints_cannot_be_changed,
            a_sealed_cursor_is_good_for_its_token_alone,
            streams_show_its_own_and_no_numbers,
            a_stream_resumes_where_it_was_left,
            a_subscription_cannot_be_widened,
            of_what_was_trimmed_it_is_told_its_own;
        Needs::POSTGRES => listings_show_its_own_on_postgres;
    }
}

const LIMIT: Duration = Duration::from_secs(10);

/// Codes that a pattern in SQL could take for others.
pub const FOREIGN: [&str; 6] = ["prod", "CI-1", "xci-1", "ci", "c_-1", "ci_1"];

/// That no place in the journal is told, under whatever name.
pub fn check_no_numbers(value: &Value) -> TestResult {
    match value {
        Value::Object(members) if members.contains_key("seq") => Err(format!("a number: {value}").into()),
        Value::Object(members) => members.values().try_for_each(check_no_numbers),
        Value::Array(values) => values.iter().try_for_each(check_no_numbers),
        _ => Ok(()),
    }
}

async fn listings_show_its_own_on_sqlite() -> TestResult {
    listings_show_its_own(guarded()).await
}

async fn listings_show_its_own_on_postgres() -> TestResult {
    let database = shared_postgres().await?;
    listings_show_its_own(guarded().database(database.url())).await
}

async fn listings_show_its_own(builder: NodeBuilder) -> TestResult {
    let node = builder.start().await?;
    let token = make(&node, "read", Some("ci-*")).await?.secret;
    let mut own = Vec::new();
    for round in 0..4 {
        for code in FOREIGN {
            node.post(&format!("/r/{code}"), "foreign").await?;
        }
        for code in ["ci-", "ci-1", "ci-%25"] {
            own.push(node.post(&format!("/r/{code}?{round}"), "own").await?);
        }
    }
    for (order, limit) in [("oldest", 5), ("newest", 5), ("oldest", 12), ("newest", 100)] {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let target = format!("/api/captures?order={order}&limit={limit}{cursor}");
            let page = get_json(&node, &token, &target).await?;
            check_no_numbers(&page)?;
            let shown = page["captures"].as_array().ok_or("no captures")?;
            found.extend(shown.iter().map(|capture| capture["id"].as_str().unwrap_or_default().to_owned()));
            match page["next"].as_str() {
                // A page that is not full, with more behind it, would tell that there are others between.
                Some(next) => {
                    assert_eq!(shown.len(), limit, "{page}");
                    cursor = format!("&cursor={next}");
                }
                None => break,
            }
        }
        if order == "newest" {
            found.reverse();
        }
        assert_eq!(found, own, "{order} {limit}");
    }
    let nothing = get(&node, &token, "/api/captures?endpoint=nothing").await?;
    for code in FOREIGN {
        let foreign = get(&node, &token, &format!("/api/captures?endpoint={code}")).await?;
        assert_eq!((foreign.status, foreign.text()), (nothing.status, nothing.text()), "{code}");
    }
    let of_one = get_json(&node, &token, "/api/captures?endpoint=ci-1&method=POST").await?;
    assert_eq!(of_one["captures"].as_array().map(Vec::len), Some(4));
    assert_eq!(get_json(&node, ROOT, "/api/captures").await?["captures"].as_array().map(Vec::len), Some(36));

    eventually(LIMIT, "totals follow", || async {
        let all = get_json(&node, ROOT, "/api/endpoints").await.unwrap_or_default();
        all["endpoints"]
            .as_array()
            .is_some_and(|all| all.iter().all(|e| e["captures"] == 4) && all.len() == 9)
    })
    .await;
    let first = get_json(&node, &token, "/api/endpoints?limit=2").await?;
    let next = first["next"].as_str().ok_or("there is a third")?;
    let second = get_json(&node, &token, &format!("/api/endpoints?limit=2&cursor={next}")).await?;
    let codes = |page: &Value| -> Vec<Value> {
        page["endpoints"].as_array().into_iter().flatten().map(|e| e["code"].clone()).collect()
    };
    assert_eq!([codes(&first), codes(&second)].concat(), [json!("ci-"), json!("ci-%"), json!("ci-1")]);
    assert_eq!(second["next"], json!(null));
    // A pattern without a wildcard is one endpoint.
    let one = make(&node, "read", Some("c_-1")).await?.secret;
    let shown = get_json(&node, &one, "/api/captures").await?;
    assert!(
        shown["captures"]
            .as_array()
            .is_some_and(|all| all.len() == 4 && all.iter().all(|c| c["endpoint"] == "c_-1"))
    );
    Ok(())
}

async fn what_is_foreign_is_not_there() -> TestResult {
    let node = guarded().start().await?;
    let token = make(&node, "write", Some("ci-*")).await?.secret;
    let foreign = node.post("/r/prod", "foreign").await?;
    let large = node.post("/r/prod", vec![b'x'; 100_000]).await?;
    let own = node.post("/r/ci-1", "own").await?;
    let unknown = "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33";
    for (method, rest) in [("GET", ""), ("GET", "?body=none"), ("GET", "/body"), ("DELETE", ""), ("HEAD", "")]
    {
        let absent = ask(&node, &token, method, &format!("/api/captures/{unknown}{rest}"), "").await?;
        assert_eq!(absent.status, 404);
        for id in [&foreign, &large] {
            let hidden = ask(&node, &token, method, &format!("/api/captures/{id}{rest}"), "").await?;
            let said = |answer: &Response| (answer.status, without_id(answer));
            assert_eq!(said(&hidden), said(&absent), "{method} {rest}");
            assert_eq!(header_names(&hidden), header_names(&absent), "{method} {rest}");
        }
    }
    assert_eq!(get(&node, ROOT, &format!("/api/captures/{foreign}")).await?.status, 200, "it is there still");
    let shown = get_json(&node, &token, &format!("/api/captures/{own}")).await?;
    check_no_numbers(&shown)?;
    assert_eq!(shown["body"]["content"], "own");
    assert_eq!(get(&node, &token, &format!("/api/captures/{own}/body")).await?.text(), "own");
    assert_eq!(ask(&node, &token, "DELETE", &format!("/api/captures/{own}"), "").await?.status, 204);
    Ok(())
}

/// What an answer says but for the id of its request, which is another each time.
fn without_id(answer: &Response) -> String {
    answer.text().replace(answer.header("x-request-id").unwrap_or_default(), "")
}

fn header_names(answer: &Response) -> BTreeSet<&str> {
    answer.headers.iter().map(|(name, _)| name.as_str()).collect()
}

async fn rules_of_others_are_not_explained_and_not_tried() -> TestResult {
    let node = guarded().start().await?;
    let token = make(&node, "read", Some("ci-*")).await?.secret;
    let scenario = json!({"name": "secret", "requires": "Started"});
    for (name, rule) in [
        ("all", json!({"priority": 1, "reply": {}})),
        ("ci-wide", json!({"scope": "c*", "reply": {}})),
        ("ci-1", json!({"scope": "ci-1", "scenario": scenario, "reply": {}})),
    ] {
        let saved = ask(&node, ROOT, "PUT", &format!("/api/rules/{name}"), &rule.to_string()).await?;
        assert_eq!(saved.status, 201, "{}", saved.text());
    }
    let (own, foreign) = (node.post("/r/ci-1", "").await?, node.post("/r/prod", "").await?);
    let explained = get_json(&node, &token, &format!("/api/captures/{own}/explain")).await?;
    check_no_numbers(&explained)?;
    let rules = explained["rules"].as_array().ok_or("no rules")?;
    let names: Vec<&Value> = rules.iter().map(|rule| &rule["name"]).collect();
    assert_eq!((names, &explained["left_out"]), (vec![&json!("ci-1")], &json!(0)));
    assert_eq!(rules[0]["scenario"]["state"], json!(null), "the scenario is another's");
    assert_eq!(explained["now"], json!({"source": "rule"}), "the rule that answers has no name");
    let target = format!("/api/captures/{foreign}/explain");
    check_problem(&get(&node, &token, &target).await?, 404, "unknown-capture")?;
    for (order, status, kind) in [
        (json!({"name": "all", "capture": own}), 403, "forbidden"),
        (json!({"name": "ci-wide", "capture": own}), 404, "unknown-rule"),
        (json!({"name": "ci-9", "capture": own}), 404, "unknown-rule"),
        (json!({"name": "ci-1", "capture": foreign}), 404, "unknown-capture"),
    ] {
        let answer = ask(&node, &token, "POST", "/api/rules/try", &order.to_string()).await?;
        check_problem(&answer, status, kind).map_err(|error| format!("{order}: {error}"))?;
    }
    let order = json!({"name": "ci-1", "capture": own}).to_string();
    assert_eq!(ask(&node, &token, "POST", "/api/rules/try", &order).await?.json()?["matches"], true);
    Ok(())
}

async fn foreign_endpoints_cannot_be_changed() -> TestResult {
    let node = guarded().start().await?;
    let token = make(&node, "write", Some("ci-*")).await?.secret;
    node.post("/r/prod", "foreign").await?;
    for code in ["prod", "nothing", "CI-1"] {
        for (method, rest) in [("PUT", ""), ("DELETE", ""), ("DELETE", "/captures")] {
            let answer = ask(&node, &token, method, &format!("/api/endpoints/{code}{rest}"), "").await?;
            let problem = check_problem(&answer, 403, "forbidden")?;
            assert_eq!(problem["detail"], "the token is for other endpoints", "of all alike");
        }
    }
    let shown = get_json(&node, ROOT, "/api/captures").await?;
    assert_eq!(shown["captures"].as_array().map(Vec::len), Some(1), "nothing was removed");
    for (method, rest, status) in [("PUT", "", 201), ("DELETE", "/captures", 204), ("DELETE", "", 204)] {
        let answer = ask(&node, &token, method, &format!("/api/endpoints/ci-9{rest}"), "").await?;
        assert_eq!(answer.status, status, "{method} {rest}: {}", answer.text());
    }
    Ok(())
}

async fn a_sealed_cursor_is_good_for_its_token_alone() -> TestResult {
    let node = guarded().start().await?;
    let (mine, twin) = (make(&node, "read", Some("ci-*")).await?, make(&node, "read", Some("ci-*")).await?);
    for _ in 0..3 {
        node.post("/r/ci-1", "own").await?;
    }
    let page = |secret: String| {
        let node = &node;
        async move { get_json(node, &secret, "/api/captures?limit=1&order=oldest").await }
    };
    let next = async |token: &Token| -> TestResult<String> {
        Ok(page(token.secret.clone()).await?["next"].as_str().ok_or("no next")?.to_owned())
    };
    let plain = page(ROOT.to_owned()).await?["next"].as_str().ok_or("no next")?.to_owned();
    let (sealed, again, theirs) = (next(&mine).await?, next(&mine).await?, next(&twin).await?);
    assert_ne!(sealed, again, "the same place looks different each time");
    assert!(!sealed.starts_with(&plain[..4]), "it does not begin like a plain one");

    let mut changed = sealed.clone().into_bytes();
    let last = changed.len() / 2;
    changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed)?;
    let uses = |cursor: &str| {
        [format!("/api/captures?order=oldest&cursor={cursor}"), format!("/api/stream?since={cursor}")]
    };
    for (token, cursor) in [
        (mine.secret.as_str(), &theirs),
        (&mine.secret, &plain),
        (&mine.secret, &changed),
        (&twin.secret, &sealed),
        (ROOT, &sealed),
    ] {
        for target in uses(cursor) {
            check_problem(&get(&node, token, &target).await?, 400, "invalid-cursor")?;
        }
    }
    for cursor in [&sealed, &again] {
        let rest = get_json(&node, &mine.secret, &uses(cursor)[0]).await?;
        assert_eq!(rest["captures"].as_array().map(Vec::len), Some(2));
    }
    Ok(())
}

async fn streams_show_its_own_and_no_numbers() -> TestResult {
    let node = guarded().setting("stream.heartbeat_ms", 100).start().await?;
    let token = make(&node, "write", Some("ci-*")).await?.secret;
    for (round, framing) in Framing::ALL.into_iter().enumerate() {
        let mut stream =
            Subscriber::open_as(framing, &node.address(), "endpoint=*&since=now", &token).await?;
        node.post("/r/prod", "foreign").await?;
        let code = format!("ci-{round}");
        let small = node.post(&format!("/r/{code}"), "own").await?;
        let large = node.post(&format!("/r/{code}"), vec![b'x'; 200_000]).await?;
        for (secret, method, target) in [
            (ROOT, "PUT", "/api/endpoints/prod".to_owned()),
            (&token, "PUT", format!("/api/endpoints/{code}")),
            (ROOT, "DELETE", "/api/endpoints/prod".to_owned()),
            (ROOT, "DELETE", "/api/endpoints/prod/captures".to_owned()),
            (&token, "DELETE", format!("/api/captures/{small}")),
            (&token, "DELETE", format!("/api/endpoints/{code}/captures")),
        ] {
            let status = ask(&node, secret, method, &target, "").await?.status;
            assert!(status < 300, "{method} {target}: {status}");
        }
        let all = |message: &Value| message["removal"]["all"] == true;
        let mut messages = stream.read_until(LIMIT, all).await?;
        let beats = std::cell::Cell::new(0);
        messages.extend(
            stream
                .read_until(LIMIT, |message| {
                    beats.set(beats.get() + usize::from(message["type"] == "heartbeat"));
                    beats.get() == 3
                })
                .await?,
        );
        messages.iter().try_for_each(check_no_numbers)?;
        let told: Vec<&str> = messages
            .iter()
            .filter_map(|message| message["type"].as_str())
            .filter(|kind| !["ready", "heartbeat"].contains(kind))
            .collect();
        assert_eq!(told, ["capture", "capture", "configuration", "removal", "removal"], "{framing:?}");
        for message in &messages {
            let kind = message["type"].as_str().unwrap_or_default();
            assert!(message[kind].is_null() || message[kind]["endpoint"] == *code, "{message}");
        }
        let shown = captures(&messages);
        assert_eq!((&shown[0]["id"], &shown[1]["id"]), (&json!(small), &json!(large)));
        assert_eq!(crate::harness::body_of(shown[1])?.len(), 200_000);
        let cursors: HashSet<&str> =
            messages.iter().filter_map(|message| message["cursor"].as_str()).collect();
        assert_eq!(cursors.len(), messages.len(), "equal places look different");
    }
    Ok(())
}

async fn a_stream_resumes_where_it_was_left() -> TestResult {
    let node = guarded().setting("feed.ring_events_max", 8).start().await?;
    let token = make(&node, "read", Some("ci-*")).await?.secret;
    for framing in Framing::ALL {
        let mut sent = Vec::new();
        let mut cursor = "now".to_owned();
        let mut seen = Vec::new();
        for round in 0..5 {
            let query = format!("since={cursor}&body=none");
            let mut stream = Subscriber::open_as(framing, &node.address(), &query, &token).await?;
            stream.read_until(LIMIT, |message| message["type"] == "ready").await?;
            // While it is away more comes than the node holds in memory.
            for _ in 0..3 {
                sent.push(node.post("/r/ci-1", round.to_string()).await?);
                for code in FOREIGN {
                    node.post(&format!("/r/{code}"), "foreign").await?;
                }
            }
            let messages = stream.read_captures(1 + usize::from(round > 0), LIMIT).await?;
            seen.extend(captures(&messages).iter().map(|capture| capture["id"].clone()));
            cursor = stream.cursor().ok_or("no cursor")?.to_owned();
        }
        let query = format!("since={cursor}&body=none");
        let mut stream = Subscriber::open_as(framing, &node.address(), &query, &token).await?;
        let messages = stream.read_captures(sent.len() - seen.len(), LIMIT).await?;
        seen.extend(captures(&messages).iter().map(|capture| capture["id"].clone()));
        assert_eq!(seen, sent.iter().map(|id| json!(id)).collect::<Vec<_>>(), "{framing:?}");
    }
    Ok(())
}

async fn a_subscription_cannot_be_widened() -> TestResult {
    let node = guarded().start().await?;
    let token = make(&node, "read", Some("ci-*")).await?.secret;
    let target = "/api/stream?endpoint=prod";
    let mut socket = WebSocket::open(&node.address(), target, &super::bearer(&token)).await?;
    for asked in [r#"{"type":"subscribe"}"#, r#"{"type":"subscribe","endpoint":["*","prod"],"body":"none"}"#]
    {
        node.post("/r/prod", "foreign").await?;
        socket.send(opcode::TEXT, asked.as_bytes()).await?;
        loop {
            let message: Value = serde_json::from_slice(&socket.next().await?.payload)?;
            match message["type"].as_str() {
                Some("subscribed") => break,
                Some("ready") => {}
                _ => return Err(format!("{message}").into()),
            }
        }
        node.post("/r/prod", "foreign").await?;
        let own = node.post("/r/ci-1", "own").await?;
        let message: Value = serde_json::from_slice(&socket.next().await?.payload)?;
        assert_eq!(message["capture"]["id"], *own, "{message}");
    }
    Ok(())
}

async fn of_what_was_trimmed_it_is_told_its_own() -> TestResult {
    let node = guarded()
        .setting("feed.ring_events_max", 10)
        .setting("retention.captures_per_endpoint_max", 2)
        .setting("retention.interval_ms", 100)
        .start()
        .await?;
    let (own, idle) = (make(&node, "read", Some("ci-*")).await?, make(&node, "read", Some("no-*")).await?);
    let place = async |token: &Token| -> TestResult<String> {
        let mut stream = Subscriber::open_as(Framing::Ndjson, &node.address(), "", &token.secret).await?;
        stream.next().await?;
        Ok(stream.cursor().ok_or("no cursor")?.to_owned())
    };
    let (left, idle_left) = (place(&own).await?, place(&idle).await?);
    for number in 0..10 {
        for code in ["ci-1", "prod"] {
            node.post(&format!("/r/{code}"), number.to_string()).await?;
        }
    }
    trimmed(&node).await;
    let query = format!("since={left}");
    let mut stream = Subscriber::open_as(Framing::Sse, &node.address(), &query, &own.secret).await?;
    let messages = stream.read_captures(2, LIMIT).await?;
    messages.iter().try_for_each(check_no_numbers)?;
    let told: Vec<&Value> = messages.iter().filter(|message| message["type"] == "truncated").collect();
    assert_eq!(told.len(), 1, "{messages:?}");
    assert_eq!(told[0]["endpoints"], json!(["ci-1"]));

    let query = format!("since={idle_left}");
    let mut stream = Subscriber::open_as(Framing::Sse, &node.address(), &query, &idle.secret).await?;
    stream.read_until(LIMIT, |message| message["type"] == "ready").await?;
    node.post("/r/no-1", "own").await?;
    let messages = stream.read_captures(1, LIMIT).await?;
    assert_eq!(messages.len(), 1, "of others' it is told nothing: {messages:?}");
    Ok(())
}

async fn trimmed(node: &Node) {
    eventually(LIMIT, "all but some are trimmed", || async {
        let page = get_json(node, ROOT, "/api/captures?limit=100&body=none").await;
        page.is_ok_and(|page| page["captures"].as_array().is_some_and(|shown| shown.len() == 4))
    })
    .await;
}
