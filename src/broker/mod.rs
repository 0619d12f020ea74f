//! The broker: how nodes tell each other what they have committed.
//!
//! # Contract
//! - At most once: a message may be lost (while a broker is away, or where a bound is reached), never
//!   made up. The feed repairs what is missing from the database.
//! - Ordered for each publisher, which is whoever waits for one publish before the next; no order
//!   between publishers; no replay of what was sent before. A publish that failed may still arrive, and
//!   then late: a reader that cannot bear that looks at numbers inside the messages, as the feed does.
//! - Every subscriber of a topic gets every message, the publisher's own subscriptions included.
//! - A subscription reconnects by itself forever, with capped and jittered pauses, and says when it was
//!   away: [`Signal::Away`], then [`Signal::Back`] once messages flow again. What was published in
//!   between may be lost. A peer that is frozen or cut off is noticed within seconds.
//! - Everything is bounded: messages that a slow reader does not take are dropped and counted
//!   ([`Broker::dropped`]), and it is told by [`Signal::Back`], in their place, that some are missing.
//!   A slow reader never holds up other readers, publishers or the broker itself.
//! - A topic is 1 to [`TOPIC_BYTES_MAX`](crate::model::limits::TOPIC_BYTES_MAX) ASCII letters, digits, `.`, `-`
//!   and `_`, and does not begin with `amq.`. Topics and subscriptions are few (one subscription a topic and
//!   node): each remote subscription holds a connection of its own, so that none waits behind another.
//!
//! What a broker must never do: log the password in its URL, wait for a subscriber, or hold more than
//! its bounds.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

mod dial;
mod local;
pub mod rabbitmq;
mod reconnect;
pub mod redis;
mod remote;
mod subscription;
mod tls;

pub use local::LocalBroker;
pub use subscription::Subscription;

/// The largest message that every broker must carry, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Messages that a subscription holds for its reader.
pub const SUBSCRIPTION_QUEUE: usize = 1024;

/// Bytes of messages that a subscription holds for its reader.
pub const SUBSCRIPTION_QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// A broker. Made connected or not: it connects by itself, and [`Broker::state`] tells.
#[async_trait::async_trait]
pub trait Broker: Send + Sync {
    /// Sends a message to all subscribers of the topic. Returns when the broker's connection has taken
    /// it, or fails within the broker's own bound (2 s, and at once while it is known to be away); it
    /// never waits for subscribers.
    async fn publish(&self, topic: &str, message: Bytes) -> Result<(), BrokerError>;

    /// Whether a message on the topic may reach anybody but one subscription, a node's own.
    fn reaches_others(&self, topic: &str) -> bool;

    /// Subscribes to a topic. The first signal is [`Signal::Back`], sent once the subscription is in
    /// force: what is published after it is received. On a closed broker the subscription has ended.
    fn subscribe(&self, topic: &str) -> Subscription;

    /// Whether publishing and all subscriptions work, as far as is known. A new subscription counts as
    /// away until it is in force, and a closed broker is away.
    fn state(&self) -> watch::Receiver<BrokerState>;

    /// Messages dropped so far because a subscription's reader did not take them in time.
    fn dropped(&self) -> u64;

    /// Ends all subscriptions and connections, and waits for their tasks. What subscriptions still hold
    /// can be read; then they end.
    async fn close(&self);
}

/// What a subscription tells its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    Message(Bytes),
    /// The subscription is not in force.
    Away,
    /// The subscription is in force (again); messages before this may be missing. It also comes without
    /// an [`Signal::Away`], where messages were dropped because the reader was slow.
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

/// Refuses what no broker has to carry.
fn check_size(message: &Bytes) -> Result<(), BrokerError> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(BrokerError::TooLarge(message.len()));
    }
    Ok(())
}

/// A broker's URL as far as all are alike. Its own text is not repeated: there may be a password in it.
fn parse_url(url: &str) -> Result<url::Url, BrokerError> {
    let parsed = url::Url::parse(url).map_err(|error| match error {
        url::ParseError::InvalidPort => wrong_url("has a port that is no number up to 65535"),
        url::ParseError::EmptyHost => wrong_url("has no host"),
        _ => wrong_url("is no URL"),
    })?;
    match parsed.host_str() {
        None | Some("") => Err(wrong_url("has no host")),
        Some(_) => Ok(parsed),
    }
}

fn wrong_url(what: &str) -> BrokerError {
    BrokerError::Settings(format!("broker.url: it {what}"))
}
