//! `POST /api/captures/wait`: it answers the moment it is decided, misses nothing, and what it says is so.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::client::{Connection, Response};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, eventually, trials};
use crate::inquiry::bounds::too_slow;

mod access;
mod faults;
mod many;

pub fn trials() -> Vec<Trial> {
    [here(), faults::trials(), access::trials(), many::trials()].into_iter().flatten().collect()
}

fn here() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_wait_is_satisfied_by_what_came_before_or_comes_while_it_waits,
            a_wait_that_begins_with_its_capture_is_satisfied,
            every_form_of_count_is_decided_as_soon_as_it_can_be,
            quiet_begins_anew_with_every_match,
            a_wait_in_vain_is_told_what_came_nearest,
            one_wait_goes_on_where_the_other_ended,
            the_latest_that_match_are_shown,
            what_was_answered_and_when_can_be_asked_for,
            bodies_in_parts_are_looked_into;
        Needs::NOTHING =>
            what_was_removed_is_not_shown,
            what_retention_took_is_told,
            what_may_have_been_more_satisfies_no_most,
            blanks_keep_the_connection_alive,
            a_wait_whose_client_went_away_is_dropped,
            waits_have_a_ceiling,
            a_stopping_node_interrupts_its_waits,
            what_cannot_be_waited_for_is_a_problem;
    }
}

const LIMIT: Duration = Duration::from_secs(30);

/// A wait that goes on. Its place is taken once this is there.
struct Wait(Connection);

impl Wait {
    async fn begin(node: &Node, order: &Value) -> TestResult<Self> {
        Self::begin_as(node, "", order).await
    }

    async fn begin_as(node: &Node, headers: &str, order: &Value) -> TestResult<Self> {
        let mut connection = asked(node, headers, order).await?;
        let head = tokio::time::timeout(LIMIT, connection.head_only()).await??;
        if head.status != 200 {
            return Err(format!("{order}: {}", head.status).into());
        }
        Ok(Self(connection))
    }

    /// Everything until the answer's end, and what it says.
    async fn answer(mut self) -> TestResult<Value> {
        let mut body = Vec::new();
        loop {
            let chunk = tokio::time::timeout(LIMIT, self.0.next_chunk()).await??;
            if chunk.is_empty() {
                return Ok(serde_json::from_slice(&body)?);
            }
            body.extend(chunk);
        }
    }
}

