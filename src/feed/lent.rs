//! What subscribers have taken and not sent yet. None of it is theirs: events of the ring go with the ring, and of the
//! pages from the database the node keeps the latest, within a number of bytes. Who comes too late takes it again, at
//! its place; so who reads nothing holds nothing, and nobody waits for room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::event::Event;
use crate::model::Entry;

/// An event that was taken, for as long as it is there.
#[derive(Debug, Clone)]
pub struct Lent {
    pub seq: i64,
    from: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Ring(Weak<Event>),
    Page(Weak<Page>, usize),
}

/// Entries that one subscriber has read.
#[derive(Debug)]
pub struct Page {
    epoch: i64,
    entries: Vec<Entry>,
    /// What they weigh.
    bytes: usize,
}

/// The pages of all who catch up.
#[derive(Debug)]
pub struct Pages {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By the order in which they were read.
    pages: BTreeMap<u64, Arc<Page>>,
    bytes: usize,
    next: u64,
}

/// A page that is kept until this is dropped, or there is no room for it any more.
#[derive(Debug)]
pub struct Keep {
    pages: Arc<Pages>,
    number: u64,
}

impl Lent {
    pub(super) fn of_ring(event: &Arc<Event>) -> Self {
        Self { seq: event.entry.seq, from: Source::Ring(Arc::downgrade(event)) }
    }

    /// The event, if it is there still.
    pub fn get(&self) -> Option<Arc<Event>> {
        match &self.from {
            Source::Ring(event) => event.upgrade(),
            Source::Page(page, place) => {
                let page = page.upgrade()?;
                // Made anew, so that what it is encoded into is gone with it.
                Some(Arc::new(Event::new(page.epoch, page.entries.get(*place)?.clone())))
            }
        }
    }
}

impl Page {
    pub fn new(epoch: i64, entries: Vec<Entry>) -> Arc<Self> {
        let bytes = entries.iter().map(Entry::weight).sum();
        Arc::new(Self { epoch, entries, bytes })
    }

    pub fn lend(self: &Arc<Self>) -> impl Iterator<Item = Lent> {
        let lend = |(place, entry): (usize, &Entry)| Lent {
            seq: entry.seq,
            from: Source::Page(Arc::downgrade(self), place),
        };
        self.entries.iter().enumerate().map(lend)
    }
}

impl Pages {
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, kept: Mutex::default() })
    }

    /// Keeps a page, and lets go of the oldest where there is no room for all.
    pub fn keep(self: &Arc<Self>, page: Arc<Page>) -> Keep {
        let mut kept = self.kept();
        let number = kept.next;
        kept.next += 1;
        kept.bytes += page.bytes;
        kept.pages.insert(number, page);
        while kept.bytes > self.bytes_max && kept.pages.len() > 1 {
            let Some((_, oldest)) = kept.pages.pop_first() else { break };
            kept.bytes -= oldest.bytes;
        }
        drop(kept);
        Keep { pages: self.clone(), number }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        let mut kept = self.pages.kept();
        if let Some(page) = kept.pages.remove(&self.number) {
            kept.bytes -= page.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EndpointCode, EntryKind, Removal, Removed};

    fn page(seqs: std::ops::Range<i64>) -> Arc<Page> {
        let endpoint = EndpointCode::parse("e").unwrap();
        let removal = |seq| Removal {
            id: uuid::Uuid::from_u128(seq),
            at_us: 0,
            endpoint: endpoint.clone(),
            removed: Removed::All,
            by: None,
        };
        let entry = |seq: i64| Entry { seq, what: EntryKind::Removal(removal(u128::try_from(seq).unwrap())) };
        Page::new(1, seqs.map(entry).collect())
    }

    #[test]
    fn the_latest_pages_are_kept_and_given_back() {
        let of_two = page(1..3).bytes;
        let pages = Pages::new(2 * of_two);
        let read = |from: i64| {
            let page = page(from..from + 2);
            let lent: Vec<Lent> = page.lend().collect();
            (pages.keep(page), lent)
        };
        let seqs = |lent: &[Lent]| -> Vec<Option<i64>> {
            lent.iter().map(|lent| lent.get().map(|event| event.entry.seq)).collect()
        };
        let ((first, of_first), (second, of_second)) = (read(1), read(3));
        assert_eq!((seqs(&of_first), seqs(&of_second)), (vec![Some(1), Some(2)], vec![Some(3), Some(4)]));
        let (_third, of_third) = read(5);
        assert_eq!((seqs(&of_first), seqs(&of_third)), (vec![None, None], vec![Some(5), Some(6)]));
        drop((first, second));
        assert_eq!(seqs(&of_second), [None, None], "it was given back");
        assert_eq!(pages.kept().bytes, of_two);
        let (_alone, of_alone) = {
            let page = page(1..9);
            let lent: Vec<Lent> = page.lend().collect();
            (pages.keep(page), lent)
        };
        assert_eq!(seqs(&of_alone).len(), 8, "the latest is kept however large it is");
        assert!(of_alone.iter().all(|lent| lent.get().is_some()));
    }
}
