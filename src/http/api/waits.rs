//! Waiting for captures: one answer, given the moment it is decided. Until then a blank every so often, so that
//! nothing between here and the client takes the connection for dead.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{self, ContentType};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::changes::wrong;
use super::query::Query;
use super::selection::{OfRun, Selection, Verification, read_inquiry, record_in_run};
use crate::access::{Leave, Places};
use crate::claims::{Count, Miss, Outcome, Terms};
use crate::database::DatabaseError;
use crate::feed::{WaitOptions, Waiter};
use crate::http::auth::Caller;
use crate::http::problem::{Kind, Problem};
use crate::http::room::slices;
use crate::http::state::State;
use crate::intake::Reserved;
use crate::model::json;
use crate::model::time::rfc3339;
use crate::model::wire::{self, BodyForm};
use crate::rules::Invalid;
use crate::rules::object::{Object, text};

const TIMEOUT_MS_DEFAULT: u64 = 30_000;
const SHOWN_DEFAULT: u32 = 20;
const NAME_BYTES_MAX: usize = 255;

/// What an answer tells of misses, in bytes: the leaf that passes this is the last.
const MISSES_BYTES_MAX: usize = 256 << 10;

/// How the answer is written.
struct Form {
    body: BodyForm,
    /// What people call the wait, for its run.
    name: Option<String>,
    terms: Terms,
}

/// `{"endpoint":...,"since":...,"match":...,"count":...,"timeout_ms":...,"quiet_ms":...}` to
/// `{"outcome":"satisfied","count":1,"captures":[...],"next":"<cursor>","took_ms":17}`.
pub async fn wait(
    request: HttpRequest,
    caller: Caller,
    mut payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let document = read_inquiry(&mut payload, &caller, &state).await?;
    let mut document = Object::of(&document).map_err(wrong)?;
    let mut allowance = state.allowance();
    let selection = Selection::read(&mut document, &caller, &state, &mut allowance).await?;
    let (form, shown_max) = form(&mut document, &state).map_err(wrong)?;
    document.end().map_err(wrong)?;
    let held = state.hold(&allowance)?;
    if state.shutdown.is_announced() {
        return Err(Problem::new(Kind::Stopping).retry_after(1));
    }
    let permit = state.waiters.clone().try_acquire_owned().map_err(|_| {
        Problem::because(Kind::Overloaded, "too many wait on this node")
            .retry_after(state.settings.journal.retry_after_s)
    })?;
    let options = WaitOptions {
        filter: selection.filter,
        since: selection.since,
        expression: selection.expression,
        body_bytes_max: state.settings.rules.body_bytes_max,
        terms: form.terms,
        shown_max,
    };
    let waiter = Waiter::new(state.hub.clone(), options).await?;
    let places = state.access.places(&caller.0);
    let leave = state.access.leave(caller.0);
    let body = WaitBody::new(state.into_inner(), waiter, places, leave, form, selection.run, (permit, held));
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(stream::unfold(Box::new(body), WaitBody::next)))
}

