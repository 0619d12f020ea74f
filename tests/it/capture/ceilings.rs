//! What a node takes has limits: past each the sender is told, and it is counted.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::client::Connection;
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            one_address_sends_at_its_rate_at_most,
            new_endpoints_are_refused_past_their_number,
            nothing_more_is_kept_past_the_bytes_until_there_is_room,
            bodies_in_flight_have_a_ceiling,
            a_full_queue_refuses_at_once_and_a_stuck_database_in_time,
    }
}

async fn one_address_sends_at_its_rate_at_most() -> TestResult {
    let node = Node::builder()
        .setting("capture.client_rate_max", 5)
        .setting("auth.mode", "none")
        .setting("server.trusted_proxies", "127.0.0.1")
        .start()
        .await?;
    let mut refused = 0;
    for _ in 0..15 {
        let answer = node.get("/r/rate").await?;
        if answer.status != 200 {
            check_problem(&answer, 429, "rate-limited")?;
            refused += 1;
        }
    }
    assert!(refused >= 5, "{refused} of 15 were refused");
    assert_eq!(node.outcomes("rate_limited").await, f64::from(refused));
    assert_eq!(node.captures_of("rate", 15 - refused as usize).await.len(), 15 - refused as usize);
    let other = node.request("GET", "/r/rate", "X-Forwarded-For: 1.2.3.4\r\n").await?;
    assert_eq!(other.status, 200, "another address has a rate of its own");
    let mut refused = 0;
    for number in 0..15 {
        let from = format!("X-Forwarded-For: 2001:db8::{number:x}\r\n");
        refused += u32::from(node.request("GET", "/r/rate", &from).await?.status == 429);
    }
    assert!(refused >= 5, "whoever has a network of IPv6 has all its addresses: {refused} of 15");
    let other = node.request("GET", "/r/rate", "X-Forwarded-For: 2001:db8:0:1::1\r\n").await?;
    assert_eq!(other.status, 200, "another network has a rate of its own");
    Ok(())
}

async fn new_endpoints_are_refused_past_their_number() -> TestResult {
    let node = Node::builder().setting("capture.endpoints_max", 2).start().await?;
    assert_eq!(node.get("/r/one").await?.status, 200);
    assert_eq!(node.get("/r/two").await?.status, 200);
    check_problem(&node.get("/r/three").await?, 507, "storage-full")?;
    assert_eq!(node.get("/r/one").await?.status, 200);
    assert_eq!(node.outcomes("too_many_endpoints").await, 1.0);
    Ok(())
}

async fn nothing_more_is_kept_past_the_bytes_until_there_is_room() -> TestResult {
    let node = Node::builder().setting("capture.kept_bytes_max", 1000).start().await?;
    node.post("/r/full", "x".repeat(2000)).await?;
    eventually(Duration::from_secs(10), "it is full", || async {
        node.get("/r/full").await.is_ok_and(|answer| check_problem(&answer, 507, "storage-full").is_ok())
    })
    .await;
    assert!(node.outcomes("storage_full").await >= 1.0);
    assert_eq!(node.request("DELETE", "/api/endpoints/full/captures", "").await?.status, 204);
    eventually(Duration::from_secs(10), "there is room again", || async {
        node.get("/r/full").await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    Ok(())
}

async fn bodies_in_flight_have_a_ceiling() -> TestResult {
    let node = Node::builder()
        .setting("capture.body_bytes_max", 100_000)
        .setting("capture.bodies_in_flight_bytes_max", 150_000)
        .start()
        .await?;
    let head = b"POST /r/flight HTTP/1.1\r\nHost: a\r\nContent-Length: 65000\r\n\r\n";
    let mut senders = Vec::new();
    for _ in 0..2 {
        let mut sender = Connection::open(node.address()).await?;
        sender.send(head).await?;
        senders.push(sender);
    }
    eventually(Duration::from_secs(5), "both are being received", || async {
        node.metric("creel_bodies_in_flight_bytes").await.is_ok_and(|bytes| bytes == 130_000.0)
    })
    .await;
    let mut third = Connection::open(node.address()).await?;
    third.send(head).await?;
    third.send(&[b'x'; 65_000]).await?;
    check_problem(&third.response().await?, 503, "overloaded")?;
    assert_eq!(node.outcomes("bodies_full").await, 1.0);
    for sender in &mut senders {
        sender.send(&[b'x'; 65_000]).await?;
        assert_eq!(sender.response().await?.status, 200);
    }
    node.post("/r/flight", [b'x'; 65_000]).await?;
    assert_eq!(node.metric("creel_bodies_in_flight_bytes").await?, 0.0);
    Ok(())
}

/// Somebody holds SQLite's write lock: captures wait in the queue, and no longer than their deadline.
async fn a_full_queue_refuses_at_once_and_a_stuck_database_in_time() -> TestResult {
    let node = Node::builder()
        .setting("journal.queue_captures_max", 2)
        .setting("journal.batch_captures_max", 1)
        .setting("journal.commit_deadline_ms", 1500)
        .start()
        .await?;
    let path = node.folder().join("creel-data/creel.db");
    let stuck = rusqlite::Connection::open(path)?;
    stuck.execute_batch("BEGIN IMMEDIATE")?;
    let begun = std::time::Instant::now();
    let mut statuses = Vec::new();
    let senders = (0..10).map(|_| node.get("/r/q"));
    for answer in futures_util::future::join_all(senders).await {
        let answer = answer?;
        let slug = answer.json()?["type"].as_str().unwrap_or_default().replace("/problems/", "");
        check_problem(&answer, 503, &slug)?;
        statuses.push(slug);
    }
    assert!(begun.elapsed() < Duration::from_millis(4500), "nobody hangs: {:?}", begun.elapsed());
    assert!(statuses.iter().any(|slug| slug == "overloaded"), "{statuses:?}");
    assert!(statuses.iter().any(|slug| slug == "not-confirmed"), "{statuses:?}");
    assert!(node.outcomes("queue_full").await >= 1.0);
    assert!(node.outcomes("deadline_passed").await >= 1.0);
    stuck.execute_batch("ROLLBACK")?;
    eventually(Duration::from_secs(10), "captures are taken again", || async {
        node.get("/r/q").await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    node.check_unharmed().await
}
