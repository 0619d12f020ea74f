//! Captures: list, show, body, remove.

use std::sync::Arc;

use actix_web::http::header::{self, ContentType};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use uuid::Uuid;

use super::exports;
use super::query::{Query, invalid, method};
use crate::access::Places;
use crate::feed::LargeEvent;
use crate::http::auth::Caller;
use crate::http::capture::id_at;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::json;
use crate::model::limits::PAGE_BYTES_MAX;
use crate::model::wire::{self, BodyForm, Written};
use crate::model::{BodyContent, Capture, Cursor, EndpointCode};
use crate::storage::journal::{Listing, Order};
use crate::storage::{self};

/// Captures that a listing reads at a time.
const ROWS_AT_A_TIME: u32 = 100;

/// A page of captures: `{"captures":[...],"next":"<cursor>"}`, where `next` is null behind the last.
pub async fn list(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let names = ["endpoint", "method", "from", "until", "cursor", "order", "limit", "body"];
    let query = Query::parse(request.query_string(), &names, &[])?;
    let settings = &state.settings.api;
    let form = body_form(&query, BodyForm::Preview)?;
    if form == BodyForm::Full {
        return Err(invalid(
            "body",
            "a listing shows `preview` or `none`; ask for one capture to see all of it",
        ));
    }
    let places = state.access.places(&caller.0);
    let cursor = query
        .one("cursor")
        .map(|token| places.read(token).map_err(|error| Problem::because(Kind::InvalidCursor, error)))
        .transpose()?;
    if let Some(cursor) = cursor {
        check_place(cursor, &state).await?;
    }
    let mut listing = Listing {
        endpoint: query.parsed("endpoint", EndpointCode::parse)?,
        within: caller.0.pattern.clone(),
        method: query.parsed("method", method)?,
        from_us: query.instant("from")?,
        until_us: query.instant("until")?,
        order: match query.one("order") {
            None | Some("newest") => Order::NewestFirst,
            Some("oldest") => Order::OldestFirst,
            Some(_) => return Err(invalid("order", "`newest` or `oldest` is expected")),
        },
        behind: cursor.map(|cursor| cursor.seq),
        limit: query.limit(settings.page_default, settings.page_max)?,
    };
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(b"{\"captures\":[");
    let next = write_page(&mut out, &mut listing, form, &places, &state).await?;
    out.extend_from_slice(b"],\"next\":");
    match next {
        Some(next) => json::text(&mut out, &places.write(next)),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(out))
}

/// Writes captures until there are so many, or the page has its bytes; where to go on, unless there are no more. They
/// are read some at a time, so that little is held beside what is written.
async fn write_page(
    out: &mut Vec<u8>,
    listing: &mut Listing,
    form: BodyForm,
    places: &Places,
    state: &State,
) -> Result<Option<Cursor>, Problem> {
    let most = listing.limit;
    let mut left = most;
    loop {
        listing.limit = left.min(ROWS_AT_A_TIME);
        let captures = storage::journal::list_captures(state.database.as_ref(), listing).await?;
        for (seq, capture) in &captures {
            if left < most {
                out.push(b',');
            }
            wire::write_capture(out, places.number(*seq), capture, form, None);
            left -= 1;
            if left == 0 || out.len() >= PAGE_BYTES_MAX {
                return Ok(Some(Cursor::behind(state.hub.epoch(), *seq, capture.id)));
            }
            listing.behind = Some(*seq);
        }
        if captures.len() < listing.limit as usize {
            return Ok(None);
        }
    }
}

/// That a cursor is a place in this journal.
pub async fn check_place(cursor: Cursor, state: &State) -> Result<(), Problem> {
    let (database, known) = (state.database.as_ref(), state.hub.cursor());
    let mut fits = cursor.epoch == known.epoch;
    // This node's feed may be a little behind that of the node which gave the cursor out.
    if fits && cursor.seq > known.seq {
        fits = cursor.seq <= storage::journal::head(database).await?.seq;
    }
    if fits {
        let id = storage::journal::find_id(database, cursor.seq).await?;
        fits = id.is_none_or(|id| cursor.fits(id));
    }
    if fits { Ok(()) } else { Err(Problem::because(Kind::InvalidCursor, "it is of another journal")) }
}

