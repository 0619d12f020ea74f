//! Reports over the API: what was sent is counted, by whatever it is asked for, however long ago.

use std::sync::Arc;
use std::time::Duration;

use creel::database::{Database, JournalBatch, Migrate, Sql};
use creel::model::header_block::HeaderBlockBuilder;
use creel::model::time::rfc3339;
use creel::model::{Body, Capture, CaptureKind, EndpointCode, ReplyChoice, ReplySource};
use creel::{app, config};
use libtest_mimic::Trial;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use uuid::{ContextV7, Timestamp, Uuid};

use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, eventually, eventually_some, trials, workplace};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            reports_say_what_was_sent_in_sqlite,
            old_captures_are_reported_by_hour_and_day_in_sqlite,
            what_cannot_be_counted_holds_nothing_up_in_sqlite,
            codes_that_a_sender_makes_up_are_counted_as_other,
            a_report_that_would_be_too_long_is_refused,
            what_is_asked_of_reports_is_known_or_refused,
            reports_can_be_switched_off;
        Needs::POSTGRES =>
            reports_say_what_was_sent_in_postgres,
            old_captures_are_reported_by_hour_and_day_in_postgres,
            what_cannot_be_counted_holds_nothing_up_in_postgres;
    }
}

const LIMIT: Duration = Duration::from_secs(20);
const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;

fn now_us() -> TestResult<i64> {
    Ok(i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_micros())?)
}

/// A report once it counts so many captures.
async fn report(node: &Node, target: &str, captures: u64) -> Value {
    let what = format!("{captures} captures in {target}");
    eventually_some(LIMIT, &what, || async {
        node.json(target).await.ok().filter(|report| sum(report, "captures") == captures)
    })
    .await
}

/// The sum of a number over all rows, those of `other` too.
fn sum(report: &Value, number: &str) -> u64 {
    let of = |rows: &Value| match rows {
        Value::Array(rows) => rows.iter().filter_map(|row| row[number].as_u64()).sum(),
        one => one[number].as_u64().unwrap_or_default(),
    };
    ["rows", "endpoints", "other"].iter().map(|name| of(&report[*name])).sum::<u64>()
}

/// The groups of a report with their sums, whatever the time.
fn groups(report: &Value, by: &str) -> Vec<(Value, u64)> {
    let mut found: Vec<(Value, u64)> = Vec::new();
    for row in report["rows"].as_array().into_iter().flatten() {
        let captures = row["captures"].as_u64().unwrap_or_default();
        match found.iter_mut().find(|(group, _)| *group == row[by]) {
            Some((_, count)) => *count += captures,
            None => found.push((row[by].clone(), captures)),
        }
    }
    found
}

async fn reports_say_what_was_sent_in_sqlite() -> TestResult {
    reports_say_what_was_sent(Node::builder()).await
}

async fn reports_say_what_was_sent_in_postgres() -> TestResult {
    let database = shared_postgres().await?;
    reports_say_what_was_sent(Node::builder().database(database.url())).await
}

