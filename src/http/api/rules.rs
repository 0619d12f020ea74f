//! Rules: list, show, save, remove, and their states.

use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::changes::{self, Done, Precondition, answer_to_get, answer_to_put, read_json, shown};
use super::query::Query;
use crate::http::auth::Caller;
use crate::http::capture::id_at;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::limits::PAGE_BYTES_MAX;
use crate::model::{ConfigurationKind, Glob};
use crate::rules::rule::check_name;
use crate::rules::states::{SCENARIOS_END, count_of, scenario_key, sequence_key};
use crate::rules::{Invalid, Rule, Stamp};
use crate::storage;
use crate::storage::configuration::Item;

const KIND: ConfigurationKind = ConfigurationKind::Rule;

/// Rules that are read at a time, whoever asks for how many.
const PAGE: u32 = 1_000;

/// Scenarios whose state is kept.
const SCENARIOS_MAX: u64 = 100_000;

/// What cursors of the listings are for.
const RULES: &str = "rules";
const SCENARIOS: &str = "scenarios";

/// A page of rules by name: `{"rules":[...],"next":"<cursor>"}`.
pub async fn list(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["cursor", "limit"], &[])?;
    let limit = query.limit(state.settings.api.page_default, state.settings.api.page_max)?;
    let mut behind = query.behind(RULES, &state.access)?.unwrap_or_default();
    let mut items = Vec::new();
    // Pages of all, until one of the caller's own is full.
    while items.len() < limit as usize {
        let page = storage::configuration::list(state.database.as_ref(), KIND, &behind, PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        behind = page.last().map_or(behind, |item| item.name.clone());
        items.extend(page.into_iter().filter(|item| caller.has_rule(&item.name, scope_of(item).as_ref())));
        if is_last {
            break;
        }
    }
    let sums = items.iter().scan(0, |sum, item| {
        let before = *sum;
        *sum += item.document.as_deref().map_or(0, str::len);
        Some(before)
    });
    let fitting = sums.take_while(|before| *before < PAGE_BYTES_MAX).count().min(limit as usize);
    let is_cut = fitting < items.len() || fitting == limit as usize;
    items.truncate(fitting);
    let last = items.last().filter(|_| is_cut);
    let next = last.map(|item| state.access.behind(RULES, &item.name));
    let rules: Vec<Value> = items.iter().map(|item| shown(item, "name")).collect();
    Ok(HttpResponse::Ok().json(json!({"rules": rules, "next": next})))
}

/// One rule, with its `ETag`.
pub async fn show(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let name = name_of(&request)?;
    caller.check_rule(&name, None)?;
    let found = storage::configuration::find(state.database.as_ref(), KIND, &name).await?;
    let found = found.filter(|item| item.document.is_some());
    match found.filter(|item| caller.has_rule(&item.name, scope_of(item).as_ref())) {
        Some(item) => Ok(answer_to_get(&request, &item, shown(&item, "name"))),
        None => Err(unknown()),
    }
}

/// Saves a rule. Idempotent; `If-Match` and `If-None-Match` guard against lost races.
pub async fn save(
    request: HttpRequest,
    caller: Caller,
    mut payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let name = name_of(&request)?;
    let most = state.settings.rules.document_bytes_max;
    let mut document = read_json(&mut payload, &caller, &state, most, false).await?;
    changes::without_marks(&mut document, "name");
    let rule = compiled(&name, document.clone(), &state).await?;
    let rule = rule.map_err(|invalid| Problem::because(Kind::InvalidRule, invalid))?;
    check_own(&caller, &rule)?;
    let precondition = Precondition::of(request.headers());
    let by = caller.by();
    let done = changes::change(&state, KIND, &name, Some(&document.to_string()), &precondition, by, |item| {
        check_there(&caller, item)
    })
    .await?;
    Ok(answer_to_put(done, |item| shown(item, "name")))
}

/// A rule, compiled off the workers.
pub async fn compiled(name: &str, document: Value, state: &State) -> Result<Result<Rule, Invalid>, Problem> {
    let (name, options) = (name.to_owned(), state.intake.configuration().options().clone());
    state.compile(move || Rule::parse(&name, &document, Stamp::default(), &options)).await
}

/// Removes a rule: 204, or 404 where it is not there.
pub async fn remove(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let name = name_of(&request)?;
    caller.check_rule(&name, None)?;
    let precondition = Precondition::of(request.headers());
    match changes::change(&state, KIND, &name, None, &precondition, caller.by(), |item| {
        check_there(&caller, item)
    })
    .await?
    {
        Done::Absent => Err(unknown()),
        _ => Ok(HttpResponse::NoContent().finish()),
    }
}

/// How often a rule with several replies has matched: `{"hits": 2}`.
pub async fn hits(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let rule = counting_rule(&request, &caller, &state).await?;
    let found = storage::states::find(state.database.as_ref(), &sequence_key(&rule.name)).await?;
    let hits = found.and_then(|value| count_of(&value, &rule)).unwrap_or(0);
    Ok(HttpResponse::Ok().json(json!({"hits": hits})))
}

