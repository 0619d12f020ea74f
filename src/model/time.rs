//! Instants as text (RFC 3339) and as ids, in microseconds since the Unix epoch inside.

use jiff::Timestamp;
use jiff::fmt::Write;
use jiff::fmt::temporal::{DateTimePrinter, Pieces};
use uuid::{NoContext, Uuid};

const MICROSECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// `2026-11-21T08:30:00.000001Z`; out of range shows as the epoch.
pub fn rfc3339(us: i64) -> String {
    let mut text = String::with_capacity(27);
    put_rfc3339(&mut text, us);
    text
}

/// Writes [`rfc3339`] behind what is there.
pub fn put_rfc3339(out: impl Write, us: i64) {
    let instant = Timestamp::from_microsecond(us).unwrap_or_default();
    MICROSECONDS.print_timestamp(&instant, out).expect("memory takes it");
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

/// Where the twelve bits stand that follow the milliseconds and the version of a UUIDv7.
const FRACTION: u32 = 64;

/// A UUIDv7 of a time, to its microsecond (RFC 9562, section 6.2, method 3): ids that are made one after the other stand
/// one behind the other in an index, whose last page is the one that changes.
pub fn id_at(us: i64) -> Uuid {
    let us = u64::try_from(us).unwrap_or_default();
    let nanos = u32::try_from(us % 1_000_000 * 1000).unwrap_or_default();
    let id = Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, us / 1_000_000, nanos)).as_u128();
    let fraction = u128::from(us % 1000 * 4096 / 1000);
    Uuid::from_u128(id & !(0xfff << FRACTION) | fraction << FRACTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_in_the_order_of_their_microseconds() {
        let us = 1_795_249_811_123_000;
        let ids: Vec<Uuid> = (us..us + 2000).map(id_at).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
        for (id, us) in ids.iter().zip(us..) {
            let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
            assert_eq!(seconds * 1000 + u64::from(nanos) / 1_000_000, u64::try_from(us).unwrap() / 1000);
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        }
        assert_ne!(id_at(us), id_at(us), "what is left is random");
    }

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
