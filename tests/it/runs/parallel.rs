//! Runs that go on at once never meet.

use std::sync::Arc;

use futures_util::future::try_join_all;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{LIMIT, Run, counted, open, post};
use crate::harness::client::{Framing, Subscriber, captures};
use crate::harness::node::Node;
use crate::harness::servers::{shared_postgres, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, trials};
use crate::tokens::{ask, get_json, guarded};

pub fn trials() -> Vec<Trial> {
    trials! { Needs::POSTGRES | Needs::REDIS => two_hundred_runs_at_once_see_only_their_own }
}

const RUNS: usize = 200;

/// Requests of one run that its rule answers, and one that none does.
const ANSWERED: i64 = 3;

async fn two_hundred_runs_at_once_see_only_their_own() -> TestResult {
    let database = shared_postgres().await?;
    let builder = guarded()
        .database(database.url())
        .broker(&shared_redis().await?)
        .setting("broker.topic_prefix", topic_prefix())
        // All at once is more than a small machine does in the time that one request usually has.
        .setting("database.connect_timeout_ms", 20_000)
        .setting("journal.commit_deadline_ms", 20_000);
    let (one, other) = tokio::try_join!(builder.start(), builder.start())?;
    let nodes = Arc::new([one, other]);
    // All are open before any goes on.
    let opened = try_join_all((0..RUNS).map(|number| open_one(&nodes, number))).await?;
    try_join_all(opened.iter().enumerate().map(|(number, run)| go_through(&nodes, number, run))).await?;
    Ok(())
}

async fn open_one(nodes: &[Node; 2], number: usize) -> TestResult<Run> {
    let said = format!("said by {number}");
    let order = json!({"name": format!("run {number}"), "token": true, "captures": "remove", "config": {
        "endpoints": [{"code": "shop", "labels": {"number": number.to_string()}}],
        "rules": [
            {"name": "hello", "scope": "a*", "reply": {"body": {"text": said}}},
            {"name": "silent", "priority": -1, "scope": "z", "reply": {}},
        ],
    }});
    open(&nodes[number % 2], &order).await
}

async fn go_through(nodes: &[Node; 2], number: usize, run: &Run) -> TestResult {
    let token = run.token.as_str();
    for i in 0..ANSWERED {
        let node = &nodes[usize::try_from(i)? % 2];
        let answer = post(node, &run.target(&format!("a{i}"))).await?;
        assert_eq!(answer.text(), format!("said by {number}"));
    }
    post(&nodes[number % 2], &run.target("b")).await?;
    let node = &nodes[(number + 1) % 2];

    let listed = get_json(node, token, "/api/captures?body=none&limit=500").await?;
    let listed: Vec<&Value> = listed["captures"].as_array().into_iter().flatten().collect();
    check_own(run, &listed);
    // The cursor that was told is its opener's; its own token has others.
    let query = "since=earliest&body=none";
    let mut stream = Subscriber::open_as(Framing::Ndjson, &node.address(), query, token).await?;
    let messages = stream.read_captures(usize::try_from(ANSWERED)? + 1, LIMIT).await?;
    check_own(run, &captures(&messages));
    drop(stream);
    let rules = get_json(node, token, "/api/rules").await?;
    let names: Vec<&str> =
        rules["rules"].as_array().into_iter().flatten().filter_map(|rule| rule["name"].as_str()).collect();
    assert_eq!(names, [format!("{}hello", run.prefix), format!("{}silent", run.prefix)]);
    let runs = get_json(node, token, "/api/runs").await?;
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(1), "{runs}");

    let answer = ask(node, token, "POST", &run.path("/close"), "").await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let summary = answer.json()?;
    assert_eq!((&summary["captures"]["total"], &summary["unmatched"]), (&json!(ANSWERED + 1), &json!(1)));
    let (hello, silent) = (format!("{}hello", run.prefix), format!("{}silent", run.prefix));
    assert_eq!(counted(&summary["rules"], "rule"), [(hello.as_str(), ANSWERED), (silent.as_str(), 0)]);
    Ok(())
}

fn check_own(run: &Run, captures: &[&Value]) {
    let codes: Vec<&str> = captures.iter().filter_map(|capture| capture["endpoint"].as_str()).collect();
    assert_eq!(codes.len(), usize::try_from(ANSWERED).expect("it is small") + 1, "{codes:?}");
    assert!(codes.iter().all(|code| code.starts_with(&run.prefix)), "{codes:?} of {}", run.prefix);
}
