//! The claim that so many captures match.

use super::Count;
use super::count::Bound;
use super::evidence::{Evidence, Verdict, add};
use crate::model::Capture;

/// Counts what matches.
#[derive(Debug, Clone)]
pub struct Tally {
    count: Count,
    found: u64,
    /// Those past the number.
    past: Vec<Evidence>,
}

impl Tally {
    pub fn new(count: Count) -> Self {
        Self { count, found: 0, past: Vec::new() }
    }

    /// One more matches.
    pub fn take(&mut self, capture: &Capture) {
        self.found += 1;
        if self.count.is_exceeded(self.found) {
            let (found, count) = (self.found, self.count);
            add(&mut self.past, capture, || format!("is number {found}, and {count} are claimed"));
        }
    }

    /// Whether the number is right, once `all` were looked at, or as far as that does not matter.
    pub fn verdict(&self, all: bool) -> Verdict {
        let allowed = self.count.allows(self.found);
        if allowed && (all || self.count.bound == Bound::AtLeast) {
            return Verdict::holding(self.found);
        }
        if !all && !self.count.is_exceeded(self.found) {
            return Verdict::undecided(self.found);
        }
        let why = format!("{} were found, and {} are claimed", self.found, self.count);
        Verdict::broken(self.found, why, self.past.clone())
    }
}
