//! The stream, for as long as one listens: it comes back by itself, from where the listener has got to.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;
use serde_json::Value;
use tokio::time::Instant;

use super::failure::Refusal;
use super::{Api, Ask, Failure, Lines};

/// The first pause is up to so long; each that follows up to twice the one before.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What to listen to: parameters of `GET /api/stream` (`docs/protocol.md`).
#[derive(Debug, Clone, Default)]
pub struct FeedOrder {
    /// Patterns of endpoints; none means all.
    pub endpoints: Vec<String>,
    /// An expression, as JSON or in the short form.
    pub filter: Option<String>,
    /// `full`, `preview` or `none`.
    pub body: &'static str,
    /// A cursor, an instant, `earliest` or `now`.
    pub since: Option<String>,
}

/// A message of the stream.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its `type`.
    pub kind: String,
    pub cursor: Option<String>,
    pub value: Value,
    /// As it came, without the line's end.
    pub line: Bytes,
}

/// What happens to a listener.
#[derive(Debug)]
pub enum Happening {
    Message(Message),
    /// The stream has ended, or could not be opened again; it is tried again after the pause.
    Lost {
        reason: String,
        pause: Duration,
    },
    /// It is open again.
    Back {
        away: Duration,
    },
}

/// A stream that comes back.
pub struct Feed {
    api: Api,
    order: FeedOrder,
    lines: Option<Lines>,
    /// Where to go on from: behind the last message that was dealt with.
    cursor: Option<String>,
    failures: u32,
    lost: Instant,
    wake: Instant,
}

impl Feed {
    /// Opens it, and reads its first message.
    ///
    /// # Errors
    /// Every [`Failure`]: what does not work at first is not tried again.
    pub async fn open(api: Api, order: FeedOrder) -> Result<(Self, Message), Failure> {
        let now = Instant::now();
        let mut feed = Self { api, order, lines: None, cursor: None, failures: 0, lost: now, wake: now };
        let ready = feed.connect().await?;
        feed.advance(&ready);
        Ok((feed, ready))
    }

    /// A message was dealt with: if the stream is lost now, it goes on behind it.
    pub fn advance(&mut self, message: &Message) {
        if let Some(cursor) = &message.cursor {
            self.cursor = Some(cursor.clone());
        }
    }

    /// The place that was reached.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// What happens next. Safe to cancel.
    ///
    /// # Errors
    /// What does not go away by trying again: a token that is not good any more, a filter that is refused.
    pub async fn next(&mut self) -> Result<Happening, Failure> {
        let Some(lines) = &mut self.lines else {
            tokio::time::sleep_until(self.wake).await;
            return match self.connect().await {
                Ok(ready) => {
                    // Its cursor is the one that was given; after a reset, which follows, another comes.
                    self.advance(&ready);
                    Ok(Happening::Back { away: self.lost.elapsed() })
                }
                Err(failure) => self.lose(failure),
            };
        };
        match lines.next().await {
            Ok(Some(line)) => match self.read(line)? {
                message if message.kind == "closing" => self.close(&message),
                message => Ok(Happening::Message(message)),
            },
            Ok(None) => {
                let url = self.api.base().to_string();
                self.lose(Failure::Unreachable { url, reason: "the stream has ended".to_owned() })
            }
            Err(failure) => self.lose(failure),
        }
    }

    /// Opens the stream and reads `ready`.
    async fn connect(&mut self) -> Result<Message, Failure> {
        let mut ask = Ask::get("/api/stream").with("body", Some(self.order.body));
        for endpoint in &self.order.endpoints {
            ask = ask.with("endpoint", Some(endpoint));
        }
        let since = self.cursor.as_deref().or(self.order.since.as_deref());
        let ask = ask.with("match", self.order.filter.as_deref()).with("since", since);
        let mut lines = self.api.lines(ask).await?;
        let line = lines.next().await?;
        let ready = self.read(line.unwrap_or_default())?;
        if ready.kind != "ready" {
            return Err(self.garbled(format!("the stream begins with {:?}", ready.kind)));
        }
        self.lines = Some(lines);
        self.failures = 0;
        Ok(ready)
    }

    fn read(&self, line: Bytes) -> Result<Message, Failure> {
        let value: Value = serde_json::from_slice(&line).map_err(|error| self.garbled(error.to_string()))?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let kind = text("type").ok_or_else(|| self.garbled("a message has no type".to_owned()))?;
        Ok(Message { kind, cursor: text("cursor"), value, line })
    }

    /// The node ends the stream, and says why.
    fn close(&mut self, message: &Message) -> Result<Happening, Failure> {
        if let Some(reason) = message.value["reason"].as_str() {
            let detail = Some(format!("the stream was closed: {reason}"));
            let title = "The token is not good any more".to_owned();
            let kind = reason.to_owned();
            let refusal = Refusal { status: 401, kind, title, detail, request_id: None, retry_after_s: None };
            return Err(refusal.into());
        }
        let pause = message.value["reconnect_ms"].as_u64().map(Duration::from_millis);
        Ok(self.pause("the node is stopping".to_owned(), pause))
    }

    fn lose(&mut self, failure: Failure) -> Result<Happening, Failure> {
        match &failure {
            // What has no kind was not said by a node, but by a proxy that may have none at the moment.
            Failure::Refused(Refusal { status: 400 | 401 | 403 | 404 | 426, kind, .. })
                if !kind.is_empty() =>
            {
                Err(failure)
            }
            Failure::Refused(refusal) => {
                let pause = refusal.retry_after_s.map(Duration::from_secs);
                Ok(self.pause(failure.to_string(), pause))
            }
            Failure::Garbled { .. } | Failure::TooLarge { .. } if self.lines.is_some() => Err(failure),
            _ => Ok(self.pause(failure.to_string(), None)),
        }
    }

    /// Is away for a while: as long as the node asks for, else longer each time, and never all listeners
    /// together.
    fn pause(&mut self, reason: String, asked: Option<Duration>) -> Happening {
        if self.lines.take().is_some() {
            self.lost = Instant::now();
        }
        let longest = PAUSE.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        self.failures += 1;
        let chosen = longest.mul_f64(rand::rng().random_range(0.5..=1.0));
        let pause = asked.map_or(chosen, |asked| asked.min(PAUSE_MAX));
        self.wake = Instant::now() + pause;
        Happening::Lost { reason, pause }
    }

    fn garbled(&self, reason: String) -> Failure {
        Failure::Garbled { url: self.api.base().to_string(), reason }
    }
}