async fn asked(node: &Node, headers: &str, order: &Value) -> TestResult<Connection> {
    let (host, order) = (node.address(), order.to_string());
    let length = order.len();
    let head = format!(
        "POST /api/captures/wait HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    let mut connection = Connection::open(host).await?;
    connection.send([head, order].concat().as_bytes()).await?;
    Ok(connection)
}

async fn wait(node: &Node, order: &Value) -> TestResult<Value> {
    Wait::begin(node, order).await?.answer().await
}

async fn refused(node: &Node, order: &Value) -> TestResult<Response> {
    asked(node, "", order).await?.response().await
}

fn ids(answer: &Value) -> Vec<String> {
    let captures = answer["captures"].as_array().into_iter().flatten();
    captures.map(|capture| capture["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// How a wait ended, and with how many.
fn outcome(answer: &Value) -> (&str, u64) {
    (answer["outcome"].as_str().unwrap_or_default(), answer["count"].as_u64().unwrap_or(u64::MAX))
}

async fn a_wait_is_satisfied_by_what_came_before_or_comes_while_it_waits() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/other", "before").await?;
    let before = node.post("/r/a", "before").await?;
    let order = json!({"endpoint": "a", "since": "earliest", "match": "method=POST"});
    let answer = wait(&node, &order).await?;
    assert_eq!((outcome(&answer), ids(&answer)), (("satisfied", 1), vec![before]));
    assert_eq!(answer["captures"][0]["body"]["content"], "before");
    assert_eq!(answer.get("misses"), None);

    let order = json!({"endpoint": ["b", "a"], "since": "now", "match": {"at": "body", "equals": "after"}});
    let waiting = Wait::begin(&node, &order).await?;
    node.post("/r/a", "other").await?;
    let after = node.post("/r/a", "after").await?;
    let answer = waiting.answer().await?;
    assert_eq!((outcome(&answer), ids(&answer)), (("satisfied", 1), vec![after]));
    assert!(answer["took_ms"].as_u64().is_some_and(|took| took < 20_000), "{answer}");
    Ok(())
}

async fn a_wait_that_begins_with_its_capture_is_satisfied() -> TestResult {
    let node = Node::builder().start().await?;
    let mut since = json!("earliest");
    for round in 0..50 {
        let body = round.to_string();
        let order = json!({"endpoint": "a", "since": since, "match": {"at": "body", "equals": body}});
        let (answer, id) = tokio::try_join!(wait(&node, &order), node.post("/r/a", body.clone()))?;
        assert_eq!((outcome(&answer), ids(&answer)), (("satisfied", 1), vec![id]), "round {round}");
        since = answer["next"].clone();
    }
    Ok(())
}

async fn every_form_of_count_is_decided_as_soon_as_it_can_be() -> TestResult {
    let node = Node::builder().start().await?;
    for body in ["x", "y", "x"] {
        node.post("/r/a", body).await?;
    }
    for (count, quiet_ms, timeout_ms, expected, at_once) in [
        (json!(2), 0, 20_000, ("satisfied", 2), true),
        (json!({"at_least": 2}), 50, 20_000, ("satisfied", 2), true),
        (json!({"at_least": 3}), 0, 300, ("timeout", 2), false),
        (json!({"exactly": 2}), 0, 300, ("satisfied", 2), false),
        (json!({"exactly": 2}), 50, 20_000, ("satisfied", 2), true),
        (json!({"exactly": 1}), 0, 20_000, ("exceeded", 2), true),
        (json!({"exactly": 3}), 50, 300, ("timeout", 2), false),
        (json!({"exactly": 0}), 0, 20_000, ("exceeded", 1), true),
        (json!({"at_most": 2}), 0, 300, ("satisfied", 2), false),
        (json!({"at_most": 2}), 50, 20_000, ("satisfied", 2), true),
        (json!({"at_most": 1}), 0, 20_000, ("exceeded", 2), true),
        (json!({"at_least": 2}), 0, 0, ("satisfied", 2), true),
        (json!(3), 0, 0, ("timeout", 2), true),
    ] {
        let order = json!({"since": "earliest", "match": "body=x", "count": count, "quiet_ms": quiet_ms,
            "timeout_ms": timeout_ms});
        let began = Instant::now();
        let answer = wait(&node, &order).await?;
        assert_eq!(outcome(&answer), expected, "{order} {answer}");
        let took = began.elapsed();
        assert_eq!(took < Duration::from_millis(250), at_once, "{order} took {took:?}");
    }
    let none = json!({"since": "earliest", "match": "body=z", "count": {"exactly": 0}, "quiet_ms": 50});
    assert_eq!(outcome(&wait(&node, &none).await?), ("satisfied", 0));
    Ok(())
}

async fn quiet_begins_anew_with_every_match() -> TestResult {
    let node = Node::builder().start().await?;
    let order = json!({"endpoint": "a", "since": "now", "quiet_ms": 400, "count": 1});
    let waiting = Wait::begin(&node, &order).await?;
    let mut last = Instant::now();
    for _ in 0..4 {
        // Twice as often as it may be quiet; others do not count.
        tokio::time::sleep(Duration::from_millis(200)).await;
        node.post("/r/a", "x").await?;
        last = Instant::now();
    }
    node.post("/r/b", "x").await?;
    let answer = waiting.answer().await?;
    assert_eq!(outcome(&answer), ("satisfied", 4));
    assert!(last.elapsed() >= Duration::from_millis(390), "{:?}", last.elapsed());

    let order = json!({"endpoint": "a", "since": "now", "quiet_ms": 400, "count": 1, "timeout_ms": 600});
    let waiting = Wait::begin(&node, &order).await?;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        node.post("/r/a", "x").await?;
    }
    assert_eq!(waiting.answer().await?["outcome"], "timeout", "it was never quiet for so long");
    Ok(())
}

async fn a_wait_in_vain_is_told_what_came_nearest() -> TestResult {
    let node = Node::builder().start().await?;
    let far = node.request("GET", "/r/a?n=1", "").await?;
    let near = node.post("/r/a", "{\"action\":\"closed\"}").await?;
    node.post("/r/elsewhere", "{\"action\":\"closed\"}").await?;
    let order = json!({"endpoint": "a", "since": "earliest", "timeout_ms": 0,
        "match": "method=POST json.$.action=opened !query.n"});
    let answer = wait(&node, &order).await?;
    assert_eq!(outcome(&answer), ("timeout", 0));
    let misses = answer["misses"].as_array().ok_or("no misses")?;
    assert_eq!(misses.len(), 2, "{answer}");
    assert_eq!(
        (&misses[0]["capture"], &misses[0]["held"], &misses[0]["leaves"]),
        (&json!(near), &json!(2), &json!(3))
    );
    let leaf = json!({"at": "json", "path": "$.action", "equals": "opened"});
    assert_eq!(misses[0]["failed"], json!([{"leaf": leaf, "saw": ["closed"]}]));
    assert_eq!(misses[1]["capture"], far.header("x-creel-capture-id").unwrap_or_default());
    let failed = misses[1]["failed"].as_array().ok_or("no leaves")?;
    let saw: Vec<&Value> = failed.iter().map(|failed| &failed["saw"]).collect();
    assert_eq!(saw, [&json!(["GET"]), &json!([]), &json!(["1"])]);
    Ok(())
}

async fn one_wait_goes_on_where_the_other_ended() -> TestResult {
    let node = Node::builder().start().await?;
    let order = |since: &Value| json!({"endpoint": "a", "since": since, "count": 3, "match": "body~=^[0-9]"});
    let sending = async {
        let mut sent = Vec::new();
        for number in 0..30 {
            node.post("/r/a", "not this").await?;
            sent.push(node.post("/r/a", number.to_string()).await?);
        }
        TestResult::Ok(sent)
    };
    let waiting = async {
        let (mut since, mut seen) = (json!("earliest"), Vec::new());
        for _ in 0..10 {
            let answer = wait(&node, &order(&since)).await?;
            assert_eq!(outcome(&answer), ("satisfied", 3));
            seen.extend(ids(&answer));
            since = answer["next"].clone();
        }
        TestResult::Ok(seen)
    };
    let (sent, seen) = tokio::try_join!(sending, waiting)?;
    assert_eq!(seen, sent, "none missed, none twice, in order");
    Ok(())
}

async fn the_latest_that_match_are_shown() -> TestResult {
    let node = Node::builder().start().await?;
    let mut sent = Vec::new();
    for number in 0..30 {
        sent.push(node.post("/r/a", number.to_string()).await?);
    }
    let order = |limit: Value| json!({"since": "earliest", "count": 30, "limit": limit, "body": "none"});
    for (limit, shown) in [(json!(null), 20), (json!(0), 0), (json!(3), 3), (json!(100), 30)] {
        let answer = wait(&node, &order(limit)).await?;
        assert_eq!((outcome(&answer), ids(&answer)), (("satisfied", 30), sent[30 - shown..].to_vec()));
        assert!(
            answer["captures"]
                .as_array()
                .is_some_and(|all| all.iter().all(|c| c["body"]["content"].is_null()))
        );
    }
    // Large ones are fewer: what is held of them has a bound.
    for _ in 0..60 {
        node.post("/r/large", "x".repeat(60_000)).await?;
    }
    let answer =
        wait(&node, &json!({"endpoint": "large", "since": "earliest", "count": 60, "limit": 60})).await?;
    assert_eq!(outcome(&answer), ("satisfied", 60));
    assert!((5..=20).contains(&ids(&answer).len()), "{}", ids(&answer).len());
    Ok(())
}

async fn what_was_answered_and_when_can_be_asked_for() -> TestResult {
    let node = Node::builder().start().await?;
    let rule = json!({"match": {"at": "body", "contains": "odd"}, "reply": {"status": 422}});
    let saved = node.http().put(node.url("/api/rules/refuses")).json(&rule).send().await?;
    assert_eq!(saved.status(), 201);
    node.post("/r/a", "even").await?;
    let refused = node.exchange("POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nodd").await?;
    assert_eq!(refused.status, 422);
    let kept = node.kept(&refused).await?;
    let received = kept["received"].as_str().ok_or("no instant")?;
    for (expression, expected) in [
        ("status>=400", 1),
        ("status=422 rule=refuses reply_source=rule kind=http", 1),
        ("!rule", 1),
        (&format!("received<{received}"), 1),
        (&format!("received>={received}"), 1),
        ("received>2026-01-01T00:00:00Z", 2),
        ("rule=another", 0),
    ] {
        let order = json!({"since": "earliest", "match": expression, "count": {"exactly": expected}, "timeout_ms": 0});
        assert_eq!(outcome(&wait(&node, &order).await?), ("satisfied", expected), "{expression}");
    }
    Ok(())
}

async fn bodies_in_parts_are_looked_into() -> TestResult {
    let node = Node::builder().setting("rules.body_bytes_max", 1_000_000).start().await?;
    let long = |bytes: usize| format!("{{\"fill\":\"{}\",\"end\":1}}", "x".repeat(bytes));
    let order = json!({"endpoint": "a", "since": "now", "match": "method=POST json.$.end=1", "count": {"exactly": 2},
        "quiet_ms": 1_000});
    let waiting = Wait::begin(&node, &order).await?;
    node.post("/r/a", long(700_000)).await?;
    node.post("/r/a", long(100)).await?;
    // Past what is looked at, it is no JSON.
    let cut = node.post("/r/a", long(1_200_000)).await?;
    let answer = waiting.answer().await?;
    assert_eq!(outcome(&answer), ("satisfied", 2));
    assert_eq!(answer["captures"][0]["body"]["preview"], true);
    let order = json!({"endpoint": "a", "since": "earliest", "match": "method=PUT json.$.end=2 body_size>1000000",
        "timeout_ms": 0});
    let answer = wait(&node, &order).await?;
    assert_eq!(answer["misses"][0]["capture"], json!(cut), "{answer}");
    let failed = json!([{"leaf": {"at": "method", "equals": "PUT"}, "saw": ["POST"]}]);
    assert_eq!(answer["misses"][0]["failed"], failed, "its body was not read");
    Ok(())
}

async fn what_was_removed_is_not_shown() -> TestResult {
    let node = Node::builder().start().await?;
    let order = json!({"endpoint": "*", "since": "now", "match": "method=POST body=x", "count": {"exactly": 4},
        "timeout_ms": 1_500});
    let waiting = Wait::begin(&node, &order).await?;
    let one = node.post("/r/a", "x").await?;
    node.post("/r/b", "x").await?;
    node.post("/r/b", "a miss").await?;
    let stays = node.post("/r/a", "x").await?;
    assert_eq!(node.request("DELETE", &format!("/api/captures/{one}"), "").await?.status, 204);
    assert_eq!(node.request("DELETE", "/api/endpoints/b/captures", "").await?.status, 204);
    let answer = waiting.answer().await?;
    assert_eq!((outcome(&answer), ids(&answer)), (("timeout", 3), vec![stays]));
    assert_eq!(answer["misses"], json!([]));
    // Who comes later does not see them at all.
    let order = json!({"since": "earliest", "match": "body=x", "count": {"exactly": 1}, "timeout_ms": 0});
    assert_eq!(outcome(&wait(&node, &order).await?), ("satisfied", 1));
    Ok(())
}

async fn what_retention_took_is_told() -> TestResult {
    let node = Node::builder()
        .setting("retention.interval_ms", 100)
        .setting("retention.captures_per_endpoint_max", 5)
        .setting("feed.ring_events_max", 1)
        .start()
        .await?;
    let first = wait(&node, &json!({"since": "earliest", "timeout_ms": 0})).await?;
    for number in 0..20 {
        node.post("/r/a", number.to_string()).await?;
    }
    eventually(LIMIT, "fifteen are gone", || async {
        node.metric("creel_retention_captures_total").await.is_ok_and(|gone| gone == 15.0)
    })
    .await;
    let order = json!({"endpoint": "a", "since": first["next"], "count": 20, "timeout_ms": 0});
    let answer = wait(&node, &order).await?;
    assert_eq!((outcome(&answer), &answer["truncated"]), (("timeout", 5), &json!(true)));
    for (count, expected) in [
        (json!({"exactly": 5}), "interrupted"),
        (json!({"at_most": 9}), "interrupted"),
        (json!({"at_most": 4}), "exceeded"),
        (json!(5), "satisfied"),
    ] {
        let order = json!({"endpoint": "a", "since": first["next"], "count": count, "timeout_ms": 0});
        assert_eq!(outcome(&wait(&node, &order).await?), (expected, 5), "{order}");
    }
    let another = wait(&node, &json!({"endpoint": "b", "since": first["next"], "timeout_ms": 0})).await?;
    assert_eq!(another.get("truncated"), None, "nothing of its own is gone");
    Ok(())
}

async fn what_may_have_been_more_satisfies_no_most() -> TestResult {
    let (node, other) = (Node::builder().start().await?, Node::builder().start().await?);
    let of_another = wait(&other, &json!({"since": "now", "timeout_ms": 0})).await?["next"].clone();
    let slow = too_slow(&node).await?;
    let run = node.http().post(node.url("/api/runs")).json(&json!({"name": "in doubt"})).send().await?;
    let run: Value = run.json().await?;
    let run_url = format!("/api/runs/{}", run["id"].as_str().ok_or("no id")?);
    for (count, expected) in [
        (json!({"exactly": 0}), ("interrupted", 0)),
        (json!({"at_most": 1}), ("interrupted", 0)),
        (json!({"exactly": 1}), ("timeout", 0)),
        (json!(1), ("timeout", 0)),
    ] {
        let order = |since: &Value| json!({"since": since, "count": count, "timeout_ms": 0});
        let mut reset = order(&of_another);
        reset["run"] = run["id"].clone();
        let reset = wait(&node, &reset).await?;
        assert_eq!((outcome(&reset), &reset["reset"]), (expected, &json!(true)), "{count}");
        let mut gave_up = order(&json!("earliest"));
        gave_up["match"] = slow.clone();
        let gave_up = wait(&node, &gave_up).await?;
        assert_eq!((outcome(&gave_up), &gave_up["gave_up"]), (expected, &json!(1)), "{count}");
    }
    let summary = node.json(&format!("{run_url}/summary")).await?;
    assert_eq!(summary["verifications"]["passed"], 0, "{summary}");
    Ok(())
}

async fn blanks_keep_the_connection_alive() -> TestResult {
    let node = Node::builder().setting("stream.heartbeat_ms", 50).start().await?;
    let mut waiting = Wait::begin(&node, &json!({"since": "now"})).await?;
    for _ in 0..3 {
        assert_eq!(tokio::time::timeout(LIMIT, waiting.0.next_chunk()).await??, b" ");
    }
    node.post("/r/a", "x").await?;
    assert_eq!(outcome(&waiting.answer().await?), ("satisfied", 1));
    Ok(())
}

async fn waiters(node: &Node, expected: f64) {
    eventually(LIMIT, &format!("{expected} wait"), || async {
        node.metric("creel_waiters").await.is_ok_and(|waiters| waiters == expected)
    })
    .await;
}

async fn a_wait_whose_client_went_away_is_dropped() -> TestResult {
    let node = Node::builder().setting("stream.heartbeat_ms", 100).start().await?;
    let order = json!({"since": "now", "timeout_ms": 600_000});
    let mut waits = Vec::new();
    for _ in 0..20 {
        waits.push(Wait::begin(&node, &order).await?);
    }
    waiters(&node, 20.0).await;
    let stays = waits.pop().ok_or("none")?;
    drop(waits);
    waiters(&node, 1.0).await;
    node.post("/r/a", "x").await?;
    assert_eq!(outcome(&stays.answer().await?), ("satisfied", 1));
    waiters(&node, 0.0).await;
    Ok(())
}

async fn waits_have_a_ceiling() -> TestResult {
    let node =
        Node::builder().setting("inquiry.waiters_max", 1).setting("inquiry.wait_max_s", 5).start().await?;
    let waiting = Wait::begin(&node, &json!({"since": "now"})).await?;
    check_problem(&refused(&node, &json!({"since": "now"})).await?, 503, "overloaded")?;
    let problem = check_problem(
        &refused(&node, &json!({"since": "now", "timeout_ms": 5_001})).await?,
        400,
        "bad-request",
    )?;
    assert_eq!(problem["detail"], "/timeout_ms: a whole number from 0 to 5000 is expected");
    node.post("/r/a", "x").await?;
    waiting.answer().await?;
    eventually(LIMIT, "there is room again", || async {
        wait(&node, &json!({"since": "earliest"})).await.is_ok()
    })
    .await;
    Ok(())
}

async fn a_stopping_node_interrupts_its_waits() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/a", "x").await?;
    let order = json!({"endpoint": "a", "since": "earliest", "count": 2});
    let waits = [Wait::begin(&node, &order).await?, Wait::begin(&node, &order).await?];
    assert!(node.term().await?.success());
    for waiting in waits {
        let answer = waiting.answer().await?;
        assert_eq!((outcome(&answer), ids(&answer).len()), (("interrupted", 1), 1));
    }
    // The same request goes on where the journal is.
    node.start_again().await?;
    let waiting = Wait::begin(&node, &order).await?;
    node.post("/r/a", "x").await?;
    assert_eq!(outcome(&waiting.answer().await?), ("satisfied", 2));
    Ok(())
}

async fn what_cannot_be_waited_for_is_a_problem() -> TestResult {
    let node = Node::builder().start().await?;
    for (order, expected) in [
        (
            json!({}),
            "/since: a cursor, an RFC 3339 instant, `earliest` or `now` is needed where there is no `run`",
        ),
        (
            json!({"since": "now", "until": "2026-01-01T00:00:00Z"}),
            "/until: this is not known here; there are `run`",
        ),
        (json!({"since": "now", "count": 0}), "/count: a whole number from 1 to 1000000"),
        (json!({"since": "now", "count": {"exactly": 1, "at_most": 2}}), "/count: a number, or one of"),
        (json!({"since": "now", "quiet_ms": 40_000}), "/quiet_ms: it is over `timeout_ms`"),
        (json!({"since": "now", "timeout_ms": 600_001}), "/timeout_ms: a whole number from 0 to 600000"),
        (json!({"since": "now", "limit": 1_000_000}), "/limit: a whole number from 0 to "),
        (json!({"since": "now", "body": "full"}), "/body: `preview` or `none` is expected"),
        (json!({"since": "now", "endpoint": [""]}), "/endpoint/0: a pattern has 1 to 512 bytes"),
        (
            json!({"since": "now", "match": {"all": [{"at": "colour"}]}}),
            "/match/all/0/at: `colour` is no part of a capture",
        ),
        (
            json!({"since": "now", "match": "colour=red"}),
            "/match: `colour=red`: `colour` is no part of a capture",
        ),
        (
            json!({"since": "now", "match": "path~=("}),
            "/match: `path~=(`: the pattern is wrong at character 1",
        ),
        (json!({"since": "now", "name": "x".repeat(256)}), "/name: it has at most 255 bytes"),
        (json!([]), "an object is expected"),
    ] {
        let problem = check_problem(&refused(&node, &order).await?, 400, "bad-request")?;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with(expected), "{order}: {detail}");
    }
    check_problem(&refused(&node, &json!({"since": "yesterday"})).await?, 400, "invalid-cursor")?;
    check_problem(
        &refused(&node, &json!({"since": "now", "name": "x".repeat(300_000)})).await?,
        413,
        "body-too-large",
    )?;
    let unknown = refused(&node, &json!({"run": "0198c000-0000-7000-8000-000000000000"})).await?;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    Ok(())
}
