//! A subscriber: a place in the journal that moves through the ring, or through the database where the
//! ring does not reach back so far.

use std::sync::Arc;

use tokio::sync::{SemaphorePermit, watch};

use super::bell::{Place, Sleep};
use super::event::{Encoded, Event};
use super::hub::Hub;
use super::large::LargeEvent;
use super::lent::{Keep, Lent, Page};
use super::window::Window;
use crate::database::DatabaseError;
use crate::model::wire::BodyForm;
use crate::model::{Cursor, Entry, EntryKind, Filter, Since};
use crate::storage;

/// Events that are taken from the ring at a time.
pub(super) const TAKE_MAX: usize = 128;

/// Endpoints that one message names of which captures were trimmed.
const TRIMS_MAX: usize = 10_000;

/// What a subscriber is to be sent.
#[derive(Debug, Clone)]
pub enum Item {
    Event(Lent),
    /// Retention has removed captures of these endpoints that the subscriber has not seen.
    Truncated {
        cursor: Cursor,
        endpoints: Vec<String>,
    },
    /// The journal is another one than the subscriber's cursor was of; it goes on from here.
    Reset {
        cursor: Cursor,
    },
}

pub struct Subscriber {
    hub: Arc<Hub>,
    filter: Arc<Filter>,
    form: BodyForm,
    /// The newest entry that was sent, or passed over by the filter.
    place: i64,
    cursor: Cursor,
    generation: u64,
    /// Trims up to this number are older than the subscriber, and no news.
    old_trims: i64,
    /// Trims up to this number were told, or are of endpoints that its filter leaves out.
    told_trims: i64,
    from_us: i64,
    catching_up: bool,
    window: Window,
    /// The page that was returned last.
    page: Option<Keep>,
    pending: Vec<Item>,
    changes: watch::Receiver<()>,
    wakes: Wakes,
    /// Where it sleeps, or was interrupted sleeping.
    sleep: Option<Sleep>,
}

/// What a subscriber without anything to do is woken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakes {
    /// Whatever the hub passes on.
    ForAnything,
    /// What passes the filter: for those who are many, and whose cursor nobody asks for meanwhile.
    ForItsOwn,
}

impl Subscriber {
    /// Subscribes. The subscriber's place is final when this returns: whatever is committed after is sent.
    pub async fn new(
        hub: Arc<Hub>,
        filter: Filter,
        form: BodyForm,
        since: Since,
        wakes: Wakes,
    ) -> Result<Self, DatabaseError> {
        let changes = hub.changes();
        let (generation, now) = {
            let sequencer = hub.sequencer();
            (sequencer.generation, sequencer.cursor())
        };
        let mut subscriber = Self {
            filter: Arc::new(filter),
            form,
            place: now.seq,
            cursor: now,
            generation,
            old_trims: 0,
            told_trims: 0,
            from_us: i64::MIN,
            catching_up: false,
            window: Window::default(),
            page: None,
            pending: Vec::new(),
            changes,
            wakes,
            sleep: None,
            hub,
        };
        match since {
            Since::Now => {}
            Since::Earliest => subscriber.begin_at(0).await?,
            Since::Time(us) => {
                let first = storage::journal::first_place_at(subscriber.hub.database.as_ref(), us).await?;
                subscriber.begin_at((first - 1).min(now.seq)).await?;
                subscriber.from_us = us;
            }
            Since::Cursor(cursor) => subscriber.resume(cursor, now).await?,
        }
        Ok(subscriber)
    }

    /// The place behind what was returned by [`Self::next`].
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    pub fn form(&self) -> BodyForm {
        self.form
    }

    /// Changes what is sent from now on; the place stays. What was trimmed behind it is told anew, since the endpoints
    /// may be others.
    pub fn change(&mut self, filter: Filter, form: BodyForm) {
        self.told_trims = self.old_trims;
        self.filter = Arc::new(filter);
        self.form = form;
    }

    /// An event whose body is sent piece by piece, where it is such a one.
    pub fn large(&self, event: &Event, encoded: &Encoded) -> Option<LargeEvent> {
        let EntryKind::Capture(capture) = &event.entry.what else { return None };
        (!encoded.is_whole())
            .then(|| LargeEvent::new(self.hub.database.clone(), capture.id, encoded.json(), b"}"))
    }

