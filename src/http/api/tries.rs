//! Rules, tried on a request that was caught or made up. Nothing is saved, and no state is looked at or changed.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::captures::find;
use super::changes::{read_json, without_marks, wrong};
use super::query::Query;
use super::rules;
use crate::http::auth::Caller;
use crate::http::capture::id_at;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::{BodyContent, Capture};
use crate::rules::object::{Object, text};
use crate::rules::render::{RenderFailure, Told, render, render_message};
use crate::rules::reply::MessageReply;
use crate::rules::sample::{self, SampleOptions};
use crate::rules::{Invalid, Reply, Rule, Seen};
use crate::storage;

/// What a rule is called that has no name yet.
const NAMELESS: &str = "try";

/// What a rule is tried on.
struct Tried {
    capture: Arc<Capture>,
    body: Bytes,
}

/// `{"rule":{...},"capture":"<id>"}`, or `name` of a saved rule, or `request` of a made-up one, to
/// `{"matches":true,"explanation":{...},"reply":{...}}`.
pub async fn attempt(
    request: HttpRequest,
    caller: Caller,
    mut payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let settings = &state.settings.rules;
    // Base64 takes four thirds, and escapes in JSON rarely over twice as much.
    let most = settings.document_bytes_max.saturating_add(settings.body_bytes_max.saturating_mul(2));
    let document = read_json(&mut payload, &caller, &state, most, false).await?;
    let mut order = Object::of(&document).map_err(wrong)?;
    let (given, name) = (order.take("rule"), order.text("name").map_err(wrong)?);
    let (made_up, id) = (order.take("request"), order.text("capture").map_err(wrong)?);
    let hit = order.within("hit", 1, 1_000_000).map_err(wrong)?.unwrap_or(1);
    order.end().map_err(wrong)?;
    let rule = match (given, name) {
        (Some(given), None) => Arc::new(parsed(given, &state).await?),
        (None, Some(name)) => rules::find(name, &caller, &state).await?,
        _ => return Err(wrong(Invalid::member("rule", "either `rule` or `name` is expected"))),
    };
    let tried = match (made_up, id) {
        (Some(request), None) => sample(request, &state)?,
        (None, Some(id)) => caught(id, &caller, &state).await?,
        _ => return Err(wrong(Invalid::member("capture", "either `capture` or `request` is expected"))),
    };
    let hit = i64::try_from(hit).unwrap_or(i64::MAX);
    Ok(HttpResponse::Ok().json(outcome(&rule, &tried, hit, &state)))
}

async fn parsed(document: &Value, state: &State) -> Result<Rule, Problem> {
    let wrong = |invalid: Invalid| Problem::because(Kind::InvalidRule, invalid.within("rule"));
    let name = document.get("name").map_or(Ok(NAMELESS), text);
    let name = name.map_err(|invalid| wrong(invalid.within("name")))?.to_owned();
    let most = state.settings.rules.document_bytes_max;
    if document.to_string().len() > most {
        return Err(Problem::because(Kind::BodyTooLarge, format!("a rule has at most {most} bytes")));
    }
    let mut document = document.clone();
    without_marks(&mut document, "name");
    rules::compiled(&name, document, state).await?.map_err(wrong)
}

fn sample(request: &Value, state: &State) -> Result<Tried, Problem> {
    let now_us = state.clock.now_us();
    let options = SampleOptions { id: id_at(now_us), now_us, prefix: &state.settings.capture.prefix };
    let capture = sample::capture(request, options)
        .map_err(|invalid| Problem::because(Kind::BadRequest, invalid.within("request")))?;
    let (BodyContent::Inline(body) | BodyContent::Parts { start: body }) = &capture.body.content;
    let body = body.clone();
    Ok(Tried { capture: Arc::new(capture), body })
}

async fn caught(id: &str, caller: &Caller, state: &State) -> Result<Tried, Problem> {
    let (_, capture) = find(state, caller, id).await?;
    let body =
        storage::bodies::read_start(state.database.as_ref(), &capture, state.settings.rules.body_bytes_max)
            .await?;
    Ok(Tried { capture, body })
}

fn outcome(rule: &Rule, tried: &Tried, hit: i64, state: &State) -> Value {
    let body = &tried.body[..tried.body.len().min(state.settings.rules.body_bytes_max)];
    let seen = Seen::new(&tried.capture, body);
    let explained = rule.expression().explain(&seen);
    let in_scope = rule.scope.matches(tried.capture.endpoint.as_str());
    let matches = in_scope && rule.matches(&seen);
    let mut outcome = json!({"matches": matches, "in_scope": in_scope, "explanation": explained.tree});
    if !matches {
        outcome["of_kind"] = rule.is_for(tried.capture.kind).into();
        return outcome;
    }
    let told =
        Told { rule: Some(&rule.name), hit: rule.counts().then_some(hit), now_us: state.clock.now_us() };
    let reply = rule.reply(hit);
    let shown = match &reply.message {
        Some(message) if seen.is_websocket_message() => shown_message(message, &seen, told, state),
        // Of several replies, some may be for requests alone.
        None if seen.is_websocket_message() => Ok(Value::Null),
        _ => shown_reply(reply, &seen, told, state),
    };
    match shown {
        Ok(shown) => outcome["reply"] = shown,
        Err(failure) => outcome["failure"] = failure.to_string().into(),
    }
    outcome
}

fn shown_reply(
    reply: &Reply,
    seen: &Seen<'_>,
    told: Told<'_>,
    state: &State,
) -> Result<Value, RenderFailure> {
    let rendered = render(reply, seen, told, &state.render_limits)?;
    let headers: Vec<Value> =
        rendered.headers.iter().map(|(name, value)| json!([name, shown_value(value)])).collect();
    let mut shown = json!({
        "status": rendered.status,
        "content_type": rendered.content_type,
        "headers": headers,
        "body": shown_body(&rendered.body),
    });
    if let Some(delay) = reply.delay {
        shown["delay_ms"] = json!({"min": delay.least.as_millis(), "max": delay.most.as_millis()});
    }
    if let Some(dribble) = reply.dribble {
        shown["dribble"] = json!({"chunks": dribble.chunks, "over_ms": dribble.over.as_millis()});
    }
    if let Some(fault) = reply.fault {
        shown["fault"] = fault.name().into();
    }
    Ok(shown)
}

/// What a WebSocket's message is answered: another message, or the end.
fn shown_message(
    message: &MessageReply,
    seen: &Seen<'_>,
    told: Told<'_>,
    state: &State,
) -> Result<Value, RenderFailure> {
    let (kind, payload) = match message {
        MessageReply::Text(template) => ("text", render_message(template, seen, told, &state.render_limits)?),
        MessageReply::Binary(payload) => ("binary", payload.clone()),
        MessageReply::Echo => ("echo", Bytes::copy_from_slice(seen.body)),
        MessageReply::Close { code, reason } => {
            return Ok(json!({"message": {"kind": "close", "code": code, "reason": reason}}));
        }
    };
    Ok(json!({"message": {"kind": kind, "body": shown_body(&payload)}}))
}

fn shown_body(body: &[u8]) -> Value {
    let (encoding, content) = match std::str::from_utf8(body) {
        Ok(text) => ("utf8", text.to_owned()),
        Err(_) => ("base64", STANDARD.encode(body)),
    };
    json!({"bytes": body.len(), "truncated": false, "encoding": encoding, "content": content})
}

fn shown_value(value: &[u8]) -> Value {
    match std::str::from_utf8(value) {
        Ok(text) => text.into(),
        Err(_) => json!({"base64": STANDARD.encode(value)}),
    }
}
