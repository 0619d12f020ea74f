//! A subscriber's place in a journal of which captures were trimmed, or that went another way: it is
//! told, once, and goes on.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::harness::client::{
    Framing, Load, Subscriber, captures, check_exactly_once_in_order, check_has_all,
};
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::{TestDatabase, shared_postgres, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, eventually, trials};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => who_comes_back_after_a_trim_is_told_once_on_sqlite;
        Needs::POSTGRES => who_comes_back_after_a_trim_is_told_once_on_postgres;
        Needs::POSTGRES | Needs::REDIS =>
            a_restored_journal_is_told_on_every_node,
            a_journal_that_lost_commits_and_went_on_is_told_on_every_node;
    }
}

async fn who_comes_back_after_a_trim_is_told_once_on_sqlite() -> TestResult {
    told_of_a_trim(Node::builder()).await
}

async fn who_comes_back_after_a_trim_is_told_once_on_postgres() -> TestResult {
    let database = shared_postgres().await?;
    told_of_a_trim(Node::builder().database(database.url())).await
}

/// Of more than the node has in memory, retention keeps little.
async fn told_of_a_trim(builder: NodeBuilder) -> TestResult {
    const MOST: usize = 20;
    let builder = builder
        .setting("feed.ring_events_max", 50)
        .setting("retention.captures_per_endpoint_max", MOST)
        .setting("retention.interval_ms", 100);
    let node = builder.start().await?;
    let open = async |query: String| {
        let mut subscriber = Subscriber::open(Framing::WebSocket, &node.address(), &query).await?;
        subscriber.read_until(PATIENCE, |message| message["type"] == "ready").await?;
        TestResult::Ok(subscriber)
    };
    let mut left = open("endpoint=a".to_owned()).await?;
    for number in 0..5 {
        node.post("/r/a", number.to_string()).await?;
    }
    node.post("/r/b", "kept").await?;
    left.read_captures(3, PATIENCE).await?;
    let cursor = left.cursor().ok_or("no cursor")?.to_owned();
    drop(left);
    for number in 5..100 {
        node.post("/r/a", number.to_string()).await?;
    }
    let trimmed = async || {
        eventually(PATIENCE, "all but some are trimmed", || async {
            let page = node.json("/api/captures?endpoint=a&limit=500&body=none").await;
            page.is_ok_and(|page| page["captures"].as_array().is_some_and(|shown| shown.len() == MOST))
        })
        .await;
    };
    trimmed().await;

    let mut resumed = open(format!("endpoint=a&since={cursor}")).await?;
    let mut messages = resumed.read_captures(MOST, PATIENCE).await?;
    node.post("/r/a", "the last one").await?;
    messages.extend(resumed.read_captures(1, PATIENCE).await?);
    assert_eq!(messages[0]["type"], "truncated", "it is told before anything else");
    assert_eq!(messages[0]["endpoints"], serde_json::json!(["a"]));
    assert!(messages[0]["cursor"].is_string(), "{}", messages[0]);
    check_exactly_once_in_order(&messages[1..])?;
    let bodies: Vec<&Value> = captures(&messages).iter().map(|c| &c["body"]["content"]).collect();
    let expected = (80..100).map(|number| number.to_string()).chain(["the last one".to_owned()]);
    assert!(bodies.iter().map(|body| body.as_str().unwrap_or_default().to_owned()).eq(expected));

    // Whom it does not concern is not told: of another endpoint, come from behind it, or from nowhere; or
    // of what is trimmed and is in memory still.
    let behind = resumed.cursor().ok_or("no cursor")?.to_owned();
    for number in 0..MOST + 10 {
        node.post("/r/a", number.to_string()).await?;
    }
    trimmed().await;
    for (query, seen, captures) in [
        (format!("endpoint=a&since={behind}"), "a", MOST + 11),
        (format!("endpoint=b&since={cursor}"), "b", 2),
        ("endpoint=a&since=now".to_owned(), "a", 1),
        ("endpoint=b&since=earliest".to_owned(), "b", 2),
    ] {
        let mut other = open(query.clone()).await?;
        node.post(&format!("/r/{seen}"), "more").await?;
        let messages = other.read_until(PATIENCE, |message| message["capture"]["body"]["content"] == "more");
        let messages = messages.await?;
        assert!(messages.iter().all(|message| message["type"] == "capture"), "{query}: {messages:?}");
        assert_eq!(messages.len(), captures, "{query}: {messages:?}");
    }
    Ok(())
}

struct Pair {
    nodes: [Node; 2],
    watchers: [Subscriber; 2],
    database: TestDatabase,
}

