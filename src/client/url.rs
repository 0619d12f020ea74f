//! URLs that are used to the letter: nothing is decoded, resolved or put in order.

use std::fmt;

use hyper::Uri;

/// An `http` or `https` URL in two pieces: where to connect to, and the rest as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// `http://host:port`
    origin: String,
    /// What stands in `Host`.
    authority: String,
    /// With its slash, or empty.
    path: String,
    query: Option<String>,
}

/// Why a text is no URL that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("it must begin with http:// or https://, as in http://127.0.0.1:9669")]
    Scheme,
    #[error("a user and a password cannot stand in it")]
    User,
    #[error("a `#` cannot stand in it: what follows one is never sent")]
    Fragment,
    #[error("{0}")]
    Malformed(String),
}

impl HttpUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// Another scheme, no host, a user or a fragment, characters that cannot be sent.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let rest = rest.ok_or(InvalidUrl::Scheme)?;
        if text.contains('#') {
            return Err(InvalidUrl::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(InvalidUrl::User);
        }
        let port = authority.rsplit(']').next().unwrap_or_default().split_once(':');
        if port.is_some_and(|(_, port)| port.parse::<u16>().is_err()) {
            return Err(InvalidUrl::Malformed("its port is no number up to 65535".to_owned()));
        }
        let origin = text[..text.len() - target.len()].to_owned();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let url = Self { origin, authority: authority.to_owned(), path: path.to_owned(), query };
        url.uri("", None)?;
        Ok(url)
    }

    /// Whether TLS is spoken.
    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }

    /// Host and port as written: what stands in `Host`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The target that one gets by appending a path and a query to this URL, to the letter. Where the one ends
    /// and the other begins with a slash there is one slash; two queries are joined by `&`.
    pub fn target(&self, remainder: &str, query: Option<&str>) -> String {
        let path = match remainder.starts_with('/') {
            true => self.path.strip_suffix('/').unwrap_or(&self.path),
            false => &self.path,
        };
        let mut target = format!("{path}{remainder}");
        if target.is_empty() {
            target.push('/');
        }
        for (i, part) in self.query.as_deref().into_iter().chain(query).enumerate() {
            target.push(if i == 0 { '?' } else { '&' });
            target.push_str(part);
        }
        target
    }

    /// [`Self::target`] with where to connect to.
    ///
    /// # Errors
    /// Characters that cannot stand in a request's first line.
    pub fn uri(&self, remainder: &str, query: Option<&str>) -> Result<Uri, InvalidUrl> {
        let text = format!("{}{}", self.origin, self.target(remainder, query));
        text.parse().map_err(|error: hyper::http::uri::InvalidUri| InvalidUrl::Malformed(error.to_string()))
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_is_appended_to_the_letter() {
        for (url, remainder, query, expected) in [
            ("http://a", "", None, "/"),
            ("http://a/", "/x", None, "/x"),
            ("http://a:1/hooks", "/x%2Fy/../z//", Some("a=%20&b"), "/hooks/x%2Fy/../z//?a=%20&b"),
            ("https://a/hooks/", "", Some(""), "/hooks/?"),
            ("https://[::1]:2/h?k=1", "/x", Some("a=b"), "/h/x?k=1&a=b"),
            ("https://a?k", "", None, "/?k"),
        ] {
            let url = HttpUrl::parse(url).unwrap();
            assert_eq!(url.target(remainder, query), expected);
            let uri = url.uri(remainder, query).unwrap();
            assert_eq!(uri.path_and_query().unwrap().as_str(), expected);
        }
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        assert_eq!(HttpUrl::parse("localhost:3000"), Err(InvalidUrl::Scheme));
        assert_eq!(HttpUrl::parse("ftp://a"), Err(InvalidUrl::Scheme));
        assert_eq!(HttpUrl::parse("http://user:word@a/"), Err(InvalidUrl::User));
        assert_eq!(HttpUrl::parse("http://a/#b"), Err(InvalidUrl::Fragment));
        for text in [
            "http://",
            "http:///a",
            "http://a b/",
            "http://a/ b",
            "http://a:port/",
            "http://a:/",
            "http://[::1]:65536",
        ] {
            assert!(matches!(HttpUrl::parse(text), Err(InvalidUrl::Malformed(_))), "{text}");
        }
    }
}
