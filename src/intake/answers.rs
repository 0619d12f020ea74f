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

/// Answers that are written together, and their bytes.
const BATCH: usize = 4_096;
const BATCH_BYTES: usize = 8 << 20;

/// How long answers gather, so that a quiet node does not commit for each.
const GATHER: Duration = Duration::from_millis(200);

/// Bytes of answers that wait; more are dropped and counted. What is in a batch is packed beside that.
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
    let mut batch = Vec::new();
    let mut is_more = false;
    loop {
        let first = tokio::select! {
            biased;
            first = answers.recv() => first,
            () = shutdown.stopped(), if !answers.is_closed() => {
                answers.close();
                continue;
            }
        };
        let Some(first) = first else { return };
        if !is_more {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = shutdown.stopped() => {}
            }
        }
        is_more = fill(&mut batch, first, &mut answers);
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

/// Takes what has gathered, as much as is written together, and returns whether there is more.
fn fill(
    batch: &mut Vec<(Answer, Reserved)>,
    first: (Answer, Reserved),
    answers: &mut mpsc::Receiver<(Answer, Reserved)>,
) -> bool {
    let mut bytes = first.0.weight();
    batch.push(first);
    while batch.len() < BATCH && bytes < BATCH_BYTES {
        let Ok(next) = answers.try_recv() else { return false };
        bytes += next.0.weight();
        batch.push(next);
    }
    !answers.is_empty()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{EndpointCode, HeaderBlock};

    /// So many answers that wait, each with a body of so many bytes.
    fn waiting(answers: usize, body_bytes: usize) -> mpsc::Receiver<(Answer, Reserved)> {
        let room = Budget::new(usize::MAX, Gauge::default());
        let (queue, waiting) = mpsc::channel(answers);
        for seq in (1..).take(answers) {
            let answer = Answer {
                seq,
                endpoint: EndpointCode::parse("a").unwrap(),
                status: 200,
                headers: HeaderBlock::default(),
                body: Bytes::from(vec![0; body_bytes]),
                body_bytes: body_bytes as u64,
                failure: None,
                took_us: 1,
            };
            queue.try_send((answer, room.reserve(1).unwrap())).unwrap();
        }
        waiting
    }

    #[test]
    fn a_commit_has_so_many_answers_and_bytes_and_the_rest_comes_with_the_next() {
        let large = 64 << 10;
        let fitting = BATCH_BYTES.div_ceil(256 + large);
        for (answers, bytes, expected) in [
            (BATCH + 10, 0, vec![(BATCH, true), (10, false)]),
            (fitting + 3, large, vec![(fitting, true), (3, false)]),
            (BATCH, 1, vec![(BATCH, false)]),
        ] {
            let mut waiting = waiting(answers, bytes);
            let mut batches = Vec::new();
            while let Ok(first) = waiting.try_recv() {
                let mut batch = Vec::new();
                let is_more = fill(&mut batch, first, &mut waiting);
                batches.push((batch.len(), is_more));
            }
            assert_eq!(batches, expected, "{answers} of {bytes} bytes");
        }
    }
}
