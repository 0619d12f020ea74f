//! The writer: takes what has gathered while the last batch was committing, and appends it in one commit,
//! under the configuration and the states that it was matched with.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::accept::Refusal;
use super::configuration::{Configuration, Snapshot};
use super::journal::{Accepted, Availability, JournalOptions, OnCommit, Queued};
use super::judging::{Chosen, admit};
use crate::database::{Appended, Database, DatabaseError, JournalBatch, StateClaim};
use crate::metrics::{Metrics, Outcome};
use crate::model::{Capture, Entry, EntryKind, ReplyChoice, ReplySource, RuleChoice};
use crate::rules::States;
use crate::shutdown::Shutdown;
use crate::storage;

/// Between two tries at a batch whose commit is in doubt, and between two looks at a database that is away.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const PROBE_PAUSE: Duration = Duration::from_millis(200);

/// Why a batch was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotAppended {
    /// The configuration or a state is another one than it was matched with; nothing was written.
    Moved,
    /// The database refuses what it holds; nothing was written.
    Data,
    /// The database did not confirm in time.
    InDoubt,
}

pub(super) struct Writer {
    pub database: Arc<dyn Database>,
    pub configuration: Arc<Configuration>,
    pub options: JournalOptions,
    pub on_commit: OnCommit,
    pub available: Arc<Availability>,
    pub metrics: Arc<Metrics>,
    pub shutdown: Shutdown,
    /// The states as this node knows them, and the place of their last change.
    pub states: States,
    pub state_seq: i64,
}

/// A batch as it was decided.
struct Decided {
    captures: Vec<Arc<Capture>>,
    chosen: Vec<Chosen>,
    /// Where any of it depends on states.
    states: Option<StateClaim>,
}

/// Takes the captures out that depend on no state, where there are others.
fn split_stateless(batch: &mut Vec<Queued>) -> Option<Vec<Queued>> {
    if !batch.iter().any(|queued| queued.case.is_stateful()) {
        return None;
    }
    let stateless: Vec<Queued> = batch.extract_if(.., |queued| !queued.case.is_stateful()).collect();
    (!stateless.is_empty()).then_some(stateless)
}

/// How a choice stands in the capture; None where it is the skin's own.
fn choice_of(chosen: &Chosen) -> Option<ReplyChoice> {
    match chosen {
        Chosen::Fallback => None,
        Chosen::Endpoint(endpoint) => Some(ReplyChoice::of(
            ReplySource::Endpoint,
            endpoint.reply.as_ref().map_or(200, |reply| reply.status),
        )),
        Chosen::Rule(decision) => {
            let rule = &decision.rule;
            let is_message = decision.reply().message.is_some();
            Some(ReplyChoice {
                source: ReplySource::Rule,
                status: if is_message { 0 } else { decision.reply().status },
                rule: Some(RuleChoice {
                    name: rule.name.clone(),
                    version: rule.stamp.version,
                    hit: decision.hit,
                }),
            })
        }
    }
}

impl Writer {
    pub async fn run(mut self, mut queue: mpsc::Receiver<Queued>) {
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
    async fn commit(&mut self, mut batch: Vec<Queued>) {
        let deadline = batch.first().map_or_else(Instant::now, |q| q.since) + self.options.commit_deadline;
        let started = Instant::now();
        let mut missed = false;
        let (decided, appended) = loop {
            let configuration = self.configuration.current();
            let judged = self.judge(&mut batch, &configuration).await;
            if batch.is_empty() {
                return;
            }
            // What depends on states may have to be tried often; the rest need not wait for it.
            if missed && let Some(stateless) = split_stateless(&mut batch) {
                Box::pin(self.commit(stateless)).await;
                continue;
            }
            let decided = self.decide(&mut batch);
            let appended = match judged {
                Ok(()) => self.append(&decided, configuration.config_seq, deadline).await,
                // A body could not be read, and nothing is decided without it.
                Err(_) => Err(NotAppended::Moved),
            };
            if appended != Err(NotAppended::Moved) || Instant::now() >= deadline {
                break (decided, appended);
            }
            missed = true;
            if let Err(error) = self.look_again(decided.states.is_some()).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "failed to read the configuration");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        match appended {
            Ok(seqs) => {
                self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
                #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
                self.metrics.batch_captures.observe(seqs.len() as f64);
                self.available.set(true);
                self.remember(decided.states, seqs.last().copied());
                self.pass_on(batch, seqs, decided.chosen, decided.captures);
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
                    NotAppended::Moved => Refusal::DatabaseAway,
                };
                for queued in batch {
                    self.tell(queued, Err(refusal));
                }
            }
        }
    }

