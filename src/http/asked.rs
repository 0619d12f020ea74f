//! What an answer needs of its request, which is let go before the wait for the commit.
//!
//! The framework takes the next request's memory from those that were let go last: it is in the caches still, as is what
//! is looked at in here. After the wait, with some hundred others in between, neither would be.

use std::rc::Rc;

use actix_http::{HttpMessage as _, Request};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, Version};

use super::reply::MediaType;
use super::wire::Wire;

pub struct Asked {
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
            is_head: request.method() == Method::HEAD,
            version: request.version(),
            media_type: MediaType::preferred(headers),
            origin: headers.get(header::ORIGIN).cloned(),
            wire: request.conn_data::<Rc<Wire>>().cloned(),
        }
    }
}
