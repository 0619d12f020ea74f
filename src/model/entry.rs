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
    /// Who asked for it, as in [`ConfigurationChange::by`].
    pub by: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removed {
    /// The capture with this id.
    One(Uuid),
    /// Every capture of the endpoint before this entry.
    All,
}

/// The configuration changed, or what depends on it: who changed what, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationChange {
    pub id: Uuid,
    pub at_us: i64,
    pub kind: ConfigurationKind,
    /// The endpoint's code, the rule's name.
    pub name: String,
    pub change: Change,
    /// The id of the token that was used, `settings` for one of the settings; None where none was asked for.
    pub by: Option<String>,
}

/// What there is of configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigurationKind {
    Endpoint,
    Rule,
    /// How often a rule has answered, or where a scenario stands.
    State,
    Token,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Created,
    Changed,
    Removed,
}

impl ConfigurationKind {
    /// Name in the API, on the stream, and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Rule => "rule",
            Self::State => "state",
            Self::Token => "token",
        }
    }
}

impl Change {
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
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

    /// The endpoint that the entry is about; None for a change to anything else.
    pub fn endpoint(&self) -> Option<&str> {
        match &self.what {
            EntryKind::Capture(capture) => Some(capture.endpoint.as_str()),
            EntryKind::Removal(removal) => Some(removal.endpoint.as_str()),
            EntryKind::Configuration(change) => {
                (change.kind == ConfigurationKind::Endpoint).then_some(change.name.as_str())
            }
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
