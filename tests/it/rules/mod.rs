//! Rules: which request is answered how, and that it is so for the very next request, everywhere.

use libtest_mimic::Trial;
use serde_json::Value;

use crate::harness::client::Response;
use crate::harness::node::Node;
use crate::harness::{TestResult, capture_id};

mod config;
mod endpoints;
mod explain;
mod matching;
mod messages;
mod replies;
mod stale;
mod states;
mod traffcap;
mod tries;

pub fn trials() -> Vec<Trial> {
    [
        matching::trials(),
        replies::trials(),
        states::trials(),
        messages::trials(),
        endpoints::trials(),
        config::trials(),
        stale::trials(),
        explain::trials(),
        tries::trials(),
        traffcap::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Sends a request with a body; headers are like `Accept: text/csv\r\n`, or empty.
async fn send(node: &Node, method: &str, target: &str, headers: &str, body: &str) -> TestResult<Response> {
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{headers}\r\n");
    node.exchange([head.as_bytes(), body.as_bytes()].concat()).await
}

/// A request to the API, with a JSON body.
async fn api(node: &Node, method: &str, target: &str, body: &Value) -> TestResult<Response> {
    let body = body.to_string();
    let (host, length) = (node.address(), body.len());
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
    node.exchange([head, body].concat()).await
}

/// Saves a rule that must be a valid one.
async fn save(node: &Node, name: &str, rule: Value) -> TestResult {
    let answer = api(node, "PUT", &format!("/api/rules/{name}"), &rule).await?;
    if !matches!(answer.status, 200 | 201) {
        return Err(format!("{name}: {} {}", answer.status, answer.text()).into());
    }
    Ok(())
}

/// What was kept of the request that was answered so.
async fn kept(node: &Node, answer: &Response) -> TestResult<Value> {
    node.json(&format!("/api/captures/{}", capture_id(answer)?)).await
}