    /// Goes back to before an event that was returned and is not there any more: it is the next again.
    pub fn return_before(&mut self, seq: i64) {
        self.place = seq - 1;
        self.cursor = Cursor { seq: self.place, digest: 0, ..self.cursor };
    }

    /// Waits for what is to be sent next; never empty. Safe to cancel: what was not returned comes again. What was
    /// returned before is not asked for any more.
    ///
    /// # Errors
    /// Where the database is needed and does not answer. Calling again goes on at the same place.
    pub async fn next(&mut self) -> Result<Vec<Item>, DatabaseError> {
        self.next_up_to(i64::MAX).await
    }

    /// The same, but empty once everything up to a place was returned.
    ///
    /// # Errors
    /// As [`Self::next`] does.
    pub async fn next_up_to(&mut self, seq: i64) -> Result<Vec<Item>, DatabaseError> {
        self.page = None;
        loop {
            if !self.pending.is_empty() {
                return Ok(std::mem::take(&mut self.pending));
            }
            self.rise();
            if self.place >= seq && !self.is_reset() {
                return Ok(Vec::new());
            }
            self.changes.mark_unchanged();
            match self.take_from_ring() {
                Taken::Items(items) if items.is_empty() => {}
                Taken::Items(items) => return Ok(items),
                Taken::NothingNew => self.wait_for_more().await,
                Taken::TooFarBack => {
                    let items = self.catch_up().await?;
                    if !items.is_empty() {
                        return Ok(items);
                    }
                }
            }
        }
    }

    /// Whether the hub has gone on to another journal, of which the next call tells.
    pub fn is_reset(&self) -> bool {
        self.hub.sequencer().generation != self.generation
    }

