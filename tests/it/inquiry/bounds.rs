//! How much an inquiry looks at, for how long, and how many do so at a time.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{ask, by_pages, ids, post, send, with};
use crate::harness::client::Connection;
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::{Postgres, shared_postgres};
use crate::harness::{Needs, TestResult, check_problem, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            more_than_an_answer_looks_at_is_gone_on_from_on_sqlite,
            few_among_many_are_found_on_sqlite,
            what_was_removed_is_not_there,
            large_bodies_are_looked_into,
            a_look_ends_in_time,
            what_is_asked_takes_little_memory,
            a_look_ends_with_its_node,
            what_takes_too_long_to_tell_decides_nothing;
        Needs::POSTGRES =>
            more_than_an_answer_looks_at_is_gone_on_from_on_postgres,
            few_among_many_are_found_on_postgres;
        Needs::OWN_POSTGRES => inquiries_wait_for_their_turn_and_too_many_are_refused;
    }
}

async fn more_than_an_answer_looks_at_is_gone_on_from_on_sqlite() -> TestResult {
    more_than_an_answer_looks_at_is_gone_on_from(Node::builder()).await
}

async fn more_than_an_answer_looks_at_is_gone_on_from_on_postgres() -> TestResult {
    let database = shared_postgres().await?;
    more_than_an_answer_looks_at_is_gone_on_from(Node::builder().database(database.url())).await
}

async fn more_than_an_answer_looks_at_is_gone_on_from(builder: NodeBuilder) -> TestResult {
    let node = builder.setting("inquiry.scan_max", 7).start().await?;
    let mut odd = Vec::new();
    for number in 0..30 {
        let id = node.post(&format!("/r/{}?n={number}", ["a", "b"][number % 2]), "x").await?;
        if number % 2 == 1 {
            odd.push(id);
        }
    }
    for (endpoint, scans) in [("b", 3), ("[b]", 0), ("*b", 3), ("*", 5)] {
        let document = json!({"since": "earliest", "endpoint": endpoint, "match": "query.n~=[13579]$"});
        let (mut next, mut count, mut answers) = (json!("earliest"), 0, 0);
        while !next.is_null() {
            let answer = ask(&node, "count", &with(&document, "since", next)).await?;
            let scanned = answer["scanned"].as_u64().ok_or("not scanned")?;
            assert_eq!(answer["complete"], answer["next"].is_null(), "{answer}");
            assert!(if answer["next"].is_null() { scanned < 7 } else { scanned == 7 }, "{answer}");
            count += answer["count"].as_u64().ok_or("no count")?;
            answers += 1;
            next = answer["next"].clone();
        }
        let expected = if scans == 0 { (0, 1) } else { (15, scans) };
        assert_eq!((count, answers), expected, "{endpoint}");
        for order in ["oldest", "newest"] {
            let mut expected = if scans == 0 { Vec::new() } else { odd.clone() };
            if order == "newest" {
                expected.reverse();
            }
            let document = with(&document, "order", order);
            assert_eq!(by_pages(&node, &document, 100).await?, expected, "{endpoint} {order}");
            assert_eq!(by_pages(&node, &document, 4).await?, expected, "{endpoint} {order}");
        }
    }
    Ok(())
}

async fn few_among_many_are_found_on_sqlite() -> TestResult {
    few_among_many_are_found(Node::builder()).await
}

async fn few_among_many_are_found_on_postgres() -> TestResult {
    let database = shared_postgres().await?;
    few_among_many_are_found(Node::builder().database(database.url())).await
}

/// Over several windows of the journal, and over the gap that a removal has left.
async fn few_among_many_are_found(builder: NodeBuilder) -> TestResult {
    let node = builder.start().await?;
    let mut rare = vec![node.post("/r/rare-1", "x").await?];
    for _ in 0..2 {
        fill(&node, 1_500).await?;
        rare.push(node.post("/r/rare-2", "x").await?);
    }
    for round in ["among many", "behind a gap"] {
        for endpoint in [json!("rare-*"), json!("r*-*"), json!(["rare-1", "rare-2"])] {
            let several = endpoint.is_array();
            for order in ["oldest", "newest"] {
                let document = json!({"since": "earliest", "endpoint": endpoint, "order": order});
                let page = ask(&node, "find", &document).await?;
                let mut expected = rare.clone();
                if order == "newest" {
                    expected.reverse();
                }
                assert_eq!((ids(&page), &page["complete"]), (expected, &json!(true)), "{round}: {document}");
                if !several {
                    assert_eq!(page["scanned"], 3, "others are not looked at: {round} {document}");
                }
            }
        }
        assert_eq!(node.request("DELETE", "/api/endpoints/noise/captures", "").await?.status, 204);
        let target = "/api/captures?endpoint=noise";
        eventually(Duration::from_secs(10), "they are gone", || async {
            node.json(target).await.is_ok_and(|page| page["captures"] == json!([]))
        })
        .await;
    }
    Ok(())
}

