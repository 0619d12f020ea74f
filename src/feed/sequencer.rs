//! The order of events: what is next is passed on, what was is dropped, what is too early is parked.
//!
//! Pure: it reads neither database nor clock, and waits for nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::event::Event;
use super::parked::Parked;
use crate::metrics::Way;
use crate::model::{Cursor, EndpointCode, Entry, EntryKind, Removal};

/// An event weighs its entry and what it is encoded into.
const ENCODED_FACTOR: usize = 3;

/// What came, and how.
#[derive(Debug, Clone)]
pub enum Offered {
    Entry(Entry, Way),
    /// Committed, but to be read from the database.
    Seq(i64),
}

/// Recent events in order, and those that wait for one before them.
#[derive(Debug, Clone)]
pub struct Sequencer {
    pub epoch: i64,
    /// Counts the times that the journal went another way.
    pub generation: u64,
    /// The newest entry passed on.
    last: i64,
    last_id: Option<Uuid>,
    /// Every event above this one is in the ring, unless it was removed.
    ring_floor: i64,
    ring: VecDeque<Arc<Event>>,
    ring_bytes: usize,
    parked: Parked,
    /// The highest number that is known to be committed.
    known: i64,
    /// Another entry came for a place that was passed on.
    diverged: bool,
    limits: RingLimits,
}

#[derive(Debug, Clone, Copy)]
pub struct RingLimits {
    pub events_max: usize,
    pub bytes_max: usize,
    pub parked_max: usize,
    /// Of what is parked; past it an entry is parked by its number alone.
    pub parked_bytes_max: usize,
}

/// What passing on has done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    pub local: u64,
    pub broker: u64,
    pub repair: u64,
}

impl Passed {
    pub fn any(&self) -> bool {
        self.local + self.broker + self.repair > 0
    }

    fn count(&mut self, way: Way) {
        match way {
            Way::Local => self.local += 1,
            Way::Broker => self.broker += 1,
            Way::Repair => self.repair += 1,
        }
    }
}

/// Why entries are missing before the next that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    None,
    /// They may be on their way.
    Waiting {
        behind: i64,
    },
    /// The next one was announced by number alone.
    Announced,
    /// What was passed on is not what the journal holds: it went back, and has gone on since.
    Diverged,
}

impl Sequencer {
    pub fn new(limits: RingLimits) -> Self {
        Self {
            epoch: 0,
            generation: 0,
            last: 0,
            last_id: None,
            ring_floor: 0,
            ring: VecDeque::new(),
            ring_bytes: 0,
            parked: Parked::new(limits),
            known: 0,
            diverged: false,
            limits,
        }
    }

    /// Begins at a place, forgetting all before.
    pub fn restart(&mut self, epoch: i64, last: i64, last_id: Option<Uuid>) {
        let generation = self.generation + 1;
        *self = Self {
            epoch,
            generation,
            last,
            last_id,
            ring_floor: last,
            known: last,
            ..Self::new(self.limits)
        };
    }

    pub fn last(&self) -> i64 {
        self.last
    }

    /// The place behind the newest event.
    pub fn cursor(&self) -> Cursor {
        match self.last_id {
            Some(id) => Cursor::behind(self.epoch, self.last, id),
            None => Cursor { epoch: self.epoch, seq: self.last, digest: 0 },
        }
    }

    pub fn last_id(&self) -> Option<Uuid> {
        self.last_id
    }

    pub fn known(&self) -> i64 {
        self.known
    }

    /// Where the ring begins.
    pub fn floor(&self) -> i64 {
        self.ring_floor
    }

    /// Learns how far the journal goes.
    pub fn learn_head(&mut self, seq: i64) {
        self.known = self.known.max(seq);
    }

    /// Takes what came, in any order.
    pub fn offer(&mut self, offered: impl IntoIterator<Item = Offered>) -> Passed {
        let mut passed = Passed::default();
        for offered in offered {
            let seq = match &offered {
                Offered::Entry(entry, _) => entry.seq,
                Offered::Seq(seq) => *seq,
            };
            self.known = self.known.max(seq);
            match offered {
                Offered::Entry(entry, _) if seq <= self.last => self.diverged |= self.is_another(&entry),
                _ if seq <= self.last => {}
                Offered::Entry(entry, way) if seq == self.last + 1 => {
                    passed.count(way);
                    self.push(entry);
                    self.unpark(&mut passed);
                }
                offered => self.parked.put(seq, offered),
            }
        }
        passed
    }