/// Begins a rule's sequence anew.
pub async fn reset_hits(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let rule = counting_rule(&request, &caller, &state).await?;
    let anew = format!("{}:0", rule.stamp.changed_seq);
    set_state(&state, &caller, &sequence_key(&rule.name), &anew).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A rule as it is in force; what the caller may not see is unknown.
pub async fn find(name: &str, caller: &Caller, state: &State) -> Result<Arc<Rule>, Problem> {
    caller.check_rule(name, None)?;
    let configuration = state.intake.configuration().refresh().await?;
    let found = configuration.rules.get(name);
    let found = found.filter(|rule| caller.has_rule(&rule.name, Some(&rule.scope)));
    found.cloned().ok_or_else(unknown)
}

async fn counting_rule(request: &HttpRequest, caller: &Caller, state: &State) -> Result<Arc<Rule>, Problem> {
    let rule = find(&name_of(request)?, caller, state).await?;
    if rule.counts() {
        Ok(rule)
    } else {
        Err(Problem::because(Kind::NotFound, "it has one reply, and counts nothing"))
    }
}

/// Scenarios whose state was set, by name: `{"scenarios":[{"name":...,"state":...}],"next":...}`.
pub async fn scenarios(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["cursor", "limit"], &[])?;
    let limit = query.limit(state.settings.api.page_default, state.settings.api.page_max)?;
    let prefix = scenario_key("");
    let behind = scenario_key(&query.behind(SCENARIOS, &state.access)?.unwrap_or_default());
    let states = storage::states::list(state.database.as_ref(), &behind, SCENARIOS_END, limit).await?;
    let bare = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
    let last = states.last().filter(|_| states.len() == limit as usize);
    let next = last.map(|(name, _)| state.access.behind(SCENARIOS, &bare(name)));
    let scenarios: Vec<Value> =
        states.iter().map(|(name, value)| json!({"name": bare(name), "state": value})).collect();
    Ok(HttpResponse::Ok().json(json!({"scenarios": scenarios, "next": next})))
}

/// Sets a scenario's state: `{"state": "Started"}`.
pub async fn set_scenario(
    request: HttpRequest,
    caller: Caller,
    mut payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let name = name_of(&request)?;
    let wanted = read_json(&mut payload, &caller, &state, 4_096, false).await?;
    let value = wanted.get("state").and_then(Value::as_str);
    let value = value.ok_or_else(|| Problem::because(Kind::BadRequest, "/state: text is expected"))?;
    check_name(value).map_err(|invalid| Problem::because(Kind::BadRequest, invalid.within("state")))?;
    caller.check_rule(&name, None)?;
    let key = scenario_key(&name);
    let database = state.database.as_ref();
    if storage::states::find(database, &key).await?.is_none()
        && storage::states::count(database).await? >= SCENARIOS_MAX
    {
        return Err(Problem::because(Kind::StorageFull, "there are as many states as there may be"));
    }
    set_state(&state, &caller, &key, value).await?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).json(json!({"name": name, "state": value})))
}

async fn set_state(state: &State, caller: &Caller, name: &str, value: &str) -> Result<(), Problem> {
    let now_us = state.clock.now_us();
    let entry =
        storage::states::set(state.database.as_ref(), name, value, caller.by(), id_at(now_us), now_us)
            .await?;
    state.announce(entry);
    Ok(())
}

/// That a rule may be saved, as far as it alone tells.
fn check_own(caller: &Caller, rule: &Rule) -> Result<(), Problem> {
    caller.check_rule(&rule.name, Some(&rule.scope))?;
    match &rule.scenario {
        Some(scenario) => caller.check_rule(&scenario.name, None),
        None => Ok(()),
    }
}

/// That what stands under a name is the caller's to change.
fn check_there(caller: &Caller, item: &Item) -> Result<(), Problem> {
    if caller.has_rule(&item.name, scope_of(item).as_ref()) { Ok(()) } else { Err(unknown()) }
}

/// The endpoints that a kept rule is for; None where it is for all.
fn scope_of(item: &Item) -> Option<Glob> {
    let document: Value = serde_json::from_str(item.document.as_deref()?).ok()?;
    let scope = document.get("scope").and_then(Value::as_str).unwrap_or("*");
    Glob::parse(scope).ok()
}

/// The name in `/api/rules/{name}`, percent-decoded.
fn name_of(request: &HttpRequest) -> Result<String, Problem> {
    let segment = request.uri().path().split('/').nth(3).unwrap_or_default();
    let name = percent_encoding::percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| Problem::because(Kind::InvalidRule, "a name is UTF-8"))?;
    check_name(&name).map_err(|invalid| Problem::because(Kind::InvalidRule, invalid))?;
    Ok(name.into_owned())
}

fn unknown() -> Problem {
    Problem::new(Kind::UnknownRule)
}
