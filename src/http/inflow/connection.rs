//! A connection as the framework has it: what is read is handed on as far as it is wanted, and kept as far as not.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use bytes::{Buf as _, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};
use tokio::time::Sleep;

use super::{CONNECTION_BYTES, Inflow, Inflows, PIECE_BYTES, Stage};
use crate::intake::Reserved;

/// Whoever finds no room is told so, as far as that is possible without having read the request.
const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What is read before it is wanted, to see whether the peer is gone.
const EARLY_BYTES: usize = 1024;

pub struct Connection {
    socket: Take<TcpStream>,
    inflow: Rc<Inflow>,
    /// What was read and is not wanted yet: no more than a piece.
    kept: Bytes,
    head_timeout: Duration,
    /// When a head that has begun must be there; the framework looks to the first one alone.
    head_due: Option<Pin<Box<Sleep>>>,
    /// The peer has not taken all that was written.
    is_behind: bool,
    _room: Reserved,
}

impl Connection {
    /// Takes a connection in, or refuses it where there is no room for one more.
    ///
    /// # Errors
    /// Where there is none.
    pub fn accept(socket: TcpStream, inflows: Inflows, head_timeout: Duration) -> io::Result<Self> {
        let Some(room) = inflows.memory.reserve(CONNECTION_BYTES) else {
            return Err(refuse(&socket, &inflows));
        };
        Ok(Self {
            socket: socket.take(0),
            inflow: Rc::new(Inflow::new(inflows)),
            kept: Bytes::new(),
            head_timeout,
            head_due: None,
            is_behind: false,
            _room: room,
        })
    }

    pub fn socket(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    pub fn inflow(&self) -> Rc<Inflow> {
        self.inflow.clone()
    }

    /// Reads from the socket.
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        bytes_max: usize,
    ) -> Poll<io::Result<()>> {
        self.socket.set_limit(bytes_max as u64);
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }

    /// Nothing is wanted: sees whether the peer is gone, as long as nothing else has come.
    fn poll_gone(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stage = self.inflow.stage.get();
        if stage == Stage::Over {
            return Poll::Ready(Ok(()));
        }
        if matches!(stage, Stage::Headed | Stage::Whole) && self.kept.is_empty() {
            let before = buffer.filled().len();
            if self.poll_piece(context, buffer, EARLY_BYTES)?.is_pending() {
                self.inflow.unseen.set(0);
                return Poll::Pending;
            }
            self.kept = Bytes::copy_from_slice(&buffer.filled()[before..]);
            buffer.set_filled(before);
            if self.kept.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        self.inflow.rest(context);
        Poll::Pending
    }

    /// Hands on what is wanted of what was read last, and keeps the rest.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let came = &buffer.filled()[before..];
        let Some(taken) = self.inflow.take(came) else {
            // In the middle of an answer it would be taken for a part of that.
            return Err(if self.is_behind {
                no_room()
            } else {
                refuse(self.socket.get_ref(), &self.inflow.inflows)
            });
        };
        if taken < came.len() {
            self.kept = Bytes::copy_from_slice(&came[taken..]);
            buffer.set_filled(before + taken);
        }
        Ok(())
    }

    /// Whether the head that has begun takes too long.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.head_timeout;
        self.head_due.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit))).as_mut().poll(context)
    }
}

/// Says that there is no room; whether that arrives is another matter.
fn refuse(socket: &TcpStream, inflows: &Inflows) -> io::Error {
    inflows.refused.inc();
    // Around the runtime, which has not seen yet that it may be written to.
    if let Err(error) = SockRef::from(socket).send(NO_ROOM) {
        tracing::debug!(%error, "a connection for which there is no room could not be told");
    }
    no_room()
}

fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "there is no room for the connection or its request")
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let has_begun = this.inflow.stage.get() == Stage::Head && this.inflow.head.borrow().bytes > 0;
        if !has_begun {
            this.head_due = None;
        }
        if this.inflow.room() == 0 {
            return this.poll_gone(context, buffer);
        }
        let before = buffer.filled().len();
        if !this.kept.is_empty() {
            let piece = this.kept.len().min(this.inflow.room()).min(buffer.remaining());
            let mut kept = std::mem::take(&mut this.kept);
            buffer.put_slice(&kept[..piece]);
            this.hand_on(buffer, before)?;
            kept.advance(buffer.filled().len() - before);
            this.kept = kept;
            return Poll::Ready(Ok(()));
        }
        if this.poll_piece(context, buffer, PIECE_BYTES)?.is_ready() {
            return Poll::Ready(this.hand_on(buffer, before));
        }
        this.inflow.unseen.set(0);
        if has_begun {
            return this.poll_late(context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.socket.get_mut()).poll_write(context, bytes);
        self.is_behind = !matches!(written, Poll::Ready(Ok(count)) if count == bytes.len());
        written
    }

    /// The framework ends each of its turns with this.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inflow.is_unfed.take() {
            context.waker().wake_by_ref();
        }
        Pin::new(self.socket.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.socket.get_mut()).poll_shutdown(context)
    }
}
