//! Capture: bare actix, SQLite, Postgres, and one INSERT a request, with 64 and 256 connections.

use std::time::Duration;

use serde_json::Value;

use crate::harness::node::Node;
use crate::harness::servers::Postgres;
use crate::harness::{TestResult, eventually, ports};
use crate::report::{CaptureRow, Report};
use crate::{one_insert, role, watch};

const CONNECTIONS: [usize; 2] = [64, 256];

/// Endpoints that are sent to where it is not one.
const ENDPOINTS: usize = 16;

/// A new server makes and zeroes each file of its log first; one that has run for a while has some to use
/// again. This makes it such a one.
const AGE: &str = "ALTER SYSTEM SET min_wal_size = '1GB'; SELECT pg_reload_conf(); \
                   CREATE TABLE age AS SELECT repeat(md5(n::text), 30) FROM generate_series(1, 900000) n; \
                   DROP TABLE age; CHECKPOINT";

/// Makes the database new that captures go to.
const EMPTY: &str = "DROP DATABASE IF EXISTS captures WITH (FORCE); CREATE DATABASE captures; CHECKPOINT";

/// Each is measured so often, for half of the time, in turns with the others: from minute to minute a machine differs by
/// more than most of them do. The middle one counts.
const TURNS: usize = 3;

pub async fn measure(report: &mut Report, time: Duration) -> TestResult {
    let postgres = Postgres::start().await?;
    run(postgres.url(), AGE).await?;
    run(postgres.url(), one_insert::TABLE).await?;
    for connections in CONNECTIONS {
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.push(turn(&postgres, connections, time / 2).await?.into_iter());
        }
        while let Some(mut rows) = turns.iter_mut().map(Iterator::next).collect::<Option<Vec<CaptureRow>>>() {
            rows.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
            report.capture(rows.swap_remove(TURNS / 2));
        }
    }
    Ok(())
}

/// One of each. What it leaves in Postgres goes: the server would tidy it up while the next is measured.
async fn turn(postgres: &Postgres, connections: usize, time: Duration) -> TestResult<Vec<CaptureRow>> {
    let endpoints = [("", 1), (", 16 endpoints", ENDPOINTS)];
    let mut rows = vec![server("bare actix", &["bare"], connections, time).await?];
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("sketch.db").display());
    rows.push(server("sqlite sketch", &["sketch", &url], connections, time).await?);
    for (kind, endpoints) in endpoints {
        rows.push(node(format!("sqlite{kind}"), &Node::builder(), connections, endpoints, time).await?);
    }
    let url = postgres.url().replace("/postgres", "/captures");
    run(postgres.url(), EMPTY).await?;
    rows.push(server("postgres sketch", &["sketch", &url], connections, time).await?);
    for (kind, endpoints) in endpoints {
        run(postgres.url(), EMPTY).await?;
        let builder = Node::builder().database(&url);
        rows.push(node(format!("postgres{kind}"), &builder, connections, endpoints, time).await?);
    }
    run(postgres.url(), EMPTY).await?;
    let per_second = one_insert::measure(postgres.url(), connections, time).await?;
    rows.push(CaptureRow::of_rate("one INSERT a request", connections, per_second));
    run(postgres.url(), "TRUNCATE one_insert; CHECKPOINT").await?;
    Ok(rows)
}

/// A server that is a role of this program: `ROLE PORT ...`.
async fn server(name: &str, role: &[&str], connections: usize, time: Duration) -> TestResult<CaptureRow> {
    let port = ports::free_port();
    let [role, rest @ ..] = role else { return Err("which role?".into()) };
    let server = role::start(&[&[*role, &port.to_string()], rest].concat())?;
    let address = format!("127.0.0.1:{port}");
    eventually(Duration::from_secs(10), "the server listens", || async {
        tokio::net::TcpStream::connect(&address).await.is_ok()
    })
    .await;
    let result = send(&address, connections, 1, time).await?;
    let rss_kib = role::rss_kib(server.id().unwrap_or_default());
    Ok(CaptureRow::of(name, connections, &result, rss_kib))
}

async fn node(
    name: String,
    builder: &crate::harness::node::NodeBuilder,
    connections: usize,
    endpoints: usize,
    time: Duration,
) -> TestResult<CaptureRow> {
    let node = builder.clone().setting("log.level", "warn").start().await?;
    let address = node.address();
    let watcher = watch::Watcher::start(1, "body=none", &[&address]).await?;
    let result = send(&address, connections, endpoints, time).await?;
    let rss_kib = role::rss_kib(node.pid().unwrap_or_default());
    drop(watcher);
    Ok(CaptureRow::of(&name, connections, &result, rss_kib))
}

pub async fn send(address: &str, connections: usize, endpoints: usize, time: Duration) -> TestResult<Value> {
    let [connections, endpoints] = [connections, endpoints].map(|n| n.to_string());
    let seconds = time.as_secs_f64().to_string();
    let result = role::result(role::start(&["load", address, &connections, &seconds, &endpoints])?).await?;
    if result["failed"] != 0 {
        return Err(format!("{} requests were not answered with 2xx", result["failed"]).into());
    }
    Ok(result)
}

async fn run(url: &str, statements: &str) -> TestResult {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    for statement in statements.split("; ") {
        client.batch_execute(statement).await?;
    }
    drop(client);
    connection.await??;
    Ok(())
}
