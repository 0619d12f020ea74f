//! The writer: takes what has gathered while the last batch was committing, and appends it in one commit,
//! under the configuration and the states that it was matched with.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::accept::Refusal;
use super::configuration::{Configuration, Snapshot};
use super::deciding::{Decided, decide, split_stateless};
use super::journal::{Availability, FeedEpoch, JournalOptions, Queued};
use super::judging::admit;
use super::telling::Committed;
use crate::database::{Appended, Database, DatabaseError, JournalBatch, StateClaim};
use crate::metrics::Metrics;
use crate::model::Capture;
use crate::rules::States;
use crate::shutdown::Shutdown;
use crate::storage;

/// Between two tries at a batch whose commit is in doubt, and between two looks at a database that is away.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const PROBE_PAUSE: Duration = Duration::from_millis(200);

/// What an append has at least, so that overload is not taken for a database that is away. Senders wait twice as long
/// beyond the deadline.
const APPEND_MIN: Duration = Duration::from_millis(500);

/// States that are known beyond twice as many as there were, before all are read anew.
const STATES_SLACK: usize = 10_000;

/// Why a batch was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotAppended {
    /// The configuration or a state is another one than it was matched with; nothing was written.
    Moved,
    /// The database refuses what it holds; nothing was written.
    Data,
    /// The database has no room for it; nothing was written.
    Full,
    /// The database did not confirm in time.
    InDoubt,
}

pub(super) struct Writer {
    pub database: Arc<dyn Database>,
    pub configuration: Arc<Configuration>,
    pub options: JournalOptions,
    pub feed_epoch: FeedEpoch,
    /// Where what is durable goes.
    pub committed: mpsc::Sender<Committed>,
    pub available: Arc<Availability>,
    pub metrics: Arc<Metrics>,
    pub shutdown: Shutdown,
    /// The states as this node knows them, and the place of their last change.
    pub states: States,
    /// How many there were when all were read.
    pub states_read: usize,
    pub state_seq: i64,
    /// The journal that the states are of.
    pub epoch: i64,
    /// Captures that have missed because a state had moved; they are tried again, and nobody waits behind them.
    pub aside: Vec<Queued>,
    /// What the database had no room for: a capture that was refused, and how many bytes came with it.
    pub lacked: Option<(Uuid, usize)>,
}

