//! Tells of what is committed, beside the next commit: the feed first, and then the senders, so that who was answered
//! finds its capture passed on.

use std::panic::AssertUnwindSafe;
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
    /// Of the journal that the feed passed on before the commit.
    pub epoch: i64,
    pub batch: Vec<Queued>,
    /// As they were committed, each with its place and what answers it.
    pub captures: Vec<Arc<Capture>>,
    pub seqs: Vec<i64>,
    pub chosen: Vec<Chosen>,
}

/// Starts to tell, in the order of commits, until the writer has ended and everybody is told. It has a thread of its own,
/// as the writer has: senders wait for it.
///
/// # Errors
/// Where the system has no room for a further thread.
pub fn start(
    on_commit: OnCommit,
    metrics: Arc<Metrics>,
    shutdown: &Shutdown,
) -> std::io::Result<mpsc::Sender<Committed>> {
    let (sender, mut committed) = mpsc::channel::<Committed>(BATCHES);
    shutdown.spawn_thread("creel-telling", move || {
        while let Some(committed) = committed.blocking_recv() {
            // A panic is one batch's: the feed finds its captures in the journal, and its senders hear that they may
            // have been kept. The process's hook logs and counts it.
            drop(std::panic::catch_unwind(AssertUnwindSafe(|| committed.tell(&on_commit, &metrics))));
        }
    })?;
    Ok(sender)
}

impl Committed {
    fn tell(self, on_commit: &OnCommit, metrics: &Metrics) {
        // First, whatever comes of telling: they wait to be written no more.
        metrics.queue_captures.dec_by(i64::try_from(self.batch.len()).expect("a batch is small"));
        self.captures.iter().for_each(|capture| count(capture, metrics));
        let entries = self.seqs.iter().zip(self.captures);
        on_commit(self.epoch, entries.map(|(&seq, c)| Entry { seq, what: EntryKind::Capture(c) }).collect());
        for ((queued, seq), chosen) in self.batch.into_iter().zip(self.seqs).zip(self.chosen) {
            let Queued { capture, case, teller, .. } = queued;
            teller.tell(Ok(Accepted { seq, capture, chosen, seen: case.seen }));
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use prometheus_client::metrics::gauge::Gauge;
    use serde_json::json;
    use tokio::sync::oneshot::error::TryRecvError;
    use uuid::Uuid;

    use super::super::budget::Budget;
    use super::super::judging::{Ask, Case};
    use super::super::verdict::Verdict;
    use super::*;
    use crate::rules::sample::{self, SampleOptions};

    fn committed(seq: i64) -> (Committed, Verdict) {
        let options = SampleOptions { id: Uuid::nil(), now_us: 0, prefix: "r" };
        let capture = Arc::new(sample::capture(&json!({"endpoint": "a"}), options).unwrap());
        let case = Case::new(&capture, Ask::Nobody, None, true);
        let room = Budget::new(1, Gauge::default()).reserve(1).unwrap();
        let (queued, verdict) = Queued::new(capture.clone(), case, 1, room);
        let batch = vec![queued];
        (
            Committed {
                epoch: 7,
                batch,
                captures: vec![capture],
                seqs: vec![seq],
                chosen: vec![Chosen::Fallback],
            },
            verdict,
        )
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_feed_hears_before_the_sender_and_a_panic_is_one_batchs() {
        let (broken, verdict_of_broken) = committed(1);
        let (whole, verdict) = committed(2);
        let verdict = Arc::new(Mutex::new(verdict));
        let (seen, heard) = (verdict.clone(), Arc::new(Mutex::new(Vec::new())));
        let told = heard.clone();
        let on_commit: OnCommit = Box::new(move |epoch, entries| {
            assert_eq!(epoch, 7);
            assert!(entries[0].seq != 1, "this one is not told of");
            // Time for word to arrive that was given before.
            std::thread::sleep(Duration::from_millis(50));
            let before = matches!(seen.lock().unwrap().try_recv(), Err(TryRecvError::Empty));
            told.lock().unwrap().push((entries[0].seq, before));
        });
        let (shutdown, metrics) = (Shutdown::default(), Arc::new(Metrics::default()));
        metrics.queue_captures.inc_by(2);
        let sender = start(on_commit, metrics.clone(), &shutdown).unwrap();
        for committed in [broken, whole] {
            assert!(sender.send(committed).await.is_ok());
        }
        drop(sender);
        shutdown.finish().await;
        assert_eq!(*heard.lock().unwrap(), [(2, true)]);
        assert_eq!(metrics.queue_captures.get(), 0, "none of them waits any more");
        assert!(verdict_of_broken.await.is_err(), "who waits is not left waiting");
        let verdict = Arc::into_inner(verdict).unwrap().into_inner().unwrap().await;
        assert!(matches!(verdict, Ok(Ok(Accepted { seq: 2, .. }))));
    }
}
