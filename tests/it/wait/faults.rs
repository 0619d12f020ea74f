//! Waits through the other node, whatever becomes of the broker and of the database: what was committed counts.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{LIMIT, Wait, ids, outcome, wait};
use crate::harness::client::Load;
use crate::harness::node::Node;
use crate::harness::proxy::Proxy;
use crate::harness::servers::{
    Postgres, RabbitMq, Redis, Server, TestDatabase, shared_postgres, shared_redis, topic_prefix,
};
use crate::harness::{Needs, TestResult, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::POSTGRES | Needs::OWN_REDIS => a_wait_through_the_other_node_is_satisfied_whatever_becomes_of_redis;
        Needs::POSTGRES | Needs::OWN_RABBITMQ =>
            a_wait_through_the_other_node_is_satisfied_whatever_becomes_of_rabbitmq;
        Needs::POSTGRES | Needs::REDIS => a_wait_that_is_interrupted_goes_on_at_the_other_node;
        Needs::POSTGRES =>
            time_decides_nothing_before_what_was_committed_is_judged,
            time_decides_nothing_of_a_journal_that_went_backwards;
        Needs::OWN_POSTGRES => a_wait_outlives_an_outage_of_the_database;
    }
}

/// Two nodes behind one broker.
struct Pair {
    one: Node,
    other: Node,
    _database: TestDatabase,
}

impl Pair {
    async fn start(broker: &str) -> TestResult<Self> {
        let database = shared_postgres().await?;
        let builder = Node::builder()
            .database(database.url())
            .broker(broker)
            .setting("broker.topic_prefix", topic_prefix());
        let (one, other) = tokio::try_join!(builder.start(), builder.start())?;
        let pair = Self { one, other, _database: database };
        pair.broker_is(1.0).await;
        Ok(pair)
    }

    async fn broker_is(&self, expected: f64) {
        for node in [&self.one, &self.other] {
            eventually(Duration::from_secs(60), "the nodes know of the broker", || async {
                node.metric("creel_broker_up").await.is_ok_and(|up| up == expected)
            })
            .await;
        }
    }

    /// Waits that begin before, with and after their captures, all through the other node.
    async fn check(&self, state: &str) -> TestResult {
        let order = |body: &str, since: &Value| json!({"endpoint": "a", "since": since, "match": {"at": "body", "equals": format!("{state} {body}")}});
        let post = |body: &str| self.one.post("/r/a", format!("{state} {body}"));
        let before = Wait::begin(&self.other, &order("before", &json!("now"))).await?;
        let id = post("before").await?;
        let answer = before.answer().await?;
        assert_eq!((outcome(&answer), ids(&answer)), (("satisfied", 1), vec![id]), "before, {state}");
        let with_it = order("with it", &answer["next"]);
        let (during, id) = tokio::try_join!(wait(&self.other, &with_it), post("with it"))?;
        assert_eq!((outcome(&during), ids(&during)), (("satisfied", 1), vec![id]), "with it, {state}");
        let id = post("after").await?;
        // At once: what was committed before counts, though no time is left for it to come.
        let mut after = order("after", &answer["next"]);
        after["timeout_ms"] = json!(0);
        let after = wait(&self.other, &after).await?;
        assert_eq!((outcome(&after), ids(&after)), (("satisfied", 1), vec![id]), "after, {state}");
        Ok(())
    }
}

async fn whatever_becomes_of(broker: &Server, start_again: impl AsyncFn() -> TestResult) -> TestResult {
    let pair = Pair::start(broker.url()).await?;
    pair.check("up").await?;
    // Killed while somebody waits.
    let order = json!({"endpoint": "b", "since": "now", "count": {"exactly": 2}, "quiet_ms": 500});
    let waiting = Wait::begin(&pair.other, &order).await?;
    pair.one.post("/r/b", "x").await?;
    broker.kill9();
    pair.one.post("/r/b", "x").await?;
    let answer = waiting.answer().await?;
    assert_eq!(outcome(&answer), ("satisfied", 2), "killed");
    pair.check("killed").await?;
    pair.broker_is(0.0).await;
    pair.check("away").await?;
    // It comes back while somebody waits.
    let order = json!({"endpoint": "c", "since": "now", "count": 2});
    let waiting = Wait::begin(&pair.other, &order).await?;
    pair.one.post("/r/c", "x").await?;
    start_again().await?;
    pair.one.post("/r/c", "x").await?;
    assert_eq!(outcome(&waiting.answer().await?), ("satisfied", 2), "coming back");
    pair.broker_is(1.0).await;
    pair.check("back").await?;
    // Stopped in order, under load that concerns nobody.
    let load = Load::start(4, &[pair.one.address()], "/r/load");
    broker.freeze();
    pair.check("frozen").await?;
    broker.thaw();
    broker.stop().await?;
    pair.check("stopped").await?;
    let sent = load.stop().await;
    let order = json!({"endpoint": "load", "since": "earliest", "count": {"exactly": sent.acknowledged.len()},
        "timeout_ms": 0, "limit": 0});
    assert_eq!(wait(&pair.other, &order).await?["outcome"], "satisfied", "each once");
    Ok(())
}

