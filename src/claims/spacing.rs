//! The claim that captures came with certain times between them: does a sender back off?

use std::time::Duration;

use super::evidence::{Evidence, Verdict, add};
use crate::model::Capture;

/// The least and the most that a gap may be, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    pub least_ms: Option<u64>,
    pub most_ms: Option<u64>,
}

/// What is claimed of the gaps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// Of each.
    pub each: Bounds,
    /// Of the first, the second and so on; there are as many at least.
    pub gaps: Vec<Bounds>,
    /// No gap is shorter than the one before.
    pub growing: bool,
}

/// Looks at the times between captures that match, as they come. One that was received before the one that it stands
/// behind, as it may be where several nodes catch, came at once behind it.
#[derive(Debug, Clone)]
pub struct Spacing {
    terms: Terms,
    found: u64,
    /// When the latest was received, in microseconds.
    last_us: i64,
    last_gap_us: u64,
    broken: u64,
    captures: Vec<Evidence>,
}

impl Spacing {
    pub fn new(terms: Terms) -> Self {
        Self { terms, found: 0, last_us: i64::MIN, last_gap_us: 0, broken: 0, captures: Vec::new() }
    }

    /// One more matches.
    pub fn take(&mut self, capture: &Capture) {
        let gaps = self.found;
        self.found += 1;
        let received_us = capture.received_us.max(self.last_us);
        if gaps > 0 {
            let gap_us = received_us.abs_diff(self.last_us);
            if let Some(wrong) = self.wrong(gaps, gap_us) {
                self.broken += 1;
                add(&mut self.captures, capture, || {
                    format!(
                        "came {:?} behind the one before (gap {gaps}): {wrong}",
                        Duration::from_micros(gap_us)
                    )
                });
            }
            self.last_gap_us = gap_us;
        }
        self.last_us = received_us;
    }

    /// What is wrong with a gap, by its number from 1.
    fn wrong(&self, number: u64, gap_us: u64) -> Option<String> {
        let own = usize::try_from(number - 1).ok().and_then(|place| self.terms.gaps.get(place)).copied();
        for Bounds { least_ms, most_ms } in [Some(self.terms.each), own].into_iter().flatten() {
            if let Some(least) = least_ms.filter(|least| gap_us < least.saturating_mul(1000)) {
                return Some(format!("at least {least} ms are claimed"));
            }
            if let Some(most) = most_ms.filter(|most| gap_us > most.saturating_mul(1000)) {
                return Some(format!("at most {most} ms are claimed"));
            }
        }
        (self.terms.growing && number > 1 && gap_us < self.last_gap_us).then(|| {
            format!(
                "growing gaps are claimed, and the one before is {:?}",
                Duration::from_micros(self.last_gap_us)
            )
        })
    }

    /// Whether all gaps are as claimed; where there are none, they are.
    pub fn verdict(&self, all: bool) -> Verdict {
        let (gaps, claimed) = (self.found.saturating_sub(1), self.terms.gaps.len() as u64);
        if let Some(first) = self.captures.first() {
            let why = match self.broken {
                1 => format!("a capture {}", first.how),
                several => format!("{several} gaps of {gaps} are wrong; the first capture {}", first.how),
            };
            return Verdict::broken(self.found, why, self.captures.clone());
        }
        match all {
            false => Verdict::undecided(self.found),
            true if gaps < claimed => {
                let why = format!("there are {gaps} gaps, and {claimed} are claimed");
                Verdict::broken(self.found, why, Vec::new())
            }
            true => Verdict::holding(self.found),
        }
    }
}
