//! What no type can say: ranges, and settings that must fit together.

use super::{AuthMode, Settings};
use crate::model::limits::{RESERVED_PREFIXES, TOPIC_BYTES_MAX, TOPIC_RESERVED};
use crate::rules::allowance::INQUIRY_BYTES_MAX;

/// The longest head of a request, in bytes: actix's limit, and the flat sum of a capture.
const HEAD_BYTES_MAX: usize = 132 * 1024;

/// The least memory with which connections, and what comes on them, can be served, in bytes.
const MEMORY_BYTES_LEAST: usize = 32 << 20;

/// Shortest bearer token.
const TOKEN_CHARS_MIN: usize = 16;

/// What to do where a token is wanted and there is none.
const WAYS_OUT: &str = "Set `auth.tokens` (CREEL_AUTH__TOKENS, at least 16 characters, for example from \
                        `openssl rand -hex 24`), or say `auth.mode = \"none\"` (CREEL_AUTH__MODE=none) where the \
                        network is trusted";

/// Whether a URL leads elsewhere than to this machine.
fn is_public(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name != "localhost" && !name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => !address.is_loopback(),
        Some(url::Host::Ipv6(address)) => !address.to_canonical().is_loopback(),
        None => false,
    }
}

pub fn mistakes(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    let mut want = |holds: bool, mistake: &str| {
        if !holds {
            found.push(mistake.to_owned());
        }
    };
    let Settings { server, capture, journal, feed, stream, inquiry, database, auth, .. } = settings;

    let prefix = &capture.prefix;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    want(
        !prefix.is_empty()
            && prefix.len() <= 64
            && prefix.chars().all(plain)
            && prefix.chars().any(|c| c != '.'),
        "capture.prefix: this must be one path segment of letters, digits, `-`, `.`, `_` and `~`",
    );
    want(
        !RESERVED_PREFIXES.contains(&prefix.as_str()),
        &format!(
            "capture.prefix: `{prefix}` is reserved; take another than {}",
            RESERVED_PREFIXES.join(", ")
        ),
    );

    let listens_openly =
        [Some(server.listen), server.api_listen].into_iter().flatten().any(|a| !a.ip().is_loopback());
    want(
        auth.mode == AuthMode::None || !auth.tokens.is_empty() || !listens_openly,
        &format!(
            "auth.tokens: listening on an address that is not loopback wants a token, so that not everybody can \
             read what is captured. {WAYS_OUT}"
        ),
    );
    let is_open = auth.mode == AuthMode::Tokens && auth.tokens.is_empty();
    want(
        !is_open || listens_openly || (server.trusted_proxies.is_empty() && !is_public(&server.public_url)),
        &format!(
            "auth.tokens: a proxy (`server.trusted_proxies`), or a `server.public_url` that is not of loopback, \
             brings others to this node than who sits at it, and wants a token. {WAYS_OUT}"
        ),
    );
    want(
        auth.tokens.iter().all(|t| t.expose().len() >= TOKEN_CHARS_MIN && t.expose().is_ascii()),
        "auth.tokens: a token has at least 16 characters, all ASCII",
    );
    want(
        server.public_url.is_empty()
            || url::Url::parse(&server.public_url)
                .is_ok_and(|u| ["http", "https"].contains(&u.scheme()) && u.path() == "/"),
        "server.public_url: this must be an http or https URL without a path",
    );

    let url = database.url.expose();
    want(
        ["sqlite://", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)),
        "database.url: this must begin with sqlite:// or postgres://",
    );
    want(
        url.strip_prefix("sqlite://").is_none_or(|path| !path.is_empty() && !path.starts_with('?')),
        "database.url: this must name a file, as sqlite://creel-data/creel.db",
    );
    let broker = settings.broker.url.expose();
    want(
        broker == "local"
            || ["redis://", "rediss://", "amqp://", "amqps://"].iter().any(|s| broker.starts_with(s)),
        "broker.url: this must be `local` or begin with redis://, rediss://, amqp:// or amqps://",
    );
    want(
        match settings.broker.kind.as_str() {
            "" => true,
            "redis" => broker.starts_with("redis"),
            "rabbitmq" => broker.starts_with("amqp"),
            _ => false,
        },
        "broker.kind: this must be empty, or `redis` or `rabbitmq` in keeping with broker.url",
    );
    want(
        !settings.broker.topic_prefix.is_empty()
            && settings.broker.topic_prefix.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)),
        "broker.topic_prefix: this must be letters, digits, `-`, `_` and `.`",
    );
    let topic = settings.broker.journal_topic();
    want(
        topic.len() <= TOPIC_BYTES_MAX && !topic.starts_with(TOPIC_RESERVED),
        &format!(
            "broker.topic_prefix: `{topic}` must be at most {TOPIC_BYTES_MAX} characters and not begin with \
             `{TOPIC_RESERVED}`, which RabbitMQ keeps for itself"
        ),
    );

    want(
        tracing_subscriber::EnvFilter::try_new(&settings.log.level).is_ok(),
        "log.level: this must be `error`, `warn`, `info`, `debug` or `trace`, or such per module: \
         `info,creel::feed=debug`",
    );

    for (name, value) in [
        ("server.connections_max", server.connections_max),
        ("capture.body_bytes_max", capture.body_bytes_max),
        ("capture.bodies_in_flight_bytes_max", capture.bodies_in_flight_bytes_max),
        ("capture.websocket.message_bytes_max", capture.websocket.message_bytes_max),
        ("journal.queue_bytes_max", journal.queue_bytes_max),
        ("journal.queue_captures_max", journal.queue_captures_max),
        ("journal.batch_bytes_max", journal.batch_bytes_max),
        ("journal.batch_captures_max", journal.batch_captures_max),
        ("journal.body_part_bytes", journal.body_part_bytes),
        ("feed.ring_events_max", feed.ring_events_max),
        ("feed.ring_bytes_max", feed.ring_bytes_max),
        ("feed.parked_max", feed.parked_max),
        ("feed.catch_up_page", feed.catch_up_page as usize),
        ("feed.catch_up_bytes_max", feed.catch_up_bytes_max),
        ("feed.catch_up_readers_max", feed.catch_up_readers_max),
        ("feed.publish_queue_max", feed.publish_queue_max),
        ("stream.subscribers_max", stream.subscribers_max),
        ("inquiry.waiters_max", inquiry.waiters_max),
        ("inquiry.scan_max", usize::try_from(inquiry.scan_max).unwrap_or(usize::MAX)),
        ("inquiry.scans_max", inquiry.scans_max),
        ("database.pool_max", database.pool_max),
        ("api.page_default", settings.api.page_default as usize),
        ("api.in_flight_bytes_max", settings.api.in_flight_bytes_max),
        ("retention.step_captures", settings.retention.step_captures as usize),
        ("reports.rows_per_minute_max", settings.reports.rows_per_minute_max as usize),
        ("reports.answer_rows_max", settings.reports.answer_rows_max as usize),
    ] {
        want(value > 0, &format!("{name}: this must be at least 1"));
    }
    for (name, value) in [
        ("server.head_timeout_ms", server.head_timeout()),
        ("capture.body_idle_timeout_ms", capture.body_idle_timeout()),
        ("capture.body_timeout_ms", capture.body_timeout()),
        ("api.body_timeout_ms", settings.api.body_timeout()),
        ("capture.websocket.idle_timeout_ms", capture.websocket.idle_timeout()),
        ("journal.commit_deadline_ms", journal.commit_deadline()),
        ("feed.head_poll_ms", feed.head_poll()),
        ("stream.heartbeat_ms", stream.heartbeat()),
        ("stream.write_timeout_ms", stream.write_timeout()),
        ("inquiry.wait_max_s", inquiry.wait_max()),
        ("inquiry.scan_time_max_s", inquiry.scan_time_max()),
        ("database.connect_timeout_ms", database.connect_timeout()),
        ("database.statement_timeout_ms", database.statement_timeout()),
        ("retention.interval_ms", settings.retention.interval()),
    ] {
        want(!value.is_zero(), &format!("{name}: this must be at least 1"));
    }
    want(
        journal.body_inline_bytes_max <= journal.body_part_bytes,
        "journal.body_inline_bytes_max: this must not be over journal.body_part_bytes",
    );
    for (name, value, least) in [
        ("server.memory_bytes_max", server.memory_bytes_max, MEMORY_BYTES_LEAST),
        ("server.heads_bytes_max", server.heads_bytes_max, 2 * HEAD_BYTES_MAX),
    ] {
        want(value >= least, &format!("{name}: this must be at least {least}"));
    }
    // A capture in the queue: its inline body, its head, and what it takes beside.
    let capture_bytes = journal.body_inline_bytes_max + HEAD_BYTES_MAX;
    want(
        journal.queue_bytes_max >= capture_bytes,
        &format!(
            "journal.queue_bytes_max: this must have room for one capture, {capture_bytes} (that is \
             journal.body_inline_bytes_max and {HEAD_BYTES_MAX})"
        ),
    );
    want(
        capture.body_timeout() <= std::time::Duration::from_secs(1800),
        "capture.body_timeout_ms: this must be at most 1800000",
    );
    want(
        inquiry.expressions_bytes_max >= INQUIRY_BYTES_MAX,
        &format!("inquiry.expressions_bytes_max: this must be at least {INQUIRY_BYTES_MAX}"),
    );
    want(journal.body_part_bytes <= 1_048_576, "journal.body_part_bytes: this must be at most 1048576");
    want(
        feed.broker_capture_bytes_max <= 524_288,
        "feed.broker_capture_bytes_max: this must be at most 524288",
    );
    want(
        capture.bodies_in_flight_bytes_max >= capture.body_bytes_max.min(journal.body_part_bytes * 4),
        "capture.bodies_in_flight_bytes_max: this must have room for one body",
    );
    want(
        settings.api.page_default <= settings.api.page_max,
        "api.page_default: this must not be over api.page_max",
    );
    let reports = &settings.reports;
    want(
        reports.minutes_age() >= std::time::Duration::from_secs(3600),
        "reports.minutes_age_s_max: this must be at least 3600",
    );
    want(
        reports.hours_age() >= reports.minutes_age(),
        "reports.hours_age_s_max: this must not be under reports.minutes_age_s_max",
    );
    want(
        reports.age().is_zero() || reports.age() >= reports.hours_age(),
        "reports.age_s_max: this must not be under reports.hours_age_s_max, or 0",
    );
    found
}
