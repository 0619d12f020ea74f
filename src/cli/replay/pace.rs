//! How fast captures are replayed.

use std::time::Duration;

use tokio::time::Instant;

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
    /// This long after an answer.
    Pause(Duration),
    /// One each so often.
    Every(Duration),
}

impl Pace {
    /// Reads what stands on the command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| *number > 0.0);
        let gap = |seconds: f64| Duration::try_from_secs_f64(seconds).ok().filter(|gap| *gap <= GAP_MAX);
        let pace = match text {
            "none" => return Ok(Self::None),
            "original" => return Ok(Self::Original),
            text => match (text.strip_suffix("/s"), text.strip_suffix("ms"), text.strip_suffix('s')) {
                (Some(rate), _, _) => number(rate).and_then(|rate| gap(1.0 / rate)).map(Self::Every),
                (_, Some(pause), _) => number(pause).and_then(|pause| gap(pause / 1_000.0)).map(Self::Pause),
                (_, _, Some(pause)) => number(pause).and_then(gap).map(Self::Pause),
                _ => None,
            },
        };
        pace.ok_or_else(|| {
            "`none`, `original`, so many a second as `5/s`, or a pause up to 600 s as `250ms` or `2s` is expected"
                .to_owned()
        })
    }

    /// When a capture is sent, where the one before was to be sent `at` and is answered `now`. What an answer
    /// took too long is not made good by a burst.
    pub fn next(self, at: Instant, now: Instant, before: &ShownCapture, capture: &ShownCapture) -> Instant {
        match self {
            Self::None => now,
            Self::Pause(pause) => now + pause,
            // It lags by one gap at most.
            Self::Every(gap) => (at + gap).max(now.checked_sub(gap).unwrap_or(now)),
            Self::Original => {
                let received = |capture: &ShownCapture| parse_rfc3339(&capture.received).unwrap_or_default();
                let gap_us = received(capture).saturating_sub(received(before));
                let gap = Duration::from_micros(u64::try_from(gap_us).unwrap_or_default()).min(GAP_MAX);
                (at + gap).max(now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pace_is_a_word_a_rate_or_a_pause() {
        let pause = |ms| Ok(Pace::Pause(Duration::from_millis(ms)));
        assert_eq!(Pace::parse("none"), Ok(Pace::None));
        assert_eq!(Pace::parse("original"), Ok(Pace::Original));
        assert_eq!(Pace::parse("5/s"), Ok(Pace::Every(Duration::from_millis(200))));
        assert_eq!(Pace::parse("250ms"), pause(250));
        assert_eq!(Pace::parse("1.5s"), pause(1_500));
        for text in ["", "5", "0/s", "-1s", "fast", "1e9s", "NaNs", "inf/s", "601s"] {
            assert!(Pace::parse(text).is_err() || text == "inf/s", "{text}");
        }
    }

    #[test]
    fn a_slow_answer_is_followed_by_no_burst() {
        let received = |received: &str| {
            ShownCapture::read(&json!({
                "id": "1", "endpoint": "a", "kind": "http", "received": received, "method": "POST", "target": "/",
                "path": "/", "remainder": "", "query": null, "version": "HTTP/1.1", "headers": [],
                "body": { "bytes": 0, "truncated": false, "incomplete": false },
            }))
            .unwrap()
        };
        let (one, two) = (received("2026-11-21T09:00:00Z"), received("2026-11-21T09:00:02Z"));
        let (at, second) = (Instant::now(), Duration::from_secs(1));
        for (pace, answered_after, sent_after) in [
            (Pace::None, 3, 3),
            (Pace::Pause(second), 0, 1),
            (Pace::Pause(second), 9, 10),
            (Pace::Every(second), 0, 1),
            (Pace::Every(second), 2, 1),
            (Pace::Every(second), 9, 8),
            (Pace::Original, 1, 2),
            (Pace::Original, 9, 9),
        ] {
            let sent = pace.next(at, at + second * answered_after, &one, &two);
            assert_eq!(sent - at, second * sent_after, "{pace:?} {answered_after}");
        }
    }
}
