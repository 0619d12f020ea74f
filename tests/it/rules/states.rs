//! Sequences and scenarios: shared by all nodes, and exact whoever asks at the same time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{api, kept, save, send};
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::{shared_postgres, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_sequence_goes_from_reply_to_reply,
            a_sequence_can_be_read_and_begun_anew,
            a_changed_rule_begins_its_sequence_anew,
            a_scenario_goes_from_state_to_state,
            states_outlive_the_node;
        Needs::POSTGRES | Needs::REDIS => a_sequence_hammered_through_three_nodes_is_exact;
        Needs::POSTGRES =>
            who_hammers_a_sequence_holds_nobody_else_up,
            a_sequence_is_exact_without_a_broker,
            a_scenario_moves_once_whoever_comes_first;
    }
}

async fn statuses(node: &Node, target: &str, count: usize) -> TestResult<Vec<u16>> {
    let mut found = Vec::new();
    for _ in 0..count {
        found.push(send(node, "POST", target, "", "").await?.status);
    }
    Ok(found)
}

fn flaky(after_last: &str) -> Value {
    json!({
        "replies": [{"status": 503}, {"status": 503}, {"status": 200, "body": "hit {{hit}}"}],
        "after_last": after_last,
    })
}

async fn a_sequence_goes_from_reply_to_reply() -> TestResult {
    let node = Node::builder().start().await?;
    save(&node, "stay", {
        let mut r = flaky("stay");
        r["scope"] = json!("stay");
        r
    })
    .await?;
    save(&node, "again", {
        let mut r = flaky("start_again");
        r["scope"] = json!("again");
        r
    })
    .await?;
    assert_eq!(statuses(&node, "/r/stay", 5).await?, [503, 503, 200, 200, 200]);
    assert_eq!(statuses(&node, "/r/again", 7).await?, [503, 503, 200, 503, 503, 200, 503]);
    let sixth = send(&node, "POST", "/r/stay", "", "").await?;
    assert_eq!(sixth.text(), "hit 6");
    assert_eq!(kept(&node, &sixth).await?["reply"]["hit"], 6);
    Ok(())
}

async fn a_sequence_can_be_read_and_begun_anew() -> TestResult {
    let node = Node::builder().start().await?;
    save(&node, "a", flaky("stay")).await?;
    save(&node, "one", json!({"scope": "x", "reply": {}})).await?;
    assert_eq!(node.json("/api/rules/a/hits").await?, json!({"hits": 0}));
    assert_eq!(statuses(&node, "/r/a", 3).await?, [503, 503, 200]);
    assert_eq!(node.json("/api/rules/a/hits").await?, json!({"hits": 3}));
    assert_eq!(node.request("DELETE", "/api/rules/a/hits", "").await?.status, 204);
    assert_eq!(node.json("/api/rules/a/hits").await?, json!({"hits": 0}));
    assert_eq!(statuses(&node, "/r/a", 3).await?, [503, 503, 200]);
    check_problem(&node.get("/api/rules/one/hits").await?, 404, "not-found")?;
    check_problem(&node.get("/api/rules/none/hits").await?, 404, "unknown-rule")?;
    Ok(())
}

async fn a_changed_rule_begins_its_sequence_anew() -> TestResult {
    let node = Node::builder().start().await?;
    save(&node, "a", flaky("stay")).await?;
    assert_eq!(statuses(&node, "/r/a", 3).await?, [503, 503, 200]);
    save(&node, "a", flaky("stay")).await?;
    assert_eq!(statuses(&node, "/r/a", 1).await?, [200], "it is the same rule still");
    save(&node, "a", flaky("start_again")).await?;
    assert_eq!(statuses(&node, "/r/a", 1).await?, [503]);
    node.request("DELETE", "/api/rules/a", "").await?;
    save(&node, "a", flaky("start_again")).await?;
    assert_eq!(statuses(&node, "/r/a", 3).await?, [503, 503, 200]);
    Ok(())
}

/// An order that is paid once.
async fn save_order_rules(node: &Node) -> TestResult {
    let scenario =
        |requires: &str, sets: Option<&str>| json!({"name": "order", "requires": requires, "sets": sets});
    let pay = json!({"at": "method", "equals": "POST"});
    let paid = json!({"match": pay, "scenario": scenario("Started", Some("Paid")), "reply": {"status": 201}});
    save(node, "pay", paid).await?;
    let twice = json!({"match": pay, "scenario": scenario("Paid", None), "reply": {"status": 409}});
    save(node, "pay-twice", twice).await?;
    let show = |state: &str, text: &str| json!({"scenario": scenario(state, None), "reply": {"body": text}});
    save(node, "open", show("Started", "open")).await?;
    save(node, "paid", show("Paid", "paid")).await
}

async fn a_scenario_goes_from_state_to_state() -> TestResult {
    let node = Node::builder().start().await?;
    save_order_rules(&node).await?;
    assert_eq!(send(&node, "GET", "/r/a", "", "").await?.text(), "open");
    assert_eq!(statuses(&node, "/r/a", 3).await?, [201, 409, 409]);
    assert_eq!(send(&node, "GET", "/r/a", "", "").await?.text(), "paid");
    let shown = node.json("/api/scenarios").await?;
    assert_eq!(shown, json!({"scenarios": [{"name": "order", "state": "Paid"}], "next": null}));
    let reset = api(&node, "PUT", "/api/scenarios/order", &json!({"state": "Started"})).await?;
    assert_eq!(reset.status, 200);
    assert_eq!(send(&node, "GET", "/r/a", "", "").await?.text(), "open");
    check_problem(&api(&node, "PUT", "/api/scenarios/order", &json!({})).await?, 400, "bad-request")?;
    Ok(())
}

