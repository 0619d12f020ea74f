//! Never stale: a rule that was saved through any node answers the very next request through any other.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{api, save, send};
use crate::harness::client::{Framing, Subscriber};
use crate::harness::node::Node;
use crate::harness::servers::{Redis, shared_postgres, topic_prefix};
use crate::harness::{Needs, TestResult, eventually, trials};

const RULES: usize = 10_000;
const ROUNDS: usize = 1_000;
const LIMIT: Duration = Duration::from_secs(60);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => a_saved_rule_answers_the_next_request_on_sqlite;
        Needs::POSTGRES | Needs::OWN_REDIS => a_saved_rule_answers_the_next_request_on_every_node;
    }
}

/// Rules that are there besides.
async fn save_many(node: &Node) -> TestResult {
    let rules: Vec<Value> = (0..RULES)
        .map(|i| {
            let endpoint = format!("busy-{}", i % 1_000);
            let leaf = json!({"at": "path", "matches": format!("^/r/{endpoint}/{i}$")});
            json!({"name": format!("rule-{i}"), "scope": endpoint, "match": leaf, "reply": {"status": 418}})
        })
        .collect();
    for some in rules.chunks(500) {
        let document = json!({"rules": some});
        let answer = api(node, "PUT", "/api/config", &document).await?;
        if answer.status != 200 {
            return Err(format!("{} {}", answer.status, answer.text()).into());
        }
    }
    Ok(())
}

/// Creates or changes a rule through one node, and sends through the next at once.
async fn rounds(nodes: &[Node], from: usize, count: usize) -> TestResult {
    for round in from..from + count {
        let (one, other) = (&nodes[round % nodes.len()], &nodes[(round + 1) % nodes.len()]);
        // Three changes of one rule, then the next.
        let name = format!("mine-{}", round / 3);
        let reply = json!({"body": {"text": format!("round {round}")}});
        save(one, &name, json!({"scope": "mine", "priority": round, "reply": reply})).await?;
        let answer = send(other, "POST", "/r/mine", "", "").await?;
        assert_eq!((answer.status, answer.text()), (200, format!("round {round}")));
    }
    Ok(())
}

/// That what subscribers saw is what is kept, and that no entry was told twice.
async fn check_seen(node: &Node, seen: &mut Subscriber) -> TestResult {
    let messages = seen.read_captures(ROUNDS, LIMIT).await?;
    let captures: Vec<&Value> = messages.iter().filter_map(|message| message.get("capture")).collect();
    assert_eq!(captures.len(), ROUNDS);
    for (round, capture) in captures.iter().enumerate() {
        let kept =
            node.json(&format!("/api/captures/{}", capture["id"].as_str().unwrap_or_default())).await?;
        assert_eq!((&kept["reply"], &kept["seq"]), (&capture["reply"], &capture["seq"]));
        assert_eq!(capture["reply"]["rule"], format!("mine-{}", round / 3));
        assert_eq!(capture["reply"]["rule_version"], 1 + round % 3);
    }
    Ok(())
}

async fn a_saved_rule_answers_the_next_request_on_sqlite() -> TestResult {
    let nodes = [Node::builder().start().await?];
    save_many(&nodes[0]).await?;
    let mut seen = Subscriber::open(Framing::Ndjson, &nodes[0].address(), "endpoint=mine").await?;
    rounds(&nodes, 0, ROUNDS).await?;
    check_seen(&nodes[0], &mut seen).await
}

async fn a_saved_rule_answers_the_next_request_on_every_node() -> TestResult {
    let database = shared_postgres().await?;
    let redis = Redis::start().await?;
    let builder = Node::builder()
        .database(database.url())
        .broker(redis.url())
        .setting("broker.topic_prefix", topic_prefix());
    let nodes = [builder.start().await?, builder.start().await?, builder.start().await?];
    save_many(&nodes[0]).await?;
    let mut seen = Subscriber::open(Framing::Ndjson, &nodes[2].address(), "endpoint=mine").await?;
    rounds(&nodes, 0, ROUNDS / 2).await?;
    redis.kill9();
    eventually(LIMIT, "the nodes see that the broker is away", || async {
        nodes[0].metric("creel_broker_up").await.is_ok_and(|up| up == 0.0)
    })
    .await;
    rounds(&nodes, ROUNDS / 2, ROUNDS / 2).await?;
    check_seen(&nodes[1], &mut seen).await
}
