//! Several nodes, one journal: every subscriber, on whichever node, sees each capture exactly once, in
//! order, with nothing missing, whatever happens to the broker, to a node or to the subscriber.

use std::collections::HashMap;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::harness::client::{
    Acknowledged, Framing, Load, Sent, Subscriber, captures, check_exactly_once_in_order, check_has_all, load,
};
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::proxy::Proxy;
use crate::harness::servers::{
    RabbitMq, Redis, TestDatabase, shared_postgres, shared_rabbitmq, shared_redis, topic_prefix,
};
use crate::harness::{Needs, TestResult, eventually, trials};

const SENDERS: usize = 32;
const CAPTURES: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(90);
const TARGET: &str = "/r/a?x=%2F&y";

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::POSTGRES | Needs::REDIS =>
            every_node_sees_every_capture_once_by_way_of_redis,
            a_subscriber_that_is_cut_off_at_random_misses_nothing,
            slow_subscribers_are_fed_everything_in_bounded_memory,
            what_a_killed_node_has_kept_is_shown_by_the_other;
        Needs::POSTGRES | Needs::RABBITMQ => every_node_sees_every_capture_once_by_way_of_rabbitmq;
        Needs::POSTGRES | Needs::OWN_REDIS => nothing_is_missing_while_redis_is_killed_and_restarted;
        Needs::POSTGRES | Needs::OWN_RABBITMQ => nothing_is_missing_while_rabbitmq_is_killed_and_restarted;
        Needs::POSTGRES =>
            three_nodes_that_start_at_once_migrate_once,
            every_node_shows_what_any_has_answered_until_it_is_removed,
            a_node_that_may_not_migrate_refuses_an_empty_database;
    }
}

/// Two nodes behind one broker, and a subscriber on each.
struct Cluster {
    nodes: Vec<Node>,
    subscribers: Vec<Subscriber>,
    _database: TestDatabase,
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
        let mut cluster = Self { nodes, subscribers: Vec::new(), _database: database };
        cluster.broker_is_up().await;
        for node in &cluster.nodes {
            cluster.subscribers.push(watch(node).await?);
        }
        Ok(cluster)
    }

    fn load(&self) -> Load {
        Load::start(SENDERS, &self.addresses(), TARGET)
    }

    fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Node::address).collect()
    }

    async fn broker_is_up(&self) {
        for node in &self.nodes {
            eventually(PATIENCE, "the broker is connected", || async {
                node.metric("creel_broker_up").await.is_ok_and(|up| up == 1.0)
            })
            .await;
        }
    }

    /// Every subscriber has, or gets, everything that was kept: what was acknowledged, and what was not
    /// but is in the journal.
    async fn check(&mut self, sent: &Sent) -> TestResult {
        let last = kept(&self.nodes[0]).await?;
        for subscriber in &mut self.subscribers {
            check_stream(&read_up_to(subscriber, last).await?, sent, last)?;
        }
        Ok(())
    }

    async fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> TestResult<f64> {
        let mut sum = 0.0;
        for node in &self.nodes {
            sum += node.metric_with(metric, labels).await?;
        }
        Ok(sum)
    }
}

/// A subscriber whose place is taken: what is sent from now on it sees.
async fn watch(node: &Node) -> TestResult<Subscriber> {
    let mut subscriber = Subscriber::open(Framing::WebSocket, &node.address(), "endpoint=a").await?;
    subscriber.read_until(PATIENCE, |message| message["type"] == "ready").await?;
    Ok(subscriber)
}

async fn read_up_to(subscriber: &mut Subscriber, last: i64) -> TestResult<Vec<Value>> {
    subscriber.read_until(PATIENCE, |message| message["capture"]["seq"].as_i64() == Some(last)).await
}

/// The journal's last number, which is the number of captures: nothing else was written.
async fn kept(node: &Node) -> TestResult<i64> {
    let page = node.json("/api/captures?limit=1&body=none").await?;
    page["captures"][0]["seq"].as_i64().ok_or_else(|| format!("no capture: {page}").into())
}

/// Each number once, in order, none left out; everything acknowledged is there, as it was sent.
fn check_stream(messages: &[Value], sent: &Sent, last: i64) -> TestResult {
    check_exactly_once_in_order(messages)?;
    let captures = captures(messages);
    let seqs: Vec<i64> = captures.iter().filter_map(|capture| capture["seq"].as_i64()).collect();
    if seqs != (1..=last).collect::<Vec<_>>() {
        return Err(format!("{} captures up to {last}: there is a hole", seqs.len()).into());
    }
    check_has_all(&captures, &sent.acknowledged)?;
    let by_id: HashMap<&str, &Value> =
        captures.iter().filter_map(|capture| Some((capture["id"].as_str()?, *capture))).collect();
    for acknowledged in &sent.acknowledged {
        let capture = by_id.get(acknowledged.capture_id.as_str()).ok_or("a capture is missing")?;
        check_as_sent(capture, acknowledged, sent.body_bytes)?;
    }
    Ok(())
}

