//! Tickets: good for one stream, once, on any node, for whom they stand.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;

use super::{ROOT, ask, get, guarded, make, make_by, revoke};
use crate::harness::client::{Framing, Subscriber, captures};
use crate::harness::node::Node;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_ticket_opens_one_stream_and_nothing_else,
            a_ticket_stands_for_who_asked_for_it,
            a_ticket_is_over_with_its_makers_token,
            an_open_node_gives_tickets_too;
        Needs::POSTGRES => a_ticket_is_good_on_another_node_and_once_in_all;
    }
}

const LIMIT: Duration = Duration::from_secs(10);

async fn ticket(node: &Node, secret: &str) -> TestResult<String> {
    let answer = ask(node, secret, "POST", "/api/tickets", "").await?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let given = answer.json()?;
    assert!(given["expires"].is_string(), "{given}");
    given["ticket"].as_str().map(str::to_owned).ok_or_else(|| "no ticket".into())
}

async fn a_ticket_opens_one_stream_and_nothing_else() -> TestResult {
    let node = guarded().start().await?;
    for framing in Framing::ALL {
        let ticket = ticket(&node, ROOT).await?;
        let query = format!("ticket={ticket}&endpoint=a");
        for target in [format!("/api/captures?ticket={ticket}"), format!("/metrics?ticket={ticket}")] {
            check_problem(&get(&node, "", &target).await?, 401, "unauthorized")?;
        }
        let head = ask(&node, "", "HEAD", &format!("/api/stream?{query}"), "").await?;
        assert_eq!(head.status, 401, "a look does not spend it");
        let mut stream = Subscriber::open(framing, &node.address(), &query).await?;
        stream.read_until(LIMIT, |message| message["type"] == "ready").await?;
        node.post("/r/a", "x").await?;
        stream.read_captures(1, LIMIT).await?;
        check_problem(&get(&node, "", &format!("/api/stream?{query}")).await?, 401, "unauthorized")?;
    }
    for wrong in ["", "x", "%00", &"A".repeat(86), ROOT] {
        let answer = get(&node, "", &format!("/api/stream?ticket={wrong}")).await?;
        check_problem(&answer, 401, "unauthorized").map_err(|error| format!("{wrong}: {error}"))?;
    }
    assert!(!node.log().contains("ticket="), "no ticket is logged");
    Ok(())
}

async fn a_ticket_stands_for_who_asked_for_it() -> TestResult {
    let node = guarded().start().await?;
    let token = make(&node, "read", Some("ci-*")).await?;
    let ticket = ticket(&node, &token.secret).await?;
    let mut stream = Subscriber::open(Framing::Ndjson, &node.address(), &format!("ticket={ticket}")).await?;
    stream.read_until(LIMIT, |message| message["type"] == "ready").await?;
    node.post("/r/prod", "foreign").await?;
    node.post("/r/ci-1", "own").await?;
    let messages = stream.read_captures(1, LIMIT).await?;
    assert_eq!(captures(&messages)[0]["endpoint"], "ci-1", "{messages:?}");
    // Its cursors are the token's.
    let cursor = stream.cursor().ok_or("no cursor")?;
    let target = format!("/api/captures?order=oldest&cursor={cursor}");
    assert_eq!(get(&node, &token.secret, &target).await?.status, 200);
    check_problem(&get(&node, ROOT, &target).await?, 400, "invalid-cursor")?;
    Ok(())
}

async fn a_ticket_is_over_with_its_makers_token() -> TestResult {
    let node = guarded().start().await?;
    let token = make(&node, "read", None).await?;
    let unused = ticket(&node, &token.secret).await?;
    let used = ticket(&node, &token.secret).await?;
    let mut stream = Subscriber::open(Framing::Sse, &node.address(), &format!("ticket={used}")).await?;
    stream.read_until(LIMIT, |message| message["type"] == "ready").await?;
    revoke(&node, &token).await?;
    stream.read_until(LIMIT, |message| message["type"] == "closing").await?;
    assert!(stream.next().await?.is_none(), "the stream that it has opened ends");
    let answer = get(&node, "", &format!("/api/stream?ticket={unused}")).await?;
    check_problem(&answer, 401, "unauthorized")?;
    Ok(())
}

async fn an_open_node_gives_tickets_too() -> TestResult {
    let node = Node::builder().start().await?;
    let first = ticket(&node, "").await?;
    let mut stream = Subscriber::open(Framing::Ndjson, &node.address(), &format!("ticket={first}")).await?;
    stream.read_until(LIMIT, |message| message["type"] == "ready").await?;
    let again = get(&node, "", &format!("/api/stream?ticket={first}")).await?;
    check_problem(&again, 401, "unauthorized")?;
    // Whoever came in because nobody was asked has to go when somebody is.
    let second = ticket(&node, "").await?;
    make_by(&node, "", json!({"name": "first", "scope": "admin"})).await?;
    stream.read_until(LIMIT, |message| message["type"] == "closing").await?;
    let late = get(&node, "", &format!("/api/stream?ticket={second}")).await?;
    check_problem(&late, 401, "unauthorized")?;
    Ok(())
}

async fn a_ticket_is_good_on_another_node_and_once_in_all() -> TestResult {
    let database = shared_postgres().await?;
    let builder = guarded().database(database.url());
    let (one, other) = tokio::try_join!(builder.start(), builder.start())?;
    let token = make(&one, "read", None).await?;
    for _ in 0..5 {
        let ticket = ticket(&one, &token.secret).await?;
        let (here, there) = (one.address(), other.address());
        let query = format!("ticket={ticket}");
        let (a, b) = tokio::join!(
            Subscriber::open(Framing::Ndjson, &here, &query),
            Subscriber::open(Framing::Ndjson, &there, &query)
        );
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "one of both");
    }
    let ticket = ticket(&one, &token.secret).await?;
    Subscriber::open(Framing::WebSocket, &other.address(), &format!("ticket={ticket}")).await?;
    Ok(())
}
