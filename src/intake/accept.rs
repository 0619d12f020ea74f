//! Whether a request is taken: the one function with the control flow.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::answers::AnswerLog;
use super::budget::Budget;
use super::configuration::{Configuration, Snapshot};
use super::journal::{Accepted, Journal};
use super::judging::{self, Ask, Case};
use super::verdict;
use crate::clock::Clock;
use crate::database::{Database, DatabaseError};
use crate::metrics::{Metrics, Outcome};
use crate::model::{Capture, EndpointCode};
use crate::shutdown::Shutdown;
use crate::sites::Sites;
use crate::storage;

/// Why a request is not kept. Each is counted by whoever answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such endpoint")]
    UnknownEndpoint,
    #[error("no further endpoint may be made")]
    TooManyEndpoints,
    #[error("what may be kept in all is kept")]
    StorageFull,
    #[error("this address sends too much")]
    RateLimited,
    #[error("too many bodies are being received")]
    BodiesFull,
    #[error("too many captures wait to be written")]
    QueueFull,
    #[error("the database is away")]
    DatabaseAway,
    #[error("the database did not confirm in time; the request may have been kept")]
    DeadlinePassed,
    #[error("the database refused the request's data")]
    DataRefused,
    /// `basic` where the endpoint asks for it by that scheme (RFC 7617).
    #[error("this endpoint wants to be told a secret")]
    AccessDenied { basic: bool },
    #[error("this endpoint takes nothing from this address")]
    SourceDenied,
}

impl Refusal {
    pub fn outcome(self) -> Outcome {
        match self {
            Self::UnknownEndpoint => Outcome::UnknownEndpoint,
            Self::TooManyEndpoints => Outcome::TooManyEndpoints,
            Self::StorageFull => Outcome::StorageFull,
            Self::RateLimited => Outcome::RateLimited,
            Self::BodiesFull => Outcome::BodiesFull,
            Self::QueueFull => Outcome::QueueFull,
            Self::DatabaseAway => Outcome::DatabaseAway,
            Self::DeadlinePassed => Outcome::DeadlinePassed,
            Self::DataRefused => Outcome::DataRefused,
            Self::AccessDenied { .. } | Self::SourceDenied => Outcome::AccessDenied,
        }
    }
}

/// Limits of a node's intake; 0 means none.
#[derive(Debug, Clone)]
pub struct IntakeOptions {
    pub body_bytes_max: usize,
    pub body_inline_bytes_max: usize,
    pub body_part_bytes: usize,
    pub client_rate_max: u32,
    pub endpoints_max: u64,
    /// What rules and templates see of a body at most.
    pub rules_body_bytes_max: usize,
}

/// Codes that take a place among the endpoints: those that hold captures, and those that were let in so
/// lately that their captures may not be counted yet.
#[derive(Debug, Default)]
struct Known {
    stored: HashSet<EndpointCode>,
    recent: HashSet<EndpointCode>,
    earlier: HashSet<EndpointCode>,
}

impl Known {
    fn contains(&self, code: &EndpointCode) -> bool {
        [&self.stored, &self.recent, &self.earlier].iter().any(|codes| codes.contains(code))
    }

    fn renew(&mut self, stored: HashSet<EndpointCode>) {
        self.earlier = std::mem::take(&mut self.recent);
        self.earlier.retain(|code| !stored.contains(code));
        self.stored = stored;
    }
}

/// Everything that taking a request needs.
pub struct Intake {
    pub(super) database: Arc<dyn Database>,
    pub(super) journal: Journal,
    /// Memory for what is being received.
    pub bodies: Arc<Budget>,
    pub(super) options: IntakeOptions,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: Shutdown,
    pub(super) runtime: tokio::runtime::Handle,
    pub clock: Arc<dyn Clock>,
    pub answers: AnswerLog,
    configuration: Arc<Configuration>,
    rate: Sites,
    /// Codes that take a place; kept only where their number is limited.
    known: RwLock<Known>,
    storage_full: AtomicBool,
}

