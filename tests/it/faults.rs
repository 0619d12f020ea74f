//! Processes that are killed, databases that go away: what was acknowledged is kept, once; what was not
//! is refused, quickly; and service resumes by itself.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::client::{Framing, Load, Sent, Subscriber, check_has_all, exchange, list_captures};
use crate::harness::node::Node;
use crate::harness::proxy::Proxy;
use crate::harness::servers::{Postgres, shared_postgres, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, eventually, trials};

const SENDERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);
/// Whatever happens to the database, every sender has an answer by then: the deadline of a commit is three
/// seconds, and two cores do all this.
const ANSWERED: Duration = Duration::from_secs(10);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_capture_in_sqlite_survives_kill_9_after_its_answer,
            a_node_that_stood_still_takes_captures_again;
        Needs::POSTGRES => a_capture_in_postgres_survives_kill_9_after_its_answer;
        Needs::OWN_POSTGRES => a_postgres_that_dies_loses_nothing_that_was_acknowledged;
        Needs::OWN_POSTGRES => connections_cut_in_the_middle_of_a_batch_lose_and_double_nothing;
        Needs::OWN_POSTGRES => while_the_database_is_frozen_senders_are_refused_quickly;
        Needs::POSTGRES => listings_that_look_at_much_leave_connections_to_captures;
        Needs::POSTGRES | Needs::REDIS => a_frozen_node_does_not_hold_up_the_others;
        Needs::POSTGRES | Needs::REDIS => a_node_that_is_told_to_stop_finishes_what_it_has_accepted;
    }
}

async fn a_capture_in_sqlite_survives_kill_9_after_its_answer() -> TestResult {
    survives_kill_9(Node::builder().start().await?).await
}

async fn a_capture_in_postgres_survives_kill_9_after_its_answer() -> TestResult {
    let database = shared_postgres().await?;
    survives_kill_9(Node::builder().database(database.url()).start().await?).await
}

async fn survives_kill_9(node: Node) -> TestResult {
    let load = start_load(&[&node]).await?;
    for _ in 0..4 {
        let so_far = load.acknowledged();
        eventually(PATIENCE, "captures", || async { load.acknowledged() >= so_far + 300 }).await;
        node.kill9();
        // As an orchestrator would; the senders find it.
        node.start_again().await?;
    }
    let so_far = load.acknowledged();
    eventually(PATIENCE, "captures again", || async { load.acknowledged() >= so_far + 200 }).await;
    let sent = load.stop().await;
    assert!(sent.broken > 0, "nobody was there when it was killed");
    check_journal(&node, &sent).await
}

/// Sends to an endpoint whose rule counts some of the requests, so that batches claim a state.
async fn start_load(nodes: &[&Node]) -> TestResult<Load> {
    let counted = json!({"at": "method", "in": ["POST", "REPORT"]});
    let rule = json!({"match": counted, "replies": [{"status": 201}, {"status": 202}, {"status": 200}]});
    let saved = nodes[0].http().put(nodes[0].url("/api/rules/counted")).json(&rule).send().await?;
    assert_eq!(saved.status(), 201);
    let addresses: Vec<String> = nodes.iter().map(|node| node.address()).collect();
    Ok(Load::start(SENDERS, &addresses, "/r/a"))
}

/// Every capture that a rule has counted has its own number, in the order of the journal.
fn check_counted(kept: &[Value]) -> TestResult {
    let mut counted: Vec<&Value> = kept.iter().filter(|capture| capture["reply"]["hit"].is_i64()).collect();
    counted.sort_by_key(|capture| capture["seq"].as_i64());
    for (hit, capture) in (1..).zip(&counted) {
        let status = [201, 202].get(hit - 1).unwrap_or(&200);
        assert_eq!((&capture["reply"]["hit"], &capture["reply"]["status"]), (&json!(hit), &json!(status)));
    }
    match counted.len() * 3 > kept.len() {
        true => Ok(()),
        false => Err(format!("{} of {} are counted", counted.len(), kept.len()).into()),
    }
}