async fn reports_say_what_was_sent(builder: NodeBuilder) -> TestResult {
    let node = builder.setting("capture.body_bytes_max", 100).start().await?;
    let empty = node.json("/api/reports/captures").await?;
    assert_eq!((&empty["rows"], &empty["other"], &empty["by"]), (&json!([]), &json!([]), &Value::Null));
    for i in 0..7 {
        node.post("/r/orders-1", format!("{i}")).await?;
    }
    node.post("/r/orders-2", "12345").await?;
    node.request("GET", "/r/%25", "").await?;
    node.request("PURGE", "/r/%25", "").await?;
    let too_large =
        format!("POST /r/%25 HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n{}", "x".repeat(101));
    assert_eq!(node.exchange(too_large).await?.status, 413);

    for bucket in ["minute", "hour", "day"] {
        let target = format!("/api/reports/captures?bucket={bucket}&by=endpoint");
        let endpoints = report(&node, &target, 11).await;
        let expected = [(json!("%"), 3), (json!("orders-1"), 7), (json!("orders-2"), 1)];
        let mut found = groups(&endpoints, "endpoint");
        found.sort_by_key(|(group, _)| group.to_string());
        assert_eq!(found, expected, "{bucket}");
        assert_eq!((&endpoints["bucket"], &endpoints["by"]), (&json!(bucket), &json!("endpoint")));
    }
    let by = async |by: &str| -> TestResult<Vec<(Value, u64)>> {
        let mut found = groups(&node.json(&format!("/api/reports/captures?by={by}")).await?, by);
        found.sort_by_key(|(group, _)| group.to_string());
        Ok(found)
    };
    assert_eq!(by("method").await?, [(json!("GET"), 1), (json!("POST"), 9), (json!("other"), 1)]);
    assert_eq!(by("status").await?, [(json!(200), 10), (json!(413), 1)]);
    assert_eq!(by("rule").await?, [(Value::Null, 11)]);
    report(&node, "/api/reports/captures?endpoint=orders-*", 8).await;
    report(&node, "/api/reports/captures?endpoint=%25", 3).await;
    let top = report(&node, "/api/reports/captures?by=endpoint&top=1", 11).await;
    assert_eq!(groups(&top, "endpoint"), [(json!("orders-1"), 7)]);
    assert_eq!(
        top["other"].as_array().ok_or("no other")?.iter().filter_map(|o| o["captures"].as_u64()).sum::<u64>(),
        4
    );

    let totals = node.json("/api/endpoints").await?;
    let listed = totals["endpoints"].as_array().ok_or("no endpoints")?;
    let kept: u64 = listed.iter().filter_map(|endpoint| endpoint["bytes"].as_u64()).sum();
    let busiest = node.json("/api/reports/endpoints?top=2").await?;
    assert_eq!((sum(&busiest, "captures"), sum(&busiest, "bytes")), (11, kept));
    assert_eq!(busiest["endpoints"][0]["endpoint"], "orders-1");
    assert_eq!(busiest["endpoints"][1]["endpoint"], "%");
    assert_eq!(busiest["other"]["captures"], 1);
    let largest = node.json("/api/reports/endpoints?order=bytes&top=1").await?;
    let most = listed.iter().max_by_key(|endpoint| endpoint["bytes"].as_u64()).ok_or("none")?;
    assert_eq!(
        (&largest["endpoints"][0]["endpoint"], &largest["endpoints"][0]["bytes"]),
        (&most["code"], &most["bytes"])
    );

    assert_eq!(node.request("DELETE", "/api/endpoints/orders-1/captures", "").await?.status, 204);
    assert_eq!(sum(&node.json("/api/reports/captures").await?, "captures"), 11, "it was caught all the same");
    node.post("/r/orders-1", "again").await?;
    report(&node, "/api/reports/captures?endpoint=orders-1", 8).await;
    assert_eq!(
        sum(&node.json("/api/reports/captures?until=2020-01-01T00:00:00Z&bucket=day").await?, "captures"),
        0
    );
    node.check_unharmed().await
}

async fn old_captures_are_reported_by_hour_and_day_in_sqlite() -> TestResult {
    let path = workplace::new_folder("reports")?.join("creel.db");
    old_captures_are_reported_by_hour_and_day(&format!("sqlite://{}", path.display())).await
}

async fn old_captures_are_reported_by_hour_and_day_in_postgres() -> TestResult {
    let database = shared_postgres().await?;
    old_captures_are_reported_by_hour_and_day(database.url()).await
}

fn open(url: &str) -> TestResult<Arc<dyn Database>> {
    let flags = vec![("database.url", url.to_owned())];
    let settings = config::load(&config::Source { flags, ..config::Source::default() })?;
    Ok(app::open_database(&settings)?)
}

fn old_capture(received_us: i64) -> TestResult<Arc<Capture>> {
    let nanoseconds = u32::try_from(received_us % 1_000_000)? * 1000;
    let time = Timestamp::from_unix(ContextV7::new(), u64::try_from(received_us / 1_000_000)?, nanoseconds);
    Ok(Arc::new(Capture {
        id: Uuid::new_v7(time),
        endpoint: EndpointCode::parse("old")?,
        kind: CaptureKind::Http,
        received_us,
        method: "POST".into(),
        target: "/r/old".to_owned(),
        version: "HTTP/1.1".into(),
        scheme: "http".into(),
        host: "a".to_owned(),
        port: 80,
        headers: HeaderBlockBuilder::with_capacity(0).finish(),
        peer: ([127, 0, 0, 1], 1).into(),
        client: [127, 0, 0, 1].into(),
        body: Body::default(),
        websocket: None,
        reply: ReplyChoice::of(ReplySource::Default, 200),
    }))
}