    /// Refuses what the configuration does not take, and asks its rules about what was judged under another.
    async fn judge(&self, batch: &mut Vec<Queued>, configuration: &Snapshot) -> Result<(), DatabaseError> {
        let mut place = 0;
        while place < batch.len() {
            let queued = &mut batch[place];
            if queued.case.config_seq != configuration.config_seq {
                if let Err(refusal) = admit(configuration, &queued.capture) {
                    let queued = batch.remove(place);
                    self.tell(queued, Err(refusal));
                    continue;
                }
                let (capture, most) = (queued.capture.clone(), self.options.rules_body_bytes_max);
                queued.case.judge(configuration, &capture, self.database.as_ref(), most).await?;
            }
            place += 1;
        }
        Ok(())
    }

    /// Lets the states decide among the candidates, one capture after the other, and notes the decisions in
    /// the captures.
    fn decide(&self, batch: &mut [Queued]) -> Decided {
        let mut claim = self.states.claim();
        let depends = batch.iter().any(|queued| queued.case.is_stateful());
        let mut decided = Decided {
            captures: Vec::with_capacity(batch.len()),
            chosen: Vec::with_capacity(batch.len()),
            states: None,
        };
        for queued in batch {
            let decision = claim.settle(&queued.case.candidates);
            let chosen = queued.case.chosen(decision, &queued.capture);
            let reply = choice_of(&chosen).unwrap_or_else(|| queued.case.fallback.clone());
            // Nearly always it stands there already.
            if queued.capture.reply != reply {
                Arc::make_mut(&mut queued.capture).reply = reply;
            }
            decided.captures.push(queued.capture.clone());
            decided.chosen.push(chosen);
        }
        decided.states =
            depends.then(|| StateClaim { state_seq: self.state_seq, writes: claim.into_writes() });
        decided
    }

    /// Reads what has moved.
    async fn look_again(&mut self, states_too: bool) -> Result<(), DatabaseError> {
        self.configuration.refresh().await?;
        if states_too {
            let (mut state_seq, mut states) =
                storage::states::changed_after(self.database.as_ref(), self.state_seq).await?;
            // A journal that was restored: nothing of what was known holds.
            if state_seq < self.state_seq {
                self.states = States::default();
                (state_seq, states) = storage::states::changed_after(self.database.as_ref(), 0).await?;
            }
            self.states.set(states);
            self.state_seq = state_seq;
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

    /// Hands the entries on, and tells the senders.
    fn pass_on(&self, batch: Vec<Queued>, seqs: Vec<i64>, chosen: Vec<Chosen>, captures: Vec<Arc<Capture>>) {
        captures.iter().for_each(|capture| self.count(capture));
        let entries = seqs.iter().zip(captures);
        (self.on_commit)(entries.map(|(&seq, c)| Entry { seq, what: EntryKind::Capture(c) }).collect());
        for ((queued, seq), chosen) in batch.into_iter().zip(seqs).zip(chosen) {
            let (capture, body) = (queued.capture.clone(), queued.case.body.clone());
            self.tell(queued, Ok(Accepted { seq, capture, chosen, body }));
        }
    }

    /// Appends the captures and returns their places.
    async fn append(
        &self,
        decided: &Decided,
        config_seq: i64,
        deadline: Instant,
    ) -> Result<Vec<i64>, NotAppended> {
        let captures = decided.captures.as_slice();
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

    fn tell(&self, queued: Queued, outcome: Result<Accepted, Refusal>) {
        self.metrics.queue_captures.dec();
        if queued.done.send(outcome).is_err() {
            tracing::trace!("a sender has gone; its capture is kept all the same");
        }
    }
}
