//! `GET /api/stream`: the feed over WebSocket, SSE or NDJSON.

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;

use super::Cut;
use super::messages::Messages;
use super::stream_body::{Framing, Reader, StreamBody};
use super::wanted::Wanted;
use crate::access::{Identity, Places};
use crate::feed::{Subscriber, Wakes};
use crate::http::api::captures::body_form;
use crate::http::api::query::{Query, invalid, method};
use crate::http::auth::Caller;
use crate::http::misread::goes_over;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::limits::FILTER_TERMS_MAX;
use crate::model::time::parse_rfc3339;
use crate::model::wire::BodyForm;
use crate::model::{Filter, Glob, Since};
use crate::rules::Accept;

/// The largest message that a subscriber may send, in bytes. Each may hold one that never ends.
const CLIENT_MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Subscribes.
pub async fn stream(
    request: HttpRequest,
    payload: web::Payload,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    // The ticket was taken at the gate.
    let once = ["since", "body", "match", "ticket"];
    let query = Query::parse(request.query_string(), &once, &["endpoint", "method"])?;
    let filter = filter(query.all("endpoint"), query.all("method"), &caller.0)?;
    let places = state.access.places(&caller.0);
    let form = body_form(&query, BodyForm::Full)?;
    let state = state.into_inner();
    let wanted = Wanted::parse(query.one("match"), state.clone()).await?;
    let upgrade = goes_over(request.head());
    let framing = if upgrade { Framing::WebSocket } else { framing(&request) };
    let since = match request.headers().get("last-event-id").and_then(|id| id.to_str().ok()) {
        Some(id) if framing == Framing::Sse => Some(id.to_owned()),
        _ => query.one("since").map(str::to_owned),
    };
    let since = since.as_deref().map_or(Ok(Since::Now), |since| parse_since(since, &places))?;
    if state.shutdown.is_announced() {
        return Err(Problem::new(Kind::Stopping).retry_after(1));
    }
    let mut response = if upgrade { super::handshake(request.head())? } else { HttpResponse::Ok() };
    let permit = state.subscribers.clone().try_acquire_owned().map_err(|_| {
        Problem::because(Kind::Overloaded, "too many subscribers are connected")
            .retry_after(state.settings.journal.retry_after_s)
    })?;
    let subscriber = Subscriber::new(state.hub.clone(), filter, form, since, Wakes::ForAnything).await?;
    match framing {
        Framing::WebSocket => {}
        Framing::Sse => drop(response.content_type("text/event-stream")),
        Framing::Lines => drop(response.content_type("application/x-ndjson")),
    }
    if !upgrade {
        response
            .insert_header((header::CACHE_CONTROL, "no-cache, no-store"))
            .insert_header(("X-Accel-Buffering", "no"));
    }
    let messages = upgrade
        .then(|| Messages::new(payload.into_inner(), CLIENT_MESSAGE_BYTES_MAX, state.expressions.clone()));
    let cut = Cut::of(request.conn_data(), state.clone());
    let leave = state.access.leave(caller.0);
    let reader = Reader { wanted, places, leave };
    let body = StreamBody::new(state, subscriber, reader, framing, messages, permit);
    Ok(response.streaming(stream::unfold((Box::new(body), cut), |(body, cut)| async move {
        body.next().await.map(|(piece, body)| (piece, (body, cut)))
    })))
}

/// Patterns and methods as a filter, within their limits, and within what the subscriber may see.
pub fn filter(endpoints: &[String], methods: &[String], identity: &Identity) -> Result<Filter, Problem> {
    if endpoints.len() > FILTER_TERMS_MAX || methods.len() > FILTER_TERMS_MAX {
        return Err(invalid("endpoint", format!("at most {FILTER_TERMS_MAX} may be named")));
    }
    let globs =
        endpoints.iter().map(|pattern| Glob::parse(pattern).map_err(|error| invalid("endpoint", error)));
    let globs = globs.collect::<Result<_, _>>()?;
    let methods = methods.iter().map(|name| method(name).map_err(|error| invalid("method", error)));
    let filter = Filter::new(globs, methods.collect::<Result<_, _>>()?);
    Ok(filter.within(identity.pattern.clone()))
}

/// Server-sent events for whoever names them and likes lines no better; else lines, whatever is accepted.
fn framing(request: &HttpRequest) -> Framing {
    const EVENTS: &str = "text/event-stream";
    let accept = Accept::parse(request.headers().get_all(header::ACCEPT).map(HeaderValue::as_bytes));
    let quality = accept.quality(EVENTS);
    let wants_events =
        accept.names(EVENTS) && quality > 0.0 && quality >= accept.quality("application/x-ndjson");
    if wants_events { Framing::Sse } else { Framing::Lines }
}

/// A place to begin at, as a client names it.
pub fn parse_since(text: &str, places: &Places) -> Result<Since, Problem> {
    match text {
        "now" => Ok(Since::Now),
        "earliest" => Ok(Since::Earliest),
        text => match (places.read(text), parse_rfc3339(text)) {
            (Ok(cursor), _) => Ok(Since::Cursor(cursor)),
            (_, Some(us)) => Ok(Since::Time(us)),
            _ => Err(Problem::because(
                Kind::InvalidCursor,
                "`since` is a cursor, an RFC 3339 instant, `earliest` or `now`",
            )),
        },
    }
}
