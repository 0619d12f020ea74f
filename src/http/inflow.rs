//! What comes in on a connection before anybody has taken it. The framework by itself reads 128 KiB ahead of what it can
//! use, of every connection; here it is handed a few at a time, and what a head takes beyond that is counted.
//!
//! A connection goes through three stages, over and over: the head of a request comes; its body comes, as far as
//! whoever reads it asks for more; and it has come whole, and is not answered yet. In the last two nothing is read that
//! would have to wait. What is read too far stays in the kernel, so that the sender feels it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use actix_http::Request;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, Service, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::rt::net::TcpStream;

use bytes::Bytes;
use futures_util::Stream;
use prometheus_client::metrics::counter::Counter;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};

use crate::intake::{Budget, Reserved};

/// What a connection takes that does nothing, and one that sends a small request.
const CONNECTION_BYTES: usize = 16 * 1024;

/// What is handed on at a time, in and out, before it is seen what becomes of it. The framework's buffers have as much
/// from the start.
pub const PIECE_BYTES: usize = 8 * 1024;

/// A head of no more than this is within what its connection takes.
const SMALL_HEAD_BYTES: usize = 4 * 1024;

/// Past it the framework has given up on a head (its `MAX_BUFFER_SIZE`): what comes is no head, and thrown away.
const HEAD_BYTES_MAX: usize = 128 * 1024 + PIECE_BYTES;

/// Whoever finds no room is told so, as far as that is possible without having read the request.
const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What connections take of the node's memory.
#[derive(Debug, Clone)]
pub struct Inflows {
    pub memory: Arc<Budget>,
    /// Of it, heads that are not small.
    pub heads: Arc<Budget>,
    /// Connections that found no room.
    pub refused: Counter,
}

/// A connection as the framework has it.
pub struct Connection {
    socket: Take<TcpStream>,
    inflow: Rc<Inflow>,
    _room: Reserved,
}

/// How far a connection is.
pub struct Inflow {
    inflows: Inflows,
    stage: Cell<Stage>,
    /// Which request it is.
    number: Cell<u64>,
    /// Whether something was read since the last head was over.
    has_begun: Cell<bool>,
    /// What was read that may not have been taken yet.
    ahead: Cell<usize>,
    /// What was read since the framework was last to look at it.
    unseen: Cell<usize>,
    /// Room for the head that is coming, or was taken and is not answered.
    head: RefCell<Option<Reserved>>,
    /// Wants to read on.
    reader: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    Answer,
}

impl Connection {
    /// Takes a connection in, or refuses it where there is no room for one more.
    ///
    /// # Errors
    /// Where there is none.
    pub fn accept(socket: TcpStream, inflows: Inflows) -> io::Result<Self> {
        let Some(room) = inflows.memory.reserve(CONNECTION_BYTES) else {
            return Err(refuse(&socket, &inflows));
        };
        let inflow = Inflow {
            inflows,
            stage: Cell::new(Stage::Head),
            number: Cell::new(0),
            has_begun: Cell::new(false),
            ahead: Cell::new(0),
            unseen: Cell::new(0),
            head: RefCell::new(None),
            reader: RefCell::new(None),
        };
        Ok(Self { socket: socket.take(0), inflow: Rc::new(inflow), _room: room })
    }

    pub fn socket(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    pub fn inflow(&self) -> Rc<Inflow> {
        self.inflow.clone()
    }
}

/// Says that there is no room; whether that arrives is another matter.
fn refuse(socket: &TcpStream, inflows: &Inflows) -> io::Error {
    inflows.refused.inc();
    // Around the runtime, which has not seen yet that it may be written to.
    if let Err(error) = SockRef::from(socket).send(NO_ROOM) {
        tracing::debug!(%error, "a connection for which there is no room could not be told");
    }
    io::Error::new(io::ErrorKind::OutOfMemory, "there is no room for the connection or its request")
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let room = this.inflow.room();
        if room == 0 {
            this.inflow.rest(context);
            return Poll::Pending;
        }
        this.socket.set_limit(room as u64);
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.socket).poll_read(context, buffer) else {
            this.inflow.unseen.set(0);
            return Poll::Pending;
        };
        read?;
        Poll::Ready(match this.inflow.read(buffer.filled().len() - before) {
            true => Ok(()),
            false => Err(refuse(this.socket.get_ref(), &this.inflow.inflows)),
        })
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.socket.get_mut()).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.socket.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.socket.get_mut()).poll_shutdown(context)
    }
}

impl Inflow {
    /// How much may be read now.
    fn room(&self) -> usize {
        let unseen = PIECE_BYTES.saturating_sub(self.unseen.get());
        match self.stage.get() {
            Stage::Head => unseen,
            Stage::Body | Stage::Answer => unseen.min(PIECE_BYTES.saturating_sub(self.ahead.get())),
        }
    }