/// Everything acknowledged is there, once, and the numbers have no hole.
async fn check_journal(node: &Node, sent: &Sent) -> TestResult {
    let kept = list_captures(node.http(), &node.address(), "endpoint=a").await?;
    check_has_all(&kept.iter().collect::<Vec<_>>(), &sent.acknowledged)?;
    let mut seqs: Vec<i64> = kept.iter().filter_map(|capture| capture["seq"].as_i64()).collect();
    seqs.sort_unstable();
    // The first entry is the rule's.
    assert!(seqs.iter().copied().eq(2..=1 + i64::try_from(kept.len())?), "the numbers have a hole");
    check_counted(&kept)?;
    let bodies: HashSet<&str> =
        kept.iter().filter_map(|capture| capture["body"]["content"].as_str()).collect();
    assert_eq!(bodies.len(), kept.len(), "a request is kept twice");
    Ok(())
}

/// After an outage of the database: service has resumed, and nobody was cut off, left hanging or lost.
async fn check_recovered(node: &Node, load: Load) -> TestResult<Sent> {
    let so_far = load.acknowledged();
    eventually(PATIENCE, "captures again", || async { load.acknowledged() >= so_far + 200 }).await;
    let sent = load.stop().await;
    assert_eq!(sent.broken, 0, "an outage of the database breaks no connection");
    assert!(sent.slowest < ANSWERED, "somebody was left hanging for {:?}", sent.slowest);
    assert!(sent.refused.keys().all(|status| *status == 503), "{:?}", sent.refused);
    check_journal(node, &sent).await?;
    Ok(sent)
}

async fn a_postgres_that_dies_loses_nothing_that_was_acknowledged() -> TestResult {
    let postgres = Postgres::start().await?;
    let node = Node::builder().database(postgres.url()).start().await?;
    let load = start_load(&[&node]).await?;
    for way in ["immediate", "kill -9"] {
        let so_far = load.acknowledged();
        eventually(PATIENCE, "captures", || async { load.acknowledged() >= so_far + 500 }).await;
        match way {
            "immediate" => drop(postgres.stop_immediate().await?),
            _ => postgres.kill9(),
        }
        eventually(PATIENCE, "not ready", || async { !node.is_ready().await }).await;
        // Refused, and at once: the first had to wait for the deadline, these know.
        eventually(PATIENCE, "the node knows", || async {
            node.metric("creel_database_up").await.is_ok_and(|up| up == 0.0)
        })
        .await;
        let asked = Instant::now();
        let refused = node.exchange("POST /r/b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx").await?;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        assert!(asked.elapsed() < Duration::from_secs(2), "refused after {:?}", asked.elapsed());
        postgres.start_again().await?;
    }
    let sent = check_recovered(&node, load).await?;
    assert_eq!(sent.refused.keys().copied().collect::<Vec<_>>(), [503]);
    Ok(())
}

async fn connections_cut_in_the_middle_of_a_batch_lose_and_double_nothing() -> TestResult {
    let postgres = Postgres::start().await?;
    let proxy = Proxy::start(postgres.address()).await?;
    let node = Node::builder().database(&proxy.through(postgres.url())?).start().await?;
    let load = start_load(&[&node]).await?;
    for round in 0..10 {
        let so_far = load.acknowledged();
        eventually(PATIENCE, "captures", || async { load.acknowledged() >= so_far + 100 }).await;
        let cut_so_far = proxy.cut_connections();
        if round % 2 == 0 {
            // Somewhere within a statement.
            proxy.cut_after(rand::random_range(1..40_000));
        } else {
            // The commit is done and its answer is lost: in doubt for the node.
            proxy.hold_replies();
            tokio::time::sleep(Duration::from_millis(100)).await;
            proxy.cut();
            proxy.resume();
        }
        eventually(PATIENCE, "a cut", || async { proxy.cut_connections() > cut_so_far }).await;
    }
    check_recovered(&node, load).await.map(drop)
}

