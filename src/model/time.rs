//! Instants as text (RFC 3339) and as ids, in microseconds since the Unix epoch inside.

use jiff::Timestamp;
use uuid::{NoContext, Uuid};

/// `2026-11-21T08:30:00.000001Z`; out of range shows as the epoch.
pub fn rfc3339(us: i64) -> String {
    format!("{:.6}", Timestamp::from_microsecond(us).unwrap_or_default())
}

/// Reads an RFC 3339 instant with its offset; None where it is none.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

/// A UUIDv7 of a time.
pub fn id_at(us: i64) -> Uuid {
    let us = u64::try_from(us).unwrap_or_default();
    let nanos = u32::try_from(us % 1_000_000 * 1000).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, us / 1_000_000, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_as_it_is_written() {
        let us = 1_795_249_811_123_456;
        assert_eq!(rfc3339(us), "2026-11-21T08:30:11.123456Z");
        assert_eq!(parse_rfc3339(&rfc3339(us)), Some(us));
        assert_eq!(parse_rfc3339("2026-11-21T09:30:11.123456+01:00"), Some(us));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }
}
