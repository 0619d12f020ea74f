//! The settings that this node runs with; passwords and tokens are not shown.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::query::Query;
use crate::http::problem::Problem;
use crate::http::state::State;

#[derive(Serialize)]
struct Shown {
    /// By section, then by name.
    settings: BTreeMap<String, BTreeMap<String, Setting>>,
}

#[derive(Serialize)]
struct Setting {
    value: serde_json::Value,
    source: String,
}

/// Every setting of the reference, by section: `{"settings":{"api":{"page_max":{"value":500,"source":"default"}}}}`.
pub async fn show(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let mut settings: BTreeMap<String, BTreeMap<String, Setting>> = BTreeMap::new();
    for setting in state.settings.in_force() {
        let source = setting.origin.unwrap_or_else(|| "default".to_owned());
        let section = settings.entry(setting.section).or_default();
        section.insert(setting.name, Setting { value: setting.value, source });
    }
    Ok(HttpResponse::Ok().json(Shown { settings }))
}
