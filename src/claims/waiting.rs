//! When a wait is decided: by the matches that come, or by the time that passes. Times are since the wait began.

use std::time::Duration;

use super::count::{Bound, Count};

/// What a wait is for.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub count: Count,
    /// How long nothing more may match once the count is met; zero asks for none.
    pub quiet: Duration,
    pub timeout: Duration,
}

/// What a wait came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Satisfied,
    /// Not what was asked for within the time.
    Timeout,
    /// More than was asked for.
    Exceeded,
    /// Not decided, and no fault of the captures: to be asked again.
    Interrupted,
}

/// A wait that goes on.
#[derive(Debug, Clone)]
pub struct Waiting {
    terms: Terms,
    matched: u64,
    /// Since when it is quiet: the last match, or the beginning.
    quiet_since: Duration,
    /// There may be more that match than were taken.
    in_doubt: bool,
}

impl Outcome {
    /// Name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Satisfied => "satisfied",
            Self::Timeout => "timeout",
            Self::Exceeded => "exceeded",
            Self::Interrupted => "interrupted",
        }
    }
}

impl Waiting {
    pub fn new(terms: Terms) -> Self {
        Self { terms, matched: 0, quiet_since: Duration::ZERO, in_doubt: false }
    }

    /// How many have matched.
    pub fn matched(&self) -> u64 {
        self.matched
    }

    /// Of a capture, or several, nobody can tell whether they match. Nothing that more of them would break is satisfied
    /// any more.
    pub fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// One more has matched; what that decides, if anything.
    pub fn take(&mut self, at: Duration) -> Option<Outcome> {
        self.matched += 1;
        self.quiet_since = at;
        if self.terms.count.is_exceeded(self.matched) {
            return Some(Outcome::Exceeded);
        }
        let is_decided =
            self.terms.count.bound == Bound::AtLeast && self.is_met() && self.terms.quiet.is_zero();
        is_decided.then_some(Outcome::Satisfied)
    }

    /// When time decides, if nothing more matches.
    pub fn due(&self) -> Duration {
        match self.is_met() && !self.terms.quiet.is_zero() {
            true => self.quiet_since.saturating_add(self.terms.quiet).min(self.terms.timeout),
            false => self.terms.timeout,
        }
    }

    /// What time decides, where it is due and everything was taken that was committed before `at`.
    pub fn decide(&self, at: Duration) -> Option<Outcome> {
        if at < self.due() {
            return None;
        }
        let is_quiet = at >= self.quiet_since.saturating_add(self.terms.quiet);
        // At the end exactly and at most are decided by the count alone.
        let is_satisfied = self.is_met() && (is_quiet || self.terms.count.bound != Bound::AtLeast);
        Some(match is_satisfied {
            true if self.in_doubt && self.terms.count.bound != Bound::AtLeast => Outcome::Interrupted,
            true => Outcome::Satisfied,
            false => Outcome::Timeout,
        })
    }

