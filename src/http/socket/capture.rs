//! WebSockets on capture URLs: the open, each message and the close are captures, in order.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::ws::OpCode;
use actix_web::dev::Payload;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use uuid::Uuid;

use super::Cut;
use super::frames::{self, Outgoing};
use super::messages::{Fault, Incoming, Messages, close_code};
use crate::http::capture::{id_at, record_answer};
use crate::http::inflow::{Inflow, SMALL_HEAD_BYTES};
use crate::http::problem::{Kind, Problem, of_refusal};
use crate::http::state::State;
use crate::intake::{Accepted, Ask, Chosen, Ending, Reception, Refusal, Reserved};
use crate::metrics::Outcome;
use crate::model::{Capture, CaptureKind, HeaderBlock, ReplyChoice, ReplySource, WebSocketDetail};
use crate::rules::Seen;
use crate::rules::render::{Told, render_message};
use crate::rules::reply::MessageReply;

/// Frames that wait to be sent on one socket.
const SEND_QUEUE: usize = 16;

/// Accepts the upgrade with the answer to its handshake, once the open is durable.
pub async fn open(
    mut response: HttpResponseBuilder,
    payload: Payload,
    state: &web::Data<State>,
    mut head: Arc<Capture>,
    started: Instant,
    cut: Cut,
    inflow: Option<Rc<Inflow>>,
) -> Result<HttpResponse, Problem> {
    let permit = state.sockets.clone().try_acquire_owned().map_err(|_| {
        state.metrics.count(Outcome::SocketsFull);
        Problem::because(Kind::Overloaded, "too many capture sockets are open")
            .retry_after(state.settings.journal.retry_after_s)
    })?;
    let connection = Uuid::new_v4();
    Arc::make_mut(&mut head).websocket =
        Some(WebSocketDetail { connection, close_code: None, close_reason: None });
    response.insert_header(("x-creel-capture-id", head.id.to_string()));
    let template = Capture { headers: HeaderBlock::default(), ..Capture::clone(&head) };
    let choice = ReplyChoice::of(ReplySource::WebSocket, 101);
    let refused = |refusal: Refusal| {
        state.metrics.count(refusal.outcome());
        of_refusal(refusal, state.settings.journal.retry_after_s)
    };
    // Its target goes with every message, and may be long.
    let is_long = template.target.len() > SMALL_HEAD_BYTES;
    let room = is_long.then(|| state.intake.bodies.reserve(template.weight()).ok_or(Refusal::BodiesFull));
    let room = room.transpose().map_err(refused)?;
    let reception = Reception::begin(state.intake.clone(), head, None).await.map_err(refused)?;
    let accepted = reception.finish(Ending::Complete, choice, Ask::Nobody).await.map_err(refused)?;

    let (send, frames) = mpsc::channel(SEND_QUEUE);
    let message_bytes_max = state.settings.capture.websocket.message_bytes_max;
    let socket = CaptureSocket {
        state: state.clone(),
        template,
        connection,
        messages: Messages::new(payload, message_bytes_max, state.intake.bodies.clone()),
        received: 0,
        send,
        _permit: permit,
        _room: room,
    };
    // A task of its own: whatever becomes of the connection, what came is kept in its order, and how it ended.
    let task = actix_web::rt::spawn(socket.run());
    if let Some(inflow) = inflow {
        inflow.lasts(task);
    }
    let body = stream::unfold((frames, None, cut), |(mut frames, begun, cut)| async move {
        let mut frame: Outgoing = match begun {
            Some(frame) => frame,
            None => frames.recv().await?,
        };
        let piece = frame.piece();
        let rest = (!frame.is_sent()).then_some(frame);
        Some((Ok::<_, Infallible>(piece), (frames, rest, cut)))
    });
    let response = response.streaming(body);
    record_answer(state, &accepted, &response, &Bytes::new(), None, started);
    Ok(response)
}

struct CaptureSocket {
    state: web::Data<State>,
    /// What the events of this socket share.
    template: Capture,
    connection: Uuid,
    messages: Messages,
    /// Messages so far.
    received: u64,
    send: mpsc::Sender<Outgoing>,
    _permit: OwnedSemaphorePermit,
    _room: Option<Reserved>,
}

/// How a socket ended: what is recorded as its close, and what is sent.
struct Farewell {
    code: u16,
    reason: String,
    frame: Option<Bytes>,
}

