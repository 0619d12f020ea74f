//! How fast captures are replayed.

use std::time::Duration;

use crate::client::ShownCapture;
use crate::model::time::parse_rfc3339;

/// The longest gap that is waited for.
const GAP_MAX: Duration = Duration::from_secs(600);

/// The time between one request and the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As the answers come.
    None,
    /// As the captures came.
    Original,
    Every(Duration),
}

impl Pace {
    /// Reads what stands on the command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| *number > 0.0);
        let seconds = match text {
            "none" => return Ok(Self::None),
            "original" => return Ok(Self::Original),
            text => match (text.strip_suffix("/s"), text.strip_suffix("ms"), text.strip_suffix('s')) {
                (Some(rate), _, _) => number(rate).map(|rate| 1.0 / rate),
                (_, Some(pause), _) => number(pause).map(|pause| pause / 1_000.0),
                (_, _, Some(pause)) => number(pause),
                _ => None,
            },
        };
        let gap = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let gap = gap.filter(|gap| *gap <= GAP_MAX);
        gap.map(Self::Every).ok_or_else(|| {
            "`none`, `original`, so many a second as `5/s`, or a pause up to 600 s as `250ms` or `2s` is expected"
                .to_owned()
        })
    }

    /// How long after the one before a capture is sent.
    pub fn gap(self, before: Option<&ShownCapture>, capture: &ShownCapture) -> Duration {
        let Some(before) = before else { return Duration::ZERO };
        match self {
            Self::None => Duration::ZERO,
            Self::Every(gap) => gap,
            Self::Original => {
                let at = |capture: &ShownCapture| parse_rfc3339(&capture.received).unwrap_or_default();
                let gap_us = at(capture).saturating_sub(at(before));
                Duration::from_micros(u64::try_from(gap_us).unwrap_or_default()).min(GAP_MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_a_word_a_rate_or_a_pause() {
        let every = |ms| Ok(Pace::Every(Duration::from_millis(ms)));
        assert_eq!(Pace::parse("none"), Ok(Pace::None));
        assert_eq!(Pace::parse("original"), Ok(Pace::Original));
        assert_eq!(Pace::parse("5/s"), every(200));
        assert_eq!(Pace::parse("250ms"), every(250));
        assert_eq!(Pace::parse("1.5s"), every(1_500));
        for text in ["", "5", "0/s", "-1s", "fast", "1e9s", "NaNs", "inf/s", "601s"] {
            assert!(Pace::parse(text).is_err() || text == "inf/s", "{text}");
        }
    }
}