impl Pair {
    /// Two nodes, and a subscriber on each. The head is read seldom, so that there is time to outrun it.
    async fn start(head_poll_ms: u64) -> TestResult<Self> {
        let database = shared_postgres().await?;
        let builder = Node::builder()
            .database(database.url())
            .broker(&shared_redis().await?)
            .setting("broker.topic_prefix", topic_prefix())
            .setting("feed.head_poll_ms", head_poll_ms);
        let nodes = [builder.start().await?, builder.start().await?];
        for node in &nodes {
            eventually(PATIENCE, "the broker is connected", || async {
                node.metric("creel_broker_up").await.is_ok_and(|up| up == 1.0)
            })
            .await;
        }
        let watchers = [watch(&nodes[0]).await?, watch(&nodes[1]).await?];
        Ok(Self { nodes, watchers, database })
    }

    fn addresses(&self) -> [String; 2] {
        [self.nodes[0].address(), self.nodes[1].address()]
    }

    /// As if a backup had been restored, or commits been lost in a failover: the newest entries never were.
    async fn take_back(&self, entries: u32) -> TestResult {
        let (mut client, connection) =
            tokio_postgres::connect(self.database.url(), tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        let transaction = client.transaction().await?;
        transaction
            .batch_execute(&format!(
                "UPDATE journal_head SET seq = seq - {entries}; \
                 DELETE FROM journal WHERE seq > (SELECT seq FROM journal_head); \
                 UPDATE marks SET seq = least(seq, (SELECT seq FROM journal_head)) WHERE name = 'folded'"
            ))
            .await?;
        transaction.commit().await?;
        drop(client);
        Ok(connection.await??)
    }

    /// After a reset, everybody sees the same again, and what was given out before is told from it.
    async fn check_goes_on(&mut self, before: &str) -> TestResult {
        let load = Load::start(4, &self.addresses(), "/r/a");
        eventually(PATIENCE, "captures", || async { load.acknowledged() >= 100 }).await;
        let sent = load.stop().await;
        for watcher in &mut self.watchers {
            let messages = watcher.read_captures(sent.acknowledged.len(), PATIENCE).await?;
            check_exactly_once_in_order(&messages)?;
            check_has_all(&captures(&messages), &sent.acknowledged)?;
        }
        for address in self.addresses() {
            for framing in Framing::ALL {
                let query = format!("endpoint=a&since={before}");
                let mut stranger = Subscriber::open(framing, &address, &query).await?;
                let told = stranger.read_until(PATIENCE, |message| message["type"] != "ready").await?;
                assert_eq!(told.last().ok_or("nothing")?["type"], "reset", "by {framing:?}");
            }
        }
        Ok(())
    }
}

async fn watch(node: &Node) -> TestResult<Subscriber> {
    let mut watcher = Subscriber::open(Framing::WebSocket, &node.address(), "endpoint=a").await?;
    watcher.read_until(PATIENCE, |message| message["type"] == "ready").await?;
    Ok(watcher)
}

async fn a_restored_journal_is_told_on_every_node() -> TestResult {
    let mut pair = Pair::start(100).await?;
    let load = Load::start(4, &pair.addresses(), "/r/a");
    eventually(PATIENCE, "captures", || async { load.acknowledged() >= 100 }).await;
    let sent = load.stop().await;
    for watcher in &mut pair.watchers {
        watcher.read_captures(sent.acknowledged.len(), PATIENCE).await?;
    }
    let before = pair.watchers[0].cursor().ok_or("no cursor")?.to_owned();
    pair.take_back(50).await?;
    let mut cursors = Vec::new();
    for watcher in &mut pair.watchers {
        let told = watcher.read_until(PATIENCE, |message| message["type"] == "reset").await?;
        assert_eq!(told.len(), 1, "and nothing else: {told:?}");
        cursors.push(told[0]["cursor"].clone());
    }
    assert_eq!(cursors[0], cursors[1], "one new epoch, and all in it");
    pair.check_goes_on(&before).await?;
    for node in &pair.nodes {
        assert_eq!(node.metric("creel_feed_resets_total").await?, 1.0);
    }
    Ok(())
}

/// By the time that anybody looks at the head, it is past where it was.
async fn a_journal_that_lost_commits_and_went_on_is_told_on_every_node() -> TestResult {
    let mut pair = Pair::start(60_000).await?;
    let load = Load::start(4, &pair.addresses(), "/r/a");
    eventually(PATIENCE, "captures", || async { load.acknowledged() >= 200 }).await;
    for watcher in &mut pair.watchers {
        watcher.read_captures(100, PATIENCE).await?;
    }
    let before = pair.watchers[0].cursor().ok_or("no cursor")?.to_owned();
    pair.take_back(20).await?;
    let so_far = load.acknowledged();
    eventually(PATIENCE, "captures", || async { load.acknowledged() >= so_far + 200 }).await;
    load.stop().await;
    for (watcher, node) in pair.watchers.iter_mut().zip(&pair.nodes) {
        watcher.read_until(PATIENCE, |message| message["type"] == "reset").await?;
        *watcher = watch(node).await?;
    }
    pair.check_goes_on(&before).await
}
