//! What keeps the journal tidy: totals and rollups are folded, old rollups merged, retention trims, what was removed
//! is purged, parts that belong to nothing are swept. One node at a time does it, in small steps, off the captures' way.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;
use uuid::Uuid;

use crate::clock::Clock;
use crate::database::{Database, DatabaseError};
use crate::metrics::Metrics;
use crate::model::report::Span;
use crate::shutdown::Shutdown;
use crate::storage;
use crate::storage::retention::Floor;
use crate::tally::Tallies;

/// How often totals are folded.
const FOLD_PAUSE: Duration = Duration::from_millis(500);

/// Entries folded in one step.
const FOLD_STEP: i64 = 5_000;

/// How long a node that is gone keeps others from the work.
const LEASE: Duration = Duration::from_secs(15);

/// Parts without an entry are swept when they are this old, so that none is on its way still; and removed
/// configuration is forgotten, which nodes have to read anew if they have not read it by then.
const ORPHAN_AGE_US: i64 = 3_600_000_000;

/// Pause between two steps of retention.
const STEP_PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, Clone)]
pub struct UpkeepOptions {
    /// 0: no limit, as for the others.
    pub age_s_max: u64,
    pub captures_per_endpoint_max: u64,
    pub bytes_max: u64,
    pub interval: Duration,
    pub step_captures: u32,
    /// None: nothing is counted for reports.
    pub rollups: Option<RollupOptions>,
}

/// How long reports know minutes and hours, and how much of each.
#[derive(Debug, Clone)]
pub struct RollupOptions {
    pub rows_per_minute_max: u32,
    pub minutes_age: Duration,
    pub hours_age: Duration,
    /// 0: never forgotten.
    pub age: Duration,
}

pub struct Upkeep {
    pub database: Arc<dyn Database>,
    /// What the feed has counted since the journal was folded last.
    pub tallies: Arc<Tallies>,
    pub options: UpkeepOptions,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    /// Who holds the lease.
    pub node: Uuid,
    pub shutdown: Shutdown,
}

