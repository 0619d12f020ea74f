//! Bytes that may be in use at a time, taken without waiting.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::metrics::gauge::Gauge;

/// A number of bytes, shared by all that hold a [`Reserved`] of it.
#[derive(Debug)]
pub struct Budget {
    used: Gauge,
    max: usize,
    /// What is taken here is taken of this too.
    whole: Option<Arc<Budget>>,
}

/// A part of a budget, given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// The gauge is what is in use.
    pub fn new(max: usize, used: Gauge) -> Arc<Self> {
        Arc::new(Self { used, max, whole: None })
    }

    /// So many bytes of a larger budget, at most.
    pub fn within(whole: &Arc<Self>, max: usize, used: Gauge) -> Arc<Self> {
        Arc::new(Self { used, max, whole: Some(whole.clone()) })
    }

    /// Takes so many bytes, or None where there is no room.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        self.take(bytes).then(|| Reserved { budget: self.clone(), bytes })
    }

    fn take(&self, bytes: usize) -> bool {
        let (more, max) = (signed(bytes), signed(self.max));
        let taken = self.used.inner().fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(more).filter(|sum| *sum <= max)
        });
        if taken.is_err() {
            return false;
        }
        let is_whole = self.whole.as_ref().is_none_or(|whole| whole.take(bytes));
        if !is_whole {
            self.used.dec_by(more);
        }
        is_whole
    }

    fn give_back(&self, bytes: usize) {
        self.used.dec_by(signed(bytes));
        if let Some(whole) = &self.whole {
            whole.give_back(bytes);
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Reserved {
    /// Grows to at least so many bytes; false where there is no room, and nothing has changed.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.budget.take(more) {
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_of_a_part_is_taken_of_the_whole() {
        let used = |budget: &Budget| budget.used.get();
        let whole = Budget::new(10, Gauge::default());
        let (one, two) =
            (Budget::within(&whole, 8, Gauge::default()), Budget::within(&whole, 8, Gauge::default()));
        assert!(one.reserve(9).is_none(), "it is more than the part has");
        let mut held = one.reserve(6).unwrap();
        assert!(two.reserve(5).is_none(), "it is more than the whole has left");
        assert_eq!((used(&whole), used(&one), used(&two)), (6, 6, 0));
        assert!(held.grow_to(8) && !held.grow_to(9));
        assert!(two.reserve(2).is_some());
        drop(held);
        assert_eq!((used(&whole), used(&one), used(&two)), (0, 0, 0));
    }
}
