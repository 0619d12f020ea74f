//! Settings: every key with its default stands in `config.default.toml`, which is built in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::rules::RuleOptions;
use crate::rules::template::{RenderLimits, TemplateOptions};

mod check;
mod in_force;
mod load;
pub mod reference;
mod secret;

pub use in_force::InForce;
pub use load::{InvalidSettings, Source, load, load_checked, misnamed};
pub use secret::{Secret, SecretUrl};

/// The reference: every setting with its default and what it is for.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The settings in force. What each means, its unit and its default stand in [`DEFAULTS`].
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub server: Server,
    pub capture: Capture,
    pub journal: Journal,
    pub rules: Rules,
    pub runs: Runs,
    pub feed: Feed,
    pub stream: Stream,
    pub inquiry: Inquiry,
    pub database: Database,
    pub broker: Broker,
    pub auth: Auth,
    pub cors: Cors,
    pub api: Api,
    pub docs: Docs,
    pub retention: Retention,
    pub reports: Reports,
    pub log: Log,
    /// Where each setting that is not as by default was said, by its key.
    #[serde(skip)]
    origins: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    #[serde(deserialize_with = "load::address")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "load::address_or_empty")]
    pub api_listen: Option<SocketAddr>,
    pub public_url: String,
    pub workers: usize,
    pub connections_max: usize,
    pub memory_bytes_max: usize,
    pub heads_bytes_max: usize,
    head_timeout_ms: u64,
    keep_alive_ms: u64,
    shutdown_timeout_ms: u64,
    drain_ms: u64,
    #[serde(deserialize_with = "load::networks")]
    pub trusted_proxies: Vec<IpNet>,
    pub proxy_headers: ProxyHeaders,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    pub prefix: String,
    pub auto_create: bool,
    pub body_bytes_max: usize,
    body_idle_timeout_ms: u64,
    body_timeout_ms: u64,
    pub bodies_in_flight_bytes_max: usize,
    pub client_rate_max: u32,
    pub endpoints_max: u64,
    pub kept_bytes_max: u64,
    pub websocket: CaptureWebSocket,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureWebSocket {
    pub echo: bool,
    pub message_bytes_max: usize,
    pub messages_max: u64,
    idle_timeout_ms: u64,
    pub sockets_max: usize,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    pub queue_bytes_max: usize,
    pub queue_captures_max: usize,
    pub batch_bytes_max: usize,
    pub batch_captures_max: usize,
    commit_deadline_ms: u64,
    pub body_inline_bytes_max: usize,
    pub body_part_bytes: usize,
    pub retry_after_s: u32,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub rules_max: u64,
    pub endpoints_max: u64,
    pub document_bytes_max: usize,
    pub config_bytes_max: usize,
    pub pattern_bytes_max: usize,
    pub body_bytes_max: usize,
    delay_ms_max: u64,
    pub templates_strict: bool,
    pub template_bytes_max: usize,
    pub template_output_bytes_max: usize,
    template_time_ms_max: u64,
    pub template_steps_max: u64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    pub open_max: u64,
    pub config_bytes_max: usize,
    kept_s: u64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    pub ring_events_max: usize,
    pub ring_bytes_max: usize,
    gap_wait_ms: u64,
    head_poll_ms: u64,
    pub parked_max: usize,
    pub catch_up_page: u32,
    pub catch_up_bytes_max: usize,
    pub catch_up_readers_max: usize,
    pub publish_queue_max: usize,
    pub broker_capture_bytes_max: usize,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    heartbeat_ms: u64,
    pub subscribers_max: usize,
    write_timeout_ms: u64,
    close_pace_us: u64,
    pub reconnect_ms_max: u64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Inquiry {
    pub waiters_max: usize,
    pub expressions_bytes_max: usize,
    wait_max_s: u64,
    pub scan_max: u64,
    scan_time_max_s: u64,
    pub scans_max: usize,
    pub scans_waiting_max: usize,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: SecretUrl,
    pub migrate: Migrate,
    pub pool_max: usize,
    connect_timeout_ms: u64,
    statement_timeout_ms: u64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    pub url: SecretUrl,
    pub kind: String,
    pub topic_prefix: String,
    pub ca_file: String,
}

impl Broker {
    /// Where nodes tell each other what they have committed.
    pub fn journal_topic(&self) -> String {
        format!("{}.journal", self.topic_prefix)
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub mode: AuthMode,
    pub tokens: Vec<Secret>,
    pub failures_per_minute_max: u32,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    pub capture: CorsRules,
    pub api: CorsRules,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CorsRules {
    pub allow_origins: Vec<String>,
    pub max_age_s: u32,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub enabled: bool,
    pub in_flight_bytes_max: usize,
    body_timeout_ms: u64,
    pub page_default: u32,
    pub page_max: u32,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Docs {
    pub enabled: bool,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub age_s_max: u64,
    pub captures_per_endpoint_max: u64,
    pub bytes_max: u64,
    interval_ms: u64,
    pub step_captures: u32,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Reports {
    pub enabled: bool,
    pub rows_per_minute_max: u32,
    minutes_age_s_max: u64,
    hours_age_s_max: u64,
    age_s_max: u64,
    pub answer_rows_max: u32,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
}

macro_rules! choices {
    ($($name:ident { $($variant:ident = $text:literal),+ })+) => {
        $(#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(try_from = "String")]
        pub enum $name { $(#[serde(rename = $text)] $variant),+ }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                match text.as_str() {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("this must be {}", [$(concat!("`", $text, "`")),+].join(" or "))),
                }
            }
        })+
    };
}

choices! {
    ProxyHeaders { XForwarded = "x-forwarded", Forwarded = "forwarded" }
    Migrate { Auto = "auto", Off = "off" }
    AuthMode { Tokens = "tokens", None = "none" }
    LogFormat { Text = "text", Json = "json" }
}

macro_rules! durations {
    ($($section:ty { $($name:ident = $field:ident: $unit:ident),+ $(,)? })+) => {
        $(impl $section {
            $(pub fn $name(&self) -> Duration {
                Duration::$unit(self.$field)
            })+
        })+
    };
}

durations! {
    Server {
        head_timeout = head_timeout_ms: from_millis,
        keep_alive = keep_alive_ms: from_millis,
        shutdown_timeout = shutdown_timeout_ms: from_millis,
        drain = drain_ms: from_millis,
    }
    Capture { body_idle_timeout = body_idle_timeout_ms: from_millis, body_timeout = body_timeout_ms: from_millis }
    CaptureWebSocket { idle_timeout = idle_timeout_ms: from_millis }
    Journal { commit_deadline = commit_deadline_ms: from_millis }
    Rules { delay_max = delay_ms_max: from_millis, template_time_max = template_time_ms_max: from_millis }
    Runs { kept = kept_s: from_secs }
    Feed { gap_wait = gap_wait_ms: from_millis, head_poll = head_poll_ms: from_millis }
    Stream {
        heartbeat = heartbeat_ms: from_millis,
        write_timeout = write_timeout_ms: from_millis,
        close_pace = close_pace_us: from_micros,
    }
    Inquiry {
        wait_max = wait_max_s: from_secs,
        scan_time_max = scan_time_max_s: from_secs,
    }
    Database {
        connect_timeout = connect_timeout_ms: from_millis,
        statement_timeout = statement_timeout_ms: from_millis,
    }
    Api { body_timeout = body_timeout_ms: from_millis }
    Retention { interval = interval_ms: from_millis }
    Reports {
        minutes_age = minutes_age_s_max: from_secs,
        hours_age = hours_age_s_max: from_secs,
        age = age_s_max: from_secs,
    }
}

impl Rules {
    /// What documents of rules and endpoints must keep to.
    pub fn options(&self) -> RuleOptions {
        RuleOptions {
            pattern_bytes_max: self.pattern_bytes_max,
            delay_max: self.delay_max(),
            template: TemplateOptions {
                strict: self.templates_strict,
                source_bytes_max: self.template_bytes_max,
            },
        }
    }

    /// What rendering one template may take.
    pub fn render_limits(&self) -> RenderLimits {
        RenderLimits {
            output_bytes_max: self.template_output_bytes_max,
            time_max: self.template_time_max(),
            steps_max: self.template_steps_max,
        }
    }
}

impl Settings {
    /// The URL that links to this cluster begin with, without a slash at its end.
    pub fn public_url(&self, bound: SocketAddr) -> String {
        match self.server.public_url.trim_end_matches('/') {
            "" => format!("http://{bound}"),
            url => url.to_owned(),
        }
    }
}
