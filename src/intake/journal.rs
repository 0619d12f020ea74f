//! The writer: takes what has gathered while the last batch was committing, and appends it in one commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::accept::Refusal;
use super::budget::{Budget, Reserved};
use super::configuration::{Configuration, Snapshot};
use crate::database::{Appended, Database, DatabaseError, JournalBatch};
use crate::metrics::{Metrics, Outcome};
use crate::model::{Capture, Entry, EntryKind};
use crate::shutdown::Shutdown;
use crate::storage;

/// Called with each batch when it is committed, in the order of `seq`; must not block.
pub type OnCommit = Box<dyn Fn(Vec<Entry>) + Send + Sync>;

/// Between two tries at a batch whose commit is in doubt, and between two looks at a database that is away.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const PROBE_PAUSE: Duration = Duration::from_millis(200);

/// How long a sender waits beyond the deadline, within which the writer tells it by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// Times that a batch may meet a newer configuration before it is refused.
const CONFIGURATION_MISSES_MAX: u32 = 10;

#[derive(Debug, Clone)]
pub struct JournalOptions {
    pub queue_bytes_max: usize,
    pub queue_captures_max: usize,
    pub batch_bytes_max: usize,
    pub batch_captures_max: usize,
    pub commit_deadline: Duration,
}

/// The entrance to the writer's queue.
pub struct Journal {
    queue: mpsc::Sender<Queued>,
    room: Arc<Budget>,
    available: Arc<Availability>,
    metrics: Arc<Metrics>,
    patience: Duration,
}