/// What came long ago is counted at the next start, by minute, and merged at once.
async fn old_captures_are_reported_by_hour_and_day(url: &str) -> TestResult {
    let now_us = now_us()?;
    let mut captures = Vec::new();
    // Ten minutes of an hour of 70 days ago, and as much of one of three days ago.
    for begin_us in [70, 3].map(|days| (now_us - days * DAY_US) / HOUR_US * HOUR_US) {
        for minute in 0..10 {
            captures.push(old_capture(begin_us + minute * 60_000_000)?);
        }
    }
    let database = open(url)?;
    database.migrate(Migrate::Apply).await?;
    database.append(&JournalBatch { captures: &captures, config_seq: 0, states: None }).await?;
    database.close().await;
    drop(database);

    let node = Node::builder().database(url).setting("retention.interval_ms", 100).start().await?;
    node.post("/r/new", "now").await?;
    let since = |days: i64| rfc3339(now_us - days * DAY_US);
    let days = report(&node, &format!("/api/reports/captures?bucket=day&from={}", since(80)), 21).await;
    assert_eq!(groups(&days, "at").iter().map(|(_, captures)| *captures).collect::<Vec<_>>(), [10, 10, 1]);
    let hours = report(&node, &format!("/api/reports/captures?bucket=hour&from={}", since(5)), 11).await;
    assert_eq!(groups(&hours, "at")[0].1, 10);
    report(&node, "/api/reports/captures?bucket=minute", 1).await;
    report(&node, &format!("/api/reports/endpoints?from={}", since(80)), 21).await;
    for (bucket, days, instead) in [("minute", 3, "`hour`"), ("minute", 80, "`day`"), ("hour", 80, "`day`")] {
        let refused =
            node.get(&format!("/api/reports/captures?bucket={bucket}&from={}", since(days))).await?;
        let problem = check_problem(&refused, 400, "invalid-parameter")?;
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(instead)), "{problem}");
    }
    let merged = [(60_000_000, 1, 1), (HOUR_US, 1, 10), (DAY_US, 1, 10)];
    eventually(LIMIT, "one row each of this minute, that hour and that day", || async {
        spans(url).await.is_ok_and(|found| found == merged)
    })
    .await;
    node.check_unharmed().await
}

/// The lengths of spans with their rows and captures, as they stand in the database of a node that runs.
async fn spans(url: &str) -> TestResult<Vec<(i64, i64, i64)>> {
    const ROWS: Sql = Sql::same(
        "SELECT span_us, count(*), CAST(sum(captures) AS BIGINT) FROM rollups GROUP BY span_us ORDER BY span_us",
    );
    if let Some(path) = url.strip_prefix("sqlite://") {
        // Creel itself keeps a second process out.
        let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut statement = file.prepare(ROWS.sqlite)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        return Ok(rows.collect::<Result<_, _>>()?);
    }
    let rows = open(url)?.query(&ROWS, &[]).await?;
    rows.iter().map(|row| Ok((row.int(0)?, row.int(1)?, row.int(2)?))).collect()
}

async fn what_cannot_be_counted_holds_nothing_up_in_sqlite() -> TestResult {
    let path = workplace::new_folder("reports")?.join("creel.db");
    what_cannot_be_counted_holds_nothing_up(&format!("sqlite://{}", path.display())).await
}

async fn what_cannot_be_counted_holds_nothing_up_in_postgres() -> TestResult {
    let database = shared_postgres().await?;
    what_cannot_be_counted_holds_nothing_up(database.url()).await
}

/// A row that no version of ours writes: totals, which retention goes by, go on without the report.
async fn what_cannot_be_counted_holds_nothing_up(url: &str) -> TestResult {
    const SPOIL: Sql = Sql::same("UPDATE journal SET detail = 'no JSON'");
    let database = open(url)?;
    database.migrate(Migrate::Apply).await?;
    database
        .append(&JournalBatch { captures: &[old_capture(now_us()?)?], config_seq: 0, states: None })
        .await?;
    database.execute(&SPOIL, &[]).await?;
    database.close().await;
    drop(database);
    let node = Node::builder().database(url).start().await?;
    eventually(LIMIT, "it is in the totals", || async {
        node.json("/api/endpoints").await.is_ok_and(|page| page["endpoints"][0]["captures"] == 1)
    })
    .await;
    node.post("/r/new", "x").await?;
    report(&node, "/api/reports/captures", 1).await;
    assert!(node.log().contains("failed to count for reports"), "{}", node.log());
    Ok(())
}