impl Farewell {
    fn ours(code: u16, reason: &str) -> Self {
        Self { code, reason: reason.to_owned(), frame: Some(frames::close(Some((code, reason)))) }
    }
}

impl CaptureSocket {
    async fn run(mut self) {
        self.state.metrics.capture_sockets.inc();
        let farewell = self.converse().await;
        self.keep_unfinished().await;
        let websocket = WebSocketDetail {
            connection: self.connection,
            close_code: Some(farewell.code),
            close_reason: Some(farewell.reason.clone()),
        };
        let (kind, ending) = (CaptureKind::WebSocketClose, Ending::Complete);
        if let Err(refusal) = self.record(kind, websocket, &[], ending, nothing(), Ask::Nobody).await {
            self.state.metrics.count(refusal.outcome());
        }
        if let Some(frame) = farewell.frame {
            self.send(frame.into()).await;
        }
        self.state.metrics.capture_sockets.dec();
    }

    async fn converse(&mut self) -> Farewell {
        let state = self.state.clone();
        let settings = &state.settings.capture.websocket;
        let pause = (settings.idle_timeout() / 3).max(Duration::from_millis(1));
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + pause, pause);
        loop {
            let incoming = tokio::select! {
                incoming = self.messages.next() => incoming,
                _ = ping.tick() => {
                    if self.messages.silent_for() >= settings.idle_timeout() {
                        return Farewell::ours(close_code::GOING_AWAY, "idle for too long");
                    }
                    self.send(frames::frame(OpCode::Ping, b"").into()).await;
                    continue;
                }
                () = state.shutdown.drained() => {
                    tokio::time::sleep(state.pace_of_closing()).await;
                    return Farewell::ours(close_code::SERVICE_RESTART, "the node is stopping");
                }
            };
            let (opcode, held) = match incoming {
                Ok(Incoming::Message(opcode, held)) => (opcode, held),
                Ok(Incoming::Ping(payload)) => {
                    self.send(frames::frame(OpCode::Pong, &payload).into()).await;
                    continue;
                }
                Ok(Incoming::Pong) => continue,
                Ok(Incoming::Close(None)) => {
                    let frame = Some(frames::close(None));
                    return Farewell { code: close_code::NONE_RECEIVED, reason: String::new(), frame };
                }
                Ok(Incoming::Close(Some((code, reason)))) => {
                    let frame = Some(frames::close(Some((code, ""))));
                    return Farewell { code, reason, frame };
                }
                Err(fault) => return self.give_in(fault),
            };
            if self.is_one_too_many() {
                return Farewell::ours(close_code::POLICY, "too many messages");
            }
            let reply = if settings.echo { ReplyChoice::of(ReplySource::WebSocket, 0) } else { nothing() };
            let ask = Ask::Rules { too_large: 0 };
            let accepted = match self.record_message(opcode, &held.bytes, Ending::Complete, reply, ask).await
            {
                Ok(accepted) => accepted,
                Err(refusal) => {
                    state.metrics.count(refusal.outcome());
                    return match refusal {
                        Refusal::RateLimited => {
                            Farewell::ours(close_code::POLICY, "too many messages a second")
                        }
                        _ => Farewell::ours(close_code::TRY_AGAIN, "the message could not be kept"),
                    };
                }
            };
            match said(&accepted, &state) {
                Said::Nothing if !settings.echo => {}
                Said::Nothing | Said::Echo => {
                    self.send(Outgoing::message(opcode, held.bytes, Some(held.room))).await;
                }
                Said::Message(opcode, payload, room) => {
                    self.send(Outgoing::message(opcode, payload, room)).await;
                }
                Said::Close(code, reason) => return Farewell::ours(code, &reason),
            }
        }
    }

    /// How the socket ends after a fault. A message that passes a limit is counted, and not kept.
    fn give_in(&mut self, fault: Fault) -> Farewell {
        let passed = match fault {
            Fault::Broken(close_code::TOO_BIG, _) => Some(Outcome::MessageTooLarge),
            Fault::NoRoom => Some(Outcome::BodiesFull),
            Fault::Broken(..) | Fault::Gone => None,
        };
        if let Some(outcome) = passed {
            self.state.metrics.count(outcome);
            drop(self.messages.unfinished());
        }
        match fault {
            Fault::Broken(code, reason) => Farewell::ours(code, reason),
            Fault::NoRoom => Farewell::ours(close_code::TRY_AGAIN, "there is no room for the message"),
            Fault::Gone => Farewell { code: close_code::ABNORMAL, reason: String::new(), frame: None },
        }
    }

    fn is_one_too_many(&mut self) -> bool {
        let most = self.state.settings.capture.websocket.messages_max;
        self.received += 1;
        let passed = most > 0 && self.received > most;
        if passed {
            self.state.metrics.count(Outcome::TooManyMessages);
        }
        passed
    }

    /// A message that does not end is kept as far as it came, like a body.
    async fn keep_unfinished(&mut self) {
        let Some((opcode, held)) = self.messages.unfinished() else { return };
        if self.is_one_too_many() {
            return;
        }
        let ending = Ending::SenderGone;
        let kept = self.record_message(opcode, &held.bytes, ending, nothing(), Ask::Nobody).await;
        if let Err(refusal) = kept {
            self.state.metrics.count(refusal.outcome());
        }
    }

    async fn record_message(
        &self,
        opcode: OpCode,
        payload: &[u8],
        ending: Ending,
        reply: ReplyChoice,
        ask: Ask,
    ) -> Result<Accepted, Refusal> {
        let kind = match opcode {
            OpCode::Text => CaptureKind::WebSocketText,
            _ => CaptureKind::WebSocketBinary,
        };
        let websocket = WebSocketDetail { connection: self.connection, close_code: None, close_reason: None };
        self.record(kind, websocket, payload, ending, reply, ask).await
    }

    async fn record(
        &self,
        kind: CaptureKind,
        websocket: WebSocketDetail,
        payload: &[u8],
        ending: Ending,
        reply: ReplyChoice,
        ask: Ask,
    ) -> Result<Accepted, Refusal> {
        let state = &self.state;
        let received_us = state.clock.now_us();
        let head = Arc::new(Capture {
            id: id_at(received_us),
            received_us,
            kind,
            websocket: Some(websocket),
            ..self.template.clone()
        });
        if kind != CaptureKind::WebSocketClose {
            state.intake.admit(&head).await?;
        }
        let announced = Some(payload.len() as u64);
        let mut reception = Reception::begin(state.intake.clone(), head, announced).await?;
        let ending = reception.push(payload).await?.unwrap_or(ending);
        let ask = if ending == Ending::Complete { ask } else { Ask::Nobody };
        reception.finish(ending, reply, ask).await
    }

    /// A peer that is gone is nobody to send to; the task learns of it when it receives.
    async fn send(&self, frame: Outgoing) {
        if self.send.send(frame).await.is_err() {
            tracing::trace!("a capture socket's peer is gone");
        }
    }
}

