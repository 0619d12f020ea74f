//! Fan-out: events to 1, 100 and 1,000 subscribers on two nodes; bursts, a steady rate, idle sockets.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::TestResult;
use crate::harness::node::Node;
use crate::harness::servers::{Postgres, Redis};
use crate::report::{FanoutRow, Report};
use crate::watch::{Watcher, now_us};
use crate::{load, role};

/// Deliveries a second of the steady part.
const STEADY: usize = 10_000;

/// Subscribers at a time.
const MOST: usize = 1_000;

/// Deliveries of a burst, about.
const BURST: usize = 5_000_000;

pub async fn measure(report: &mut Report, time: Duration) -> TestResult {
    let postgres = Postgres::start().await?;
    let redis = Redis::start().await?;
    let builder = Node::builder().database(postgres.url()).broker(redis.url()).setting("log.level", "warn");
    let (one, two) = (builder.start().await?, builder.start().await?);
    let addresses = [one.address(), two.address()];
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let rss = || [&one, &two].iter().map(|node| role::rss_kib(node.pid().unwrap_or_default())).sum::<u64>();
    // Before anything else, since memory that was in use once is used again; on top of what the first few take.
    let first = Watcher::start(100, "body=full", &addresses).await?;
    let before_kib = rss();
    let idle = Watcher::start(MOST, "body=full", &addresses).await?;
    let idle_bytes = (rss().saturating_sub(before_kib) * 1024) as f64 / MOST as f64;
    drop((first, idle));
    for subscribers in [1, 100, MOST] {
        let mut watcher = Watcher::start(subscribers, "body=full", &addresses).await?;
        let steady = steady(&mut watcher, &addresses, subscribers, time).await?;
        let burst = burst(&mut watcher, &addresses, subscribers).await?;
        report.fanout(FanoutRow {
            subscribers,
            burst_per_second: burst,
            steady_per_second: steady.0,
            p50_ms: steady.1,
            p99_ms: steady.2,
            idle_socket_bytes: (subscribers == MOST).then_some(idle_bytes),
        });
    }
    Ok(())
}

/// Sends at such a rate that about [`STEADY`] deliveries a second are made; deliveries a second, p50 and
/// p99 from the request sent to the event received, in milliseconds.
async fn steady(
    watcher: &mut Watcher,
    addresses: &[&str],
    subscribers: usize,
    time: Duration,
) -> TestResult<(f64, f64, f64)> {
    let per_second = (STEADY / subscribers).clamp(1, 2_000);
    let pause = Duration::from_secs_f64(1.0 / per_second as f64);
    let mut streams = Vec::new();
    for address in addresses {
        streams.push(TcpStream::connect(address).await?);
    }
    watcher.seen().await?;
    let begin = Instant::now();
    let mut captures = 0;
    let mut buffer = Vec::new();
    let mut tick = tokio::time::interval(pause);
    while begin.elapsed() < time {
        tick.tick().await;
        let node = captures % streams.len();
        streams[node].write_all(&stamped(addresses[node])).await?;
        load::read_answer(&mut streams[node], &mut buffer).await?;
        captures += 1;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let seen = watcher.seen_until((captures * subscribers) as u64).await?;
    let ms = |key: &str| seen[key].as_f64().unwrap_or(f64::NAN) / 1000.0;
    let events = seen["events"].as_f64().unwrap_or_default();
    if events < (captures * subscribers) as f64 {
        return Err(format!("{events} of {} events arrived", captures * subscribers).into());
    }
    Ok((events / seconds, ms("p50_us"), ms("p99_us")))
}

/// Captures as fast as they go; deliveries a second until all subscribers have all.
async fn burst(watcher: &mut Watcher, addresses: &[&str], subscribers: usize) -> TestResult<f64> {
    const CONNECTIONS: usize = 32;
    let captures = (BURST / subscribers).min(50_000);
    watcher.seen().await?;
    let begin_us = now_us();
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|n| {
            let address = addresses[n % addresses.len()].to_owned();
            let share = captures / CONNECTIONS;
            tokio::spawn(async move {
                let request = load::request(&address, "bench", &load::body(1024));
                let mut stream = TcpStream::connect(&address).await?;
                let mut buffer = Vec::new();
                for _ in 0..share {
                    stream.write_all(&request).await?;
                    load::read_answer(&mut stream, &mut buffer).await?;
                }
                TestResult::Ok(())
            })
        })
        .collect();
    for sender in senders {
        sender.await??;
    }
    let events = captures / CONNECTIONS * CONNECTIONS * subscribers;
    let seen = watcher.seen_until(events as u64).await?;
    if seen["events"].as_u64() != Some(events as u64) {
        return Err(format!("{} of {events} events arrived", seen["events"]).into());
    }
    let last_us = seen["last_us"].as_u64().unwrap_or_default();
    Ok(events as f64 / ((last_us - begin_us) as f64 / 1e6))
}

fn stamped(address: &str) -> Vec<u8> {
    let mut request = load::request(address, "bench", &load::body(1024));
    let at = load::find(&request, b"\r\n").unwrap() + 2;
    request.splice(at..at, format!("X-Sent: {}\r\n", now_us()).into_bytes());
    request
}
