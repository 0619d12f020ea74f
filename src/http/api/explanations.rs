//! Why a capture would be answered as it would be now: every rule for its endpoint, the nearest first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::captures::find;
use super::query::Query;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::state::State;
use crate::intake::Snapshot;
use crate::model::{Capture, CaptureKind, ReplyChoice, ReplySource};
use crate::rules::expression::Nearness;
use crate::rules::states::{STARTED, scenario_key};
use crate::rules::{Rule, Seen};
use crate::storage;

/// Rules in one answer, and the bytes of it that they may take: the one that passes this is the last.
const RULES_MAX: u32 = 1_000;
const BYTES_MAX: usize = 8 << 20;

/// Rules that are looked at before others have their turn.
const STRETCH: usize = 64;

/// A rule's part in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Answers,
    /// It matches, and another answers before it.
    Behind,
    /// It matches, and no rule has a say in this.
    NotAsked,
    OtherState,
    NoMatch,
    Disabled,
    /// It is for messages, and the capture is none; or for neither.
    OtherKind,
}

struct Judged {
    rule: Arc<Rule>,
    standing: Standing,
    near: Nearness,
}

/// States by their keys.
type States = HashMap<String, String>;

/// `{"capture":...,"under":"now","then":{...},"now":{...},"rules":[...],"left_out":0}`.
pub async fn explain(
    request: HttpRequest,
    id: web::Path<String>,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["limit"], &[])?;
    let limit = query.limit(state.settings.api.page_default, RULES_MAX)?;
    let (_, capture) = find(&state, &caller, &id).await?;
    let snapshot = state.intake.configuration().refresh().await?;
    let most = state.settings.rules.body_bytes_max;
    let body = storage::bodies::read_start(state.database.as_ref(), &capture, most).await?;
    let rules = snapshot.rules.in_scope(capture.endpoint.as_str());
    let names: Vec<String> =
        rules.iter().filter_map(|rule| Some(scenario_key(&rule.scenario.as_ref()?.name))).collect();
    let states = storage::states::find_all(state.database.as_ref(), &names).await?;
    let seen = Seen::new(&capture, &body[..body.len().min(most)]);
    let mut judged = judge(rules, &seen, &states).await;
    let asked = rules_are_asked(&capture);
    let now = now(&judged, asked, &snapshot, &capture, &caller, state.settings.capture.websocket.echo);

    judged.retain(|judged| caller.has_rule(&judged.rule.name, Some(&judged.rule.scope)));
    // The sort is stable: of rules that are as near, the one that is tried first stays first.
    judged.sort_by_key(|judged| (judged.standing != Standing::Answers, Reverse(judged.near.share())));
    let head = json!({
        "capture": capture.id.to_string(),
        "endpoint": capture.endpoint.as_str(),
        "under": "now",
        "asked": asked,
        "then": choice(&capture.reply),
        "now": now,
    });
    let mut out = head.to_string().into_bytes();
    out.pop();
    out.extend_from_slice(b",\"rules\":[");
    let mut shown = 0;
    for judged in judged.iter().take(limit as usize) {
        if out.len() > BYTES_MAX {
            break;
        }
        if shown > 0 {
            out.push(b',');
        }
        out.extend_from_slice(explained(judged, &seen, &states, &caller).to_string().as_bytes());
        shown += 1;
        if shown % STRETCH == 0 {
            tokio::task::yield_now().await;
        }
    }
    out.extend_from_slice(format!("],\"left_out\":{}}}", judged.len() - shown).as_bytes());
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(out))
}

/// Judges the rules, which are in the order in which they are tried.
async fn judge(rules: Vec<Arc<Rule>>, seen: &Seen<'_>, states: &States) -> Vec<Judged> {
    let mut judged = Vec::with_capacity(rules.len());
    let asked = rules_are_asked(seen.capture);
    let mut is_answered = false;
    for (place, rule) in rules.into_iter().enumerate() {
        let standing = match &rule {
            rule if !rule.enabled => Standing::Disabled,
            rule if !rule.is_for(seen.capture.kind) => Standing::OtherKind,
            rule if !rule.matches(seen) => Standing::NoMatch,
            rule if !allows(rule, states) => Standing::OtherState,
            _ if !asked => Standing::NotAsked,
            _ if is_answered => Standing::Behind,
            _ => Standing::Answers,
        };
        is_answered |= standing == Standing::Answers;
        let near = rule.expression().nearness(seen);
        judged.push(Judged { rule, standing, near });
        if place % STRETCH == STRETCH - 1 {
            tokio::task::yield_now().await;
        }
    }
    judged
}

