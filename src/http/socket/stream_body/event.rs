//! An event's turn: whether it is wanted, how it is framed, and what memory it takes while it is sent.

use actix_http::ws::OpCode;
use bytes::Bytes;

use super::{Framing, Large, Out, StreamBody};
use crate::access::Places;
use crate::database::DatabaseError;
use crate::feed::{Event, Lent};
use crate::http::inflow::PIECE_BYTES;
use crate::http::room::slices;
use crate::http::socket::frames;

impl StreamBody {
    /// Sees to an event that was first in the queue: it is begun or left out, given back where it is not there any more,
    /// or stays where it was until the database answers or there is room.
    pub(super) async fn turn_of(&mut self, lent: Lent) {
        let Some(event) = lent.get() else {
            self.queue.push_front(Out::Event(lent));
            return self.give_back();
        };
        match self.reader.wanted.has(&event).await {
            Ok(true) if self.begin(&event) => drop(self.state.metrics.deliveries.inc()),
            Ok(true) => {
                self.queue.push_front(Out::Event(lent));
                self.pause_a_while();
            }
            Ok(false) => {}
            Err(error) => {
                self.queue.push_front(Out::Event(lent));
                self.pause(&error);
            }
        }
    }

    /// Encodes an event when its turn comes. What is sealed is made for one subscriber, so that this is also
    /// what bounds it; all others share what was encoded once. False where there is no memory for it.
    fn begin(&mut self, event: &Event) -> bool {
        let form = self.subscriber.form();
        let sealed = match &self.reader.places {
            Places::Plain => None,
            places @ Places::Sealed(_) => Some(places.write(event.cursor)),
        };
        let apart = sealed.as_ref().map(|cursor| event.encoded_apart(form, cursor));
        let encoded = apart.as_ref().unwrap_or_else(|| event.encoded(form));
        let large = self.subscriber.large(event, encoded);
        let bytes = match &large {
            // A part, and what it is written into.
            Some(_) => encoded.bytes() + 3 * self.state.settings.journal.body_part_bytes,
            None => encoded.bytes(),
        };
        if !self.make_room(bytes) {
            return false;
        }
        let cursor = || sealed.clone().unwrap_or_else(|| event.cursor.to_string());
        if let Some(event) = large {
            let large = Large { event, cursor: cursor(), begun: false };
            self.queue.push_front(Out::Large(Box::new(large)));
            return true;
        }
        match self.framing {
            Framing::WebSocket => self.put_first([encoded.websocket_frame()], false),
            Framing::Lines => self.put_first([encoded.line()], false),
            Framing::Sse => {
                let id = format!("id: {}\ndata: ", cursor());
                self.put_first([id.into(), encoded.json(), Bytes::from_static(b"\n\n")], false);
            }
        }
        true
    }

    /// Makes room for an event in place of the one before, which was handed on. What is small is within what its
    /// connection takes.
    fn make_room(&mut self, bytes: usize) -> bool {
        self.room = None;
        if bytes > PIECE_BYTES {
            self.room = self.state.memory.reserve(bytes);
        }
        self.room.is_some() || bytes <= PIECE_BYTES
    }

    pub(super) async fn piece_of(&mut self, mut large: Box<Large>) -> Result<(), DatabaseError> {
        let Some((piece, last)) = large.event.next().await? else { return Ok(()) };
        let begun = std::mem::replace(&mut large.begun, true);
        let mut pieces = Vec::new();
        match self.framing {
            Framing::WebSocket => {
                let opcode = if begun { OpCode::Continue } else { OpCode::Text };
                pieces.push(frames::fragment(opcode, &piece, last));
            }
            Framing::Lines => pieces.push(piece),
            Framing::Sse if begun => pieces.push(piece),
            Framing::Sse => pieces.extend([format!("id: {}\ndata: ", large.cursor).into(), piece]),
        }
        match self.framing {
            Framing::Lines if last => pieces.push(Bytes::from_static(b"\n")),
            Framing::Sse if last => pieces.push(Bytes::from_static(b"\n\n")),
            _ => {}
        }
        if !last {
            self.queue.push_front(Out::Large(large));
        }
        self.put_first(pieces, begun);
        Ok(())
    }

    /// Puts pieces of one message before everything that waits; where it has begun they continue it.
    pub(super) fn put_first(&mut self, pieces: impl IntoIterator<Item = Bytes>, begun: bool) {
        for (place, slice) in pieces.into_iter().flat_map(slices).enumerate() {
            let begins = !begun && place == 0;
            self.queue.insert(place, if begins { Out::Bytes(slice) } else { Out::More(slice) });
        }
    }
}
