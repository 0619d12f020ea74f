//! Sends each capture on, one at a time and in their order.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::session::Session;
use crate::client::{HttpUrl, Outgoing, Sender, ShownCapture};

/// A request that is under way when the listener is told to end has so long for it.
const LAST_LIMIT: Duration = Duration::from_secs(2);

/// Where captures go.
pub struct Forwarder {
    to: HttpUrl,
    keep_host: bool,
    sender: Sender,
}

/// What became of a capture that was to be sent on.
#[derive(Debug)]
pub enum Forwarded {
    Answered {
        status: u16,
        took: Duration,
    },
    /// There is no answer: why.
    Failed(String),
    /// An event of a WebSocket is no request.
    Skipped,
}

impl Forwarder {
    pub fn new(to: HttpUrl, keep_host: bool, limit: Duration) -> Self {
        let sender = Sender::new(to.is_https(), limit);
        Self { to, keep_host, sender }
    }

    pub fn url(&self) -> &HttpUrl {
        &self.to
    }

    /// Sends a capture on, once. A failure is told, and is not tried again: the next one follows.
    pub async fn forward(&self, session: &Session, capture: &ShownCapture) -> Forwarded {
        if capture.kind != "http" {
            return Forwarded::Skipped;
        }
        let body = capture.whole_body();
        if capture.body.truncated || capture.body.incomplete {
            session
                .terminal
                .warn(&format!("{}: only a part of its body was kept, and is sent on", capture.id));
        }
        let sending = async {
            let body = match body {
                Some(body) => body,
                None => session.api.body_of(capture).await.map_err(|failure| failure.to_string())?,
            };
            let outgoing = Outgoing::of_capture(capture, body, &self.to, self.keep_host);
            let outgoing = outgoing.map_err(|failure| failure.to_string())?;
            self.sender.send(outgoing).await.map_err(|failure| failure.to_string())
        };
        let last = async {
            session.stop.cancelled().await;
            tokio::time::sleep(LAST_LIMIT).await;
        };
        tokio::select! {
            sent = sending => match sent {
                Ok(sent) => Forwarded::Answered { status: sent.status, took: sent.took },
                Err(reason) => Forwarded::Failed(reason),
            },
            () = last => Forwarded::Failed("given up, to end".to_owned()),
        }
    }
}

impl Forwarded {
    pub fn text(&self) -> String {
        match self {
            Self::Answered { status, took } => format!("-> {status} in {} ms", took.as_millis()),
            Self::Failed(reason) => format!("-> failed: {reason}"),
            Self::Skipped => "-> not sent on: an event of a WebSocket".to_owned(),
        }
    }

    /// A message of its own, behind the capture's.
    pub fn json(&self, capture: &ShownCapture) -> Value {
        let mut message = json!({ "type": "forwarded", "capture": capture.id });
        match self {
            Self::Answered { status, took } => {
                message["status"] = json!(status);
                message["took_ms"] = json!(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            }
            Self::Failed(reason) => message["error"] = json!(reason),
            Self::Skipped => message["skipped"] = json!("websocket"),
        }
        message
    }
}