impl Upkeep {
    /// Works until the node stops.
    pub async fn run(self) {
        let mut since_retention = self.options.interval;
        let mut head_seen = 0;
        loop {
            let due = since_retention >= self.options.interval;
            if due {
                since_retention = Duration::ZERO;
            }
            let more = self.step(due, &mut head_seen).await.unwrap_or_else(|error| {
                tracing::debug!(error = &error as &dyn std::error::Error, "upkeep failed; it is tried again");
                false
            });
            // Where much is to go, step follows step, and each folds too and renews the lease.
            let pause = if more { STEP_PAUSE } else { FOLD_PAUSE };
            since_retention = if more { self.options.interval } else { since_retention + FOLD_PAUSE };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.stopped() => return,
            }
        }
    }

    /// One step; whether retention has more to do at once. `head_seen` is where the head was at the step before.
    async fn step(&self, retention_is_due: bool, head_seen: &mut i64) -> Result<bool, DatabaseError> {
        let now_us = self.clock.now_us();
        let until_us = now_us + i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX);
        let holder = self.node.to_string();
        if !storage::leases::claim(self.database.as_ref(), "upkeep", &holder, now_us, until_us).await? {
            return Ok(false);
        }
        self.fold(head_seen).await?;
        if !retention_is_due {
            return Ok(false);
        }
        self.retain().await
    }

    /// One step of retention; whether there is more to do at once.
    #[tracing::instrument(level = "debug", skip_all)]
    async fn retain(&self) -> Result<bool, DatabaseError> {
        let more = self.trim().await? | self.purge().await? | self.merge().await?;
        if !more {
            self.sweep().await?;
        }
        Ok(more)
    }

    async fn fold(&self, head_seen: &mut i64) -> Result<(), DatabaseError> {
        let head = storage::journal::head(self.database.as_ref()).await?.seq;
        let folded = storage::totals::folded(self.database.as_ref()).await?;
        let due = std::mem::replace(head_seen, head);
        if !self.fold_tally(folded, due).await? {
            self.fold_journal(folded, head).await?;
            self.tallies.begin(head);
        }
        Ok(())
    }

    /// Folds what the feed has counted; whether it has, as far as is due.
    async fn fold_tally(&self, folded: i64, due: i64) -> Result<bool, DatabaseError> {
        let Some(tallied) = self.tallies.take(folded).filter(|tallied| tallied.upto >= due) else {
            return Ok(false);
        };
        if tallied.upto == folded {
            return Ok(true);
        }
        let rows_max = self.options.rollups.as_ref().map(|rollups| rollups.rows_per_minute_max);
        let span = tracing::debug_span!("fold", entries = tallied.upto - folded, counted = true);
        let fold = storage::rollups::fold_tally(self.database.as_ref(), folded, &tallied, rows_max);
        match fold.instrument(span).await {
            Err(error @ (DatabaseError::Unavailable(_) | DatabaseError::Full(_))) => Err(error),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "failed to fold what was counted; the journal is read instead"
                );
                Ok(false)
            }
            done => done,
        }
    }

    async fn fold_journal(&self, mut folded: i64, head: i64) -> Result<(), DatabaseError> {
        while folded < head && !self.shutdown.is_stopped() {
            let upto = (folded + FOLD_STEP).min(head);
            let span = tracing::debug_span!("fold", entries = upto - folded);
            self.fold_upto(upto).instrument(span).await?;
            folded = upto;
        }
        Ok(())
    }

    /// Totals must go on whatever becomes of reports: retention waits for them.
    async fn fold_upto(&self, upto: i64) -> Result<(), DatabaseError> {
        let database = self.database.as_ref();
        let Some(rollups) = &self.options.rollups else { return storage::totals::fold(database, upto).await };
        match storage::rollups::fold(database, upto, rollups.rows_per_minute_max).await {
            Ok(()) => Ok(()),
            Err(error @ (DatabaseError::Unavailable(_) | DatabaseError::Full(_))) => Err(error),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    upto,
                    "failed to count for reports; some captures are in none"
                );
                storage::totals::fold(database, upto).await
            }
        }
    }

    /// Merges an old minute into its hour and an old hour into its day, and forgets what is too old for reports;
    /// whether there was any.
    async fn merge(&self) -> Result<bool, DatabaseError> {
        let Some(rollups) = &self.options.rollups else { return Ok(false) };
        let database = self.database.as_ref();
        let before_us = |age: Duration| {
            self.clock.now_us().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
        };
        let rows_max = rollups.rows_per_minute_max;
        let mut more =
            storage::rollups::merge(database, Span::Hour, before_us(rollups.minutes_age), rows_max).await?;
        more |= storage::rollups::merge(database, Span::Day, before_us(rollups.hours_age), rows_max).await?;
        if !rollups.age.is_zero() {
            more |= storage::rollups::forget(database, before_us(rollups.age)).await?;
        }
        Ok(more)
    }

    /// Raises the floors under some of what is too old or too much; whether there was any.
    async fn trim(&self) -> Result<bool, DatabaseError> {
        let UpkeepOptions { age_s_max, captures_per_endpoint_max, bytes_max, step_captures, .. } =
            self.options;
        let database = self.database.as_ref();
        let mut floors = Vec::new();
        if age_s_max > 0 {
            let before_us = self.before_us(age_s_max);
            floors.extend(storage::retention::past_age(database, before_us, step_captures).await?);
            storage::retention::purge_notices(database, before_us, step_captures).await?;
        }
        if captures_per_endpoint_max > 0 {
            let step = storage::retention::past_count(database, captures_per_endpoint_max, step_captures);
            floors.extend(step.await?);
        }
        for own in storage::retention::own(database).await? {
            floors.extend(self.past_own(&own).await?);
        }
        if bytes_max > 0 {
            let kept = storage::totals::bytes(database).await?;
            let excess = kept.saturating_sub(bytes_max);
            if excess > 0 {
                floors.extend(storage::retention::oldest(database, excess, step_captures).await?);
            }
        }
        if !floors.is_empty() {
            storage::retention::raise(database, &floors).await?;
        }
        Ok(!floors.is_empty())
    }

    /// The floors of an endpoint that says itself how long it keeps.
    async fn past_own(&self, own: &storage::retention::Own) -> Result<Vec<Floor>, DatabaseError> {
        let (database, step) = (self.database.as_ref(), self.options.step_captures);
        let mut floors = Vec::new();
        if let Some(age_s_max) = own.age_s_max.filter(|age| *age > 0) {
            let before_us = self.before_us(age_s_max);
            floors.extend(storage::retention::past_own_age(database, &own.endpoint, before_us, step).await?);
        }
        if let Some(captures_max) = own.captures_max.filter(|captures| *captures > 0) {
            let past = storage::retention::past_own_count(database, &own.endpoint, captures_max, step);
            floors.extend(past.await?);
        }
        Ok(floors)
    }

    /// The instant that is so many seconds ago, in microseconds.
    fn before_us(&self, age_s: u64) -> i64 {
        let age_us = i64::try_from(age_s.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        self.clock.now_us().saturating_sub(age_us)
    }

    /// Deletes some of what lies under the floors; whether there is more.
    async fn purge(&self) -> Result<bool, DatabaseError> {
        let step = self.options.step_captures;
        let floors = storage::retention::unpurged(self.database.as_ref()).await?;
        let mut more = false;
        for floor in &floors {
            let gone = storage::retention::purge(self.database.as_ref(), floor, step).await?;
            self.metrics.trimmed.inc_by(gone);
            more |= gone == u64::from(step);
        }
        Ok(more)
    }

    /// Removes what belongs to no entry: old parts of bodies, and answers to what was removed meanwhile.
    async fn sweep(&self) -> Result<(), DatabaseError> {
        let until_us = self.clock.now_us() - ORPHAN_AGE_US;
        let swept = storage::bodies::sweep(self.database.as_ref(), until_us).await?;
        self.metrics.orphans_swept.inc_by(swept);
        storage::answers::sweep(self.database.as_ref()).await?;
        storage::states::sweep(self.database.as_ref()).await?;
        storage::configuration::forget(self.database.as_ref(), until_us).await
    }
}
