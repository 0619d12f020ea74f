//! Subscribers that are cut off, that are slow, and whose neighbour is killed.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;

use super::{CAPTURES, Cluster, PATIENCE, SENDERS, TARGET, kept};
use crate::harness::client::{Framing, Load, Subscriber, check_stream};
use crate::harness::node::Node;
use crate::harness::proxy::Proxy;
use crate::harness::servers::{shared_rabbitmq, shared_redis};
use crate::harness::{Needs, TestResult, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::POSTGRES | Needs::REDIS =>
            a_subscriber_that_is_cut_off_at_random_misses_nothing_by_way_of_redis,
            slow_subscribers_are_fed_everything_in_bounded_memory_by_way_of_redis,
            what_a_killed_node_has_kept_is_shown_by_the_other;
        Needs::POSTGRES | Needs::RABBITMQ =>
            a_subscriber_that_is_cut_off_at_random_misses_nothing_by_way_of_rabbitmq,
            slow_subscribers_are_fed_everything_in_bounded_memory_by_way_of_rabbitmq;
    }
}

async fn a_subscriber_that_is_cut_off_at_random_misses_nothing_by_way_of_redis() -> TestResult {
    cut_off_at_random(&shared_redis().await?).await
}

async fn a_subscriber_that_is_cut_off_at_random_misses_nothing_by_way_of_rabbitmq() -> TestResult {
    cut_off_at_random(&shared_rabbitmq().await?).await
}

async fn slow_subscribers_are_fed_everything_in_bounded_memory_by_way_of_redis() -> TestResult {
    slow_subscribers(&shared_redis().await?).await
}

async fn slow_subscribers_are_fed_everything_in_bounded_memory_by_way_of_rabbitmq() -> TestResult {
    slow_subscribers(&shared_rabbitmq().await?).await
}

async fn read_up_to(subscriber: &mut Subscriber, last: i64) -> TestResult<Vec<Value>> {
    subscriber.read_until(PATIENCE, |message| message["capture"]["seq"].as_i64() == Some(last)).await
}

/// The connection is cut after a random number of bytes, in the middle of whatever is being sent; the
/// subscriber comes back with the cursor of the last message that it has read whole.
async fn cut_off_at_random(broker: &str) -> TestResult {
    // A ring that is soon outrun, so that it is resumed in and behind.
    let cluster = Cluster::start(broker, |node| node.setting("feed.ring_events_max", 300)).await?;
    let proxies =
        [Proxy::start(cluster.nodes[0].address()).await?, Proxy::start(cluster.nodes[1].address()).await?];
    let load = cluster.load();
    let mut messages: Vec<Value> = Vec::new();
    let mut cursor = "earliest".to_owned();
    let mut cuts = 0;
    while load.acknowledged() < CAPTURES || cuts < 20 {
        // On this node and on that, in one framing and in another.
        let proxy = &proxies[cuts % 2];
        let framing = Framing::ALL[cuts % 3];
        let query = format!("endpoint=a&since={cursor}");
        let mut subscriber = Subscriber::open(framing, &proxy.address().to_string(), &query).await?;
        proxy.cut_after(rand::random_range(500..1_000_000));
        let reading = async {
            while let Ok(Some(message)) = subscriber.next().await {
                messages.push(message);
            }
        };
        // Where nothing more is sent the cut may not come.
        tokio::time::timeout(Duration::from_secs(2), reading).await.ok();
        proxy.cut();
        cursor = subscriber.cursor().unwrap_or(&cursor).to_owned();
        cuts += 1;
    }
    let sent = load.stop().await;
    let last = kept(&cluster.nodes[0]).await?;
    if messages.last().is_none_or(|message| message["capture"]["seq"].as_i64() != Some(last)) {
        let query = format!("endpoint=a&since={cursor}");
        let mut subscriber =
            Subscriber::open(Framing::WebSocket, &cluster.nodes[1].address(), &query).await?;
        messages.extend(read_up_to(&mut subscriber, last).await?);
    }
    check_stream(&messages, &sent, last)
}

/// They read one in ten of what is sent while it is sent, and the rest afterwards. What is sent is more
/// than a node is let take of memory here, as it came and as it is encoded, so that it cannot be kept there
/// for them. (It may take 400 MiB; with that, as much would have to be sent.)
async fn slow_subscribers(broker: &str) -> TestResult {
    const BODY_BYTES: usize = 16 * 1024;
    const ROOM: u64 = 200 << 20;
    let mut cluster = Cluster::start(broker, |node| node).await?;
    let idle = cluster.nodes.iter().map(Node::resident_bytes).collect::<TestResult<Vec<_>>>()?;
    let load = Load::start_large(SENDERS, &cluster.addresses(), TARGET, BODY_BYTES);
    let mut read = vec![Vec::new(); cluster.subscribers.len()];
    while load.acknowledged() < CAPTURES {
        for (subscriber, messages) in cluster.subscribers.iter_mut().zip(&mut read) {
            let due = usize::try_from(load.acknowledged() / 10)?;
            let behind = due.saturating_sub(messages.len());
            messages.extend(subscriber.read_captures(behind, PATIENCE).await?);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sent = load.stop().await;
    assert_eq!((sent.broken, sent.refused.len()), (0, 0), "{:?}", sent.refused);
    let last = kept(&cluster.nodes[0]).await?;
    for (subscriber, mut messages) in cluster.subscribers.iter_mut().zip(read) {
        assert!(messages.len() < sent.acknowledged.len() / 5, "it was not slow");
        messages.extend(read_up_to(subscriber, last).await?);
        check_stream(&messages, &sent, last)?;
    }
    for (node, idle) in cluster.nodes.iter().zip(idle) {
        let grown = node.resident_bytes_max()?.saturating_sub(idle);
        assert!(grown < ROOM, "memory has grown by {} MiB", grown >> 20);
        assert!(node.metric("creel_slow_subscribers_total").await? > 0.0, "nobody fell behind the ring");
    }
    Ok(())
}

/// What it has committed and could not tell anybody any more.
async fn what_a_killed_node_has_kept_is_shown_by_the_other() -> TestResult {
    let mut cluster = Cluster::start(&shared_redis().await?, |node| node).await?;
    let load = cluster.load();
    for round in 1..=3 {
        let so_far = load.acknowledged();
        eventually(PATIENCE, "captures", || async { load.acknowledged() >= so_far + 700 }).await;
        cluster.nodes[0].kill9();
        if round < 3 {
            cluster.nodes[0].start_again().await?;
        }
    }
    let sent = load.stop().await;
    assert!(sent.broken > 0, "nobody was there when it was killed");
    let last = kept(&cluster.nodes[1]).await?;
    check_stream(&read_up_to(&mut cluster.subscribers[1], last).await?, &sent, last)
}
