//! The hub: one broker subscription and one ring of recent events a node, for any number of subscribers.
//!
//! The broker may lose, repeat or reorder anything, or be gone: the journal's head is read again and
//! again, and what is missing is read from the database, one repair at a time.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::bell::Bell;
use super::lent::Pages;
use super::look::Looks;
use super::message::{self, Announced};
use super::sequencer::{Gap, Offered, Passed, RingLimits, Sequencer};
use crate::broker::{Signal, Subscription};
use crate::clock::Clock;
use crate::database::{Database, DatabaseError};
use crate::metrics::{Metrics, Way};
use crate::model::{Cursor, Entry, EntryKind};
use crate::shutdown::Shutdown;
use crate::storage;
use crate::storage::journal::Head;

#[derive(Debug, Clone)]
pub struct HubOptions {
    pub ring_events_max: usize,
    pub ring_bytes_max: usize,
    pub parked_max: usize,
    pub gap_wait: Duration,
    pub head_poll: Duration,
    pub catch_up_page: u32,
    pub catch_up_bytes_max: usize,
    pub catch_up_readers_max: usize,
}

pub struct Hub {
    pub(super) database: Arc<dyn Database>,
    pub(super) options: HubOptions,
    pub(super) metrics: Arc<Metrics>,
    /// How many read from the database at a time to catch up: of those that stream, and of those that wait.
    pub(super) readers: Semaphore,
    pub(super) waiting_readers: Semaphore,
    /// What was read so, and is not sent or judged yet.
    pub(super) pages: Arc<Pages>,
    sequencer: Mutex<Sequencer>,
    looks: Looks,
    /// Trims up to this number are not in the ring any more.
    pub(super) trims: AtomicI64,
    /// Wakes who sleeps until there is something for it.
    pub(super) bell: Arc<Bell>,
    changed: watch::Sender<()>,
    /// Wakes the keeper when there is a gap.
    gap: Notify,
    /// Whether the database answered when it was last asked for the head.
    database_answers: AtomicBool,
    clock: Arc<dyn Clock>,
    node: Uuid,
}

impl Hub {
    /// Makes a hub that stands at the journal's head. It passes on what it is offered; gaps are mended
    /// once [`Self::keep`] runs.
    pub async fn open(
        database: Arc<dyn Database>,
        options: HubOptions,
        node: Uuid,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, DatabaseError> {
        let limits = RingLimits {
            events_max: options.ring_events_max,
            bytes_max: options.ring_bytes_max,
            parked_max: options.parked_max,
            parked_bytes_max: options.ring_bytes_max / 4,
        };
        let hub = Self {
            readers: Semaphore::new(options.catch_up_readers_max),
            waiting_readers: Semaphore::new(options.catch_up_readers_max),
            pages: Pages::new(options.catch_up_bytes_max),
            database,
            options,
            metrics,
            sequencer: Mutex::new(Sequencer::new(limits)),
            looks: Looks::default(),
            trims: AtomicI64::new(0),
            bell: Arc::default(),
            changed: watch::Sender::new(()),
            gap: Notify::new(),
            database_answers: AtomicBool::new(true),
            clock,
            node,
        };
        hub.restart(storage::journal::head(hub.database.as_ref()).await?).await?;
        Ok(Arc::new(hub))
    }

    /// Passes on what this node has committed, while it passed on the journal of an epoch.
    pub fn offer_local(&self, epoch: i64, entries: Vec<Entry>) {
        self.offer(epoch, entries.into_iter().map(|entry| Offered::Entry(entry, Way::Local)));
    }

    pub fn database_answers(&self) -> bool {
        self.database_answers.load(Ordering::Relaxed)
    }

    pub fn epoch(&self) -> i64 {
        self.sequencer().epoch
    }

    /// The place behind the newest event.
    pub fn cursor(&self) -> Cursor {
        self.sequencer().cursor()
    }

    pub(super) fn sequencer(&self) -> MutexGuard<'_, Sequencer> {
        self.sequencer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal's head, read after this was called. What this node lacks up to there is passed on soon.
    pub(super) async fn look(&self) -> Result<Head, DatabaseError> {
        let head = self.looks.head(self.database.as_ref()).await?;
        let mut sequencer = self.sequencer();
        if head.epoch == sequencer.epoch {
            sequencer.learn_head(head.seq);
        }
        let gap = sequencer.gap();
        drop(sequencer);
        if gap != Gap::None {
            self.gap.notify_one();
        }
        Ok(head)
    }

    /// Tells whenever there is something new.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn offer(&self, epoch: i64, offered: impl IntoIterator<Item = Offered>) {
        let mut sequencer = self.sequencer();
        if epoch != sequencer.epoch {
            drop(sequencer);
            // The next look at the head will tell.
            return tracing::debug!(epoch, "entries of another epoch were passed over");
        }
        let before = sequencer.last();
        let passed = sequencer.offer(offered);
        self.passed(sequencer, before, &passed);
    }

