//! What came while the stream was away: how many it were, and until when.

use std::time::Duration;

use crate::client::{Api, Ask, ShownCapture};

/// What is new waits for this.
const LIMIT: Duration = Duration::from_secs(2);

/// A listener that is back, and is sent what it has missed.
pub struct CatchingUp {
    /// When the newest capture was received that was there when the stream came back: as RFC 3339 in UTC, which
    /// sorts as text. All by the nodes' clocks, so that this one's does not matter.
    until: String,
    captures: u64,
}

impl CatchingUp {
    /// None where nothing was ever caught, or it cannot be known: nothing hangs on it.
    pub async fn begin(api: &Api) -> Option<Self> {
        let newest = api.json(Ask::get("/api/captures?limit=1&body=none"));
        let newest = tokio::time::timeout(LIMIT, newest).await.ok()?.ok()?;
        let until = newest["captures"][0]["received"].as_str()?.to_owned();
        Some(Self { until, captures: 0 })
    }

    /// Counts a capture; true where it came after the stream was back.
    pub fn is_over(&mut self, capture: &ShownCapture) -> bool {
        let missed = capture.received <= self.until;
        self.captures += u64::from(missed);
        !missed
    }

    pub fn text(&self) -> String {
        match self.captures {
            0 => "nothing was missed meanwhile".to_owned(),
            1 => "caught up: 1 capture came meanwhile".to_owned(),
            many => format!("caught up: {many} captures came meanwhile"),
        }
    }
}
