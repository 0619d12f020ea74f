//! TLS to the database and to the brokers, with certificates that are checked.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::client::{Framing, Subscriber, check_exactly_once_in_order, exchange};
use crate::harness::node::Node;
use crate::harness::servers::{Postgres, RabbitMq, Redis};
use crate::harness::{Needs, TestResult, eventually, trials};

const SOON: Duration = Duration::from_secs(20);
const REQUEST: &[u8] = b"POST /r/tls HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::OWN_POSTGRES | Needs::OWN_REDIS => nodes_reach_postgres_and_redis_over_tls;
        Needs::OWN_POSTGRES | Needs::OWN_RABBITMQ => nodes_reach_postgres_and_rabbitmq_over_tls;
        Needs::OWN_POSTGRES => a_certificate_of_another_authority_is_refused;
        Needs::OWN_POSTGRES => sslmode_says_how_much_is_checked;
    }
}

async fn nodes_reach_postgres_and_redis_over_tls() -> TestResult {
    let redis = Redis::start_tls().await?;
    assert!(redis.url().starts_with("rediss://"), "{}", redis.url());
    captures_reach_the_other_node(redis.url(), &redis.ca_file().display().to_string()).await
}

async fn nodes_reach_postgres_and_rabbitmq_over_tls() -> TestResult {
    let rabbitmq = RabbitMq::start_tls().await?;
    assert!(rabbitmq.url().starts_with("amqps://"), "{}", rabbitmq.url());
    captures_reach_the_other_node(rabbitmq.url(), &rabbitmq.ca_file().display().to_string()).await
}

async fn captures_reach_the_other_node(broker: &str, ca_file: &str) -> TestResult {
    let postgres = Postgres::start_tls().await?;
    assert!(postgres.url().contains("sslmode=verify-full"), "{}", postgres.url());
    // So long a wait that only the broker can bring an event in time.
    let nodes = Node::builder()
        .database(postgres.url())
        .broker(broker)
        .setting("broker.ca_file", ca_file)
        .setting("feed.gap_wait_ms", 60_000);
    let (first, second) = (nodes.start().await?, nodes.start().await?);
    for node in [&first, &second] {
        eventually(SOON, "the broker is connected", || async {
            let ready = node.http().get(node.url("/readyz")).send().await;
            let Ok(ready) = ready else { return false };
            ready.text().await.is_ok_and(|text| text.contains("\"ready\""))
        })
        .await;
    }
    let mut watcher = Subscriber::open(Framing::WebSocket, &second.address(), "endpoint=tls").await?;
    assert_eq!(exchange(first.address(), REQUEST).await?.status, 200);
    let messages = watcher.read_captures(1, SOON).await?;
    check_exactly_once_in_order(&messages)?;
    assert_eq!(second.metric_with("creel_feed_events_total", &[("way", "broker")]).await?, 1.0);
    Ok(())
}

async fn a_certificate_of_another_authority_is_refused() -> TestResult {
    let (postgres, other) = (Postgres::start_tls().await?, Postgres::start_tls().await?);
    let own = postgres.ca_file().display().to_string();
    let foreign = postgres.url().replace(&own, &other.ca_file().display().to_string());
    assert_eq!(migrate(&foreign).await?, (false, true));
    assert!(migrate(postgres.url()).await?.0);
    Ok(())
}

async fn sslmode_says_how_much_is_checked() -> TestResult {
    let postgres = Postgres::start_tls().await?;
    let with = |mode: &str| postgres.url().replace("sslmode=verify-full", &format!("sslmode={mode}"));
    for (mode, works) in [("disable", false), ("prefer", true), ("require", true), ("verify-ca", true)] {
        assert_eq!(migrate(&with(mode)).await?.0, works, "{mode}");
    }
    // The certificate is made out to other names: the authority is right and the name is not.
    let elsewhere = |mode: &str| with(mode).replace("@127.0.0.1:", "@127.0.0.2:");
    assert!(!migrate(&elsewhere("verify-full")).await?.0);
    Ok(())
}

/// Runs `creel migrate`: whether it worked, and whether it told of a certificate.
async fn migrate(url: &str) -> TestResult<(bool, bool)> {
    let mut command = tokio::process::Command::from(crate::harness::node::creel());
    let output = command.args(["migrate", "--database", url]).output().await?;
    let told = String::from_utf8_lossy(&output.stderr).to_lowercase();
    Ok((output.status.success(), told.contains("certificate") || told.contains("issuer")))
}