fn check_as_sent(capture: &Value, sent: &Acknowledged, body_bytes: usize) -> TestResult {
    let &Acknowledged { sender, number, .. } = sent;
    let body = load::body(sender, number, body_bytes);
    let headers = capture["headers"].as_array().ok_or("a capture without headers")?;
    let expected = [
        ["content-type".to_owned(), "application/json".to_owned()],
        [load::HEADER.to_owned(), format!("{sender}-{number}")],
        ["content-length".to_owned(), body.len().to_string()],
    ];
    let as_sent = capture["method"] == load::method(number)
        && capture["target"] == TARGET
        && capture["body"]["content"] == body.as_str()
        && headers.len() == expected.len() + 1
        && expected.iter().all(|header| headers.iter().any(|kept| *kept == serde_json::json!(header)));
    if as_sent { Ok(()) } else { Err(format!("{sent:?} was kept as {capture}").into()) }
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
    let load = cluster.load();
    eventually(PATIENCE, "so many captures", || async { load.acknowledged() >= CAPTURES }).await;
    let sent = load.stop().await;
    assert_eq!((sent.broken, sent.refused.len()), (0, 0), "{:?}", sent.refused);
    cluster.check(&sent).await?;

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
    let load = cluster.load();
    let some_more = async |what: &str| {
        let so_far = load.acknowledged();
        eventually(PATIENCE, what, || async { load.acknowledged() >= so_far + CAPTURES / 4 }).await;
    };
    some_more("captures with a broker").await;
    kill();
    some_more("captures without one").await;
    assert!(cluster.sum("creel_feed_events_total", &[("way", "repair")]).await? > 0.0, "it is no outage");
    // A broker's start takes what there is of two cores; that captures go on meanwhile was seen.
    let before = load.stop().await;
    restart().await?;
    cluster.broker_is_up().await;
    let repaired = cluster.sum("creel_feed_events_total", &[("way", "broker")]).await?;
    let load = cluster.load();
    eventually(PATIENCE, "captures with a broker again", || async { load.acknowledged() >= CAPTURES / 2 })
        .await;
    let after = load.stop().await;
    let by_broker = cluster.sum("creel_feed_events_total", &[("way", "broker")]).await? - repaired;
    assert!(by_broker > 0.0, "the broker is back, and nothing comes by way of it");

    // The broker is no part of keeping: nobody was refused.
    for sent in [&before, &after] {
        assert_eq!((sent.broken, sent.refused.len()), (0, 0), "{:?}", sent.refused);
    }
    let acknowledged = [before.acknowledged, after.acknowledged].concat();
    cluster.check(&Sent { acknowledged, ..after }).await
}

/// The connection is cut after a random number of bytes, in the middle of whatever is being sent; the
/// subscriber comes back with the cursor of the last message that it has read whole.
async fn a_subscriber_that_is_cut_off_at_random_misses_nothing() -> TestResult {
    let redis = shared_redis().await?;
    // A ring that is soon outrun, so that it is resumed in and behind.
    let cluster = Cluster::start(&redis, |node| node.setting("feed.ring_events_max", 300)).await?;
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
async fn slow_subscribers_are_fed_everything_in_bounded_memory() -> TestResult {
    const BODY_BYTES: usize = 16 * 1024;
    const ROOM: u64 = 200 << 20;
    let mut cluster = Cluster::start(&shared_redis().await?, |node| node).await?;
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

/// Their answers stand in pages that lie over each other.
async fn every_node_shows_what_any_has_answered_until_it_is_removed() -> TestResult {
    let database = shared_postgres().await?;
    let builder = Node::builder().database(database.url());
    let nodes = [builder.start().await?, builder.start().await?];
    let mut ids = Vec::new();
    for i in 0..60 {
        ids.push(nodes[i % 2].post(&format!("/r/{}", ["a", "b", "c"][i / 2 % 3]), "x").await?);
    }
    let answered = |node: usize, id: String| {
        let node = &nodes[node];
        async move {
            let capture = node.json(&format!("/api/captures/{id}")).await.ok()?;
            Some(capture["answer"]["body"]["content"].as_str()?.contains(&id))
        }
    };
    for (i, id) in ids.iter().enumerate() {
        eventually(PATIENCE, "the other one shows it", || async {
            answered((i + 1) % 2, id.clone()).await == Some(true)
        })
        .await;
    }
    let (gone, left): (Vec<_>, Vec<_>) = (0..).zip(&ids).partition(|(i, _)| i % 7 == 0);
    for (i, id) in &gone {
        let node = &nodes[i / 7 % 2];
        let removed = node.http().delete(node.url(&format!("/api/captures/{id}"))).send().await?;
        assert_eq!(removed.status(), 204);
    }
    for (i, id) in left {
        assert_eq!(answered(i % 2, id.clone()).await, Some(true), "{i}");
    }
    let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let pages = client.query("SELECT content FROM answer_pages", &[]).await?;
    let pages: Vec<Vec<u8>> = pages.iter().map(|row| row.get(0)).collect();
    let is_kept =
        |id: &str| pages.iter().any(|page| page.windows(id.len()).any(|text| text == id.as_bytes()));
    assert!(gone.iter().all(|(_, id)| !is_kept(id)), "nothing of what was removed is left in the database");
    assert!(is_kept(&ids[1]));
    Ok(())
}

async fn a_node_that_may_not_migrate_refuses_an_empty_database() -> TestResult {
    let database = shared_postgres().await?;
    for careful in [Node::builder().database(database.url()), Node::builder()] {
        let refused = careful.setting("database.migrate", "off").start().await;
        let Err(refused) = refused else { return Err("it has started".into()) };
        let message = refused.to_string();
        assert!(message.contains("exit status: 1"), "it ends: {message}");
        assert!(message.contains("`creel migrate`"), "and says what to do: {message}");
    }
    // Nothing was made of it; one that may migrate makes it good for the other.
    let careful = Node::builder().database(database.url()).setting("database.migrate", "off");
    assert!(careful.start().await.is_err());
    Node::builder().database(database.url()).start().await?;
    careful.start().await.map(drop)
}
