//! Inquiries about what is kept: it is found, counted and verified, all of it and nothing else.

use creel::model::Cursor;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::client::{Connection, Response};
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, trials};

pub mod bounds;
mod documents;
mod verify;

pub fn trials() -> Vec<Trial> {
    let own = trials! {
        Needs::NOTHING =>
            what_matches_is_found_and_counted_on_sqlite,
            a_cursor_past_the_journals_end_is_a_problem;
        Needs::POSTGRES => what_matches_is_found_and_counted_on_postgres;
    };
    [own, bounds::trials(), documents::trials(), verify::trials()].into_iter().flatten().collect()
}

/// As of a journal that was restored since to an earlier state: "there is nothing" would be wrong.
async fn a_cursor_past_the_journals_end_is_a_problem() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/a", "x").await?;
    let page = ask(&node, "find", &json!({"since": "earliest", "limit": 1})).await?;
    let at_the_end = Cursor::parse(page["next"].as_str().ok_or("no cursor")?)?;
    let past = Cursor { seq: at_the_end.seq + 1, digest: 0, ..at_the_end }.to_string();
    for path in ["find", "count", "verify"] {
        let order = |since: &str| match path {
            "verify" => json!({"since": since, "claims": [{"count": {"exactly": 0}}]}),
            _ => json!({ "since": since }),
        };
        assert_eq!(post(&node, path, &order(&at_the_end.to_string())).await?.status, 200, "{path}");
        check_problem(&post(&node, path, &order(&past)).await?, 400, "invalid-cursor")?;
    }
    let page = json!({"since": "earliest", "cursor": past, "order": "newest"});
    check_problem(&post(&node, "find", &page).await?, 400, "invalid-cursor")?;
    Ok(())
}

