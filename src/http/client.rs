//! Who sent a request, and to where: from the connection, or from what trusted proxies tell.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use ipnet::IpNet;

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
    /// Headers are believed only where the connection comes from a trusted proxy.
    pub fn of(request: &HttpRequest, trusted: &[IpNet]) -> Self {
        let peer = request.peer_addr().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let told = if trusts(trusted, peer.ip()) {
            told_by_proxies(request.headers(), peer.ip(), trusted)
        } else {
            Told::default()
        };
        let scheme: Cow<'static, str> = match told.scheme.as_deref() {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https".into(),
            _ => "http".into(),
        };
        let authority = told.host.as_deref().or_else(|| own_authority(request)).unwrap_or_default();
        let (host, port) = split_port(authority);
        let usual = if scheme == "https" { 443 } else { 80 };
        Self {
            peer,
            // On a socket for both, an IPv4 sender has an address of IPv6; ranges are written in IPv4.
            client: told.client.unwrap_or(peer.ip()).to_canonical(),
            host: host.to_owned(),
            port: port.unwrap_or(usual),
            scheme,
        }
    }
}

/// Host and port as the request itself names them.
pub fn own_authority(request: &HttpRequest) -> Option<&str> {
    // A target in absolute form may carry user and password, which are no part of the host.
    let of_target = request.uri().authority().map(|authority| {
        let authority = authority.as_str();
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    });
    of_target.or_else(|| request.headers().get(header::HOST).and_then(|host| host.to_str().ok()))
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

#[derive(Debug, Default)]
struct Told {
    client: Option<IpAddr>,
    scheme: Option<String>,
    host: Option<String>,
}

/// What the chain of proxies tells, read from its near end: the sender is the first that is not one of
/// the trusted proxies. `Forwarded` (RFC 7239) wins over `X-Forwarded-*`.
fn told_by_proxies(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> Told {
    let forwarded: Vec<Vec<(String, String)>> = values(headers, "forwarded")
        .flat_map(|value| split_outside_quotes(value, ','))
        .map(|element| parameters(&element))
        .collect();
    if !forwarded.is_empty() {
        let get = |element: &[(String, String)], name: &str| {
            element.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        };
        let mut told = Told { client: Some(peer), ..Told::default() };
        for element in forwarded.iter().rev() {
            told.scheme = get(element, "proto").or(told.scheme);
            told.host = get(element, "host").or(told.host);
            let Some(address) = get(element, "for").as_deref().and_then(address) else { break };
            told.client = Some(address);
            if !trusts(trusted, address) {
                break;
            }
        }
        return told;
    }
    let mut told = Told { client: Some(peer), ..Told::default() };
    let chain: Vec<&str> = values(headers, "x-forwarded-for").flat_map(|value| value.split(',')).collect();
    for hop in chain.iter().rev() {
        let Some(address) = address(hop.trim()) else { break };
        told.client = Some(address);
        if !trusts(trusted, address) {
            break;
        }
    }
    let nearest = |name| values(headers, name).flat_map(|value| value.split(',')).last();
    told.scheme = nearest("x-forwarded-proto").map(|proto| proto.trim().to_owned());
    told.host = nearest("x-forwarded-host").map(|host| host.trim().to_owned());
    if let (Some(host), Some(port)) = (&told.host, nearest("x-forwarded-port"))
        && split_port(host).1.is_none()
        && port.trim().parse::<u16>().is_ok()
    {
        told.host = Some(format!("{host}:{}", port.trim()));
    }
    told
}

fn trusts(trusted: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// An address with or without port and brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches('"');
    let parsed = bare.parse().or_else(|_| split_port(bare).0.trim_matches(['[', ']']).parse());
    parsed.ok().map(|address: IpAddr| address.to_canonical())
}

fn parameters(element: &str) -> Vec<(String, String)> {
    split_outside_quotes(element, ';')
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
        })
        .collect()
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = String> {
    let mut quoted = false;
    let mut parts = vec![String::new()];
    for c in text.chars() {
        if c == '"' {
            quoted = !quoted;
        }
        if c == separator && !quoted {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.into_iter()
}

fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn ends(headers: &[(&'static str, &'static str)]) -> Ends {
        let mut request = TestRequest::default().peer_addr("10.0.0.1:1000".parse().unwrap());
        for header in headers {
            request = request.append_header(*header);
        }
        Ends::of(&request.to_http_request(), &["10.0.0.0/8".parse().unwrap()])
    }

    #[test]
    fn the_sender_is_the_first_that_is_no_trusted_proxy() {
        let client = |headers: &[(&'static str, &'static str)]| ends(headers).client.to_string();
        assert_eq!(client(&[]), "10.0.0.1");
        assert_eq!(client(&[("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.2")]), "1.2.3.4");
        assert_eq!(client(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4")]), "1.2.3.4");
        assert_eq!(client(&[("x-forwarded-for", "1.2.3.4, unknown")]), "10.0.0.1");
        assert_eq!(client(&[("forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:4711\"")]), "2001:db8::1");
        assert_eq!(client(&[("forwarded", "for=1.2.3.4"), ("x-forwarded-for", "6.6.6.6")]), "1.2.3.4");
    }

    #[test]
    fn scheme_host_and_port_are_as_the_sender_saw_them() {
        let seen = ends(&[("forwarded", "for=1.2.3.4;proto=https;host=\"hooks.example:8443\"")]);
        assert_eq!((seen.scheme.as_ref(), seen.host.as_str(), seen.port), ("https", "hooks.example", 8443));
        let seen =
            ends(&[("host", "inner:80"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "outer")]);
        assert_eq!((seen.scheme.as_ref(), seen.host.as_str(), seen.port), ("https", "outer", 443));
        let seen = ends(&[("host", "[::1]:9669")]);
        assert_eq!((seen.host.as_str(), seen.port), ("[::1]", 9669));
    }

    #[test]
    fn a_peer_that_is_no_trusted_proxy_is_not_believed() {
        let request = TestRequest::default()
            .peer_addr("9.9.9.9:1000".parse().unwrap())
            .insert_header(("x-forwarded-for", "1.2.3.4"))
            .insert_header(("x-forwarded-proto", "https"))
            .to_http_request();
        let seen = Ends::of(&request, &["10.0.0.0/8".parse().unwrap()]);
        assert_eq!((seen.client.to_string().as_str(), seen.scheme.as_ref()), ("9.9.9.9", "http"));
    }
}