fn nothing() -> ReplyChoice {
    ReplyChoice::of(ReplySource::Nothing, 0)
}

/// What a rule answers to a message.
enum Said {
    Nothing,
    Echo,
    /// With the memory that it takes, where that is its own.
    Message(OpCode, Bytes, Option<Reserved>),
    Close(u16, String),
}

fn said(accepted: &Accepted, state: &State) -> Said {
    let Chosen::Rule(decision) = &accepted.chosen else { return Said::Nothing };
    match &decision.reply().message {
        None => Said::Nothing,
        Some(MessageReply::Echo) => Said::Echo,
        Some(MessageReply::Binary(bytes)) => Said::Message(OpCode::Binary, bytes.clone(), None),
        Some(MessageReply::Close { code, reason }) => Said::Close(*code, reason.clone()),
        Some(MessageReply::Text(template)) => {
            let told =
                Told { rule: Some(&decision.rule.name), hit: decision.hit, now_us: state.clock.now_us() };
            let seen = Seen::new(&accepted.capture, accepted.body());
            match render_message(template, &seen, told, &state.render_limits) {
                Ok(text) => match state.intake.bodies.reserve(text.len()) {
                    Some(room) => Said::Message(OpCode::Text, text, Some(room)),
                    None => Said::Close(close_code::TRY_AGAIN, "there is no room for the reply".to_owned()),
                },
                Err(failure) => {
                    state.metrics.template_failures.inc();
                    tracing::debug!(%failure, "a message's reply failed");
                    Said::Close(close_code::INTERNAL, "the reply's template failed".to_owned())
                }
            }
        }
    }
}
