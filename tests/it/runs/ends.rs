//! How runs end by themselves, and that they do whatever becomes of the nodes.

use std::time::Duration;

use creel::database::{Database as _, Sql};
use futures_util::future::try_join_all;
use libtest_mimic::Trial;
use serde_json::json;

use super::{LIMIT, close, closed, config, configured, database_of, open, post, summary};
use crate::harness::node::Node;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, eventually, trials};
use crate::tokens::{ROOT, get, get_json, guarded};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => a_run_expires_and_is_forgotten_on_sqlite;
        Needs::POSTGRES =>
            a_run_expires_when_the_node_that_opened_it_was_killed,
            a_closing_that_a_kill_cut_short_is_done_by_another_node,
            a_run_that_takes_long_to_close_holds_up_no_other,
            of_two_that_close_a_run_at_once_both_are_told_the_same;
    }
}

async fn a_run_expires_and_is_forgotten_on_sqlite() -> TestResult {
    let node = guarded().setting("runs.kept_s", 4).start().await?;
    let order = json!({"name": "a", "ttl_s": 1, "token": true, "captures": "remove", "config": config()});
    let run = open(&node, &order).await?;
    post(&node, &run.target("pay-1")).await?;
    let found = closed(&node, &run).await;
    assert_eq!(found["captures"]["total"], 1, "{found}");
    assert_eq!(configured(&node).await?, [] as [String; 0]);
    assert_eq!(get(&node, &run.token, "/api/captures").await?.status, 401);
    assert_eq!(get_json(&node, ROOT, "/api/captures").await?["captures"], json!([]));
    eventually(LIMIT, "it is forgotten", || async {
        get(&node, ROOT, &run.path("")).await.is_ok_and(|answer| answer.status == 404)
    })
    .await;
    node.check_running()
}

/// A metric, for whoever may see it.
async fn runs_open(node: &Node) -> Option<f64> {
    let text = get(node, ROOT, "/metrics").await.ok()?.text();
    text.lines().find_map(|line| line.strip_prefix("creel_runs_open ")?.parse().ok())
}

async fn a_run_expires_when_the_node_that_opened_it_was_killed() -> TestResult {
    let database = shared_postgres().await?;
    let builder = guarded().database(database.url());
    let (one, other) = tokio::try_join!(builder.start(), builder.start())?;
    let order = json!({"name": "a", "ttl_s": 3, "token": true, "config": config()});
    let run = open(&one, &order).await?;
    post(&one, &run.target("pay-1")).await?;
    eventually(LIMIT, "it is counted", || async { runs_open(&other).await == Some(1.0) }).await;
    one.kill9();
    assert_eq!(post(&other, &run.target("pay-2")).await?.text(), "paid", "it goes on");
    let found = closed(&other, &run).await;
    assert_eq!(found["captures"]["total"], 2, "{found}");
    assert_eq!(configured(&other).await?, [] as [String; 0]);
    assert_eq!(get(&other, &run.token, "/api/captures").await?.status, 401);
    eventually(LIMIT, "none is open", || async { runs_open(&other).await == Some(0.0) }).await;
    Ok(())
}

const ENDPOINTS: usize = 300;

async fn a_closing_that_a_kill_cut_short_is_done_by_another_node() -> TestResult {
    let database = shared_postgres().await?;
    let builder = guarded().database(database.url());
    let (one, other) = tokio::try_join!(builder.start(), builder.start())?;
    let run = open(&one, &json!({"name": "a", "captures": "remove", "config": config()})).await?;
    for chunk in (0..ENDPOINTS).collect::<Vec<_>>().chunks(20) {
        try_join_all(chunk.iter().map(async |n| post(&one, &run.target(&format!("e{n}"))).await)).await?;
    }
    let closing = async { close(&one, &run, &json!({})).await };
    let killed = async {
        eventually(LIMIT, "closing has begun", || async {
            let found = get_json(&other, ROOT, &run.path("")).await;
            found.is_ok_and(|run| run["state"] != "open")
        })
        .await;
        one.kill9();
        TestResult::Ok(())
    };
    let (answer, killed) = tokio::join!(closing, killed);
    killed?;
    assert!(answer.is_err(), "it was killed in the middle: {answer:?}");
    let found = closed(&other, &run).await;
    assert_eq!(found["captures"]["total"], ENDPOINTS);
    assert_eq!(found["captures"]["by_endpoint"].as_array().map(Vec::len), Some(ENDPOINTS));
    assert_eq!(configured(&other).await?, [] as [String; 0]);
    assert_eq!(get_json(&other, ROOT, "/api/captures").await?["captures"], json!([]));
    Ok(())
}

async fn a_run_that_takes_long_to_close_holds_up_no_other() -> TestResult {
    const EXPIRE: Sql = Sql::same("UPDATE runs SET expires_us = opened_us");
    let database = shared_postgres().await?;
    let node = guarded().database(database.url()).start().await?;
    let order = json!({"name": "a", "captures": "remove", "token": true, "config": config()});
    let (large, small) = (open(&node, &order).await?, open(&node, &order).await?);
    for chunk in (0..2 * ENDPOINTS).collect::<Vec<_>>().chunks(20) {
        try_join_all(chunk.iter().map(async |n| post(&node, &large.target(&format!("e{n}"))).await)).await?;
    }
    post(&node, &small.target("pay-1")).await?;
    database_of(database.url())?.execute(&EXPIRE, &[]).await?;
    let (after, before) = (closed(&node, &large).await, closed(&node, &small).await);
    assert_eq!(
        (&after["captures"]["total"], &before["captures"]["total"]),
        (&json!(2 * ENDPOINTS), &json!(1))
    );
    let at = [&before, &after].map(|found| found["run"]["closed"].as_str().unwrap_or_default());
    assert!(at[0] < at[1], "the large one was due first: {at:?}");
    assert_eq!(configured(&node).await?, [] as [String; 0]);
    assert_eq!(get_json(&node, ROOT, "/api/captures").await?["captures"], json!([]));
    Ok(())
}

async fn of_two_that_close_a_run_at_once_both_are_told_the_same() -> TestResult {
    let database = shared_postgres().await?;
    let builder = guarded().database(database.url());
    let (one, other) = tokio::try_join!(builder.start(), builder.start())?;
    for _ in 0..5 {
        let run = open(&one, &json!({"name": "a", "captures": "remove", "token": true, "config": config()}))
            .await?;
        try_join_all((0..20).map(async |n| post(&other, &run.target(&format!("pay-{n}"))).await)).await?;
        let nothing = json!({});
        let (here, there) = tokio::join!(close(&one, &run, &nothing), close(&other, &run, &nothing));
        let (here, there) = (here?, there?);
        assert_eq!(here["captures"]["total"], 20);
        for part in ["captures", "rules", "unmatched", "verifications"] {
            assert_eq!(here[part], there[part]);
            assert_eq!(summary(&one, &run).await?[part], here[part]);
        }
        assert_eq!(configured(&one).await?, [] as [String; 0]);
        let again = tokio::time::timeout(Duration::from_secs(5), close(&one, &run, &nothing)).await??;
        assert_eq!(again["captures"], here["captures"]);
    }
    check_problem(&get(&one, ROOT, "/api/runs/nothing").await?, 404, "unknown-run")?;
    Ok(())
}
