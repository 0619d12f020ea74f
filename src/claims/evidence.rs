//! What speaks against a claim.

use uuid::Uuid;

use crate::model::{Capture, EndpointCode};

/// Captures that are told of for one claim.
pub const EVIDENCE_MAX: usize = 20;

/// A capture that breaks a claim, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub capture: Uuid,
    pub endpoint: EndpointCode,
    /// Microseconds since the Unix epoch.
    pub received_us: i64,
    /// How it does, continuing the capture's name.
    pub how: String,
}

impl Evidence {
    pub fn of(capture: &Capture, how: String) -> Self {
        let Capture { id, endpoint, received_us, .. } = capture;
        Self { capture: *id, endpoint: endpoint.clone(), received_us: *received_us, how }
    }
}

/// Adds evidence, up to [`EVIDENCE_MAX`].
pub fn add(all: &mut Vec<Evidence>, capture: &Capture, how: impl FnOnce() -> String) {
    if all.len() < EVIDENCE_MAX {
        all.push(Evidence::of(capture, how()));
    }
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// None where not all captures were looked at, and the others decide.
    pub holds: Option<bool>,
    /// How many captures the claim is about.
    pub found: u64,
    /// Why it does not hold, or is not decided.
    pub why: Option<String>,
    /// The captures that break it, the first of them.
    pub captures: Vec<Evidence>,
}

/// Why a claim is not decided.
pub const UNDECIDED: &str = "not all captures were looked at, and the others decide";
pub const GAVE_UP: &str = "it took too long to tell whether some captures match, and they decide";

impl Verdict {
    pub fn holding(found: u64) -> Self {
        Self { holds: Some(true), found, why: None, captures: Vec::new() }
    }

    pub fn broken(found: u64, why: String, captures: Vec<Evidence>) -> Self {
        Self { holds: Some(false), found, why: Some(why), captures }
    }

    pub fn undecided(found: u64) -> Self {
        Self { holds: None, found, why: Some(UNDECIDED.to_owned()), captures: Vec::new() }
    }
}
