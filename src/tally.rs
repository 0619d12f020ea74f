//! What was caught since the totals were folded last, summed up in memory as the feed passes it on, so that nobody
//! reads captures again to count them.
//!
//! A run begins where the journal is folded to, and is whole or is given up: then the journal itself is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::report::Span;
use crate::model::{Capture, Entry, EntryKind};

/// Entries and kinds of captures that a run may have. It is folded twice a second; one that nobody takes ends here.
const ENTRIES_MAX: usize = 200_000;
const KINDS_MAX: usize = 20_000;

/// The methods that are counted under their own names (RFC 9110, section 9.3; RFC 5789).
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// What captures come to, by endpoint and by kind.
#[derive(Debug, Default)]
pub struct Tally {
    pub endpoints: HashMap<String, OfEndpoint>,
    kinds: usize,
}

/// What one endpoint has caught.
#[derive(Debug, Default)]
pub struct OfEndpoint {
    pub all: Sum,
    /// When the last one was received, in microseconds.
    pub last_us: i64,
    pub kinds: HashMap<Kind, Sum>,
}

/// What reports tell captures of an endpoint apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    /// When its minute begins, in microseconds.
    pub minute_us: i64,
    /// `other`: none of the usual ones.
    pub method: &'static str,
    /// 0: nothing was answered.
    pub status: u16,
    pub rule: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    pub captures: i64,
    /// As [`Capture::kept_bytes`] counts them.
    pub bytes: i64,
}

/// All that was caught behind a place, up to another.
#[derive(Debug)]
pub struct Tallied {
    pub upto: i64,
    pub tally: Tally,
}

/// The run of a node, between the feed, which counts, and upkeep, which takes what was counted.
#[derive(Debug, Default)]
pub struct Tallies {
    run: Mutex<Option<Run>>,
    begun: Notify,
}

#[derive(Debug)]
struct Run {
    from: i64,
    upto: i64,
    entries: usize,
    tally: Tally,
}

impl Tallies {
    /// Begins a run behind a place.
    pub fn begin(&self, place: i64) {
        *self.run() = Some(Run::behind(place));
        self.begun.notify_one();
    }

    /// Takes what was counted behind `from`, and goes on behind that. None where no run began there; then none runs.
    pub fn take(&self, from: i64) -> Option<Tallied> {
        let mut run = self.run();
        let counted = run.take().filter(|run| run.from == from)?;
        *run = Some(Run::behind(counted.upto));
        Some(Tallied { upto: counted.upto, tally: counted.tally })
    }

    /// The place behind what was counted, once a run has begun.
    pub async fn wanted(&self) -> i64 {
        loop {
            if let Some(run) = self.run().as_ref() {
                return run.upto;
            }
            self.begun.notified().await;
        }
    }

    /// Counts the entries that follow a place, without a gap. Nothing is done where the run is elsewhere by now.
    pub fn count<'a>(&self, behind: i64, entries: impl IntoIterator<Item = &'a Entry>) {
        let mut slot = self.run();
        let Some(run) = slot.as_mut().filter(|run| run.upto == behind) else { return };
        for entry in entries {
            run.upto = entry.seq;
            run.entries += 1;
            if let EntryKind::Capture(capture) = &entry.what {
                run.tally.add(capture);
            }
        }
        if run.entries > ENTRIES_MAX || run.tally.kinds > KINDS_MAX {
            *slot = None;
        }
    }

    /// Gives the run up: something of it was missed.
    pub fn end(&self) {
        *self.run() = None;
    }

    fn run(&self) -> MutexGuard<'_, Option<Run>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn behind(place: i64) -> Self {
        Self { from: place, upto: place, entries: 0, tally: Tally::default() }
    }
}

impl Tally {
    pub fn add(&mut self, capture: &Capture) {
        let code = capture.endpoint.as_str();
        if !self.endpoints.contains_key(code) {
            self.endpoints.insert(code.to_owned(), OfEndpoint::default());
        }
        let Some(endpoint) = self.endpoints.get_mut(code) else { return };
        let kind = Kind {
            minute_us: Span::Minute.begin(capture.received_us),
            method: METHODS.into_iter().find(|name| *name == capture.method).unwrap_or("other"),
            status: capture.reply.status,
            rule: capture.reply.rule.as_ref().map(|rule| rule.name.clone()),
        };
        let bytes = capture.kept_bytes();
        endpoint.all.add(bytes);
        endpoint.last_us = endpoint.last_us.max(capture.received_us);
        let before = endpoint.kinds.len();
        endpoint.kinds.entry(kind).or_default().add(bytes);
        self.kinds += endpoint.kinds.len() - before;
    }
}

impl Sum {
    fn add(&mut self, bytes: i64) {
        self.captures += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{ConfigurationChange, ConfigurationKind};

    /// Entries that are no captures, which only move the place.
    fn entries(seqs: impl IntoIterator<Item = i64>) -> Vec<Entry> {
        let change = || ConfigurationChange {
            id: Uuid::nil(),
            at_us: 0,
            kind: ConfigurationKind::Rule,
            name: "a".to_owned(),
            change: crate::model::Change::Changed,
            by: None,
        };
        seqs.into_iter().map(|seq| Entry { seq, what: EntryKind::Configuration(change()) }).collect()
    }

    #[test]
    fn a_run_is_whole_or_given_up() {
        let tallies = Tallies::default();
        assert!(tallies.take(0).is_none(), "nobody has begun");
        tallies.begin(5);
        tallies.count(4, &entries([5, 6]));
        tallies.count(5, &entries([6, 7]));
        tallies.count(5, &entries([6, 7, 8]));
        assert_eq!(tallies.take(5).map(|tallied| tallied.upto), Some(7), "and goes on behind that");
        tallies.count(7, &entries([8]));
        assert!(tallies.take(5).is_none(), "it is from another place");
        assert!(tallies.take(7).is_none(), "and given up");
        tallies.begin(8);
        tallies.end();
        tallies.count(8, &entries([9]));
        assert!(tallies.take(8).is_none());
    }

    #[test]
    fn a_run_that_nobody_takes_ends() {
        let tallies = Tallies::default();
        tallies.begin(0);
        let most = i64::try_from(ENTRIES_MAX).unwrap();
        tallies.count(0, &entries(1..=most));
        assert!(tallies.take(0).is_some());
        tallies.begin(0);
        tallies.count(0, &entries(1..=most + 1));
        assert!(tallies.take(0).is_none());
    }
}
