//! A thousand waits at once on one node.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Wait, outcome, waiters};
use crate::harness::client::Load;
use crate::harness::node::Node;
use crate::harness::servers::{shared_postgres, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
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
    let sent = load.stop().await.acknowledged.len();
    println!("{sent} captures took {:?} of {:?}", node.cpu_time()? - before, began.elapsed());
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
