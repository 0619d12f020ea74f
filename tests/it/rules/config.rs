//! Endpoints and rules as one document.

use futures_util::future::try_join_all;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{api, save, send};
use crate::harness::node::Node;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            what_is_exported_can_be_applied_again,
            it_is_exported_as_its_reader_prefers,
            a_dry_run_tells_the_difference_and_does_nothing,
            pruning_removes_what_the_document_lacks,
            a_document_is_applied_whole_or_not_at_all,
            what_is_wrong_with_a_document_is_said_with_its_place,
            there_may_be_so_many_and_no_more;
        Needs::POSTGRES => documents_that_are_applied_at_once_do_not_mix;
    }
}

fn document() -> Value {
    json!({
        "endpoints": [
            {"code": "shop", "name": "Shop", "labels": {"team": "a"}},
            {"code": "pay", "access": {"header": {"name": "X-Key", "secret": "my-secret"}}},
        ],
        "rules": [
            {"name": "first", "reply": {"body": {"text": "first"}}},
            {"name": "a second", "reply": {"body": "{{request.method}}\n", "status": 201}},
        ],
    })
}

async fn put(node: &Node, query: &str, document: &Value) -> TestResult<Value> {
    let answer = api(node, "PUT", &format!("/api/config{query}"), document).await?;
    match answer.status {
        200 => answer.json(),
        other => Err(format!("{other} {}", answer.text()).into()),
    }
}

fn changes(answer: &Value) -> Vec<String> {
    let changes = answer["changes"].as_array().cloned().unwrap_or_default();
    let text = |change: &Value, key: &str| change[key].as_str().unwrap_or_default().to_owned();
    changes.iter().map(|c| format!("{} {} {}", text(c, "kind"), text(c, "name"), text(c, "change"))).collect()
}

async fn it_is_exported_as_its_reader_prefers() -> TestResult {
    let node = Node::builder().start().await?;
    put(&node, "", &document()).await?;
    let (json, yaml) = ("application/json", "application/yaml");
    for (headers, expected) in [
        ("", json),
        ("Accept: */*\r\n", json),
        ("Accept: application/yaml\r\n", yaml),
        ("Accept: application/yaml, application/json;q=0.5\r\n", yaml),
        ("Accept: text/html, application/*;q=0.9, text/yaml\r\n", yaml),
        ("Accept: application/json\r\nAccept: application/yaml;q=0.5\r\n", json),
    ] {
        let answer = node.request("GET", "/api/config", headers).await?;
        assert_eq!(answer.header("content-type"), Some(expected), "{headers}");
        let vary = answer.header("vary").unwrap_or_default().to_ascii_lowercase();
        assert!(vary.split(',').any(|name| name.trim() == "accept"), "{headers}: {vary}");
    }
    let asked = node.request("GET", "/api/config?format=json", "Accept: application/yaml\r\n").await?;
    assert_eq!(asked.header("content-type"), Some(json));
    Ok(())
}

async fn what_is_exported_can_be_applied_again() -> TestResult {
    let node = Node::builder().start().await?;
    let applied = put(&node, "", &document()).await?;
    let all =
        ["endpoint shop created", "endpoint pay created", "rule first created", "rule a second created"];
    assert_eq!((changes(&applied), &applied["dry_run"]), (all.map(str::to_owned).to_vec(), &json!(false)));
    assert_eq!(
        send(&node, "POST", "/r/shop", "", "").await?.text(),
        "first",
        "the first of a document is the older"
    );
    let export = node.get("/api/config").await?;
    assert_eq!(export.header("content-type"), Some("application/json"));
    assert!(!export.text().contains("my-secret"));
    let again = put(&node, "?prune=true", &export.json()?).await?;
    assert_eq!((changes(&again), &again["unchanged"]), (Vec::new(), &json!(4)));
    // On another node, from YAML.
    for (query, headers) in [("?format=yaml", ""), ("", "Accept: application/yaml\r\n")] {
        let yaml = node.request("GET", &format!("/api/config{query}"), headers).await?;
        assert_eq!(yaml.header("content-type"), Some("application/yaml"));
        let other = Node::builder().start().await?;
        let (host, length) = (other.address(), yaml.body.len());
        let head = format!(
            "PUT /api/config HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/yaml\r\nContent-Length: {length}\r\n\r\n"
        );
        let taken = other.exchange([head.as_bytes(), &yaml.body].concat()).await?;
        assert_eq!(taken.status, 200, "{}\n{}", taken.text(), yaml.text());
        assert_eq!(other.json("/api/config").await?, export.json()?);
        assert_eq!(send(&other, "POST", "/r/pay", "X-Key: my-secret\r\n", "").await?.text(), "first");
    }
    Ok(())
}

async fn a_dry_run_tells_the_difference_and_does_nothing() -> TestResult {
    let node = Node::builder().start().await?;
    put(&node, "", &document()).await?;
    let before = node.json("/api/config").await?;
    let mut changed = document();
    changed["rules"][0]["priority"] = json!(7);
    changed["rules"][1]["name"] = json!("third");
    changed["endpoints"] = json!([]);
    let told = put(&node, "?dry_run=true&prune=true", &changed).await?;
    let mut expected = vec!["rule first changed", "rule third created", "endpoint pay removed"];
    expected.extend(["endpoint shop removed", "rule a second removed"]);
    assert_eq!(
        (changes(&told), &told["dry_run"]),
        (expected.iter().map(|e| (*e).to_owned()).collect(), &json!(true))
    );
    let first = &told["changes"][0];
    assert_eq!((&first["before"]["priority"], &first["after"]["priority"]), (&Value::Null, &json!(7)));
    assert_eq!(told["changes"][2]["after"], Value::Null);
    assert_eq!(node.json("/api/config").await?, before);
    Ok(())
}

