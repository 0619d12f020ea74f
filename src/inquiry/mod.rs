//! Inquiries about what is kept: the journal is looked through in windows, each a short query, and every capture that
//! is asked about is handed over with as much of its body as is needed to judge it. How many are looked at, and for
//! how long, is bounded; an answer that ends early has a place to go on from.

mod places;
mod scan;
mod turn;

pub use scan::{Found, Judge, Question};
pub use turn::Turn;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::database::{Database, DatabaseError};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// What inquiries may take.
#[derive(Debug, Clone, Copy)]
pub struct InquiryOptions {
    /// Captures that one answer may look at.
    pub scan_max: u64,
    /// How long it may look, and how long it may wait for its turn.
    pub scan_time_max: Duration,
    /// Inquiries that look at a time, and those that wait.
    pub scans_max: usize,
    pub scans_waiting_max: usize,
    /// What is read of a body in parts.
    pub body_bytes_max: usize,
}

/// Looks at what is kept, for a few at a time.
pub struct Inquiries {
    database: Arc<dyn Database>,
    options: InquiryOptions,
    /// For those who look, and for those who do or wait.
    looking: Semaphore,
    admitted: Semaphore,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

/// Why an inquiry is not answered.
#[derive(Debug, thiserror::Error)]
pub enum InquiryError {
    #[error("too many inquiries look at what is kept, and wait to")]
    Busy,
    #[error("the cursor is of another journal")]
    ForeignCursor,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Inquiries {
    pub fn new(
        database: Arc<dyn Database>,
        options: InquiryOptions,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Self {
        let all = options.scans_max.saturating_add(options.scans_waiting_max).min(Semaphore::MAX_PERMITS);
        Self {
            database,
            looking: Semaphore::new(options.scans_max.min(Semaphore::MAX_PERMITS)),
            admitted: Semaphore::new(all),
            options,
            metrics,
            shutdown,
        }
    }
}
