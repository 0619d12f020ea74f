//! The servers that go through outages, and two nodes that live with them.

use std::ops::Deref;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use creel::broker::{self, BrokerError, BrokerState, Signal, Subscription};

use crate::conformance::broker::{
    AnyBroker, close, is, next, next_message, numbered, open_rabbitmq, open_redis, silence, subscribe,
};
use crate::harness::TestResult;
use crate::harness::servers::{RabbitMq, Redis, Server, topic_prefix};

/// "Within seconds": a frozen or silent peer is noticed.
pub const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// A publish takes no longer, whatever happens: its bound, and what a busy machine adds.
pub const PUBLISH_LIMIT: Duration = Duration::from_secs(4);

/// A kind of server, and how it is asked what hangs on it.
pub trait Remote: Deref<Target = Server> + Sized {
    async fn start() -> TestResult<Self>;
    async fn start_tls() -> TestResult<Self>;
    async fn start_again(&self) -> TestResult;
    /// Subscriptions to the topic, and connections besides the one that asks.
    async fn hangs_on(&self, topic: &str) -> TestResult<(usize, usize)>;
    fn open(url: &str, ca_file: Option<PathBuf>) -> AnyBroker;
    fn try_open(url: &str, ca_file: Option<PathBuf>) -> Result<(), BrokerError>;
}

impl Remote for Redis {
    async fn start() -> TestResult<Self> {
        Self::start().await
    }

    async fn start_tls() -> TestResult<Self> {
        Self::start_tls().await
    }

    async fn start_again(&self) -> TestResult {
        self.start_again().await
    }

    async fn hangs_on(&self, topic: &str) -> TestResult<(usize, usize)> {
        let mut connection = redis::Client::open(self.url())?.get_multiplexed_async_connection().await?;
        let (_, subscriptions): (String, usize) =
            redis::cmd("PUBSUB").arg("NUMSUB").arg(topic).query_async(&mut connection).await?;
        let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut connection).await?;
        Ok((subscriptions, clients.lines().count() - 1))
    }

    fn open(url: &str, ca_file: Option<PathBuf>) -> AnyBroker {
        open_redis(url, ca_file)
    }

    fn try_open(url: &str, ca_file: Option<PathBuf>) -> Result<(), BrokerError> {
        broker::redis::open(url, ca_file.as_deref()).map(drop)
    }
}

impl Remote for RabbitMq {
    async fn start() -> TestResult<Self> {
        Self::start().await
    }

    async fn start_tls() -> TestResult<Self> {
        Self::start_tls().await
    }

    async fn start_again(&self) -> TestResult {
        self.start_again().await
    }

    async fn hangs_on(&self, topic: &str) -> TestResult<(usize, usize)> {
        let list = |what| {
            let output = self.control(&[what, "--quiet", "--no-table-headers"])?;
            TestResult::Ok(String::from_utf8(output.stdout)?)
        };
        let queues = list("list_queues")?;
        let connections = list("list_connections")?;
        Ok((queues.lines().filter(|line| line.starts_with(topic)).count(), connections.lines().count()))
    }

    fn open(url: &str, ca_file: Option<PathBuf>) -> AnyBroker {
        open_rabbitmq(url, ca_file)
    }

    fn try_open(url: &str, ca_file: Option<PathBuf>) -> Result<(), BrokerError> {
        broker::rabbitmq::open(url, ca_file.as_deref()).map(drop)
    }
}

/// A node that publishes and one that subscribes, both connected.
pub struct Nodes {
    pub topic: String,
    pub publisher: AnyBroker,
    pub subscriber: AnyBroker,
    pub subscription: Subscription,
}

impl Nodes {
    /// The publisher and the subscriber connect to these URLs.
    pub async fn open<R: Remote>(publisher: &str, subscriber: &str) -> Self {
        let (publisher, subscriber) = (R::open(publisher, None), R::open(subscriber, None));
        let topic = topic_prefix();
        let subscription = subscribe(&subscriber, &topic).await;
        let mut nodes = Self { topic, publisher, subscriber, subscription };
        nodes.talk().await;
        nodes
    }

    /// Both are connected, and messages flow.
    pub async fn talk(&mut self) {
        is(&self.publisher, BrokerState::Connected).await;
        is(&self.subscriber, BrokerState::Connected).await;
        for number in 0..10 {
            self.publisher.publish(&self.topic, numbered(7, number)).await.expect("it is connected");
        }
        for number in 0..10 {
            assert_eq!(next_message(&mut self.subscription).await, numbered(7, number));
        }
        silence(&mut self.subscription).await;
    }

    /// Publishes until that fails, and never for long.
    pub async fn publish_until_it_fails(&self) -> TestResult {
        let began = Instant::now();
        loop {
            let asked = Instant::now();
            let published = self.publisher.publish(&self.topic, Bytes::from("lost")).await;
            assert!(asked.elapsed() < PUBLISH_LIMIT, "a publish took {:?}", asked.elapsed());
            match published {
                Err(BrokerError::Away(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
                Ok(()) if began.elapsed() > NOTICED_WITHIN => return Err("it never fails".into()),
                Ok(()) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    pub async fn close(self) {
        close([self.publisher, self.subscriber]).await;
    }
}

/// The next signal that is no message.
pub async fn past_messages(subscription: &mut Subscription) -> Signal {
    loop {
        match next(subscription).await {
            Signal::Message(_) => {}
            signal => return signal,
        }
    }
}
