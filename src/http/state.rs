//! What every handler is given.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::http::uri::Authority;
use prometheus_client::metrics::gauge::Gauge;
use rand::Rng as _;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::broker::{Broker, BrokerState};
use crate::clock::Clock;
use crate::config::Settings;
use crate::database::Database;
use crate::feed::{Hub, Publisher};
use crate::http::inflow::Inflows;
use crate::http::problem::{Kind, Problem};
use crate::http::room::Room;
use crate::inquiry::Inquiries;
use crate::intake::{Budget, Intake, Reserved};
use crate::metrics::Metrics;
use crate::model::{EndpointCode, Entry};
use crate::rules::template::RenderLimits;
use crate::rules::{Allowance, Expression, Invalid};
use crate::runs::Runs;
use crate::shutdown::Shutdown;

/// Documents whose patterns and templates are compiled at a time, and how long one waits for its turn.
const COMPILED_AT_A_TIME: usize = 2;
const TURN_MAX: Duration = Duration::from_secs(5);

/// One node, as the skin sees it.
pub struct State {
    pub settings: Settings,
    pub database: Arc<dyn Database>,
    pub access: Arc<Access>,
    pub runs: Arc<Runs>,
    pub intake: Arc<Intake>,
    pub inquiries: Arc<Inquiries>,
    pub hub: Arc<Hub>,
    pub publisher: Arc<Publisher>,
    pub broker: Arc<dyn Broker>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    pub shutdown: Shutdown,
    /// Places for subscribers, and for capture sockets.
    pub subscribers: Arc<Semaphore>,
    pub sockets: Arc<Semaphore>,
    /// Places for waits.
    pub waiters: Arc<Semaphore>,
    /// For documents and answers of the API.
    pub room: Room,
    /// What expressions of inquiries, waits and streams hold, and what streams' clients are sending.
    pub expressions: Arc<Budget>,
    /// All that connections take together, and what comes and goes on them.
    pub memory: Arc<Budget>,
    pub inflows: Inflows,
    compiling: Arc<Semaphore>,
    pub render_limits: RenderLimits,
    /// Sockets that have begun to close.
    closing: AtomicU64,
    bound: OnceLock<SocketAddr>,
}

