//! A request of a connection on its way through the application.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::{Request, RequestHead, Response};
use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, Service};
use actix_web::error::PayloadError;
use actix_web::http::{ConnectionType, header};
use bytes::Bytes;
use futures_util::Stream;

use super::{Coming, Inflow};
use crate::http::misread::{announced, has_end};
use crate::http::problem::{Kind, Problem};

/// Answers a request, and keeps account of how far that is.
pub fn serve<S>(
    mut request: Request,
    app: &S,
) -> impl Future<Output = Result<Response<Answer>, Error>> + use<S>
where
    S: Service<Request, Response = Response<BoxBody>, Error = Error>,
{
    let answering = request.conn_data::<Rc<Inflow>>().cloned().map(|inflow| {
        let payload = request.take_payload();
        let is_none = matches!(payload, Payload::None);
        let number = inflow.begin((!is_none).then(|| coming(request.head())));
        if !is_none {
            let body = Body { payload, inflow: inflow.clone(), number };
            *request.payload() = Payload::Stream { payload: Box::pin(body) };
        }
        Answering { inflow, number }
    });
    let is_large = answering.as_ref().is_some_and(|answering| answering.inflow.is_large());
    let has_room = answering.as_ref().is_none_or(|answering| {
        let headers = request.head().headers();
        let octets = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        answering.inflow.weigh(octets + request.uri().path().len(), headers.len())
    });
    let answered = if has_room { Ok(app.call(request)) } else { Err(no_room()) };
    async move {
        if let Some(Answering { inflow, .. }) = &answering {
            inflow.fed().await;
        }
        let mut response = answered?.await?;
        // The framework's buffer stays as large as the head has made it.
        if is_large && !response.head().upgrade() {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        Ok(response.map_body(|_, body| Answer { body, _answering: answering }))
    }
}

fn no_room() -> Error {
    Problem::because(Kind::Overloaded, "there is no room for the request's head").retry_after(1).into()
}

fn coming(head: &RequestHead) -> Coming {
    if !has_end(head) {
        Coming::Anything
    } else if head.headers.contains_key(header::TRANSFER_ENCODING) {
        Coming::Chunks
    } else {
        announced(&head.headers).map_or(Coming::Anything, Coming::Bytes)
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
struct Body {
    payload: Payload,
    inflow: Rc<Inflow>,
    number: u64,
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.payload).poll_next(context);
        match polled {
            Poll::Pending => self.inflow.want_more(self.number),
            Poll::Ready(None | Some(Err(_))) => self.inflow.end_body(self.number, true),
            Poll::Ready(Some(Ok(_))) => {}
        }
        polled
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.inflow.end_body(self.number, false);
    }
}

/// A body on its way out.
pub struct Answer {
    body: BoxBody,
    _answering: Option<Answering>,
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
