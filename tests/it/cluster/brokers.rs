//! Every node sees what any has caught, by way of the broker or without it.

use std::time::Duration;

use libtest_mimic::Trial;

use super::{CAPTURES, Cluster, PATIENCE};
use crate::harness::servers::{RabbitMq, Redis, shared_rabbitmq, shared_redis};
use crate::harness::{Needs, TestResult, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::POSTGRES | Needs::REDIS =>
            every_node_sees_every_capture_once_by_way_of_redis,
            messages_of_redis_come_before_the_gap_is_waited_for;
        Needs::POSTGRES | Needs::RABBITMQ =>
            every_node_sees_every_capture_once_by_way_of_rabbitmq,
            messages_of_rabbitmq_come_before_the_gap_is_waited_for;
        Needs::POSTGRES | Needs::OWN_REDIS => nothing_is_missing_while_redis_is_killed_and_restarted;
        Needs::POSTGRES | Needs::OWN_RABBITMQ => nothing_is_missing_while_rabbitmq_is_killed_and_restarted;
    }
}

async fn every_node_sees_every_capture_once_by_way_of_redis() -> TestResult {
    healthy(&shared_redis().await?).await
}

async fn every_node_sees_every_capture_once_by_way_of_rabbitmq() -> TestResult {
    healthy(&shared_rabbitmq().await?).await
}

async fn healthy(broker: &str) -> TestResult {
    // Two cores run two nodes, the database, the broker and the senders: a message may be late.
    let mut cluster = Cluster::start(broker, |node| node.setting("feed.gap_wait_ms", 5_000)).await?;
    let (readers, load) = (cluster.readers(), cluster.load());
    eventually(PATIENCE, "so many captures", || async { load.acknowledged() >= CAPTURES }).await;
    let sent = load.stop().await;
    assert_eq!((sent.broken, sent.refused.len()), (0, 0), "{:?}", sent.refused);
    cluster.check(readers, &sent).await?;

    let all = sent.acknowledged.len() as f64;
    let events = async |way| cluster.sum("creel_feed_events_total", &[("way", way)]).await;
    // Each capture is told once on the node that committed it, and once by the broker on the other.
    assert_eq!(events("local").await?, all);
    let by_broker = events("broker").await?;
    assert!(by_broker >= 0.99 * all, "{by_broker} of {all} came by way of the broker");
    assert_eq!((events("repair").await?, cluster.sum("creel_feed_repairs_total", &[]).await?), (0.0, 0.0));
    assert_eq!(cluster.sum("creel_panics_total", &[]).await?, 0.0);
    Ok(())
}

async fn messages_of_redis_come_before_the_gap_is_waited_for() -> TestResult {
    messages_come_before_the_gap_is_waited_for(&shared_redis().await?).await
}

async fn messages_of_rabbitmq_come_before_the_gap_is_waited_for() -> TestResult {
    messages_come_before_the_gap_is_waited_for(&shared_rabbitmq().await?).await
}

/// With the settings as they are shipped, and a load that leaves the machine room: hardly anything is fetched from the
/// database because its message was late.
async fn messages_come_before_the_gap_is_waited_for(broker: &str) -> TestResult {
    let mut cluster = Cluster::start(broker, |node| node).await?;
    let (readers, load) = (cluster.readers(), cluster.load());
    load.pause(Duration::from_millis(200));
    eventually(PATIENCE, "some captures", || async { load.acknowledged() >= CAPTURES / 10 }).await;
    let sent = load.stop().await;
    cluster.check(readers, &sent).await?;
    let events = async |way| cluster.sum("creel_feed_events_total", &[("way", way)]).await;
    let (broker, repair) = (events("broker").await?, events("repair").await?);
    assert!(repair <= 0.1 * broker, "{repair} were repaired, {broker} came by way of the broker");
    Ok(())
}

async fn nothing_is_missing_while_redis_is_killed_and_restarted() -> TestResult {
    let redis = Redis::start().await?;
    let (kill, restart) = (|| redis.kill9(), || redis.start_again());
    with_broken_broker(redis.url(), kill, restart).await
}

async fn nothing_is_missing_while_rabbitmq_is_killed_and_restarted() -> TestResult {
    let rabbitmq = RabbitMq::start().await?;
    let (kill, restart) = (|| rabbitmq.kill9(), || rabbitmq.start_again());
    with_broken_broker(rabbitmq.url(), kill, restart).await
}

async fn with_broken_broker<F: Future<Output = TestResult>>(
    broker: &str,
    kill: impl Fn(),
    restart: impl Fn() -> F,
) -> TestResult {
    let mut cluster = Cluster::start(broker, |node| node).await?;
    let (readers, load) = (cluster.readers(), cluster.load());
    let some_more = async |what: &str| {
        let so_far = load.acknowledged();
        eventually(PATIENCE, what, || async { load.acknowledged() > so_far + CAPTURES / 3 }).await;
    };
    let by_broker = async || cluster.sum("creel_feed_events_total", &[("way", "broker")]).await;
    some_more("captures with a broker").await;
    kill();
    some_more("captures without one").await;
    assert!(cluster.sum("creel_feed_events_total", &[("way", "repair")]).await? > 0.0, "it is no outage");
    // A broker's start takes what there is of two cores: the load goes on, but more slowly.
    load.pause(Duration::from_millis(100));
    let so_far = (load.acknowledged(), by_broker().await?);
    restart().await?;
    cluster.broker_is_up().await;
    assert!(load.acknowledged() > so_far.0, "nothing was caught meanwhile");
    load.pause(Duration::ZERO);
    some_more("captures with a broker again").await;
    let sent = load.stop().await;
    assert!(by_broker().await? > so_far.1, "the broker is back, and nothing comes by way of it");

    // The broker is no part of keeping: nobody was refused.
    assert_eq!((sent.broken, sent.refused.len()), (0, 0), "{:?}", sent.refused);
    cluster.check(readers, &sent).await
}
