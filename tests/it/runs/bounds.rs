//! What cannot be a run is refused, and leaves nothing.

use futures_util::future::join_all;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{close, config, configured, open, post};
use crate::harness::node::Node;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, trials};
use crate::tokens::{ROOT, ask, get, get_json, guarded};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            what_is_wrong_with_an_order_is_said_with_its_place,
            hostile_names_are_names,
            a_run_with_more_items_than_there_may_be_is_refused_before_they_are_read,
            a_run_that_cannot_be_whole_is_not_there_at_all;
        Needs::POSTGRES => no_more_runs_are_open_than_may_be;
    }
}

async fn refused(node: &Node, order: &str) -> TestResult<crate::harness::client::Response> {
    ask(node, ROOT, "POST", "/api/runs", order).await
}

async fn check_nothing_is_left(node: &Node) -> TestResult {
    assert_eq!(get_json(node, ROOT, "/api/runs").await?["runs"], json!([]));
    assert_eq!(configured(node).await?, [] as [String; 0]);
    let tokens = get_json(node, ROOT, "/api/tokens").await?;
    let live = tokens["tokens"].as_array().into_iter().flatten().filter(|token| token["revoked"].is_null());
    assert_eq!(live.count(), 0, "{tokens}");
    Ok(())
}

async fn what_is_wrong_with_an_order_is_said_with_its_place() -> TestResult {
    let node = guarded().setting("runs.config_bytes_max", 300_000).start().await?;
    for (order, kind, said) in [
        ("", "bad-request", "this is no JSON"),
        ("[]", "bad-request", "an object is expected"),
        ("{}", "bad-request", "/name: this is missing"),
        ("{\"name\":\"\\u0000\"}", "bad-request", "NUL"),
        ("{\"name\":\"a\",\"ttl_s\":604801}", "bad-request", "/ttl_s"),
        ("{\"name\":\"a\",\"labels\":[1]}", "bad-request", "/labels"),
        ("{\"name\":\"a\",\"captures\":\"burn\"}", "bad-request", "/captures"),
        ("{\"name\":\"a\",\"more\":1}", "bad-request", "/more"),
        ("{\"name\":\"a\",\"config\":[]}", "invalid-configuration", "/config"),
        ("{\"name\":\"a\",\"config\":{\"rules\":[{}]}}", "invalid-configuration", "/config/rules/0/name"),
        (
            "{\"name\":\"a\",\"config\":{\"rules\":[{\"name\":\"a\",\"reply\":{\"status\":99}}]}}",
            "invalid-configuration",
            "/config/rules/0/reply/status",
        ),
    ] {
        let problem = check_problem(&refused(&node, order).await?, 400, kind)?;
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{order}: {problem}");
    }
    let large = json!({"name": "a", "config": {"x": "x".repeat(300_000)}}).to_string();
    check_problem(&refused(&node, &large).await?, 413, "body-too-large")?;
    for query in ["?limit=0", "?state=lost", "?x=1"] {
        let answer = get(&node, ROOT, &format!("/api/runs{query}")).await?;
        check_problem(&answer, 400, "invalid-parameter")?;
    }
    let run = open(&node, &json!({"name": "a"})).await?;
    let answer = get(&node, ROOT, &run.path("/summary?format=pdf")).await?;
    check_problem(&answer, 400, "invalid-parameter")?;
    let answer = ask(&node, ROOT, "POST", &run.path("/close"), "{\"captures\":\"burn\"}").await?;
    check_problem(&answer, 400, "bad-request")?;
    for id in ["%00", "%ff", "%27%20OR%201=1", &"x".repeat(5_000)] {
        let answer = get(&node, ROOT, &format!("/api/runs/{id}")).await?;
        assert!([400, 404].contains(&answer.status), "{id}: {} {}", answer.status, answer.text());
    }
    ask(&node, ROOT, "DELETE", &run.path(""), "").await?;
    check_nothing_is_left(&node).await
}

/// What SQL, patterns, URLs and XML take for something else.
const HOSTILE: [&str; 6] = ["a'); DROP TABLE runs; --", "%_!", "*\\*", "a b/c", "<&>\"", "\u{202e}🦀ä"];