    /// Counts, wakes the subscribers, and the keeper where something is missing.
    fn passed(&self, sequencer: MutexGuard<'_, Sequencer>, before: i64, passed: &Passed) {
        let gap = sequencer.gap();
        let last = sequencer.last();
        let oldest = passed.any().then(|| sequencer.behind(before, 1)).flatten();
        drop(sequencer);
        if passed.any() || last > before {
            self.metrics.feed_seq.set(last);
            self.metrics.count_events(Way::Local, passed.local);
            self.metrics.count_events(Way::Broker, passed.broker);
            self.metrics.count_events(Way::Repair, passed.repair);
            if let Some(EntryKind::Capture(capture)) =
                oldest.as_ref().and_then(|o| o.first()).map(|e| &e.entry.what)
            {
                #[expect(clippy::cast_precision_loss, reason = "seconds for a histogram")]
                self.metrics
                    .feed_lag_seconds
                    .observe((self.clock.now_us() - capture.received_us) as f64 / 1e6);
            }
            self.changed.send_replace(());
        }
        if gap != Gap::None {
            self.gap.notify_one();
        }
    }

    /// Keeps the feed whole until the node stops: takes the broker's messages, reads the head, mends gaps.
    pub async fn keep(self: Arc<Self>, mut broker: Subscription, shutdown: Shutdown) {
        let mut poll = tokio::time::interval(self.options.head_poll);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut waiting: Option<(i64, Instant)> = None;
        let mut broker_is_away = false;
        // When it was last tried to leave a journal that differs.
        let mut tried: Option<Instant> = None;
        loop {
            let due = waiting.map(|(_, since)| since).or(tried).map(|since| since + self.options.gap_wait);
            tokio::select! {
                () = shutdown.stopped() => return,
                signal = broker.recv() => match signal {
                    Some(Signal::Message(message)) => self.take_message(&message),
                    Some(Signal::Away) => broker_is_away = true,
                    Some(Signal::Back) => {
                        broker_is_away = false;
                        self.read_head().await;
                    }
                    // Closed: the node is stopping.
                    None => return,
                },
                _ = poll.tick() => {
                    self.read_head().await;
                    self.look_at_trims().await;
                }
                () = self.gap.notified() => {}
                () = until(due) => {}
            }
            let gap = self.sequencer().gap();
            tried = tried.filter(|_| gap == Gap::Diverged);
            waiting = match (gap, waiting) {
                (Gap::None, _) => None,
                (Gap::Diverged, _) => {
                    if tried.is_none() {
                        tracing::error!("the journal holds other entries than were passed on");
                    }
                    if tried.is_none_or(|tried| tried.elapsed() >= self.options.gap_wait) {
                        tried = (!self.begin_anew().await).then(Instant::now);
                    }
                    None
                }
                (Gap::Waiting { behind }, Some((since_behind, since)))
                    if behind == since_behind
                        && since.elapsed() < self.options.gap_wait
                        && !broker_is_away =>
                {
                    Some((behind, since))
                }
                (Gap::Waiting { behind }, earlier)
                    if earlier.is_none_or(|(place, _)| place != behind) && !broker_is_away =>
                {
                    Some((behind, Instant::now()))
                }
                // It was announced, it is overdue, or nobody will bring it.
                _ => {
                    self.repair().await;
                    None
                }
            };
        }
    }

    fn take_message(&self, message: &[u8]) {
        if message::is_of(self.node, message) {
            return;
        }
        match message::decode(message) {
            Some(message) => {
                let offered = message.items.into_iter().map(|item| match item {
                    Announced::Entry(entry) => Offered::Entry(entry, Way::Broker),
                    Announced::Seq(seq) => Offered::Seq(seq),
                });
                self.offer(message.epoch, offered);
            }
            // Of another version of Creel: the next look at the head will tell.
            None => tracing::debug!("a message of another format was passed over"),
        }
    }