impl Intake {
    #[expect(clippy::too_many_arguments, reason = "the composition root hands over what was built")]
    pub fn new(
        database: Arc<dyn Database>,
        journal: Journal,
        configuration: Arc<Configuration>,
        answers: AnswerLog,
        bodies: Arc<Budget>,
        options: IntakeOptions,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Self {
        let rate = Sites::per_second(options.client_rate_max);
        Self {
            database,
            journal,
            bodies,
            options,
            metrics,
            shutdown,
            runtime: tokio::runtime::Handle::current(),
            clock,
            answers,
            configuration,
            rate,
            known: RwLock::default(),
            storage_full: AtomicBool::new(false),
        }
    }

    /// Whether captures can be taken now.
    pub fn is_available(&self) -> bool {
        self.journal.is_available()
    }

    /// Decides on the head alone whether a request is taken, before its body is read.
    pub async fn admit(&self, head: &Capture) -> Result<(), Refusal> {
        if self.rate.count(head.client).is_err() {
            return Err(Refusal::RateLimited);
        }
        if self.storage_full.load(Ordering::Relaxed) {
            return Err(Refusal::StorageFull);
        }
        self.admitting(head).await?;
        self.within_endpoints_max(&head.endpoint)
    }

    fn within_endpoints_max(&self, endpoint: &EndpointCode) -> Result<(), Refusal> {
        let Ok(most) = usize::try_from(self.options.endpoints_max) else { return Ok(()) };
        if most == 0 || self.known.read().unwrap_or_else(PoisonError::into_inner).contains(endpoint) {
            return Ok(());
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.stored.len() + known.recent.len() + known.earlier.len() >= most {
            return Err(Refusal::TooManyEndpoints);
        }
        known.recent.insert(endpoint.clone());
        Ok(())
    }

    /// Matches a capture, journals it and waits until it is durable. What rules may see of its body is its own, or `seen`;
    /// `whole` where there is no more that they might.
    pub async fn accept(
        self: &Arc<Self>,
        mut capture: Arc<Capture>,
        ask: Ask,
        seen: Option<Bytes>,
        whole: bool,
    ) -> Result<Accepted, Refusal> {
        let mut case = Case::new(&capture, ask, seen, whole);
        // Admitted once more: the configuration may be another one than at the head.
        let current = self.configuration.current();
        if judging::admit(&current, &capture).is_ok() && !case.lacks_body(&current, &capture) {
            case.judge_at_once(&current, Arc::make_mut(&mut capture));
            return self.journal.append(capture, case).await;
        }
        // Something has to be read first. The capture is the node's from here on, whatever becomes of its sender.
        let (teller, verdict) = verdict::channel();
        let (intake, held) = (self.clone(), self.shutdown.hold());
        let slowly = async move {
            let accepted = intake.accept_slowly(capture, case).await;
            drop(held);
            teller.tell(accepted);
        };
        {
            let _in_runtime = self.runtime.enter();
            self.shutdown.spawn(slowly);
        }
        verdict.await.unwrap_or(Err(Refusal::DatabaseAway))
    }

    async fn accept_slowly(&self, mut capture: Arc<Capture>, mut case: Case) -> Result<Accepted, Refusal> {
        let configuration = self.admitting(&capture).await?;
        let most = self.options.rules_body_bytes_max;
        let judged =
            case.judge(&configuration, Arc::make_mut(&mut capture), self.database.as_ref(), most).await;
        judged.map_err(|_| Refusal::DatabaseAway)?;
        self.journal.append(capture, case).await
    }

    /// A configuration under which a request may come in.
    async fn admitting(&self, head: &Capture) -> Result<Arc<Snapshot>, Refusal> {
        let current = self.configuration.current();
        if judging::admit(&current, head).is_ok() {
            return Ok(current);
        }
        // A refusal is never stale: it is confirmed by what the database says from now on.
        let confirmed = self.configuration.refresh().await.map_err(|_| Refusal::DatabaseAway)?;
        judging::admit(&confirmed, head)?;
        Ok(confirmed)
    }

    /// How large a body an endpoint takes; a limit that was reached is confirmed before it is used.
    pub(super) async fn body_bytes_max(&self, code: &EndpointCode, confirmed: bool) -> Result<u64, Refusal> {
        let mut configuration = self.configuration.current();
        let own = |configuration: &Snapshot| configuration.endpoint(code).and_then(|e| e.body_bytes_max);
        if confirmed && own(&configuration).is_some() {
            configuration = self.configuration.refresh().await.map_err(|_| Refusal::DatabaseAway)?;
        }
        let most = own(&configuration).unwrap_or(usize::MAX).min(self.options.body_bytes_max);
        Ok(most as u64)
    }

    /// The configuration as this node knows it.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Looks at what is kept, for the optional ceilings. Called every second or so.
    pub async fn look_at_ceilings(&self, kept_bytes_max: u64) -> Result<(), DatabaseError> {
        if kept_bytes_max > 0 {
            let full = storage::totals::bytes(self.database.as_ref()).await? >= kept_bytes_max;
            self.storage_full.store(full, Ordering::Relaxed);
        }
        if self.options.endpoints_max > 0 {
            let codes = storage::totals::codes(self.database.as_ref(), self.options.endpoints_max).await?;
            self.known.write().unwrap_or_else(PoisonError::into_inner).renew(codes.into_iter().collect());
        }
        self.rate.forget();
        Ok(())
    }
}
