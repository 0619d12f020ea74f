//! Inquiries about what is kept: find what matches, count it, and verify what is claimed of it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::changes::wrong;
use super::query::Query;
use super::selection::{Selection, Verification, read_inquiry, record_in_run, until};
use crate::access::Places;
use crate::claims::verify::Told;
use crate::claims::{self, Evidence};
use crate::http::auth::Caller;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::inquiry::{Found, Judge, Question};
use crate::model::json;
use crate::model::limits::PAGE_BYTES_MAX;
use crate::model::time::rfc3339;
use crate::model::wire::{self, BodyForm};
use crate::model::{Capture, Cursor};
use crate::rules::object::{Object, text};
use crate::rules::{Invalid, Seen};
use crate::storage::journal::Order;

/// `{"captures":[...],"next":"<cursor>","scanned":2,"complete":false}`: what matches, page by page.
pub async fn find(
    request: HttpRequest,
    mut payload: web::Payload,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let document = read_inquiry(&mut payload, &caller, &state).await?;
    let mut object = Object::of(&document).map_err(wrong)?;
    let mut allowance = state.allowance();
    let places = state.access.places(&caller.0);
    let selection = Selection::read(&mut object, &caller, &state, &mut allowance).await?;
    let order = object.read("order", order).map_err(wrong)?.unwrap_or(Order::OldestFirst);
    let behind = object.text("cursor").map_err(wrong)?;
    let behind = behind.map(|cursor| places.read(cursor)).transpose();
    let behind = behind.map_err(|error| Problem::because(Kind::InvalidCursor, error))?;
    let form = object.read("body", body_form).map_err(wrong)?.unwrap_or(BodyForm::Preview);
    let api = &state.settings.api;
    let limit = object.within("limit", 1, api.page_max.into()).map_err(wrong)?;
    let question = question(selection, &mut object, order, behind)?;
    object.end().map_err(wrong)?;
    let _held = state.hold(&allowance)?;

    let mut page = Page {
        out: b"{\"captures\":[".to_vec(),
        left: limit.unwrap_or(api.page_default.into()),
        places: &places,
        form,
    };
    let found = state.inquiries.look(&state.inquiries.turn().await?, &question, &mut page).await?;
    let mut out = page.out;
    out.extend_from_slice(b"],\"next\":");
    match found.next {
        Some(next) => json::text(&mut out, &places.write(next)),
        None => out.extend_from_slice(b"null"),
    }
    let end = format!(",\"scanned\":{},\"complete\":{}", found.scanned, found.next.is_none());
    out.extend_from_slice(end.as_bytes());
    if found.gave_up > 0 {
        out.extend_from_slice(format!(",\"gave_up\":{}", found.gave_up).as_bytes());
    }
    out.push(b'}');
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(out))
}

/// `{"count":7,"next":null,"scanned":9,"complete":true}`: how many match.
pub async fn count(
    request: HttpRequest,
    mut payload: web::Payload,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let document = read_inquiry(&mut payload, &caller, &state).await?;
    let mut object = Object::of(&document).map_err(wrong)?;
    let mut allowance = state.allowance();
    let selection = Selection::read(&mut object, &caller, &state, &mut allowance).await?;
    let question = question(selection, &mut object, Order::OldestFirst, None)?;
    object.end().map_err(wrong)?;
    let _held = state.hold(&allowance)?;

    let mut count = Counted(0);
    let found = state.inquiries.look(&state.inquiries.turn().await?, &question, &mut count).await?;
    let next = written(found, &state.access.places(&caller.0));
    let complete = found.next.is_none();
    let answer = json!({"count": count.0, "next": next, "scanned": found.scanned, "complete": complete});
    Ok(HttpResponse::Ok().json(with_given_up(answer, found.gave_up)))
}

/// `{"outcome":"failed","scanned":9,"next":null,"claims":[...]}`: whether what is claimed holds.
pub async fn verify(
    request: HttpRequest,
    mut payload: web::Payload,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let document = read_inquiry(&mut payload, &caller, &state).await?;
    let mut object = Object::of(&document).map_err(wrong)?;
    let mut allowance = state.allowance();
    let mut selection = Selection::read(&mut object, &caller, &state, &mut allowance).await?;
    let run = selection.run.take();
    let name = object.read("name", claims::verify::name).map_err(wrong)?;
    let claimed = ["expressions", "claims"].map(|name| (name, object.take(name).cloned()));
    let claims = state.compile(move || {
        let claimed = json!(BTreeMap::from(claimed));
        let claims = claims::Verification::parse(&mut Object::of(&claimed)?, &mut allowance);
        claims.map(|claims| (claims, allowance))
    });
    let (claims, allowance) = claims.await?.map_err(wrong)?;
    let mut claims = Claims(claims);
    let question = question(selection, &mut object, Order::OldestFirst, None)?;
    object.end().map_err(wrong)?;
    let _held = state.hold(&allowance)?;

    let found = state.inquiries.look(&state.inquiries.turn().await?, &question, &mut claims).await?;
    let told = claims.0.told(found.next.is_none(), found.gave_up);
    let gave_up = found.gave_up + claims.0.gave_up();
    let outcome = outcome(&told);
    if let (Some(run), "satisfied" | "failed") = (&run, outcome) {
        let failed: Vec<String> = told.iter().enumerate().filter_map(|(i, told)| failure(i, told)).collect();
        let made = Verification {
            kind: "verify",
            name: name.as_deref(),
            passed: failed.is_empty(),
            why: (!failed.is_empty()).then(|| failed.join("; ")),
        };
        // The verdict is known: where keeping it fails it is told nevertheless, as a wait's is.
        if let Err(problem) = record_in_run(run, &made, &state).await {
            tracing::warn!(problem = %problem, "failed to record a verification with its run");
        }
    }
    let shown: Vec<Value> = told.iter().map(shown).collect();
    let next = written(found, &state.access.places(&caller.0));
    let answer = json!({"outcome": outcome, "scanned": found.scanned, "next": next, "claims": shown});
    Ok(HttpResponse::Ok().json(with_given_up(answer, gave_up)))
}

