//! Every operation of the document, driven on a real node: its success, and at least one problem.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::at;
use super::document::Document;
use crate::harness::client::{Connection, Framing, Response, Subscriber, WebSocket};
use crate::harness::node::Node;
use crate::harness::{TestResult, eventually};

const TOKEN: &str = "root-token-0123456789";
const ABSENT: &str = "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33";

/// A node whose answers are held against the document.
struct Driver {
    node: Node,
    document: Document,
    /// What each operation was answered with.
    seen: BTreeMap<(String, String), Vec<u16>>,
}

impl Driver {
    /// Fills the path's parameters in their order, sends, and checks what comes.
    async fn ask(
        &mut self,
        (method, path, rest): (&str, &str, &str),
        values: &[&str],
        headers: &str,
        body: &str,
        status: u16,
    ) -> TestResult<Response> {
        let mut values = values.iter();
        let parts = path.split('/').map(|part| match part.starts_with('{') {
            true => values.next().copied().unwrap_or_default(),
            false => part,
        });
        let target = format!("{}{rest}", parts.collect::<Vec<_>>().join("/"));
        let token = if headers.contains("Authorization") { "" } else { TOKEN };
        let bearer =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let (host, length) = (self.node.address(), body.len());
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{bearer}{headers}");
        let mut connection = Connection::open(host).await?;
        connection.send(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes()).await?;
        // A stream has no end.
        let is_stream = path == "/api/stream" && status == 200;
        let answer =
            if is_stream { connection.head_only().await? } else { connection.response_to(method).await? };
        if answer.status != status {
            let said = answer.text();
            return Err(format!("{method} {target}: {} for {status}: {said}", answer.status).into());
        }
        self.document.check_answer(path, method, &answer)?;
        self.seen.entry((path.to_owned(), method.to_lowercase())).or_default().push(status);
        Ok(answer)
    }

    async fn plain(&mut self, operation: (&str, &str, &str), values: &[&str], status: u16) -> TestResult {
        self.ask(operation, values, "", "", status).await.map(drop)
    }

    async fn send(
        &mut self,
        operation: (&str, &str, &str),
        values: &[&str],
        body: &Value,
        status: u16,
    ) -> TestResult {
        self.ask(operation, values, "", &body.to_string(), status).await.map(drop)
    }

    /// That each operation has shown a success, and a problem where it may have one.
    fn check_complete(&self) -> TestResult {
        for (path, method, operation) in self.document.operations() {
            let seen = self.seen.get(&(path.to_owned(), method.to_owned())).cloned().unwrap_or_default();
            let told = operation["responses"].as_object().ok_or("no responses")?;
            let may_fail = told.keys().any(|status| status.starts_with('4'));
            let is_complete = seen.iter().any(|status| *status < 400)
                && (!may_fail || seen.iter().any(|status| (400..500).contains(status)));
            if !is_complete {
                return Err(format!("{method} {path} was answered with {seen:?} only").into());
            }
        }
        Ok(())
    }
}

pub async fn drive_every_operation() -> TestResult {
    let node = Node::builder().setting("auth.tokens", TOKEN).start().await?;
    let mut driver = Driver { node, document: Document::read()?, seen: BTreeMap::new() };
    configuration(&mut driver).await?;
    tries_and_imports(&mut driver).await?;
    captures(&mut driver).await?;
    tokens_and_streams(&mut driver).await?;
    operators_and_reports(&mut driver).await?;
    driver.check_complete()
}

