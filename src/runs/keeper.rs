//! Looks after runs, one node at a time: those whose time is over are closed, and closed ones are forgotten later.
//!
//! What must not wait for others comes first: of all runs that are due the tokens are revoked, then their rules are
//! removed, and captures last, each run's for a moment at each look, so that no large one holds up the others.

use std::collections::HashMap;
use std::future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};

use super::Runs;
use crate::database::DatabaseError;
use crate::model::run::RunState;
use crate::model::{EndpointCode, Run};
use crate::shutdown::Shutdown;
use crate::storage;

/// How often it is looked whether a run is over, and how soon again where captures are left to remove.
const PAUSE: Duration = Duration::from_secs(1);
const STEP_PAUSE: Duration = Duration::from_millis(10);

/// How long a node that is gone keeps others from looking, and how often a look that takes long renews that.
const LEASE: Duration = Duration::from_secs(5);
const RENEWAL: Duration = Duration::from_secs(1);

/// A closing that takes longer than this is joined: whoever began it may be gone.
const STALLED: Duration = Duration::from_secs(5);

/// Runs that are closed, and forgotten, in one look.
const STEP: u32 = 50;

/// Runs of which a step is done at a time.
const AT_ONCE: usize = 3;

/// How long one run's captures are removed in one look.
const SLICE: Duration = Duration::from_millis(250);

/// How far captures of runs are removed that are not closed yet, by the run's id.
type Cleared = Mutex<HashMap<String, EndpointCode>>;

/// What is done for every run that is due before the next is done for any.
#[derive(Debug, Clone, Copy)]
enum Step {
    Revoke,
    Settle,
    Clear,
}

impl Runs {
    /// Closes runs when their time is over, and forgets them later, until the node stops; one node at a time.
    pub async fn keep(self: Arc<Self>, shutdown: Shutdown) {
        let cleared = Cleared::default();
        loop {
            let looked = self.look(&cleared, &shutdown).await;
            if let Err(error) = &looked {
                tracing::debug!(error = error as &dyn std::error::Error, "failed to look after runs");
            }
            let is_more = looked.is_ok() && places(&cleared, |places| !places.is_empty());
            let pause = if is_more { STEP_PAUSE } else { PAUSE };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.stopped() => return,
            }
        }
    }

    async fn look(&self, cleared: &Cleared, shutdown: &Shutdown) -> Result<(), DatabaseError> {
        self.metrics.runs_open.set(storage::runs::count_open(self.database.as_ref()).await?);
        if !self.claim().await? {
            places(cleared, HashMap::clear);
            return Ok(());
        }
        tokio::select! {
            looked = self.work(cleared, shutdown) => looked,
            () = self.lost() => Ok(()),
        }
    }

    async fn claim(&self) -> Result<bool, DatabaseError> {
        let (now_us, holder) = (self.clock.now_us(), self.node.to_string());
        storage::leases::claim(self.database.as_ref(), "runs", &holder, now_us, now_us + us(LEASE)).await
    }

    /// Renews the lease, until another node has it.
    async fn lost(&self) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if matches!(self.claim().await, Ok(false)) {
                return;
            }
        }
    }

    async fn work(&self, cleared: &Cleared, shutdown: &Shutdown) -> Result<(), DatabaseError> {
        let mut closing = self.begun(cleared).await?;
        places(cleared, |places| places.retain(|id, _| closing.iter().any(|run| run.id == *id)));
        for step in [Step::Revoke, Step::Settle, Step::Clear] {
            if shutdown.is_stopped() {
                return Ok(());
            }
            let steps = stream::iter(closing).map(|run| self.step(step, run, cleared));
            closing = steps.buffer_unordered(AT_ONCE).filter_map(future::ready).collect().await;
        }
        let before_us = self.clock.now_us().saturating_sub(us(self.options.kept));
        for run in storage::runs::closed_before(self.database.as_ref(), before_us, STEP).await? {
            if let Err(error) = self.forget(&run).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, run = run.id, "failed to forget a run; it is tried again");
            }
        }
        Ok(())
    }

    /// The runs that are to be closed, each with those that were opened within it, the innermost first; of all of them
    /// closing has begun.
    async fn begun(&self, cleared: &Cleared) -> Result<Vec<Run>, DatabaseError> {
        let (database, now_us) = (self.database.as_ref(), self.clock.now_us());
        let mut due = storage::runs::due(database, now_us, now_us - us(STALLED), STEP).await?;
        for id in places(cleared, |places| places.keys().cloned().collect::<Vec<_>>()) {
            if !due.iter().any(|run| run.id == id) {
                let found = storage::runs::find(database, &id).await?;
                due.extend(found.filter(|run| run.state == RunState::Closing));
            }
        }
        let mut closing = Vec::<Run>::new();
        for run in due {
            storage::runs::begin_closing(database, &run, None, now_us).await?;
            for run in storage::runs::closing(database, &run.prefix).await? {
                if !closing.iter().any(|known| known.id == run.id) {
                    closing.push(run);
                }
            }
        }
        Ok(closing)
    }

    /// Does a step of one run's closing. None where it failed: it is tried again at the next look.
    async fn step(&self, step: Step, run: Run, cleared: &Cleared) -> Option<Run> {
        let done = match step {
            Step::Revoke => self.revoke(&run, None).await,
            Step::Settle => self.settle(&run, None).await,
            Step::Clear => self.clear_some(&run, cleared).await,
        };
        if let Err(error) = &done {
            places(cleared, |places| places.remove(&run.id));
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, run = run.id, "failed to close a run; it is tried again");
        }
        done.ok().map(|()| run)
    }

    async fn clear_some(&self, run: &Run, cleared: &Cleared) -> Result<(), DatabaseError> {
        let behind = places(cleared, |places| places.get(&run.id).cloned());
        let last = self.clear(run, None, behind, Some(Instant::now() + SLICE)).await?;
        places(cleared, |places| match last {
            Some(last) => places.insert(run.id.clone(), last),
            None => places.remove(&run.id),
        });
        Ok(())
    }
}

fn places<T>(cleared: &Cleared, with: impl FnOnce(&mut HashMap<String, EndpointCode>) -> T) -> T {
    with(&mut cleared.lock().unwrap_or_else(PoisonError::into_inner))
}

fn us(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