/// Sends so many to an endpoint, over a few connections.
pub async fn fill(node: &Node, count: usize) -> TestResult {
    const SENDERS: usize = 10;
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..SENDERS {
        let address = node.address();
        senders.spawn(async move {
            let mut connection = Connection::open(address).await?;
            for _ in 0..count / SENDERS {
                connection.send(b"GET /r/noise HTTP/1.1\r\nHost: a\r\n\r\n").await?;
                assert_eq!(connection.response().await?.status, 200);
            }
            TestResult::Ok(())
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    Ok(())
}

async fn what_was_removed_is_not_there() -> TestResult {
    let node = Node::builder().start().await?;
    for code in ["gone", "stays"] {
        for _ in 0..5 {
            node.post(&format!("/r/{code}"), "x").await?;
        }
    }
    let one = node.post("/r/stays", "y").await?;
    let last = node.post("/r/stays", "x".repeat(100_000)).await?;
    assert_eq!(node.request("DELETE", &format!("/api/captures/{one}"), "").await?.status, 204);
    assert_eq!(node.request("DELETE", "/api/endpoints/gone/captures", "").await?.status, 204);
    let counted = |endpoint: &'static str| {
        let node = &node;
        async move {
            let answer = ask(node, "count", &json!({"since": "earliest", "endpoint": endpoint})).await?;
            assert_eq!(answer["scanned"], answer["count"], "{answer}");
            TestResult::Ok(answer["count"].clone())
        }
    };
    for (endpoint, count) in [("gone", 0), ("stays", 6), ("*", 6), ("g*", 0)] {
        assert_eq!(counted(endpoint).await?, count, "{endpoint}");
    }
    node.post("/r/gone", "new").await?;
    assert_eq!((counted("gone").await?, counted("g*").await?), (json!(1), json!(1)));
    assert_eq!(node.request("DELETE", &format!("/api/captures/{last}"), "").await?.status, 204);
    let claims = json!({"since": "earliest", "endpoint": "stays", "claims": [{"count": {"exactly": 5}}]});
    assert_eq!(ask(&node, "verify", &claims).await?["outcome"], "satisfied");
    Ok(())
}

async fn large_bodies_are_looked_into() -> TestResult {
    let node = Node::builder().setting("rules.body_bytes_max", 400_000).start().await?;
    let body =
        |bytes: usize, end: &str| format!("{{\"filler\":\"{}\",\"end\":\"{end}\"}}", "x".repeat(bytes));
    let fits = node.post("/r/a", body(300_000, "here")).await?;
    let too_large = node.post("/r/a", body(500_000, "here")).await?;
    node.post("/r/a", body(300_000, "there")).await?;
    let small = node.post("/r/a", body(10, "here")).await?;
    for (expression, expected) in [
        ("json.$.end=here", vec![&fits, &small]),
        ("body^={\"filler\":\"xxx json.$.end=here", vec![&fits, &small]),
        ("body*='\"here\"'", vec![&fits, &small]),
        ("body_size>400000", vec![&too_large]),
        ("method=GET json.$.end=here", vec![]),
    ] {
        let document = json!({"since": "earliest", "match": expression});
        let found = ask(&node, "find", &document).await?;
        assert_eq!(ids(&found).iter().collect::<Vec<_>>(), expected, "{expression}");
        let claims = json!([{"count": {"exactly": expected.len()}, "match": expression}]);
        let verified = ask(&node, "verify", &json!({"since": "earliest", "claims": claims})).await?;
        assert_eq!(verified["outcome"], "satisfied", "{verified}");
    }
    let claims = json!([{"unique_by": {"json": "$.end"}}]);
    let verified = ask(&node, "verify", &json!({"since": "earliest", "claims": claims})).await?;
    assert_eq!(
        (&verified["claims"][0]["found"], &verified["claims"][0]["captures"][0]["id"]),
        (&json!(3), &json!(small))
    );
    Ok(())
}

/// One that would take long says how far it came, and can be gone on with.
async fn a_look_ends_in_time() -> TestResult {
    const CAPTURES: u64 = 250;
    let node = Node::builder().setting("inquiry.scan_time_max_s", 1).start().await?;
    let document = slow(&node, CAPTURES).await?;
    let (mut next, mut scanned, mut answers) = (json!("earliest"), 0, 0);
    while !next.is_null() {
        let began = std::time::Instant::now();
        let answer = ask(&node, "count", &with(&document, "since", next)).await?;
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        scanned +=
            answer["scanned"].as_u64().filter(|scanned| *scanned > 0).ok_or("nothing was looked at")?;
        answers += 1;
        next = answer["next"].clone();
    }
    assert!(answers > 1, "it took no second, and tells nothing");
    assert_eq!(scanned, CAPTURES);
    Ok(())
}

/// What a look of many seconds has not seen, can be asked of another node.
async fn a_look_ends_with_its_node() -> TestResult {
    let node = Node::builder().start().await?;
    let document = slow(&node, 250).await?;
    let asked = ask(&node, "count", &document);
    let stopped = async {
        eventually(Duration::from_secs(10), "it looks", || async {
            node.metric("creel_inquiries").await.is_ok_and(|now| now == 1.0)
        })
        .await;
        node.term().await
    };
    let (answer, stopped) = tokio::join!(asked, stopped);
    let answer = answer?;
    assert!(stopped?.success());
    assert_eq!((&answer["complete"], answer["next"].is_string()), (&json!(false), true), "{answer}");
    assert!(answer["scanned"].as_u64().is_some_and(|scanned| scanned < 250), "{answer}");
    node.start_again().await?;
    let rest = ask(&node, "count", &with(&json!({}), "since", answer["next"].clone())).await?;
    assert_eq!(rest["scanned"].as_u64().zip(answer["scanned"].as_u64()).map(|(a, b)| a + b), Some(250));
    Ok(())
}

/// Whatever a slow expression would have said: it counts as none, it is told, and nothing that it could break holds.
async fn what_takes_too_long_to_tell_decides_nothing() -> TestResult {
    let node = Node::builder().start().await?;
    let slow = too_slow(&node).await?;
    let quick = node.post("/r/quick", "x").await?;
    // Every capture matches, if there were time.
    let found = ask(&node, "find", &json!({"since": "earliest", "match": slow})).await?;
    assert_eq!((ids(&found), &found["gave_up"], &found["scanned"]), (vec![quick], &json!(1), &json!(2)));
    let counted = ask(&node, "count", &json!({"since": "earliest", "match": slow})).await?;
    assert_eq!((&counted["count"], &counted["gave_up"]), (&json!(1), &json!(1)));
    let fast = ask(&node, "count", &json!({"since": "earliest", "match": "method=POST"})).await?;
    assert_eq!((&fast["count"], fast.get("gave_up")), (&json!(2), None));

    let claim = |claim: Value| with(&claim, "match", slow.clone());
    for (claim, holds) in [
        (claim(json!({"count": {"exactly": 1}})), json!(null)),
        (claim(json!({"count": {"at_most": 1}})), json!(null)),
        (claim(json!({"count": {"at_most": 0}})), json!(false)),
        (claim(json!({"count": 1})), json!(true)),
        (claim(json!({"count": 2})), json!(null)),
        (json!({"unique_by": {"header": "x-id", "match": slow}}), json!(null)),
        (json!({"spacing": {"most_ms": 86_400_000, "match": slow}}), json!(null)),
        (json!({"in_order": [slow]}), json!(true)),
        (json!({"in_order": [slow], "others": false}), json!(null)),
        (json!({"in_order": [slow, slow]}), json!(null)),
    ] {
        let verified = json!({"since": "earliest", "claims": [claim]});
        let verified = ask(&node, "verify", &verified).await?;
        assert_eq!(
            (&verified["claims"][0]["holds"], &verified["gave_up"]),
            (&holds, &json!(1)),
            "{verified}"
        );
    }
    let within = json!({"since": "earliest", "match": slow, "claims": [{"count": {"exactly": 1}}]});
    assert_eq!(ask(&node, "verify", &within).await?["outcome"], "incomplete");
    Ok(())
}

/// A capture, and an expression that matches all captures, of this one far too late: no automaton remembers so much of it.
pub async fn too_slow(node: &Node) -> TestResult<Value> {
    let mut random = 1_u32;
    let letter = |_| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ['a', 'b', ' '][(random >> 16) as usize % 3]
    };
    node.post("/r/slow", (0..600_000).map(letter).collect::<String>()).await?;
    let pattern = |n: usize| format!("(?-u)[ab].{{250}}[d-y]{{{n}}}");
    let slow: Vec<Value> = (1..=20).map(|n| json!({"at": "body_text", "matches": pattern(n)})).collect();
    Ok(json!({"not": {"any": slow}}))
}

/// Captures, and an inquiry that takes long with each.
async fn slow(node: &Node, captures: u64) -> TestResult<Value> {
    let body = "ab ".repeat(20_000);
    for _ in 0..captures {
        node.post("/r/a", &body).await?;
    }
    let pattern = |n: usize| format!("[ab].{{14}}[d-y]{{{n}}}");
    let slow: Vec<Value> = (1..=60).map(|n| json!({"at": "body_text", "matches": pattern(n)})).collect();
    Ok(json!({"since": "earliest", "match": {"not": {"any": slow}}}))
}

/// Patterns that are small as text, and large compiled.
fn large_patterns(count: usize) -> Value {
    json!({"any": vec![json!({"at": "body_text", "matches": "\\w{4}0"}); count]})
}

async fn what_is_asked_takes_little_memory() -> TestResult {
    let node = Node::builder().setting("inquiry.expressions_bytes_max", 8 << 20).start().await?;
    let (large, some) = (large_patterns(30), large_patterns(10));
    for what in ["find", "count", "wait"] {
        let document = json!({"since": "earliest", "match": large});
        let problem = check_problem(&post(&node, what, &document).await?, 400, "bad-request")?;
        assert!(problem["detail"].as_str().is_some_and(|why| why.contains("8388608 bytes")), "{problem}");
    }
    let claims = vec![json!({"count": {"at_least": 1}, "match": some}); 10];
    let document = json!({"since": "earliest", "claims": claims});
    check_problem(&post(&node, "verify", &document).await?, 400, "bad-request")?;
    let refused = node.request("GET", &format!("/api/stream?match={}", escaped(&large)), "").await?;
    check_problem(&refused, 400, "invalid-parameter")?;
    // What waits holds room that others do not have, until it is over.
    let waits = json!({"since": "earliest", "endpoint": "a", "match": {"not": some}, "timeout_ms": 30_000});
    let counts = json!({"since": "earliest", "match": some});
    let refused = async {
        eventually(Duration::from_secs(10), "it waits", || async {
            node.metric("creel_inquiry_expression_bytes").await.is_ok_and(|bytes| bytes > 4e6)
        })
        .await;
        check_problem(&post(&node, "count", &counts).await?, 503, "overloaded")?;
        let stream = node.request("GET", &format!("/api/stream?match={}", escaped(&some)), "").await?;
        check_problem(&stream, 503, "overloaded")?;
        node.post("/r/a", "x").await?;
        TestResult::Ok(())
    };
    let (waited, refused) = tokio::join!(ask(&node, "wait", &waits), refused);
    refused?;
    assert_eq!(waited?["outcome"], "satisfied");
    eventually(Duration::from_secs(10), "there is room again", || async {
        post(&node, "count", &counts).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    Ok(())
}

fn escaped(value: &Value) -> String {
    percent_encoding::utf8_percent_encode(&value.to_string(), percent_encoding::NON_ALPHANUMERIC).to_string()
}

async fn inquiries_wait_for_their_turn_and_too_many_are_refused() -> TestResult {
    let database = Postgres::start().await?;
    let node = Node::builder()
        .database(database.url())
        .setting("inquiry.scans_max", 1)
        .setting("inquiry.scans_waiting_max", 1)
        .setting("database.statement_timeout_ms", 30_000)
        .start()
        .await?;
    let id = send(&node, "POST /r/a", "", b"x").await?;
    let document = json!({"since": "earliest"});
    database.freeze();
    // One looks, one waits for its turn, and whichever comes last finds no room.
    let mut asked: FuturesUnordered<_> = (0..3).map(|_| post(&node, "find", &document)).collect();
    let refused = asked.next().await.ok_or("three were asked")??;
    check_problem(&refused, 503, "overloaded")?;
    assert!(node.metric("creel_inquiries_refused_total").await? >= 1.0);
    assert!(node.metric("creel_inquiries").await? >= 1.0);
    database.thaw();
    while let Some(answer) = asked.next().await {
        let answer = answer?;
        assert_eq!(ids(&answer.json()?), std::slice::from_ref(&id), "{}", answer.text());
    }
    eventually(Duration::from_secs(5), "nobody looks", || async {
        node.metric("creel_inquiries").await.is_ok_and(|now| now == 0.0)
    })
    .await;
    assert_eq!(ask(&node, "count", &document).await?["count"], 1);
    Ok(())
}
