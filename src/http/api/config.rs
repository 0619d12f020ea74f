//! Endpoints and rules as one document: export, difference, and applying it whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

use super::changes::{apply, most, named, read_document};
use super::query::{Query, invalid};
use crate::http::auth::Caller;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::Scope;
use crate::rules::document::{KINDS, Key, Wish, wishes};
use crate::rules::{Accept, Endpoint};
use crate::storage;
use crate::storage::configuration::{Item, Seen, Wanted};

const TRIES: u32 = 20;

/// The types that YAML is known by.
const YAML: [&str; 3] = ["application/yaml", "application/x-yaml", "text/yaml"];

/// All that is configured: `{"endpoints":[...],"rules":[...]}`, as JSON or YAML.
pub async fn export(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["format"], &[])?;
    let yaml = match query.one("format") {
        None => prefers_yaml(request.headers()),
        Some("json") => false,
        Some("yaml") => true,
        Some(_) => return Err(invalid("format", "`json` or `yaml` is expected")),
    };
    let mut items: Vec<Item> = read_all(&state).await?.into_values().collect();
    // In the order in which rules of one priority are tried.
    items.sort_by_key(|item| item.created_seq);
    let mut document = Map::new();
    for (kind, list, name_key) in KINDS {
        let of_kind = items.iter().filter(|item| item.kind == kind && item.document.is_some());
        document.insert(list.to_owned(), of_kind.map(|item| shown(item, name_key, &caller)).collect());
    }
    let document = Value::Object(document);
    if !yaml {
        return Ok(HttpResponse::Ok().insert_header((header::VARY, "Accept")).json(document));
    }
    let text = serde_saphyr::to_string(&document).map_err(|error| {
        tracing::error!(%error, "failed to write the configuration as YAML");
        Problem::new(Kind::Internal)
    })?;
    let vary = (header::VARY, "Accept");
    Ok(HttpResponse::Ok().insert_header(vary).content_type("application/yaml").body(text))
}

/// Makes everything in the document so, in one commit. With `prune=true` what the document lacks is removed;
/// with `dry_run=true` nothing is done, and what would be is told.
pub async fn replace(
    request: HttpRequest,
    caller: Caller,
    mut payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["dry_run", "prune"], &[])?;
    let (dry_run, prune) = (query.flag("dry_run")?, query.flag("prune")?);
    let body = read_document(&mut payload, &caller, &state, state.settings.rules.config_bytes_max).await?;
    let document = if is_yaml(request.headers()) {
        serde_saphyr::from_slice(&body)
            .map_err(|error| Problem::because(Kind::BadRequest, format!("this is no YAML: {error}")))?
    } else {
        super::changes::json(&body)?
    };
    let options = state.intake.configuration().options().clone();
    let wished = state.compile(move || wishes(&document, &options)).await?;
    let wished = wished.map_err(|why| Problem::because(Kind::InvalidConfiguration, why))?;
    let told = fulfil(&state, &caller, &wished, Manner { dry_run, prune }).await?;
    Ok(HttpResponse::Ok().json(told))
}

/// How wishes are fulfilled.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Nothing is done, and what would be is told.
    pub dry_run: bool,
    /// What nobody wishes for is removed.
    pub prune: bool,
}

/// Fulfils all wishes in one commit, or none, and tells what changes.
pub async fn fulfil(
    state: &State,
    caller: &Caller,
    wished: &[Wish],
    manner: Manner,
) -> Result<Value, Problem> {
    for _ in 0..TRIES {
        let there = read_all(state).await?;
        let wanted = difference(wished, &there, manner.prune);
        has_room(state, &there, &wanted)?;
        if manner.dry_run || apply(state, &wanted, caller.by()).await?.is_some() {
            return Ok(told(&wanted, &there, wished.len(), manner.dry_run));
        }
    }
    Err(Problem::because(Kind::Overloaded, "too many others change the configuration").retry_after(1))
}

