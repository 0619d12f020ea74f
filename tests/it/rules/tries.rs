//! A rule is tried on a request, and nothing is changed by it.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{api, save, send};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, capture_id, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_rule_is_tried_on_what_was_caught,
            a_rule_is_tried_on_what_was_made_up,
            trying_changes_nothing,
            what_cannot_be_tried_is_said,
            what_would_take_long_to_be_compiled_is_refused;
    }
}

async fn attempt(node: &Node, order: Value) -> TestResult<Value> {
    let answer = api(node, "POST", "/api/rules/try", &order).await?;
    if answer.status != 200 {
        return Err(format!("{order}: {} {}", answer.status, answer.text()).into());
    }
    answer.json()
}

/// Whoever may read may try rules, so that each of these could hold up a node.
async fn what_would_take_long_to_be_compiled_is_refused() -> TestResult {
    let node = Node::builder().start().await?;
    let request = json!({"method": "GET", "endpoint": "a"});
    let tags = |bytes: usize| "{{a}}".repeat(bytes / 5);
    let header = json!(["X-A", tags(8_000)]);
    let tried = |rule: Value| {
        let (node, order) = (&node, json!({"rule": rule, "request": request}));
        async move { api(node, "POST", "/api/rules/try", &order).await }
    };
    for (rule, detail) in [
        (
            json!({"match": {"at": "path", "matches": r"\w".repeat(30_000)}, "reply": {}}),
            "at most 4096 bytes",
        ),
        (json!({"reply": {"headers": vec![header.clone(); 30]}}), "take too long to be compiled"),
        (json!({"replies": vec![json!({"headers": [header]}); 30]}), "take too long to be compiled"),
    ] {
        let problem = check_problem(&tried(rule).await?, 400, "invalid-rule")?;
        assert!(problem["detail"].as_str().is_some_and(|told| told.contains(detail)), "{problem}");
    }
    let large = json!({"match": {"at": "path", "equals": "x".repeat(300_000)}, "reply": {}});
    check_problem(&tried(large).await?, 413, "body-too-large")?;
    let body = json!({"rule": {"reply": {}}, "request": {"endpoint": "a", "body": "x".repeat(300_000)}});
    assert_eq!(api(&node, "POST", "/api/rules/try", &body).await?.status, 200, "a body may be larger");
    Ok(())
}

async fn a_rule_is_tried_on_what_was_caught() -> TestResult {
    let node = Node::builder().start().await?;
    let body = format!("{}end", "x".repeat(200_000));
    let answer = send(&node, "POST", "/r/a/b?q=1", "X-Id: 7\r\n", &body).await?;
    let id = capture_id(&answer)?;
    let rule = json!({
        "match": {"all": [{"at": "body", "ends_with": "end"}, {"at": "header", "name": "X-Id", "exists": true}]},
        "reply": {"status": 201, "headers": {"X-Path": "{{request.path}}"}, "delay_ms": 5,
                  "body": "{{rule}} {{substr request.body -3}}"},
    });
    let tried = attempt(&node, json!({"rule": rule, "capture": id})).await?;
    assert_eq!((&tried["matches"], &tried["explanation"]["holds"]), (&json!(true), &json!(true)));
    let expected = json!({
        "status": 201, "content_type": "text/plain; charset=utf-8", "headers": [["x-path", "/r/a/b"]],
        "body": {"bytes": 7, "truncated": false, "encoding": "utf8", "content": "try end"},
        "delay_ms": {"min": 5, "max": 5},
    });
    assert_eq!(tried["reply"], expected);
    let mut failing = rule.clone();
    failing["reply"]["body"] = "{{hash \"crc\" \"x\"}}".into();
    let tried = attempt(&node, json!({"rule": failing, "capture": id})).await?;
    assert!(tried["failure"].as_str().is_some_and(|why| why.contains("the digest is one of")), "{tried}");
    let mut other = rule;
    other["scope"] = "b".into();
    let tried = attempt(&node, json!({"rule": other, "capture": id})).await?;
    assert_eq!((&tried["matches"], &tried["in_scope"]), (&json!(false), &json!(false)));
    assert!(tried.get("reply").is_none());
    Ok(())
}

