//! Limits that are part of the protocol or the format, and therefore no settings.

/// Longest endpoint code, in bytes of UTF-8 after percent-decoding.
pub const ENDPOINT_CODE_BYTES_MAX: usize = 255;

/// What the `preview` form of an event shows of a body, in bytes.
pub const PREVIEW_BYTES: usize = 8 * 1024;

/// Longest endpoint pattern of a stream's filter, in bytes.
pub const GLOB_BYTES_MAX: usize = 512;

/// Patterns and methods that one subscription may name.
pub const FILTER_TERMS_MAX: usize = 64;

/// A page of a listing ends where it has so many bytes, whatever its limit; the cursor goes on from there.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Longest name of a token, in bytes.
pub const TOKEN_NAME_BYTES_MAX: usize = 100;

/// Longest time that a token may be given, in days.
pub const TOKEN_DAYS_MAX: i64 = 3_650;

/// Tokens that may be in force at a time: every node holds them all.
pub const TOKENS_MAX: u32 = 10_000;

/// What is kept of an answer's body, in bytes.
pub const ANSWER_BODY_BYTES_MAX: usize = 8 * 1024;

/// What is kept of an answer's headers, in bytes.
pub const ANSWER_HEADERS_BYTES_MAX: usize = 16 * 1024;

/// First path segments that the capture prefix may not take.
pub const RESERVED_PREFIXES: [&str; 6] = ["api", "healthz", "readyz", "metrics", "ui", "docs"];

/// Longest topic of a broker, in bytes.
pub const TOPIC_BYTES_MAX: usize = 200;

/// What RabbitMQ keeps for itself: no topic begins so.
pub const TOPIC_RESERVED: &str = "amq.";