impl State {
    #[expect(clippy::too_many_arguments, reason = "the composition root hands over what was built")]
    pub fn new(
        settings: Settings,
        database: Arc<dyn Database>,
        access: Arc<Access>,
        runs: Arc<Runs>,
        intake: Arc<Intake>,
        inquiries: Arc<Inquiries>,
        hub: Arc<Hub>,
        publisher: Arc<Publisher>,
        broker: Arc<dyn Broker>,
        metrics: Arc<Metrics>,
        memory: Arc<Budget>,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> Self {
        let part = |bytes_max, gauge: &Gauge| Budget::within(&memory, bytes_max, gauge.clone());
        Self {
            subscribers: Arc::new(Semaphore::new(settings.stream.subscribers_max)),
            sockets: Arc::new(Semaphore::new(settings.capture.websocket.sockets_max)),
            waiters: Arc::new(Semaphore::new(settings.inquiry.waiters_max)),
            room: Room::new(
                part(settings.api.in_flight_bytes_max, &metrics.api_in_flight_bytes),
                settings.api.in_flight_bytes_max,
                settings.journal.body_part_bytes,
                settings.journal.retry_after_s,
            ),
            expressions: part(settings.inquiry.expressions_bytes_max, &metrics.inquiry_expression_bytes),
            inflows: Inflows {
                heads: part(settings.server.heads_bytes_max, &metrics.heads_bytes),
                refused: metrics.connections_refused.clone(),
                memory: memory.clone(),
            },
            memory,
            compiling: Arc::new(Semaphore::new(COMPILED_AT_A_TIME)),
            render_limits: settings.rules.render_limits(),
            settings,
            database,
            access,
            runs,
            intake,
            inquiries,
            hub,
            publisher,
            broker,
            metrics,
            clock,
            shutdown,
            closing: AtomicU64::new(0),
            bound: OnceLock::new(),
        }
    }

    pub fn database_is_up(&self) -> bool {
        self.intake.is_available() && self.hub.database_answers()
    }

    pub fn broker_is_up(&self) -> bool {
        *self.broker.state().borrow() == BrokerState::Connected
    }

    /// What the expressions of one inquiry may take.
    pub fn allowance(&self) -> Allowance {
        Allowance::of_inquiry(self.settings.rules.pattern_bytes_max)
    }

    /// Room on this node for what an inquiry's expressions take, for as long as they are held.
    ///
    /// # Errors
    /// Where there is none (`inquiry.expressions_bytes_max`).
    pub fn hold(&self, taken: &Allowance) -> Result<Reserved, Problem> {
        self.expressions.reserve(taken.bytes()).ok_or_else(|| {
            Problem::because(Kind::Overloaded, "too much is asked for at a time on this node")
                .retry_after(self.settings.journal.retry_after_s)
        })
    }

    /// Compiles what a document has, which may take some tenths of a second and cannot be interrupted: on a thread of
    /// its own, so that whoever else is served by this worker does not wait, and a few at a time.
    ///
    /// # Errors
    /// Where its turn does not come in time.
    pub async fn compile<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(TURN_MAX, self.compiling.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::because(Kind::Overloaded, "too much is compiled at a time on this node")
                .retry_after(self.settings.journal.retry_after_s));
        };
        // The turn lasts as long as the work, also where whoever asked for it has gone.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(|_| Problem::new(Kind::Internal))
    }

    /// Compiles an inquiry's expression, which takes its part of the allowance.
    ///
    /// # Errors
    /// As [`Self::compile`]; what is wrong in the expression is told inside.
    pub async fn compile_inquiry(
        &self,
        value: Value,
        allowance: &mut Allowance,
    ) -> Result<Result<Expression, Invalid>, Problem> {
        let mut left = allowance.clone();
        let compiled = self.compile(move || (Expression::parse_inquiry(&value, &mut left), left));
        let (compiled, left) = compiled.await?;
        *allowance = left;
        Ok(compiled)
    }

    /// Told once, when the listeners are bound.
    pub fn set_bound(&self, capture: SocketAddr) {
        self.bound.get_or_init(|| capture);
    }

    /// The URL of an endpoint, as its senders use it; `host` is where this request was sent to.
    pub fn capture_url(&self, code: &EndpointCode, host: Option<&Authority>) -> String {
        format!("{}{}", self.capture_base(host), code.to_segment())
    }

    /// What the URLs of endpoints begin with, with a slash at its end.
    pub fn capture_base(&self, host: Option<&Authority>) -> String {
        format!("{}/{}/", self.public_url(host), self.settings.capture.prefix)
    }

    /// What URLs of this node begin with, without a slash at its end. Where no URL is set and the node listens on
    /// all addresses, that is where the request was sent to, since nobody can be sent to `0.0.0.0`.
    pub fn public_url(&self, host: Option<&Authority>) -> String {
        let bound = self.bound.get().copied().unwrap_or(self.settings.server.listen);
        let is_known = !self.settings.server.public_url.is_empty() || !bound.ip().is_unspecified();
        let has_own_port = self.settings.server.api_listen.is_some();
        match host {
            Some(host) if !is_known && has_own_port => format!("http://{}:{}", host.host(), bound.port()),
            Some(host) if !is_known => format!("http://{host}"),
            _ => self.settings.public_url(bound),
        }
    }

    /// Passes on an entry that was committed outside of the writer: a removal, a configuration change.
    pub fn announce(&self, entry: Entry) {
        let epoch = self.hub.epoch();
        self.publisher.publish(epoch, std::slice::from_ref(&entry));
        self.hub.offer_local(epoch, vec![entry]);
    }

    /// How long one more socket waits before it closes when the node stops, so that not all clients come
    /// back at once; never over half of the time that the node has.
    pub fn pace_of_closing(&self) -> Duration {
        self.pace_of(self.closing.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    /// The same of the last of the sockets that are open.
    pub fn pace_of_last(&self) -> Duration {
        let open = self.metrics.subscribers.get() + self.metrics.capture_sockets.get();
        self.pace_of(u64::try_from(open).unwrap_or_default())
    }

    fn pace_of(&self, turn: u64) -> Duration {
        let pause = self.settings.stream.close_pace();
        let longest = self.settings.server.shutdown_timeout() / 2;
        pause.checked_mul(u32::try_from(turn).unwrap_or(u32::MAX)).unwrap_or(longest).min(longest)
    }

    /// When a client should come back, in milliseconds: any time up to the limit.
    pub fn reconnect_ms(&self) -> u64 {
        rand::rng().random_range(0..=self.settings.stream.reconnect_ms_max)
    }
}
