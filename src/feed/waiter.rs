//! A waiter: a subscriber that looks for captures which match, until enough have come, too many, or the time is over.
//!
//! It begins in the database and goes on in the hub, as every subscriber does, so that nothing is missed between
//! two waits, and it asks nobody again and again. Time decides nothing before everything is judged that was committed
//! until then: the head is read, and the hub passes on what it lacks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::hub::Hub;
use super::subscriber::{Item, Subscriber, Wakes};
use crate::claims::{Miss, Nearest, Outcome, Terms, Waiting};
use crate::database::DatabaseError;
use crate::model::wire::BodyForm;
use crate::model::{Capture, Cursor, EndpointCode, EntryKind, Filter, Removal, Removed, Since};
use crate::rules::{Expression, Seen};
use crate::storage::bodies::{self, Look};

/// Pause before the database is asked again after it failed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long past its timeout a waiter goes on where not everything that was committed before could be judged.
const GRACE: Duration = Duration::from_secs(10);

/// Matching that takes longer lets others have their turn.
const STRETCH: Duration = Duration::from_millis(1);

/// What a waiter keeps of captures that match, in bytes. The last one is kept however large it is.
const FOUND_BYTES_MAX: usize = 1 << 20;

/// What is waited for.
pub struct WaitOptions {
    /// Endpoints, within what whoever waits may see.
    pub filter: Filter,
    pub since: Since,
    pub expression: Arc<Expression>,
    /// How far is looked into a body in parts.
    pub body_bytes_max: usize,
    pub terms: Terms,
    /// Captures that are kept to be shown: the latest that match.
    pub shown_max: usize,
}

pub struct Waiter {
    hub: Arc<Hub>,
    subscriber: Subscriber,
    expression: Arc<Expression>,
    body_bytes_max: usize,
    shown_max: usize,
    began: Instant,
    ends: Instant,
    waiting: Waiting,
    /// What was taken from the subscriber, and is not judged yet.
    queue: VecDeque<Item>,
    found: VecDeque<(i64, Arc<Capture>)>,
    found_bytes: usize,
    nearest: Nearest,
    cursor: Cursor,
    gave_up: u64,
    truncated: bool,
    reset: bool,
}

impl Waiter {
    /// Begins to wait; the time runs from here.
    ///
    /// # Errors
    /// Where the place to begin at is looked for in the database, and it does not answer.
    pub async fn new(hub: Arc<Hub>, options: WaitOptions) -> Result<Self, DatabaseError> {
        let began = Instant::now();
        let subscriber =
            Subscriber::new(hub.clone(), options.filter, BodyForm::None, options.since, Wakes::ForItsOwn)
                .await?;
        Ok(Self {
            hub,
            cursor: subscriber.cursor(),
            subscriber,
            expression: options.expression,
            body_bytes_max: options.body_bytes_max,
            shown_max: options.shown_max,
            began,
            ends: began + options.terms.timeout + GRACE,
            waiting: Waiting::new(options.terms),
            queue: VecDeque::new(),
            found: VecDeque::new(),
            found_bytes: 0,
            nearest: Nearest::default(),
            gave_up: 0,
            truncated: false,
            reset: false,
        })
    }

    /// Waits until it is decided. Safe to cancel; calling again goes on. Where the database does not answer, or there is
    /// too much to judge, it is [`Outcome::Interrupted`] some seconds after the timeout.
    pub async fn decide(&mut self) -> Outcome {
        let ends = self.ends;
        tokio::time::timeout_at(ends, self.go_on()).await.unwrap_or(Outcome::Interrupted)
    }

    /// How many have matched.
    pub fn matched(&self) -> u64 {
        self.waiting.matched()
    }

    /// The latest that have matched, oldest first, with their places. What was removed since is not among them.
    pub fn found(&self) -> impl Iterator<Item = (i64, &Capture)> {
        self.found.iter().map(|(seq, capture)| (*seq, capture.as_ref()))
    }

    /// Those that came nearest without matching.
    pub fn misses(&self) -> &[Miss] {
        self.nearest.misses()
    }

    /// The place behind what was judged.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Captures of which it took too long to tell whether they match: they do not count.
    pub fn gave_up(&self) -> u64 {
        self.gave_up
    }

