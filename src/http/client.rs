//! Who sent a request, and to where: from the connection, or from what trusted proxies tell.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use actix_web::dev::RequestHead;
use actix_web::http::header;
use ipnet::IpNet;

use super::forwarded::{Told, told, trusts};
use crate::config::ProxyHeaders;

/// A request's two ends as its sender saw them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    pub peer: SocketAddr,
    pub client: IpAddr,
    pub scheme: Cow<'static, str>,
    pub host: String,
    pub port: u16,
}

impl Ends {
    /// Headers are believed only where the connection comes from a trusted proxy, and only those of one family.
    pub fn of(head: &RequestHead, trusted: &[IpNet], family: ProxyHeaders) -> Self {
        let peer = head.peer_addr.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        // On a socket for both, an IPv4 sender has an address of IPv6; ranges are written in IPv4.
        let address = peer.ip().to_canonical();
        let told = if trusts(trusted, address) {
            told(head.headers(), family, address, trusted)
        } else {
            Told::nothing(address)
        };
        let scheme = told.scheme.unwrap_or("http");
        let (host, port) = match told.host {
            Some(host) => (host, told.port),
            None => {
                let (host, port) = split_port(own_authority(head).unwrap_or_default());
                (host.to_owned(), port)
            }
        };
        let usual = if scheme == "https" { 443 } else { 80 };
        Self { peer, client: told.client, host, port: port.unwrap_or(usual), scheme: scheme.into() }
    }
}

/// Host and port as the request itself names them.
pub fn own_authority(head: &RequestHead) -> Option<&str> {
    // A target in absolute form may carry user and password, which are no part of the host.
    let of_target = head.uri.authority().map(|authority| {
        let authority = authority.as_str();
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    });
    of_target.or_else(|| head.headers().get(header::HOST).and_then(|host| host.to_str().ok()))
}

/// Splits `host:port`; an IPv6 address stands in brackets.
pub fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && (!host.contains(':') || host.ends_with(']')) => {
            match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => (authority, None),
            }
        }
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn ends(peer: &str, headers: &[(&'static str, &'static str)]) -> Ends {
        let mut request = TestRequest::default().peer_addr(peer.parse().unwrap());
        for header in headers {
            request = request.append_header(*header);
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        Ends::of(request.to_request().head(), &trusted, ProxyHeaders::XForwarded)
    }

    #[test]
    fn scheme_host_and_port_are_as_the_sender_saw_them() {
        let table: [(&[_], _); 5] = [
            (&[("host", "[::1]:9669")], ("http", "[::1]", 9669)),
            (&[("host", "inner:80"), ("x-forwarded-proto", "https")], ("https", "inner", 80)),
            (&[("host", "inner:80"), ("x-forwarded-host", "outer")], ("http", "outer", 80)),
            (
                &[("host", "inner:80"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "outer")],
                ("https", "outer", 443),
            ),
            (
                &[("host", "inner"), ("x-forwarded-host", "evil.com:99999"), ("x-forwarded-port", "8443")],
                ("http", "inner", 80),
            ),
        ];
        for (headers, expected) in table {
            let seen = ends("10.0.0.1:1000", headers);
            assert_eq!((seen.scheme.as_ref(), seen.host.as_str(), seen.port), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_peer_that_is_no_trusted_proxy_is_not_believed() {
        let headers = [("host", "a"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")];
        let seen = ends("9.9.9.9:1000", &headers);
        assert_eq!((seen.client.to_string().as_str(), seen.scheme.as_ref()), ("9.9.9.9", "http"));
        let seen = ends("[::ffff:10.0.0.1]:1000", &headers);
        assert_eq!(seen.client.to_string(), "1.2.3.4", "an IPv4 proxy on a socket for both");
    }
}
