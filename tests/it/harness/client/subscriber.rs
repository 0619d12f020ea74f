//! Subscribers of `GET /api/stream`, in each of its framings. They read only when they are asked, so a
//! test makes a slow one by not asking.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::ACCEPT;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::harness::TestResult;

const PATH: &str = "/api/stream";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    WebSocket,
    Sse,
    Ndjson,
}

impl Framing {
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::Sse, Self::Ndjson];
}

pub struct Subscriber {
    source: Source,
    cursor: Option<String>,
}

enum Source {
    WebSocket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Sse(Lines),
    Ndjson(Lines),
}

impl Subscriber {
    /// Subscribes at `HOST:PORT`; the query is like `endpoint=orders&since=CURSOR`, or empty. The first
    /// message is yet to be read.
    pub async fn open(framing: Framing, host: &str, query: &str) -> TestResult<Self> {
        Self::open_as(framing, host, query, "").await
    }

    /// The same with a token, or with an empty one.
    pub async fn open_as(framing: Framing, host: &str, query: &str, token: &str) -> TestResult<Self> {
        let source = match framing {
            Framing::WebSocket => {
                let mut request = format!("ws://{host}{PATH}?{query}").into_client_request()?;
                if !token.is_empty() {
                    request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
                }
                Source::WebSocket(Box::new(tokio_tungstenite::connect_async(request).await?.0))
            }
            Framing::Sse => Source::Sse(Lines::open(host, query, "text/event-stream", token).await?),
            Framing::Ndjson => Source::Ndjson(Lines::open(host, query, "application/x-ndjson", token).await?),
        };
        Ok(Self { source, cursor: None })
    }

    /// The next message, or nothing once the stream has ended. What has been read of an unfinished one
    /// is kept when this is given up.
    pub async fn next(&mut self) -> TestResult<Option<Value>> {
        let message = match &mut self.source {
            Source::WebSocket(socket) => next_frame(socket).await?,
            Source::Sse(lines) => lines.next_event().await?,
            Source::Ndjson(lines) => lines.next_value().await?,
        };
        let cursor = message.as_ref().and_then(|message| message["cursor"].as_str());
        if let Some(cursor) = cursor {
            self.cursor = Some(cursor.to_owned());
        }
        Ok(message)
    }

    /// Reads up to and with the first message that fits, which must come in time.
    pub async fn read_until(
        &mut self,
        limit: Duration,
        fits: impl Fn(&Value) -> bool,
    ) -> TestResult<Vec<Value>> {
        let mut messages = Vec::new();
        let read = tokio::time::timeout(limit, async {
            while !messages.last().is_some_and(&fits) {
                messages.push(self.next().await?.ok_or("the stream ended")?);
            }
            TestResult::Ok(())
        });
        match read.await {
            Ok(outcome) => outcome.map(|()| messages),
            Err(_) => {
                let last = messages.last();
                Err(format!("not within {limit:?}; {} messages, last {last:?}", messages.len()).into())
            }
        }
    }

    /// Reads until so many captures have come, and returns everything that came.
    pub async fn read_captures(&mut self, count: usize, limit: Duration) -> TestResult<Vec<Value>> {
        let seen = std::cell::Cell::new(0);
        if count == 0 {
            return Ok(Vec::new());
        }
        self.read_until(limit, |message| {
            seen.set(seen.get() + usize::from(message["type"] == "capture"));
            seen.get() >= count
        })
        .await
    }

    /// The cursor of the last message that had one: what to resume from.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }
}

async fn next_frame(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> TestResult<Option<Value>> {
    loop {
        match socket.next().await.transpose()? {
            Some(Message::Text(text)) => return Ok(Some(serde_json::from_str(&text)?)),
            Some(Message::Ping(_) | Message::Pong(_)) => {}
            Some(Message::Close(_)) | None => return Ok(None),
            Some(other) => return Err(format!("unexpected frame: {other:?}").into()),
        }
    }
}

/// A response's body, line by line.
struct Lines {
    response: reqwest::Response,
    buffer: Vec<u8>,
    /// How much of it has no line end.
    seen: usize,
    /// `data` lines of an event that is not complete yet.
    data: String,
}

impl Lines {
    async fn open(host: &str, query: &str, accept: &str, token: &str) -> TestResult<Self> {
        let mut request = reqwest::Client::new().get(format!("http://{host}{PATH}?{query}"));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        let response = request.header(ACCEPT, accept).send().await?;
        let status = response.status();
        if status != 200 {
            return Err(format!("{status}: {}", response.text().await?).into());
        }
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with(accept)) {
            return Err(format!("asked for {accept}, got {kind:?}").into());
        }
        Ok(Self { response, buffer: Vec::new(), seen: 0, data: String::new() })
    }

    /// Without its line end; nothing at the end of the body.
    async fn next_line(&mut self) -> TestResult<Option<String>> {
        loop {
            let unseen = &self.buffer[self.seen..];
            if let Some(end) = unseen.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.seen + end).collect();
                self.seen = 0;
                return Ok(Some(String::from_utf8(line)?.trim_end_matches(['\r', '\n']).to_owned()));
            }
            self.seen = self.buffer.len();
            match self.response.chunk().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }

    async fn next_value(&mut self) -> TestResult<Option<Value>> {
        while let Some(line) = self.next_line().await? {
            if !line.is_empty() {
                return Ok(Some(serde_json::from_str(&line)?));
            }
        }
        Ok(None)
    }

    /// An event's data. Comments and events without data are passed over.
    async fn next_event(&mut self) -> TestResult<Option<Value>> {
        while let Some(line) = self.next_line().await? {
            if let Some(data) = line.strip_prefix("data:") {
                self.data += data.strip_prefix(' ').unwrap_or(data);
            } else if line.is_empty() && !self.data.is_empty() {
                return Ok(Some(serde_json::from_str(&std::mem::take(&mut self.data))?));
            }
        }
        Ok(None)
    }
}
