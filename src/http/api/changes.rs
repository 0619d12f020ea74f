//! Changing configuration: what a request wants is held against what is there, and made so in one commit,
//! again where somebody else was quicker.

use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::BytesMut;
use futures_util::StreamExt as _;
use serde_json::{Map, Value};

use crate::http::auth::Caller;
use crate::http::capture::id_at;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::intake::Reserved;
use crate::model::ConfigurationKind;
use crate::model::time::rfc3339;
use crate::rules::Invalid;
pub use crate::rules::document::without_marks;
use crate::storage;
use crate::storage::configuration::{Item, Seen, Wanted};

/// Times that a change is tried again because another came between.
const TRIES: u32 = 50;

/// What was done to one item.
pub enum Done {
    Created(Item),
    Changed(Item),
    /// It was so already.
    Same(Item),
    Removed,
    /// It was not there.
    Absent,
}

/// What a request asks of the state that it changes (RFC 9110, section 13.1).
#[derive(Debug, Clone, Default)]
pub struct Precondition {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// The entity tags that a header names, line by line, as they came: what is not readable names none, and is there.
#[derive(Debug, Clone)]
struct Tags(Vec<Vec<u8>>);

impl Tags {
    /// None where there is no such header.
    fn of(headers: &HeaderMap, name: HeaderName) -> Option<Self> {
        let lines: Vec<Vec<u8>> = headers.get_all(name).map(|line| line.as_bytes().to_vec()).collect();
        (!lines.is_empty()).then_some(Self(lines))
    }

    /// Whether a tag, or whatever is there (`*`), is named; None is nothing.
    fn name(&self, tag: Option<&str>) -> bool {
        tag.is_some_and(|tag| self.each().any(|one| one == tag.as_bytes() || one == b"*"))
    }

    /// The same where a weak tag will do (RFC 9110, section 8.8.3.2).
    fn name_weakly(&self, tag: Option<&str>) -> bool {
        let strong = |one: &[u8]| one.strip_prefix(b"W/").unwrap_or(one).to_vec();
        self.name(tag) || Self(self.each().map(strong).collect()).name(tag)
    }

    fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }
}

impl Precondition {
    pub fn of(headers: &HeaderMap) -> Self {
        Self {
            if_match: Tags::of(headers, header::IF_MATCH),
            if_none_match: Tags::of(headers, header::IF_NONE_MATCH),
        }
    }

    /// That there is nothing yet.
    pub fn absent() -> Self {
        Self { if_match: None, if_none_match: Some(Tags(vec![b"*".to_vec()])) }
    }

    fn check(&self, item: Option<&Item>) -> Result<(), Problem> {
        let tag = item.map(|item| format!("\"{}\"", item.etag));
        if self.if_match.as_ref().is_some_and(|tags| !tags.name(tag.as_deref())) {
            let why = tag.map_or("it is not there".to_owned(), |tag| format!("it is {tag} now"));
            return Err(Problem::because(Kind::PreconditionFailed, why));
        }
        if self.if_none_match.as_ref().is_some_and(|tags| tags.name_weakly(tag.as_deref())) {
            return Err(Problem::because(Kind::PreconditionFailed, "it is there already"));
        }
        Ok(())
    }
}

/// Makes an item have a document, or be gone. `may` says whether what is there may be changed; it is asked about the
/// very state that is.
pub async fn change(
    state: &State,
    kind: ConfigurationKind,
    name: &str,
    document: Option<&str>,
    precondition: &Precondition,
    by: Option<&str>,
    may: impl Fn(&Item) -> Result<(), Problem>,
) -> Result<Done, Problem> {
    let database = state.database.as_ref();
    for _ in 0..TRIES {
        let found = storage::configuration::find(database, kind, name).await?;
        let there = found.as_ref().filter(|item| item.document.is_some());
        there.map_or(Ok(()), &may)?;
        precondition.check(there)?;
        match (there, document) {
            (None, None) => return Ok(Done::Absent),
            (Some(item), Some(document)) if item.document.as_deref() == Some(document) => {
                return Ok(Done::Same(item.clone()));
            }
            (None, Some(_)) => has_room(state, kind).await?,
            _ => {}
        }
        let wanted = [Wanted {
            kind,
            name: name.to_owned(),
            document: document.map(str::to_owned),
            seen: found.as_ref().map(Seen::from),
        }];
        if apply(state, &wanted, by).await?.is_none() {
            continue;
        }
        if document.is_none() {
            return Ok(Done::Removed);
        }
        let Some(item) = storage::configuration::find(database, kind, name).await? else { continue };
        return Ok(if there.is_some() { Done::Changed(item) } else { Done::Created(item) });
    }
    Err(Problem::because(Kind::Overloaded, "too many others change this").retry_after(1))
}

/// Makes changes, all or none, and tells of them. None where something is not as it was seen.
pub async fn apply(state: &State, wanted: &[Wanted], by: Option<&str>) -> Result<Option<()>, Problem> {
    let now_us = state.clock.now_us();
    let applied =
        storage::configuration::apply(state.database.as_ref(), wanted, by, now_us, || id_at(now_us)).await?;
    Ok(applied.map(|entries| entries.into_iter().for_each(|entry| state.announce(entry))))
}

