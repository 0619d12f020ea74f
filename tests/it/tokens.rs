//! Tokens of the database: what each scope opens, what a pattern hides, tickets, and how all of it ends.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::TestResult;
use crate::harness::client::{Connection, Response};
use crate::harness::node::{Node, NodeBuilder};

mod inquiries;
mod patterns;
mod scopes;
mod slow;
mod streams;
mod tickets;

pub fn trials() -> Vec<Trial> {
    [
        scopes::trials(),
        slow::trials(),
        patterns::trials(),
        inquiries::trials(),
        streams::trials(),
        tickets::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The settings' own token.
pub const ROOT: &str = "root-token-0123456789";

pub fn guarded() -> NodeBuilder {
    Node::builder().setting("auth.tokens", ROOT)
}

/// A token that was made.
pub struct Token {
    pub id: String,
    pub secret: String,
}

/// The header that shows a token; without one, none.
fn bearer(secret: &str) -> String {
    if secret.is_empty() { String::new() } else { format!("Authorization: Bearer {secret}\r\n") }
}

/// A request with a token, as JSON where there is something to send.
pub async fn ask(node: &Node, secret: &str, method: &str, target: &str, body: &str) -> TestResult<Response> {
    let (host, length) = (node.address(), body.len());
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{}Content-Length: {length}\r\n\r\n",
        bearer(secret)
    );
    let mut connection = Connection::open(host).await?;
    connection.send(format!("{head}{body}").as_bytes()).await?;
    connection.response_to(method).await
}

pub async fn get(node: &Node, secret: &str, target: &str) -> TestResult<Response> {
    ask(node, secret, "GET", target, "").await
}

/// The JSON of a GET that must be answered 200.
pub async fn get_json(node: &Node, secret: &str, target: &str) -> TestResult<Value> {
    let response = get(node, secret, target).await?;
    if response.status != 200 {
        return Err(format!("{target}: {} {}", response.status, response.text()).into());
    }
    response.json()
}

/// Has a token made by another one.
pub async fn make_by(node: &Node, maker: &str, order: Value) -> TestResult<Token> {
    let answer = ask(node, maker, "POST", "/api/tokens", &order.to_string()).await?;
    if answer.status != 201 {
        return Err(format!("{order}: {} {}", answer.status, answer.text()).into());
    }
    let made = answer.json()?;
    let text = |key: &str| made[key].as_str().map(str::to_owned).ok_or_else(|| format!("{key}: {made}"));
    Ok(Token { id: text("id")?, secret: text("token")? })
}

pub async fn make(node: &Node, scope: &str, pattern: Option<&str>) -> TestResult<Token> {
    make_by(node, ROOT, json!({"name": scope, "scope": scope, "pattern": pattern})).await
}

pub async fn revoke(node: &Node, token: &Token) -> TestResult {
    match ask(node, ROOT, "DELETE", &format!("/api/tokens/{}", token.id), "").await?.status {
        204 => Ok(()),
        status => Err(format!("{status}").into()),
    }
}
