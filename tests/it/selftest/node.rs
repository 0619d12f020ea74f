//! Nodes start, die, fall silent and come back, and clients understand them.

use std::time::Duration;

use libtest_mimic::Trial;
use tokio::time::timeout;

use crate::harness::client::{
    Framing, Load, Subscriber, captures, check_exactly_once_in_order, check_has_all, exchange, list_captures,
};
use crate::harness::node::Node;
use crate::harness::servers::{shared_postgres, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, eventually, trials};

const A_WHILE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(30);
const REQUEST: &[u8] = b"POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => a_node_dies_and_comes_back, a_node_falls_silent_and_goes_on, a_bad_setting_is_told,
            load_and_subscribers_agree;
        Needs::POSTGRES | Needs::REDIS => nodes_share_servers;
    }
}

async fn a_node_dies_and_comes_back() -> TestResult {
    let node = Node::builder().start().await?;
    assert_eq!(exchange(node.address(), REQUEST).await?.status, 200);
    node.kill9();
    assert!(!node.is_ready().await);
    node.start_again().await?;
    assert!(node.term().await?.success(), "{}", node.log());
    assert!(!node.is_ready().await);
    node.start_again().await?;
    assert_eq!(list_captures(node.http(), &node.address(), "endpoint=a").await?.len(), 1);
    Ok(())
}

async fn a_node_falls_silent_and_goes_on() -> TestResult {
    let node = Node::builder().start().await?;
    node.freeze();
    assert!(timeout(A_WHILE, exchange(node.address(), REQUEST)).await.is_err());
    node.thaw();
    eventually(SOON, "it answers", || async { node.is_ready().await }).await;
    Ok(())
}

async fn a_bad_setting_is_told() -> TestResult {
    let refused = Node::builder().setting("journal.no_such_setting", 1).start().await.err();
    let refused = refused.ok_or("a setting that does not exist")?.to_string();
    assert!(refused.contains("no_such_setting"), "{refused}");
    Ok(())
}

async fn load_and_subscribers_agree() -> TestResult {
    let node = Node::builder().start().await?;
    let mut subscribers = Vec::new();
    for framing in Framing::ALL {
        subscribers.push(Subscriber::open(framing, &node.address(), "endpoint=a").await?);
    }
    let load = Load::start(4, &[node.address()], "/r/a");
    eventually(SOON, "a hundred captures", || async { load.acknowledged() >= 100 }).await;
    let sent = load.stop().await;
    assert_eq!((sent.broken, sent.refused.len()), (0, 0), "{:?}", sent.refused);
    for mut subscriber in subscribers {
        let messages = subscriber.read_captures(sent.acknowledged.len(), SOON).await?;
        check_exactly_once_in_order(&messages)?;
        check_has_all(&captures(&messages), &sent.acknowledged)?;
        assert!(subscriber.cursor().is_some());
    }
    let listed = list_captures(node.http(), &node.address(), "endpoint=a").await?;
    assert_eq!(listed.len(), sent.acknowledged.len());
    check_has_all(&listed.iter().collect::<Vec<_>>(), &sent.acknowledged)?;
    assert_eq!(node.metric("creel_captures_total").await?, sent.acknowledged.len() as f64);
    let batches = node.metric("creel_journal_batch_captures_count").await?;
    assert_eq!(node.metric_with("creel_journal_batch_captures_bucket", &[("le", "+Inf")]).await?, batches);
    Ok(())
}

async fn nodes_share_servers() -> TestResult {
    let database = shared_postgres().await?;
    let nodes = Node::builder()
        .database(database.url())
        .broker(&shared_redis().await?)
        .setting("broker.topic_prefix", topic_prefix());
    let (first, second) = (nodes.start().await?, nodes.start().await?);
    let mut watcher = Subscriber::open(Framing::WebSocket, &second.address(), "endpoint=a").await?;
    exchange(first.address(), REQUEST).await?;
    let messages = watcher.read_captures(1, SOON).await?;
    check_exactly_once_in_order(&messages)
}
