//! Staying connected: the loop that all remote connections live in, its pauses, and the state that they
//! add up to. It must never give up, hurry, or say that the same thing is away twice.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::BrokerState;

/// The pause after a first failure, before jitter; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause, before jitter.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A connection that lived this long was a good one: the pauses begin anew.
const STEADY: Duration = Duration::from_secs(5);

/// Why a connection failed.
pub(super) type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A cause that no library has an error for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Fault(pub(super) String);

/// A [`Cause`] made of a few words.
pub(super) fn fault(words: impl Into<String>) -> Cause {
    Arc::new(Fault(words.into()))
}

/// A connection that is to be kept up.
#[async_trait::async_trait]
pub(super) trait Line: Send + Sync {
    /// Connects, says so, and lives until the connection is lost (`Err`) or `stop` is cancelled (`Ok`).
    /// By then all that it opened is closed.
    async fn live(&self, stop: &CancellationToken) -> Result<(), Cause>;

    /// The connection is lost, or could not be made. Tells how long it had been up.
    fn away(&self, cause: &Cause) -> Option<Duration>;
}

/// Keeps the line up until `stop` is cancelled.
pub(super) async fn keep_up(line: impl Line, stop: CancellationToken) {
    let mut failures = 0;
    while let Err(cause) = line.live(&stop).await {
        if stop.is_cancelled() {
            break;
        }
        if line.away(&cause).is_some_and(|up| up >= STEADY) {
            failures = 0;
        }
        let pause = pause(failures, rand::random());
        failures += 1;
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(pause) => {}
        }
    }
}

/// Between half of the pause and all of it; `jitter` is from 0 to 1.
fn pause(failures: u32, jitter: f64) -> Duration {
    let full = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(failures)).min(PAUSE_MAX);
    full.mul_f64(0.5 + jitter / 2.0)
}

/// What all lines of a broker add up to: connected when none of them is away.
#[derive(Debug)]
pub(super) struct Standing {
    count: Mutex<Count>,
    state: watch::Sender<BrokerState>,
}

#[derive(Debug, Default)]
struct Count {
    away: usize,
    closed: bool,
}

impl Standing {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { count: Mutex::default(), state: watch::Sender::new(BrokerState::Connected) })
    }

    pub(super) fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.subscribe()
    }

    /// From now on away.
    pub(super) fn close(&self) {
        self.change(|count| count.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Count)) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut count);
        let away = count.closed || count.away > 0;
        let state = if away { BrokerState::Away } else { BrokerState::Connected };
        self.state.send_if_modified(|old| std::mem::replace(old, state) != state);
    }
}

/// One line's share in the standing: away until it says otherwise. Dropping it takes it out.
#[derive(Debug)]
pub(super) struct Share {
    standing: Arc<Standing>,
    /// For the log: what is up or away.
    what: String,
    was: Mutex<Was>,
}

#[derive(Debug, Clone, Copy)]
enum Was {
    New,
    Up(Instant),
    Away,
}

impl Share {
    pub(super) fn new(standing: &Arc<Standing>, what: String) -> Self {
        standing.change(|count| count.away += 1);
        Self { standing: standing.clone(), what, was: Mutex::new(Was::New) }
    }

    pub(super) fn up(&self) {
        let mut was = self.was();
        if !matches!(*was, Was::Up(_)) {
            *was = Was::Up(Instant::now());
            self.standing.change(|count| count.away -= 1);
            tracing::info!(broker = self.what, "the broker is connected");
        }
    }

    /// Tells how long it had been up.
    pub(super) fn away(&self, cause: &Cause) -> Option<Duration> {
        let cause: &(dyn std::error::Error + 'static) = &**cause;
        let mut was = self.was();
        match std::mem::replace(&mut *was, Was::Away) {
            Was::Up(since) => {
                self.standing.change(|count| count.away += 1);
                tracing::warn!(broker = self.what, error = cause, "the broker is away, reconnecting");
                return Some(since.elapsed());
            }
            Was::New => {
                tracing::warn!(broker = self.what, error = cause, "the broker cannot be reached, trying on");
            }
            Was::Away => tracing::debug!(broker = self.what, error = cause, "the broker is still away"),
        }
        None
    }

    fn was(&self) -> MutexGuard<'_, Was> {
        self.was.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !matches!(*self.was(), Was::Up(_)) {
            self.standing.change(|count| count.away -= 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_cap_and_are_jittered() {
        assert_eq!(pause(0, 1.0), PAUSE_MIN);
        assert_eq!(pause(0, 0.0), PAUSE_MIN / 2);
        assert_eq!(pause(3, 1.0), PAUSE_MIN * 8);
        assert_eq!(pause(u32::MAX, 1.0), PAUSE_MAX);
        assert_eq!(pause(40, 0.0), PAUSE_MAX / 2);
    }

    #[test]
    fn a_broker_is_connected_when_no_line_is_away() {
        let standing = Standing::new();
        let state = standing.state();
        let (one, two) = (Share::new(&standing, "1".into()), Share::new(&standing, "2".into()));
        assert_eq!(*state.borrow(), BrokerState::Away);
        one.up();
        one.up();
        assert_eq!(*state.borrow(), BrokerState::Away);
        two.up();
        assert_eq!(*state.borrow(), BrokerState::Connected);
        assert!(one.away(&fault("cut")).is_some());
        assert!(one.away(&fault("refused")).is_none());
        assert_eq!(*state.borrow(), BrokerState::Away);
        drop(one);
        assert_eq!(*state.borrow(), BrokerState::Connected);
        standing.close();
        assert_eq!(*state.borrow(), BrokerState::Away);
    }
}