/// Everything, removed items too.
async fn read_all(state: &State) -> Result<BTreeMap<Key, Item>, Problem> {
    let mut all = BTreeMap::new();
    let mut place = i64::MIN;
    loop {
        let page = storage::configuration::changed_after(state.database.as_ref(), place).await?;
        place = page.items.last().map_or(place, |item| item.changed_seq);
        all.extend(page.items.into_iter().map(|item| ((item.kind, item.name.clone()), item)));
        if page.complete {
            return Ok(all);
        }
    }
}

fn difference(wished: &[Wish], there: &BTreeMap<Key, Item>, prune: bool) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (key, document) in wished {
        let item = there.get(key);
        if item.is_some_and(|item| item.document.as_deref() == Some(document)) {
            continue;
        }
        let (kind, name) = key.clone();
        wanted.push(Wanted { kind, name, document: Some(document.clone()), seen: item.map(Seen::from) });
    }
    if prune {
        let kept: BTreeSet<&Key> = wished.iter().map(|(key, _)| key).collect();
        for (key, item) in there.iter().filter(|(key, item)| item.document.is_some() && !kept.contains(key)) {
            let (kind, name) = key.clone();
            wanted.push(Wanted { kind, name, document: None, seen: Some(item.into()) });
        }
    }
    wanted
}

fn has_room(state: &State, there: &BTreeMap<Key, Item>, wanted: &[Wanted]) -> Result<(), Problem> {
    for (kind, list, _) in KINDS {
        let mut names: BTreeSet<&str> = there
            .values()
            .filter(|item| item.kind == kind && item.document.is_some())
            .map(|item| item.name.as_str())
            .collect();
        for wanted in wanted.iter().filter(|wanted| wanted.kind == kind) {
            match wanted.document {
                Some(_) => names.insert(&wanted.name),
                None => names.remove(wanted.name.as_str()),
            };
        }
        let most = most(state, kind);
        if names.len() as u64 > most {
            return Err(Problem::because(Kind::StorageFull, format!("there may be {most} {list}")));
        }
    }
    Ok(())
}

/// The changes with what was and what is then.
fn told(wanted: &[Wanted], there: &BTreeMap<Key, Item>, wished: usize, dry_run: bool) -> Value {
    let document =
        |text: Option<&str>| text.map(|text| serde_json::from_str::<Value>(text).unwrap_or_default());
    let changes: Vec<Value> = wanted
        .iter()
        .map(|wanted| {
            let item = there.get(&(wanted.kind, wanted.name.clone()));
            let before = document(item.and_then(|item| item.document.as_deref()));
            let mut change =
                json!({"kind": wanted.kind.name(), "name": wanted.name, "change": wanted.change().name()});
            if dry_run {
                change["before"] = before.into();
                change["after"] = document(wanted.document.as_deref()).into();
            }
            change
        })
        .collect();
    let kept = wanted.iter().filter(|wanted| wanted.document.is_some()).count();
    json!({"dry_run": dry_run, "changes": changes, "unchanged": wished - kept})
}

/// An item as it is exported: who may not change anything gets nothing that a secret could be guessed from.
fn shown(item: &Item, name_key: &str, caller: &Caller) -> Value {
    let written = Value::Object(named(item, name_key));
    if caller.0.scope < Scope::Write { Endpoint::without_digests(written) } else { written }
}

/// Whether a document is YAML, by its type.
fn is_yaml(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    YAML.iter().any(|yaml| essence.eq_ignore_ascii_case(yaml))
}

/// Whether a client would rather have YAML than JSON; of equals it gets JSON.
fn prefers_yaml(headers: &HeaderMap) -> bool {
    let accept = Accept::parse(headers.get_all(header::ACCEPT).map(HeaderValue::as_bytes));
    accept.best(["application/json"].into_iter().chain(YAML)).is_some_and(|place| place > 0)
}
