//! What keeps the journal tidy: totals are folded, retention trims, what was removed is purged, parts
//! that belong to nothing are swept. One node at a time does it, in small steps, off the captures' way.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Clock;
use crate::database::{Database, DatabaseError};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::storage;

/// How often totals are folded.
const FOLD_PAUSE: Duration = Duration::from_millis(500);

/// Entries folded in one step.
const FOLD_STEP: i64 = 5_000;

/// How long a node that is gone keeps others from the work.
const LEASE: Duration = Duration::from_secs(15);

/// Parts without an entry are swept when they are this old, so that none is on its way still.
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
}

pub struct Upkeep {
    pub database: Arc<dyn Database>,
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
        loop {
            tokio::select! {
                () = tokio::time::sleep(FOLD_PAUSE) => {}
                () = self.shutdown.stopped() => return,
            }
            since_retention += FOLD_PAUSE;
            let due = since_retention >= self.options.interval;
            if due {
                since_retention = Duration::ZERO;
            }
            if let Err(error) = self.step(due).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "upkeep failed; it is tried again");
            }
        }
    }

    async fn step(&self, retention_is_due: bool) -> Result<(), DatabaseError> {
        let now_us = self.clock.now_us();
        let until_us = now_us + i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX);
        let holder = self.node.to_string();
        if !storage::leases::claim(self.database.as_ref(), "upkeep", &holder, now_us, until_us).await? {
            return Ok(());
        }
        self.fold().await?;
        if retention_is_due {
            self.trim().await?;
            self.purge().await?;
            self.sweep().await?;
        }
        Ok(())
    }

    async fn fold(&self) -> Result<(), DatabaseError> {
        let head = storage::journal::head(self.database.as_ref()).await?.seq;
        let mut folded = storage::totals::folded(self.database.as_ref()).await?;
        while folded < head && !self.shutdown.is_stopped() {
            folded = (folded + FOLD_STEP).min(head);
            storage::totals::fold(self.database.as_ref(), folded).await?;
        }
        Ok(())
    }

    /// Raises the floors under what is too old or too much.
    pub async fn trim(&self) -> Result<(), DatabaseError> {
        let UpkeepOptions { age_s_max, captures_per_endpoint_max, bytes_max, step_captures, .. } =
            self.options;
        let database = self.database.as_ref();
        let mut more = true;
        while more && !self.shutdown.is_stopped() {
            let mut floors = Vec::new();
            if age_s_max > 0 {
                let age_us = i64::try_from(age_s_max.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
                let before_us = self.clock.now_us().saturating_sub(age_us);
                floors.extend(storage::retention::past_age(database, before_us, step_captures).await?);
            }
            if captures_per_endpoint_max > 0 {
                let step = storage::retention::past_count(database, captures_per_endpoint_max, step_captures);
                floors.extend(step.await?);
            }
            if bytes_max > 0 {
                let kept = storage::totals::sums(database).await?.bytes;
                if u64::try_from(kept).unwrap_or_default() > bytes_max {
                    // A few at a time, so that no more goes than must.
                    floors.extend(storage::retention::oldest(database, step_captures.min(50)).await?);
                }
            }
            more = !floors.is_empty();
            if more {
                storage::retention::raise(database, &floors).await?;
                tokio::time::sleep(STEP_PAUSE).await;
            }
        }
        if age_s_max > 0 {
            let age_us = i64::try_from(age_s_max.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
            let before_us = self.clock.now_us().saturating_sub(age_us);
            storage::retention::purge_notices(database, before_us, step_captures).await?;
        }
        Ok(())
    }

    /// Deletes what lies under the floors.
    pub async fn purge(&self) -> Result<(), DatabaseError> {
        let step = self.options.step_captures;
        for floor in storage::retention::unpurged(self.database.as_ref()).await? {
            loop {
                let gone = storage::retention::purge(self.database.as_ref(), &floor, step).await?;
                self.metrics.trimmed.inc_by(gone);
                if gone < u64::from(step) || self.shutdown.is_stopped() {
                    break;
                }
                tokio::time::sleep(STEP_PAUSE).await;
            }
        }
        Ok(())
    }

    /// Removes old parts of bodies whose entry never came.
    async fn sweep(&self) -> Result<(), DatabaseError> {
        let until_us = self.clock.now_us() - ORPHAN_AGE_US;
        let from_us = storage::bodies::swept(self.database.as_ref()).await?;
        if from_us < until_us {
            let swept = storage::bodies::sweep(self.database.as_ref(), from_us, until_us).await?;
            self.metrics.orphans_swept.inc_by(swept);
        }
        Ok(())
    }
}
