//! What an answer needs of its request, which is let go before the wait for the commit.
//!
//! The framework uses a request again that was let go, and keeps some: where each is held for its answer, the next one is
//! another, whose memory no core has at hand, and nor has the one that answers that of the first.

use std::rc::Rc;

use actix_http::{HttpMessage as _, Request};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, Uri, Version};

use super::reply::MediaType;
use super::wire::Wire;

pub struct Asked {
    pub target: Uri,
    pub is_head: bool,
    pub version: Version,
    /// What it prefers of the types of the small document.
    pub media_type: MediaType,
    pub origin: Option<HeaderValue>,
    /// The connection that it came on.
    pub wire: Option<Rc<Wire>>,
}

impl Asked {
    pub fn of(request: &Request) -> Self {
        let headers = request.headers();
        Self {
            target: request.uri().clone(),
            is_head: request.method() == Method::HEAD,
            version: request.version(),
            media_type: MediaType::preferred(headers),
            origin: headers.get(header::ORIGIN).cloned(),
            wire: request.conn_data::<Rc<Wire>>().cloned(),
        }
    }
}
