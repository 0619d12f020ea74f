//! What is no document, sent to every operation that reads one.

use super::document::Document;
use crate::harness::TestResult;
use crate::harness::client::Connection;
use crate::harness::node::Node;

const ID: &str = "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33";

pub async fn check_that_every_operation_refuses() -> TestResult {
    let node = Node::builder().start().await?;
    let document = Document::read()?;
    let (deep, wide) = ("[".repeat(100_000), format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500)));
    let bodies: [&[u8]; 14] = [
        b"{",
        b"nul",
        b"{\"a\":1,}",
        b"{'a':1}",
        b"{\"a\":1} {}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"a\":\"\xff\"}",
        b"\xff\xfe{\0}\0",
        b"{\"a\0\":1}",
        b"{\"no such member\":1}",
        b"[1e999]",
        b"\"text\"",
        deep.as_bytes(),
        wide.as_bytes(),
    ];
    let mut asked = 0;
    for (path, method, operation) in document.operations() {
        if operation.get("requestBody").is_none() {
            continue;
        }
        let target = path.split('/').map(|part| if part.starts_with('{') { ID } else { part });
        let target = target.collect::<Vec<_>>().join("/");
        for body in bodies {
            let head = format!(
                "{} {target} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n",
                method.to_uppercase(),
                node.address(),
                body.len()
            );
            let mut connection = Connection::open(node.address()).await?;
            connection.send(&[head.as_bytes(), body].concat()).await?;
            let answer = connection.response().await?;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
            if !(400..500).contains(&answer.status) {
                return Err(format!("{method} {path} took {shown:?}: {}", answer.text()).into());
            }
            document.check_answer(path, method, &answer).map_err(|error| format!("{shown:?}: {error}"))?;
            asked += 1;
        }
    }
    assert!(asked >= 14 * bodies.len(), "{asked} were sent");
    node.check_unharmed().await
}
