//! Tells the other nodes what this one has committed. What it cannot tell is counted, and they read it.

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::message;
use crate::broker::Broker;
use crate::metrics::Metrics;
use crate::model::Entry;
use crate::shutdown::Shutdown;

/// The entrance to the publisher's queue.
pub struct Publisher {
    broker: Arc<dyn Broker>,
    topic: String,
    queue: mpsc::Sender<(i64, Vec<Entry>)>,
    metrics: Arc<Metrics>,
}

impl Publisher {
    /// Starts the task that publishes, which ends when the node stops and its queue is empty.
    pub fn start(
        broker: Arc<dyn Broker>,
        topic: String,
        node: Uuid,
        queue_max: usize,
        entry_bytes_max: usize,
        metrics: Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> Self {
        let (queue, mut batches) = mpsc::channel::<(i64, Vec<Entry>)>(queue_max);
        let publisher =
            Self { broker: broker.clone(), topic: topic.clone(), queue, metrics: metrics.clone() };
        let (counts, stopping) = (metrics, shutdown.clone());
        shutdown.spawn(async move {
            loop {
                let batch = tokio::select! {
                    biased;
                    batch = batches.recv() => batch,
                    () = stopping.stopped(), if !batches.is_closed() => {
                        batches.close();
                        continue;
                    }
                };
                let Some((epoch, entries)) = batch else { return };
                for message in message::encode(node, epoch, entries, entry_bytes_max) {
                    match broker.publish(&topic, message).await {
                        Ok(()) => drop(counts.published.inc()),
                        Err(error) => {
                            counts.publish_failures.inc();
                            tracing::debug!(error = &error as &dyn std::error::Error, "failed to publish");
                        }
                    }
                }
            }
        });
        publisher
    }

    /// Queues a commit's entries, without waiting; where no other node listens there is nothing to do.
    pub fn publish(&self, epoch: i64, entries: &[Entry]) {
        if !self.broker.reaches_others(&self.topic) {
            return;
        }
        let entries = entries.to_vec();
        if self.queue.try_send((epoch, entries)).is_err() {
            self.metrics.publish_failures.inc();
        }
    }
}
