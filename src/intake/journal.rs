//! The entrance to the journal: a queue within bounds, and word of what became of each capture.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::accept::Refusal;
use super::budget::{Budget, Reserved};
use super::configuration::Configuration;
use super::judging::{Case, Chosen, body_of};
use super::telling;
use super::verdict::{self, Teller, Verdict};
use super::writer::Writer;
use crate::database::Database;
use crate::metrics::Metrics;
use crate::model::{Capture, Entry};
use crate::rules::States;
use crate::shutdown::Shutdown;

/// Called with each batch when it is committed, in the order of `seq`, and with what [`FeedEpoch`] was before; must not
/// block.
pub type OnCommit = Box<dyn Fn(i64, Vec<Entry>) + Send + Sync>;

/// The epoch of the journal that the feed passes on.
pub type FeedEpoch = Box<dyn Fn() -> i64 + Send + Sync>;

/// How long a sender waits beyond the deadline, within which the writer tells it by itself.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct JournalOptions {
    pub queue_bytes_max: usize,
    pub queue_captures_max: usize,
    pub batch_bytes_max: usize,
    pub batch_captures_max: usize,
    pub commit_deadline: Duration,
    /// What rules see of a body at most.
    pub rules_body_bytes_max: usize,
}

/// A capture that is durable.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Its place in the journal.
    pub seq: i64,
    pub capture: Arc<Capture>,
    pub chosen: Chosen,
    /// What templates see of the body, where that is not the capture's own.
    pub seen: Option<Bytes>,
}

impl Accepted {
    /// The body as far as templates see it.
    pub fn body(&self) -> &[u8] {
        body_of(&self.capture, self.seen.as_ref())
    }
}

/// The entrance to the writer's queue.
pub struct Journal {
    queue: mpsc::Sender<Queued>,
    room: Arc<Budget>,
    available: Arc<Availability>,
    metrics: Arc<Metrics>,
    patience: Duration,
}

/// A capture on its way.
pub(super) struct Queued {
    pub capture: Arc<Capture>,
    pub case: Case,
    pub weight: usize,
    pub since: Instant,
    /// Whether it has missed a commit because a state had moved.
    pub has_missed: bool,
    pub teller: Teller,
    _room: Reserved,
}

impl Queued {
    pub fn new(capture: Arc<Capture>, case: Case, weight: usize, room: Reserved) -> (Self, Verdict) {
        let (teller, verdict) = verdict::channel();
        let since = Instant::now();
        (Self { capture, case, weight, since, has_missed: false, teller, _room: room }, verdict)
    }
}

impl Journal {
    /// Starts the writer, which ends when the node stops and its queue is empty. It has a thread of its
    /// own: nothing else waits behind a commit, and a commit behind nothing else.
    ///
    /// # Errors
    /// Where the system has no room for a further thread.
    pub fn start(
        database: Arc<dyn Database>,
        configuration: Arc<Configuration>,
        options: JournalOptions,
        feed_epoch: FeedEpoch,
        on_commit: OnCommit,
        metrics: Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> std::io::Result<Self> {
        let (queue, queued) = mpsc::channel(options.queue_captures_max);
        let available = Arc::new(Availability::new(metrics.database_up.clone()));
        let room = Budget::new(options.queue_bytes_max, metrics.queue_bytes.clone());
        let patience = options.commit_deadline + PATIENCE;
        let writer = Writer {
            database,
            configuration,
            options,
            feed_epoch,
            committed: telling::start(on_commit, metrics.clone(), shutdown)?,
            available: available.clone(),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
            states: States::default(),
            states_read: 0,
            state_seq: 0,
            epoch: 0,
            aside: Vec::new(),
            lacked: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        shutdown.spawn_thread("creel-journal", move || runtime.block_on(writer.run(queued)))?;
        Ok(Self { queue, room, available, metrics, patience })
    }

    /// Journals a capture, and waits until it is durable. From here on it is the writer's, whatever becomes
    /// of the sender.
    pub async fn append(&self, capture: Arc<Capture>, case: Case) -> Result<Accepted, Refusal> {
        let verdict = self.queue(capture, case)?;
        match tokio::time::timeout(self.patience, verdict).await {
            // Everybody is told, but where telling panicked or the node has stopped.
            Ok(told) => told.unwrap_or(Err(Refusal::DeadlinePassed)),
            // It is held up itself, as by a disk that does not answer.
            Err(_) => {
                self.available.set(false);
                Err(Refusal::DeadlinePassed)
            }
        }
    }

    fn queue(&self, capture: Arc<Capture>, case: Case) -> Result<Verdict, Refusal> {
        if !self.is_available() {
            return Err(Refusal::DatabaseAway);
        }
        let weight = capture.weight() + case.seen.as_ref().map_or(0, Bytes::len);
        let room = self.room.reserve(weight).ok_or(Refusal::QueueFull)?;
        let (queued, verdict) = Queued::new(capture, case, weight, room);
        self.queue.try_send(queued).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::QueueFull,
            mpsc::error::TrySendError::Closed(_) => Refusal::DatabaseAway,
        })?;
        self.metrics.queue_captures.inc();
        Ok(verdict)
    }

    /// Whether the database took the last batch.
    pub fn is_available(&self) -> bool {
        self.available.get()
    }
}

/// Whether the database takes batches, as far as is known: to the writer, and to senders whose writer is
/// held up.
pub(super) struct Availability {
    flag: AtomicBool,
    gauge: Gauge,
    /// Wakes the writer: while captures are refused nothing comes that would.
    fallen: Notify,
}

impl Availability {
    fn new(gauge: Gauge) -> Self {
        gauge.set(1);
        Self { flag: AtomicBool::new(true), gauge, fallen: Notify::new() }
    }

    pub fn get(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    pub fn set(&self, available: bool) {
        if self.flag.swap(available, Ordering::AcqRel) == available {
            return;
        }
        self.gauge.set(available.into());
        if available {
            tracing::info!("the database is back; captures are taken again");
        } else {
            tracing::error!("the database is away; captures are refused until it is back");
            self.fallen.notify_one();
        }
    }

    /// Waits until it was set to false; at once where that happened since this was last waited for.
    pub async fn fallen(&self) {
        self.fallen.notified().await;
    }
}
