//! Times as people write them: a number and its unit.

use std::time::Duration;

/// Reads `500ms`, `30s`, `10m`, `2h` or `7d`.
///
/// # Errors
/// With what is expected, for clap to tell.
pub fn span(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let ms = count.parse::<u64>().ok().filter(|_| unit_ms > 0).and_then(|count| count.checked_mul(unit_ms));
    ms.map(Duration::from_millis)
        .ok_or_else(|| "a number and `ms`, `s`, `m`, `h` or `d` are expected, as in `30s`".to_owned())
}

/// The same, within bounds, which the words name.
///
/// # Errors
/// As [`span`]'s; a time outside of the bounds.
pub fn span_within(text: &str, least: Duration, most: Duration, words: &str) -> Result<Duration, String> {
    let span = span(text)?;
    match (least..=most).contains(&span) {
        true => Ok(span),
        false => Err(format!("{words} is allowed")),
    }
}

/// In milliseconds, as the API takes it.
pub fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_its_unit() {
        for (text, expected) in [
            ("250ms", 250),
            ("0s", 0),
            ("45s", 45_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(span(text).map(ms), Ok(expected), "{text}");
        }
        for text in
            ["", "s", "30", "-1s", "1.5h", "30 s", "3w", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
