//! What a capture is judged by: whether it may come in, and which rules may answer it. Both hold for one
//! version of the configuration, and are asked again where the batch is committed under another.

use std::sync::Arc;

use bytes::Bytes;

use super::accept::Refusal;
use super::configuration::Snapshot;
use crate::database::{Database, DatabaseError};
use crate::model::{BodyContent, Capture, CaptureKind, ReplyChoice, ReplySource};
use crate::rules::endpoint::Denied;
use crate::rules::{Decision, Endpoint, Rule, Seen};
use crate::storage;

/// Who may choose the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The rules, and then the endpoint. Where the endpoint's limit turns out to be less than the body, this
    /// status tells so.
    Rules { too_large: u16 },
    /// It is settled.
    Nobody,
}

/// A capture's case, as far as it was judged.
#[derive(Debug, Clone)]
pub struct Case {
    ask: Ask,
    /// The skin's own choice, where nothing else answers.
    pub fallback: ReplyChoice,
    /// What rules see of the body, where that is not the capture's own.
    pub seen: Option<Bytes>,
    /// Whether there is no more of it that they might see.
    whole: bool,
    /// The configuration that this was judged under.
    pub config_seq: i64,
    /// The rules that may answer, the first that a state allows.
    pub candidates: Vec<Arc<Rule>>,
    endpoint: Option<Arc<Endpoint>>,
}

/// What answers a capture.
#[derive(Debug, Clone)]
pub enum Chosen {
    /// What the skin has chosen by itself.
    Fallback,
    Rule(Decision),
    /// The endpoint's own reply.
    Endpoint(Arc<Endpoint>),
}

/// Whether a request may come in under a version of the configuration.
pub fn admit(snapshot: &Snapshot, capture: &Capture) -> Result<(), Refusal> {
    // How a socket ended is told, whatever was changed since it was opened.
    if capture.kind == CaptureKind::WebSocketClose {
        return Ok(());
    }
    if !snapshot.knows(&capture.endpoint) {
        return Err(Refusal::UnknownEndpoint);
    }
    let Some(endpoint) = snapshot.endpoint(&capture.endpoint) else { return Ok(()) };
    // What an open WebSocket brings was admitted with its handshake, which alone says the secret.
    let is_request = matches!(capture.kind, CaptureKind::Http | CaptureKind::WebSocketOpen);
    match endpoint.admit(&Seen::new(capture, &[])) {
        Err(Denied::Source) => Err(Refusal::SourceDenied),
        // Browsers never say a secret with a preflight, nor send content with it.
        Err(Denied::NoSecret { .. }) if capture.is_preflight() && !capture.announces_content() => Ok(()),
        Err(Denied::NoSecret { basic }) if is_request => Err(Refusal::AccessDenied { basic }),
        _ => Ok(()),
    }
}

impl Case {
    /// A case that was not judged yet.
    pub fn new(capture: &Capture, ask: Ask, seen: Option<Bytes>, whole: bool) -> Self {
        Self {
            ask,
            fallback: capture.reply.clone(),
            seen,
            whole,
            config_seq: i64::MIN,
            candidates: Vec::new(),
            endpoint: None,
        }
    }

    /// Judges a case under a configuration. A body of which the rules would see too little is read: when it came
    /// nobody wanted to look.
    pub async fn judge(
        &mut self,
        snapshot: &Snapshot,
        capture: &mut Capture,
        database: &dyn Database,
        body_bytes_max: usize,
    ) -> Result<(), DatabaseError> {
        if self.lacks_body(snapshot, capture) {
            self.seen = Some(storage::bodies::read_start(database, capture, body_bytes_max).await?);
            self.whole = true;
        }
        self.judge_at_once(snapshot, capture);
        Ok(())
    }

    /// Whether rules look further into the body than it is at hand.
    pub fn lacks_body(&self, snapshot: &Snapshot, capture: &Capture) -> bool {
        self.ask != Ask::Nobody && !self.whole && snapshot.looks_into_bodies(&capture.endpoint)
    }

    /// Judges a case with as much of the body as is at hand.
    pub fn judge_at_once(&mut self, snapshot: &Snapshot, capture: &mut Capture) {
        self.config_seq = snapshot.config_seq;
        let Ask::Rules { too_large } = self.ask else { return };
        let endpoint = snapshot.endpoint(&capture.endpoint);
        if let Some(most) = endpoint.and_then(|endpoint| endpoint.body_bytes_max)
            && capture.body.bytes > most as u64
            && capture.kind == CaptureKind::Http
        {
            // The limit was lowered while it came.
            cut(capture, most);
            self.ask = Ask::Nobody;
            self.fallback = ReplyChoice::of(ReplySource::Limit, too_large);
            self.candidates.clear();
            self.endpoint = None;
            return;
        }
        self.candidates =
            snapshot.rules.candidates(&Seen::new(capture, body_of(capture, self.seen.as_ref())));
        self.endpoint = endpoint.filter(|endpoint| endpoint.reply.is_some()).cloned();
    }

    /// Whether a state decides, or is changed.
    pub fn is_stateful(&self) -> bool {
        self.candidates.iter().any(|rule| rule.is_stateful())
    }

    /// What answers, when the states have had their say.
    pub fn chosen(&self, decision: Option<Decision>, capture: &Capture) -> Chosen {
        match (decision, &self.endpoint) {
            (Some(decision), _) => Chosen::Rule(decision),
            (None, Some(endpoint)) if capture.kind == CaptureKind::Http => Chosen::Endpoint(endpoint.clone()),
            (None, _) => Chosen::Fallback,
        }
    }
}

/// The body as far as rules and templates see it.
pub fn body_of<'a>(capture: &'a Capture, seen: Option<&'a Bytes>) -> &'a [u8] {
    match (seen, &capture.body.content) {
        (Some(body), _) | (None, BodyContent::Inline(body) | BodyContent::Parts { start: body }) => body,
    }
}

/// Marks a body as cut off. What is kept in parts stays as it came.
fn cut(capture: &mut Capture, most: usize) {
    capture.body.truncated = true;
    if let BodyContent::Inline(content) = &mut capture.body.content {
        content.truncate(most);
        capture.body.bytes = content.len() as u64;
    }
}