async fn while_the_database_is_frozen_senders_are_refused_quickly() -> TestResult {
    let postgres = Postgres::start().await?;
    let node = Node::builder()
        .database(postgres.url())
        .setting("journal.commit_deadline_ms", 3_000)
        .setting("database.statement_timeout_ms", 3_000)
        .start()
        .await?;
    let load = start_load(&[&node]).await?;
    eventually(PATIENCE, "captures", || async { load.acknowledged() >= 200 }).await;
    postgres.freeze();
    let asked = Instant::now();
    let refused =
        exchange(node.address(), b"POST /r/b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx").await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(asked.elapsed() < Duration::from_secs(10), "refused after {:?}", asked.elapsed());
    postgres.thaw();
    check_recovered(&node, load).await.map(drop)
}

/// As on a laptop that has slept: all who were waiting have lost their patience when it goes on.
async fn a_node_that_stood_still_takes_captures_again() -> TestResult {
    // Few senders, so that now and then nothing is queued behind the commit in which a node stands still; several nodes
    // and rounds, since it is a matter of luck.
    let builder = Node::builder().setting("journal.commit_deadline_ms", 300);
    let nodes = try_join_all((0..4).map(|_| builder.start())).await?;
    let loads: Vec<Load> = nodes.iter().map(|node| Load::start(2, &[node.address()], "/r/a")).collect();
    let all_go_on = async || {
        for load in &loads {
            let so_far = load.acknowledged();
            let captures = || async { load.acknowledged() >= so_far + 20 };
            eventually(PATIENCE, "captures are taken", captures).await;
        }
    };
    for _ in 0..5 {
        all_go_on().await;
        nodes.iter().for_each(|node| node.freeze());
        // The deadline, and the second that senders wait beyond it.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        nodes.iter().for_each(|node| node.thaw());
    }
    all_go_on().await;
    for (node, load) in nodes.iter().zip(loads) {
        let sent = load.stop().await;
        assert_eq!(sent.broken, 0);
        let kept = list_captures(node.http(), &node.address(), "endpoint=a").await?;
        check_has_all(&kept.iter().collect::<Vec<_>>(), &sent.acknowledged)?;
        node.check_unharmed().await?;
    }
    Ok(())
}

