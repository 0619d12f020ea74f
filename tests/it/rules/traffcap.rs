//! Rules of traffcap: they are taken over, and answer as they did there.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{api, save, send};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            rules_of_traffcap_answer_here,
            an_import_is_made_whole_or_not_at_all,
            a_rule_may_be_called_import_or_try;
    }
}

const IMPORT: &str = "/api/rules/import?format=traffcap";

/// A rule there: one leaf under the root, and its template.
fn rule(name: &str, priority: i64, leaf: Value) -> Value {
    let root = json!({"id": 1, "parent_id": null, "match_type": "RootRule", "key": null, "pattern": "",
        "invert": false});
    let mut leaf = leaf;
    leaf["id"] = 2.into();
    leaf["parent_id"] = 1.into();
    json!({"name": name, "priority": priority, "content_type": "text/x-it", "template": name,
        "matches": [root, leaf]})
}

async fn rules_of_traffcap_answer_here() -> TestResult {
    let node = Node::builder().start().await?;
    let rules = json!([
        rule("port", 1, json!({"match_type": "PortRule", "pattern": "^None$"})),
        rule("header", 2, json!({"match_type": "HeaderKeyValueRule", "key": "x-id", "pattern": "^b$"})),
        rule("query", 3, json!({"match_type": "QueryParamKeyValue", "key": "x", "pattern": "^2$"})),
        rule("path", 4, json!({"match_type": "Endpoint", "pattern": "a/b c$"})),
        rule("domain", 5, json!({"match_type": "DomainNameRule", "pattern": "^a$", "invert": true})),
        rule("body", 6, json!({"match_type": "BodyRule", "pattern": r"^\w+$"})),
    ]);
    let answer = api(&node, "POST", IMPORT, &rules).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let made = answer.json()?;
    assert_eq!((&made["dry_run"], &made["unchanged"]), (&json!(false), &json!(0)));
    assert_eq!(
        made["rules"][0]["match"],
        json!({"at": "host_port", "matches": "^None(?:\\n?\\z)", "default": "None"})
    );
    assert_eq!(node.json("/api/rules/query").await?["priority"], -3);
    // The lower number is first; the second value of a header is not looked at, nor the first of a parameter.
    for (target, host, headers, body, expected) in [
        ("/r/a", "a", "", "x", "port"),
        ("/r/a", "a:80", "X-Id: b\r\nX-Id: a\r\n", "x", "header"),
        ("/r/a?x=1&x=2", "a:80", "X-Id: a\r\nX-Id: b\r\n", "x", "query"),
        ("/r/a/b%20c?x=2&x=1", "a:80", "", "x", "path"),
        ("/r/a", "A.b:80", "", "x", "domain"),
        ("/r/a", "A:80", "", "word\n", "body"),
    ] {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        let answer = node.exchange(format!("{head}{body}")).await?;
        assert_eq!(answer.text(), expected, "{target} {host} {headers}");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/x-it")));
    }
    let again = api(&node, "POST", IMPORT, &rules).await?.json()?;
    assert_eq!((&again["changes"], &again["unchanged"]), (&json!([]), &json!(6)), "it is idempotent");
    Ok(())
}

async fn an_import_is_made_whole_or_not_at_all() -> TestResult {
    let node = Node::builder().start().await?;
    let good = rule("good", 1, json!({"match_type": "Method", "pattern": "POST"}));
    let dry = api(&node, "POST", &format!("{IMPORT}&dry_run=true"), &good).await?;
    assert_eq!((dry.status, &dry.json()?["rules"][0]["name"]), (200, &json!("good")));
    for (wrong, why) in [
        (
            json!({"match_type": "Body", "pattern": "(?<=a)b"}),
            "/1/matches/1/pattern: the pattern is wrong at character 1: look-around",
        ),
        (json!({"match_type": "Cookie", "pattern": ""}), "/1/matches/1/match_type: "),
    ] {
        let rules = json!([good, rule("wrong", 1, wrong)]);
        let problem = check_problem(&api(&node, "POST", IMPORT, &rules).await?, 400, "invalid-rule")?;
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.starts_with(why)), "{problem}");
    }
    let twice = api(&node, "POST", IMPORT, &json!([good, good])).await?;
    check_problem(&twice, 400, "invalid-rule")?;
    check_problem(&node.get("/api/rules/good").await?, 404, "unknown-rule")?;
    for target in
        ["/api/rules/import", "/api/rules/import?format=other", "/api/rules/import?format=traffcap&x="]
    {
        check_problem(&api(&node, "POST", target, &good).await?, 400, "invalid-parameter")?;
    }
    Ok(())
}

async fn a_rule_may_be_called_import_or_try() -> TestResult {
    let node = Node::builder().start().await?;
    for name in ["import", "try"] {
        save(&node, name, json!({"reply": {"body": {"text": name}}})).await?;
        assert_eq!(node.json(&format!("/api/rules/{name}")).await?["name"], name);
        assert_eq!(send(&node, "POST", "/r/a", "", "").await?.text(), name);
        assert_eq!(node.request("DELETE", &format!("/api/rules/{name}"), "").await?.status, 204);
    }
    Ok(())
}