    /// Whether retention has removed captures that were not judged.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Whether the journal was found to be another one, and the wait went on in that.
    pub fn is_reset(&self) -> bool {
        self.reset
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    async fn go_on(&mut self) -> Outcome {
        loop {
            match self.step().await {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "a waiter waits for the database"
                    );
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Judges what was taken, and takes what is next, or lets time decide.
    async fn step(&mut self) -> Result<Option<Outcome>, DatabaseError> {
        if let Some(outcome) = self.judge().await? {
            return Ok(Some(outcome));
        }
        let due = self.began + self.waiting.due();
        if Instant::now() >= due {
            return self.decide_by_time().await;
        }
        tokio::select! {
            items = self.subscriber.next() => self.queue.extend(items?),
            () = tokio::time::sleep_until(due) => {}
        }
        Ok(None)
    }

    /// Judges everything that was committed before this was called; what matches may put the decision off.
    async fn decide_by_time(&mut self) -> Result<Option<Outcome>, DatabaseError> {
        let asked = self.began.elapsed();
        let head = self.hub.look().await?;
        // A journal that this node does not know of yet, or that went backwards: the hub will tell which it is.
        let is_known = head.epoch == self.hub.epoch() && head.seq >= self.subscriber.cursor().seq;
        if !is_known && !self.subscriber.is_reset() {
            tokio::time::sleep(RETRY_PAUSE).await;
            return Ok(None);
        }
        loop {
            let items = self.subscriber.next_up_to(head.seq).await?;
            if items.is_empty() {
                return Ok(self.waiting.decide(asked));
            }
            let is_another = items.iter().any(|item| matches!(item, Item::Reset { .. }));
            self.queue.extend(items);
            if let Some(outcome) = self.judge().await? {
                return Ok(Some(outcome));
            }
            if is_another {
                // Its head is another too.
                return Ok(None);
            }
        }
    }

    /// Judges what was taken, in order, until that decides.
    async fn judge(&mut self) -> Result<Option<Outcome>, DatabaseError> {
        while let Some(item) = self.queue.front() {
            let began = Instant::now();
            let mut decided = None;
            match item {
                Item::Event(lent) => {
                    let Some(event) = lent.get() else {
                        self.subscriber.return_before(lent.seq);
                        self.queue.clear();
                        return Ok(None);
                    };
                    match &event.entry.what {
                        EntryKind::Capture(capture) => match self.look(capture).await? {
                            Some(true) => {
                                self.find(event.entry.seq, capture);
                                decided = self.waiting.take(self.began.elapsed());
                            }
                            Some(false) => {}
                            None => {
                                self.gave_up += 1;
                                self.waiting.doubt();
                            }
                        },
                        EntryKind::Removal(removal) => self.forget(removal),
                        EntryKind::Configuration(_) => {}
                    }
                    self.cursor = event.cursor;
                }
                Item::Truncated { .. } => {
                    self.truncated = true;
                    self.waiting.doubt();
                }
                Item::Reset { cursor } => {
                    self.cursor = *cursor;
                    self.reset = true;
                    self.waiting.doubt();
                }
            }
            self.queue.pop_front();
            if decided.is_some() {
                return Ok(decided);
            }
            if began.elapsed() > STRETCH {
                tokio::task::yield_now().await;
            }
        }
        // Past what the filter left out.
        self.cursor = self.subscriber.cursor();
        Ok(None)
    }

    /// Whether a capture matches; one that does not may be among the nearest. None where it takes too long to tell.
    async fn look(&mut self, capture: &Capture) -> Result<Option<bool>, DatabaseError> {
        let database = self.hub.database.as_ref();
        let look = bodies::look(database, &self.expression, capture, self.body_bytes_max).await?;
        let Look { body, is_read } = &look;
        let seen = Seen::in_inquiry(capture, body);
        let matches = seen.in_time(|seen| self.expression.matches(seen));
        if matches == Some(false) {
            self.nearest.look(&self.expression, &seen, *is_read);
        }
        Ok(matches)
    }

    fn find(&mut self, seq: i64, capture: &Arc<Capture>) {
        self.found_bytes += capture.weight();
        self.found.push_back((seq, capture.clone()));
        while self.found.len() > self.shown_max
            || (self.found_bytes > FOUND_BYTES_MAX && self.found.len() > 1)
        {
            let Some((_, oldest)) = self.found.pop_front() else { return };
            self.found_bytes -= oldest.weight();
        }
    }

    /// What was removed is shown to nobody.
    fn forget(&mut self, removal: &Removal) {
        let is_removed = |id: Uuid, endpoint: &EndpointCode| match removal.removed {
            Removed::One(removed) => removed == id,
            Removed::All => removal.endpoint == *endpoint,
        };
        self.found.retain(|(_, capture)| !is_removed(capture.id, &capture.endpoint));
        self.found_bytes = self.found.iter().map(|(_, capture)| capture.weight()).sum();
        self.nearest.retain(|miss| !is_removed(miss.capture, &miss.endpoint));
    }
}
