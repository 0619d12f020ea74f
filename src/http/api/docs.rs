//! The API's description, and the page that shows it: files of the binary, so that a browser asks nobody else.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::http::header::{self, ContentType};
use actix_web::{HttpRequest, HttpResponse, web};
use utoipa_swagger_ui::Config;

use super::query::Query;
use crate::http::problem::{Kind, Problem};

/// The source; written by hand.
pub const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

const PAGE: &str = include_str!("docs.html");
const SCRIPT: &str = include_str!("docs.js");

/// Scripts, style and data come from here alone, and nothing that an answer holds is run or loaded.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                           connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Files of Swagger UI that the page asks for; the others stay in the binary.
const FILES: [&str; 3] = ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"];

/// The OpenAPI document.
pub async fn document(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(DOCUMENT))
}

/// The page.
pub async fn page(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY));
    Ok(response.content_type(ContentType::html()).body(PAGE))
}

/// What the page is made of.
pub async fn file(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let mut response = HttpResponse::Ok();
    // They change with the binary alone, and are large; a browser may ask once a day.
    response.insert_header((header::CACHE_CONTROL, "public, max-age=86400"));
    if *name == "docs.js" {
        return Ok(response.content_type("text/javascript; charset=utf-8").body(SCRIPT));
    }
    let name = FILES.into_iter().find(|known| *known == *name).ok_or(Problem::new(Kind::NotFound))?;
    let found = utoipa_swagger_ui::serve(name, Arc::new(Config::from(""))).ok().flatten();
    let file = found.ok_or(Problem::new(Kind::NotFound))?;
    if file.gzpipped {
        response.insert_header((header::CONTENT_ENCODING, "gzip"));
    }
    response.content_type(file.content_type);
    Ok(match file.bytes {
        Cow::Borrowed(bytes) => response.body(bytes),
        Cow::Owned(bytes) => response.body(bytes),
    })
}
