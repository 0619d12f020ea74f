//! Documents that take their time: what they come to where the token ends meanwhile, and that they end.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{ROOT, Token, bearer, get_json, guarded, make, revoke};
use crate::harness::client::{Connection, Response};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_token_that_is_revoked_while_its_document_comes_changes_nothing,
            a_document_that_takes_too_long_is_ended;
    }
}

/// A request whose document has come but for its last byte.
async fn begin(node: &Node, secret: &str, request: &str, document: &str) -> TestResult<Connection> {
    let mut connection = Connection::open(node.address()).await?;
    let (bearer, length) = (bearer(secret), document.len());
    let head =
        format!("{request} HTTP/1.1\r\nHost: {}\r\n{bearer}Content-Length: {length}\r\n\r\n", node.address());
    connection.send(format!("{head}{}", &document[..length - 1]).as_bytes()).await?;
    Ok(connection)
}

async fn end(connection: &mut Connection) -> TestResult<Response> {
    connection.send(b"}").await?;
    connection.response().await
}

async fn a_token_that_is_revoked_while_its_document_comes_changes_nothing() -> TestResult {
    let node = guarded().start().await?;
    for (scope, request, document) in [
        ("admin", "POST /api/tokens", json!({"name": "mine", "scope": "admin"})),
        ("write", "POST /api/runs", json!({"name": "mine", "token": true})),
        ("write", "PUT /api/rules/mine", json!({"reply": {"body": {"text": "mine"}}})),
        ("write", "POST /api/endpoints", json!({"name": "mine"})),
    ] {
        let token: Token = make(&node, scope, None).await?;
        let mut connection = begin(&node, &token.secret, request, &document.to_string()).await?;
        // The request is let in before the next is, which comes later.
        assert_eq!(get_json(&node, &token.secret, "/api/runs").await?["runs"], json!([]));
        revoke(&node, &token).await?;
        check_problem(&end(&mut connection).await?, 401, "unauthorized")?;
    }
    let listed = get_json(&node, ROOT, "/api/tokens").await?;
    let live =
        listed["tokens"].as_array().into_iter().flatten().filter(|token| token["revoked"] == Value::Null);
    assert_eq!(live.count(), 0, "{listed}");
    for (target, list) in [("/api/runs", "runs"), ("/api/rules", "rules")] {
        assert_eq!(get_json(&node, ROOT, target).await?[list], json!([]), "{target}");
    }
    Ok(())
}

async fn a_document_that_takes_too_long_is_ended() -> TestResult {
    let node = guarded().setting("api.body_timeout_ms", 300).start().await?;
    for request in ["POST /api/tokens", "POST /api/runs", "POST /api/captures/find", "PUT /api/config"] {
        let mut connection = begin(&node, ROOT, request, &json!({"name": "slow"}).to_string()).await?;
        check_problem(&connection.response().await?, 408, "body-timeout")?;
    }
    node.check_running()
}
