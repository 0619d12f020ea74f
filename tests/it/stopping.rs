//! A node that is told to stop: what it has accepted is kept, whoever is still sending or does not read.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::client::Connection;
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            what_is_being_received_is_kept_when_a_node_stops;
    }
}

const LIMIT: Duration = Duration::from_secs(20);

/// What has come of one body in the middle of its second part, and of a small one.
const PART: usize = 262_144;
const IN_PARTS: usize = PART + 100_000;
const SMALL: usize = 3;

async fn what_is_being_received_is_kept_when_a_node_stops() -> TestResult {
    const SENDERS: usize = 20;
    let node = Node::builder().setting("server.shutdown_timeout_ms", 6000).start().await?;
    node.post("/r/whole", "x").await?;
    let mut senders = Vec::new();
    for place in 0..SENDERS {
        let mut sender = Connection::open(node.address()).await?;
        let sent = if place % 2 == 0 { SMALL } else { IN_PARTS };
        let head = format!("POST /r/half HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", sent + 1);
        sender.send(head.as_bytes()).await?;
        sender.send(&vec![b'x'; sent]).await?;
        senders.push(sender);
    }
    // Each small body takes what it has announced, and a large one a part's memory once its first is full.
    let bytes = (SENDERS / 2 * (SMALL + 1 + PART)) as f64;
    eventually(LIMIT, "all are being received", || async {
        node.metric("creel_bodies_in_flight_bytes").await.is_ok_and(|held| held >= bytes)
    })
    .await;
    let answers = async {
        for sender in &mut senders {
            let answer = sender.response().await?;
            assert_eq!(answer.status, 408, "{}", answer.text());
            assert_eq!(answer.header("connection"), Some("close"));
        }
        TestResult::Ok(())
    };
    let (status, answers) = tokio::join!(node.term(), answers);
    answers?;
    assert_eq!(status?.code(), Some(0), "{}", node.log());
    for word in ["panic", "failed", "ERROR"] {
        assert!(!node.log().contains(word), "{}", node.log());
    }

    node.start_again().await?;
    let kept = node.json("/api/captures?endpoint=half&body=none&order=oldest&limit=100").await?;
    let kept = kept["captures"].as_array().ok_or("no list")?;
    assert_eq!(kept.len(), SENDERS);
    let bytes = |sent: usize| kept.iter().filter(|capture| capture["body"]["bytes"] == sent).count();
    assert_eq!((bytes(SMALL), bytes(IN_PARTS)), (SENDERS / 2, SENDERS / 2));
    assert!(kept.iter().all(|capture| capture["body"]["incomplete"] == true));
    let seqs: Vec<Option<u64>> = kept.iter().map(|capture| capture["seq"].as_u64()).collect();
    assert_eq!(seqs, (2..).take(SENDERS).map(Some).collect::<Vec<_>>());
    for capture in kept.iter().filter(|capture| capture["body"]["bytes"] == IN_PARTS) {
        let id = capture["id"].as_str().ok_or("no id")?;
        let body = node.get(&format!("/api/captures/{id}/body")).await?;
        assert_eq!(body.body.len(), IN_PARTS);
    }
    node.check_unharmed().await
}
