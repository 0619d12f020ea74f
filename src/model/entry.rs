//! Journal entries: captures, removals and configuration changes, each with its place.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Capture, EndpointCode};

/// One entry of the journal. Committed entries never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Dense and in commit order, from 1.
    pub seq: i64,
    pub what: EntryKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    Capture(Arc<Capture>),
    Removal(Removal),
    Configuration(ConfigurationChange),
}

/// Captures were removed on request. Retention leaves no such entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    pub id: Uuid,
    pub at_us: i64,
    pub endpoint: EndpointCode,
    pub removed: Removed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removed {
    /// The capture with this id.
    One(Uuid),
    /// Every capture of the endpoint before this entry.
    All,
}

/// The configuration changed: an endpoint was declared or withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationChange {
    pub id: Uuid,
    pub at_us: i64,
    pub endpoint: EndpointCode,
    /// `endpoint.declared` or `endpoint.withdrawn`.
    pub change: String,
}

impl Removal {
    /// Whether an earlier entry is a capture that this removes.
    pub fn removes(&self, entry: &Entry) -> bool {
        match (&entry.what, &self.removed) {
            (EntryKind::Capture(capture), Removed::One(id)) => capture.id == *id,
            (EntryKind::Capture(capture), Removed::All) => capture.endpoint == self.endpoint,
            _ => false,
        }
    }
}

impl Entry {
    pub fn id(&self) -> Uuid {
        match &self.what {
            EntryKind::Capture(capture) => capture.id,
            EntryKind::Removal(removal) => removal.id,
            EntryKind::Configuration(change) => change.id,
        }
    }

    pub fn endpoint(&self) -> &EndpointCode {
        match &self.what {
            EntryKind::Capture(capture) => &capture.endpoint,
            EntryKind::Removal(removal) => &removal.endpoint,
            EntryKind::Configuration(change) => &change.endpoint,
        }
    }

    /// See [`Capture::weight`].
    pub fn weight(&self) -> usize {
        match &self.what {
            EntryKind::Capture(capture) => capture.weight(),
            EntryKind::Removal(_) | EntryKind::Configuration(_) => 512,
        }
    }
}