async fn states_outlive_the_node() -> TestResult {
    let node = Node::builder().start().await?;
    save(&node, "a", flaky("stay")).await?;
    assert_eq!(statuses(&node, "/r/a", 2).await?, [503, 503]);
    node.kill9();
    node.start_again().await?;
    assert_eq!(statuses(&node, "/r/a", 1).await?, [200]);
    Ok(())
}

async fn three(builder: NodeBuilder) -> TestResult<Vec<Node>> {
    try_join_all((0..3).map(|_| builder.start())).await
}

/// Many senders through all nodes at once; every capture gets a number of its own, from 1, and the reply
/// that is the number's.
async fn hammer(nodes: &[Node]) -> TestResult {
    const EACH: usize = 40;
    const SENDERS: usize = 12;
    save(&nodes[0], "a", flaky("stay")).await?;
    // A rule without states beside it, whose captures share the batches.
    save(&nodes[1], "b", json!({"scope": "b", "priority": 1, "reply": {"status": 202}})).await?;
    let senders = (0..SENDERS).map(|i| async move {
        let node = &nodes[i % nodes.len()];
        let mut answers = Vec::new();
        for _ in 0..EACH {
            answers.push(send(node, "POST", "/r/a", "", "").await?);
            let other = send(node, "POST", "/r/b", "", "").await?;
            assert_eq!(other.status, 202);
        }
        TestResult::Ok(answers)
    });
    let answers: Vec<_> = try_join_all(senders).await?.into_iter().flatten().collect();
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for answer in &answers {
        *counts.entry(answer.status).or_default() += 1;
    }
    assert_eq!(counts, BTreeMap::from([(200, SENDERS * EACH - 2), (503, 2)]));
    let mut captures = nodes[2].captures_of("a", SENDERS * EACH).await;
    captures.sort_by_key(|capture| capture["seq"].as_i64());
    for (hit, capture) in (1..).zip(&captures) {
        let status = if hit <= 2 { 503 } else { 200 };
        let expected =
            json!({"source": "rule", "status": status, "rule": "a", "rule_version": 1, "hit": hit});
        assert_eq!(capture["reply"], expected, "in the order of the journal");
    }
    assert_eq!(nodes[2].json("/api/rules/a/hits").await?["hits"], SENDERS * EACH);
    Ok(())
}

async fn who_hammers_a_sequence_holds_nobody_else_up() -> TestResult {
    let database = shared_postgres().await?;
    let nodes = three(Node::builder().database(database.url())).await?;
    save(&nodes[0], "a", {
        let mut r = flaky("start_again");
        r["scope"] = json!("a");
        r
    })
    .await?;
    let done = AtomicBool::new(false);
    let hammering = (0..12).map(|i| {
        let (node, done) = (&nodes[i % 2], &done);
        async move {
            while !done.load(Ordering::Relaxed) {
                let answer = send(node, "POST", "/r/a", "", "").await?;
                assert!([200, 503].contains(&answer.status));
            }
            TestResult::Ok(())
        }
    });
    let others = async {
        for _ in 0..60 {
            let asked = Instant::now();
            // The third node takes both sorts, in the same batches.
            let (plain, counted) = tokio::join!(
                send(&nodes[2], "POST", "/r/b", "", ""),
                send(&nodes[2], "POST", "/r/a", "", "")
            );
            assert_eq!(plain?.status, 200);
            let counted = counted?;
            assert!(!counted.text().contains("/problems/"), "{}", counted.text());
            assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        TestResult::Ok(())
    };
    let (hammered, others) = tokio::join!(try_join_all(hammering), others);
    hammered?;
    others
}

async fn a_sequence_hammered_through_three_nodes_is_exact() -> TestResult {
    let database = shared_postgres().await?;
    let builder = Node::builder()
        .database(database.url())
        .broker(&shared_redis().await?)
        .setting("broker.topic_prefix", topic_prefix());
    hammer(&three(builder).await?).await
}

async fn a_sequence_is_exact_without_a_broker() -> TestResult {
    let database = shared_postgres().await?;
    hammer(&three(Node::builder().database(database.url())).await?).await
}

async fn a_scenario_moves_once_whoever_comes_first() -> TestResult {
    let database = shared_postgres().await?;
    let nodes = three(Node::builder().database(database.url())).await?;
    save_order_rules(&nodes[0]).await?;
    for _ in 0..10 {
        let tries = (0..9).map(|i| send(&nodes[i % 3], "POST", "/r/a", "", ""));
        let answers = try_join_all(tries).await?;
        let paid = answers.iter().filter(|answer| answer.status == 201).count();
        let refused = answers.iter().filter(|answer| answer.status == 409).count();
        assert_eq!((paid, refused), (1, 8));
        let reset = api(&nodes[1], "PUT", "/api/scenarios/order", &json!({"state": "Started"})).await?;
        assert_eq!(reset.status, 200);
    }
    Ok(())
}
