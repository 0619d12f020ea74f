//! Who opens runs and who counts what they have caught: a few at a time. A document that opens one takes many times its
//! size when it is read, and counting reads as much of the journal as was caught.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Runs that a node opens at a time; others wait.
const OPENED_AT_ONCE: usize = 8;

/// Open runs that are counted at a time on a node, and those that are or wait to be.
const OPEN_AT_ONCE: usize = 2;
const OPEN_MAX: usize = 200;

/// Runs that are counted at a time because they are closed. They wait as long as it takes: it is done once for each.
const CLOSING_AT_ONCE: usize = 3;

/// How long an open run may be counted, and how long that may wait for its turn.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Why a run is not summed up while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Uncounted {
    #[error("too many runs that are open are being counted")]
    Busy,
    #[error("the run has caught more than can be counted while it is open; close it")]
    TooMuch,
}

/// The turns of one node.
#[derive(Debug)]
pub struct Turns {
    opening: Arc<Semaphore>,
    admitted: Semaphore,
    open: Semaphore,
    closing: Semaphore,
    time_max: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            opening: Arc::new(Semaphore::new(OPENED_AT_ONCE)),
            admitted: Semaphore::new(OPEN_MAX),
            open: Semaphore::new(OPEN_AT_ONCE),
            closing: Semaphore::new(CLOSING_AT_ONCE),
            time_max: TIME_MAX,
        }
    }
}

/// A turn to open a run, which begins before its document is read, and ends with the value.
pub type Opening = OwnedSemaphorePermit;

impl Turns {
    /// Waits for a turn to open a run.
    pub async fn opening(&self) -> Opening {
        self.opening.clone().acquire_owned().await.expect("nobody closes it")
    }

    /// Counts an open run when its turn comes.
    ///
    /// # Errors
    /// Where that does not come in time, or counting takes too long.
    pub async fn count<T>(&self, counting: impl Future<Output = T>) -> Result<T, Uncounted> {
        let _admitted = self.admitted.try_acquire().map_err(|_| Uncounted::Busy)?;
        let turn = tokio::time::timeout(self.time_max, self.open.acquire()).await;
        let _turn = turn.map_err(|_| Uncounted::Busy)?.map_err(|_| Uncounted::Busy)?;
        tokio::time::timeout(self.time_max, counting).await.map_err(|_| Uncounted::TooMuch)
    }

    /// The turn to count a run that is being closed. It ends with the value.
    pub async fn closing(&self) -> Option<SemaphorePermit<'_>> {
        self.closing.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn few_are_counted_at_a_time_and_none_for_long() {
        let turns = Turns { time_max: Duration::from_millis(20), ..Turns::default() };
        assert_eq!(turns.count(ready(1)).await, Ok(1));
        let two = async { tokio::join!(turns.count(pending::<()>()), turns.count(pending::<()>())) };
        assert_eq!(two.await, (Err(Uncounted::TooMuch), Err(Uncounted::TooMuch)));
        let held = turns.open.acquire_many(2).await;
        assert_eq!(turns.count(ready(1)).await, Err(Uncounted::Busy));
        drop(held);
        assert_eq!(turns.count(ready(1)).await, Ok(1), "each gives its turn back");
        let held = turns.admitted.acquire_many(200).await;
        assert_eq!(turns.count(ready(1)).await, Err(Uncounted::Busy));
        drop(held);
    }
}
