//! Several nodes, one journal: every subscriber, on whichever node, sees each capture exactly once, in
//! order, with nothing missing, whatever happens to the broker or to the subscriber.

use std::collections::HashMap;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::harness::client::{
    Acknowledged, Framing, Load, Sent, Subscriber, captures, check_exactly_once_in_order, check_has_all,
};
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::{
    RabbitMq, Redis, shared_postgres, shared_rabbitmq, shared_redis, topic_prefix,
};
use crate::harness::{Needs, TestResult, eventually, trials};

const SENDERS: usize = 32;
const CAPTURES: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(90);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::POSTGRES | Needs::REDIS => every_node_sees_every_capture_once_by_way_of_redis;
        Needs::POSTGRES | Needs::RABBITMQ => every_node_sees_every_capture_once_by_way_of_rabbitmq;
        Needs::POSTGRES | Needs::OWN_REDIS => nothing_is_missing_while_redis_is_killed_and_restarted;
        Needs::POSTGRES | Needs::OWN_RABBITMQ => nothing_is_missing_while_rabbitmq_is_killed_and_restarted;
        Needs::POSTGRES | Needs::REDIS => a_subscriber_that_comes_and_goes_misses_nothing;
        Needs::POSTGRES | Needs::REDIS => a_slow_subscriber_is_fed_everything_in_bounded_memory;
        Needs::POSTGRES => three_nodes_that_start_at_once_migrate_once;
    }
}

async fn every_node_sees_every_capture_once_by_way_of_redis() -> TestResult {
    healthy(&shared_redis().await?).await
}

