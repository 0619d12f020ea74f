//! A broker that loses, repeats and reorders its messages changes nothing that a subscriber sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use creel::app::{self, Node};
use creel::broker::{Broker, BrokerError, BrokerState, Subscription};
use creel::config::{self, Source};
use libtest_mimic::Trial;
use tokio::sync::{Mutex, watch};

use crate::harness::client::{Framing, Load, Reader, Subscriber, check_stream};
use crate::harness::node::sum_samples;
use crate::harness::servers::{shared_postgres, shared_rabbitmq, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, eventually, trials};

const SENDERS: usize = 32;
const CAPTURES: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(90);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::POSTGRES | Needs::REDIS => a_redis_that_loses_repeats_and_reorders_is_made_good;
        Needs::POSTGRES | Needs::RABBITMQ => a_rabbitmq_that_loses_repeats_and_reorders_is_made_good;
    }
}

/// Passes messages on as it likes: of every six, one is lost, one comes twice, and two change places.
struct Shim {
    inner: Arc<dyn Broker>,
    turn: AtomicU64,
    held: Mutex<Option<Bytes>>,
}

#[async_trait::async_trait]
impl Broker for Shim {
    async fn publish(&self, topic: &str, message: Bytes) -> Result<(), BrokerError> {
        let mut held = self.held.lock().await;
        match self.turn.fetch_add(1, Ordering::Relaxed) % 6 {
            0 => Ok(()),
            1 => {
                self.inner.publish(topic, message.clone()).await?;
                self.inner.publish(topic, message).await
            }
            2 => {
                *held = Some(message);
                Ok(())
            }
            _ => {
                self.inner.publish(topic, message).await?;
                match held.take() {
                    Some(late) => self.inner.publish(topic, late).await,
                    None => Ok(()),
                }
            }
        }
    }

    fn reaches_others(&self, topic: &str) -> bool {
        self.inner.reaches_others(topic)
    }

    fn subscribe(&self, topic: &str) -> Subscription {
        self.inner.subscribe(topic)
    }

    fn state(&self) -> watch::Receiver<BrokerState> {
        self.inner.state()
    }

    fn dropped(&self) -> u64 {
        self.inner.dropped()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

async fn a_redis_that_loses_repeats_and_reorders_is_made_good() -> TestResult {
    is_made_good(shared_redis().await?).await
}

async fn a_rabbitmq_that_loses_repeats_and_reorders_is_made_good() -> TestResult {
    is_made_good(shared_rabbitmq().await?).await
}

async fn is_made_good(broker: String) -> TestResult {
    let database = shared_postgres().await?;
    let topics = topic_prefix();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let settings = config::load(&Source {
            flags: vec![
                ("server.listen", "127.0.0.1:0".into()),
                ("database.url", database.url().into()),
                ("broker.url", broker.clone()),
                ("broker.topic_prefix", topics.clone()),
            ],
            ..Source::default()
        })?;
        let opened = app::open_database(&settings)?;
        let inner = app::open_broker(&settings)?;
        let shim = Shim { inner, turn: AtomicU64::new(0), held: Mutex::default() };
        nodes.push(Node::start_with(settings, opened, Arc::new(shim)).await?);
    }
    let addresses: Vec<String> = nodes.iter().map(|node| node.capture_address().to_string()).collect();
    let mut readers = Vec::new();
    for address in &addresses {
        let mut subscriber = Subscriber::open(Framing::WebSocket, address, "endpoint=a").await?;
        subscriber.read_until(PATIENCE, |message| message["type"] == "ready").await?;
        readers.push(Reader::start(subscriber));
    }
    let load = Load::start(SENDERS, &addresses, "/r/a");
    eventually(PATIENCE, "so many captures", || async { load.acknowledged() >= CAPTURES }).await;
    let sent = load.stop().await;
    assert_eq!((sent.broken, sent.refused.len()), (0, 0), "{:?}", sent.refused);
    let last = i64::try_from(sent.acknowledged.len())?;
    for reader in readers {
        check_stream(&reader.read_up_to(last, PATIENCE).await?, &sent, last)?;
    }
    for address in &addresses {
        let metrics = reqwest::get(format!("http://{address}/metrics")).await?.text().await?;
        let repaired = sum_samples(&metrics, "creel_feed_events_total", &[("way", "repair")])?;
        let by_broker = sum_samples(&metrics, "creel_feed_events_total", &[("way", "broker")])?;
        assert!(repaired > 0.0 && by_broker > 0.0, "{repaired} and {by_broker}: the shim does nothing");
    }
    for node in nodes {
        assert!(node.stop().await, "it did not stop in time");
    }
    Ok(())
}
