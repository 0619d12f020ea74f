//! The claim that a value never comes again: idempotency keys.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ring::digest::{SHA256, digest};
use uuid::Uuid;

use super::evidence::{Evidence, Verdict, add};
use crate::model::Capture;

/// As much of a value's SHA-256 as is kept: nobody finds two values with the same.
type Digest = [u8; 16];

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
}

impl Unique {
    /// The next capture, with the values that it has; `room` is how many more may be remembered. Within a capture a
    /// value may stand several times.
    pub fn take(&mut self, capture: &Capture, values: &[Vec<u8>], room: &mut usize) {
        if values.is_empty() {
            return;
        }
        self.found += 1;
        let mut earlier = None;
        for value in values {
            match self.first.entry(shortened(value)) {
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

fn shortened(value: &[u8]) -> Digest {
    let mut shortened = Digest::default();
    shortened.copy_from_slice(&digest(&SHA256, value).as_ref()[..16]);
    shortened
}
