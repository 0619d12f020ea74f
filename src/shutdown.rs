//! How a node stops: tokens that tell the stages, and one place that waits for every task.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Shared by everything that runs in a node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// The node is on its way out: not ready, still serving.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Background work ends now.
    pub fn stop(&self) {
        self.draining.cancel();
        self.stopping.cancel();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    pub fn is_stopped(&self) -> bool {
        self.stopping.is_cancelled()
    }

    pub async fn drained(&self) {
        self.draining.cancelled().await;
    }

    pub async fn stopped(&self) {
        self.stopping.cancelled().await;
    }

    /// Starts a task that [`Self::finish`] waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(task));
    }

    /// Waits for all tasks, up to a limit; whether they ended in time.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }
}
