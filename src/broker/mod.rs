//! The broker: how nodes tell each other what they have committed.
//!
//! # Contract
//! - At most once: a message may be lost (while a broker is away, or where a bound is reached), never
//!   made up. The feed repairs what is missing from the database.
//! - Ordered for each publisher; no order between publishers; no replay of what was sent before.
//! - Every subscriber of a topic gets every message, the publisher's own subscriptions included.
//! - A subscription reconnects by itself forever, with capped and jittered pauses, and says when it was
//!   away: [`Signal::Away`], then [`Signal::Back`] once messages flow again. What was published in
//!   between may be lost.
//! - Everything is bounded: messages that a slow reader does not take are dropped, and it is told by
//!   [`Signal::Back`] that some are missing.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

pub mod local;
pub mod rabbitmq;
pub mod redis;

/// The largest message that every broker must carry, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Messages that a subscription holds for its reader.
pub const SUBSCRIPTION_QUEUE: usize = 1024;

/// A broker. Made connected or not: it connects by itself, and [`Broker::state`] tells.
#[async_trait::async_trait]
pub trait Broker: Send + Sync {
    /// Sends a message to all subscribers of the topic. Returns when the broker's connection has taken
    /// it, or fails within the broker's own bound (seconds); it never waits for subscribers.
    async fn publish(&self, topic: &str, message: Bytes) -> Result<(), BrokerError>;

    /// Subscribes to a topic. The first signal is [`Signal::Back`], sent once the subscription is in
    /// force: what is published after it is received.
    fn subscribe(&self, topic: &str) -> Subscription;

    /// Whether publishing and subscribing work, as far as is known.
    fn state(&self) -> watch::Receiver<BrokerState>;

    /// Ends all subscriptions and connections, and waits for their tasks.
    async fn close(&self);
}

/// The reading end of a subscription; dropping it ends the subscription.
pub type Subscription = mpsc::Receiver<Signal>;

/// What a subscription tells its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    Message(Bytes),
    /// The subscription is not in force.
    Away,
    /// The subscription is in force (again); messages before this may be missing.
    Back,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerState {
    Connected,
    Away,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerError {
    #[error("the broker is away")]
    Away(#[source] Option<Arc<dyn std::error::Error + Send + Sync>>),
    #[error("a message of {0} bytes is over the limit")]
    TooLarge(usize),
    #[error("the broker's settings are wrong: {0}")]
    Settings(String),
}
