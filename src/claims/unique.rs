//! The claim that a value never comes again: idempotency keys.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use uuid::Uuid;

use super::evidence::{Evidence, Verdict, add};
use crate::model::Capture;
use crate::rules::Digest;

/// Remembers values by their digests.
#[derive(Debug, Clone, Default)]
pub struct Unique {
    /// The first capture that had a value.
    first: HashMap<Digest, Uuid>,
    found: u64,
    broken: u64,
    captures: Vec<Evidence>,
    /// A value could not be remembered.
    is_full: bool,
    /// Captures whose values were too large, or took too long to look at.
    unread: u64,
}

impl Unique {
    /// The next capture, with the values that it has, or None where that is not known; `room` is how many more may be
    /// remembered. Within a capture a value may stand several times.
    pub fn take(&mut self, capture: &Capture, values: Option<&[Digest]>, room: &mut usize) {
        let Some(values) = values else {
            self.unread += 1;
            return;
        };
        if values.is_empty() {
            return;
        }
        self.found += 1;
        let mut earlier = None;
        for value in values {
            match self.first.entry(*value) {
                Entry::Occupied(known) if *known.get() == capture.id => {}
                Entry::Occupied(known) => earlier = earlier.or(Some(*known.get())),
                Entry::Vacant(_) if *room == 0 => self.is_full = true,
                Entry::Vacant(place) => {
                    *room -= 1;
                    place.insert(capture.id);
                }
            }
        }
        if let Some(earlier) = earlier {
            self.broken += 1;
            add(&mut self.captures, capture, || format!("has a value that {earlier} has"));
        }
    }

    /// Whether no value came again.
    pub fn verdict(&self, all: bool) -> Verdict {
        if let Some(first) = self.captures.first() {
            let why = match self.broken {
                1 => format!("a capture {}", first.how),
                several => format!("{several} captures repeat a value; the first {}", first.how),
            };
            return Verdict::broken(self.found, why, self.captures.clone());
        }
        if self.unread > 0 {
            let why =
                format!("values of {} captures are too large, or take too long to look at", self.unread);
            return Verdict { why: Some(why), ..Verdict::undecided(self.found) };
        }
        match (self.is_full, all) {
            (true, _) => {
                let why =
                    "there are more values than can be remembered: ask for a part of the time".to_owned();
                Verdict { why: Some(why), ..Verdict::undecided(self.found) }
            }
            (false, false) => Verdict::undecided(self.found),
            (false, true) => Verdict::holding(self.found),
        }
    }
}
