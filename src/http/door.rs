//! Where a request goes in: what stands under the capture prefix is caught, whatever its method and path, and asks no
//! table of routes for its way; all else does.

use actix_http::{Request, Response};
use actix_web::body::BoxBody;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::{Error, web};
use futures_util::future::{FutureExt as _, LocalBoxFuture, TryFutureExt as _};
use percent_encoding::percent_decode_str;

use super::capture::capture;
use super::server::Surface;
use super::state::State;

/// The door of a listener.
#[derive(Clone)]
pub struct Door {
    state: web::Data<State>,
    captures: bool,
}

impl Door {
    pub fn new(state: web::Data<State>, surface: Surface) -> Self {
        Self { state, captures: surface.captures() }
    }

    /// Answers a request. What waits stands in a box: a connection that is idle has no room for it.
    pub fn pass<S>(
        &self,
        request: Request,
        routes: &S,
    ) -> LocalBoxFuture<'static, Result<Response<BoxBody>, Error>>
    where
        S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error, Future: 'static>,
    {
        if self.captures && is_under(&self.state.settings.capture.prefix, request.uri().path()) {
            capture(request, self.state.clone()).map(|response| Ok(response.into())).boxed_local()
        } else {
            routes.call(request).map_ok(Response::from).boxed_local()
        }
    }
}

/// Whether a path's first segment is the prefix, which has unreserved characters alone: they are the same where they are
/// percent-encoded (RFC 3986, section 2.3).
fn is_under(prefix: &str, path: &str) -> bool {
    let first = path.strip_prefix('/').and_then(|rest| rest.split('/').next()).unwrap_or_default();
    first == prefix || (first.contains('%') && percent_decode_str(first).eq(prefix.bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_the_prefix_has_it_as_its_first_segment() {
        for path in ["/r", "/r/", "/r/a", "/r/a/b?c", "/r//", "/%72/a", "/%72"] {
            assert!(is_under("r", path), "{path}");
        }
        for path in ["", "*", "/", "/ra", "/a/r", "//r/a", "r/a", "/R/a", "/r%2Fa", "/%", "/%7", "/%2572/a"] {
            assert!(!is_under("r", path), "{path}");
        }
    }
}
