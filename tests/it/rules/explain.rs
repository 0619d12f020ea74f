//! Why a capture is answered as it is: every rule with its verdict, the nearest first.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{api, save, send};
use crate::harness::client::WebSocket;
use crate::harness::client::opcode::TEXT;
use crate::harness::node::Node;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, capture_id, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            every_rule_is_explained_the_nearest_first,
            rules_see_bodies_in_parts_when_they_are_explained,
            what_rules_have_no_say_in_is_told,
            an_explanation_is_bounded;
        Needs::POSTGRES => states_are_told_on_postgres;
    }
}

fn verdicts(explained: &Value) -> Vec<String> {
    let rules = explained["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    rules.iter().map(|rule| format!("{} {}", rule["name"], rule["verdict"]).replace('"', "")).collect()
}

async fn explain(node: &Node, id: &str) -> TestResult<Value> {
    node.json(&format!("/api/captures/{id}/explain")).await
}

async fn every_rule_is_explained_the_nearest_first() -> TestResult {
    explained_with_states(Node::builder().start().await?).await
}

async fn states_are_told_on_postgres() -> TestResult {
    let database = shared_postgres().await?;
    explained_with_states(Node::builder().database(database.url()).start().await?).await
}

async fn explained_with_states(node: Node) -> TestResult {
    let post = json!({"at": "method", "equals": "POST"});
    let never = json!({"at": "path", "equals": "/never"});
    let text = |text: &str| json!({"body": {"text": text}});
    save(&node, "far", json!({"match": {"all": [never, never, post]}, "reply": {}})).await?;
    save(&node, "near", json!({"match": {"all": [post, {"not": never}, never]}, "reply": {}})).await?;
    save(&node, "state", json!({"priority": 5, "scenario": {"name": "s", "requires": "B"}, "reply": {}}))
        .await?;
    save(&node, "off", json!({"priority": 9, "enabled": false, "match": never, "reply": {}})).await?;
    save(&node, "other", json!({"scope": "b", "reply": {}})).await?;
    save(&node, "wins", json!({"match": post, "reply": text("wins")})).await?;
    save(&node, "late", json!({"match": post, "reply": text("late")})).await?;
    let answer = send(&node, "POST", "/r/a?q=1", "", "").await?;
    assert_eq!(answer.text(), "wins");
    let id = capture_id(&answer)?;
    let explained = explain(&node, id).await?;
    assert_eq!(
        verdicts(&explained),
        [
            "wins answers",
            "state other_state",
            "late behind_another",
            "near no_match",
            "far no_match",
            "off disabled"
        ]
    );
    assert_eq!((&explained["capture"], &explained["under"]), (&json!(id), &json!("now")));
    assert_eq!((&explained["asked"], &explained["left_out"]), (&json!(true), &json!(0)));
    let by = |version: u32| json!({"source": "rule", "rule": "wins", "rule_version": version});
    assert_eq!(explained["now"], by(1));
    assert_eq!(explained["then"]["rule"], "wins");
    let near = &explained["rules"][3];
    assert_eq!((&near["held"], &near["leaves"]), (&json!(2), &json!(3)));
    assert_eq!(near["match"]["all"][0], json!({"holds": true, "leaf": post, "saw": ["POST"]}));
    assert_eq!(near["match"]["all"][2]["saw"], json!(["/r/a"]));
    let scenario = json!({"name": "s", "requires": "B", "state": "Started"});
    assert_eq!(explained["rules"][1]["scenario"], scenario);

    // Under the rules and the states of now, whatever answered then.
    api(&node, "PUT", "/api/scenarios/s", &json!({"state": "B"})).await?;
    save(&node, "wins", json!({"match": post, "reply": text("changed")})).await?;
    let explained = explain(&node, id).await?;
    assert_eq!(explained["now"]["rule"], "state");
    assert_eq!(explained["then"]["rule_version"], 1);
    assert_eq!(explained["rules"][0]["scenario"]["state"], "B");
    for name in ["state", "wins", "late"] {
        node.request("DELETE", &format!("/api/rules/{name}"), "").await?;
    }
    assert_eq!(explain(&node, id).await?["now"], json!({"source": "default"}));
    check_problem(&node.get("/api/captures/x/explain").await?, 404, "unknown-capture")?;
    Ok(())
}

async fn rules_see_bodies_in_parts_when_they_are_explained() -> TestResult {
    let node = Node::builder().start().await?;
    let id = node.post("/r/a", format!("{}end", "x".repeat(300_000))).await?;
    save(&node, "a", json!({"match": {"at": "body", "ends_with": "end"}, "reply": {}})).await?;
    let explained = explain(&node, &id).await?;
    assert_eq!(verdicts(&explained), ["a answers"]);
    let saw = explained["rules"][0]["match"]["saw"][0].as_str().ok_or("it saw nothing")?;
    assert!(saw.len() < 300, "what is shown is cut: {}", saw.len());
    Ok(())
}

async fn what_rules_have_no_say_in_is_told() -> TestResult {
    let node = Node::builder().start().await?;
    save(&node, "all", json!({"reply": {"message": {"text": "x"}}})).await?;
    save(&node, "requests", json!({"priority": 1, "reply": {}})).await?;
    let asks = "Origin: http://a\r\nAccess-Control-Request-Method: PUT\r\n";
    let preflight = node.request("OPTIONS", "/r/a", asks).await?;
    let explained = explain(&node, capture_id(&preflight)?).await?;
    assert_eq!((&explained["asked"], &explained["now"]), (&json!(false), &json!({"source": "preflight"})));
    assert_eq!(verdicts(&explained), ["requests not_asked", "all not_asked"]);
    let mut socket = WebSocket::open(&node.address(), "/r/b", "").await?;
    socket.send(TEXT, b"x").await?;
    socket.next().await?;
    let captures = node.captures_of("b", 2).await;
    for (place, expected) in
        [(0, ["requests other_kind", "all other_kind"]), (1, ["all answers", "requests other_kind"])]
    {
        let id = captures[place]["id"].as_str().ok_or("no id")?;
        assert_eq!(verdicts(&explain(&node, id).await?), expected);
    }
    Ok(())
}

async fn an_explanation_is_bounded() -> TestResult {
    let node = Node::builder().start().await?;
    let rules: Vec<Value> = (0..60).map(|i| json!({"name": format!("r{i:02}"), "reply": {}})).collect();
    assert_eq!(api(&node, "PUT", "/api/config", &json!({"rules": rules})).await?.status, 200);
    let id = node.get("/r/a").await?;
    let id = capture_id(&id)?;
    for (query, shown) in [("", 50), ("?limit=7", 7), ("?limit=1000", 60)] {
        let explained = node.json(&format!("/api/captures/{id}/explain{query}")).await?;
        assert_eq!((verdicts(&explained).len(), &explained["left_out"]), (shown, &json!(60 - shown)));
    }
    for query in ["?limit=0", "?limit=1001", "?cursor=x"] {
        let answer = node.get(&format!("/api/captures/{id}/explain{query}")).await?;
        check_problem(&answer, 400, "invalid-parameter")?;
    }
    Ok(())
}
