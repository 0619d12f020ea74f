//! Retention: what is too old or too much goes in small steps, the totals are right, readers are told.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::client::{Framing, Subscriber, captures};
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::{shared_postgres, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, check_problem, eventually, eventually_some, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            an_endpoint_keeps_its_newest,
            what_is_too_old_goes,
            a_slow_upload_takes_no_fresh_capture_with_it,
            the_oldest_go_when_it_is_too_much_in_all,
            bodies_and_answers_go_with_their_captures,
            a_reader_whose_place_was_trimmed_is_told,
            what_was_trimmed_is_soon_in_no_ring;
        Needs::POSTGRES | Needs::REDIS => what_was_trimmed_is_soon_in_no_nodes_ring;
        Needs::NOTHING => an_endpoint_keeps_as_its_settings_say_on_sqlite;
        Needs::POSTGRES => an_endpoint_keeps_as_its_settings_say_on_postgres;
    }
}

const LIMIT: Duration = Duration::from_secs(20);

/// In small steps, looked at often.
fn keeping(setting: &str, value: u64) -> NodeBuilder {
    Node::builder()
        .setting("retention.interval_ms", 100)
        .setting("retention.step_captures", 3)
        .setting(&format!("retention.{setting}"), value)
}

async fn totals(node: &Node, code: &str) -> TestResult<(u64, u64)> {
    let page = node.json("/api/endpoints").await?;
    let found = page["endpoints"].as_array().and_then(|all| all.iter().find(|e| e["code"] == *code));
    let number = |key: &str| found.and_then(|endpoint| endpoint[key].as_u64()).unwrap_or_default();
    Ok((number("captures"), number("bytes")))
}

/// The bodies that are kept, the oldest first.
async fn bodies(node: &Node, code: &str) -> TestResult<Vec<String>> {
    let page = node.json(&format!("/api/captures?order=oldest&limit=500&endpoint={code}")).await?;
    let all = page["captures"].as_array().ok_or("no captures")?;
    Ok(all.iter().map(|c| c["body"]["content"].as_str().unwrap_or_default().to_owned()).collect())
}

/// The bodies that a stream has sent.
fn contents(messages: &[Value]) -> Vec<Value> {
    captures(messages).iter().map(|capture| capture["body"]["content"].clone()).collect()
}

async fn an_endpoint_keeps_its_newest() -> TestResult {
    let node = keeping("captures_per_endpoint_max", 5).start().await?;
    for i in 0..20 {
        node.post("/r/many", format!("{i:02}")).await?;
    }
    for i in 0..4 {
        node.post("/r/few", i.to_string()).await?;
    }
    eventually(LIMIT, "five are left, and counted", || async {
        bodies(&node, "many").await.is_ok_and(|left| left == ["15", "16", "17", "18", "19"])
            && totals(&node, "many").await.is_ok_and(|(captures, _)| captures == 5)
    })
    .await;
    assert_eq!(bodies(&node, "few").await?.len(), 4);
    eventually(LIMIT, "what was trimmed is deleted", || async {
        node.metric("creel_retention_captures_total").await.is_ok_and(|gone| gone == 15.0)
    })
    .await;
    node.post("/r/many", "20").await?;
    eventually(LIMIT, "and so it goes on", || async {
        bodies(&node, "many").await.is_ok_and(|left| left == ["16", "17", "18", "19", "20"])
    })
    .await;
    Ok(())
}

async fn an_endpoint_keeps_as_its_settings_say_on_sqlite() -> TestResult {
    keeps_as_settings_say(keeping("captures_per_endpoint_max", 3)).await
}

async fn an_endpoint_keeps_as_its_settings_say_on_postgres() -> TestResult {
    let database = shared_postgres().await?;
    keeps_as_settings_say(keeping("captures_per_endpoint_max", 3).database(database.url())).await
}

