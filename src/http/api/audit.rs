//! The audit log: who removed and changed what, and when. The entries are the journal's own.

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};

use super::captures::check_place;
use super::query::Query;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::json;
use crate::model::wire::{self, BodyForm};
use crate::model::{Cursor, Entry};
use crate::storage;

/// A page, the newest first: `{"entries":[...],"next":"<cursor>"}`, each as the stream sends it.
pub async fn list(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["cursor", "limit"], &[])?;
    let limit = query.limit(state.settings.api.page_default, state.settings.api.page_max)?;
    let before = query
        .one("cursor")
        .map(|token| Cursor::parse(token).map_err(|error| Problem::because(Kind::InvalidCursor, error)))
        .transpose()?;
    if let Some(cursor) = before {
        check_place(cursor, &state).await?;
    }
    let before = before.map_or(i64::MAX, |cursor| cursor.seq);
    let entries = storage::journal::list_notices(state.database.as_ref(), before, limit).await?;
    let cursor = |entry: &Entry| Cursor::behind(state.hub.epoch(), entry.seq, entry.id());
    let mut out = b"{\"entries\":[".to_vec();
    for (i, entry) in entries.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        wire::write_event(&mut out, &cursor(entry).to_string(), Some(entry.seq), entry, BodyForm::None);
    }
    out.extend_from_slice(b"],\"next\":");
    match entries.last() {
        Some(last) if entries.len() == limit as usize => json::text(&mut out, &cursor(last).to_string()),
        _ => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(out))
}
