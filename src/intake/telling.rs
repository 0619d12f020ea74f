//! Tells of what is committed, beside the next commit: the feed first, and then the senders, so that who was answered
//! finds its capture passed on.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::journal::{Accepted, OnCommit, Queued};
use super::judging::Chosen;
use crate::metrics::{Metrics, Outcome};
use crate::model::{Capture, Entry, EntryKind};
use crate::shutdown::Shutdown;

/// Batches that wait to be told of; the writer waits where there are more. It tells faster than a database commits.
const BATCHES: usize = 8;

/// A batch that is durable.
pub struct Committed {
    pub batch: Vec<Queued>,
    /// As they were committed, each with its place and what answers it.
    pub captures: Vec<Arc<Capture>>,
    pub seqs: Vec<i64>,
    pub chosen: Vec<Chosen>,
}

/// Starts the task that tells, in the order of commits; it ends when the writer has ended and everybody is told.
pub fn start(on_commit: OnCommit, metrics: Arc<Metrics>, shutdown: &Shutdown) -> mpsc::Sender<Committed> {
    let (sender, mut committed) = mpsc::channel::<Committed>(BATCHES);
    shutdown.spawn(async move {
        while let Some(committed) = committed.recv().await {
            committed.tell(&on_commit, &metrics);
        }
    });
    sender
}

impl Committed {
    fn tell(self, on_commit: &OnCommit, metrics: &Metrics) {
        self.captures.iter().for_each(|capture| count(capture, metrics));
        let entries = self.seqs.iter().zip(self.captures);
        on_commit(entries.map(|(&seq, c)| Entry { seq, what: EntryKind::Capture(c) }).collect());
        for ((queued, seq), chosen) in self.batch.into_iter().zip(self.seqs).zip(self.chosen) {
            let (capture, body) = (queued.capture.clone(), queued.case.body.clone());
            queued.tell(Ok(Accepted { seq, capture, chosen, body }), metrics);
        }
    }
}

/// Counted here, and not where the answer is sent: a sender may be gone by now.
fn count(capture: &Capture, metrics: &Metrics) {
    metrics.capture_bytes.inc_by(capture.body.bytes);
    metrics.count(match &capture.body {
        body if body.truncated => Outcome::Truncated,
        body if body.incomplete && capture.reply.status == 408 => Outcome::TimedOut,
        body if body.incomplete => Outcome::Incomplete,
        _ => Outcome::Kept,
    });
}