/// One capture with its answer; or its request alone, as text.
pub async fn show(
    request: HttpRequest,
    id: web::Path<String>,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["body", "format"], &[])?;
    let form = body_form(&query, BodyForm::Full)?;
    if let Some(format) = exports::format(&query)? {
        let (_, capture) = find(&state, &caller, &id).await?;
        return exports::export(&state, &capture, format);
    }
    let (seq, capture) = find(&state, &caller, &id).await?;
    let answer = storage::answers::find(state.database.as_ref(), &capture.endpoint, seq).await?;
    let number = state.access.places(&caller.0).number(seq);
    let mut out = Vec::with_capacity(4096);
    let written = wire::write_capture(&mut out, number, &capture, form, Some(answer.as_ref()));
    let mut response = HttpResponse::Ok();
    response.content_type(ContentType::json());
    Ok(match written {
        Written::Whole => response.body(out),
        Written::UpToContent => {
            let event = LargeEvent::new(state.database.clone(), capture.id, out.into(), b"");
            let pieces = stream::unfold(event, |mut event| async move {
                match event.next().await {
                    Ok(piece) => piece.map(|(bytes, _)| (Ok(bytes), event)),
                    Err(error) => Some((Err(error), event)),
                }
            });
            response.streaming(state.room.of_parts(pieces)?)
        }
    })
}

/// A capture's body as it came, made safe to look at: never run, never sniffed, in an origin of its own.
pub async fn body(
    request: HttpRequest,
    id: web::Path<String>,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let (_, capture) = find(&state, &caller, &id).await?;
    let mut response = HttpResponse::Ok();
    let content_type =
        capture.headers.get("content-type").and_then(|v| header::HeaderValue::from_bytes(v).ok());
    let content_type =
        content_type.unwrap_or_else(|| header::HeaderValue::from_static("application/octet-stream"));
    response
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", capture.id)))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "sandbox; default-src 'none'; frame-ancestors 'none'",
        ))
        .insert_header(("Cross-Origin-Resource-Policy", "same-origin"))
        .insert_header((header::CACHE_CONTROL, "private, no-store"));
    match &capture.body.content {
        BodyContent::Inline(bytes) => Ok(response.body(bytes.clone())),
        BodyContent::Parts { .. } => {
            let id = capture.id;
            let parts = stream::try_unfold((state.database.clone(), 0), move |(database, part)| async move {
                let content = storage::bodies::find_part(database.as_ref(), id, part).await?;
                Ok::<_, crate::database::DatabaseError>(
                    content.map(|content| (content, (database, part + 1))),
                )
            });
            let parts = state.room.of_parts(parts)?;
            Ok(response.no_chunking(capture.body.bytes).streaming(parts))
        }
    }
}

/// Removes one capture: 204, or 404 where it is not there.
pub async fn remove(
    request: HttpRequest,
    id: web::Path<String>,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let (_, capture) = find(&state, &caller, &id).await?;
    let now_us = state.clock.now_us();
    let removal = id_at(now_us);
    let database = state.database.as_ref();
    let entry =
        storage::removals::remove_one(database, &capture.endpoint, capture.id, removal, now_us, caller.by())
            .await?;
    match entry {
        Some(entry) => {
            state.announce(entry);
            Ok(HttpResponse::NoContent().finish())
        }
        None => Err(Problem::new(Kind::UnknownCapture)),
    }
}

/// A capture that is there for whoever asks: of an endpoint that is not theirs they get the same answer as of
/// none.
pub async fn find(state: &State, caller: &Caller, id: &str) -> Result<(i64, Arc<Capture>), Problem> {
    let id =
        Uuid::parse_str(id).map_err(|_| Problem::because(Kind::UnknownCapture, "this is no capture id"))?;
    let found = storage::journal::find_capture(state.database.as_ref(), id).await?;
    let found = found.filter(|(_, capture)| caller.0.sees(&capture.endpoint));
    found.ok_or_else(|| Problem::new(Kind::UnknownCapture))
}

pub fn body_form(query: &Query, default: BodyForm) -> Result<BodyForm, Problem> {
    let form = query
        .parsed("body", |name| BodyForm::parse(name).ok_or("`full`, `preview` or `none` is expected"))?;
    Ok(form.unwrap_or(default))
}