    /// Reads the journal's head: something may have been missed, or the journal may have gone another way.
    async fn read_head(&self) {
        let (epoch, last) = {
            let sequencer = self.sequencer();
            (sequencer.epoch, sequencer.last())
        };
        let result = match storage::journal::head(self.database.as_ref()).await {
            Ok(head) if head.epoch != epoch => self.restart(head).await,
            Ok(head) if head.seq < last => {
                tracing::error!(
                    head = head.seq,
                    seen = last,
                    "the journal went backwards: a new epoch begins"
                );
                match storage::journal::begin_epoch(self.database.as_ref(), head, last).await {
                    Ok(head) => self.restart(head).await,
                    Err(error) => Err(error),
                }
            }
            Ok(head) => {
                self.metrics.head_seq.set(head.seq);
                self.sequencer().learn_head(head.seq);
                Ok(())
            }
            Err(error) => Err(error),
        };
        self.database_answers.store(result.is_ok(), Ordering::Relaxed);
        if let Err(error) = result {
            tracing::debug!(error = &error as &dyn std::error::Error, "failed to read the journal's head");
        }
    }

    async fn restart(&self, head: Head) -> Result<(), DatabaseError> {
        let id = storage::journal::find_id(self.database.as_ref(), head.seq).await?;
        // What was trimmed up to now stood before the head, and the ring begins there.
        let trims = storage::totals::newest_trim(self.database.as_ref()).await?;
        let mut sequencer = self.sequencer();
        if sequencer.generation > 0 {
            self.metrics.resets.inc();
            tracing::warn!(
                epoch = head.epoch,
                seq = head.seq,
                "the journal went another way; subscribers are told"
            );
        }
        sequencer.restart(head.epoch, head.seq, id);
        drop(sequencer);
        self.trims.store(trims, Ordering::Relaxed);
        self.metrics.head_seq.set(head.seq);
        self.metrics.feed_seq.set(head.seq);
        self.changed.send_replace(());
        Ok(())
    }

    /// Reads what is missing, a page at a time; what arrives meanwhile is parked.
    #[tracing::instrument(level = "debug", skip_all, fields(last = self.sequencer().last()))]
    async fn repair(&self) {
        self.metrics.repairs.inc();
        loop {
            let (last, last_id, known, generation) = {
                let sequencer = self.sequencer();
                (sequencer.last(), sequencer.last_id(), sequencer.known(), sequencer.generation)
            };
            if known <= last {
                return;
            }
            // The entry before is read again, to see that this is still the same journal.
            let page = self.options.catch_up_page;
            let read = storage::journal::list_after(self.database.as_ref(), last - 1, known, page + 1).await;
            let mut entries = match read {
                Ok(entries) => entries,
                Err(error) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "failed to read what is missing"
                    );
                    return;
                }
            };
            let upto = match entries.last() {
                Some(newest) if entries.len() > page as usize => newest.seq,
                _ => known,
            };
            if entries.first().is_some_and(|entry| entry.seq == last) {
                let before = entries.remove(0);
                if last_id.is_some_and(|id| id != before.id()) {
                    let mut sequencer = self.sequencer();
                    if sequencer.generation == generation {
                        sequencer.diverge();
                        self.gap.notify_one();
                    }
                    return;
                }
            }
            let mut sequencer = self.sequencer();
            if sequencer.generation != generation {
                return;
            }
            let before = sequencer.last();
            let passed = sequencer.fill(entries, upto);
            self.passed(sequencer, before, &passed);
        }
    }

    /// Leaves a journal that differs; false where the database does not let it.
    async fn begin_anew(&self) -> bool {
        let anew = async {
            let mut head = storage::journal::head(self.database.as_ref()).await?;
            // Unless another node has done so already.
            if head.epoch == self.epoch() {
                head = storage::journal::begin_epoch(self.database.as_ref(), head, i64::MAX).await?;
            }
            self.restart(head).await
        };
        let result = anew.await;
        if let Err(error) = &result {
            tracing::debug!(error = error as &dyn std::error::Error, "failed to begin a new epoch");
        }
        result.is_ok()
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
