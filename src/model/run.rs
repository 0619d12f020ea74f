//! Runs: a stretch of testing that has the codes behind its prefix to itself.

use std::collections::BTreeMap;

use super::{Cursor, Glob};

/// Longest time to live that a run may be given, in seconds.
pub const RUN_TTL_S_MAX: u64 = 7 * 86_400;

/// The time to live of a run that says none, in seconds.
pub const RUN_TTL_S_DEFAULT: u64 = 3_600;

/// Longest prefix of a run, in bytes, so that codes, and the names of rules, have room behind it.
pub const RUN_PREFIX_BYTES_MAX: usize = 128;

/// Verifications of a run that are kept, and failed ones that are; further ones are counted.
pub const RUN_VERIFICATIONS_MAX: i64 = 1_000;

/// Longest name of a verification, and longest text of why it failed, in bytes; what is longer is cut.
pub const VERIFICATION_NAME_BYTES_MAX: usize = 255;
pub const VERIFICATION_WHY_BYTES_MAX: usize = 4_096;

/// A run as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// A UUIDv7 of its opening.
    pub id: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// What its codes begin with, and the names of its rules and scenarios. It ends with `-`.
    pub prefix: String,
    pub state: RunState,
    /// What becomes of its captures when it is closed.
    pub captures: AtClosing,
    /// Instants are microseconds since the Unix epoch.
    pub opened_us: i64,
    pub expires_us: i64,
    pub closed_us: Option<i64>,
    /// Behind the journal's newest entry when it was opened.
    pub start: Cursor,
    /// The journal's newest entry when closing began.
    pub end_seq: Option<i64>,
    /// The id of its own token.
    pub token: Option<String>,
    /// Who opened it; None where nobody was asked.
    pub opened_by: Option<String>,
    /// Verifications that were made, and those among them that passed.
    pub made: i64,
    pub passed: i64,
    /// What was caught, as JSON, from when closing has counted it.
    pub counts: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    Open,
    /// Somebody is closing it, or was.
    Closing,
    Closed,
}

/// What becomes of captures when a run is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtClosing {
    #[default]
    Keep,
    Remove,
}

/// What a run was asked, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// What people call it; empty where they call it nothing.
    pub name: String,
    pub kind: VerificationKind,
    pub passed: bool,
    /// What failed, for people.
    pub why: Option<String>,
    pub at_us: i64,
    /// What it took, in microseconds.
    pub took_us: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerificationKind {
    Wait,
    Verify,
}

impl Run {
    /// The codes that are the run's own.
    pub fn codes(&self) -> Glob {
        Glob::starting_with(&self.prefix)
    }

    /// Whether it is there for whoever sees the codes of a pattern alone; None sees all.
    pub fn is_within(&self, pattern: Option<&Glob>) -> bool {
        pattern.is_none_or(|pattern| pattern.contains(&self.codes()))
    }
}

/// Names, as they are kept and shown.
macro_rules! names {
    ($($type:ident { $($variant:ident = $name:literal),+ })+) => {
        $(impl $type {
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        })+
    };
}

names! {
    RunState { Open = "open", Closing = "closing", Closed = "closed" }
    AtClosing { Keep = "keep", Remove = "remove" }
    VerificationKind { Wait = "wait", Verify = "verify" }
}

/// The first text behind all that begin with a prefix, in the order of their bytes. A prefix ends with `-`.
pub fn end_of(prefix: &str) -> String {
    format!("{}.", prefix.strip_suffix('-').unwrap_or(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_a_prefix_lies_before_its_end() {
        let prefix = "ci-run-abc-";
        let end = end_of(prefix);
        for code in ["ci-run-abc-", "ci-run-abc-a", "ci-run-abc-\u{10ffff}"] {
            assert!(code >= prefix && code < end.as_str(), "{code:?}");
        }
        for code in ["ci-run-abc", "ci-run-abc.", "ci-run-abca", "ci-run-abd-", "ci-run-abb-z"] {
            assert!(code < prefix || code >= end.as_str(), "{code:?}");
        }
    }
}
