//! Presence: a node writes every other second that it is there and how it is, so that every node can tell of all.
//! Nothing is decided by it: who does what only one may do goes by a lease.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::database::Database;
use crate::model::NodeState;
use crate::shutdown::Shutdown;
use crate::storage;

const PAUSE: Duration = Duration::from_secs(2);

/// How long a node that stops waits for its row to be gone; others then see it age.
const FAREWELL: Duration = Duration::from_secs(1);

pub struct Presence {
    pub database: Arc<dyn Database>,
    pub node: Uuid,
    /// When the node started, in microseconds.
    pub since_us: i64,
    /// How the node is now.
    pub state: Box<dyn Fn() -> NodeState + Send + Sync>,
    pub shutdown: Shutdown,
}

impl Presence {
    /// Tells of the node until it stops.
    pub async fn run(self) {
        let mut draining = false;
        loop {
            let state = (self.state)();
            tokio::select! {
                told = storage::nodes::record(self.database.as_ref(), self.node, self.since_us, &state) => {
                    if let Err(error) = told {
                        tracing::debug!(error = &error as &dyn std::error::Error, "failed to tell of this node");
                    }
                }
                () = self.shutdown.stopped() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                // Told at once, so that nobody wonders why the node takes no streams.
                () = self.shutdown.announced(), if !draining => draining = true,
                () = self.shutdown.stopped() => break,
            }
        }
        self.take_leave().await;
    }

    async fn take_leave(&self) {
        let leaving = storage::nodes::remove(self.database.as_ref(), self.node);
        match tokio::time::timeout(FAREWELL, leaving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "failed to remove this node's row");
            }
            Err(_) => tracing::debug!("this node's row was not removed in time; it ages"),
        }
    }
}