/// Posts a document.
async fn post(node: &Node, path: &str, document: &Value) -> TestResult<Response> {
    let (host, body) = (node.address(), document.to_string());
    let head = format!(
        "POST /api/captures/{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = Connection::open(host).await?;
    connection.send(format!("{head}{body}").as_bytes()).await?;
    connection.response_to("POST").await
}

/// What is answered 200.
async fn ask(node: &Node, path: &str, document: &Value) -> TestResult<Value> {
    let answer = post(node, path, document).await?;
    if answer.status != 200 {
        return Err(format!("{path} {document}: {} {}", answer.status, answer.text()).into());
    }
    answer.json()
}

/// A document with one member more.
fn with(document: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut document = document.clone();
    document[name] = value.into();
    document
}

fn ids(page: &Value) -> Vec<String> {
    let captures = page["captures"].as_array().into_iter().flatten();
    captures.map(|capture| capture["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Sends a request without `Host`; the id of its capture.
async fn send(node: &Node, line: &str, headers: &str, body: &[u8]) -> TestResult<String> {
    let head = format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    let answer = node.exchange([head.as_bytes(), body].concat()).await?;
    Ok(crate::harness::capture_id(&answer)?.to_owned())
}

async fn what_matches_is_found_and_counted_on_sqlite() -> TestResult {
    what_matches_is_found_and_counted(Node::builder()).await
}

async fn what_matches_is_found_and_counted_on_postgres() -> TestResult {
    let database = shared_postgres().await?;
    what_matches_is_found_and_counted(Node::builder().database(database.url())).await
}

async fn what_matches_is_found_and_counted(builder: NodeBuilder) -> TestResult {
    let node = builder.setting("api.page_max", 100).start().await?;
    let rule = json!({"scope": "rules-*", "reply": {"status": 418}}).to_string();
    let length = format!("Content-Length: {}\r\n\r\n{rule}", rule.len());
    assert_eq!(node.request("PUT", "/api/rules/teapot", &length).await?.status, 201);
    let mut sent = Vec::new();
    for (line, headers, body) in [
        ("POST /r/shop?page=1", "X-Event: push\r\n", r#"{"n":1,"tags":["a"]}"#),
        ("POST /r/shop?page=2", "X-Event: pull\r\n", r#"{"n":2,"tags":["b"]}"#),
        ("GET /r/shop/more", "", ""),
        ("POST /r/rules-1", "X-Event: push\r\n", "text"),
        ("PUT /r/rules-2", "", r#"{"n":3}"#),
        ("POST /r/Shop", "", ""),
        ("POST /r/sh_p", "", ""),
    ] {
        sent.push(send(&node, line, headers, body.as_bytes()).await?);
    }
    let fourth = node.json(&format!("/api/captures/{}", sent[3])).await?["received"].clone();
    let all = json!({"since": "earliest"});
    let table = [
        (all.clone(), vec![0, 1, 2, 3, 4, 5, 6]),
        (json!({"since": "now"}), vec![]),
        (json!({"since": fourth}), vec![3, 4, 5, 6]),
        (json!({"since": "earliest", "until": fourth}), vec![0, 1, 2]),
        (json!({"since": fourth, "until": fourth}), vec![]),
        (with(&all, "endpoint", "shop"), vec![0, 1, 2]),
        (with(&all, "endpoint", "sh_p"), vec![6]),
        (with(&all, "endpoint", "rules-*"), vec![3, 4]),
        (with(&all, "endpoint", "sh*p"), vec![0, 1, 2, 6]),
        (with(&all, "endpoint", json!(["shop", "*-2"])), vec![0, 1, 2, 4]),
        (with(&all, "endpoint", "nothing"), vec![]),
        (with(&all, "match", "method=POST"), vec![0, 1, 3, 5, 6]),
        (with(&all, "match", "method=POST header.x-event=push"), vec![0, 3]),
        (with(&all, "match", "json.$.n>=2"), vec![1, 4]),
        (with(&all, "match", "query.page=2"), vec![1]),
        (with(&all, "match", "rule=teapot"), vec![3, 4]),
        (with(&all, "match", "status=418 method=PUT"), vec![4]),
        (with(&all, "match", json!({"not": {"at": "rule", "exists": true}})), vec![0, 1, 2, 5, 6]),
        (with(&all, "match", json!({"at": "received", "lt": fourth})), vec![0, 1, 2]),
        (with(&with(&all, "endpoint", "shop"), "match", "json.$.tags[0]=b"), vec![1]),
    ];
    for (document, expected) in table {
        let mut expected: Vec<String> = expected.into_iter().map(|place| sent[place].clone()).collect();
        let page = ask(&node, "find", &document).await?;
        assert_eq!(
            (ids(&page), &page["next"], &page["complete"]),
            (expected.clone(), &json!(null), &json!(true)),
            "{document}"
        );
        let counted = ask(&node, "count", &document).await?;
        let told =
            json!({"count": expected.len(), "next": null, "scanned": page["scanned"], "complete": true});
        assert_eq!(counted, told, "{document}");
        let newest = ask(&node, "find", &with(&document, "order", "newest")).await?;
        expected.reverse();
        assert_eq!(ids(&newest), expected, "{document}");
        // Page by page, either way.
        for order in ["oldest", "newest"] {
            let mut expected = expected.clone();
            if order == "oldest" {
                expected.reverse();
            }
            assert_eq!(
                by_pages(&node, &with(&document, "order", order), 2).await?,
                expected,
                "{order} {document}"
            );
        }
    }
    check_shown(&node, &all, &sent[0]).await
}

/// All that is found, in pages of some.
async fn by_pages(node: &Node, document: &Value, limit: usize) -> TestResult<Vec<String>> {
    let mut found = Vec::new();
    let mut document = with(document, "limit", limit);
    loop {
        let page = ask(node, "find", &document).await?;
        assert!(ids(&page).len() <= limit, "{page}");
        found.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => document = with(&document, "cursor", next),
            None => return Ok(found),
        }
    }
}

/// Captures are shown as listings show them; where a page ended an inquiry can go on in any way.
async fn check_shown(node: &Node, all: &Value, first: &str) -> TestResult {
    let listed = node.json("/api/captures?order=oldest&limit=1").await?["captures"][0].clone();
    let one = with(all, "limit", 1);
    let page = ask(node, "find", &one).await?;
    assert_eq!((&page["captures"][0], &listed["id"]), (&listed, &json!(first)));
    assert_eq!((&page["scanned"], &page["complete"]), (&json!(1), &json!(false)));
    let bare = ask(node, "find", &with(&one, "body", "none")).await?;
    assert!(bare["captures"][0]["body"].get("content").is_none(), "{bare}");
    let next = &page["next"];
    let behind = ask(node, "count", &json!({"since": next})).await?;
    assert_eq!(behind["count"], 6);
    let listed = node
        .json(&format!("/api/captures?order=oldest&cursor={}", next.as_str().unwrap_or_default()))
        .await?;
    assert_eq!(listed["captures"].as_array().map(Vec::len), Some(6), "listings take the same cursors");
    Ok(())
}
