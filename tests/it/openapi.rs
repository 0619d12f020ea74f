//! The API's description (`docs/openapi.json`): that it is one, that it tells of every route, and that what a
//! node answers is what it says.

use std::collections::BTreeSet;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, eventually, trials};

mod conforming;
mod document;
mod hostile;

use document::Document;

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            the_document_is_openapi,
            the_document_tells_of_every_route_and_no_other,
            every_operation_answers_as_the_document_says,
            every_message_of_the_stream_is_as_the_document_says,
            every_operation_refuses_what_is_no_document,
            the_document_is_served_as_it_stands,
            the_page_is_made_of_files_of_the_node,
            the_description_can_be_turned_off,
            the_api_can_be_turned_off,
            every_answer_names_its_request;
    }
}

async fn the_document_is_openapi() -> TestResult {
    Document::read()?.check()
}

async fn the_document_tells_of_every_route_and_no_other() -> TestResult {
    let document = Document::read()?;
    let told: BTreeSet<(String, String, String)> = document
        .operations()
        .map(|(path, method, operation)| {
            let scope = operation["x-creel-scope"].as_str().unwrap_or_default();
            (path.to_owned(), method.to_uppercase(), scope.to_owned())
        })
        .collect();
    let there: BTreeSet<(String, String, String)> = creel::http::route_table()
        .into_iter()
        .map(|route| (route.path, route.method.to_owned(), route.scope.to_owned()))
        .collect();
    let (untold, made_up): (Vec<_>, Vec<_>) =
        (there.difference(&told).collect(), told.difference(&there).collect());
    assert!(untold.is_empty() && made_up.is_empty(), "untold: {untold:?}, not there: {made_up:?}");
    Ok(())
}

async fn every_operation_answers_as_the_document_says() -> TestResult {
    conforming::drive_every_operation().await
}

async fn every_message_of_the_stream_is_as_the_document_says() -> TestResult {
    conforming::check_messages_of_the_stream().await
}

async fn every_operation_refuses_what_is_no_document() -> TestResult {
    hostile::check_that_every_operation_refuses().await
}

async fn the_document_is_served_as_it_stands() -> TestResult {
    let node = Node::builder().setting("auth.tokens", "root-token-0123456789").start().await?;
    let served = node.get("/api/openapi.json").await?;
    assert_eq!((served.status, served.header("content-type")), (200, Some("application/json")));
    assert!(served.text() == document::text()?, "another document is served");
    Ok(())
}

async fn the_page_is_made_of_files_of_the_node() -> TestResult {
    let node = Node::builder().setting("auth.tokens", "root-token-0123456789").start().await?;
    let page = node.get("/api/docs").await?;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").ok_or("no policy")?;
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = page.text();
    assert!(!page.contains("//"), "nothing comes from elsewhere: {page}");
    let links = page.split(['"', '\'']).filter(|text| text.starts_with("docs/"));
    let mut count = 0;
    for link in links {
        let file = node.get(&format!("/api/{link}")).await?;
        assert_eq!(file.status, 200, "{link}");
        assert!(!file.body.is_empty(), "{link}");
        count += 1;
    }
    assert_eq!(count, 4, "{page}");
    for other in ["index.html", "nothing", "..%2fopenapi.json"] {
        check_problem(&node.get(&format!("/api/docs/{other}")).await?, 404, "not-found")?;
    }
    Ok(())
}

async fn the_description_can_be_turned_off() -> TestResult {
    let node = Node::builder().setting("docs.enabled", false).start().await?;
    for target in ["/api/openapi.json", "/api/docs", "/api/docs/docs.js"] {
        check_problem(&node.get(target).await?, 404, "not-found")?;
    }
    assert_eq!(node.get("/api/captures").await?.status, 200);
    Ok(())
}

async fn the_api_can_be_turned_off() -> TestResult {
    let node = Node::builder().setting("api.enabled", false).start().await?;
    node.post("/r/a", "x").await?;
    for target in ["/api", "/api/captures", "/api/stream", "/api/tokens", "/api/openapi.json", "/api/docs"] {
        check_problem(&node.get(target).await?, 404, "not-found")?;
    }
    for target in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(node.get(target).await?.status, 200, "{target}");
    }
    Ok(())
}

async fn every_answer_names_its_request() -> TestResult {
    let node = Node::builder()
        .setting("auth.tokens", "root-token-0123456789")
        .setting("cors.api.allow_origins", "https://app.example")
        .setting("log.level", "debug")
        .start()
        .await?;
    let bearer = "Authorization: Bearer root-token-0123456789\r\n";
    let table = [
        ("GET", "/api/captures", 200),
        ("GET", "/api/stream", 200),
        ("GET", "/api/captures?limit=0", 400),
        ("GET", "/api/nothing", 404),
        ("GET", "/nothing", 404),
        ("PATCH", "/api/rules", 405),
        ("DELETE", "/api/endpoints/a/captures", 204),
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/api/docs", 200),
    ];
    for (method, target, status) in table {
        let mut connection = crate::harness::client::Connection::open(node.address()).await?;
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{bearer}", node.address());
        connection.send(format!("{head}X-Request-Id: its-own\r\n\r\n").as_bytes()).await?;
        let answer = connection.head_only().await?;
        let (id, said) = (answer.header("x-request-id"), format!("{method} {target}"));
        assert_eq!((answer.status, id), (status, Some("its-own")), "{said}");
    }
    // Refused by the guard, by a handler, and by nobody in particular.
    for (target, headers) in [("/api/captures", ""), ("/api/rules/a", bearer), ("/api/x", bearer)] {
        let answer = node.request("GET", target, headers).await?;
        let id = answer.header("x-request-id").ok_or("no id")?.to_owned();
        assert_eq!(uuid::Uuid::parse_str(&id)?.get_version_num(), 7, "{target}");
        assert_eq!(answer.json()?["request_id"], *id, "{target}");
        assert_ne!(node.request("GET", target, headers).await?.header("x-request-id"), Some(&*id));
    }
    for unsound in ["a b", &"x".repeat(65)] {
        let answer = node.request("GET", "/healthz", &format!("X-Request-Id: {unsound}\r\n")).await?;
        assert_ne!(answer.header("x-request-id"), Some(unsound));
    }
    assert!(node.get("/r/a").await?.header("x-request-id").is_none(), "a capture has an id of its own");
    eventually(Duration::from_secs(5), "the log has the id", || async { node.log().contains("its-own") })
        .await;
    check_cors(&node).await
}

/// A page that may ask reads the id and the `ETag`, and may send `If-Match`.
async fn check_cors(node: &Node) -> TestResult {
    let origin = "Origin: https://app.example\r\n";
    let answer = node.request("GET", "/api/rules", origin).await?;
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default().to_lowercase();
    let exposed: Vec<&str> = exposed.split(',').map(str::trim).collect();
    assert!(exposed.contains(&"x-request-id") && exposed.contains(&"etag"), "{exposed:?}");
    let wishes = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: if-match\r\n";
    let answer = node.request("OPTIONS", "/api/rules/a", &format!("{origin}{wishes}")).await?;
    let allowed = answer.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
    assert_eq!((answer.status, allowed.contains("if-match")), (200, true), "{allowed}");
    Ok(())
}

/// A member by its pointer; an error where it is not there.
fn at<'a>(value: &'a Value, pointer: &str) -> TestResult<&'a Value> {
    value.pointer(pointer).ok_or_else(|| format!("there is nothing at {pointer}").into())
}