async fn every_node_sees_every_capture_once_by_way_of_rabbitmq() -> TestResult {
    healthy(&shared_rabbitmq().await?).await
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

/// Two nodes behind one broker, and a subscriber on each.
struct Cluster {
    nodes: Vec<Node>,
    subscribers: Vec<Subscriber>,
    _database: crate::harness::servers::TestDatabase,
}

impl Cluster {
    async fn start(broker: &str, adjust: impl Fn(NodeBuilder) -> NodeBuilder) -> TestResult<Self> {
        let database = shared_postgres().await?;
        let builder = Node::builder()
            .database(database.url())
            .broker(broker)
            .setting("broker.topic_prefix", topic_prefix())
            .setting("log.level", "warn");
        let builder = adjust(builder);
        let nodes = vec![builder.start().await?, builder.start().await?];
        for node in &nodes {
            eventually(PATIENCE, "the broker is connected", || async {
                node.metric("creel_broker_up").await.is_ok_and(|up| up == 1.0)
            })
            .await;
        }
        let mut subscribers = Vec::new();
        for node in &nodes {
            let mut subscriber = Subscriber::open(Framing::WebSocket, &node.address(), "endpoint=a").await?;
            subscriber.read_until(PATIENCE, |message| message["type"] == "ready").await?;
            subscribers.push(subscriber);
        }
        Ok(Self { nodes, subscribers, _database: database })
    }

    fn load(&self) -> Load {
        let addresses: Vec<String> = self.nodes.iter().map(Node::address).collect();
        Load::start(SENDERS, &addresses, "/r/a?x=%2F&y")
    }

    /// Every subscriber has, or gets, everything that was kept: what was acknowledged, and what was not
    /// but is in the journal.
    async fn check(&mut self, sent: &Sent) -> TestResult {
        let last = kept(&self.nodes[0]).await?;
        for subscriber in &mut self.subscribers {
            let messages = subscriber
                .read_until(PATIENCE, |message| message["capture"]["seq"].as_i64() == Some(last))
                .await?;
            check_stream(&messages, sent, last)?;
        }
        Ok(())
    }

    async fn sum(&self, metric: &str) -> TestResult<f64> {
        let mut sum = 0.0;
        for node in &self.nodes {
            sum += node.metric(metric).await?;
        }
        Ok(sum)
    }
}

/// The journal's last number, which is the number of captures: nothing else was written.
async fn kept(node: &Node) -> TestResult<i64> {
    let url = node.url("/api/captures?limit=1&body=none");
    let page: Value = node.http().get(url).send().await?.json().await?;
    page["captures"][0]["seq"].as_i64().ok_or_else(|| format!("no capture: {page}").into())
}

fn check_stream(messages: &[Value], sent: &Sent, last: i64) -> TestResult {
    check_exactly_once_in_order(messages)?;
    let captures = captures(messages);
    let seqs: Vec<i64> = captures.iter().filter_map(|capture| capture["seq"].as_i64()).collect();
    if seqs != (1..=last).collect::<Vec<_>>() {
        return Err(format!("{} captures up to {last}: there is a hole", seqs.len()).into());
    }
    check_has_all(&captures, &sent.acknowledged)?;
    check_as_sent(&captures, &sent.acknowledged)
}

fn check_as_sent(captures: &[&Value], acknowledged: &[Acknowledged]) -> TestResult {
    let by_id: HashMap<&str, &&Value> =
        captures.iter().filter_map(|capture| Some((capture["id"].as_str()?, capture))).collect();
    for sent in acknowledged {
        let capture = by_id.get(sent.capture_id.as_str()).ok_or("a capture is missing")?;
        let body = format!("{{\"sender\":{},\"number\":{}}}", sent.sender, sent.number);
        let as_sent = capture["method"] == "POST"
            && capture["target"] == "/r/a?x=%2F&y"
            && capture["body"]["content"] == body.as_str()
            && capture["headers"].to_string().contains("[\"content-type\",\"application/json\"]");
        if !as_sent {
            return Err(format!("{sent:?} was kept as {capture}").into());
        }
    }
    Ok(())
}

async fn healthy(broker: &str) -> TestResult {
    // Two cores run two nodes, the database, the broker and the senders: a message may be late.
    let mut cluster = Cluster::start(broker, |node| node.setting("feed.gap_wait_ms", 5_000)).await?;
    let load = cluster.load();
    eventually(PATIENCE, "so many captures", || async { load.acknowledged() >= CAPTURES as u64 }).await;
    let sent = load.stop().await;
    assert_eq!((sent.broken, sent.refused.len()), (0, 0), "{:?}", sent.refused);
    cluster.check(&sent).await?;

    let all = sent.acknowledged.len() as f64;
    let by = |way: &'static str| {
        let nodes = &cluster.nodes;
        async move {
            let mut sum = 0.0;
            for node in nodes {
                sum += node.metric_with("creel_feed_events_total", &[("way", way)]).await?;
            }
            TestResult::Ok(sum)
        }
    };
    // Each capture is told once on the node that committed it, and once by the broker on the other.
    assert_eq!(by("local").await?, all);
    assert!(by("broker").await? >= 0.99 * all, "{} of {all} came by way of the broker", by("broker").await?);
    assert_eq!((by("repair").await?, cluster.sum("creel_feed_repairs_total").await?), (0.0, 0.0));
    assert_eq!(cluster.sum("creel_panics_total").await?, 0.0);
    Ok(())
}

async fn with_broken_broker<F: Future<Output = TestResult>>(
    broker: &str,
    kill: impl Fn(),
    restart: impl Fn() -> F,
) -> TestResult {
    let mut cluster = Cluster::start(broker, |node| node).await?;
    let load = cluster.load();
    for round in 1..=2u64 {
        let share = CAPTURES as u64 / 4;
        let so_far = load.acknowledged();
        eventually(PATIENCE, "captures with a broker", || async { load.acknowledged() >= so_far + share })
            .await;
        kill();
        let so_far = load.acknowledged();
        eventually(PATIENCE, "captures without one", || async { load.acknowledged() >= so_far + share })
            .await;
        restart().await?;
        for node in &cluster.nodes {
            eventually(PATIENCE, "the broker is back", || async {
                node.metric("creel_broker_up").await.is_ok_and(|up| up == 1.0)
            })
            .await;
        }
        assert!(round <= 2);
    }
    let sent = load.stop().await;
    // The broker is no part of keeping: nobody was refused.
    assert_eq!((sent.broken, sent.refused.len()), (0, 0), "{:?}", sent.refused);
    cluster.check(&sent).await?;
    assert!(cluster.sum("creel_feed_repairs_total").await? > 0.0, "the outage was no outage");
    Ok(())
}