    /// Lets the framework see what was read; it reads on at once, or when something has been taken.
    fn rest(&self, context: &Context<'_>) {
        self.unseen.set(0);
        if self.room() > 0 {
            context.waker().wake_by_ref();
        } else {
            *self.reader.borrow_mut() = Some(context.waker().clone());
        }
    }

    /// Counts what was read; false where there is no room for it.
    fn read(&self, bytes: usize) -> bool {
        self.unseen.set(self.unseen.get() + bytes);
        self.ahead.set(self.ahead.get() + bytes);
        if self.stage.get() != Stage::Head {
            return true;
        }
        self.has_begun.set(true);
        let ahead = self.ahead.get();
        if ahead > HEAD_BYTES_MAX {
            self.ahead.set(0);
            *self.head.borrow_mut() = None;
        }
        // The parser's buffer grows by doubling; later on the head is there in its own form and in ours.
        ahead <= SMALL_HEAD_BYTES || ahead > HEAD_BYTES_MAX || self.make_room(2 * (ahead - SMALL_HEAD_BYTES))
    }

    fn make_room(&self, bytes: usize) -> bool {
        let mut head = self.head.borrow_mut();
        match head.as_mut() {
            Some(held) => held.grow_to(bytes),
            None => {
                *head = self.inflows.heads.reserve(bytes);
                head.is_some()
            }
        }
    }

    /// A head has come whole. Its request's number.
    fn begin(&self, has_body: bool) -> u64 {
        self.number.set(self.number.get() + 1);
        // What came behind it was in the same piece. Where nothing was read it had waited for another's answer.
        if self.has_begun.replace(false) {
            self.ahead.set(0);
        }
        self.stage.set(if has_body { Stage::Body } else { Stage::Answer });
        self.number.get()
    }

    /// Whoever reads the body has had all there is.
    fn want_more(&self, number: u64) {
        if self.is_at(number, Stage::Body) {
            self.ahead.set(0);
            self.wake();
        }
    }

    /// The body is over.
    fn end_body(&self, number: u64) {
        if self.is_at(number, Stage::Body) {
            self.stage.set(Stage::Answer);
            self.want_next();
        }
    }

    /// Nobody reads the body any more. The framework goes over what still comes of it.
    fn leave_body(&self, number: u64) {
        if self.is_at(number, Stage::Body) {
            self.stage.set(Stage::Head);
            self.want_next();
        }
    }

    fn want_next(&self) {
        self.ahead.set(0);
        self.wake();
    }

    /// The request is gone; what answers it may still be sent.
    fn forget_head(&self, number: u64) {
        if self.number.get() == number {
            *self.head.borrow_mut() = None;
        }
    }

    /// The answer was handed on whole.
    fn end(&self, number: u64) {
        if self.number.get() == number {
            self.stage.set(Stage::Head);
            self.wake();
        }
    }

    fn is_at(&self, number: u64, stage: Stage) -> bool {
        self.number.get() == number && self.stage.get() == stage
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// Answers a request of a connection, and keeps account of how far that is.
pub fn serve<S>(
    mut request: Request,
    app: &S,
) -> impl Future<Output = Result<ServiceResponse<Answer>, S::Error>> + use<S>
where
    S: Service<Request, Response = ServiceResponse<BoxBody>>,
{
    let inflow = request.conn_data::<Rc<Inflow>>().cloned();
    let stage = inflow.map(|inflow| {
        let payload = request.take_payload();
        let has_body = !matches!(payload, Payload::None);
        let number = inflow.begin(has_body);
        if has_body {
            let coming = Coming { payload, inflow: inflow.clone(), number };
            *request.payload() = Payload::Stream { payload: Box::pin(coming) };
        }
        Answering { inflow, number }
    });
    let answered = app.call(request);
    async move {
        let answered = answered.await;
        if let Some(stage) = &stage {
            stage.inflow.forget_head(stage.number);
        }
        Ok(answered?.map_body(|_, body| Answer { body, _stage: stage }))
    }
}

/// The request is answered when this is dropped.
struct Answering {
    inflow: Rc<Inflow>,
    number: u64,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.inflow.end(self.number);
    }
}

/// A body on its way in.
struct Coming {
    payload: Payload,
    inflow: Rc<Inflow>,
    number: u64,
}

impl Stream for Coming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.payload).poll_next(context);
        match polled {
            Poll::Pending => self.inflow.want_more(self.number),
            Poll::Ready(None | Some(Err(_))) => self.inflow.end_body(self.number),
            Poll::Ready(Some(Ok(_))) => {}
        }
        polled
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.inflow.leave_body(self.number);
    }
}

/// A body on its way out.
pub struct Answer {
    body: BoxBody,
    _stage: Option<Answering>,
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