/// The members that are not the selection's, and how many captures are shown.
fn form(document: &mut Object<'_>, state: &State) -> Result<(Form, usize), Invalid> {
    let settings = &state.settings;
    let longest = u64::try_from(settings.inquiry.wait_max().as_millis()).unwrap_or(u64::MAX);
    let count = document.read("count", Count::parse)?.unwrap_or(Count::SOME);
    let timeout = document.within("timeout_ms", 0, longest)?.unwrap_or(TIMEOUT_MS_DEFAULT.min(longest));
    let quiet = document.within("quiet_ms", 0, longest)?.unwrap_or(0);
    if quiet > timeout {
        return Err(Invalid::member(
            "quiet_ms",
            "it is over `timeout_ms`, so that it could never be quiet so long",
        ));
    }
    let page_max = settings.api.page_max;
    let limit = document.within("limit", 0, page_max.into())?.unwrap_or(SHOWN_DEFAULT.min(page_max).into());
    let body = document.read("body", |value| match text(value)? {
        "preview" => Ok(BodyForm::Preview),
        "none" => Ok(BodyForm::None),
        _ => Err(Invalid::here("`preview` or `none` is expected")),
    })?;
    let name = document.read("name", |value| match text(value)? {
        name if name.len() <= NAME_BYTES_MAX => Ok(name.to_owned()),
        _ => Err(Invalid::here(format!("it has at most {NAME_BYTES_MAX} bytes"))),
    })?;
    let terms = Terms { count, quiet: Duration::from_millis(quiet), timeout: Duration::from_millis(timeout) };
    let form = Form { body: body.unwrap_or(BodyForm::Preview), name, terms };
    Ok((form, usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// A place among those who wait, and room for the expression.
type Permits = (OwnedSemaphorePermit, Reserved);

struct WaitBody {
    state: Arc<State>,
    waiter: Waiter,
    places: Places,
    leave: Leave,
    form: Form,
    run: Option<OfRun>,
    heartbeat: Instant,
    /// The answer, once there is one.
    queue: Option<VecDeque<Bytes>>,
    _permits: Permits,
}

enum Happened {
    Decided(Outcome),
    HeartbeatDue,
    Stopping,
    LeaveOver,
}

impl WaitBody {
    fn new(
        state: Arc<State>,
        waiter: Waiter,
        places: Places,
        leave: Leave,
        form: Form,
        run: Option<OfRun>,
        permits: Permits,
    ) -> Self {
        state.metrics.waiters.inc();
        let heartbeat = Instant::now() + state.settings.stream.heartbeat();
        Self { state, waiter, places, leave, form, run, heartbeat, queue: None, _permits: permits }
    }

    /// The next piece; None ends the answer.
    async fn next(mut self: Box<Self>) -> Option<(Result<Bytes, DatabaseError>, Box<Self>)> {
        if self.queue.is_none() {
            let answer = match self.happen().await {
                Happened::HeartbeatDue => {
                    self.heartbeat = Instant::now() + self.state.settings.stream.heartbeat();
                    return Some((Ok(Bytes::from_static(b" ")), self));
                }
                Happened::Decided(outcome) => {
                    self.record(outcome).await;
                    self.answer(outcome)
                }
                Happened::Stopping => {
                    tokio::time::sleep(self.state.pace_of_closing()).await;
                    self.answer(Outcome::Interrupted)
                }
                Happened::LeaveOver => self.nothing(),
            };
            self.queue = Some(slices(answer.into()).collect());
        }
        let piece = self.queue.as_mut()?.pop_front()?;
        Some((Ok(piece), self))
    }

    async fn happen(&mut self) -> Happened {
        tokio::select! {
            biased;
            () = self.leave.ended() => Happened::LeaveOver,
            outcome = self.waiter.decide() => Happened::Decided(outcome),
            () = self.state.shutdown.drained() => Happened::Stopping,
            () = tokio::time::sleep_until(self.heartbeat) => Happened::HeartbeatDue,
        }
    }

    /// Keeps what the wait came to with its run. Where that fails the answer is given nevertheless.
    async fn record(&self, outcome: Outcome) {
        let Some(run) = self.run.as_ref().filter(|_| outcome != Outcome::Interrupted) else { return };
        let passed = outcome == Outcome::Satisfied;
        let made = Verification {
            kind: "wait",
            name: self.form.name.as_deref(),
            passed,
            why: (!passed).then(|| self.why(outcome)),
        };
        if let Err(problem) = record_in_run(run, &made, &self.state).await {
            tracing::warn!(problem = %problem, "failed to record a wait with its run");
        }
    }

    fn why(&self, outcome: Outcome) -> String {
        let (count, matched) = (self.form.terms.count, self.waiter.matched());
        let time = self.waiter.elapsed().as_millis();
        format!("{}: {count} wanted, {matched} matched in {time} ms", outcome.name())
    }

    fn answer(&self, outcome: Outcome) -> Vec<u8> {
        let waiter = &self.waiter;
        let mut out = Vec::with_capacity(4096);
        let head =
            format!("{{\"outcome\":\"{}\",\"count\":{},\"captures\":[", outcome.name(), waiter.matched());
        out.extend_from_slice(head.as_bytes());
        for (place, (seq, capture)) in waiter.found().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            wire::write_capture(&mut out, self.places.number(seq), capture, self.form.body, None);
        }
        out.extend_from_slice(b"],\"next\":");
        json::text(&mut out, &self.places.write(waiter.cursor()));
        if outcome != Outcome::Satisfied {
            out.extend_from_slice(b",\"misses\":[");
            write_misses(&mut out, waiter.misses());
            out.push(b']');
        }
        if waiter.gave_up() > 0 {
            out.extend_from_slice(format!(",\"gave_up\":{}", waiter.gave_up()).as_bytes());
        }
        for (name, is_so) in [("truncated", waiter.is_truncated()), ("reset", waiter.is_reset())] {
            if is_so {
                out.extend_from_slice(format!(",\"{name}\":true").as_bytes());
            }
        }
        out.extend_from_slice(format!(",\"took_ms\":{}}}", waiter.elapsed().as_millis()).as_bytes());
        out
    }

    /// What somebody is told whose token is not good any more: that it is over, and nothing of what there is.
    fn nothing(&self) -> Vec<u8> {
        let took_ms = u64::try_from(self.waiter.elapsed().as_millis()).unwrap_or(u64::MAX);
        let outcome = Outcome::Interrupted.name();
        let answer = json!({"outcome": outcome, "count": 0, "captures": [], "next": null, "misses": [],
            "took_ms": took_ms});
        answer.to_string().into_bytes()
    }
}

impl Drop for WaitBody {
    fn drop(&mut self) {
        self.state.metrics.waiters.dec();
    }
}

/// What came nearest, each with the leaves that stand against it.
fn write_misses(out: &mut Vec<u8>, misses: &[Miss]) {
    let most = out.len() + MISSES_BYTES_MAX;
    for (place, miss) in misses.iter().enumerate() {
        if out.len() > most {
            return;
        }
        if place > 0 {
            out.push(b',');
        }
        let (held, leaves) = (miss.near.held, miss.near.leaves);
        out.extend_from_slice(format!("{{\"capture\":\"{}\",\"endpoint\":", miss.capture).as_bytes());
        json::text(out, miss.endpoint.as_str());
        let received = rfc3339(miss.received_us);
        let rest = format!(",\"received\":\"{received}\",\"held\":{held},\"leaves\":{leaves},\"failed\":[");
        out.extend_from_slice(rest.as_bytes());
        for (place, failed) in miss.failed.iter().enumerate() {
            if out.len() > most {
                break;
            }
            if place > 0 {
                out.push(b',');
            }
            let mut shown = json!({"leaf": *failed.leaf, "saw": failed.saw});
            if failed.holds {
                // It stands under a `not`.
                shown["holds"] = true.into();
            }
            out.extend_from_slice(shown.to_string().as_bytes());
        }
        out.extend_from_slice(b"]}");
    }
}
