//! The configuration as this node knows it: a version, and what was true at it.
//!
//! It may be behind, and that does no harm: a batch commits only under the version that it was matched
//! with, and a refusal is confirmed by a read that began after the request came.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use crate::database::{Database, DatabaseError};
use crate::model::EndpointCode;
use crate::storage;

/// Endpoints that may be declared; more are not read.
const DECLARED_MAX: u32 = 100_000;

/// One version of the configuration.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub config_seq: i64,
    /// Whether endpoints that were not declared catch requests too.
    auto_create: bool,
    declared: HashSet<EndpointCode>,
}

impl Snapshot {
    /// Whether requests to an endpoint are taken.
    pub fn admits(&self, code: &EndpointCode) -> bool {
        self.auto_create || self.declared.contains(code)
    }
}

pub struct Configuration {
    database: Arc<dyn Database>,
    current: RwLock<Arc<Snapshot>>,
    /// One load at a time serves all that wait for it.
    loading: tokio::sync::Mutex<()>,
}

impl Configuration {
    /// An empty configuration; the first batch finds out.
    pub fn new(database: Arc<dyn Database>, auto_create: bool) -> Self {
        let empty = Snapshot { auto_create, ..Snapshot::default() };
        Self { database, current: RwLock::new(Arc::new(empty)), loading: tokio::sync::Mutex::default() }
    }

    pub fn current(&self) -> Arc<Snapshot> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes sure that the configuration is at least as new as this call, and returns it.
    pub async fn refresh(&self) -> Result<Arc<Snapshot>, DatabaseError> {
        let _alone = self.loading.lock().await;
        loop {
            let head = storage::journal::head(self.database.as_ref()).await?;
            let known = self.current();
            if head.config_seq == known.config_seq {
                return Ok(known);
            }
            let declared = storage::endpoints::list_codes(self.database.as_ref(), DECLARED_MAX).await?;
            // What was read may be newer than the version read before it, never older; where a change
            // came between, read again, so that a version always names what it held.
            if storage::journal::head(self.database.as_ref()).await?.config_seq != head.config_seq {
                continue;
            }
            let snapshot = Arc::new(Snapshot {
                config_seq: head.config_seq,
                auto_create: known.auto_create,
                declared: declared.into_iter().collect(),
            });
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
            return Ok(snapshot);
        }
    }
}