async fn configuration(driver: &mut Driver) -> TestResult {
    let d = driver;
    // With everything that a document may have.
    let reply = json!({"status": 201, "headers": {"x-a": "1", "x-b": ["2", "3"]},
        "variants": [{"content_type": "text/plain", "body": "a {{request.method}}"}],
        "delay_ms": {"min": 0, "max": 1}, "dribble": {"chunks": 2, "over_ms": 1},
        "message": {"close": {"code": 1000, "reason": "enough"}}});
    let rule = json!({"description": "all of it", "enabled": true, "priority": -1, "scope": "orders-*",
        "match": {"any": [{"all": []}, {"not": {"at": "header", "name": "x", "pick": "first", "exists": true}},
            {"at": "json", "path": "$.a", "json_equals": {"b": null}, "subset": true},
            {"at": "client", "cidr": ["10.0.0.0/8"]}, {"at": "body", "equals": {"base64": "AA=="}},
            {"at": "segment", "index": 0, "in": ["a", 1, true], "ignore_case": true, "default": "b"}]},
        "replies": [reply, {"body": {"json": {"a": null}}}, {"fault": "EMPTY_RESPONSE"}],
        "after_last": "start_again", "scenario": {"name": "cart", "requires": "Started", "sets": "full"}});
    let endpoint = json!({"name": "Orders", "description": null, "labels": {"team": "shop"}, "reply": {"body": "x"},
        "retention": {"age_s_max": 60, "captures_max": 10}, "body_bytes_max": 1024,
        "access": {"basic": {"user": "u", "password": "p"}}, "allowed_sources": ["127.0.0.1", "10.0.0.0/8"],
        "cors": {"allow_origins": ["*"], "max_age_s": 1}});
    d.send(("PUT", "/api/rules/{name}", ""), &["a"], &rule, 201).await?;
    d.send(("PUT", "/api/rules/{name}", ""), &["a"], &rule, 200).await?;
    d.send(("PUT", "/api/rules/{name}", ""), &["a"], &json!({"reply": {"status": 99}}), 400).await?;
    let answer = d.ask(("GET", "/api/rules/{name}", ""), &["a"], "", "", 200).await?;
    let tag = answer.header("etag").ok_or("no tag")?.to_owned();
    let known = format!("If-None-Match: {tag}\r\n");
    d.ask(("GET", "/api/rules/{name}", ""), &["a"], &known, "", 304).await?;
    d.ask(("PUT", "/api/rules/{name}", ""), &["a"], "If-Match: \"other\"\r\n", &rule.to_string(), 412)
        .await?;
    d.send(("PUT", "/api/rules/{name}", ""), &["a"], &json!({"description": "x".repeat(300_000)}), 413)
        .await?;
    d.plain(("GET", "/api/rules/{name}", ""), &["absent"], 404).await?;
    d.plain(("GET", "/api/rules", ""), &[], 200).await?;
    d.plain(("GET", "/api/rules", "?limit=0"), &[], 400).await?;
    d.plain(("GET", "/api/rules/{name}/hits", ""), &["a"], 200).await?;
    d.plain(("GET", "/api/rules/{name}/hits", ""), &["absent"], 404).await?;
    d.plain(("DELETE", "/api/rules/{name}/hits", ""), &["a"], 204).await?;
    d.plain(("DELETE", "/api/rules/{name}/hits", ""), &["absent"], 404).await?;
    d.send(("PUT", "/api/scenarios/{name}", ""), &["cart"], &json!({"state": "Started"}), 200).await?;
    d.send(("PUT", "/api/scenarios/{name}", ""), &["cart"], &json!({}), 400).await?;
    d.plain(("GET", "/api/scenarios", ""), &[], 200).await?;
    d.plain(("GET", "/api/scenarios", "?x=1"), &[], 400).await?;
    d.send(("POST", "/api/endpoints", ""), &[], &json!({}), 201).await?;
    d.send(("POST", "/api/endpoints", ""), &[], &json!({"code": "orders"}), 201).await?;
    d.send(("POST", "/api/endpoints", ""), &[], &json!({"code": "orders"}), 412).await?;
    d.send(("PUT", "/api/endpoints/{code}", ""), &["orders"], &endpoint, 200).await?;
    d.send(("PUT", "/api/endpoints/{code}", ""), &["other"], &endpoint, 201).await?;
    d.send(("PUT", "/api/endpoints/{code}", ""), &["orders"], &json!({"labels": 1}), 400).await?;
    d.plain(("GET", "/api/endpoints/{code}", ""), &["orders"], 200).await?;
    d.plain(("GET", "/api/endpoints/{code}", ""), &["absent"], 404).await?;
    d.plain(("GET", "/api/config", ""), &[], 200).await?;
    d.plain(("GET", "/api/config", "?format=yaml"), &[], 200).await?;
    d.plain(("GET", "/api/config", "?format=xml"), &[], 400).await?;
    let whole = json!({"endpoints": [{"code": "new"}], "rules": [{"name": "new", "reply": {}}]});
    d.send(("PUT", "/api/config", "?dry_run=true&prune=true"), &[], &whole, 200).await?;
    d.send(("PUT", "/api/config", ""), &[], &whole, 200).await?;
    d.send(("PUT", "/api/config", ""), &[], &json!({"rules": [{}]}), 400).await?;
    d.plain(("DELETE", "/api/rules/{name}", ""), &["new"], 204).await?;
    d.plain(("DELETE", "/api/rules/{name}", ""), &["new"], 404).await?;
    d.plain(("DELETE", "/api/endpoints/{code}", ""), &["new"], 204).await?;
    d.plain(("DELETE", "/api/endpoints/{code}", ""), &["new"], 404).await
}