    async fn wait_for_more(&mut self) {
        match self.wakes {
            Wakes::ForAnything => {
                if self.changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Wakes::ForItsOwn => {
                let seen = Place { generation: self.generation, seq: self.place, cursor: self.cursor };
                let sleep = self.hub.bell.sleep(self.filter.clone(), seen, self.hub.newest());
                self.sleep.insert(sleep).rung().await;
            }
        }
    }

    /// Ends a sleep; its place is then behind what was not for it.
    fn rise(&mut self) {
        let Some(sleep) = self.sleep.take() else { return };
        if let Some(passed) = sleep.passed() {
            (self.place, self.cursor) = (passed.seq, passed.cursor);
        }
    }

    fn take_from_ring(&mut self) -> Taken {
        let hub = self.hub.clone();
        let sequencer = hub.sequencer();
        if sequencer.generation != self.generation {
            self.generation = sequencer.generation;
            self.cursor = sequencer.cursor();
            self.place = sequencer.last();
            // Another journal has other numbers; what is trimmed behind its head is not old.
            (self.old_trims, self.told_trims) = (0, 0);
            return Taken::Items(vec![Item::Reset { cursor: self.cursor }]);
        }
        if self.place >= sequencer.last() {
            self.settle(false);
            return Taken::NothingNew;
        }
        let Some(events) = sequencer.behind(self.place, TAKE_MAX) else {
            drop(sequencer);
            self.settle(true);
            return Taken::TooFarBack;
        };
        match events.last() {
            Some(newest) => (self.place, self.cursor) = (newest.entry.seq, newest.cursor),
            // The rest was removed.
            None => (self.place, self.cursor) = (sequencer.last(), sequencer.cursor()),
        }
        drop(sequencer);
        self.settle(false);
        let wanted = events.iter().filter(|event| self.wants(&event.entry));
        Taken::Items(wanted.map(|event| Item::Event(Lent::of_ring(event))).collect())
    }

    /// Reads a page behind the place from the database; a bounded number of subscribers do so at a time.
    #[tracing::instrument(level = "debug", skip_all, fields(place = self.place))]
    async fn catch_up(&mut self) -> Result<Vec<Item>, DatabaseError> {
        let hub = self.hub.clone();
        let _permit = self.turn(&hub).await?;
        let (head, epoch) = {
            let sequencer = hub.sequencer();
            (sequencer.cursor(), sequencer.epoch)
        };
        let page = self.window.read(&hub, &self.filter, self.place, head.seq).await?;
        // Trims are read after the page, so that what was trimmed before it was read is told.
        let (mut items, are_all) = self.trims().await?;
        // Of another journal, to which the hub has gone on while this one waited for its turn or read, it is told first.
        if self.is_reset() {
            return Ok(Vec::new());
        }
        if !are_all {
            return Ok(items);
        }
        (self.place, self.cursor) = match page.entries.last() {
            Some(newest) if newest.seq == page.upto => {
                (page.upto, Cursor::behind(epoch, page.upto, newest.id()))
            }
            _ if page.upto == head.seq => (head.seq, head),
            _ => (page.upto, Cursor { epoch, seq: page.upto, digest: 0 }),
        };
        let page = Page::new(epoch, page.entries.into_iter().filter(|entry| self.wants(entry)).collect());
        items.extend(page.lend().map(Item::Event));
        self.page = Some(hub.pages.keep(page));
        Ok(items)
    }

    /// A turn to read. Those who wait do not stand behind streams, which may have all of the journal to go through.
    async fn turn<'h>(&self, hub: &'h Hub) -> Result<SemaphorePermit<'h>, DatabaseError> {
        let readers = match self.wakes {
            Wakes::ForAnything => &hub.readers,
            Wakes::ForItsOwn => &hub.waiting_readers,
        };
        readers.acquire().await.map_err(|error| DatabaseError::Unavailable(error.into()))
    }

    fn wants(&self, entry: &Entry) -> bool {
        let is_recent = match &entry.what {
            EntryKind::Capture(capture) => capture.received_us >= self.from_us,
            _ => true,
        };
        self.filter.passes(entry) && is_recent
    }

    /// Tells of captures that were trimmed behind the place, once; and whether there are no more to tell of.
    async fn trims(&mut self) -> Result<(Vec<Item>, bool), DatabaseError> {
        let database = self.hub.database.as_ref();
        loop {
            let trimmed =
                storage::totals::trimmed_behind(database, self.place, self.told_trims, TRIMS_MAX).await?;
            let is_last = trimmed.len() < TRIMS_MAX;
            self.told_trims = trimmed.last().map_or(self.told_trims, |trim| trim.number);
            let mut endpoints: Vec<String> = trimmed
                .into_iter()
                .filter(|trim| self.filter.passes_endpoint(trim.endpoint.as_str()))
                .map(|trim| trim.endpoint.to_string())
                .collect();
            if !endpoints.is_empty() {
                endpoints.sort_unstable();
                return Ok((vec![Item::Truncated { cursor: self.cursor, endpoints }], is_last));
            } else if is_last {
                return Ok((Vec::new(), true));
            }
        }
    }

    /// Begins at a place that is not the reader's own, so that no trim before it is news.
    async fn begin_at(&mut self, place: i64) -> Result<(), DatabaseError> {
        self.old_trims = storage::totals::newest_trim(self.hub.database.as_ref()).await?;
        self.told_trims = self.old_trims;
        self.place = place;
        self.cursor = Cursor { epoch: self.cursor.epoch, seq: place, digest: 0 };
        Ok(())
    }

    async fn resume(&mut self, cursor: Cursor, now: Cursor) -> Result<(), DatabaseError> {
        let database = self.hub.database.clone();
        // This node's hub may be a little behind the one that gave the cursor out.
        let mut fits = cursor.epoch == now.epoch;
        if fits && cursor.seq > now.seq {
            fits = cursor.seq <= storage::journal::head(database.as_ref()).await?.seq;
        }
        if fits && cursor.seq > 0 {
            let id = storage::journal::find_id(database.as_ref(), cursor.seq).await?;
            fits = id.is_none_or(|id| cursor.fits(id));
        }
        if fits {
            // What is trimmed is soon not in the ring any more; behind that, catching up tells of it.
            self.place = cursor.seq;
            self.cursor = cursor;
        } else {
            self.pending = vec![Item::Reset { cursor: now }];
        }
        Ok(())
    }

    fn settle(&mut self, catching_up: bool) {
        if self.catching_up != catching_up {
            self.catching_up = catching_up;
            let gauge = &self.hub.metrics.subscribers_catching_up;
            if catching_up {
                gauge.inc();
                self.hub.metrics.slow_subscribers.inc();
            } else {
                gauge.dec();
            }
        }
    }
}

enum Taken {
    Items(Vec<Item>),
    NothingNew,
    TooFarBack,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.settle(false);
    }
}
