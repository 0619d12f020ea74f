//! What is wrong with an inquiry is told with its place, and means nothing else.

use libtest_mimic::Trial;
use serde_json::json;

use super::{post, with};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            what_is_wrong_is_told_with_its_place,
            foreign_cursors_are_refused,
            patterns_that_would_take_long_are_refused,
            an_end_may_be_the_end_of_time;
    }
}

/// Each of these took a node seconds and more, and gigabytes.
async fn patterns_that_would_take_long_are_refused() -> TestResult {
    let node = Node::builder().start().await?;
    let leaf = |pattern: String| json!({"at": "path", "matches": pattern, "ignore_case": true});
    let document = |expression: serde_json::Value| json!({"since": "earliest", "match": expression});
    let some = json!({"all": vec![leaf(r"[\s\S]".repeat(10)); 200]});
    for (expression, why) in [
        (leaf(r"\PL".repeat(60_000)), "/match/matches: a pattern has at most 4096 bytes"),
        (leaf(r"\PL".repeat(1_300)), "/match/matches: the pattern has too many classes"),
        (some, "all patterns and templates of the document together take too long"),
    ] {
        for path in ["count", "find", "wait"] {
            let answer = post(&node, path, &document(expression.clone())).await?;
            let problem = check_problem(&answer, 400, "bad-request")?;
            assert!(problem["detail"].as_str().is_some_and(|told| told.contains(why)), "{path}: {problem}");
        }
    }
    let pattern = r"%5CPL".repeat(4_000);
    let answer = node.get(&format!("/api/stream?match=path~%3D{pattern}")).await?;
    let problem = check_problem(&answer, 400, "invalid-parameter")?;
    assert!(problem["detail"].as_str().is_some_and(|told| told.contains("at most 4096 bytes")), "{problem}");
    let claims = vec![json!({"count": 1, "match": leaf(r"[\s\S]".repeat(10))}); 50];
    let answer = post(&node, "verify", &json!({"since": "earliest", "claims": claims})).await?;
    let problem = check_problem(&answer, 400, "bad-request")?;
    assert!(problem["detail"].as_str().is_some_and(|told| told.contains("together")), "{problem}");
    Ok(())
}

async fn an_end_may_be_the_end_of_time() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/a", "x").await?;
    let document = json!({"since": "earliest", "until": "9999-12-31T23:59:59Z"});
    let answer = post(&node, "count", &document).await?;
    assert_eq!((answer.status, &answer.json()?["count"]), (200, &json!(1)), "{}", answer.text());
    Ok(())
}

async fn what_is_wrong_is_told_with_its_place() -> TestResult {
    let node = Node::builder().setting("api.page_max", 10).setting("api.page_default", 5).start().await?;
    let all = json!({"since": "earliest"});
    let since =
        "/since: a cursor, an RFC 3339 instant, `earliest` or `now` is needed where there is no `run`";
    let instant = "an RFC 3339 instant is expected, as 2026-01-31T12:00:00Z";
    let selection = "`run`, `endpoint`, `since`, `match`";
    for path in ["find", "count", "verify"] {
        for (document, detail) in [
            (json!([]), "an object is expected".to_owned()),
            (json!({}), since.to_owned()),
            (with(&all, "endpoint", 1), "/endpoint: a list is expected".to_owned()),
            (
                with(&all, "endpoint", json!(["a", ""])),
                "/endpoint/1: a pattern has 1 to 512 bytes".to_owned(),
            ),
            (with(&all, "match", "colour=red"), "/match: ".to_owned()),
            (with(&all, "match", json!({"at": "x"})), "/match/at: `x` is no part of a capture".to_owned()),
        ] {
            let answer = post(&node, path, &document).await?;
            let problem =
                check_problem(&answer, 400, "bad-request").map_err(|e| format!("{document}: {e}"))?;
            let told = problem["detail"].as_str().unwrap_or_default();
            assert!(told.starts_with(&detail), "{path} {document}: {told}");
        }
        let answer = post(&node, path, &json!({"since": "yesterday"})).await?;
        check_problem(&answer, 400, "invalid-cursor")?;
        let answer = post(&node, path, &json!({"run": "none"})).await?;
        check_problem(&answer, 404, "unknown-run")?;
        let large = json!({"since": "earliest", "match": "x".repeat(3 << 20)});
        check_problem(&post(&node, path, &large).await?, 413, "body-too-large")?;
        let target = format!("/api/captures/{path}?limit=1");
        let answer = node.request("POST", &target, "Content-Length: 2\r\n\r\n{}").await?;
        check_problem(&answer, 400, "invalid-parameter")?;
    }
    let claims = json!([{"count": 1}]);
    for (path, document, detail) in [
        ("find", with(&all, "limit", 11), "/limit: a whole number from 1 to 10 is expected".to_owned()),
        ("find", with(&all, "order", "random"), "/order: `newest` or `oldest` is expected".to_owned()),
        (
            "find",
            with(&all, "body", "full"),
            "/body: `preview` or `none` is expected; ask for one capture to see all of it".to_owned(),
        ),
        (
            "find",
            with(&all, "colour", 1),
            format!(
                "/colour: this is not known here; there are {selection}, `order`, `cursor`, `body`, `limit`, `until`"
            ),
        ),
        (
            "count",
            with(&all, "limit", 1),
            format!("/limit: this is not known here; there are {selection}, `until`"),
        ),
        ("count", with(&all, "until", "tomorrow"), format!("/until: {instant}")),
        ("verify", all.clone(), "/claims: this says what is verified".to_owned()),
        ("verify", with(&all, "claims", json!([{}])), "/claims/0: one of `count`, `in_order`, ".to_owned()),
        (
            "verify",
            with(&with(&all, "claims", claims), "name", ""),
            "/name: a text of 1 to 255 bytes is expected".to_owned(),
        ),
    ] {
        let answer = post(&node, path, &document).await?;
        let problem = check_problem(&answer, 400, "bad-request").map_err(|e| format!("{document}: {e}"))?;
        let told = problem["detail"].as_str().unwrap_or_default();
        assert!(told.starts_with(&detail), "{path} {document}: {told}");
    }
    node.check_unharmed().await
}

async fn foreign_cursors_are_refused() -> TestResult {
    let (node, other) = (Node::builder().start().await?, Node::builder().start().await?);
    for node in [&node, &other] {
        node.post("/r/a", "x").await?;
        node.post("/r/a", "y").await?;
    }
    let foreign = other.json("/api/captures?limit=1").await?["next"].clone();
    for (path, document) in [
        ("find", json!({"since": foreign})),
        ("find", json!({"since": "earliest", "cursor": foreign})),
        ("find", json!({"since": "earliest", "cursor": "x"})),
        ("count", json!({"since": foreign})),
        ("verify", json!({"since": foreign, "claims": [{"count": 1}]})),
    ] {
        let answer = post(&node, path, &document).await?;
        check_problem(&answer, 400, "invalid-cursor").map_err(|e| format!("{document}: {e}"))?;
    }
    Ok(())
}
