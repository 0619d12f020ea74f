//! `/{prefix}/{code}` and everything below it: any method, any body, answered when it is durable.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_http::{HttpMessage as _, Request};
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, Uri, Version};
use actix_web::{HttpResponse, ResponseError as _, web};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tracing::Instrument as _;
use tracing::field::Empty;
use uuid::Uuid;

use super::answer::{Answer, answer, dribbled};
use super::asked::Asked;
use super::client::Ends;
use super::drain::draining;
use super::inflow::Inflow;
use super::misread::{announced, body_of, goes_over, within_announced};
use super::net::{framed, unpanicked};
use super::problem::{Kind, Problem, of_refusal};
use super::room::in_pieces;
use super::state::State;
use super::{cors, socket};
use crate::config::CorsRules;
use crate::intake::{Accepted, Ask, Ending, Reception};
use crate::metrics::Outcome;
use crate::model::header_block::HeaderBlockBuilder;
use crate::model::limits::{ANSWER_BODY_BYTES_MAX, ANSWER_HEADERS_BYTES_MAX};
use crate::model::{self, Body, Capture, CaptureKind, EndpointCode, HeaderBlock, ReplyChoice, ReplySource};

pub use crate::model::time::id_at;

const CAPTURE_ID: HeaderName = HeaderName::from_static("x-creel-capture-id");

/// Catches a request.
pub async fn capture(mut request: Request, state: web::Data<State>) -> HttpResponse {
    let started = Instant::now();
    let received_us = state.clock.now_us();
    let payload = request.take_payload();
    let mut payload = within_announced(request.head(), payload);
    let span = tracing::debug_span!("capture", method = %request.method(), status = Empty);
    let asked = Asked::of(&request);
    let endpoint = endpoint_of(request.uri());
    let known = endpoint.as_ref().ok().cloned();
    let caught = unpanicked(catch(request, endpoint, &asked, &mut payload, &state, started, received_us));
    let caught = caught.instrument(span.clone()).await;
    let response = match caught.flatten() {
        Ok(response) => response,
        Err(problem) => {
            let mut response = problem.error_response();
            let of_endpoint = known.map(|endpoint| cors_of(&state, &endpoint));
            let rules = of_endpoint.as_deref().unwrap_or(&state.settings.cors.capture);
            cors::allow(response.headers_mut(), asked.origin.as_ref(), rules);
            response
        }
    };
    span.record("status", response.status().as_u16());
    let response = framed(response, asked.is_head, asked.version);
    match payload {
        Payload::None => response,
        rest => response.map_body(|_, body| draining(body, rest)),
    }
}

