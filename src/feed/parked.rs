//! What came too early: entries that wait for one before them, bounded in number and in bytes.

use std::collections::BTreeMap;

use super::sequencer::{Offered, RingLimits};
use crate::metrics::Way;
use crate::model::Entry;

#[derive(Debug, Clone)]
pub struct Parked {
    offered: BTreeMap<i64, Offered>,
    bytes: usize,
    max: usize,
    bytes_max: usize,
}

impl Parked {
    pub fn new(limits: RingLimits) -> Self {
        let RingLimits { parked_max: max, parked_bytes_max: bytes_max, .. } = limits;
        Self { offered: BTreeMap::new(), bytes: 0, max, bytes_max }
    }

    /// Whether something is known of a place.
    pub fn has(&self, seq: i64) -> bool {
        self.offered.contains_key(&seq)
    }

    /// Parks an entry, or its number alone where it is too large for what is left. What finds no room at all is read
    /// from the database when its turn has come.
    pub fn put(&mut self, seq: i64, offered: Offered) {
        if let Some(earlier) = self.offered.remove(&seq) {
            self.bytes -= weight(&earlier);
        }
        if self.offered.len() >= self.max {
            return;
        }
        let has_room = self.bytes + weight(&offered) <= self.bytes_max;
        let offered = if has_room { offered } else { Offered::Seq(seq) };
        self.bytes += weight(&offered);
        self.offered.insert(seq, offered);
    }

    /// Takes the entry of a place, where it is there, and forgets everything before.
    pub fn take(&mut self, seq: i64) -> Option<(Entry, Way)> {
        while let Some(first) = self.offered.first_entry() {
            if *first.key() > seq || (*first.key() == seq && matches!(first.get(), Offered::Seq(_))) {
                return None;
            }
            let (place, offered) = first.remove_entry();
            self.bytes -= weight(&offered);
            match offered {
                Offered::Entry(entry, way) if place == seq => return Some((entry, way)),
                _ => {}
            }
        }
        None
    }
}

fn weight(offered: &Offered) -> usize {
    match offered {
        Offered::Entry(entry, _) => entry.weight(),
        Offered::Seq(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{EndpointCode, EntryKind, Removal, Removed};

    fn offered(seq: i64) -> Offered {
        let endpoint = EndpointCode::parse("e").unwrap();
        let removal = Removal { id: Uuid::nil(), at_us: 0, endpoint, removed: Removed::All, by: None };
        Offered::Entry(Entry { seq, what: EntryKind::Removal(removal) }, Way::Broker)
    }

    #[test]
    fn past_its_bytes_it_holds_numbers_and_past_its_number_nothing() {
        let each = weight(&offered(1));
        let limits = RingLimits { events_max: 9, bytes_max: 9, parked_max: 4, parked_bytes_max: 2 * each };
        let mut parked = Parked::new(limits);
        for seq in [2, 3, 3, 4, 5, 6] {
            parked.put(seq, offered(seq));
        }
        assert_eq!([1, 2, 3, 4, 5, 6].map(|seq| parked.has(seq)), [false, true, true, true, true, false]);
        let mut taken = |seq| parked.take(seq).map(|(entry, _)| entry.seq);
        assert_eq!([1, 2, 3, 4, 5].map(&mut taken), [None, Some(2), Some(3), None, None]);
        assert_eq!(
            (parked.bytes, parked.has(4), parked.has(5)),
            (0, false, true),
            "what was passed is forgotten"
        );
        parked.put(7, offered(7));
        assert!(parked.take(7).is_some() && parked.bytes == 0 && parked.offered.is_empty());
    }
}