async fn a_rule_is_tried_on_what_was_made_up() -> TestResult {
    let node = Node::builder().start().await?;
    let request = json!({"method": "PUT", "target": "/r/shop/x?a=1", "headers": [["Host", "shop.example:81"],
        ["X", {"base64": "/w=="}]], "body": {"base64": "/wA="}, "scheme": "https", "client": "10.0.0.9"});
    for (leaf, expected) in [
        (json!({"at": "method", "equals": "PUT"}), true),
        (json!({"at": "endpoint", "equals": "shop"}), true),
        (json!({"at": "segment", "index": 0, "equals": "x"}), true),
        (json!({"at": "header", "name": "x", "equals": {"base64": "/w=="}}), true),
        (json!({"at": "body", "equals": {"base64": "/wA="}}), true),
        (json!({"at": "body_text", "exists": true}), false),
        (json!({"at": "host", "equals": "shop.example"}), true),
        (json!({"at": "port", "equals": 81}), true),
        (json!({"at": "scheme", "equals": "https"}), true),
        (json!({"at": "client", "cidr": "10.0.0.0/8"}), true),
        (json!({"at": "message", "exists": true}), false),
    ] {
        let tried = attempt(&node, json!({"rule": {"match": leaf, "reply": {}}, "request": request})).await?;
        assert_eq!(tried["matches"], expected, "{leaf}");
    }
    let echo = json!({"match": {"at": "message", "equals": "hi"}, "reply": {"message": {"echo": true}}});
    let message = json!({"endpoint": "a", "websocket": "text", "body": "hi"});
    let tried = attempt(&node, json!({"rule": echo, "request": message})).await?;
    assert_eq!(tried["reply"]["message"]["body"]["content"], "hi");
    let plain = json!({"endpoint": "a", "body": "hi"});
    let tried = attempt(&node, json!({"rule": {"reply": {}}, "request": message})).await?;
    assert_eq!((&tried["matches"], &tried["of_kind"]), (&json!(false), &json!(false)));
    assert_eq!(attempt(&node, json!({"rule": echo, "request": plain})).await?["matches"], false);
    Ok(())
}

async fn trying_changes_nothing() -> TestResult {
    let node = Node::builder().start().await?;
    let replies = json!([{"body": "first"}, {"body": "number {{hit}}"}]);
    let scenario = json!({"name": "s", "requires": "Started", "sets": "Over"});
    save(&node, "a", json!({"replies": replies, "scenario": scenario})).await?;
    let order = |hit: u32| json!({"name": "a", "request": {"endpoint": "x"}, "hit": hit});
    for (hit, expected) in [(1, "first"), (2, "number 2"), (9, "number 9")] {
        let tried = attempt(&node, order(hit)).await?;
        assert_eq!(tried["reply"]["body"]["content"], expected);
    }
    assert_eq!(node.json("/api/rules/a/hits").await?["hits"], 0);
    assert_eq!(node.json("/api/scenarios").await?["scenarios"], json!([]));
    assert_eq!(node.json("/api/captures").await?["captures"], json!([]));
    assert_eq!(send(&node, "POST", "/r/x", "", "").await?.text(), "first");
    Ok(())
}

async fn what_cannot_be_tried_is_said() -> TestResult {
    let node = Node::builder().start().await?;
    let request = json!({"endpoint": "a"});
    let rule = json!({"reply": {}});
    let table = [
        (json!({"rule": rule}), "/capture: "),
        (json!({"request": request}), "/rule: "),
        (json!({"rule": rule, "name": "a", "request": request}), "/rule: "),
        (json!({"rule": rule, "request": {}}), "/request/target: "),
        (json!({"rule": rule, "request": {"endpoint": "a", "method": "A B"}}), "/request/method: "),
        (json!({"rule": rule, "request": {"target": "/r/a b"}}), "/request/target: "),
        (json!({"rule": rule, "request": {"target": "/r"}}), "/request/target: "),
        (
            json!({"rule": rule, "request": {"endpoint": "a", "headers": [["a", "b\nc"]]}}),
            "/request/headers/0/1: ",
        ),
        (json!({"rule": rule, "request": {"endpoint": "a", "body": 1}}), "/request/body: "),
        (json!({"rule": rule, "request": {"endpoint": "a", "client": "x"}}), "/request/client: "),
        (json!({"rule": rule, "request": request, "hit": 0}), "/hit: "),
        (json!({"rule": rule, "request": request, "x": 0}), "/x: "),
        (json!([]), "an object is expected"),
    ];
    for (order, why) in table {
        let answer = api(&node, "POST", "/api/rules/try", &order).await?;
        let problem =
            check_problem(&answer, 400, "bad-request").map_err(|error| format!("{order}: {error}"))?;
        assert!(
            problem["detail"].as_str().is_some_and(|detail| detail.starts_with(why)),
            "{order}: {problem}"
        );
    }
    let wrong = json!({"rule": {"reply": {"status": 1}}, "request": request});
    let problem = check_problem(&api(&node, "POST", "/api/rules/try", &wrong).await?, 400, "invalid-rule")?;
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.starts_with("/rule/reply/status: ")));
    let unknown = json!({"name": "gone", "request": request});
    check_problem(&api(&node, "POST", "/api/rules/try", &unknown).await?, 404, "unknown-rule")?;
    let unknown = json!({"rule": rule, "capture": "x"});
    check_problem(&api(&node, "POST", "/api/rules/try", &unknown).await?, 404, "unknown-capture")?;
    Ok(())
}
