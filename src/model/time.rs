//! Instants as text (RFC 3339) and as ids, in microseconds since the Unix epoch inside.

use jiff::Timestamp;
use jiff::fmt::temporal::{DateTimePrinter, Pieces};
use uuid::{NoContext, Uuid};

const MICROSECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// `2026-11-21T08:30:00.000001Z`; out of range shows as the epoch.
pub fn rfc3339(us: i64) -> String {
    MICROSECONDS.timestamp_to_string(&Timestamp::from_microsecond(us).unwrap_or_default())
}

/// The last second that `jiff` holds, some hours before the end of the year 9999.
fn last_us() -> i64 {
    Timestamp::MAX.as_second() * 1_000_000
}

/// Reads an RFC 3339 instant with its offset; None where it is none. The last hours of the year 9999, which stand for
/// "for ever", are read as the last second there is.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.as_microsecond().min(last_us()));
    }
    let pieces = Pieces::parse(text).ok()?;
    let local = pieces.date().to_datetime(pieces.time()?);
    let is_past = local.year() == 9999 && pieces.to_numeric_offset()?.to_timestamp(local).is_err();
    is_past.then(last_us)
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

    #[test]
    fn what_is_valid_and_too_late_is_the_last_instant() {
        let last = Some(last_us());
        for text in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-05:00"] {
            assert_eq!(parse_rfc3339(text), last, "{text}");
        }
        assert_eq!(parse_rfc3339(&rfc3339(last_us())), last, "it is shown as it is");
        assert!(parse_rfc3339("9999-12-30T00:00:00Z") < last);
        assert!(parse_rfc3339("0000-01-01T00:00:00+05:00").is_some());
        for text in ["9999-12-31T23:59:59", "9999-12-32T00:00:00Z", "9999-12-31", "10000-01-01T00:00:00Z"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
