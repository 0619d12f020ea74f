//! Which rule answers, and how rules are managed.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{api, kept, save, send};
use crate::harness::client::Connection;
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            the_first_rule_that_matches_answers,
            a_rule_is_for_the_endpoints_of_its_scope,
            a_capture_names_the_rule_and_its_version,
            what_is_wrong_with_a_rule_is_said_with_its_place,
            saving_the_same_again_changes_nothing,
            a_lost_race_is_told,
            rules_are_listed_by_page,
            bodies_are_matched_beyond_what_stands_in_the_journal,
            a_rule_that_came_with_the_second_half_of_a_body_sees_the_first,
            hostile_rules_do_not_hold_a_node_up,
            changes_of_rules_are_on_the_stream;
    }
}

fn text(text: &str) -> Value {
    json!({"body": {"text": text}})
}

async fn answered(node: &Node, target: &str) -> TestResult<String> {
    Ok(send(node, "POST", target, "", "{}").await?.text())
}

async fn the_first_rule_that_matches_answers() -> TestResult {
    let node = Node::builder().start().await?;
    save(&node, "low", json!({"reply": text("low")})).await?;
    save(&node, "older", json!({"priority": 5, "reply": text("older")})).await?;
    save(&node, "newer", json!({"priority": 5, "reply": text("newer")})).await?;
    save(&node, "off", json!({"priority": 9, "enabled": false, "reply": text("off")})).await?;
    let never = json!({"at": "method", "equals": "PATCH"});
    save(&node, "other", json!({"priority": 8, "match": never, "reply": text("other")})).await?;
    assert_eq!(answered(&node, "/r/a").await?, "older");
    assert_eq!(send(&node, "PATCH", "/r/a", "", "").await?.text(), "other");
    // An older rule that is changed stays where it was.
    save(&node, "older", json!({"priority": 5, "reply": text("still older")})).await?;
    assert_eq!(answered(&node, "/r/a").await?, "still older");
    assert_eq!(node.request("DELETE", "/api/rules/older", "").await?.status, 204);
    assert_eq!(answered(&node, "/r/a").await?, "newer");
    // One that was removed and made again is the newest.
    save(&node, "older", json!({"priority": 5, "reply": text("made again")})).await?;
    assert_eq!(answered(&node, "/r/a").await?, "newer");
    for name in ["older", "newer", "low"] {
        assert_eq!(node.request("DELETE", &format!("/api/rules/{name}"), "").await?.status, 204);
    }
    let default = send(&node, "POST", "/r/a", "", "").await?;
    assert!(default.text().contains("\"endpoint\":\"a\""), "{}", default.text());
    Ok(())
}

async fn a_rule_is_for_the_endpoints_of_its_scope() -> TestResult {
    let node = Node::builder().start().await?;
    save(&node, "one", json!({"scope": "shop", "priority": 1, "reply": text("one")})).await?;
    save(&node, "some", json!({"scope": "shop-*", "reply": text("some")})).await?;
    save(&node, "star", json!({"scope": "\\*", "reply": text("star")})).await?;
    save(&node, "all", json!({"priority": -1, "reply": text("all")})).await?;
    for (target, expected) in
        [("/r/shop", "one"), ("/r/shop/x", "one"), ("/r/shop-1", "some"), ("/r/*", "star"), ("/r/sho", "all")]
    {
        assert_eq!(answered(&node, target).await?, expected, "{target}");
    }
    Ok(())
}

async fn a_capture_names_the_rule_and_its_version() -> TestResult {
    let node = Node::builder().start().await?;
    for version in 1..=2 {
        save(&node, "a", json!({"reply": {"status": 210 + version}})).await?;
        let answer = send(&node, "POST", "/r/a", "", "").await?;
        let capture = kept(&node, &answer).await?;
        let expected =
            json!({"source": "rule", "status": 210 + version, "rule": "a", "rule_version": version});
        assert_eq!(capture["reply"], expected);
    }
    Ok(())
}

