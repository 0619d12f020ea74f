//! A token for some endpoints: a wait tells it nothing of the others, by no count, miss or place.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Wait, asked, ids, outcome};
use crate::harness::client::{Connection, Response};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_wait_sees_its_own_alone,
            expressions_see_the_rules_that_captures_show,
            a_wait_ends_with_its_token;
    }
}

const ROOT: &str = "root-token-0123456789";

async fn ask(node: &Node, method: &str, target: &str, body: &Value) -> TestResult<Response> {
    let (host, body) = (node.address(), body.to_string());
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {ROOT}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = Connection::open(host).await?;
    connection.send([head, body].concat().as_bytes()).await?;
    connection.response_to(method).await
}

/// A token's id, and the header that shows it.
async fn token(node: &Node, pattern: Option<&str>) -> TestResult<(String, String)> {
    let order = json!({"name": "t", "scope": "read", "pattern": pattern});
    let made = ask(node, "POST", "/api/tokens", &order).await?.json()?;
    let text = |key: &str| made[key].as_str().map(str::to_owned).ok_or_else(|| format!("{key}: {made}"));
    Ok((text("id")?, format!("Authorization: Bearer {}\r\n", text("token")?)))
}

async fn wait(node: &Node, headers: &str, order: &Value) -> TestResult<Value> {
    Wait::begin_as(node, headers, order).await?.answer().await
}

/// An answer without what differs each time.
fn said(mut answer: Value) -> Value {
    let members = answer.as_object_mut().expect("an answer is an object");
    members.remove("took_ms");
    members.remove("next").expect("there is a cursor");
    answer
}

async fn a_wait_sees_its_own_alone() -> TestResult {
    let node = Node::builder().setting("auth.tokens", ROOT).start().await?;
    let (_, ci) = token(&node, Some("ci-*")).await?;
    check_problem(&asked(&node, "", &json!({"since": "now"})).await?.response().await?, 401, "unauthorized")?;
    let order = json!({"since": "earliest", "match": "body=x", "count": {"exactly": 1}, "timeout_ms": 0});
    let empty = wait(&node, &ci, &order).await?;
    for code in ["prod", "CI-1", "xci-1", "ci"] {
        node.post(&format!("/r/{code}"), "x").await?;
        node.post(&format!("/r/{code}"), "a miss").await?;
    }
    // Whatever it asks for, it is answered as if there were none.
    for endpoint in [json!(null), json!("*"), json!("prod"), json!(["prod", "ci-*"])] {
        let mut order = order.clone();
        order["endpoint"] = endpoint;
        let answer = wait(&node, &ci, &order).await?;
        assert_eq!(said(answer), said(empty.clone()), "{order}");
    }
    let order = json!({"since": "now", "match": "body=x", "count": {"exactly": 1}, "quiet_ms": 300});
    let waiting = Wait::begin_as(&node, &ci, &order).await?;
    node.post("/r/prod", "x").await?;
    let own = node.post("/r/ci-1", "x").await?;
    node.post("/r/prod", "x").await?;
    let answer = waiting.answer().await?;
    assert_eq!((outcome(&answer), ids(&answer)), (("satisfied", 1), vec![own]));
    assert_eq!(answer["captures"][0].get("seq"), None, "no number");
    // Its cursor is sealed, and good for nobody else.
    let plain =
        wait(&node, &format!("Authorization: Bearer {ROOT}\r\n"), &json!({"since": "earliest"})).await?;
    let lengths = [&answer, &plain].map(|answer| answer["next"].as_str().map_or(0, str::len));
    assert_eq!(lengths, [67, 28]);
    let (_, others) = token(&node, Some("prod*")).await?;
    for (headers, next, status) in
        [(&ci, &answer["next"], 200), (&others, &answer["next"], 400), (&ci, &plain["next"], 400)]
    {
        let order = json!({"since": next, "timeout_ms": 0});
        assert_eq!(asked(&node, headers, &order).await?.response().await?.status, status);
    }
    Ok(())
}

/// A capture's document names the rule that has answered it, so expressions find what can be read there.
async fn expressions_see_the_rules_that_captures_show() -> TestResult {
    let node = Node::builder().setting("auth.tokens", ROOT).start().await?;
    let (_, ci) = token(&node, Some("ci-*")).await?;
    for (name, body) in [("prod-global", "theirs"), ("ci-own", "own")] {
        let rule = json!({"match": {"at": "body", "equals": body}, "reply": {"status": 202}});
        assert_eq!(ask(&node, "PUT", &format!("/api/rules/{name}"), &rule).await?.status, 201);
        for code in ["ci-1", "prod"] {
            let head =
                format!("POST /r/{code} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
            assert_eq!(node.exchange(head + body).await?.status, 202);
        }
    }
    for (expression, expected) in
        [("rule", 2), ("rule^=prod-", 1), ("rule=prod-global", 1), ("rule=ci-own", 1), ("!rule", 0)]
    {
        for (headers, all) in [(&ci, 1), (&format!("Authorization: Bearer {ROOT}\r\n"), 2)] {
            let count = expected * all;
            let order = json!({"since": "earliest", "match": expression, "count": {"exactly": count}, "timeout_ms": 0});
            let answer = wait(&node, headers, &order).await?;
            assert_eq!(outcome(&answer), ("satisfied", count), "{expression}");
            let shown = answer["captures"].as_array().into_iter().flatten();
            assert!(shown.into_iter().all(|capture| capture["reply"]["rule"].is_string()), "{answer}");
        }
    }
    let order = json!({"since": "earliest", "match": "rule=ci-x", "timeout_ms": 0});
    let misses = wait(&node, &ci, &order).await?["misses"].to_string();
    assert!(misses.contains("ci-own") && misses.contains("prod-global"), "{misses}");
    Ok(())
}

async fn a_wait_ends_with_its_token() -> TestResult {
    let node = Node::builder().setting("auth.tokens", ROOT).start().await?;
    let (id, headers) = token(&node, None).await?;
    node.post("/r/a", "x").await?;
    let order = json!({"since": "earliest", "count": 2, "match": "body=x"});
    let waiting = Wait::begin_as(&node, &headers, &order).await?;
    assert_eq!(ask(&node, "DELETE", &format!("/api/tokens/{id}"), &json!(null)).await?.status, 204);
    let mut answer = tokio::time::timeout(Duration::from_secs(5), waiting.answer()).await??;
    answer.as_object_mut().ok_or("no object")?.remove("took_ms");
    let nothing = json!({"outcome": "interrupted", "count": 0, "captures": [], "next": null, "misses": []});
    assert_eq!(answer, nothing, "nothing of what it has seen");
    Ok(())
}