async fn keeps_as_settings_say(builder: NodeBuilder) -> TestResult {
    let node = builder.setting("retention.age_s_max", 1000).start().await?;
    for (code, retention) in [
        ("fewer", json!({"captures_max": 1})),
        ("all", json!({"captures_max": 0})),
        ("briefly", json!({"age_s_max": 1, "captures_max": 100})),
        ("labelled", json!({})),
    ] {
        let settings = json!({"retention": retention});
        let saved =
            node.http().put(node.url(&format!("/api/endpoints/{code}"))).json(&settings).send().await?;
        assert_eq!(saved.status(), 201, "{code}");
    }
    for i in 0..8 {
        for code in ["fewer", "all", "briefly", "labelled", "other"] {
            node.post(&format!("/r/{code}"), i.to_string()).await?;
        }
    }
    for (code, left) in [("fewer", 1), ("all", 8), ("briefly", 0), ("labelled", 3), ("other", 3)] {
        eventually(LIMIT, code, || async {
            bodies(&node, code).await.is_ok_and(|bodies| bodies.len() == left)
                && totals(&node, code).await.is_ok_and(|(captures, _)| captures == left as u64)
        })
        .await;
    }
    Ok(())
}

async fn what_is_too_old_goes() -> TestResult {
    let node = keeping("age_s_max", 2).start().await?;
    let mut ids = Vec::new();
    for code in ["a", "b", "a", "c", "a", "b", "a"] {
        ids.push(node.post(&format!("/r/{code}"), code).await?);
    }
    assert_eq!(bodies(&node, "a").await?.len(), 4, "not yet");
    eventually(LIMIT, "all of them are gone", || async {
        node.json("/api/captures")
            .await
            .is_ok_and(|page| page["captures"].as_array().is_some_and(Vec::is_empty))
            && totals(&node, "a").await.is_ok_and(|totals| totals == (0, 0))
    })
    .await;
    check_problem(&node.get(&format!("/api/captures/{}", ids[0])).await?, 404, "unknown-capture")?;
    node.post("/r/a", "new").await?;
    assert_eq!(bodies(&node, "a").await?, ["new"]);
    Ok(())
}

async fn a_slow_upload_takes_no_fresh_capture_with_it() -> TestResult {
    const AGE_S: u64 = 3;
    let node = keeping("age_s_max", AGE_S).start().await?;
    let mut slow = TcpStream::connect(node.address()).await?;
    slow.write_all(b"POST /r/a HTTP/1.1\r\nHost: creel.test\r\nContent-Length: 4\r\n\r\nsl").await?;
    node.post("/r/b", "as old").await?;
    eventually(LIMIT, "what was received with it is too old", || async {
        bodies(&node, "b").await.is_ok_and(|left| left.is_empty())
    })
    .await;
    let sent = Instant::now();
    node.post("/r/a", "fresh").await?;
    slow.write_all(b"ow").await?;
    slow.read_u8().await?;
    let age = eventually_some(LIMIT, "all go in the end", || async {
        bodies(&node, "a").await.is_ok_and(|left| left.is_empty()).then(|| sent.elapsed())
    })
    .await;
    assert!(age >= Duration::from_secs(AGE_S), "it went after {age:?}");
    Ok(())
}

async fn the_oldest_go_when_it_is_too_much_in_all() -> TestResult {
    let node = keeping("bytes_max", 20_000).start().await?;
    for i in 0..30 {
        node.post(if i % 2 == 0 { "/r/even" } else { "/r/odd" }, format!("{i:02}{}", "x".repeat(2000)))
            .await?;
    }
    eventually(LIMIT, "no more than may be is kept", || async {
        let (even, odd) = (totals(&node, "even").await, totals(&node, "odd").await);
        matches!((even, odd), (Ok((e, b)), Ok((o, c))) if e + o > 0 && b + c <= 20_000)
    })
    .await;
    // Two listings, between which some may go.
    let left = eventually_some(LIMIT, "the oldest of all went, whatever their endpoint", || async {
        let left = [bodies(&node, "even").await.ok()?, bodies(&node, "odd").await.ok()?].concat();
        let mut left: Vec<u32> = left.iter().filter_map(|body| body[..2].parse().ok()).collect();
        left.sort_unstable();
        (left == (30 - u32::try_from(left.len()).ok()?..30).collect::<Vec<_>>()).then_some(left)
    })
    .await;
    assert!(left.len() >= 5, "and no more than must: {left:?}");
    Ok(())
}

