//! What a sender is answered when no rule applies, and what is recorded of it.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::client::Connection;
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, capture_id, eventually_some, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            the_answer_comes_in_the_type_that_accept_prefers,
            head_is_answered_like_get_without_content,
            options_without_a_preflight_is_a_request_like_any,
            a_preflight_is_caught_and_answered_from_the_settings,
            a_page_may_read_the_answer_where_its_origin_is_allowed,
            the_answer_is_recorded_with_its_capture,
    }
}

async fn the_answer_comes_in_the_type_that_accept_prefers() -> TestResult {
    let node = Node::builder().start().await?;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let table = [
        ("", "application/json", "{\"id\":\"ID\",\"endpoint\":\"a&b\",\"method\":\"GET\"}\n"),
        ("image/png", "application/json", "{\"id\":\"ID\",\"endpoint\":\"a&b\",\"method\":\"GET\"}\n"),
        (
            "application/xml",
            "application/xml; charset=utf-8",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<capture><id>ID</id><endpoint>a&amp;b</endpoint>\
             <method>GET</method></capture>\n",
        ),
        ("text/csv", "text/csv; charset=utf-8", "id,endpoint,method\r\nID,a&b,GET\r\n"),
        (
            "text/tab-separated-values",
            "text/tab-separated-values; charset=utf-8",
            "id\tendpoint\tmethod\nID\ta&b\tGET\n",
        ),
        ("text/plain", "text/plain; charset=utf-8", "id: ID\nendpoint: a&b\nmethod: GET\n"),
    ];
    for (accept, content_type, document) in table {
        let answer = node.request("GET", "/r/a%26b", &format!("Accept: {accept}\r\n")).await?;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{accept}");
        assert_eq!(answer.text(), document.replace("ID", capture_id(&answer)?), "{accept}");
    }
    let answer = node.request("GET", "/r/a%26b", &format!("Accept: {browser}\r\n")).await?;
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(answer.text().contains("<dd>a&amp;b</dd>") && answer.text().contains(capture_id(&answer)?));
    Ok(())
}

async fn head_is_answered_like_get_without_content() -> TestResult {
    let node = Node::builder().start().await?;
    let mut connection = Connection::open(node.address()).await?;
    connection.send(b"HEAD /r/h HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let head = connection.response_to("HEAD").await?;
    connection.send(b"GET /r/h HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let get = connection.response().await?;
    assert_eq!((head.status, get.status), (200, 200));
    assert_eq!(head.header("content-type"), get.header("content-type"));
    let length: usize = head.header("content-length").ok_or("no Content-Length")?.parse()?;
    assert_eq!(length, get.body.len() + "HEAD".len() - "GET".len());
    assert_eq!(node.kept(&head).await?["method"], "HEAD");
    Ok(())
}

async fn options_without_a_preflight_is_a_request_like_any() -> TestResult {
    let node = Node::builder().start().await?;
    let answer = node.request("OPTIONS", "/r/o", "Origin: https://page.example\r\n").await?;
    assert_eq!(answer.status, 200);
    assert_eq!(node.kept(&answer).await?["reply"], json!({"source": "default", "status": 200}));
    Ok(())
}

const PREFLIGHT: &str = "Origin: https://page.example\r\nAccess-Control-Request-Method: PUT\r\n\
                         Access-Control-Request-Headers: x-one, content-type\r\n";

async fn a_preflight_is_caught_and_answered_from_the_settings() -> TestResult {
    let node = Node::builder().start().await?;
    let answer = node.request("OPTIONS", "/r/p", PREFLIGHT).await?;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("PUT"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("x-one, content-type"));
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    let kept = node.kept(&answer).await?;
    assert_eq!(kept["method"], "OPTIONS");
    assert_eq!(kept["reply"], json!({"source": "preflight", "status": 204}));

    let closed =
        Node::builder().setting("cors.capture.allow_origins", "https://other.example").start().await?;
    let answer = closed.request("OPTIONS", "/r/p", PREFLIGHT).await?;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, None));
    assert_eq!(closed.captures_of("p", 1).await.len(), 1, "caught all the same");
    Ok(())
}

async fn a_page_may_read_the_answer_where_its_origin_is_allowed() -> TestResult {
    let node = Node::builder()
        .setting("cors.capture.allow_origins", "https://page.example, http://localhost:3000")
        .setting("capture.body_bytes_max", 1000)
        .start()
        .await?;
    let answer = node.request("GET", "/r/p", "Origin: http://localhost:3000\r\n").await?;
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:3000"));
    assert_eq!(answer.header("access-control-expose-headers"), Some("X-Creel-Capture-Id"));
    assert_eq!(answer.header("vary"), Some("Origin"));
    let problem = node.request("GET", "/r/%00", "Origin: http://localhost:3000\r\n").await?;
    assert_eq!(problem.header("access-control-allow-origin"), Some("http://localhost:3000"), "problems too");
    let body = "x".repeat(1001);
    let large = format!("Origin: http://localhost:3000\r\nContent-Length: 1001\r\n\r\n{body}");
    let refused = node.request("POST", "/r/p", &large).await?;
    assert_eq!(refused.status, 413);
    assert_eq!(refused.header("access-control-allow-origin"), Some("http://localhost:3000"));
    let foreign = node.request("GET", "/r/p", "Origin: https://foreign.example\r\n").await?;
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (200, None));
    let nobody = node.request("GET", "/r/p", "").await?;
    let asked = node.request("OPTIONS", "/r/p", PREFLIGHT).await?;
    let unasked = node.request("OPTIONS", "/r/p", &PREFLIGHT.replace("page.", "foreign.")).await?;
    for answer in [&foreign, &nobody, &asked, &unasked, &refused, &problem] {
        assert_eq!(answer.header("vary"), Some("Origin"), "a cache must tell them apart");
    }
    Ok(())
}

async fn the_answer_is_recorded_with_its_capture() -> TestResult {
    let node = Node::builder().setting("capture.body_bytes_max", 1000).start().await?;
    let answer = node.request("GET", "/r/a", "Accept: text/plain\r\n").await?;
    let id = capture_id(&answer)?.to_owned();
    let recorded = recorded(&node, &id).await;
    assert_eq!(recorded["status"], 200);
    assert_eq!(recorded["body"]["content"], answer.text());
    assert_eq!(recorded["body"]["bytes"], answer.body.len());
    assert!(recorded["took_us"].as_i64().is_some_and(|us| us > 0 && us < 10_000_000), "{recorded}");
    let headers = recorded["headers"].as_array().ok_or("no headers")?;
    assert!(headers.contains(&json!(["x-creel-capture-id", id])), "{recorded}");
    assert!(headers.contains(&json!(["content-type", "text/plain; charset=utf-8"])), "{recorded}");

    let large = format!("Content-Length: 1001\r\n\r\n{}", "x".repeat(1001));
    let refused = node.request("POST", "/r/a", &large).await?;
    assert_eq!(self::recorded(&node, capture_id(&refused)?).await["status"], 413);
    Ok(())
}

/// Answers are written a little later.
async fn recorded(node: &Node, id: &str) -> serde_json::Value {
    let target = format!("/api/captures/{id}");
    eventually_some(Duration::from_secs(5), "the answer is recorded", || async {
        let capture = node.json(&target).await.ok()?;
        capture["answer"].is_object().then(|| capture["answer"].clone())
    })
    .await
}