    /// Takes a page that was read from the database: every entry up to `upto` that was not removed.
    pub fn fill(&mut self, page: Vec<Entry>, upto: i64) -> Passed {
        let mut passed = Passed::default();
        for entry in page {
            if entry.seq > self.last {
                passed.count(Way::Repair);
                self.push(entry);
            }
        }
        if upto > self.last {
            self.last = upto;
            self.last_id = None;
        }
        self.unpark(&mut passed);
        passed
    }

    /// Learns that the journal holds another entry than was passed on.
    pub fn diverge(&mut self) {
        self.diverged = true;
    }

    pub fn gap(&self) -> Gap {
        if self.diverged {
            return Gap::Diverged;
        }
        match self.known > self.last {
            true if self.parked.has(self.last + 1) => Gap::Announced,
            true => Gap::Waiting { behind: self.last },
            false => Gap::None,
        }
    }

    /// The events behind a place, at most so many; None where the ring does not reach back so far.
    pub fn behind(&self, place: i64, events_max: usize) -> Option<Vec<Arc<Event>>> {
        if place < self.ring_floor {
            return None;
        }
        let start = self.ring.partition_point(|event| event.entry.seq <= place);
        Some(self.ring.iter().skip(start).take(events_max).cloned().collect())
    }

    /// Whether another entry is known to have been passed on at this one's place.
    fn is_another(&self, entry: &Entry) -> bool {
        if entry.seq == self.last {
            return self.last_id.is_some_and(|id| id != entry.id());
        }
        let place = self.ring.partition_point(|event| event.entry.seq < entry.seq);
        let passed_on = self.ring.get(place).map(|event| &event.entry);
        passed_on.is_some_and(|known| known.seq == entry.seq && known.id() != entry.id())
    }

    fn unpark(&mut self, passed: &mut Passed) {
        while let Some((entry, way)) = self.parked.take(self.last + 1) {
            passed.count(way);
            self.push(entry);
        }
    }

    fn push(&mut self, entry: Entry) {
        self.last = entry.seq;
        self.last_id = Some(entry.id());
        self.known = self.known.max(entry.seq);
        if let EntryKind::Removal(removal) = &entry.what {
            self.forget(removal);
        }
        self.ring_bytes += entry.weight() * ENCODED_FACTOR;
        self.ring.push_back(Arc::new(Event::new(self.epoch, entry)));
        while self.ring.len() > self.limits.events_max
            || (self.ring_bytes > self.limits.bytes_max && self.ring.len() > 1)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.ring.pop_front() else { return };
        self.ring_bytes -= oldest.entry.weight() * ENCODED_FACTOR;
        self.ring_floor = oldest.entry.seq;
    }

    /// Forgets what retention has trimmed, each endpoint up to a place, and everything before the newest of that: who has
    /// not come to it yet goes on from the database, and is told there what is gone.
    pub fn trim(&mut self, upto: &HashMap<EndpointCode, i64>) {
        let is_trimmed = |event: &Arc<Event>| match &event.entry.what {
            EntryKind::Capture(capture) => {
                upto.get(&capture.endpoint).is_some_and(|upto| event.entry.seq <= *upto)
            }
            _ => false,
        };
        let gone = self.ring.iter().rposition(is_trimmed).map_or(0, |newest| newest + 1);
        (0..gone).for_each(|_| self.drop_oldest());
    }

