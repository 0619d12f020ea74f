//! Who counts what runs have caught: a few at a time, since that reads as much of the journal as they have caught.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

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

/// Turns to count, of one node.
#[derive(Debug)]
pub struct Counting {
    admitted: Semaphore,
    open: Semaphore,
    closing: Semaphore,
    time_max: Duration,
}

impl Default for Counting {
    fn default() -> Self {
        Self {
            admitted: Semaphore::new(OPEN_MAX),
            open: Semaphore::new(OPEN_AT_ONCE),
            closing: Semaphore::new(CLOSING_AT_ONCE),
            time_max: TIME_MAX,
        }
    }
}

impl Counting {
    /// Counts an open run when its turn comes.
    ///
    /// # Errors
    /// Where that does not come in time, or counting takes too long.
    pub async fn count<T>(&self, asked: impl Future<Output = T>) -> Result<T, Uncounted> {
        let _admitted = self.admitted.try_acquire().map_err(|_| Uncounted::Busy)?;
        let turn = tokio::time::timeout(self.time_max, self.open.acquire()).await;
        let _turn = turn.map_err(|_| Uncounted::Busy)?.map_err(|_| Uncounted::Busy)?;
        tokio::time::timeout(self.time_max, asked).await.map_err(|_| Uncounted::TooMuch)
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
        let counting = Counting { time_max: Duration::from_millis(20), ..Counting::default() };
        assert_eq!(counting.count(ready(1)).await, Ok(1));
        let two = async { tokio::join!(counting.count(pending::<()>()), counting.count(pending::<()>())) };
        assert_eq!(two.await, (Err(Uncounted::TooMuch), Err(Uncounted::TooMuch)));
        let held = counting.open.acquire_many(2).await;
        assert_eq!(counting.count(ready(1)).await, Err(Uncounted::Busy));
        drop(held);
        assert_eq!(counting.count(ready(1)).await, Ok(1), "each gives its turn back");
        let held = counting.admitted.acquire_many(200).await;
        assert_eq!(counting.count(ready(1)).await, Err(Uncounted::Busy));
        drop(held);
    }
}
