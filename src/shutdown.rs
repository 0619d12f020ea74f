//! How a node stops: tokens that tell the stages, and one place that waits for every task.

use std::future::Future;

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Shared by everything that runs in a node. Cheap to clone. The stages, each after the one before:
/// announced (not ready, all is served still), draining (sockets are closed), hurried (what is still being
/// received ends as far as it came), stopped (tasks end).
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    announced: CancellationToken,
    draining: CancellationToken,
    hurried: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
    held: TaskTracker,
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

    /// There is no more time to wait for senders.
    pub fn hurry(&self) {
        self.drain();
        self.hurried.cancel();
    }

    /// Background work ends, once it has written what it holds.
    pub fn stop(&self) {
        self.hurry();
        self.stopping.cancel();
    }

    /// Whether the node is on its way out.
    pub fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    pub fn is_hurried(&self) -> bool {
        self.hurried.is_cancelled()
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

    /// A bare future, since every request that is being received has room for it.
    pub fn hurried(&self) -> WaitForCancellationFuture<'_> {
        self.hurried.cancelled()
    }

    pub async fn stopped(&self) {
        self.stopping.cancelled().await;
    }

    /// Starts a task that [`Self::finish`] waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(task));
    }

    /// Starts a thread of its own, that [`Self::finish`] waits for.
    ///
    /// # Errors
    /// Where the system has no room for a further thread.
    pub fn spawn_thread(&self, name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let running = self.tasks.token();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            work();
            drop(running);
        });
        thread.map(drop)
    }

    /// Held by what is to be queued still, so that the queue is not closed before.
    pub fn hold(&self) -> TaskTrackerToken {
        self.held.token()
    }

    /// Waits until nothing is held any more.
    pub async fn released(&self) {
        self.held.close();
        self.held.wait().await;
    }

    /// Waits for all tasks.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