async fn has_room(state: &State, kind: ConfigurationKind) -> Result<(), Problem> {
    let most = most(state, kind);
    if storage::configuration::count(state.database.as_ref(), kind).await? >= most {
        return Err(Problem::because(Kind::StorageFull, format!("there are {most}, and may be no more")));
    }
    Ok(())
}

/// How many there may be.
pub fn most(state: &State, kind: ConfigurationKind) -> u64 {
    match kind {
        ConfigurationKind::Endpoint => state.settings.rules.endpoints_max,
        _ => state.settings.rules.rules_max,
    }
}

/// The body of a request to the API, within the limit of documents, and within their time. Whoever sends it is asked for
/// again when it is there: a token that was revoked meanwhile changes nothing any more.
pub async fn read_document(
    payload: &mut web::Payload,
    caller: &Caller,
    state: &State,
    bytes_max: usize,
) -> Result<Document, Problem> {
    let most = state.settings.api.body_timeout();
    let body = tokio::time::timeout(most, read_body(payload, state, bytes_max)).await;
    let body = body.map_err(|_| {
        let why = format!("a document takes at most {} ms", most.as_millis());
        Problem::because(Kind::BodyTimeout, why)
    })??;
    caller.check_still(state)?;
    Ok(body)
}

/// A document as it came, and the room that it takes.
pub struct Document {
    bytes: BytesMut,
    _held: Option<Reserved>,
}

impl std::ops::Deref for Document {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

async fn read_body(payload: &mut web::Payload, state: &State, bytes_max: usize) -> Result<Document, Problem> {
    let (mut body, mut held) = (BytesMut::new(), None);
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|error| Problem::because(Kind::BadRequest, error))?;
        if body.len() + piece.len() > bytes_max {
            let why = format!("a document has at most {bytes_max} bytes");
            return Err(Problem::because(Kind::BodyTooLarge, why));
        }
        body.extend_from_slice(&piece);
        state.room.make(body.capacity(), &mut held)?;
    }
    Ok(Document { bytes: body, _held: held })
}

/// How a mistake in a document is answered that asks something, and is not kept.
pub fn wrong(invalid: Invalid) -> Problem {
    Problem::because(Kind::BadRequest, invalid)
}

/// The body as JSON; an empty one is an empty object where that is allowed.
pub async fn read_json(
    payload: &mut web::Payload,
    caller: &Caller,
    state: &State,
    bytes_max: usize,
    may_be_empty: bool,
) -> Result<Value, Problem> {
    let body = read_document(payload, caller, state, bytes_max).await?;
    if body.is_empty() && may_be_empty {
        return Ok(Value::Object(Map::new()));
    }
    json(&body)
}

/// A body as JSON without NUL.
pub fn json(body: &[u8]) -> Result<Value, Problem> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Problem::because(Kind::BadRequest, format!("this is no JSON: {error}")))?;
    if has_nul(&value) {
        return Err(Problem::because(Kind::BadRequest, "there is a NUL in a text"));
    }
    Ok(value)
}

/// Postgres has no text with NUL.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// An item's document, and its name.
pub fn named(item: &Item, name_key: &str) -> Map<String, Value> {
    let document = item.document.as_deref().unwrap_or("{}");
    let mut members: Map<String, Value> = serde_json::from_str(document).unwrap_or_default();
    members.insert(name_key.to_owned(), item.name.clone().into());
    members
}

/// An item as the API shows it: its document, and what is known of it.
pub fn shown(item: &Item, name_key: &str) -> Value {
    let mut members = named(item, name_key);
    members.insert("version".to_owned(), item.version.into());
    members.insert("etag".to_owned(), format!("\"{}\"", item.etag).into());
    members.insert("created".to_owned(), rfc3339(item.created_us).into());
    members.insert("changed".to_owned(), rfc3339(item.changed_us).into());
    Value::Object(members)
}

/// The answer to a PUT: 201 where it made something, with the state's `ETag`.
pub fn answer_to_put(done: Done, shown: impl FnOnce(&Item) -> Value) -> HttpResponse {
    let (mut response, item) = match done {
        Done::Created(item) => (HttpResponse::Created(), item),
        Done::Changed(item) | Done::Same(item) => (HttpResponse::Ok(), item),
        Done::Removed | Done::Absent => return HttpResponse::NoContent().finish(),
    };
    response.insert_header((header::ETAG, format!("\"{}\"", item.etag))).json(shown(&item))
}

/// The answer to a GET of one item: 304 where the client has this state.
pub fn answer_to_get(request: &HttpRequest, item: &Item, shown: Value) -> HttpResponse {
    let tag = format!("\"{}\"", item.etag);
    let known = Tags::of(request.headers(), header::IF_NONE_MATCH);
    if known.is_some_and(|tags| tags.name_weakly(Some(&tag))) {
        return HttpResponse::NotModified().insert_header((header::ETAG, tag)).finish();
    }
    HttpResponse::Ok().insert_header((header::ETAG, tag)).json(shown)
}