async fn a_wait_through_the_other_node_is_satisfied_whatever_becomes_of_redis() -> TestResult {
    let redis = Redis::start().await?;
    whatever_becomes_of(&redis, async || redis.start_again().await).await
}

async fn a_wait_through_the_other_node_is_satisfied_whatever_becomes_of_rabbitmq() -> TestResult {
    let rabbitmq = RabbitMq::start().await?;
    whatever_becomes_of(&rabbitmq, async || rabbitmq.start_again().await).await
}

async fn a_wait_that_is_interrupted_goes_on_at_the_other_node() -> TestResult {
    let pair = Pair::start(&shared_redis().await?).await?;
    let order = json!({"endpoint": "a", "since": "earliest", "count": {"exactly": 3}, "quiet_ms": 300});
    let waiting = Wait::begin(&pair.one, &order).await?;
    pair.one.post("/r/a", "x").await?;
    pair.other.post("/r/a", "x").await?;
    pair.one.term().await?;
    assert_eq!(waiting.answer().await?["outcome"], "interrupted");
    let again = Wait::begin(&pair.other, &order).await?;
    pair.other.post("/r/a", "x").await?;
    assert_eq!(outcome(&again.answer().await?), ("satisfied", 3));
    Ok(())
}

/// A node whose way to the database is held up: it must not say "none", since the other has kept one.
async fn time_decides_nothing_before_what_was_committed_is_judged() -> TestResult {
    let postgres = Postgres::start().await?;
    let proxy = Proxy::start(postgres.address()).await?;
    let behind = Node::builder().database(&proxy.through(postgres.url())?).start().await?;
    let other = Node::builder().database(postgres.url()).start().await?;
    for (count, expected) in [
        (json!({"exactly": 0}), ("exceeded", 1)),
        (json!({"at_most": 0}), ("exceeded", 1)),
        (json!(1), ("satisfied", 1)),
        (json!({"exactly": 1}), ("satisfied", 1)),
    ] {
        let endpoint = format!("e{}", count.to_string().len());
        let order = json!({"endpoint": endpoint, "since": "now", "count": count, "timeout_ms": 700});
        let waiting = Wait::begin(&behind, &order).await?;
        proxy.hold_replies();
        other.post(&format!("/r/{endpoint}"), "x").await?;
        // Its time is over while it cannot know.
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        proxy.resume();
        let answer = waiting.answer().await?;
        assert_eq!(outcome(&answer), expected, "{order} {answer}");
    }
    Ok(())
}

/// As by a failover that lost commits: what is at the places that were seen may come anew.
async fn time_decides_nothing_of_a_journal_that_went_backwards() -> TestResult {
    let database = shared_postgres().await?;
    let node = Node::builder().database(database.url()).setting("feed.head_poll_ms", 1_500).start().await?;
    for _ in 0..5 {
        node.post("/r/a", "x").await?;
    }
    let order = json!({"endpoint": "b", "since": "now", "count": {"exactly": 0}, "timeout_ms": 300});
    let waiting = Wait::begin(&node, &order).await?;
    let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("UPDATE journal_head SET seq = seq - 3; DELETE FROM journal WHERE seq > 2").await?;
    let answer = waiting.answer().await?;
    assert_eq!((outcome(&answer), &answer["reset"]), (("interrupted", 0), &json!(true)), "{answer}");
    Ok(())
}

async fn a_wait_outlives_an_outage_of_the_database() -> TestResult {
    let postgres = Postgres::start().await?;
    let node = Node::builder().database(postgres.url()).start().await?;
    node.post("/r/a", "x").await?;
    let order = json!({"endpoint": "a", "since": "earliest", "count": 2});
    let goes_on = Wait::begin(&node, &order).await?;
    let never = Wait::begin(&node, &json!({"endpoint": "b", "since": "now", "timeout_ms": 500})).await?;
    postgres.kill9();
    // Nobody can tell whether there is one.
    let answer = never.answer().await?;
    assert_eq!(answer["outcome"], "interrupted", "{answer}");
    postgres.start_again().await?;
    eventually(LIMIT, "captures again", || async { node.post("/r/a", "x").await.is_ok() }).await;
    assert_eq!(outcome(&goes_on.answer().await?), ("satisfied", 2));
    Ok(())
}