    fn is_met(&self) -> bool {
        self.terms.count.allows(self.matched)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn terms(bound: Bound, n: u64, quiet: u64, timeout: u64) -> Terms {
        Terms { count: Count { bound, n }, quiet: ms(quiet), timeout: ms(timeout) }
    }

    /// Runs a wait whose matches come at these times; what it came to, and when.
    fn run(terms: Terms, matches: &[u64]) -> (Outcome, u64) {
        let mut waiting = Waiting::new(terms);
        for at in matches {
            if let Some(outcome) =
                waiting.decide(ms(*at).min(waiting.due())).filter(|_| ms(*at) > waiting.due())
            {
                return (outcome, u64::try_from(waiting.due().as_millis()).unwrap());
            }
            if let Some(outcome) = waiting.take(ms(*at)) {
                return (outcome, *at);
            }
        }
        let due = waiting.due();
        (waiting.decide(due).unwrap(), u64::try_from(due.as_millis()).unwrap())
    }

    #[test]
    fn each_form_is_decided_as_soon_as_it_can_be() {
        use Bound::{AtLeast, AtMost, Exactly};
        use Outcome::{Exceeded, Satisfied, Timeout};
        for (terms, matches, expected) in [
            (terms(AtLeast, 2, 0, 100), &[10, 20, 30][..], (Satisfied, 20)),
            (terms(AtLeast, 2, 0, 100), &[10], (Timeout, 100)),
            (terms(AtLeast, 2, 15, 100), &[10, 20, 30], (Satisfied, 45)),
            (terms(AtLeast, 2, 15, 100), &[10, 20, 30, 90], (Satisfied, 45)),
            (terms(AtLeast, 1, 15, 100), &[90, 95], (Timeout, 100)),
            (terms(AtLeast, 1, 50, 100), &[50], (Satisfied, 100)),
            (terms(Exactly, 2, 0, 100), &[10, 20], (Satisfied, 100)),
            (terms(Exactly, 2, 0, 100), &[10, 20, 30], (Exceeded, 30)),
            (terms(Exactly, 2, 0, 100), &[10], (Timeout, 100)),
            (terms(Exactly, 2, 15, 100), &[10, 20, 40], (Satisfied, 35)),
            (terms(Exactly, 2, 15, 100), &[10, 20, 30], (Exceeded, 30)),
            (terms(Exactly, 1, 50, 100), &[90], (Satisfied, 100)),
            (terms(Exactly, 0, 15, 100), &[], (Satisfied, 15)),
            (terms(Exactly, 0, 15, 100), &[10], (Exceeded, 10)),
            (terms(AtMost, 2, 0, 100), &[10], (Satisfied, 100)),
            (terms(AtMost, 2, 30, 100), &[10, 20], (Satisfied, 50)),
            (terms(AtMost, 2, 30, 100), &[10, 20, 30], (Exceeded, 30)),
            (terms(AtMost, 0, 0, 100), &[], (Satisfied, 100)),
            (terms(AtLeast, 1, 0, 0), &[], (Timeout, 0)),
            (terms(Exactly, 0, 0, 0), &[], (Satisfied, 0)),
        ] {
            assert_eq!(run(terms, matches), expected, "{terms:?} {matches:?}");
        }
    }

    #[test]
    fn what_more_would_break_is_not_satisfied_in_doubt() {
        use Bound::{AtLeast, AtMost, Exactly};
        for (bound, n, matches, expected) in [
            (AtLeast, 1, 1, Outcome::Satisfied),
            (AtLeast, 2, 1, Outcome::Timeout),
            (Exactly, 1, 1, Outcome::Interrupted),
            (Exactly, 0, 0, Outcome::Interrupted),
            (Exactly, 2, 1, Outcome::Timeout),
            (Exactly, 0, 1, Outcome::Exceeded),
            (AtMost, 1, 1, Outcome::Interrupted),
            (AtMost, 1, 0, Outcome::Interrupted),
            (AtMost, 0, 1, Outcome::Exceeded),
        ] {
            let mut waiting = Waiting::new(terms(bound, n, 0, 100));
            waiting.doubt();
            let taken = (0..matches).filter_map(|_| waiting.take(ms(1))).next();
            assert_eq!(taken.or(waiting.decide(ms(100))), Some(expected), "{bound:?} {n} of {matches}");
        }
    }

    proptest! {
        /// Whatever comes when, a wait is decided by its timeout, and what it says is true of the count.
        #[test]
        fn a_wait_ends_and_what_it_says_is_so(
            bound in prop_oneof![Just(Bound::AtLeast), Just(Bound::Exactly), Just(Bound::AtMost)],
            n in 0u64..5,
            (quiet, timeout) in (0u64..50, 0u64..200),
            gaps in prop::collection::vec(1u64..60, 0..8),
        ) {
            let terms = terms(bound, n.max(u64::from(bound == Bound::AtLeast)), quiet, timeout);
            let mut at = 0;
            let matches: Vec<u64> = gaps.iter().map(|gap| { at += gap; at }).collect();
            let (outcome, when) = run(terms, &matches);
            prop_assert!(when <= timeout || matches.contains(&when), "{outcome:?} at {when}");
            let by_then = matches.iter().filter(|at| **at <= when).count() as u64;
            match outcome {
                Outcome::Satisfied => {
                    prop_assert!(terms.count.allows(by_then));
                    let last = matches.iter().copied().filter(|at| *at <= when).max().unwrap_or(0);
                    prop_assert!(when >= last + quiet || (bound != Bound::AtLeast && when == timeout));
                }
                Outcome::Exceeded => prop_assert!(terms.count.is_exceeded(by_then)),
                Outcome::Timeout => prop_assert_eq!(when, timeout),
                Outcome::Interrupted => prop_assert!(false, "nothing interrupts here"),
            }
        }
    }
}
