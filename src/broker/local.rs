//! The local broker: for a cluster of one node, or for several nodes in one process that share one by
//! `Arc`. It has no task and no connection, and must never make a publisher wait for a reader.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Broker, BrokerError, BrokerState, Subscription, check_size, subscription::Inlet};

/// A broker within this process.
#[derive(Debug)]
pub struct LocalBroker {
    /// `None` once closed.
    topics: Mutex<Option<HashMap<String, Vec<Inlet>>>>,
    state: watch::Sender<BrokerState>,
    dropped: Arc<AtomicU64>,
}

impl LocalBroker {
    #[must_use]
    pub fn new() -> Self {
        Self {
            topics: Mutex::new(Some(HashMap::new())),
            state: watch::Sender::new(BrokerState::Connected),
            dropped: Arc::default(),
        }
    }

    fn topics(&self) -> MutexGuard<'_, Option<HashMap<String, Vec<Inlet>>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for LocalBroker {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait::async_trait]
impl Broker for LocalBroker {
    async fn publish(&self, topic: &str, message: Bytes) -> Result<(), BrokerError> {
        check_size(&message)?;
        let mut topics = self.topics();
        let topics = topics.as_mut().ok_or(BrokerError::Away(None))?;
        for inlet in topics.get(topic).into_iter().flatten() {
            inlet.message(message.clone());
        }
        Ok(())
    }

    fn reaches_others(&self, topic: &str) -> bool {
        self.topics().as_ref().and_then(|topics| topics.get(topic)).is_some_and(|inlets| inlets.len() > 1)
    }

    fn subscribe(&self, topic: &str) -> Subscription {
        let (inlet, subscription) = Inlet::new(CancellationToken::new(), self.dropped.clone());
        if let Some(topics) = self.topics().as_mut() {
            // Subscribing is rare, so it is the one who sweeps up after readers that have gone.
            topics.retain(|_, inlets| {
                inlets.retain(|inlet| !inlet.is_ended());
                !inlets.is_empty()
            });
            inlet.back();
            topics.entry(topic.to_owned()).or_default().push(inlet);
        }
        subscription
    }

    fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.subscribe()
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    async fn close(&self) {
        *self.topics() = None;
        self.state.send_replace(BrokerState::Away);
    }
}
