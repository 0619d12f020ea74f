//! How a node stops: tokens that tell the stages, and one place that waits for every task.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Shared by everything that runs in a node. Cheap to clone. The stages, each after the one before:
/// announced (not ready, all is served still), draining (sockets are closed), stopped (tasks end).
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    announced: CancellationToken,
    draining: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// The node is on its way out: not ready, still serving, so that a load balancer takes it out.
    pub fn announce(&self) {
        self.announced.cancel();
    }

    /// Long-lived connections end.
    pub fn drain(&self) {
        self.announced.cancel();
        self.draining.cancel();
    }

    /// Background work ends, once it has written what it holds.
    pub fn stop(&self) {
        self.drain();
        self.stopping.cancel();
    }

    /// Whether the node is on its way out.
    pub fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    pub fn is_stopped(&self) -> bool {
        self.stopping.is_cancelled()
    }

    pub async fn announced(&self) {
        self.announced.cancelled().await;
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

    /// Waits for all tasks.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
