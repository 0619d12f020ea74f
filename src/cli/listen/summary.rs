//! What a listener says when it ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::forward::Forwarded;

/// Counts what came, and what became of it.
pub struct Summary {
    began: Instant,
    pub captures: u64,
    /// Whether captures are sent on.
    forwards: bool,
    statuses: BTreeMap<u16, u64>,
    failed: u64,
    skipped: u64,
    slowest: Duration,
}

impl Summary {
    pub fn begin(forwards: bool) -> Self {
        Self {
            began: Instant::now(),
            captures: 0,
            forwards,
            statuses: BTreeMap::new(),
            failed: 0,
            skipped: 0,
            slowest: Duration::ZERO,
        }
    }

    pub fn count(&mut self, forwarded: &Forwarded) {
        match forwarded {
            Forwarded::Answered { status, took } => {
                *self.statuses.entry(*status).or_default() += 1;
                self.slowest = self.slowest.max(*took);
            }
            Forwarded::Failed(_) => self.failed += 1,
            Forwarded::Skipped => self.skipped += 1,
        }
    }

    /// `12 captures in 34 s; sent on: 10 answered 200, 1 answered 500, 1 failed; the slowest took 12 ms`
    pub fn text(&self) -> String {
        let noun = if self.captures == 1 { "capture" } else { "captures" };
        let text = format!("{} {noun} in {} s", self.captures, self.began.elapsed().as_secs());
        if !self.forwards {
            return text;
        }
        let mut parts: Vec<String> =
            self.statuses.iter().map(|(status, count)| format!("{count} answered {status}")).collect();
        for (count, what) in [(self.failed, "failed"), (self.skipped, "of WebSockets not sent")] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        let slowest = match self.statuses.is_empty() {
            true => String::new(),
            false => format!("; the slowest took {} ms", self.slowest.as_millis()),
        };
        let parts = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
        format!("{text}; sent on: {parts}{slowest}")
    }
}
