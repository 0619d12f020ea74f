//! Waits: two nodes, captures at a steady rate into one, waits for each of them through the other; from the commit to
//! the answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

use crate::harness::TestResult;
use crate::harness::client::Connection;
use crate::harness::node::Node;
use crate::harness::servers::{Postgres, Redis};
use crate::report::{Report, WaitsRow};
use crate::watch::now_us;
use crate::{load, role};

const PER_SECOND: usize = 1_000;
const CONNECTIONS: usize = 20;

pub async fn measure(report: &mut Report, time: Duration) -> TestResult {
    let postgres = Postgres::start().await?;
    let redis = Redis::start().await?;
    let builder = Node::builder().database(postgres.url()).broker(redis.url()).setting("log.level", "warn");
    let (one, two) = (builder.start().await?, builder.start().await?);
    let seconds = time.as_secs_f64().to_string();
    for waiters in [1, 100, 1_000] {
        let (before, begin) = (two.cpu_time()?, Instant::now());
        let words = ["waits", &one.address(), &two.address(), &waiters.to_string(), &seconds];
        let result = role::result(role::start(&words)?).await?;
        let cpu = (two.cpu_time()? - before).as_secs_f64() / begin.elapsed().as_secs_f64();
        let ms = |key: &str| result[key].as_f64().unwrap_or(f64::NAN) / 1000.0;
        report.waits(WaitsRow {
            waiters,
            captures_per_second: result["per_second"].as_f64().unwrap_or_default(),
            answers: result["answers"].as_u64().unwrap_or_default(),
            p50_ms: ms("p50_us"),
            p99_ms: ms("p99_us"),
            node_cpu: cpu,
        });
    }
    Ok(())
}

/// What senders and waiters tell each other, in microseconds.
#[derive(Default)]
struct Told {
    /// When each capture was answered, by its number.
    answered_us: Vec<Option<u64>>,
    /// Number, when the wait for it began, when it was answered.
    waits: Vec<(usize, u64, u64)>,
}

/// `waits SENDERS' ADDRESS, WAITERS' ADDRESS, WAITERS, SECONDS`: each waiter waits for the captures of an endpoint of
/// its own, one after the other. Prints captures a second, and what the answers took.
pub async fn run(words: &[&str]) -> TestResult {
    let [senders, waiters_at, waiters, seconds] = words else { return Err("waits: wrong usage".into()) };
    let (waiters, seconds): (usize, f64) = (waiters.parse()?, seconds.parse()?);
    let captures = (PER_SECOND as f64 * seconds) as usize;
    let told = Rc::new(RefCell::new(Told { answered_us: vec![None; captures], waits: Vec::new() }));
    let tasks = LocalSet::new();
    tasks.run_until(both(senders, waiters_at, waiters, captures, &told)).await
}

async fn both(
    senders: &str,
    waiters_at: &str,
    waiters: usize,
    captures: usize,
    told: &Rc<RefCell<Told>>,
) -> TestResult {
    let mut waiting = JoinSet::new();
    for own in 0..waiters {
        let mut connection = Connection::open(waiters_at).await?;
        let first = wait(&mut connection, waiters_at, own, &json!("now"), 0).await?;
        let (told, host) = (told.clone(), waiters_at.to_owned());
        waiting.spawn_local(keep_waiting(connection, host, own, first["next"].clone(), told));
    }
    // Each waits before the first is sent.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    let mut sending = JoinSet::new();
    for connection in 0..CONNECTIONS {
        sending.spawn_local(send(senders.to_owned(), connection, waiters, captures, begin, told.clone()));
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    let per_second = captures as f64 / begin.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(1)).await;
    waiting.shutdown().await;
    let told = told.borrow();
    // A wait that began when its capture was there already says nothing of waiting.
    let took = told.waits.iter().filter_map(|(number, began_us, ended_us)| {
        let answered_us = told.answered_us[*number]?;
        (*began_us < answered_us).then(|| ended_us.saturating_sub(answered_us))
    });
    let mut took: Vec<u64> = took.collect();
    took.sort_unstable();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied();
    println!(
        "{}",
        json!({"per_second": per_second, "answers": took.len(), "p50_us": at(0.5), "p99_us": at(0.99)})
    );
    Ok(())
}

/// Sends its share of the captures, each at its time.
async fn send(
    address: String,
    connection: usize,
    endpoints: usize,
    captures: usize,
    begin: Instant,
    told: Rc<RefCell<Told>>,
) -> TestResult {
    let mut stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    for number in (connection..captures).step_by(CONNECTIONS) {
        let due = begin + Duration::from_secs_f64(number as f64 / PER_SECOND as f64);
        tokio::time::sleep_until(due.into()).await;
        let mut request = load::request(&address, &format!("run-{}", number % endpoints), &load::body(1024));
        let at = load::find(&request, b"\r\n").unwrap() + 2;
        request.splice(at..at, format!("X-Number: {number}\r\n").into_bytes());
        stream.write_all(&request).await?;
        load::read_answer(&mut stream, &mut buffer).await?;
        told.borrow_mut().answered_us[number] = Some(now_us());
    }
    Ok(())
}

async fn keep_waiting(
    mut connection: Connection,
    host: String,
    own: usize,
    mut since: Value,
    told: Rc<RefCell<Told>>,
) -> TestResult {
    loop {
        let began_us = now_us();
        let answer = wait(&mut connection, &host, own, &since, 600_000).await?;
        let ended_us = now_us();
        since = answer["next"].clone();
        let headers = answer["captures"][0]["headers"].as_array().ok_or("no capture")?;
        let number = headers.iter().find(|pair| pair[0] == "x-number").ok_or("no number")?;
        let number: usize = number[1].as_str().unwrap_or_default().parse()?;
        told.borrow_mut().waits.push((number, began_us, ended_us));
    }
}

/// One wait, for whatever an endpoint catches next.
async fn wait(
    connection: &mut Connection,
    host: &str,
    own: usize,
    since: &Value,
    timeout_ms: u32,
) -> TestResult<Value> {
    let order = json!({"endpoint": format!("run-{own}"), "since": since, "body": "none", "timeout_ms": timeout_ms,
        "match": "method=POST json.$.event=order.created"});
    let order = order.to_string();
    let head = format!(
        "POST /api/captures/wait HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n",
        order.len()
    );
    connection.send([head, order].concat().as_bytes()).await?;
    connection.response().await?.json()
}