struct Queued {
    capture: Arc<Capture>,
    weight: usize,
    since: Instant,
    done: oneshot::Sender<Result<i64, Refusal>>,
    _room: Reserved,
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
            on_commit,
            available: available.clone(),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ended, end) = oneshot::channel::<()>();
        std::thread::Builder::new().name("creel-journal".into()).spawn(move || {
            runtime.block_on(writer.run(queued));
            drop(ended);
        })?;
        shutdown.spawn(async { drop(end.await) });
        Ok(Self { queue, room, available, metrics, patience })
    }

    /// Journals a capture, and waits until it is durable; returns its place. From here on it is the
    /// writer's, whatever becomes of the sender.
    pub async fn append(&self, capture: Capture) -> Result<i64, Refusal> {
        let verdict = self.queue(capture)?;
        match tokio::time::timeout(self.patience, verdict).await {
            // The writer tells everybody; it is gone only when the node has stopped.
            Ok(told) => told.unwrap_or(Err(Refusal::DeadlinePassed)),
            // It is held up itself, as by a disk that does not answer.
            Err(_) => {
                self.available.set(false);
                Err(Refusal::DeadlinePassed)
            }
        }
    }

    fn queue(&self, capture: Capture) -> Result<oneshot::Receiver<Result<i64, Refusal>>, Refusal> {
        if !self.is_available() {
            return Err(Refusal::DatabaseAway);
        }
        let weight = capture.weight();
        let room = self.room.reserve(weight).ok_or(Refusal::QueueFull)?;
        let (done, verdict) = oneshot::channel();
        let queued = Queued { capture: Arc::new(capture), weight, since: Instant::now(), done, _room: room };
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
struct Availability {
    flag: AtomicBool,
    gauge: Gauge,
}

impl Availability {
    fn new(gauge: Gauge) -> Self {
        gauge.set(1);
        Self { flag: AtomicBool::new(true), gauge }
    }

    fn get(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    fn set(&self, available: bool) {
        if self.flag.swap(available, Ordering::AcqRel) == available {
            return;
        }
        self.gauge.set(available.into());
        if available {
            tracing::info!("the database is back; captures are taken again");
        } else {
            tracing::error!("the database is away; captures are refused until it is back");
        }
    }
}

/// Why a batch was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotAppended {
    /// It was matched with another configuration than is in force; nothing was written.
    ConfigurationMoved,
    /// The database refuses what it holds; nothing was written.
    Data,
    /// The database did not confirm in time.
    InDoubt,
}

struct Writer {
    database: Arc<dyn Database>,
    configuration: Arc<Configuration>,
    options: JournalOptions,
    on_commit: OnCommit,
    available: Arc<Availability>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

impl Writer {
    async fn run(self, mut queue: mpsc::Receiver<Queued>) {
        let mut gathered = Vec::with_capacity(self.options.batch_captures_max);
        loop {
            if !self.available.get() {
                self.refuse_until_back(&mut queue).await;
            }
            let received = tokio::select! {
                biased;
                received = queue.recv_many(&mut gathered, self.options.batch_captures_max) => received,
                () = self.shutdown.stopped(), if !queue.is_closed() => {
                    // What was queued is written still; the loop ends when it is.
                    queue.close();
                    continue;
                }
            };
            if received == 0 {
                return;
            }
            let mut waiting: VecDeque<Queued> = gathered.drain(..).collect();
            while !waiting.is_empty() {
                let batch = self.take_batch(&mut waiting);
                if !batch.is_empty() {
                    self.commit(batch).await;
                }
            }
        }
    }

    /// A batch within its bounds; what has waited too long is refused instead.
    fn take_batch(&self, waiting: &mut VecDeque<Queued>) -> Vec<Queued> {
        let now = Instant::now();
        let mut bytes = 0;
        let mut batch: Vec<Queued> = Vec::with_capacity(waiting.len());
        while let Some(next) = waiting.front() {
            if !batch.is_empty() && bytes + next.weight > self.options.batch_bytes_max {
                break;
            }
            let next = waiting.pop_front().expect("there is a front");
            if now.duration_since(next.since) > self.options.commit_deadline {
                self.tell(next, Err(Refusal::DatabaseAway));
            } else {
                bytes += next.weight;
                batch.push(next);
            }
        }
        batch
    }

    /// Appends a batch, whatever it takes within the deadline; every sender is told. A batch in which the
    /// database refuses the data is halved until the capture at fault is alone.
    #[tracing::instrument(level = "debug", skip_all, fields(captures = batch.len()))]
    async fn commit(&self, mut batch: Vec<Queued>) {
        let deadline = batch.first().map_or_else(Instant::now, |q| q.since) + self.options.commit_deadline;
        let started = Instant::now();
        let mut misses = 0;
        let (captures, appended) = loop {
            let configuration = self.configuration.current();
            self.judge(&mut batch, &configuration);
            if batch.is_empty() {
                return;
            }
            let captures: Vec<Arc<Capture>> = batch.iter().map(|queued| queued.capture.clone()).collect();
            let appended = self.append(&captures, configuration.config_seq, deadline).await;
            if appended != Err(NotAppended::ConfigurationMoved) || misses == CONFIGURATION_MISSES_MAX {
                break (captures, appended);
            }
            misses += 1;
            if let Err(error) = self.configuration.refresh().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "failed to read the configuration");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        match appended {
            Ok(seqs) => {
                self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
                #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
                self.metrics.batch_captures.observe(captures.len() as f64);
                self.available.set(true);
                captures.iter().for_each(|capture| self.count(capture));
                let entries = seqs.iter().zip(captures);
                (self.on_commit)(
                    entries.map(|(&seq, c)| Entry { seq, what: EntryKind::Capture(c) }).collect(),
                );
                for (queued, seq) in batch.into_iter().zip(seqs) {
                    self.tell(queued, Ok(seq));
                }
            }
            Err(NotAppended::Data) if batch.len() > 1 => {
                let mut first = batch;
                let second = first.split_off(first.len() / 2);
                Box::pin(self.commit(first)).await;
                Box::pin(self.commit(second)).await;
            }
            Err(reason) => {
                if reason == NotAppended::InDoubt {
                    self.available.set(false);
                }
                let refusal = match reason {
                    NotAppended::Data => Refusal::DataRefused,
                    NotAppended::InDoubt => Refusal::DeadlinePassed,
                    NotAppended::ConfigurationMoved => Refusal::DatabaseAway,
                };
                for queued in batch {
                    self.tell(queued, Err(refusal));
                }
            }
        }
    }

    /// Refuses what the configuration does not take.
    fn judge(&self, batch: &mut Vec<Queued>, configuration: &Snapshot) {
        for queued in batch.extract_if(.., |queued| !configuration.admits(&queued.capture.endpoint)) {
            self.tell(queued, Err(Refusal::UnknownEndpoint));
        }
    }

    /// Appends the captures and returns their places.
    async fn append(
        &self,
        captures: &[Arc<Capture>],
        config_seq: i64,
        deadline: Instant,
    ) -> Result<Vec<i64>, NotAppended> {
        let mut in_doubt = false;
        loop {
            let batch = JournalBatch { captures, config_seq };
            let result = match tokio::time::timeout_at(deadline, self.database.append(&batch)).await {
                Ok(result) => result,
                Err(_) => return Err(NotAppended::InDoubt),
            };
            let error = match result {
                Ok(Appended::At { base }) => return Ok((base + 1..).take(captures.len()).collect()),
                Ok(Appended::ConfigurationMoved) if !in_doubt => return Err(NotAppended::ConfigurationMoved),
                // An earlier try may have come through, and this one met its rows, or what came after it.
                Ok(Appended::ConfigurationMoved) => match self.find_all(captures).await {
                    Ok(Some(seqs)) => return Ok(seqs),
                    Ok(None) => return Err(NotAppended::ConfigurationMoved),
                    Err(error) => error,
                },
                Err(DatabaseError::Conflict(_)) => match self.find_all(captures).await {
                    Ok(Some(seqs)) => return Ok(seqs),
                    Ok(None) => return Err(NotAppended::Data),
                    Err(error) => error,
                },
                Err(DatabaseError::Data(error)) => {
                    tracing::warn!(%error, captures = captures.len(), "the database refused a batch");
                    return Err(NotAppended::Data);
                }
                Err(error) => error,
            };
            if !in_doubt {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "failed to append a batch; trying again"
                );
            }
            in_doubt = true;
            tokio::time::sleep(RETRY_PAUSE).await;
            if Instant::now() >= deadline {
                return Err(NotAppended::InDoubt);
            }
        }
    }

    /// The places of captures that an earlier try has committed: all of them, or None.
    async fn find_all(&self, captures: &[Arc<Capture>]) -> Result<Option<Vec<i64>>, DatabaseError> {
        let mut seqs = Vec::with_capacity(captures.len());
        for capture in captures {
            match storage::journal::find_seq(self.database.as_ref(), capture.id).await? {
                Some(seq) => seqs.push(seq),
                None => return Ok(None),
            }
        }
        Ok(Some(seqs))
    }

    /// While the database is away nobody waits: what was queued is refused, until it answers again.
    async fn refuse_until_back(&self, queue: &mut mpsc::Receiver<Queued>) {
        loop {
            while let Ok(queued) = queue.try_recv() {
                self.tell(queued, Err(Refusal::DatabaseAway));
            }
            if self.shutdown.is_stopped() {
                queue.close();
                return;
            }
            if storage::journal::head(self.database.as_ref()).await.is_ok() {
                self.available.set(true);
                return;
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }

    /// Counted here, and not where the answer is sent: a sender may be gone by now.
    fn count(&self, capture: &Capture) {
        self.metrics.capture_bytes.inc_by(capture.body.bytes);
        self.metrics.count(match &capture.body {
            body if body.truncated => Outcome::Truncated,
            body if body.incomplete && capture.reply.status == 408 => Outcome::TimedOut,
            body if body.incomplete => Outcome::Incomplete,
            _ => Outcome::Kept,
        });
    }

    fn tell(&self, queued: Queued, outcome: Result<i64, Refusal>) {
        self.metrics.queue_captures.dec();
        if queued.done.send(outcome).is_err() {
            tracing::trace!("a sender has gone; its capture is kept all the same");
        }
    }
}
