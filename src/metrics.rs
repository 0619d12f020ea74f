//! What a node counts and measures, for Prometheus. No endpoint labels: their number has no bound.

use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What became of a request to a capture URL, or of a message on a capture socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Kept whole.
    Kept,
    /// Kept, with the body cut at the limit; the sender got a 413.
    Truncated,
    /// Kept, with the body as far as it came: the sender went away, or broke the rules of its WebSocket.
    Incomplete,
    /// Kept, with the body as far as it came: the sender fell silent.
    TimedOut,
    /// Not an endpoint code.
    InvalidCode,
    /// No such endpoint, and none may be made.
    UnknownEndpoint,
    /// `capture.endpoints_max`.
    TooManyEndpoints,
    /// `capture.kept_bytes_max`.
    StorageFull,
    /// `capture.client_rate_max`.
    RateLimited,
    /// `capture.bodies_in_flight_bytes_max`.
    BodiesFull,
    /// `journal.queue_*`.
    QueueFull,
    /// `capture.websocket.sockets_max`.
    SocketsFull,
    /// `capture.websocket.message_bytes_max`; the socket was closed.
    MessageTooLarge,
    /// `capture.websocket.messages_max`; the socket was closed.
    TooManyMessages,
    /// The database is away.
    DatabaseAway,
    /// `journal.commit_deadline_ms`; may have been kept.
    DeadlinePassed,
    /// The database refused the data.
    DataRefused,
    AccessDenied,
}

/// How an event reached this node's subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Committed by this node.
    Local,
    Broker,
    /// Read from the database, because neither of the others brought it in time.
    Repair,
}

/// Label values as Prometheus has them: lower case, with underscores.
macro_rules! label_values {
    ($type:ty { $($variant:ident = $value:literal),+ $(,)? }) => {
        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
                encoder.write_str(match self { $(Self::$variant => $value),+ })
            }
        }

        #[cfg(test)]
        impl $type {
            const VALUES: &[&str] = &[$($value),+];
        }
    };
}

label_values!(Outcome {
    Kept = "kept",
    Truncated = "truncated",
    Incomplete = "incomplete",
    TimedOut = "timed_out",
    InvalidCode = "invalid_code",
    UnknownEndpoint = "unknown_endpoint",
    TooManyEndpoints = "too_many_endpoints",
    StorageFull = "storage_full",
    RateLimited = "rate_limited",
    BodiesFull = "bodies_full",
    QueueFull = "queue_full",
    SocketsFull = "sockets_full",
    MessageTooLarge = "message_too_large",
    TooManyMessages = "too_many_messages",
    DatabaseAway = "database_away",
    DeadlinePassed = "deadline_passed",
    DataRefused = "data_refused",
    AccessDenied = "access_denied",
});
label_values!(Way { Local = "local", Broker = "broker", Repair = "repair" });

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WayLabel {
    way: Way,
}