/// As of a method that nobody has sent, they go on for as long as a statement may.
async fn listings_that_look_at_much_leave_connections_to_captures() -> TestResult {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                           AND datname = current_database() AND query LIKE '%ORDER BY j.seq%'";
    let database = shared_postgres().await?;
    let node = Node::builder()
        .database(database.url())
        .setting("database.pool_max", 6)
        .setting("database.statement_timeout_ms", 6000);
    let node = node.start().await?;
    node.post("/r/a", "first").await?;
    let (other, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let (locking, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    // What keeps captures has no need of it.
    locking.batch_execute("BEGIN; LOCK TABLE endpoint_totals IN ACCESS EXCLUSIVE MODE").await?;
    let listings = (0..12).map(|_| {
        let listing = node.http().get(node.url("/api/captures")).timeout(PATIENCE);
        tokio::spawn(async move { listing.send().await })
    });
    let listings: Vec<_> = listings.collect();
    eventually(PATIENCE, "listings wait for the database", || async {
        other.query_one(WAITING, &[]).await.is_ok_and(|row| row.get::<_, i64>(0) >= 3)
    })
    .await;
    for _ in 0..5 {
        node.post("/r/a", vec![b'x'; 300_000]).await?;
        assert!(node.is_ready().await);
    }
    let mut without_turn = 0;
    for listing in listings {
        let answer = listing.await??;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        without_turn += usize::from(answer.text().await?.contains("/problems/overloaded"));
    }
    assert!(without_turn > 0, "somebody had no turn in time");
    locking.batch_execute("ROLLBACK").await?;
    eventually(PATIENCE, "all is listed", || async {
        list_captures(node.http(), &node.address(), "").await.is_ok_and(|kept| kept.len() == 6)
    })
    .await;
    Ok(())
}

async fn a_frozen_node_does_not_hold_up_the_others() -> TestResult {
    let database = shared_postgres().await?;
    let builder = Node::builder()
        .database(database.url())
        .broker(&shared_redis().await?)
        .setting("broker.topic_prefix", topic_prefix());
    let (frozen, well) = (builder.start().await?, builder.start().await?);
    let both = Load::start(SENDERS, &[frozen.address(), well.address()], "/r/a");
    eventually(PATIENCE, "captures", || async { both.acknowledged() >= 300 }).await;
    let mut others = Vec::new();
    // Each time somewhere else in its work.
    for _ in 0..6 {
        frozen.freeze();
        let load = Load::start(4, &[well.address()], "/r/a");
        eventually(Duration::from_secs(10), "the other goes on", || async { load.acknowledged() >= 100 })
            .await;
        let sent = load.stop().await;
        assert_eq!((sent.broken, sent.refused.len()), (0, 0), "{:?}", sent.refused);
        assert!(sent.slowest < Duration::from_secs(2), "a sender waited for {:?}", sent.slowest);
        others.extend(sent.acknowledged);
        frozen.thaw();
        let so_far = both.acknowledged();
        eventually(PATIENCE, "both go on", || async { both.acknowledged() >= so_far + 300 }).await;
    }
    let rest = both.stop().await;
    assert_eq!(rest.refused, BTreeMap::new());
    let kept = list_captures(well.http(), &well.address(), "endpoint=a").await?;
    let kept: Vec<&Value> = kept.iter().collect();
    check_has_all(&kept, &others)?;
    check_has_all(&kept, &rest.acknowledged)
}

async fn a_node_that_is_told_to_stop_finishes_what_it_has_accepted() -> TestResult {
    let database = shared_postgres().await?;
    let builder = Node::builder()
        .database(database.url())
        .broker(&shared_redis().await?)
        .setting("broker.topic_prefix", topic_prefix());
    let (stopping, staying) = (builder.start().await?, builder.start().await?);
    let mut watcher = Subscriber::open(Framing::WebSocket, &stopping.address(), "endpoint=a").await?;
    let load = start_load(&[&stopping, &staying]).await?;
    eventually(PATIENCE, "captures", || async { load.acknowledged() >= 500 }).await;
    let asked = Instant::now();
    let status = stopping.term().await?;
    assert!(status.success(), "{status}\n{}", stopping.log());
    assert!(asked.elapsed() < Duration::from_secs(25), "it took {:?}", asked.elapsed());

    // The subscriber is told when to come back, and goes on at the other node.
    let mut messages = watcher.read_until(PATIENCE, |message| message["type"] == "closing").await?;
    let closing = messages.last().ok_or("no message")?;
    assert!(closing["reconnect_ms"].is_u64(), "{closing}");
    let so_far = load.acknowledged();
    eventually(PATIENCE, "captures at the other", || async { load.acknowledged() >= so_far + 100 }).await;
    let sent = load.stop().await;
    let cursor = watcher.cursor().ok_or("no cursor")?;
    let query = format!("endpoint=a&since={cursor}");
    let mut resumed = Subscriber::open(Framing::WebSocket, &staying.address(), &query).await?;
    let kept = list_captures(staying.http(), &staying.address(), "endpoint=a").await?;
    let last = kept.iter().filter_map(|capture| capture["seq"].as_i64()).max();
    let rest = resumed.read_until(PATIENCE, |message| message["capture"]["seq"].as_i64() == last).await?;
    messages.extend(rest);
    crate::harness::client::check_exactly_once_in_order(&messages)?;
    check_has_all(&crate::harness::client::captures(&messages), &sent.acknowledged)?;
    check_journal(&staying, &sent).await
}