/// An answer with how many captures took too long to tell, where there are any.
fn with_given_up(mut answer: Value, gave_up: u64) -> Value {
    if gave_up > 0 {
        answer["gave_up"] = gave_up.into();
    }
    answer
}

/// What is asked, once the selection's other members are read too.
fn question(
    selection: Selection,
    object: &mut Object<'_>,
    order: Order,
    behind: Option<Cursor>,
) -> Result<Question, Problem> {
    Ok(Question {
        filter: selection.filter,
        since: selection.since,
        until_us: until(object)?,
        expression: selection.expression,
        order,
        behind,
    })
}

fn order(value: &Value) -> Result<Order, Invalid> {
    match text(value)? {
        "oldest" => Ok(Order::OldestFirst),
        "newest" => Ok(Order::NewestFirst),
        _ => Err(Invalid::here("`newest` or `oldest` is expected")),
    }
}

fn body_form(value: &Value) -> Result<BodyForm, Invalid> {
    match BodyForm::parse(text(value)?) {
        Some(form @ (BodyForm::Preview | BodyForm::None)) => Ok(form),
        _ => Err(Invalid::here("`preview` or `none` is expected; ask for one capture to see all of it")),
    }
}

fn written(found: Found, places: &Places) -> Option<String> {
    found.next.map(|next| places.write(next))
}

/// Writes what matches, up to a number, and to the bytes of a page.
struct Page<'a> {
    out: Vec<u8>,
    left: u64,
    places: &'a Places,
    form: BodyForm,
}

impl Judge for Page<'_> {
    fn looks_into_body(&self) -> bool {
        false
    }

    fn needs_body(&self, _: &Seen<'_>) -> bool {
        false
    }

    fn take(&mut self, seq: i64, capture: &Arc<Capture>, _: &Seen<'_>) -> ControlFlow<()> {
        if self.out.last() == Some(&b'}') {
            self.out.push(b',');
        }
        wire::write_capture(&mut self.out, self.places.number(seq), capture, self.form, None);
        self.left = self.left.saturating_sub(1);
        let is_full = self.left == 0 || self.out.len() >= PAGE_BYTES_MAX;
        if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

struct Counted(u64);

impl Judge for Counted {
    fn looks_into_body(&self) -> bool {
        false
    }

    fn needs_body(&self, _: &Seen<'_>) -> bool {
        false
    }

    fn take(&mut self, _: i64, _: &Arc<Capture>, _: &Seen<'_>) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }
}

struct Claims(claims::Verification);

impl Judge for Claims {
    fn looks_into_body(&self) -> bool {
        self.0.looks_into_body()
    }

    fn needs_body(&self, seen: &Seen<'_>) -> bool {
        self.0.needs_body(seen)
    }

    fn take(&mut self, _: i64, _: &Arc<Capture>, seen: &Seen<'_>) -> ControlFlow<()> {
        self.0.take(seen);
        ControlFlow::Continue(())
    }
}

/// One broken claim is enough; what is not decided leaves all open.
fn outcome(told: &[Told<'_>]) -> &'static str {
    if told.iter().any(|told| told.verdict.holds == Some(false)) {
        "failed"
    } else if told.iter().any(|told| told.verdict.holds.is_none()) {
        "incomplete"
    } else {
        "satisfied"
    }
}

/// What a broken claim says, for the summary of a run.
fn failure(place: usize, told: &Told<'_>) -> Option<String> {
    let why = told.verdict.why.as_deref().filter(|_| told.verdict.holds == Some(false))?;
    let name = told.name.map_or_else(|| format!("claim {} ({})", place + 1, told.claim), str::to_owned);
    Some(format!("{name}: {why}"))
}

fn shown(told: &Told<'_>) -> Value {
    let evidence = |evidence: &Evidence| {
        json!({
            "id": evidence.capture.to_string(),
            "endpoint": evidence.endpoint.as_str(),
            "received": rfc3339(evidence.received_us),
            "how": evidence.how,
        })
    };
    let verdict = &told.verdict;
    json!({
        "name": told.name,
        "claim": told.claim,
        "holds": verdict.holds,
        "found": verdict.found,
        "why": verdict.why,
        "captures": verdict.captures.iter().map(evidence).collect::<Vec<_>>(),
    })
}