impl Writer {
    pub async fn run(mut self, mut queue: mpsc::Receiver<Queued>) {
        let mut gathered = Vec::with_capacity(self.options.batch_captures_max);
        loop {
            if !self.available.get() {
                self.refuse_until_back(&mut queue).await;
            }
            let mut waiting: VecDeque<Queued> = self.aside.drain(..).collect();
            if waiting.is_empty() {
                let received = tokio::select! {
                    biased;
                    received = queue.recv_many(&mut gathered, self.options.batch_captures_max) => received,
                    // A sender has lost its patience: whether the database is away is to be looked at.
                    () = self.available.fallen() => continue,
                    () = self.shutdown.stopped(), if !queue.is_closed() => {
                        // What was queued is written still; the loop ends when it is.
                        queue.close();
                        continue;
                    }
                };
                if received == 0 {
                    return;
                }
            }
            while gathered.len() < self.options.batch_captures_max
                && let Ok(queued) = queue.try_recv()
            {
                gathered.push(queued);
            }
            waiting.extend(gathered.drain(..));
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
                let refusal = if next.has_missed { Refusal::QueueFull } else { Refusal::DatabaseAway };
                self.refuse(next, refusal);
            } else {
                bytes += next.weight;
                batch.push(next);
            }
        }
        batch
    }

    /// Appends a batch, whatever it takes within the deadline, and hands it on to be told of; senders that are refused
    /// are told at once. A batch in which the database refuses the data is halved until the capture at fault is alone.
    #[tracing::instrument(level = "debug", skip_all, fields(captures = batch.len()))]
    async fn commit(&mut self, mut batch: Vec<Queued>) {
        let deadline = batch.first().map_or_else(Instant::now, |q| q.since) + self.options.commit_deadline;
        let started = Instant::now();
        // Before the commit: where the feed goes on to another journal meanwhile, it is not told that this is of that one.
        let epoch = (self.feed_epoch)();
        // What depends on states may have to be tried often; the rest does not wait for it.
        if batch.iter().any(|queued| queued.has_missed)
            && let Some(stateless) = split_stateless(&mut batch)
        {
            Box::pin(self.commit(stateless)).await;
        }
        let (decided, appended) = loop {
            let configuration = self.configuration.current();
            let judged = self.judge(&mut batch, &configuration, deadline).await;
            if batch.is_empty() {
                return;
            }
            let decided = decide(&self.states, self.state_seq, &mut batch);
            let appended = match judged {
                Ok(()) => self.append(&decided, configuration.config_seq, deadline).await,
                Err(reason) => Err(reason),
            };
            if appended != Err(NotAppended::Moved) || Instant::now() >= deadline {
                break (decided, appended);
            }
            if let Err(error) = within(deadline, self.look_again(decided.states.is_some())).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "failed to read the configuration");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            if decided.states.is_some() {
                batch.iter_mut().for_each(|queued| queued.has_missed = true);
                self.aside.append(&mut batch);
                return;
            }
        };
        match appended {
            Ok(seqs) => {
                self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
                #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
                self.metrics.batch_captures.observe(seqs.len() as f64);
                self.lacked = None;
                self.available.set(true);
                let Decided { captures, chosen, states } = decided;
                self.remember(states, seqs.last().copied());
                // It is received for as long as the writer is there.
                drop(self.committed.send(Committed { epoch, batch, captures, seqs, chosen }).await);
            }
            Err(NotAppended::Data) if batch.len() > 1 => {
                let mut first = batch;
                let second = first.split_off(first.len() / 2);
                Box::pin(self.commit(first)).await;
                Box::pin(self.commit(second)).await;
            }
            Err(reason) => {
                if reason == NotAppended::Full {
                    let bytes = batch.iter().map(|queued| queued.weight).sum();
                    self.lacked = batch.first().map(|queued| (queued.capture.id, bytes));
                }
                if matches!(reason, NotAppended::InDoubt | NotAppended::Full) {
                    self.available.set(false);
                }
                let refusal = match reason {
                    NotAppended::Data => Refusal::DataRefused,
                    NotAppended::InDoubt => Refusal::DeadlinePassed,
                    NotAppended::Moved | NotAppended::Full => Refusal::DatabaseAway,
                };
                for queued in batch {
                    self.refuse(queued, refusal);
                }
            }
        }
    }

    /// Refuses what the configuration does not take, and asks its rules about what was judged under another.
    async fn judge(
        &self,
        batch: &mut Vec<Queued>,
        configuration: &Snapshot,
        deadline: Instant,
    ) -> Result<(), NotAppended> {
        let mut is_confirmed = false;
        let mut place = 0;
        while place < batch.len() {
            let queued = &mut batch[place];
            place += 1;
            if queued.case.config_seq == configuration.config_seq {
                continue;
            }
            if Instant::now() >= deadline {
                return Err(NotAppended::Moved);
            }
            if let Err(refusal) = admit(configuration, &queued.capture) {
                // A refusal is never stale either; what was read after all of the batch came confirms each of it.
                if !is_confirmed {
                    let confirmed = within(deadline, self.configuration.refresh()).await;
                    is_confirmed = confirmed.is_ok_and(|c| c.config_seq == configuration.config_seq);
                }
                if !is_confirmed {
                    return Err(NotAppended::Moved);
                }
                place -= 1;
                let queued = batch.remove(place);
                self.refuse(queued, refusal);
                continue;
            }
            let most = self.options.rules_body_bytes_max;
            let capture = Arc::make_mut(&mut queued.capture);
            let judging = queued.case.judge(configuration, capture, self.database.as_ref(), most);
            if within(deadline, judging).await.is_err() {
                // A body could not be read, and nothing is decided without it.
                tokio::time::sleep(RETRY_PAUSE).await;
                return Err(NotAppended::Moved);
            }
        }
        Ok(())
    }

    /// Reads what has moved.
    async fn look_again(&mut self, states_too: bool) -> Result<(), DatabaseError> {
        if !states_too {
            return self.configuration.refresh().await.map(drop);
        }
        let database = self.database.as_ref();
        // Of states that are removed nobody tells, as of those of runs that are closed.
        let is_full = self.states.len() > 2 * self.states_read + STATES_SLACK;
        let behind = if is_full { 0 } else { self.state_seq };
        let mut changed = storage::states::changed_after(database, behind).await?;
        // Another journal than the states are of, as one that was restored: nothing of what was known holds.
        let is_other = changed.epoch != self.epoch || changed.state_seq < self.state_seq;
        if is_other && !is_full {
            changed = storage::states::changed_after(database, 0).await?;
        }
        if is_other || is_full {
            self.states = States::default();
            self.states_read = changed.states.len();
        }
        self.states.set(changed.states);
        (self.state_seq, self.epoch) = (changed.state_seq, changed.epoch);
        if changed.config_seq != self.configuration.current().config_seq {
            self.configuration.refresh().await?;
        }
        Ok(())
    }

    /// What was claimed is so from now on.
    fn remember(&mut self, claim: Option<StateClaim>, last: Option<i64>) {
        if let (Some(claim), Some(last)) = (claim, last)
            && !claim.writes.is_empty()
        {
            self.states.set(claim.writes);
            self.state_seq = last;
        }
    }

    /// Appends the captures and returns their places. A batch that was taken just before its deadline has a moment
    /// beyond it.
    async fn append(
        &self,
        decided: &Decided,
        config_seq: i64,
        deadline: Instant,
    ) -> Result<Vec<i64>, NotAppended> {
        let captures = decided.captures.as_slice();
        let deadline = deadline.max(Instant::now() + APPEND_MIN);
        let mut in_doubt = false;
        loop {
            let batch = JournalBatch { captures, config_seq, states: decided.states.as_ref() };
            let result = match tokio::time::timeout_at(deadline, self.database.append(&batch)).await {
                Ok(result) => result,
                Err(_) => return Err(NotAppended::InDoubt),
            };
            let error = match result {
                Ok(Appended::At { base }) => return Ok((base + 1..).take(captures.len()).collect()),
                Ok(Appended::Moved) if !in_doubt => return Err(NotAppended::Moved),
                // An earlier try may have come through, and this one met its rows, or what came after it.
                Ok(Appended::Moved) => match self.find_all(captures).await {
                    Ok(Some(seqs)) => return Ok(seqs),
                    Ok(None) => return Err(NotAppended::Moved),
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
                Err(DatabaseError::Full(error)) if !in_doubt => {
                    tracing::warn!(%error, captures = captures.len(), "the database has no room for a batch");
                    return Err(NotAppended::Full);
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

    /// The places of captures that an earlier try has committed. It was one commit, and their places follow one another:
    /// any that is found tells those of all, some of which may be removed by now.
    async fn find_all(&self, captures: &[Arc<Capture>]) -> Result<Option<Vec<i64>>, DatabaseError> {
        for (place, capture) in (0..).zip(captures) {
            if let Some(seq) = storage::journal::find_seq(self.database.as_ref(), capture.id).await? {
                return Ok(Some((seq - place..).take(captures.len()).collect()));
            }
        }
        Ok(None)
    }

    /// While the database is away nobody waits: what was queued is refused, until it answers again.
    async fn refuse_until_back(&mut self, queue: &mut mpsc::Receiver<Queued>) {
        loop {
            for queued in std::mem::take(&mut self.aside) {
                self.refuse(queued, Refusal::DatabaseAway);
            }
            while let Ok(queued) = queue.try_recv() {
                self.refuse(queued, Refusal::DatabaseAway);
            }
            if self.shutdown.is_stopped() {
                queue.close();
                return;
            }
            let database = self.database.as_ref();
            let is_back = match self.lacked {
                // It reads as ever.
                Some((id, bytes)) => storage::bodies::try_room(database, id, bytes).await.is_ok(),
                None => storage::journal::head(database).await.is_ok(),
            };
            if is_back {
                self.lacked = None;
                self.available.set(true);
                return;
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }

    fn refuse(&self, queued: Queued, refusal: Refusal) {
        self.metrics.queue_captures.dec();
        queued.teller.tell(Err(refusal));
    }
}

/// What is read for a batch is read within its time.
async fn within<T>(
    deadline: Instant,
    reading: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    let late = |_| Err(DatabaseError::Unavailable("the batch's time is over".into()));
    tokio::time::timeout_at(deadline, reading).await.unwrap_or_else(late)
}