async fn tries_and_imports(d: &mut Driver) -> TestResult {
    let attempt = ("POST", "/api/rules/try", "");
    // With everything that a request may have, and every part that an outcome may have.
    let request = json!({"method": "PUT", "target": "/r/a/b?c=d", "endpoint": "a", "headers": [["X", {"base64": "/w=="}]],
        "body": {"base64": "AP8="}, "scheme": "https", "host": "shop.example", "port": 81, "client": "10.0.0.9"});
    let sees = json!({"any": [{"all": []}, {"not": {"at": "header", "name": "x", "exists": true}},
        {"at": "host_port", "equals": 81}, {"at": "json", "path": "$..a", "exists": true}]});
    let full = json!({"status": 201, "headers": {"x-a": "1"}, "body": {"base64": "AP8="}, "delay_ms": 1,
        "dribble": {"chunks": 2, "over_ms": 1}, "fault": "EMPTY_RESPONSE"});
    let message = json!({"endpoint": "a", "websocket": "text", "body": "x"});
    for (rule, request) in [
        (json!({"match": sees, "reply": full}), &request),
        (json!({"scope": "b", "reply": {}}), &request),
        (json!({"reply": {"body": "{{hash \"crc\" \"x\"}}"}}), &request),
        (json!({"reply": {"message": {"text": "hello"}}}), &message),
        (json!({"reply": {"message": {"close": {"code": 4000, "reason": "enough"}}}}), &message),
        (json!({"replies": [{}, {"message": {"echo": true}}]}), &message),
    ] {
        d.send(attempt, &[], &json!({"rule": rule, "request": request}), 200).await?;
    }
    d.send(attempt, &[], &json!({"name": "a", "request": request, "hit": 2}), 200).await?;
    d.send(attempt, &[], &json!({"rule": {"reply": {"status": 99}}, "request": request}), 400).await?;
    d.send(attempt, &[], &json!({"name": "absent", "request": request}), 404).await?;
    d.send(attempt, &[], &json!({"rule": {"reply": {}}, "capture": ABSENT}), 404).await?;
    d.send(attempt, &[], &json!({"name": "x".repeat(3 << 20)}), 413).await?;

    let import = |rest| ("POST", "/api/rules/import", rest);
    let root = json!({"id": 1, "parent_id": null, "match_type": "RootRule", "key": null, "pattern": "", "invert": false});
    let leaf =
        json!({"id": 2, "parent_id": 1, "match_type": "Port", "key": null, "pattern": "^8", "invert": true});
    let taken = json!({"id": 7, "name": "taken", "priority": 3, "content_type": "application/json", "template": "{}",
        "template_format": "text", "matches": [root, leaf]});
    d.send(import("?format=traffcap&dry_run=true"), &[], &json!([taken]), 200).await?;
    d.send(import("?format=traffcap"), &[], &taken, 200).await?;
    d.send(import("?format=traffcap"), &[], &json!({"name": "a", "matches": []}), 400).await?;
    d.send(import(""), &[], &taken, 400).await?;
    // A rule may have the name of an operation.
    d.plain(("GET", "/api/rules/{name}", ""), &["import"], 404).await
}

