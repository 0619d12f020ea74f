//! What is asked in a run is about the run, and is told in its summary.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Run, close, open, post};
use crate::harness::node::Node;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, trials};
use crate::tokens::{ROOT, ask, get, guarded, make};

pub fn trials() -> Vec<Trial> {
    trials! { Needs::POSTGRES => a_wait_in_a_run_is_about_it_and_is_told_in_its_summary }
}

/// Waits in a run, with whatever else is asked.
async fn wait(node: &Node, secret: &str, run: &Run, asked: Value) -> TestResult<Value> {
    let mut order = asked;
    order["run"] = run.id.as_str().into();
    let answer = ask(node, secret, "POST", "/api/captures/wait", &order.to_string()).await?;
    match answer.status {
        200 => answer.json(),
        status => Err(format!("{status} {}", answer.text()).into()),
    }
}

async fn a_wait_in_a_run_is_about_it_and_is_told_in_its_summary() -> TestResult {
    let database = shared_postgres().await?;
    let builder = guarded().database(database.url());
    let (one, other) = tokio::try_join!(builder.start(), builder.start())?;
    let order = json!({"name": "a", "token": true});
    let (run, stranger) = (open(&one, &order).await?, open(&one, &order).await?);
    // Before it is asked, behind the run's beginning; and what is not the run's.
    for target in ["/r/pay", &stranger.target("pay"), &run.target("pay"), &run.target("shop")] {
        post(&one, target).await?;
    }
    for secret in [ROOT, &run.token] {
        let found = wait(&other, secret, &run, json!({"endpoint": "pay", "name": "paid"})).await?;
        assert_eq!((&found["outcome"], &found["count"]), (&json!("satisfied"), &json!(1)), "{found}");
        assert_eq!(found["captures"][0]["endpoint"], format!("{}pay", run.prefix));
    }
    let all = json!({"count": {"exactly": 2}, "timeout_ms": 300});
    assert_eq!(wait(&other, ROOT, &run, all).await?["outcome"], "satisfied");
    let late = json!({"endpoint": "pa*", "count": 2, "timeout_ms": 100, "name": "paid twice"});
    assert_eq!(wait(&other, ROOT, &run, late).await?["outcome"], "timeout");

    let foreign = json!({"run": run.id, "count": 1}).to_string();
    for secret in [&stranger.token, &make(&one, "read", Some("ci-*")).await?.secret] {
        let answer = ask(&other, secret, "POST", "/api/captures/wait", &foreign).await?;
        check_problem(&answer, 404, "unknown-run")?;
    }
    let asked = close(&one, &run, &json!({"captures": "remove"})).await?["verifications"].take();
    assert_eq!((&asked["made"], &asked["passed"], &asked["failed"]), (&json!(4), &json!(3), &json!(1)));
    let list = asked["list"].as_array().ok_or("no list")?;
    let names: Vec<_> = list.iter().map(|asked| (&asked["name"], &asked["outcome"])).collect();
    let expected = [("paid", "passed"), ("paid", "passed"), ("", "passed"), ("paid twice", "failed")];
    let expected = expected.map(|(name, outcome)| (json!(name), json!(outcome)));
    assert!(names.iter().zip(&expected).all(|(found, wanted)| *found == (&wanted.0, &wanted.1)), "{asked}");
    assert!(list[3]["took_ms"].as_i64() >= Some(100) && list[3]["why"].is_string(), "{asked}");
    let xml = get(&other, ROOT, &run.path("/summary?format=junit")).await?.text();
    let document = roxmltree::Document::parse(&xml)?;
    assert_eq!(document.descendants().filter(|node| node.has_tag_name("testcase")).count(), 4);
    assert_eq!(document.descendants().filter(|node| node.has_tag_name("failure")).count(), 1);
    // A run that is closed can be asked about still, and comes to nothing else.
    wait(&one, ROOT, &run, json!({"count": {"at_most": 0}, "timeout_ms": 50})).await?;
    assert_eq!(super::summary(&one, &run).await?["verifications"], asked);
    Ok(())
}
