//! A node of the cluster, as it tells of itself.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a node says of itself every other second. It is kept as JSON: what is added later has a default, since nodes
/// of two versions read each other's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeState {
    pub version: String,
    /// Addresses and ports that it listens on; the same, unless the API has its own.
    pub listen: String,
    pub api_listen: String,
    /// It is on its way out.
    pub draining: bool,
    pub database_up: bool,
    pub broker_up: bool,
    pub subscribers: u64,
    pub capture_sockets: u64,
}

/// A node and when it was heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: Uuid,
    /// When it started, by its own clock, in microseconds.
    pub since_us: i64,
    /// When it last wrote, by the database's clock.
    pub seen_us: i64,
    pub state: NodeState,
}
