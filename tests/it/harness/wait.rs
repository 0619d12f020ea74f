//! Waiting for what is about to be true, with a deadline.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks again and again until the answer is yes.
///
/// # Panics
/// At the deadline, naming what was waited for.
pub async fn eventually<F>(limit: Duration, what: &str, mut holds: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    eventually_some(limit, what, || {
        let answer = holds();
        async { answer.await.then_some(()) }
    })
    .await;
}

/// Asks again and again until there is a value.
///
/// # Panics
/// At the deadline, naming what was waited for.
pub async fn eventually_some<T, F>(limit: Duration, what: &str, mut find: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        // One that hangs is cut off at the deadline, too.
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, find()).await {
            Ok(Some(value)) => return value,
            Ok(None) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            _ => panic!("not within {limit:?}: {what}"),
        }
    }
}