async fn hostile_names_are_names() -> TestResult {
    let node = guarded().start().await?;
    // A pattern whose own letters are wildcards elsewhere.
    let order = json!({"name": "odd", "scope": "write", "pattern": "%_\\*\\\\[x]-*"}).to_string();
    let odd = ask(&node, ROOT, "POST", "/api/tokens", &order).await?.json()?;
    let odd = odd["token"].as_str().ok_or("no token")?.to_owned();
    for name in HOSTILE {
        for secret in [ROOT, odd.as_str()] {
            let rule = json!({"name": name, "reply": {"body": {"text": "own"}}});
            let order = json!({"name": name, "labels": {name: name}, "token": true, "config": {
                "rules": [rule], "endpoints": [{"code": name}]}});
            let run = super::open_by(&node, secret, &order).await?;
            assert_eq!((&run.told["name"], &run.told["labels"][name]), (&json!(name), &json!(name)));
            let url = run.told["url_prefix"].as_str().ok_or("no URL")?;
            let path = url.strip_prefix(&node.url("")).ok_or("another host")?;
            let code = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
            assert_eq!(post(&node, &format!("{path}{code}")).await?.text(), "own");
            let shown = get_json(&node, &run.token, "/api/captures").await?;
            assert_eq!(shown["captures"][0]["endpoint"], format!("{}{name}", run.prefix));
            assert_eq!(get_json(&node, &run.token, "/api/runs").await?["runs"][0]["id"], run.id.as_str());
            let summary = close(&node, &run, &json!({"captures": "remove"})).await?;
            assert_eq!(summary["captures"]["by_endpoint"][0]["endpoint"], format!("{}{name}", run.prefix));
            assert_eq!((&summary["rules"][0]["captures"], &summary["unmatched"]), (&json!(1), &json!(0)));
            let xml = get(&node, ROOT, &run.path("/summary?format=junit")).await?.text();
            let document = roxmltree::Document::parse(&xml)?;
            assert_eq!(document.root_element().attribute("name"), Some(name));
        }
    }
    assert_eq!(configured(&node).await?, [] as [String; 0]);
    node.check_running()
}

async fn a_run_that_cannot_be_whole_is_not_there_at_all() -> TestResult {
    let node = guarded().setting("rules.rules_max", 3).setting("rules.endpoints_max", 2).start().await?;
    open(&node, &json!({"name": "full", "config": config()})).await?;
    let full = get_json(&node, ROOT, "/api/runs").await?;
    let order = json!({"name": "a", "token": true, "config": config()});
    let answer = refused(&node, &order.to_string()).await?;
    check_problem(&answer, 507, "storage-full")?;
    assert_eq!(get_json(&node, ROOT, "/api/runs").await?, full);
    assert_eq!(configured(&node).await?.len(), 4);
    Ok(())
}

async fn a_run_with_more_items_than_there_may_be_is_refused_before_they_are_read() -> TestResult {
    let node = guarded().setting("rules.rules_max", 100).start().await?;
    let order = |items: usize| json!({"name": "a", "config": {"rules": vec![json!({}); items]}}).to_string();
    check_problem(&refused(&node, &order(101)).await?, 507, "storage-full")?;
    check_problem(&refused(&node, &order(100)).await?, 400, "invalid-configuration")?;
    // A document of the largest size that there is by default takes no memory to speak of.
    check_problem(&refused(&node, &order(300_000)).await?, 507, "storage-full")?;
    check_problem(&refused(&node, &order(350_000)).await?, 413, "body-too-large")?;
    check_nothing_is_left(&node).await
}

async fn no_more_runs_are_open_than_may_be() -> TestResult {
    let database = shared_postgres().await?;
    let builder = guarded().database(database.url()).setting("runs.open_max", 5);
    let nodes = tokio::try_join!(builder.start(), builder.start())?;
    let order = json!({"name": "a", "token": true}).to_string();
    let answers = join_all((0..20).map(async |n| {
        let node = if n % 2 == 0 { &nodes.0 } else { &nodes.1 };
        refused(node, &order).await
    }))
    .await;
    let mut opened = Vec::<Value>::new();
    for answer in answers {
        match answer? {
            answer if answer.status == 201 => opened.push(answer.json()?),
            answer => drop(check_problem(&answer, 507, "storage-full")?),
        }
    }
    assert_eq!(opened.len(), 5);
    let first = opened[0]["id"].as_str().ok_or("no id")?;
    assert_eq!(ask(&nodes.1, ROOT, "DELETE", &format!("/api/runs/{first}"), "").await?.status, 204);
    assert_eq!(refused(&nodes.0, &order).await?.status, 201, "there is room again");
    // Pages, the newest first.
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get_json(&nodes.1, ROOT, &format!("/api/runs?limit=2{cursor}")).await?;
        let runs = page["runs"].as_array().ok_or("no runs")?;
        ids.extend(runs.iter().filter_map(|run| run["id"].as_str().map(str::to_owned)));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(ids.len(), 5);
    assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
    Ok(())
}