async fn catch(
    request: Request,
    endpoint: Result<EndpointCode, Problem>,
    asked: &Asked,
    payload: &mut Payload,
    state: &web::Data<State>,
    started: Instant,
    received_us: i64,
) -> Result<HttpResponse, Problem> {
    let settings = &state.settings;
    let endpoint = endpoint.inspect_err(|_| state.metrics.count(Outcome::InvalidCode))?;
    let ends = Ends::of(request.head(), &settings.server.trusted_proxies, settings.server.proxy_headers);
    let refused = |refusal: crate::intake::Refusal| {
        state.metrics.count(refusal.outcome());
        of_refusal(refusal, settings.journal.retry_after_s)
    };
    let mut head = head_of(request.head(), endpoint, ends, received_us);
    state.intake.admit(&head).await.map_err(refused)?;
    let unopened = match goes_over(request.head()).then(|| socket::handshake(request.head())) {
        Some(Ok(handshake)) => {
            Arc::make_mut(&mut head).kind = CaptureKind::WebSocketOpen;
            // Boxed: every request's memory would have room for it.
            let cut = socket::Cut::of(request.conn_data(), state.clone().into_inner());
            let (payload, inflow) = (payload.take(), request.conn_data::<Rc<Inflow>>().cloned());
            return Box::pin(socket::capture::open(handshake, payload, state, head, started, cut, inflow))
                .await;
        }
        // Caught like any other request, and told what is wrong with it.
        Some(Err(problem)) => Some(problem),
        None => None,
    };

    let id = head.id;
    let is_preflight = head.is_preflight();
    let announced = announced(request.headers());
    let mut reception = Reception::begin(state.intake.clone(), head, announced).await.map_err(refused)?;
    if unopened.is_some() {
        *payload = body_of(request.head(), payload.take());
    }
    drop(request);
    let ending = receive(&mut reception, payload, state).await.map_err(refused)?;
    let choice = choose(ending, is_preflight, unopened.as_ref());
    let ask = match choice.source {
        ReplySource::Default => Ask::Rules { too_large: Kind::BodyTooLarge.status() },
        _ => Ask::Nobody,
    };
    let is_preflight = choice.source == ReplySource::Preflight;
    let accepted = reception.finish(ending, choice, ask).await.map_err(refused)?;
    // The endpoint's limit may have been lowered while the body came.
    let ending = if accepted.capture.body.truncated { Ending::TooLarge } else { ending };

    let answer = match (ending, unopened) {
        (Ending::Complete, Some(problem)) => problem_answer(problem),
        (Ending::Complete, None) if is_preflight => Answer::plain(HttpResponse::NoContent(), Bytes::new()),
        (Ending::Complete, None) => answer(&accepted, asked, state).await,
        (Ending::TooLarge, _) => problem_answer(Problem::because(
            Kind::BodyTooLarge,
            format!("{} bytes of it were kept", accepted.capture.body.bytes),
        )),
        (Ending::TimedOut, _) if state.shutdown.is_hurried() => {
            problem_answer(Problem::because(Kind::BodyTimeout, "the node is stopping"))
        }
        (Ending::TimedOut, _) => problem_answer(Problem::new(Kind::BodyTimeout)),
        (Ending::SenderGone, _) => problem_answer(Problem::new(Kind::BodyIncomplete)),
    };
    let (answer, room) = answer.with_room(&state.memory);
    let Answer { mut response, body, dribble, failure } = answer;
    response.insert_header((CAPTURE_ID, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) as &str));
    if ending != Ending::Complete {
        response.force_close();
    }
    let mut response = match (dribble, room) {
        (Some(dribble), room) => dribbled(response, body.clone(), dribble, room),
        (None, None) => response.body(body.clone()),
        (None, room) => response.body(in_pieces(body.clone(), room)),
    };
    let rules = cors_of(state, &accepted.capture.endpoint);
    if is_preflight {
        let fields = &accepted.capture.headers;
        cors::allow_preflight(response.headers_mut(), asked.origin.as_ref(), fields, &rules);
    } else {
        cors::allow(response.headers_mut(), asked.origin.as_ref(), &rules);
    }
    let sent = if asked.is_head { Bytes::new() } else { body };
    record_answer(state, &accepted, &response, &sent, failure, started);
    Ok(response)
}

/// Keeps what is being answered beside the capture.
pub fn record_answer(
    state: &State,
    accepted: &Accepted,
    response: &HttpResponse,
    body: &Bytes,
    failure: Option<String>,
    started: Instant,
) {
    state.intake.answers.record(model::Answer {
        seq: accepted.seq,
        endpoint: accepted.capture.endpoint.clone(),
        status: response.status().as_u16(),
        headers: header_block_upto(response.headers(), ANSWER_HEADERS_BYTES_MAX),
        body: beginning(body, ANSWER_BODY_BYTES_MAX),
        body_bytes: body.len() as u64,
        failure,
        took_us: i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX),
    });
}

/// The first of some bytes, without holding the others.
fn beginning(bytes: &Bytes, max: usize) -> Bytes {
    if bytes.len() <= max { bytes.clone() } else { Bytes::copy_from_slice(&bytes[..max]) }
}

/// The code of a request: the segment behind the prefix, as it stands in the raw target.
fn endpoint_of(target: &Uri) -> Result<EndpointCode, Problem> {
    let segment = target.path().split('/').nth(2);
    EndpointCode::from_segment(segment.unwrap_or_default())
        .map_err(|error| Problem::because(Kind::InvalidEndpointCode, error))
}

/// A request as a capture, without its body.
fn head_of(request: &RequestHead, endpoint: EndpointCode, ends: Ends, received_us: i64) -> Arc<Capture> {
    Arc::new(Capture {
        id: id_at(received_us),
        endpoint,
        kind: CaptureKind::Http,
        received_us,
        method: method(&request.method),
        target: target(&request.uri),
        version: match request.version {
            Version::HTTP_10 => "HTTP/1.0".into(),
            Version::HTTP_11 => "HTTP/1.1".into(),
            other => format!("{other:?}").into(),
        },
        scheme: ends.scheme,
        host: ends.host,
        port: ends.port,
        headers: header_block(&request.headers),
        peer: ends.peer,
        client: ends.client,
        body: Body::default(),
        websocket: None,
        reply: ReplyChoice::of(ReplySource::Nothing, 0),
    })
}