async fn what_is_wrong_with_a_rule_is_said_with_its_place() -> TestResult {
    let node = Node::builder().start().await?;
    let leaf = |leaf: Value| json!({"match": {"all": [{"at": "method", "exists": true}, leaf]}, "reply": {}});
    let deep = (0..40).fold(json!({"at": "method", "exists": true}), |inner, _| json!({"not": inner}));
    let table = [
        (json!({}), "/reply: "),
        (json!([]), "an object is expected"),
        (json!({"reply": {}, "replies": []}), "/replies: "),
        (json!({"reply": {}, "matches": {}}), "/matches: this is not known here"),
        (json!({"reply": {"status": 600}}), "/reply/status: "),
        (json!({"reply": {"status": "200"}}), "/reply/status: "),
        (json!({"reply": {"headers": {"a b": "x"}}}), "/reply/headers/a b: "),
        (json!({"reply": {"headers": {"content-length": "1"}}}), "/reply/headers/content-length: "),
        (json!({"reply": {"headers": [["x", "a\r\nb"]]}}), "/reply/headers/0: "),
        (json!({"reply": {"body": "{{#if x}}"}}), "/reply/body: "),
        (json!({"reply": {"body": "{{> other}}"}}), "/reply/body: "),
        (json!({"reply": {"body": "{{uper 1}}"}}), "/reply/body: "),
        (json!({"reply": {"body": {"base64": "*"}}}), "/reply/body/base64: "),
        (json!({"reply": {"delay_ms": 30001}}), "/reply/delay_ms: "),
        (json!({"reply": {"delay_ms": {"min": 2, "max": 1}}}), "/reply/delay_ms: "),
        (json!({"reply": {"fault": "TIMEOUT"}}), "/reply/fault: "),
        (json!({"reply": {"variants": [{"body": "x"}]}}), "/reply/variants/0/content_type: "),
        (json!({"scope": "", "reply": {}}), "/scope: "),
        (json!({"scenario": {"name": "a"}, "reply": {}}), "/scenario: "),
        (leaf(json!({"at": "metod", "equals": "x"})), "/match/all/1/at: `metod`"),
        (leaf(json!({"at": "method"})), "/match/all/1: an operator is missing"),
        (leaf(json!({"at": "method", "equals": "x", "in": []})), "/match/all/1: `equals` and `in`"),
        (leaf(json!({"at": "segment", "equals": "x"})), "/match/all/1/index: "),
        (
            leaf(json!({"at": "path", "matches": "a(b"})),
            "/match/all/1/matches: the pattern is wrong at character 2",
        ),
        (
            leaf(json!({"at": "path", "matches": "(?=x)"})),
            "/match/all/1/matches: the pattern is wrong at character 1",
        ),
        (
            leaf(json!({"at": "path", "matches": "(\\w{100}){100}"})),
            "/match/all/1/matches: the pattern takes over",
        ),
        (leaf(json!({"at": "json", "path": "$.a[", "exists": true})), "/match/all/1/path: "),
        (leaf(json!({"at": "json", "path": "$[?match(@.a, 'b')]", "exists": true})), "/match/all/1/path: "),
        (leaf(json!({"at": "json", "path": "$[?@[?@[?@[?@[?@]]]]]", "exists": true})), "/match/all/1/path: "),
        (leaf(json!({"at": "client", "cidr": "10.0.0.0/40"})), "/match/all/1/cidr: "),
        (json!({"match": deep, "reply": {}}), "levels"),
    ];
    for (rule, why) in table {
        let answer = api(&node, "PUT", "/api/rules/a", &rule).await?;
        let problem =
            check_problem(&answer, 400, "invalid-rule").map_err(|error| format!("{rule}: {error}"))?;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(why), "{rule}: {detail}");
    }
    check_problem(&api(&node, "PUT", "/api/rules/%FF", &json!({})).await?, 400, "invalid-rule")?;
    let no_json = node.exchange(format!(
        "PUT /api/rules/a HTTP/1.1\r\nHost: {}\r\nContent-Length: 1\r\n\r\n{{",
        node.address()
    ));
    check_problem(&no_json.await?, 400, "bad-request")?;
    let large = json!({"description": "x".repeat(300_000), "reply": {}});
    check_problem(&api(&node, "PUT", "/api/rules/a", &large).await?, 413, "body-too-large")?;
    check_problem(&node.get("/api/rules/a").await?, 404, "unknown-rule")?;
    check_problem(&node.request("DELETE", "/api/rules/a", "").await?, 404, "unknown-rule")?;
    Ok(())
}