async fn pruning_removes_what_the_document_lacks() -> TestResult {
    let node = Node::builder().start().await?;
    put(&node, "", &document()).await?;
    save(&node, "other", json!({"priority": 9, "reply": {"body": {"text": "other"}}})).await?;
    assert_eq!(changes(&put(&node, "", &document()).await?), [] as [String; 0]);
    assert_eq!(send(&node, "POST", "/r/shop", "", "").await?.text(), "other", "what is not named stays");
    assert_eq!(changes(&put(&node, "?prune=true", &document()).await?), ["rule other removed"]);
    assert_eq!(send(&node, "POST", "/r/shop", "", "").await?.text(), "first");
    assert_eq!(changes(&put(&node, "?prune=true", &json!({})).await?).len(), 4);
    assert_eq!(node.json("/api/config").await?, json!({"endpoints": [], "rules": []}));
    Ok(())
}

async fn a_document_is_applied_whole_or_not_at_all() -> TestResult {
    let node = Node::builder().start().await?;
    let mut broken = document();
    broken["rules"][1]["reply"]["status"] = json!(99);
    let refused = api(&node, "PUT", "/api/config", &broken).await?;
    check_problem(&refused, 400, "invalid-configuration")?;
    assert_eq!(node.json("/api/config").await?, json!({"endpoints": [], "rules": []}));
    Ok(())
}

async fn what_is_wrong_with_a_document_is_said_with_its_place() -> TestResult {
    let node = Node::builder().start().await?;
    for (document, why) in [
        (json!([]), "an object is expected"),
        (json!({"rule": []}), "/rule: this is not known here"),
        (json!({"rules": {}}), "/rules: a list is expected"),
        (json!({"rules": [{"reply": {}}]}), "/rules/0/name: this is missing"),
        (
            json!({"rules": [{"name": "a", "reply": {}}, {"name": "a", "reply": {}}]}),
            "/rules/1/name: `a` stands twice",
        ),
        (json!({"rules": [{"name": "a", "reply": {"fault": "x"}}]}), "/rules/0/reply/fault: "),
        (json!({"endpoints": [{"code": ""}]}), "/endpoints/0/code: "),
        (json!({"endpoints": [{"code": "a", "labels": []}]}), "/endpoints/0/labels: "),
        (json!({"rules": [{"name": "a", "description": "\u{0}", "reply": {}}]}), "NUL"),
    ] {
        let answer = api(&node, "PUT", "/api/config", &document).await?;
        let text = answer.text();
        assert!(answer.status == 400 && text.contains(why), "{document}: {text}");
    }
    let yaml = "PUT /api/config HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\nContent-Length: 6\r\n\r\n{a: [}";
    check_problem(&node.exchange(yaml).await?, 400, "bad-request")?;
    // A few words of YAML that would be very many.
    let bomb: String = (1..30).map(|i| format!("a{i}: &a{i} [*a{0}, *a{0}]\n", i - 1)).collect();
    let bomb = format!("a0: &a0 [x, x]\n{bomb}");
    let head = format!(
        "PUT /api/config HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\nContent-Length: {}\r\n\r\n",
        bomb.len()
    );
    let refused = node.exchange([head, bomb].concat()).await?;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(node.resident_bytes_max()? < 200 << 20);
    Ok(())
}

async fn there_may_be_so_many_and_no_more() -> TestResult {
    let node =
        Node::builder().setting("rules.rules_max", 2).setting("rules.endpoints_max", 1).start().await?;
    let rule = json!({"reply": {}});
    save(&node, "a", rule.clone()).await?;
    save(&node, "b", rule.clone()).await?;
    check_problem(&api(&node, "PUT", "/api/rules/c", &rule).await?, 507, "storage-full")?;
    save(&node, "b", json!({"priority": 1, "reply": {}})).await?;
    check_problem(&api(&node, "PUT", "/api/config", &document()).await?, 507, "storage-full")?;
    let two = json!({"rules": document()["rules"].clone()});
    assert_eq!(changes(&put(&node, "?prune=true", &two).await?).len(), 4);
    Ok(())
}

async fn documents_that_are_applied_at_once_do_not_mix() -> TestResult {
    let database = shared_postgres().await?;
    let builder = Node::builder().database(database.url());
    let nodes = [builder.start().await?, builder.start().await?];
    for round in 0..8 {
        let documents = (0..6).map(|i| {
            let rules: Vec<Value> = (0..20)
                .map(|n| json!({"name": format!("rule-{n}"), "priority": round * 10 + i, "reply": {}}))
                .collect();
            json!({"rules": rules})
        });
        try_join_all(documents.enumerate().map(|(i, document)| {
            let node = &nodes[i % 2];
            async move { put(node, "", &document).await }
        }))
        .await?;
        let rules = nodes[0].json("/api/config").await?["rules"].as_array().cloned().unwrap_or_default();
        let priorities: Vec<&Value> = rules.iter().map(|rule| &rule["priority"]).collect();
        assert!(priorities.len() == 20 && priorities.iter().all(|p| *p == priorities[0]), "{priorities:?}");
    }
    Ok(())
}