/// Whether rules had a say in what the capture was answered: not so with preflights, with what was refused
/// though it was kept, and with the opening and the close of WebSockets.
fn rules_are_asked(capture: &Capture) -> bool {
    match capture.kind {
        CaptureKind::Http => {
            matches!(capture.reply.source, ReplySource::Default | ReplySource::Rule | ReplySource::Endpoint)
        }
        CaptureKind::WebSocketText | CaptureKind::WebSocketBinary => true,
        CaptureKind::WebSocketOpen | CaptureKind::WebSocketClose => false,
    }
}

fn allows(rule: &Rule, states: &States) -> bool {
    let Some(scenario) = &rule.scenario else { return true };
    scenario.requires.as_deref().is_none_or(|required| actual(&scenario.name, states) == required)
}

fn actual<'a>(scenario: &str, states: &'a States) -> &'a str {
    states.get(&scenario_key(scenario)).map_or(STARTED, String::as_str)
}

/// What would answer. A rule that the caller may not see has no name.
fn now(
    judged: &[Judged],
    asked: bool,
    snapshot: &Snapshot,
    capture: &Capture,
    caller: &Caller,
    echo: bool,
) -> Value {
    if !asked {
        return json!({"source": capture.reply.source.name()});
    }
    if let Some(found) = judged.iter().find(|judged| judged.standing == Standing::Answers) {
        let rule = &found.rule;
        return if caller.has_rule(&rule.name, Some(&rule.scope)) {
            json!({"source": ReplySource::Rule.name(), "rule": &*rule.name, "rule_version": rule.stamp.version})
        } else {
            json!({"source": ReplySource::Rule.name()})
        };
    }
    let has_reply = snapshot.endpoint(&capture.endpoint).is_some_and(|endpoint| endpoint.reply.is_some());
    let source = match capture.kind {
        CaptureKind::Http if has_reply => ReplySource::Endpoint,
        CaptureKind::Http => ReplySource::Default,
        _ if echo => ReplySource::WebSocket,
        _ => ReplySource::Nothing,
    };
    json!({"source": source.name()})
}

/// A choice as captures show it.
fn choice(reply: &ReplyChoice) -> Value {
    let mut shown = json!({"source": reply.source.name()});
    if reply.status != 0 {
        shown["status"] = reply.status.into();
    }
    if let Some(rule) = &reply.rule {
        shown["rule"] = (*rule.name).into();
        shown["rule_version"] = rule.version.into();
        if let Some(hit) = rule.hit {
            shown["hit"] = hit.into();
        }
    }
    shown
}

fn explained(judged: &Judged, seen: &Seen<'_>, states: &States, caller: &Caller) -> Value {
    let rule = &judged.rule;
    let explained = rule.expression().explain(seen);
    let mut shown = json!({
        "name": &*rule.name,
        "version": rule.stamp.version,
        "priority": rule.priority,
        "verdict": judged.standing.name(),
        "leaves": judged.near.leaves,
        "held": judged.near.held,
        "match": explained.tree,
    });
    if let Some(scenario) = &rule.scenario {
        // A scenario is found under its name, as a rule is.
        let visible = caller.has_rule(&scenario.name, None);
        shown["scenario"] = json!({
            "name": scenario.name,
            "requires": scenario.requires,
            "state": visible.then(|| actual(&scenario.name, states)),
        });
    }
    shown
}

impl Standing {
    fn name(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Behind => "behind_another",
            Self::NotAsked => "not_asked",
            Self::OtherState => "other_state",
            Self::NoMatch => "no_match",
            Self::Disabled => "disabled",
            Self::OtherKind => "other_kind",
        }
    }
}
