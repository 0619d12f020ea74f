//! How a capture is answered once it is durable: by a rule, by its endpoint, or with the small document.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::stream;
use rand::Rng as _;

use super::asked::Asked;
use super::capture::problem_answer;
use super::problem::{Kind, Problem};
use super::reply::{MediaType, document};
use super::room::SMALL_BYTES;
use super::state::State;
use super::wire::Wire;
use crate::intake::{Accepted, Budget, Chosen, Reserved};
use crate::rules::render::{Rendered, Told, render};
use crate::rules::reply::{Delay, Dribble, is_bodiless};
use crate::rules::{Fault, Reply, Seen};

/// What is kept of what went wrong, in characters.
const FAILURE_CHARS_MAX: usize = 500;

/// An answer before its headers are complete.
pub struct Answer {
    pub response: HttpResponseBuilder,
    pub body: Bytes,
    /// How the body is sent, where not at once.
    pub dribble: Option<Dribble>,
    /// What went wrong on the way.
    pub failure: Option<String>,
}

impl Answer {
    pub fn plain(response: HttpResponseBuilder, body: Bytes) -> Self {
        Self { response, body, dribble: None, failure: None }
    }

    /// The answer with memory for its body where that is not small, until it was handed on; where there is none, a
    /// problem in its place.
    pub fn with_room(self, memory: &Arc<Budget>) -> (Self, Option<Reserved>) {
        if self.body.len() <= SMALL_BYTES {
            return (self, None);
        }
        let room = memory.reserve(self.body.len());
        if room.is_some() {
            return (self, room);
        }
        let why = "the request was kept, and there is no room for its reply";
        let answer = problem_answer(Problem::because(Kind::Overloaded, why).retry_after(1));
        (Self { failure: Some(why.to_owned()), ..answer }, None)
    }
}

/// Renders what was chosen, waits as long as it says, and fails as it says.
pub async fn answer(accepted: &Accepted, asked: &Asked, state: &State) -> Answer {
    let (reply, told) = match &accepted.chosen {
        Chosen::Rule(decision) => (Some(decision.reply()), (Some(&*decision.rule.name), decision.hit)),
        Chosen::Endpoint(endpoint) => (endpoint.reply.as_ref(), (None, None)),
        Chosen::Fallback => (None, (None, None)),
    };
    let Some(reply) = reply else { return small_document(accepted, asked.media_type) };
    let told = Told { rule: told.0, hit: told.1, now_us: state.clock.now_us() };
    let seen = Seen::new(&accepted.capture, accepted.body());
    let rendered = render(reply, &seen, told, &state.render_limits);
    drop(seen);
    pause(reply.delay, state).await;
    if let Some(fault) = reply.fault {
        return fail(fault, asked.wire.as_deref());
    }
    match rendered {
        Ok(rendered) => finished(reply, rendered),
        Err(failure) => {
            state.metrics.template_failures.inc();
            let answer = problem_answer(Problem::because(Kind::TemplateFailed, &failure));
            Answer { failure: Some(short(&failure.to_string())), ..answer }
        }
    }
}

fn small_document(accepted: &Accepted, media_type: MediaType) -> Answer {
    let capture = &accepted.capture;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(media_type.content_type())));
    let document = document(media_type, capture.id, &capture.endpoint, &capture.method);
    Answer::plain(response, document.into())
}

fn finished(reply: &Reply, rendered: Rendered) -> Answer {
    let status = StatusCode::from_u16(rendered.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    if let Some(content_type) = rendered.content_type {
        response.insert_header((header::CONTENT_TYPE, content_type));
    }
    for (name, value) in rendered.headers {
        // Both were checked: the name when the rule was saved, the value when it was rendered.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value)) {
            if name == header::CONTENT_TYPE {
                response.insert_header((name, value));
            } else {
                response.append_header((name, value));
            }
        }
    }
    if is_bodiless(rendered.status) {
        return Answer::plain(response, Bytes::new());
    }
    // A page that a rule answers with, and what a sender has put into it, does not run in Creel's origin. Where the
    // rule has a policy of its own, what both allow is allowed.
    response.append_header((header::CONTENT_SECURITY_POLICY, "sandbox allow-scripts allow-forms"));
    Answer { dribble: reply.dribble, ..Answer::plain(response, rendered.body) }
}

/// A failure as it is kept: a sender may have had its words in it.
fn short(failure: &str) -> String {
    failure.chars().filter(|c| *c != '\0').take(FAILURE_CHARS_MAX).collect()
}

/// Waits without holding anything but this request; a node that stops does not wait.
async fn pause(delay: Option<Delay>, state: &State) {
    let Some(delay) = delay else { return };
    let pause = delay.pick(rand::rng().random());
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = state.shutdown.drained() => {}
    }
}

/// Fails on the connection itself. What actix writes afterwards goes nowhere.
fn fail(fault: Fault, wire: Option<&Wire>) -> Answer {
    let failed = match wire {
        Some(wire) => wire.fail(fault),
        None => Err(std::io::Error::other("the connection cannot be reached")),
    };
    if let Err(error) = failed {
        tracing::debug!(%error, fault = fault.name(), "failed to fail");
    }
    let mut response = HttpResponse::InternalServerError();
    response.force_close();
    Answer { failure: Some(fault.name().to_owned()), ..Answer::plain(response, Bytes::new()) }
}

/// The body in chunks over a time.
pub fn dribbled(
    mut response: HttpResponseBuilder,
    body: Bytes,
    dribble: Dribble,
    room: Option<Reserved>,
) -> HttpResponse {
    let chunks = usize::try_from(dribble.chunks).unwrap_or(1).clamp(1, body.len().max(1));
    let pause = dribble.over.checked_div(u32::try_from(chunks).unwrap_or(1)).unwrap_or(Duration::ZERO);
    let size = body.len().div_ceil(chunks).max(1);
    let pieces = stream::unfold((body, room), move |(mut rest, room)| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = rest.split_to(size.min(rest.len()));
        Some((Ok::<_, Infallible>(piece), (rest, room)))
    });
    response.streaming(pieces)
}