/// The target as it was sent.
fn target(uri: &Uri) -> String {
    match (uri.authority(), uri.path_and_query()) {
        (None, Some(origin)) => origin.as_str().to_owned(),
        _ => uri.to_string(),
    }
}

fn method(method: &Method) -> Cow<'static, str> {
    match *method {
        Method::GET => "GET".into(),
        Method::POST => "POST".into(),
        Method::PUT => "PUT".into(),
        Method::PATCH => "PATCH".into(),
        Method::DELETE => "DELETE".into(),
        Method::HEAD => "HEAD".into(),
        Method::OPTIONS => "OPTIONS".into(),
        ref other => other.to_string().into(),
    }
}

fn header_block(headers: &HeaderMap) -> HeaderBlock {
    header_block_upto(headers, usize::MAX)
}

/// The fields that fit into so many bytes.
fn header_block_upto(headers: &HeaderMap, bytes_max: usize) -> HeaderBlock {
    let bytes_of = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    let mut left = headers.iter().map(bytes_of).sum::<usize>().min(bytes_max);
    // Of its size from the start: it stays in memory for a while.
    let mut block = HeaderBlockBuilder::with_capacity(left);
    for field in headers {
        if let Some(rest) = left.checked_sub(bytes_of(field)) {
            left = rest;
            block.push(field.0.as_str().as_bytes(), field.1.as_bytes());
        }
    }
    block.finish()
}

/// Reads the body to its end, or to whatever ends it before.
async fn receive(
    reception: &mut Reception,
    payload: &mut Payload,
    state: &State,
) -> Result<Ending, crate::intake::Refusal> {
    let patience = state.settings.capture.body_idle_timeout();
    let end = tokio::time::Instant::now() + state.settings.capture.body_timeout();
    loop {
        let until = end.min(tokio::time::Instant::now() + patience);
        let received = tokio::select! {
            biased;
            received = tokio::time::timeout_at(until, payload.next()) => received,
            () = state.shutdown.hurried() => return Ok(Ending::TimedOut),
        };
        match received {
            Ok(None) => {
                drop(payload.take());
                return Ok(Ending::Complete);
            }
            Ok(Some(Ok(piece))) => {
                if let Some(ending) = reception.push(&piece).await? {
                    return Ok(ending);
                }
            }
            Ok(Some(Err(_))) => {
                drop(payload.take());
                return Ok(Ending::SenderGone);
            }
            Err(_) => return Ok(Ending::TimedOut),
        }
    }
}

fn choose(ending: Ending, is_preflight: bool, unopened: Option<&Problem>) -> ReplyChoice {
    if let (Ending::Complete, Some(problem)) = (ending, unopened) {
        return ReplyChoice::of(ReplySource::WebSocket, problem.kind.status());
    }
    let (source, status) = match ending {
        Ending::Complete if is_preflight => (ReplySource::Preflight, 204),
        Ending::Complete => (ReplySource::Default, 200),
        Ending::TooLarge => (ReplySource::Limit, Kind::BodyTooLarge.status()),
        Ending::TimedOut => (ReplySource::Limit, Kind::BodyTimeout.status()),
        // Who has only stopped sending may listen still.
        Ending::SenderGone => (ReplySource::Limit, Kind::BodyIncomplete.status()),
    };
    ReplyChoice::of(source, status)
}

/// The CORS rules of an endpoint, which may have its own.
fn cors_of<'a>(state: &'a State, code: &EndpointCode) -> Cow<'a, CorsRules> {
    let configuration = state.intake.configuration().current();
    match configuration.endpoint(code).and_then(|endpoint| endpoint.cors.as_ref()) {
        Some(own) => {
            Cow::Owned(CorsRules { allow_origins: own.allow_origins.clone(), max_age_s: own.max_age_s })
        }
        None => Cow::Borrowed(&state.settings.cors.capture),
    }
}

/// A problem as an answer.
pub fn problem_answer(problem: Problem) -> Answer {
    let response = problem.error_response();
    let mut builder = HttpResponse::build(response.status());
    for header in response.headers() {
        builder.append_header(header);
    }
    let body = actix_web::body::MessageBody::try_into_bytes(response.into_body());
    Answer::plain(builder, body.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    /// The memory that a request takes from its first moment, and that is copied on its way into its box.
    fn future_bytes<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_requests_memory_is_small() {
        let bytes = future_bytes(super::capture);
        assert!(bytes <= 2_048, "{bytes} bytes: what is rare belongs into a box");
    }
}