async fn codes_that_a_sender_makes_up_are_counted_as_other() -> TestResult {
    let node = Node::builder().setting("reports.rows_per_minute_max", 5).start().await?;
    for i in 0..60 {
        node.request(&format!("M{i}"), &format!("/r/made-up-{i}"), "").await?;
    }
    let found = report(&node, "/api/reports/captures?by=endpoint&bucket=day", 60).await;
    // The sending may have gone on into another minute.
    assert!(groups(&found, "endpoint").len() <= 10, "{found}");
    assert!(found["other"][0]["captures"].as_u64() >= Some(50), "{found}");
    let methods = report(&node, "/api/reports/captures?by=method", 60).await;
    assert_eq!(groups(&methods, "method"), [(json!("other"), 60)]);
    report(&node, "/api/reports/endpoints", 60).await;
    node.check_unharmed().await
}

async fn a_report_that_would_be_too_long_is_refused() -> TestResult {
    let node = Node::builder().setting("reports.answer_rows_max", 3).start().await?;
    for endpoint in ["a", "b", "c", "d"] {
        node.post(&format!("/r/{endpoint}"), "x").await?;
    }
    report(&node, "/api/reports/captures?bucket=day", 4).await;
    let refused = node.get("/api/reports/captures?by=endpoint&bucket=day").await?;
    let problem = check_problem(&refused, 400, "invalid-parameter")?;
    let detail = problem["detail"].as_str().ok_or("no detail")?;
    assert!(detail.contains("over 3 rows") && detail.contains("top"), "{detail}");
    let top = node.json("/api/reports/captures?by=endpoint&bucket=day&top=1").await?;
    assert_eq!(sum(&top, "captures"), 4);
    check_problem(&node.get("/api/reports/captures?top=4").await?, 400, "invalid-parameter")?;
    Ok(())
}

async fn what_is_asked_of_reports_is_known_or_refused() -> TestResult {
    let node = Node::builder().start().await?;
    let refused = [
        "reports/captures?bucket=second",
        "reports/captures?by=client",
        "reports/captures?by=endpoint&by=method",
        "reports/captures?endpoint=",
        r"reports/captures?endpoint=a%5Cb",
        "reports/captures?top=0",
        "reports/captures?top=10001",
        "reports/captures?from=yesterday",
        "reports/captures?from=2026-01-02T00:00:00Z&until=2026-01-02T00:00:00Z",
        "reports/captures?order=bytes",
        "reports/endpoints?order=name",
        "reports/endpoints?bucket=day",
        "reports/endpoints?top=-1",
        "nodes?x",
        "settings?section=auth",
    ];
    for target in refused {
        let answer = node.get(&format!("/api/{target}")).await?;
        check_problem(&answer, 400, "invalid-parameter").map_err(|error| format!("{target}: {error}"))?;
    }
    let wide = "from=0001-01-01T00:00:00Z&until=9999-12-30T00:00:00Z";
    assert_eq!(sum(&node.json(&format!("/api/reports/captures?bucket=day&{wide}")).await?, "captures"), 0);
    assert_eq!(node.json(&format!("/api/reports/endpoints?{wide}")).await?["endpoints"], json!([]));
    let part = "from=2026-11-21T10:20:30Z&until=2026-11-21T10:20:31Z";
    let day = node.json(&format!("/api/reports/captures?bucket=day&{part}")).await?;
    assert_eq!(day["from"], "2026-11-21T00:00:00.000000Z", "made wider to whole days");
    assert_eq!(day["until"], "2026-11-22T00:00:00.000000Z");
    for path in ["nodes", "settings", "reports/captures", "reports/endpoints"] {
        assert_eq!(node.request("POST", &format!("/api/{path}"), "").await?.status, 405, "{path}");
    }
    Ok(())
}

async fn reports_can_be_switched_off() -> TestResult {
    let node = Node::builder().setting("reports.enabled", false).start().await?;
    node.post("/r/a", "x").await?;
    eventually(LIMIT, "it is in the totals", || async {
        node.json("/api/endpoints").await.is_ok_and(|page| page["endpoints"][0]["captures"] == 1)
    })
    .await;
    assert_eq!(node.json("/api/reports/captures").await?["rows"], json!([]));
    Ok(())
}
