//! Rules of other programs, taken over as rules of Creel: all of them, or none.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::changes::{json, read_document};
use super::config::{Manner, fulfil};
use super::query::{Query, invalid};
use crate::http::auth::Caller;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::rules::Invalid;
use crate::rules::document::wishes;
use crate::rules::traffcap::{self, ImportOptions};

/// Saves what is made of one rule, or of a list of them, and shows it. With `dry_run=true` nothing is saved.
pub async fn import(
    request: HttpRequest,
    caller: Caller,
    mut payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["format", "dry_run"], &[])?;
    let dry_run = query.flag("dry_run")?;
    if query.one("format") != Some("traffcap") {
        return Err(invalid("format", "it must be said, and there is `traffcap`"));
    }
    let given =
        json(&read_document(&mut payload, &caller, &state, state.settings.rules.config_bytes_max).await?)?;
    let options = state.intake.configuration().options().clone();
    let prefix = state.settings.capture.prefix.clone();
    let imported = state.compile(move || {
        let settings = ImportOptions { prefix: &prefix, pattern_bytes_max: options.pattern_bytes_max };
        let made = traffcap::documents(&given, settings)?;
        let made = json!({"rules": made});
        let wished = wishes(&made, &options)
            .map_err(|invalid| Invalid::here(format!("what would be made of it is not valid: {invalid}")))?;
        Ok((made, wished))
    });
    let imported: Result<_, Invalid> = imported.await?;
    let (made, wished) = imported.map_err(|invalid| Problem::because(Kind::InvalidRule, invalid))?;
    let mut told = fulfil(&state, &caller, &wished, Manner { dry_run, prune: false }).await?;
    if let (Some(told), Value::Object(made)) = (told.as_object_mut(), made) {
        told.extend(made);
    }
    Ok(HttpResponse::Ok().json(told))
}
