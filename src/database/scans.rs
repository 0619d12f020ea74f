//! Turns of those who look at much of what is kept, which takes as long as a statement may. They leave connections to
//! what cannot wait: parts of bodies, the journal's head, configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::DatabaseError;

pub struct Scans {
    turns: Arc<Semaphore>,
    patience: Duration,
}

impl Scans {
    /// Turns for half of a pool.
    pub fn of_pool(connections_max: usize, patience: Duration) -> Self {
        let turns = (connections_max / 2).clamp(1, Semaphore::MAX_PERMITS);
        Self { turns: Arc::new(Semaphore::new(turns)), patience }
    }

    /// A turn, which ends with the value.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit, DatabaseError> {
        let turn = tokio::time::timeout(self.patience, self.turns.clone().acquire_owned()).await;
        turn.map_err(|_| DatabaseError::Busy)?.map_err(|error| DatabaseError::Unavailable(error.into()))
    }
}