async fn saving_the_same_again_changes_nothing() -> TestResult {
    let node = Node::builder().start().await?;
    let rule = json!({"priority": 1, "reply": {"status": 204}});
    let first = api(&node, "PUT", "/api/rules/a%2Fb", &rule).await?;
    assert_eq!(first.status, 201);
    let again = api(&node, "PUT", "/api/rules/a%2Fb", &rule).await?;
    assert_eq!((again.status, again.json()?), (200, first.json()?));
    let shown = node.get("/api/rules/a%2Fb").await?;
    assert_eq!(shown.json()?, first.json()?);
    assert_eq!(shown.header("etag"), first.header("etag"));
    // What was read can be written back, marks and all.
    let back = api(&node, "PUT", "/api/rules/a%2Fb", &shown.json()?).await?;
    assert_eq!(back.json()?["version"], 1);
    let tag = shown.header("etag").ok_or("no tag")?;
    let unchanged = node.request("GET", "/api/rules/a%2Fb", &format!("If-None-Match: {tag}\r\n")).await?;
    assert_eq!((unchanged.status, unchanged.text().as_str()), (304, ""));
    for known in [
        format!("If-None-Match: W/{tag}\r\n"),
        "If-None-Match: *\r\n".to_owned(),
        format!("If-None-Match: \"x\"\r\nIf-None-Match: \"y\", {tag}\r\n"),
        format!("If-None-Match: \u{e9}\r\nIf-None-Match: W/{tag}\r\n"),
    ] {
        let unchanged = node.request("GET", "/api/rules/a%2Fb", &known).await?;
        assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some(tag)), "{known}");
    }
    for other in ["If-None-Match: \"x\"\r\n", "If-None-Match: \u{e9}\r\n", "If-None-Match:\r\n"] {
        assert_eq!(node.request("GET", "/api/rules/a%2Fb", other).await?.status, 200, "{other}");
    }
    Ok(())
}

async fn a_lost_race_is_told() -> TestResult {
    let node = Node::builder().start().await?;
    let put = async |condition: &str, status: u16| {
        let body = json!({"reply": {"status": status}}).to_string();
        let (host, length) = (node.address(), body.len());
        let head = format!(
            "PUT /api/rules/a HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{condition}\r\n"
        );
        node.exchange([head, body].concat()).await
    };
    check_problem(&put("If-Match: *\r\n", 200).await?, 412, "precondition-failed")?;
    let first = put("If-None-Match: *\r\n", 200).await?;
    assert_eq!(first.status, 201);
    check_problem(&put("If-None-Match: *\r\n", 201).await?, 412, "precondition-failed")?;
    let tag = format!("If-Match: {}\r\n", first.header("etag").ok_or("no tag")?);
    for other in ["If-Match: \u{e9}\r\n".to_owned(), "If-Match:\r\n".to_owned(), tag.replace(": ", ": W/")] {
        check_problem(&put(&other, 200).await?, 412, "precondition-failed")
            .map_err(|error| format!("{other}: {error}"))?;
    }
    assert_eq!(put(&format!("If-Match: \"other\"\r\n{tag}"), 202).await?.status, 200, "lines are one list");
    check_problem(&put(&tag, 203).await?, 412, "precondition-failed")?;
    check_problem(&node.request("DELETE", "/api/rules/a", &tag).await?, 412, "precondition-failed")?;
    // Of many that change the same state at once, one does.
    let now = node.get("/api/rules/a").await?;
    let tag = format!("If-Match: {}\r\n", now.header("etag").ok_or("no tag")?);
    let tries = futures_util::future::join_all((0..8).map(|i| put(&tag, 210 + i))).await;
    let won = tries.into_iter().filter(|answer| answer.as_ref().is_ok_and(|a| a.status == 200)).count();
    assert_eq!((won, &node.json("/api/rules/a").await?["version"]), (1, &json!(3)));
    Ok(())
}

async fn rules_are_listed_by_page() -> TestResult {
    let node = Node::builder().start().await?;
    for name in ["c", "a", "b", "d"] {
        save(&node, name, json!({"reply": {}})).await?;
    }
    node.request("DELETE", "/api/rules/b", "").await?;
    let first = node.json("/api/rules?limit=2").await?;
    let names = |page: &Value| -> Vec<String> {
        let rules = page["rules"].as_array().cloned().unwrap_or_default();
        rules.iter().filter_map(|rule| Some(rule["name"].as_str()?.to_owned())).collect()
    };
    assert_eq!(names(&first), ["a", "c"]);
    let next = first["next"].as_str().ok_or("a full page has a next")?;
    let second = node.json(&format!("/api/rules?limit=2&cursor={next}")).await?;
    assert_eq!((names(&second), &second["next"]), (vec!["d".to_owned()], &Value::Null));
    Ok(())
}

