//! Many waits at once on one node.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Wait, outcome, waiters};
use crate::harness::client::Load;
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::{shared_postgres, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, trials};
use crate::inquiry::bounds::fill;

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => waits_do_not_stand_behind_what_others_caught_on_sqlite;
        Needs::POSTGRES => waits_do_not_stand_behind_what_others_caught_on_postgres;
        Needs::POSTGRES | Needs::REDIS => a_thousand_wait_on_one_node_and_each_gets_its_own;
        Needs::POSTGRES => a_thousand_whose_time_is_over_at_once_ask_the_database_little;
    }
}

const WAITS: usize = 1_000;

async fn a_thousand_wait_on_one_node_and_each_gets_its_own() -> TestResult {
    let database = shared_postgres().await?;
    let builder = Node::builder()
        .database(database.url())
        .broker(&shared_redis().await?)
        .setting("broker.topic_prefix", topic_prefix());
    let (node, other) = tokio::try_join!(builder.start(), builder.start())?;
    let mut waits = JoinSet::new();
    for number in 0..WAITS {
        let order = json!({"endpoint": format!("run-{number}-*"), "since": "now", "timeout_ms": 120_000,
            "match": format!("method=POST json.$.number={number}"), "count": 2});
        let waiting = Wait::begin(&node, &order).await?;
        waits.spawn(async move { (number, waiting.answer().await) });
    }
    waiters(&node, 1_000.0).await;
    // What concerns none of them.
    let before = node.cpu_time()?;
    let began = Instant::now();
    let load = Load::start(4, &[other.address()], "/r/load");
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.stop().await;
    let (took, of) = (node.cpu_time()? - before, began.elapsed());
    assert!(took < of / 2, "it took {took:?} of {of:?} though there was nothing for anybody");
    for round in 0..2 {
        for number in 0..WAITS {
            let node = if number % 2 == 0 { &node } else { &other };
            node.post(&format!("/r/run-{number}-{round}"), json!({"number": number}).to_string()).await?;
        }
    }
    while let Some(ended) = waits.join_next().await {
        let (number, answer) = ended?;
        assert_eq!(outcome(&answer?), ("satisfied", 2), "{number}");
    }
    waiters(&node, 0.0).await;
    node.check_unharmed().await
}

async fn a_thousand_whose_time_is_over_at_once_ask_the_database_little() -> TestResult {
    let database = shared_postgres().await?;
    let node = Node::builder().database(database.url()).start().await?;
    let order = json!({"since": "now", "timeout_ms": 8_000, "count": {"exactly": 0}});
    let mut waits = JoinSet::new();
    for _ in 0..WAITS {
        waits.spawn(Wait::begin(&node, &order).await?.answer());
    }
    let mut slowest = 0;
    while let Some(answer) = waits.join_next().await {
        let answer = answer??;
        assert_eq!(outcome(&answer), ("satisfied", 0));
        slowest = slowest.max(answer["took_ms"].as_u64().ok_or("no time")?);
    }
    assert!((8_000..9_000).contains(&slowest), "{slowest}");
    Ok(())
}

async fn waits_do_not_stand_behind_what_others_caught_on_sqlite() -> TestResult {
    waits_do_not_stand_behind_what_others_caught(Node::builder()).await
}

async fn waits_do_not_stand_behind_what_others_caught_on_postgres() -> TestResult {
    let database = shared_postgres().await?;
    waits_do_not_stand_behind_what_others_caught(Node::builder().database(database.url())).await
}

/// Who went through all of the journal for its own, an entry a page, would never come to the end.
async fn waits_do_not_stand_behind_what_others_caught(builder: NodeBuilder) -> TestResult {
    const NOISE: usize = 1_500;
    let node = builder.setting("feed.ring_events_max", 1).setting("feed.catch_up_page", 1).start().await?;
    let mut waits = JoinSet::new();
    for round in 0..3 {
        node.post("/r/run-7-a", round.to_string()).await?;
        node.post("/r/run-7-b", round.to_string()).await?;
        fill(&node, NOISE).await?;
    }
    for (endpoint, expected) in [
        (json!("run-7-a"), 3),
        (json!("run-7-*"), 6),
        (json!("*-b"), 3),
        (json!(["run-7-a", "run-7-b"]), 6),
        (json!(["run-7-a", "run-8-*"]), 3),
    ] {
        for _ in 0..8 {
            let order = json!({"endpoint": endpoint, "since": "earliest", "count": {"exactly": expected},
                "timeout_ms": 0});
            waits.spawn(Wait::begin(&node, &order).await?.answer());
        }
    }
    while let Some(answer) = waits.join_next().await {
        let answer = answer??;
        assert_eq!(answer["outcome"], "satisfied", "{answer}");
    }
    Ok(())
}