/// One node's metrics; handles are cheap to use.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    captures: Family<OutcomeLabel, Counter>,
    kept: Counter,
    pub capture_bytes: Counter,
    pub batch_captures: Histogram,
    pub commit_seconds: Histogram,
    pub queue_captures: Gauge,
    pub queue_bytes: Gauge,
    pub bodies_in_flight_bytes: Gauge,
    pub memory_bytes: Gauge,
    pub heads_bytes: Gauge,
    pub connections_refused: Counter,
    pub database_up: Gauge,
    pub pool_in_use: Gauge,
    pub pool_open: Gauge,
    pub answers_lost: Counter,
    pub head_seq: Gauge,
    pub feed_seq: Gauge,
    events: Family<WayLabel, Counter>,
    pub repairs: Counter,
    pub feed_lag_seconds: Histogram,
    pub subscribers: Gauge,
    pub subscribers_catching_up: Gauge,
    pub waiters: Gauge,
    pub inquiry_expression_bytes: Gauge,
    pub api_in_flight_bytes: Gauge,
    pub slow_subscribers: Counter,
    pub deliveries: Counter,
    pub capture_sockets: Gauge,
    pub broker_up: Gauge,
    pub published: Counter,
    pub publish_failures: Counter,
    pub broker_dropped: Gauge,
    pub resets: Counter,
    pub trimmed: Counter,
    pub orphans_swept: Counter,
    pub panics: Counter,
    pub unauthorized: Counter,
    pub template_failures: Counter,
    pub inquiries: Gauge,
    pub inquiry_captures: Counter,
    pub inquiries_refused: Counter,
    pub runs_open: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[expect(clippy::too_many_lines, reason = "a table: one line a metric")]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("creel");
        macro_rules! register {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
            ($name:literal, $help:literal, $unit:expr, $metric:expr) => {{
                let metric = $metric;
                registry.register_with_unit($name, $help, $unit, metric.clone());
                metric
            }};
        }
        let captures: Family<OutcomeLabel, Counter> =
            register!("captures", "Requests and messages by what became of them", Family::default());
        let events: Family<WayLabel, Counter> =
            register!("feed_events", "Events by the way they reached this node", Family::default());
        for way in [Way::Local, Way::Broker, Way::Repair] {
            drop(events.get_or_create(&WayLabel { way }));
        }
        let seconds = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        let kept = captures.get_or_create_owned(&OutcomeLabel { outcome: Outcome::Kept });
        Self {
            kept,
            captures,
            events,
            capture_bytes: register!(
                "capture_body",
                "Bytes of bodies that were kept",
                Unit::Bytes,
                Counter::default()
            ),
            batch_captures: register!(
                "journal_batch_captures",
                "Captures in a commit",
                Histogram::new(exponential_buckets(1.0, 2.0, 10))
            ),
            commit_seconds: register!("journal_commit", "Time of a commit", Unit::Seconds, seconds()),
            queue_captures: register!(
                "journal_queue_captures",
                "Captures that wait for a commit",
                Gauge::default()
            ),
            queue_bytes: register!(
                "journal_queue",
                "Bytes that wait for a commit",
                Unit::Bytes,
                Gauge::default()
            ),
            bodies_in_flight_bytes: register!(
                "bodies_in_flight",
                "Memory of bodies and messages being received",
                Unit::Bytes,
                Gauge::default()
            ),
            memory_bytes: register!(
                "memory",
                "Memory that connections, and what comes and goes on them, have taken",
                Unit::Bytes,
                Gauge::default()
            ),
            heads_bytes: register!(
                "heads",
                "Memory of requests' heads that are not small",
                Unit::Bytes,
                Gauge::default()
            ),
            connections_refused: register!(
                "connections_refused",
                "Connections for which, or for whose request's head, there was no memory",
                Counter::default()
            ),
            database_up: register!("database_up", "Whether the database takes captures", Gauge::default()),
            pool_in_use: register!("database_pool_in_use", "Connections in use", Gauge::default()),
            pool_open: register!("database_pool_open", "Connections open", Gauge::default()),
            answers_lost: register!("answers_lost", "Answers that could not be recorded", Counter::default()),
            head_seq: register!(
                "journal_head_seq",
                "The journal's newest entry, when last read",
                Gauge::default()
            ),
            feed_seq: register!("feed_seq", "The newest entry passed on to subscribers", Gauge::default()),
            repairs: register!(
                "feed_repairs",
                "Reads from the database for missing events",
                Counter::default()
            ),
            feed_lag_seconds: register!(
                "feed_lag",
                "From receipt to this node's subscribers",
                Unit::Seconds,
                seconds()
            ),
            subscribers: register!("subscribers", "Subscribers now", Gauge::default()),
            subscribers_catching_up: register!(
                "subscribers_catching_up",
                "Subscribers fed from the database now",
                Gauge::default()
            ),
            waiters: register!("waiters", "Waits for captures that go on now", Gauge::default()),
            api_in_flight_bytes: register!(
                "api_in_flight_bytes",
                "Memory of documents and answers of the API that are on their way",
                Gauge::default()
            ),
            inquiry_expression_bytes: register!(
                "inquiry_expression_bytes",
                "Memory for the compiled expressions of inquiries, waits and streams, in bytes",
                Gauge::default()
            ),
            slow_subscribers: register!(
                "slow_subscribers",
                "Times a subscriber had to be fed from the database",
                Counter::default()
            ),
            deliveries: register!("deliveries", "Events sent to subscribers", Counter::default()),
            capture_sockets: register!("capture_sockets", "Capture sockets open now", Gauge::default()),
            broker_up: register!("broker_up", "Whether the broker is connected", Gauge::default()),
            published: register!("broker_published", "Messages published", Counter::default()),
            broker_dropped: register!(
                "broker_dropped",
                "Messages from the broker that found no room; they were read from the database",
                Gauge::default()
            ),
            publish_failures: register!(
                "broker_publish_failures",
                "Messages that could not be published",
                Counter::default()
            ),
            resets: register!("feed_resets", "Times the journal went another way", Counter::default()),
            trimmed: register!(
                "retention_captures",
                "Captures removed by retention or after a removal",
                Counter::default()
            ),
            orphans_swept: register!(
                "orphan_parts",
                "Parts of bodies swept that were never journaled",
                Counter::default()
            ),
            panics: register!(
                "panics",
                "Panics, wherever they happened: mistakes of ours",
                Counter::default()
            ),
            template_failures: register!(
                "template_failures",
                "Replies whose template failed; their senders got a 500",
                Counter::default()
            ),
            inquiries: register!("inquiries", "Inquiries that look at what is kept now", Gauge::default()),
            inquiry_captures: register!(
                "inquiry_captures",
                "Captures that inquiries have looked at",
                Counter::default()
            ),
            inquiries_refused: register!(
                "inquiries_refused",
                "Inquiries that found no turn to look",
                Counter::default()
            ),
            runs_open: register!("runs_open", "Runs of the cluster that are not closed", Gauge::default()),
            unauthorized: register!(
                "unauthorized",
                "Requests refused for their token, scope, host or origin",
                Counter::default()
            ),
            registry,
        }
    }

    pub fn count(&self, outcome: Outcome) {
        match outcome {
            Outcome::Kept => self.kept.inc(),
            outcome => self.captures.get_or_create(&OutcomeLabel { outcome }).inc(),
        };
    }

    pub fn count_events(&self, way: Way, events: u64) {
        self.events.get_or_create(&WayLabel { way }).inc_by(events);
    }

    /// The metrics as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a String cannot fail");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_documented() {
        let rows = |page: &str, beginning: &str| {
            let page = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
            let page = std::fs::read_to_string(page).expect("it is there");
            page.lines().filter(|line| line.starts_with(beginning)).map(str::to_owned).collect::<Vec<_>>()
        };
        // The refusals stand beside their limits.
        let mut outcomes = rows("api.md", "| `creel_captures_total{outcome}`");
        outcomes.extend(rows("capture.md", "| "));
        let ways = rows("api.md", "| `creel_feed_events_total{way}`");
        for (rows, values) in [(outcomes, Outcome::VALUES), (ways, Way::VALUES)] {
            for value in values {
                let quoted = format!("`{value}`");
                assert!(rows.iter().any(|row| row.contains(&quoted)), "no row of the docs has {quoted}");
            }
        }
    }
}
