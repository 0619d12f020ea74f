//! The log of what was answered: written in batches, afterwards, without the journal's head.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::budget::{Budget, Reserved};
use crate::database::Database;
use crate::metrics::Metrics;
use crate::model::Answer;
use crate::shutdown::Shutdown;
use crate::storage;

/// Answers that wait to be written; more are dropped and counted.
const QUEUE: usize = 65_536;

/// Answers in one commit.
const BATCH: usize = 1_024;

/// How long answers gather, so that a quiet node does not commit for each.
const GATHER: Duration = Duration::from_millis(200);

/// Bytes of answers that wait; more are dropped and counted. What is in a batch is packed beside that, 32 MiB at most.
const QUEUE_BYTES: usize = 64 << 20;

/// The entrance to the log.
#[derive(Debug, Clone)]
pub struct AnswerLog {
    queue: mpsc::Sender<(Answer, Reserved)>,
    room: Arc<Budget>,
    metrics: Arc<Metrics>,
}

impl AnswerLog {
    /// Starts the task that writes, which ends when the node stops and its queue is empty.
    pub fn start(
        database: Arc<dyn Database>,
        memory: &Arc<Budget>,
        metrics: Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> Self {
        let (queue, answers) = mpsc::channel(QUEUE);
        shutdown.spawn(write(database, metrics.clone(), answers, shutdown.clone()));
        Self { queue, room: Budget::within(memory, QUEUE_BYTES, Gauge::default()), metrics }
    }

    /// Keeps an answer, if there is room; otherwise it shows as "not recorded".
    pub fn record(&self, answer: Answer) {
        let reserved = self.room.reserve(answer.weight());
        let queued = reserved.is_some_and(|room| self.queue.try_send((answer, room)).is_ok());
        if !queued {
            self.metrics.answers_lost.inc();
        }
    }
}

async fn write(
    database: Arc<dyn Database>,
    metrics: Arc<Metrics>,
    mut answers: mpsc::Receiver<(Answer, Reserved)>,
    shutdown: Shutdown,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let received = tokio::select! {
            biased;
            received = answers.recv_many(&mut batch, BATCH) => received,
            () = shutdown.stopped(), if !answers.is_closed() => {
                answers.close();
                continue;
            }
        };
        if received == 0 {
            return;
        }
        if batch.len() < BATCH {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = shutdown.stopped() => {}
            }
            while batch.len() < BATCH
                && let Ok(answer) = answers.try_recv()
            {
                batch.push(answer);
            }
        }
        let span = tracing::debug_span!("answers", answers = batch.len());
        if let Err(error) =
            storage::answers::record(database.as_ref(), batch.iter().map(|(answer, _)| answer))
                .instrument(span)
                .await
        {
            metrics.answers_lost.inc_by(batch.len() as u64);
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                answers = batch.len(),
                "failed to record answers"
            );
        }
        batch.clear();
    }
}
