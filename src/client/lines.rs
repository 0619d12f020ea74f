//! An answer that comes line by line, for as long as it comes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::Failure;
use super::connection::root_cause;

/// Lines of an answer's body, each within a bound.
pub struct Lines {
    url: String,
    body: Incoming,
    /// Whole lines that have come.
    ready: VecDeque<Bytes>,
    /// The beginning of the next one.
    begun: BytesMut,
    line_bytes_max: usize,
    /// A connection that is silent for longer is dead, whatever TCP says.
    silence_max: Duration,
}

impl Lines {
    pub(super) fn new(url: String, body: Incoming, line_bytes_max: usize, silence_max: Duration) -> Self {
        Self { url, body, ready: VecDeque::new(), begun: BytesMut::new(), line_bytes_max, silence_max }
    }

    /// The next line that is not blank, without its end; None when the answer has ended. Safe to cancel.
    ///
    /// # Errors
    /// A lost or silent connection; a line over the bound.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            let frame = tokio::time::timeout(self.silence_max, self.body.frame()).await;
            let frame =
                frame.map_err(|_| Failure::Silent { url: self.url.clone(), limit: self.silence_max })?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| Failure::Unreachable {
                url: self.url.clone(),
                reason: root_cause(&error),
            })?;
            if let Ok(data) = frame.into_data() {
                self.take(&data)?;
            }
        }
    }

    fn take(&mut self, mut data: &[u8]) -> Result<(), Failure> {
        while let Some(end) = memchr::memchr(b'\n', data) {
            self.check(end)?;
            self.begun.extend_from_slice(&data[..end]);
            data = &data[end + 1..];
            let line = std::mem::take(&mut self.begun).freeze();
            if !line.trim_ascii().is_empty() {
                self.ready.push_back(line);
            }
        }
        self.check(data.len())?;
        self.begun.extend_from_slice(data);
        Ok(())
    }

    fn check(&self, more: usize) -> Result<(), Failure> {
        match self.begun.len() + more > self.line_bytes_max {
            true => Err(Failure::TooLarge { url: self.url.clone(), bytes_max: self.line_bytes_max }),
            false => Ok(()),
        }
    }
}
