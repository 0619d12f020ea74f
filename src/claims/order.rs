//! The claim that captures came in an order: one for each step, each behind the one for the step before.

use super::evidence::{EVIDENCE_MAX, Evidence, Verdict, add};
use crate::model::Capture;

/// Whether captures that are no step may stand between those that are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    Allowed,
    Refused,
}

/// Looks for the steps in the order in which captures come.
#[derive(Debug, Clone)]
pub struct InOrder {
    steps: usize,
    search: Search,
}

#[derive(Debug, Clone)]
enum Search {
    /// The first capture for a step is as good as any later one, so that one place is enough.
    Apart {
        /// The step that is waited for, from 0.
        next: usize,
        /// What matched a later step than the one that was waited for, by that step.
        early: Vec<Vec<Evidence>>,
    },
    /// The steps may begin with every capture, so that several beginnings are followed at once.
    Adjacent {
        /// Whether the last captures are the first so many steps, by that number.
        reached: Vec<bool>,
        /// The longest beginning that there was, and the capture that came in place of its next step.
        longest: usize,
        broken_by: Option<Evidence>,
        is_found: bool,
    },
}

impl InOrder {
    /// Of one step at least.
    pub fn new(steps: usize, others: Others) -> Self {
        let search = match others {
            Others::Allowed => Search::Apart { next: 0, early: vec![Vec::new(); steps] },
            Others::Refused => {
                let mut reached = vec![false; steps + 1];
                reached[0] = true;
                Search::Adjacent { reached, longest: 0, broken_by: None, is_found: false }
            }
        };
        Self { steps, search }
    }

    /// Whether no others may stand between the steps.
    pub fn is_at_once(&self) -> bool {
        matches!(self.search, Search::Adjacent { .. })
    }

    /// The next capture, and whether it matches a step.
    pub fn take(&mut self, capture: &Capture, mut matches: impl FnMut(usize) -> bool) {
        let steps = self.steps;
        match &mut self.search {
            Search::Apart { next, .. } if *next == steps => {}
            Search::Apart { next, early } => {
                if matches(*next) {
                    *next += 1;
                    return;
                }
                let waited_for = *next + 1;
                for (step, early) in early.iter_mut().enumerate().skip(*next + 1) {
                    if early.len() < EVIDENCE_MAX && matches(step) {
                        let how = || format!("matches step {}, and came before step {waited_for}", step + 1);
                        add(early, capture, how);
                    }
                }
            }
            Search::Adjacent { is_found: true, .. } => {}
            Search::Adjacent { reached, longest, broken_by, is_found } => {
                // From the end, so that each takes what the capture before has left.
                let was_longest = reached[*longest];
                for step in (0..steps).rev() {
                    reached[step + 1] = reached[step] && matches(step);
                }
                *is_found = reached[steps];
                let now = reached.iter().rposition(|reached| *reached).unwrap_or_default();
                if now > *longest {
                    (*longest, *broken_by) = (now, None);
                } else if *longest > 0 && was_longest && !reached[*longest + 1] && broken_by.is_none() {
                    let how = format!("came where step {} is claimed", *longest + 1);
                    *broken_by = Some(Evidence::of(capture, how));
                }
            }
        }
    }

    /// How many of the steps were found, and what stands against the others.
    pub fn verdict(&self, all: bool) -> Verdict {
        let steps = self.steps;
        let (reached, captures) = match &self.search {
            Search::Apart { next, early } => (*next, early.get(*next).cloned().unwrap_or_default()),
            Search::Adjacent { is_found: true, .. } => (steps, Vec::new()),
            Search::Adjacent { longest, broken_by, .. } => (*longest, broken_by.iter().cloned().collect()),
        };
        let found = reached as u64;
        match (reached, &self.search) {
            (reached, _) if reached == steps => Verdict::holding(found),
            _ if !all => Verdict::undecided(found),
            (0, _) => Verdict::broken(found, "no capture matches step 1".to_owned(), captures),
            (_, Search::Apart { .. }) => {
                let why = format!("no capture matches step {} of {steps} behind step {reached}", reached + 1);
                Verdict::broken(found, why, captures)
            }
            (_, Search::Adjacent { .. }) => {
                let why =
                    format!("step {} of {steps} never comes at once behind step {reached}", reached + 1);
                Verdict::broken(found, why, captures)
            }
        }
    }
}