async fn a_subscriber_that_comes_and_goes_misses_nothing() -> TestResult {
    let cluster =
        Cluster::start(&shared_redis().await?, |node| node.setting("feed.ring_events_max", 500)).await?;
    let load = cluster.load();
    let mut messages: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    let mut reconnects = 0;
    // On this node and on that, each time with another number of captures read.
    while load.acknowledged() < CAPTURES as u64 {
        let node = &cluster.nodes[reconnects % 2];
        let since = cursor.as_deref().unwrap_or("earliest").to_owned();
        let framing = Framing::ALL[reconnects % 3];
        let query = format!("endpoint=a&since={since}");
        let mut subscriber = Subscriber::open(framing, &node.address(), &query).await?;
        messages.extend(subscriber.read_captures(1 + (reconnects * 37) % 400, PATIENCE).await?);
        cursor = subscriber.cursor().map(str::to_owned);
        reconnects += 1;
    }
    let sent = load.stop().await;
    let last = kept(&cluster.nodes[0]).await?;
    let query = format!("endpoint=a&since={}", cursor.ok_or("no cursor")?);
    if messages.last().is_none_or(|message| message["capture"]["seq"].as_i64() != Some(last)) {
        let mut subscriber =
            Subscriber::open(Framing::WebSocket, &cluster.nodes[1].address(), &query).await?;
        let rest =
            subscriber.read_until(PATIENCE, |message| message["capture"]["seq"].as_i64() == Some(last));
        messages.extend(rest.await?);
    }
    assert!(reconnects > 5, "it came back {reconnects} times only");
    check_stream(&messages, &sent, last)
}

async fn a_slow_subscriber_is_fed_everything_in_bounded_memory() -> TestResult {
    const ROOM_BYTES: u64 = 400 * 1024 * 1024;
    let mut cluster =
        Cluster::start(&shared_redis().await?, |node| node.setting("feed.ring_events_max", 200)).await?;
    let idle = cluster.nodes[0].resident_bytes()?;
    let load = cluster.load();
    // Nobody reads while ten times as much is sent as the ring holds, and then some.
    eventually(PATIENCE, "so many captures", || async { load.acknowledged() >= CAPTURES as u64 }).await;
    let grown = cluster.nodes[0].resident_bytes()?.saturating_sub(idle);
    assert!(grown < ROOM_BYTES, "memory has grown by {grown} bytes");
    let sent = load.stop().await;
    cluster.check(&sent).await
}

async fn three_nodes_that_start_at_once_migrate_once() -> TestResult {
    let database = shared_postgres().await?;
    let builder = Node::builder().database(database.url());
    let (a, b, c) = tokio::join!(builder.start(), builder.start(), builder.start());
    let nodes = [a?, b?, c?];
    let migrated = nodes.iter().filter(|node| node.log().contains("brought up to date")).count();
    assert_eq!(migrated, 1, "one node has migrated, the others have waited");
    let addresses: Vec<String> = nodes.iter().map(Node::address).collect();
    let load = Load::start(6, &addresses, "/r/a");
    eventually(PATIENCE, "captures", || async { load.acknowledged() >= 60 }).await;
    let sent = load.stop().await;
    assert_eq!((sent.broken, sent.refused.len()), (0, 0));
    assert_eq!(kept(&nodes[2]).await?, i64::try_from(sent.acknowledged.len())?);
    Ok(())
}
