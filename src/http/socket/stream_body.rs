//! What a subscriber is sent: the body of the answer, made as the connection takes it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use actix_http::ws::OpCode;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::frames;
use super::messages::{Fault, Incoming, Messages, close_code};
use super::notice::Notice;
use super::wanted::Wanted;
use crate::access::{Leave, Places};
use crate::database::DatabaseError;
use crate::feed::{Item, LargeEvent, Lent, Subscriber};
use crate::http::room::slices;
use crate::http::state::State;
use crate::intake::Reserved;
use crate::model::Cursor;

mod event;
mod said;

/// Pause before the database is asked again after it failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How messages are told apart on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    WebSocket,
    /// Server-sent events (HTML standard, section 9.2).
    Sse,
    /// A message a line.
    Lines,
}

/// Who is sent a stream: what they want to see, how they are shown places, and for how long they may go on.
pub struct Reader {
    pub wanted: Wanted,
    pub places: Places,
    pub leave: Leave,
}

pub struct StreamBody {
    state: Arc<State>,
    subscriber: Subscriber,
    reader: Reader,
    framing: Framing,
    messages: Option<Messages>,
    queue: VecDeque<Out>,
    heartbeat: Instant,
    /// The database failed, or there was no memory; neither is asked before. Where an event stands first in the queue, it
    /// is this that waits.
    paused_until: Option<Instant>,
    /// Memory for the event that is being sent, where it is not small.
    room: Option<Reserved>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

enum Out {
    /// A message, or its beginning.
    Bytes(Bytes),
    /// What continues the bytes before.
    More(Bytes),
    /// An event that is encoded when its turn comes.
    Event(Lent),
    /// An event sent piece by piece.
    Large(Box<Large>),
}

struct Large {
    event: LargeEvent,
    cursor: String,
    /// Whether its first piece was sent.
    begun: bool,
}

enum Happened {
    Items(Result<Vec<Item>, DatabaseError>),
    Received(Result<Incoming, Fault>),
    HeartbeatDue,
    Stopping,
    LeaveOver,
}

impl StreamBody {
    pub fn new(
        state: Arc<State>,
        subscriber: Subscriber,
        reader: Reader,
        framing: Framing,
        messages: Option<Messages>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        state.metrics.subscribers.inc();
        let heartbeat = Instant::now() + state.settings.stream.heartbeat();
        let mut body = Self {
            state,
            subscriber,
            reader,
            framing,
            messages,
            queue: VecDeque::new(),
            heartbeat,
            paused_until: None,
            room: None,
            ended: false,
            _permit: permit,
        };
        let cursor = body.cursor();
        body.say(&Notice::Ready { cursor });
        body
    }

    /// The next piece; None ends the answer.
    pub async fn next(mut self: Box<Self>) -> Option<(Result<Bytes, DatabaseError>, Box<Self>)> {
        loop {
            if !self.ended && self.reader.leave.is_over() {
                self.expel();
            }
            let first = if self.is_held() { None } else { self.queue.pop_front() };
            match first {
                Some(Out::Bytes(bytes) | Out::More(bytes)) => return Some((Ok(bytes), self)),
                Some(Out::Event(lent)) => self.turn_of(lent).await,
                Some(Out::Large(large)) => match self.piece_of(large).await {
                    Ok(()) => {}
                    // In the middle of a message nothing else can be said.
                    Err(error) => return Some((Err(error), self)),
                },
                None if self.ended => return None,
                None => match self.wait().await {
                    Happened::Items(Ok(items)) => self.take(items),
                    Happened::Items(Err(error)) => self.pause(&error),
                    Happened::Received(received) => self.receive(received).await,
                    Happened::HeartbeatDue => {
                        self.heartbeat = Instant::now() + self.state.settings.stream.heartbeat();
                        self.tell_first(|cursor| Notice::Heartbeat { cursor });
                    }
                    Happened::Stopping => self.stop().await,
                    // Seen to at the next turn.
                    Happened::LeaveOver => {}
                },
            }
        }
    }

    /// Whether an event stands first that cannot be judged yet.
    fn is_held(&self) -> bool {
        self.paused_until.is_some() && matches!(self.queue.front(), Some(Out::Event(_)))
    }

    fn pause(&mut self, error: &DatabaseError) {
        tracing::debug!(error = error as &dyn std::error::Error, "a subscriber waits for the database");
        self.pause_a_while();
    }

    fn pause_a_while(&mut self) {
        self.paused_until = Some(Instant::now() + RETRY_PAUSE);
    }

