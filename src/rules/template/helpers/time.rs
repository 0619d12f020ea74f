//! Times: that of the request, and given ones. Zones are fixed offsets; there is no database of zones.

use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp, Zoned};
use serde_json::Value;

use super::{Given, Helper, Run};
use crate::model::time;
use crate::rules::template::RenderError;
use crate::rules::template::value::{Datum, Number};

const OPTIONS: &[&str] = &["format", "offset", "tz"];

pub const TABLE: &[Helper] = &[
    Helper { name: "now", arguments: (0, 0), options: OPTIONS, takes_missing: false, run: now },
    Helper { name: "date", arguments: (1, 1), options: OPTIONS, takes_missing: false, run: date },
];

/// The context's `now`, so that a reply has one time throughout.
fn now<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    match given.root.get("now").and_then(instant) {
        Some(at) => written(given, at),
        None => given.unfit("the context has no time"),
    }
}

fn date<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    match instant(given.value(0)) {
        Some(at) => written(given, at),
        None => given.unfit("the value is neither an RFC 3339 time nor a number of seconds"),
    }
}

/// Of RFC 3339 text, or of seconds since 1970.
fn instant(value: &Value) -> Option<Timestamp> {
    if let Some(us) = value.as_str().and_then(time::parse_rfc3339) {
        return Timestamp::from_microsecond(us).ok();
    }
    match Number::of(value)? {
        Number::Whole(seconds) => Timestamp::from_second(seconds).ok(),
        #[expect(clippy::cast_possible_truncation, reason = "what is out of range saturates, and is refused")]
        Number::Real(seconds) => Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok(),
    }
}

fn written<'s>(given: &Given<'_, 's>, at: Timestamp) -> Run<'s> {
    let zone = zone(given)?;
    let Ok(at) = shifted(given, at.to_zoned(zone))? else { return given.unfit("the time is out of range") };
    let stamp = at.timestamp();
    Ok(match given.option_text("format")?.as_deref() {
        None | Some("") if at.offset() == Offset::UTC => Datum::text(time::rfc3339(stamp.as_microsecond())),
        None | Some("") => Datum::text(at.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string()),
        Some("unix") => Datum::Made(Value::from(stamp.as_second())),
        Some("unix_ms") => Datum::Made(Value::from(stamp.as_millisecond())),
        Some(format) => match jiff::fmt::strtime::format(format, &at) {
            Ok(text) => Datum::text(text),
            Err(error) => return Err(given.error(format!("the format cannot be used: {error}"))),
        },
    })
}

/// The outer error is a mistake in the template, the inner one a time that cannot be.
fn shifted(given: &Given<'_, '_>, at: Zoned) -> Result<Result<Zoned, jiff::Error>, RenderError> {
    let Some(offset) = given.option_text("offset")? else { return Ok(Ok(at)) };
    let span: Span =
        offset.trim().parse().map_err(|_| given.error("the offset is like `-3 days` or `2h 30m`"))?;
    Ok(at.checked_add(span))
}

fn zone(given: &Given<'_, '_>) -> Result<TimeZone, RenderError> {
    let Some(text) = given.option_text("tz")? else { return Ok(TimeZone::UTC) };
    let zone = match text.as_ref() {
        "" | "Z" | "UTC" => Some(TimeZone::UTC),
        text => offset(text).map(TimeZone::fixed),
    };
    zone.ok_or_else(|| given.error("tz is an offset such as `+02:00`, or `UTC`"))
}

/// `+02:00`
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':')?;
    let number = |digits: &str| match digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        true => digits.parse::<i32>().ok(),
        false => None,
    };
    let (hours, minutes) = (number(hours)?, number(minutes).filter(|minutes| *minutes < 60)?);
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}