async fn bodies_and_answers_go_with_their_captures() -> TestResult {
    let node = keeping("captures_per_endpoint_max", 1).start().await?;
    for _ in 0..3 {
        node.post("/r/large", vec![b'x'; 300_000]).await?;
    }
    let rows = |table: &str| -> TestResult<i64> {
        let file = rusqlite::Connection::open(node.folder().join("creel-data/creel.db"))?;
        Ok(file.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
    };
    eventually(LIMIT, "only what belongs to the one is left", || async {
        rows("journal").is_ok_and(|n| n == 1)
            && rows("body_parts").is_ok_and(|n| n == 2)
            && rows("answer_pages").is_ok_and(|n| n == 1)
    })
    .await;
    Ok(())
}

async fn a_reader_whose_place_was_trimmed_is_told() -> TestResult {
    // Nothing comes from the ring.
    let node = keeping("captures_per_endpoint_max", 2).setting("feed.ring_events_max", 1).start().await?;
    node.post("/r/a", "0").await?;
    let mut reader = Subscriber::open(Framing::Ndjson, &node.address(), "since=earliest").await?;
    reader.read_captures(1, LIMIT).await?;
    let place = reader.cursor().ok_or("no cursor")?.to_owned();
    drop(reader);
    for i in 1..10 {
        node.post("/r/a", i.to_string()).await?;
        node.post("/r/b", i.to_string()).await?;
    }
    eventually(LIMIT, "two of each are left", || async {
        bodies(&node, "a").await.is_ok_and(|left| left == ["8", "9"])
            && bodies(&node, "b").await.is_ok_and(|left| left == ["8", "9"])
    })
    .await;
    let mut told =
        Subscriber::open(Framing::Sse, &node.address(), &format!("endpoint=a&since={place}")).await?;
    let messages = told.read_captures(2, LIMIT).await?;
    let kinds: Vec<&Value> = messages.iter().map(|message| &message["type"]).collect();
    assert_eq!(kinds[..2], ["ready", "truncated"], "{messages:?}");
    assert_eq!(messages[1]["endpoints"], serde_json::json!(["a"]));
    assert_eq!(contents(&messages), ["8", "9"]);
    Ok(())
}

async fn what_was_trimmed_is_soon_in_no_ring() -> TestResult {
    let node = keeping("captures_per_endpoint_max", 3).start().await?;
    forget_what_is_trimmed(&[&node]).await
}

async fn what_was_trimmed_is_soon_in_no_nodes_ring() -> TestResult {
    let database = shared_postgres().await?;
    let builder = keeping("captures_per_endpoint_max", 3)
        .database(database.url())
        .broker(&shared_redis().await?)
        .setting("broker.topic_prefix", topic_prefix());
    let (one, other) = (builder.start().await?, builder.start().await?);
    forget_what_is_trimmed(&[&one, &other]).await
}

/// Rings reach back to the first capture, and are as long as by default.
async fn forget_what_is_trimmed(nodes: &[&Node]) -> TestResult {
    let mut reader = Subscriber::open(Framing::Ndjson, &nodes[0].address(), "endpoint=a").await?;
    for i in 0..10 {
        nodes[i % nodes.len()].post("/r/a", i.to_string()).await?;
        nodes[0].post("/r/b", i.to_string()).await?;
    }
    // Who sees everything as it comes misses nothing, and is told of nothing.
    let all = reader.read_captures(10, LIMIT).await?;
    assert!(all.iter().all(|message| message["type"] != "truncated"), "{all:?}");
    let first = all.iter().find(|message| message["type"] == "capture").ok_or("no capture")?;
    let place = first["cursor"].as_str().ok_or("no cursor")?;
    for node in nodes {
        let seen = async |since: &str| {
            let mut reader =
                Subscriber::open(Framing::Ndjson, &node.address(), &format!("endpoint=a&since={since}"))
                    .await?;
            let messages = reader.read_captures(3, LIMIT).await?;
            let is_told = messages.iter().any(|message| message["type"] == "truncated");
            TestResult::Ok((contents(&messages), is_told))
        };
        let left = [json!("7"), json!("8"), json!("9")];
        eventually(LIMIT, "the ring forgets", || async {
            seen("earliest").await.is_ok_and(|(bodies, is_told)| bodies == left && !is_told)
        })
        .await;
        let (bodies, is_told) = seen(place).await?;
        assert!(bodies == left && is_told, "{bodies:?}, told: {is_told}");
        let counted =
            json!({"endpoint": "a", "since": "earliest", "count": {"exactly": 3}, "timeout_ms": 500});
        let waited = node.http().post(node.url("/api/captures/wait")).json(&counted).send().await?;
        assert_eq!(waited.status(), 200, "{}", waited.text().await?);
    }
    Ok(())
}