    /// Waits for whatever is next; no items come where an event is held, and may be judged now.
    async fn wait(&mut self) -> Happened {
        self.room = None;
        let (paused_until, is_held) = (self.paused_until, self.is_held());
        let subscriber = &mut self.subscriber;
        let items = async {
            if let Some(until) = paused_until {
                tokio::time::sleep_until(until).await;
            }
            if is_held { Ok(Vec::new()) } else { subscriber.next().await }
        };
        let happened = tokio::select! {
            items = items => Happened::Items(items),
            received = receive(&mut self.messages) => Happened::Received(received),
            () = tokio::time::sleep_until(self.heartbeat) => Happened::HeartbeatDue,
            () = self.state.shutdown.drained() => Happened::Stopping,
            () = self.reader.leave.ended() => Happened::LeaveOver,
        };
        if matches!(happened, Happened::Items(_)) {
            self.paused_until = None;
        }
        happened
    }

    fn take(&mut self, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Event(lent) => self.queue.push_back(Out::Event(lent)),
                Item::Truncated { cursor, endpoints } => {
                    let cursor = self.reader.places.write(cursor);
                    self.say(&Notice::Truncated { cursor, endpoints });
                }
                Item::Reset { cursor } => {
                    let cursor = self.reader.places.write(cursor);
                    self.say(&Notice::Reset { cursor });
                }
            }
        }
    }

    /// Gives back what was taken and is not sent: it is taken again, by the filter that is then.
    fn give_back(&mut self) {
        if let Some(seq) = self.first_held() {
            self.queue.retain(|out| !matches!(out, Out::Event(_)));
            self.subscriber.return_before(seq);
        }
    }

    fn first_held(&self) -> Option<i64> {
        self.queue.iter().find_map(|out| match out {
            Out::Event(lent) => Some(lent.seq),
            _ => None,
        })
    }

    fn push(&mut self, bytes: Bytes) {
        let mut slices = slices(bytes);
        self.queue.extend(slices.next().map(Out::Bytes));
        self.queue.extend(slices.map(Out::More));
    }

    /// Queues a message that is not an event.
    fn say(&mut self, notice: &Notice) {
        let text = notice.json();
        match self.framing {
            Framing::WebSocket => self.push(frames::frame(OpCode::Text, text.as_bytes())),
            Framing::Lines => self.push((text + "\n").into()),
            Framing::Sse => {
                let mut event = String::with_capacity(text.len() + 64);
                if let Some(cursor) = notice.cursor() {
                    writeln!(event, "id: {cursor}").expect("writing to a String cannot fail");
                }
                write!(event, "data: {text}\n\n").expect("writing to a String cannot fail");
                self.push(event.into());
            }
        }
    }

    /// Queues a message before the events that are held, with the place before them.
    fn tell_first(&mut self, notice: impl FnOnce(String) -> Notice) {
        let cursor = self.cursor_before_held();
        let held = std::mem::take(&mut self.queue);
        self.say(&notice(cursor));
        self.queue.extend(held);
    }

    /// The place behind what was taken, as the client is shown it.
    fn cursor(&self) -> String {
        self.reader.places.write(self.subscriber.cursor())
    }

    /// The place behind what was sent, or was left out, as the client is shown it.
    fn cursor_before_held(&self) -> String {
        match self.queue.front() {
            Some(Out::Event(lent)) => {
                let before = Cursor { seq: lent.seq - 1, digest: 0, ..self.subscriber.cursor() };
                self.reader.places.write(before)
            }
            _ => self.cursor(),
        }
    }

    /// The leave is over: nothing more is sent of what waits, but why. In the middle of a message not even
    /// that can be said.
    fn expel(&mut self) {
        let within_message = match self.queue.front() {
            Some(Out::More(_)) => true,
            Some(Out::Large(large)) => large.begun,
            Some(Out::Bytes(_) | Out::Event(_)) | None => false,
        };
        self.queue.clear();
        self.ended = true;
        if within_message {
            return;
        }
        // Without a cursor: that of the last message is the place behind what was sent.
        self.say(&Notice::Closing { cursor: None, reconnect_ms: None, reason: Some("unauthorized") });
        if self.framing == Framing::WebSocket {
            self.close(close_code::UNAUTHORIZED, "the token is not good any more");
        }
    }

    /// The node stops: the client is told when to come back, and with what cursor.
    async fn stop(&mut self) {
        tokio::time::sleep(self.state.pace_of_closing()).await;
        let cursor = self.cursor_before_held();
        self.queue.clear();
        let reconnect_ms = self.state.reconnect_ms();
        if self.framing == Framing::Sse {
            self.push(format!("retry: {reconnect_ms}\n\n").into());
        }
        self.say(&Notice::Closing { cursor: Some(cursor), reconnect_ms: Some(reconnect_ms), reason: None });
        if self.framing == Framing::WebSocket {
            self.close(close_code::SERVICE_RESTART, "the node is stopping");
        }
        self.ended = true;
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.state.metrics.subscribers.dec();
    }
}

async fn receive(messages: &mut Option<Messages>) -> Result<Incoming, Fault> {
    match messages {
        Some(messages) => messages.next().await,
        None => std::future::pending().await,
    }
}