async fn bodies_are_matched_beyond_what_stands_in_the_journal() -> TestResult {
    let node = Node::builder().setting("rules.body_bytes_max", 400_000).start().await?;
    let body = |bytes: usize| format!("{{\"a\":\"{}\",\"b\":\"end\"}}", "x".repeat(bytes));
    let before = send(&node, "POST", "/r/a", "", &body(300_000)).await?;
    assert!(before.text().contains("\"endpoint\""), "no rule yet");
    let matches = json!({"at": "json", "path": "$.b", "equals": "end"});
    save(&node, "a", json!({"match": matches, "reply": {"body": "{{request.json.b}}"}})).await?;
    for bytes in [10, 70_000, 300_000] {
        assert_eq!(send(&node, "POST", "/r/a", "", &body(bytes)).await?.text(), "end", "{bytes}");
    }
    let beyond = send(&node, "POST", "/r/a", "", &body(500_000)).await?;
    assert!(beyond.text().contains("\"endpoint\""), "what is cut off is no JSON: {}", beyond.text());
    let whole = kept(&node, &beyond).await?;
    assert_eq!(whole["body"]["bytes"], 500_000 + body(0).len());
    Ok(())
}

async fn a_rule_that_came_with_the_second_half_of_a_body_sees_the_first() -> TestResult {
    let node = Node::builder().start().await?;
    let body = format!("{{\"first\":\"half\",\"rest\":\"{}\"}}", "x".repeat(900_000));
    let (first, second) = body.split_at(600_000);
    let mut connection = Connection::open(node.address()).await?;
    let head = format!("POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    connection.send(&[head.as_bytes(), first.as_bytes()].concat()).await?;
    // Its first parts are written by now, and nobody wanted to see them.
    eventually(Duration::from_secs(10), "two parts", || async {
        node.metric("creel_bodies_in_flight_bytes").await.is_ok_and(|bytes| bytes > 0.0)
    })
    .await;
    let matches = json!({"at": "json", "path": "$.first", "equals": "half"});
    save(&node, "a", json!({"match": matches, "reply": text("seen")})).await?;
    connection.send(second.as_bytes()).await?;
    assert_eq!(connection.response().await?.text(), "seen");
    Ok(())
}

async fn hostile_rules_do_not_hold_a_node_up() -> TestResult {
    let node = Node::builder().setting("server.workers", 1).start().await?;
    let started = Instant::now();
    // Paths that take long to read, or name every value very many times.
    let nested = format!("$[?{}@{}", "@[?".repeat(60), "]".repeat(60));
    let refused = json!({"match": {"at": "json", "path": nested, "exists": true}, "reply": {}});
    check_problem(&api(&node, "PUT", "/api/rules/a", &refused).await?, 400, "invalid-rule")?;
    let twice = format!("${}", "[0,0]".repeat(30));
    save(&node, "twice", json!({"match": {"at": "json", "path": twice, "equals": 1}, "reply": text("no")}))
        .await?;
    let deep = "[".repeat(60) + &"]".repeat(60);
    assert!(send(&node, "POST", "/r/a", "", &deep).await?.text().contains("\"endpoint\""));
    // Patterns whose search takes as long as can be, many of them.
    for i in 0..20 {
        let slow = json!({"at": "body", "matches": format!("(?-u)[ab]?[^\\n]{{3000}}x{i}")});
        save(&node, &format!("slow-{i}"), json!({"match": slow, "reply": text("no")})).await?;
    }
    let answer = send(&node, "POST", "/r/a", "", &"a".repeat(1 << 20)).await?;
    assert_eq!(answer.status, 200);
    // A template that takes long to read.
    let tags = json!({"reply": {"body": "{{a}}           ".repeat(4_000)}});
    check_problem(&api(&node, "PUT", "/api/rules/a", &tags).await?, 400, "invalid-rule")?;
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    node.check_unharmed().await
}

async fn changes_of_rules_are_on_the_stream() -> TestResult {
    use crate::harness::client::{Framing, Subscriber};
    let node = Node::builder().start().await?;
    let mut all = Subscriber::open(Framing::Ndjson, &node.address(), "").await?;
    let mut one = Subscriber::open(Framing::Ndjson, &node.address(), "endpoint=a").await?;
    save(&node, "r", json!({"reply": {}})).await?;
    save(&node, "r", json!({"reply": {"status": 204}})).await?;
    node.request("DELETE", "/api/rules/r", "").await?;
    node.post("/r/a", "").await?;
    let limit = std::time::Duration::from_secs(10);
    let messages = all.read_captures(1, limit).await?;
    let changes: Vec<Value> = messages
        .iter()
        .filter(|message| message["type"] == "configuration")
        .map(|message| json!([message["configuration"]["change"], message["configuration"]["rule"]]))
        .collect();
    assert_eq!(json!(changes), json!([["rule.created", "r"], ["rule.changed", "r"], ["rule.removed", "r"]]));
    let messages = one.read_captures(1, limit).await?;
    assert!(messages.iter().all(|message| message["type"] != "configuration"), "{messages:?}");
    Ok(())
}