    /// What was removed is shown to nobody who has not come to it yet.
    fn forget(&mut self, removal: &Removal) {
        let bytes = &mut self.ring_bytes;
        self.ring.retain(|event| {
            let stays = !removal.removes(&event.entry);
            if !stays {
                *bytes -= event.entry.weight() * ENCODED_FACTOR;
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Removed;

    fn entry(seq: i64) -> Entry {
        let endpoint = EndpointCode::parse("e").unwrap();
        let id = Uuid::from_u128(u128::try_from(seq).unwrap());
        Entry {
            seq,
            what: EntryKind::Removal(Removal { id, at_us: 0, endpoint, removed: Removed::All, by: None }),
        }
    }

    fn sequencer(parked_max: usize) -> Sequencer {
        let parked_bytes_max = usize::MAX;
        Sequencer::new(RingLimits { events_max: 10_000, bytes_max: usize::MAX, parked_max, parked_bytes_max })
    }

    fn seqs(sequencer: &Sequencer) -> Vec<i64> {
        sequencer.behind(0, usize::MAX).unwrap().iter().map(|event| event.entry.seq).collect()
    }

    #[test]
    fn what_is_early_waits_and_what_was_is_dropped() {
        let mut sequencer = sequencer(10);
        let early = Offered::Entry(entry(2), Way::Local);
        assert!(!sequencer.offer([early]).any());
        assert_eq!(sequencer.gap(), Gap::Waiting { behind: 0 });
        let passed = sequencer.offer([Offered::Entry(entry(1), Way::Broker)]);
        assert_eq!(passed, Passed { local: 1, broker: 1, repair: 0 });
        assert!(!sequencer.offer([Offered::Entry(entry(1), Way::Broker)]).any());
        assert_eq!((seqs(&sequencer), sequencer.gap()), (vec![1, 2], Gap::None));
    }

    #[test]
    fn a_hole_that_was_removed_is_passed_over() {
        let mut sequencer = sequencer(10);
        sequencer.offer([Offered::Entry(entry(5), Way::Local)]);
        assert_eq!(sequencer.fill(vec![entry(1), entry(3)], 4).repair, 2);
        assert_eq!(seqs(&sequencer), [1, 3, 5]);
    }

    #[test]
    fn an_announced_entry_is_read_at_once() {
        let mut sequencer = sequencer(10);
        sequencer.offer([Offered::Seq(1), Offered::Entry(entry(2), Way::Broker)]);
        assert_eq!(sequencer.gap(), Gap::Announced);
        sequencer.fill(vec![entry(1)], 1);
        assert_eq!((seqs(&sequencer), sequencer.gap()), (vec![1, 2], Gap::None));
    }

    #[test]
    fn what_is_too_much_to_be_parked_is_read() {
        let mut sequencer = sequencer(10);
        sequencer.parked =
            Parked::new(RingLimits { parked_bytes_max: 2 * entry(1).weight(), ..sequencer.limits });
        let passed = sequencer.offer([2, 3, 4, 5, 1].map(|seq| Offered::Entry(entry(seq), Way::Local)));
        assert_eq!((passed.local, sequencer.gap(), sequencer.known()), (3, Gap::Announced, 5));
        sequencer.fill(vec![entry(4), entry(5)], 5);
        assert_eq!((seqs(&sequencer), sequencer.gap()), (vec![1, 2, 3, 4, 5], Gap::None));
    }

    #[test]
    fn another_entry_for_a_place_that_was_is_told() {
        let mut sequencer = sequencer(10);
        sequencer.offer((1..=3).map(|seq| Offered::Entry(entry(seq), Way::Local)));
        sequencer.offer((1..=3).map(|seq| Offered::Entry(entry(seq), Way::Broker)));
        assert_eq!(sequencer.gap(), Gap::None, "the same again is nothing new");
        for seq in [2, 3] {
            let mut sequencer = sequencer.clone();
            sequencer.offer([Offered::Entry(Entry { seq, ..entry(9) }, Way::Local)]);
            assert_eq!(sequencer.gap(), Gap::Diverged);
            sequencer.restart(7, 3, None);
            assert_eq!(sequencer.gap(), Gap::None);
        }
    }

    #[test]
    fn the_ring_says_where_it_begins() {
        let mut sequencer = sequencer(1);
        sequencer.limits.events_max = 2;
        sequencer.offer((1..=5).map(|seq| Offered::Entry(entry(seq), Way::Local)));
        assert!(sequencer.behind(2, 9).is_none());
        assert_eq!(sequencer.behind(3, 9).unwrap().len(), 2);
        assert_eq!(sequencer.behind(5, 9).unwrap().len(), 0);
    }

    proptest! {
        /// Whatever is lost, repeated or reordered: repairs make it whole, once, in order.
        #[test]
        fn any_delivery_becomes_every_entry_once_in_order(
            deliveries in prop::collection::vec((1i64..60, any::<bool>()), 0..200),
            parked_max in 0usize..20,
            parked_bytes_max in 0usize..8_000,
            repair_every in 1usize..30,
        ) {
            let mut sequencer = sequencer(parked_max);
            sequencer.parked = Parked::new(RingLimits { parked_bytes_max, ..sequencer.limits });
            for (i, (seq, announced)) in deliveries.iter().enumerate() {
                let offered =
                    if *announced { Offered::Seq(*seq) } else { Offered::Entry(entry(*seq), Way::Broker) };
                sequencer.offer([offered]);
                if i % repair_every == 0 && sequencer.gap() != Gap::None {
                    let (from, upto) = (sequencer.last() + 1, sequencer.known());
                    sequencer.fill((from..=upto).map(entry).collect(), upto);
                }
            }
            sequencer.learn_head(60);
            let (from, upto) = (sequencer.last() + 1, sequencer.known());
            sequencer.fill((from..=upto).map(entry).collect(), upto);
            prop_assert_eq!(seqs(&sequencer), (1..=60).collect::<Vec<_>>());
            prop_assert_eq!(sequencer.gap(), Gap::None);
        }
    }
}