async fn captures(d: &mut Driver) -> TestResult {
    let small = d.node.post("/r/a/b?c=d", "x").await?;
    let large = d.node.post("/r/a", "x".repeat(100_000)).await?;
    // Answered by a rule; with what is not UTF-8; an event of a WebSocket.
    d.node.exchange(b"POST /r/orders-1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await?;
    d.node.exchange(b"GET /r/a HTTP/1.1\r\nHost: a\r\nX-Octets: \xff\r\n\r\n").await?;
    drop(WebSocket::open(&d.node.address(), "/r/a", "").await?);
    let url = d.node.url(&format!("/api/captures/{small}"));
    eventually(Duration::from_secs(5), "the answer is recorded", || async {
        let shown = d.node.http().get(&url).bearer_auth(TOKEN).send().await;
        let Ok(shown) = shown else { return false };
        shown.json::<Value>().await.is_ok_and(|capture| capture["answer"].is_object())
    })
    .await;
    d.plain(("GET", "/api/captures", ""), &[], 200).await?;
    d.plain(("GET", "/api/captures", "?body=none&limit=1"), &[], 200).await?;
    d.plain(("GET", "/api/captures", "?order=random"), &[], 400).await?;
    for id in [&small, &large] {
        d.plain(("GET", "/api/captures/{id}", ""), &[id], 200).await?;
        d.plain(("GET", "/api/captures/{id}", "?body=preview"), &[id], 200).await?;
        d.plain(("GET", "/api/captures/{id}", "?format=curl"), &[id], 200).await?;
        d.plain(("GET", "/api/captures/{id}", "?format=http"), &[id], 200).await?;
        d.plain(("GET", "/api/captures/{id}", "?format=curl&body=none"), &[id], 400).await?;
        d.plain(("GET", "/api/captures/{id}/body", ""), &[id], 200).await?;
    }
    d.plain(("GET", "/api/captures/{id}/explain", ""), &[&small], 200).await?;
    d.plain(("GET", "/api/captures/{id}/explain", "?limit=1001"), &[&small], 400).await?;
    d.plain(("GET", "/api/captures/{id}/explain", ""), &[ABSENT], 404).await?;
    waits(d).await?;
    inquiries(d).await?;
    // By the rule that has everything.
    let answered = newest_of(d, "orders-1").await?;
    d.plain(("GET", "/api/captures/{id}/explain", "?limit=1000"), &[&answered], 200).await?;
    d.plain(("GET", "/api/captures/{id}", ""), &[ABSENT], 404).await?;
    d.plain(("GET", "/api/captures/{id}/body", ""), &[ABSENT], 404).await?;
    d.plain(("GET", "/api/endpoints", ""), &[], 200).await?;
    d.plain(("GET", "/api/endpoints", "?limit=x"), &[], 400).await?;
    d.plain(("DELETE", "/api/captures/{id}", ""), &[&small], 204).await?;
    d.plain(("DELETE", "/api/captures/{id}", ""), &[&small], 404).await?;
    d.plain(("DELETE", "/api/endpoints/{code}/captures", ""), &["a"], 204).await?;
    d.plain(("DELETE", "/api/endpoints/{code}/captures", ""), &["%00"], 400).await
}

/// In every way that a wait can be asked for, and can end.
async fn waits(d: &mut Driver) -> TestResult {
    let wait = ("POST", "/api/captures/wait", "");
    let places = json!({"all": [{"at": "reply_status", "gte": 200}, {"at": "reply_source", "in": ["default"]},
        {"at": "rule", "exists": false}, {"at": "kind", "equals": "http"},
        {"not": {"at": "received", "lt": "2026-01-01T00:00:00Z"}}, {"at": "body", "starts_with": "x"}]});
    for (count, expression) in [
        (json!(1), places),
        (json!({"exactly": 1}), json!("!method")),
        (json!({"at_most": 0}), json!({"any": [{"at": "method", "exists": true}]})),
        (json!({"at_least": 1000}), json!("body=y json.$.a=1 !method")),
        (json!(null), json!(null)),
    ] {
        let order = json!({"endpoint": ["a", "b-*"], "since": "earliest", "match": expression, "count": count,
            "timeout_ms": 0, "quiet_ms": 0, "limit": 5, "body": "preview", "name": "the first"});
        d.send(wait, &[], &order, 200).await?;
    }
    d.send(wait, &[], &json!({}), 400).await?;
    d.send(wait, &[], &json!({"run": ABSENT}), 404).await?;
    d.send(wait, &[], &json!({"since": "now", "name": "x".repeat(300_000)}), 413).await
}

/// In every form that they have.
async fn inquiries(d: &mut Driver) -> TestResult {
    let find = |rest| ("POST", "/api/captures/find", rest);
    let (count, verify) = (("POST", "/api/captures/count", ""), ("POST", "/api/captures/verify", ""));
    let all = json!({"endpoint": "*", "since": "earliest", "until": "2100-01-01T00:00:00+01:00", "match": "method~=^P"});
    d.send(count, &[], &all, 200).await?;
    d.send(count, &[], &json!({"since": "earliest", "endpoint": ["a", "b-*"], "match": null}), 200).await?;
    d.send(count, &[], &json!({"since": "earliest", "limit": 1}), 400).await?;
    let page = json!({"since": "earliest", "order": "newest", "limit": 1, "body": "none"});
    let found = d.ask(find(""), &[], "", &page.to_string(), 200).await?.json()?;
    let next = json!({"since": "earliest", "order": "newest", "cursor": found["next"]});
    d.send(find(""), &[], &next, 200).await?;
    d.send(find("?limit=1"), &[], &page, 400).await?;
    d.send(find(""), &[], &json!({"run": ABSENT}), 404).await?;
    let claims = json!([
        {"name": "some", "count": {"at_least": 1}, "match": {"ref": "post"}},
        {"count": 900, "match": {"at": "method", "equals": "POST"}},
        {"count": {"at_most": 0}},
        {"in_order": [{"ref": "post"}, "method=GET"], "others": false},
        {"in_order": ["!method"]},
        {"spacing": {"match": null, "least_ms": 0, "most_ms": 1, "growing": true, "gaps": [{"least_ms": 1000}, {}]}},
        {"unique_by": {"match": {"ref": "post"}, "header": "host"}},
        {"unique_by": {"json": "$.id"}},
        {"unique_by": {"query": "c"}},
    ]);
    let order = json!({"since": "earliest", "name": "all of it", "expressions": {"post": "method=POST"}, "claims": claims});
    d.send(verify, &[], &order, 200).await?;
    d.send(verify, &[], &json!({"since": "earliest", "claims": [{"count": {"at_most": 1000}}]}), 200).await?;
    d.send(verify, &[], &json!({"since": "earliest", "claims": []}), 400).await
}

/// The last that an endpoint has caught.
async fn newest_of(d: &mut Driver, endpoint: &str) -> TestResult<String> {
    let page = ("GET", "/api/captures", &*format!("?endpoint={endpoint}&limit=1"));
    let page = d.ask(page, &[], "", "", 200).await?.json()?;
    Ok(at(&page, "/captures/0/id")?.as_str().ok_or("no id")?.to_owned())
}

async fn tokens_and_streams(d: &mut Driver) -> TestResult {
    let order = json!({"name": "CI", "scope": "read", "pattern": "ci-*", "expires_in_s": 60}).to_string();
    let made = d.ask(("POST", "/api/tokens", ""), &[], "", &order, 201).await?.json()?;
    d.send(("POST", "/api/tokens", ""), &[], &json!({"name": "x", "scope": "all"}), 400).await?;
    d.send(("POST", "/api/tokens", ""), &[], &json!({"name": "x".repeat(300_000)}), 413).await?;
    d.plain(("GET", "/api/tokens", ""), &[], 200).await?;
    d.plain(("GET", "/api/tokens", "?limit=0"), &[], 400).await?;
    let theirs = format!("Authorization: Bearer {}\r\n", made["token"].as_str().ok_or("no token")?);
    d.ask(("GET", "/api/captures", ""), &[], &theirs, "", 200).await?;
    d.ask(("GET", "/api/tokens", ""), &[], &theirs, "", 403).await?;
    // Who may read alone is not shown what a secret could be guessed from.
    let guarded = json!({"access": {"header": {"name": "x", "secret": "s"}}});
    d.send(("PUT", "/api/endpoints/{code}", ""), &["ci-1"], &guarded, 201).await?;
    d.ask(("GET", "/api/endpoints/{code}", ""), &["ci-1"], &theirs, "", 200).await?;
    d.plain(("POST", "/api/tickets", ""), &[], 201).await?;
    d.ask(("POST", "/api/tickets", ""), &[], "Authorization: Bearer wrong\r\n", "", 401).await?;
    d.plain(("GET", "/api/stream", ""), &[], 200).await?;
    d.ask(("GET", "/api/stream", ""), &[], "Accept: text/event-stream\r\n", "", 200).await?;
    d.plain(("GET", "/api/stream", "?match=status%3E%3D400"), &[], 200).await?;
    d.plain(("GET", "/api/stream", "?since=x"), &[], 400).await?;
    let id = made["id"].as_str().ok_or("no id")?;
    d.plain(("DELETE", "/api/tokens/{id}", ""), &[id], 204).await?;
    d.plain(("DELETE", "/api/tokens/{id}", ""), &[id], 404).await
}

async fn operators_and_reports(d: &mut Driver) -> TestResult {
    d.plain(("GET", "/api/reports/captures", "?bucket=minute&by=rule"), &[], 200).await?;
    d.plain(("GET", "/api/reports/captures", "?by=status"), &[], 200).await?;
    d.plain(("GET", "/api/reports/captures", "?bucket=year"), &[], 400).await?;
    d.plain(("GET", "/api/reports/endpoints", "?top=1"), &[], 200).await?;
    d.plain(("GET", "/api/reports/endpoints", "?top=0"), &[], 400).await?;
    d.plain(("GET", "/api/audit", ""), &[], 200).await?;
    let audit = d.ask(("GET", "/api/audit", "?limit=2"), &[], "", "", 200).await?.json()?;
    let next = format!("?cursor={}", at(&audit, "/next")?.as_str().ok_or("no next page")?);
    d.plain(("GET", "/api/audit", &next), &[], 200).await?;
    d.plain(("GET", "/api/audit", "?cursor=x"), &[], 400).await?;
    for path in ["/api/nodes", "/api/settings", "/metrics"] {
        d.plain(("GET", path, ""), &[], 200).await?;
        d.ask(("GET", path, ""), &[], "Authorization: Bearer wrong\r\n", "", 401).await?;
    }
    for path in ["/healthz", "/readyz"] {
        d.plain(("GET", path, ""), &[], 200).await?;
    }
    for path in ["/api/openapi.json", "/api/docs"] {
        d.plain(("GET", path, ""), &[], 200).await?;
        d.plain(("GET", path, "?x=1"), &[], 400).await?;
    }
    for file in ["docs.js", "swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"] {
        d.plain(("GET", "/api/docs/{file}", ""), &[file], 200).await?;
    }
    d.plain(("GET", "/api/docs/{file}", ""), &["index.html"], 404).await
}

/// Captures, removals and configuration changes, as they come.
pub async fn check_messages_of_the_stream() -> TestResult {
    let node = Node::builder().setting("stream.heartbeat_ms", 200).start().await?;
    let document = Document::read()?;
    let id = node.post("/r/a?x", "x".repeat(100_000)).await?;
    node.request("DELETE", &format!("/api/captures/{id}"), "").await?;
    node.request("DELETE", "/api/endpoints/a/captures", "").await?;
    node.request("PUT", "/api/endpoints/a", "").await?;
    node.request("DELETE", "/api/endpoints/a", "").await?;
    node.http().put(node.url("/api/scenarios/cart")).body("{\"state\":\"full\"}").send().await?;
    node.post("/r/b", "x").await?;
    let mut subscriber =
        Subscriber::open(Framing::WebSocket, &node.address(), "since=earliest&body=preview").await?;
    let wanted = ["ready", "removal", "configuration", "capture", "heartbeat"];
    let mut seen = std::collections::BTreeSet::new();
    while !wanted.iter().all(|kind| seen.contains(*kind)) {
        let message = tokio::time::timeout(Duration::from_secs(10), subscriber.next()).await??;
        let message = message.ok_or("the stream has ended")?;
        document.check_value("StreamMessage", &message)?;
        seen.insert(message["type"].as_str().unwrap_or_default().to_owned());
    }
    Ok(())
}
