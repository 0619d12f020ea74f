//! Tells the other nodes what this one has committed. What it cannot tell is counted, and they read it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use uuid::Uuid;

use super::message::{self, Announced};
use crate::broker::Broker;
use crate::metrics::Metrics;
use crate::model::Entry;
use crate::shutdown::Shutdown;

/// Bytes that wait in the queue: entries that find no room are told by their numbers.
const QUEUE_BYTES_MAX: u32 = 32 << 20;

/// The entrance to the publisher's queue.
pub struct Publisher {
    broker: Arc<dyn Broker>,
    topic: String,
    entry_bytes_max: usize,
    queue: mpsc::Sender<Batch>,
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// What is told of a commit, while it waits.
struct Batch {
    epoch: i64,
    announced: Vec<Announced>,
    room: OwnedSemaphorePermit,
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
        let (queue, mut batches) = mpsc::channel::<Batch>(queue_max);
        let publisher = Self {
            broker: broker.clone(),
            topic: topic.clone(),
            entry_bytes_max,
            queue,
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX as usize)),
            metrics: metrics.clone(),
        };
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
                let Some(Batch { epoch, announced, room: _held }) = batch else { return };
                for message in message::encode(node, epoch, announced) {
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
        let announced = message::announce(entries, self.entry_bytes_max);
        let batch = self.batch(epoch, announced).or_else(|announced| {
            self.batch(epoch, announced.iter().map(|item| Announced::Seq(item.seq())).collect())
        });
        let queued = batch.is_ok_and(|batch| self.queue.try_send(batch).is_ok());
        if !queued {
            self.metrics.publish_failures.inc();
        }
    }

    /// A batch that has its room, or what finds none.
    fn batch(&self, epoch: i64, announced: Vec<Announced>) -> Result<Batch, Vec<Announced>> {
        let bytes = announced.iter().map(Announced::weight).sum::<usize>();
        let room = u32::try_from(bytes).ok().and_then(|b| self.room.clone().try_acquire_many_owned(b).ok());
        match room {
            Some(room) => Ok(Batch { epoch, announced, room }),
            None => Err(announced),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use serde_json::json;
    use tokio::sync::watch;

    use super::*;
    use crate::broker::{BrokerError, BrokerState, LocalBroker, Subscription};
    use crate::model::{Body, BodyContent, Capture, EntryKind};
    use crate::rules::sample::{self, SampleOptions};

    /// Takes nothing until it may.
    struct Slow {
        inner: LocalBroker,
        may: Semaphore,
        taken: Mutex<Vec<Bytes>>,
    }

    #[async_trait::async_trait]
    impl Broker for Slow {
        async fn publish(&self, _: &str, message: Bytes) -> Result<(), BrokerError> {
            drop(self.may.acquire().await.unwrap());
            self.taken.lock().unwrap().push(message);
            Ok(())
        }

        fn reaches_others(&self, _: &str) -> bool {
            true
        }

        fn subscribe(&self, topic: &str) -> Subscription {
            self.inner.subscribe(topic)
        }

        fn state(&self) -> watch::Receiver<BrokerState> {
            self.inner.state()
        }

        fn dropped(&self) -> u64 {
            0
        }

        async fn close(&self) {}
    }

    fn capture(body: Bytes) -> Arc<Capture> {
        let options = SampleOptions { id: Uuid::new_v4(), now_us: 0, prefix: "r" };
        let capture = sample::capture(&json!({"endpoint": "a"}), options).unwrap();
        let body = Body { content: BodyContent::Inline(body), ..capture.body };
        Arc::new(Capture { body, ..capture })
    }

    #[tokio::test]
    async fn what_waits_for_a_slow_broker_is_bounded_and_all_of_it_is_told() {
        let broker = Slow { inner: LocalBroker::new(), may: Semaphore::new(0), taken: Mutex::default() };
        let (broker, metrics, shutdown) = (Arc::new(broker), Arc::new(Metrics::new()), Shutdown::default());
        let node = Uuid::new_v4();
        let publisher =
            Publisher::start(broker.clone(), "t".to_owned(), node, 256, 65_536, metrics.clone(), &shutdown);
        let (small, large) = (Bytes::from(vec![0; 50_000]), Bytes::from(vec![0; 100_000]));
        let captures: Vec<_> =
            (0..1_000).map(|i| capture(if i % 10 == 0 { &large } else { &small }.clone())).collect();
        let entries = captures.iter().zip(1..);
        let entries: Vec<_> =
            entries.map(|(c, seq)| Entry { seq, what: EntryKind::Capture(c.clone()) }).collect();
        for batch in entries.chunks(10) {
            publisher.publish(7, batch);
            tokio::task::yield_now().await;
        }
        drop(entries);
        let held: Vec<_> = captures.iter().filter(|capture| Arc::strong_count(capture) > 1).collect();
        let bytes = held.iter().map(|capture| capture.weight()).sum::<usize>();
        assert!((QUEUE_BYTES_MAX as usize / 2..=QUEUE_BYTES_MAX as usize).contains(&bytes), "{bytes}");
        assert!(held.iter().all(|capture| capture.weight() < 65_536), "what goes as a number is not held");

        broker.may.add_permits(1);
        shutdown.stop();
        shutdown.finish().await;
        let messages = broker.taken.lock().unwrap();
        let told = messages.iter().flat_map(|message| message::decode(message).unwrap().items);
        assert!(told.map(|item| item.seq()).eq(1..=1_000), "each once, in order");
        assert_eq!(metrics.publish_failures.get(), 0);
    }
}
