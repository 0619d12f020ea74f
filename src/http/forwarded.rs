//! What trusted proxies tell of a request's two ends. A proxy adds to the end of what has come, so lists are read
//! from there, and only as far as trusted proxies have written them: a sender may have put anything before that,
//! quotes that are never closed and odd octets among it. Nothing here is asked where the peer is not trusted.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use actix_web::http::header::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::config::ProxyHeaders;

/// What was told; the client is the last address that is known for sure.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub client: IpAddr,
    pub scheme: Option<&'static str>,
    pub host: Option<String>,
    pub port: Option<u16>,
}

impl Told {
    /// Nobody is known but the peer.
    pub fn nothing(peer: IpAddr) -> Self {
        Self { client: peer, scheme: None, host: None, port: None }
    }
}

/// Reads the one family of headers that the proxies in front set.
pub fn told(headers: &HeaderMap, family: ProxyHeaders, peer: IpAddr, trusted: &[IpNet]) -> Told {
    let nothing = Told::nothing(peer);
    match family {
        ProxyHeaders::XForwarded => of_x_forwarded(headers, nothing, trusted),
        ProxyHeaders::Forwarded => of_forwarded(headers, nothing, trusted),
    }
}

/// Addresses are canonical, so that an IPv4 one is not taken for one of IPv6.
pub fn trusts(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// The client is the first address from the end that is no trusted proxy's. The other headers are the nearest
/// proxy's.
fn of_x_forwarded(headers: &HeaderMap, mut told: Told, trusted: &[IpNet]) -> Told {
    let lines = headers.get_all("x-forwarded-for").rev();
    for hop in lines.flat_map(|line| line.as_bytes().rsplit(|octet| *octet == b',')) {
        let Some(address) = hop_address(hop.trim_ascii()) else { break };
        told.client = address;
        if !trusts(trusted, address) {
            break;
        }
    }
    let nearest = |name| {
        let line = headers.get_all(name).next_back().map(HeaderValue::as_bytes)?;
        line.rsplit(|octet| *octet == b',').next().map(<[u8]>::trim_ascii)
    };
    told.scheme = nearest("x-forwarded-proto").and_then(scheme);
    if let Some((host, port)) = nearest("x-forwarded-host").and_then(authority) {
        let port = port.or_else(|| nearest("x-forwarded-port").and_then(self::port));
        (told.host, told.port) = (Some(host), port);
    }
    told
}

/// Of the elements that trusted proxies have added, the outermost wins.
fn of_forwarded(headers: &HeaderMap, mut told: Told, trusted: &[IpNet]) -> Told {
    for line in headers.get_all("forwarded").rev() {
        let mut rest = Some(line.as_bytes());
        while let Some(list) = rest {
            let Some((before, last)) = split_last(list) else { return told };
            let Some(element) = Element::parse(last.trim_ascii()) else { return told };
            told.scheme = element.proto.as_deref().and_then(scheme).or(told.scheme);
            if let Some((host, port)) = element.host.as_deref().and_then(authority) {
                (told.host, told.port) = (Some(host), port);
            }
            // `unknown`, and names that hide an address, end it as well.
            let Some(address) = element.node.as_deref().and_then(node_address) else { return told };
            told.client = address;
            if !trusts(trusted, address) {
                return told;
            }
            rest = before;
        }
    }
    told
}

/// The last element of a list, and what stands before its comma. It is looked for from the end, since there is
/// no telling where quotes begin in what a sender has sent; an opening quote has no backslash before it.
fn split_last(list: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let mut at = list.len();
    while let Some(before) = at.checked_sub(1) {
        at = match list[before] {
            b',' => return Some((Some(&list[..before]), &list[at..])),
            b'"' => opening_quote(&list[..before])?,
            _ => before,
        };
    }
    Some((None, list))
}

/// Where the string opens that is closed behind these octets.
fn opening_quote(octets: &[u8]) -> Option<usize> {
    let is_escaped =
        |quote: usize| octets[..quote].iter().rev().take_while(|octet| **octet == b'\\').count() % 2 == 1;
    let quotes = octets.iter().enumerate().rev().filter(|(_, octet)| **octet == b'"');
    quotes.map(|(place, _)| place).find(|quote| !is_escaped(*quote))
}

/// What one proxy has added.
#[derive(Debug, Default)]
struct Element<'a> {
    node: Option<Cow<'a, [u8]>>,
    host: Option<Cow<'a, [u8]>>,
    proto: Option<Cow<'a, [u8]>>,
}

impl<'a> Element<'a> {
    /// By the letter of RFC 7239, section 4; nothing where it is written otherwise.
    fn parse(mut rest: &'a [u8]) -> Option<Self> {
        let mut element = Self::default();
        loop {
            if !matches!(rest, [] | [b';', ..]) {
                let (name, after) = token(rest)?;
                let (value, after) = value(after.strip_prefix(b"=")?)?;
                rest = after;
                let place = match () {
                    () if name.eq_ignore_ascii_case(b"for") => Some(&mut element.node),
                    () if name.eq_ignore_ascii_case(b"host") => Some(&mut element.host),
                    () if name.eq_ignore_ascii_case(b"proto") => Some(&mut element.proto),
                    () => None,
                };
                if place.is_some_and(|place| place.replace(value).is_some()) {
                    return None;
                }
            }
            match rest {
                [] => return Some(element),
                [b';', after @ ..] => rest = after,
                _ => return None,
            }
        }
    }
}

/// A token, and what follows it (RFC 9110, section 5.6.2).
fn token(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_part = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet);
    let end = octets.iter().position(|octet| !is_part(octet)).unwrap_or(octets.len());
    (end > 0).then(|| octets.split_at(end))
}

/// A token or a quoted string, and what follows it (RFC 9110, section 5.6.4).
fn value(octets: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = octets.strip_prefix(b"\"") else {
        return token(octets).map(|(value, after)| (Cow::Borrowed(value), after));
    };
    let mut plain = Cow::Borrowed(&quoted[..0]);
    let mut at = 0;
    loop {
        match quoted[at..] {
            [b'"', ref after @ ..] => return Some((plain, after)),
            [b'\\', escaped, ..] => {
                plain.to_mut().push(escaped);
                at += 2;
            }
            [octet, ..] if octet != b'\\' => {
                match &mut plain {
                    Cow::Borrowed(plain) => *plain = &quoted[..=at],
                    Cow::Owned(plain) => plain.push(octet),
                }
                at += 1;
            }
            _ => return None,
        }
    }
}

/// An address as it stands in `X-Forwarded-For`: bare, or with brackets and port.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    parsed(hop).map(|address: IpAddr| address.to_canonical()).or_else(|| node_address(hop))
}

/// The address of a node (RFC 7239, section 6); an IPv6 one stands in brackets.
fn node_address(node: &[u8]) -> Option<IpAddr> {
    let (address, node_port) = split_host(node)?;
    let is_hidden_part = |octet: &u8| octet.is_ascii_alphanumeric() || b"._-".contains(octet);
    match node_port {
        Some([b'_', hidden @ ..]) if !hidden.is_empty() && hidden.iter().all(is_hidden_part) => {}
        Some(digits) => drop(port(digits)?),
        None => {}
    }
    match address {
        [b'[', inner @ .., b']'] => parsed(inner).map(|address: Ipv6Addr| address.to_canonical()),
        _ => parsed(address).map(|address: Ipv4Addr| address.into()),
    }
}

fn scheme(told: &[u8]) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|scheme| told.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// A host, and a port where there is one (RFC 3986, section 3.2); nothing where it is anything else.
fn authority(told: &[u8]) -> Option<(String, Option<u16>)> {
    let (host, digits) = split_host(told)?;
    let port = match digits {
        None | Some([]) => None,
        Some(digits) => Some(port(digits)?),
    };
    let is_name_part = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(octet);
    let is_host = match host {
        [b'[', inner @ .., b']'] => parsed::<Ipv6Addr>(inner).is_some(),
        _ => !host.is_empty() && host.iter().all(is_name_part),
    };
    is_host.then(|| parsed(host)).flatten().map(|host| (host, port))
}

/// Splits what stands before a port's colon from what follows it; brackets stay.
fn split_host(octets: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let end = match octets.strip_prefix(b"[") {
        Some(inner) => inner.iter().position(|octet| *octet == b']')? + 2,
        None => octets.iter().position(|octet| *octet == b':').unwrap_or(octets.len()),
    };
    match octets.split_at(end) {
        (host, []) => Some((host, None)),
        (host, [b':', port @ ..]) => Some((host, Some(port))),
        _ => None,
    }
}

/// Digits alone: the number's own parser would take a sign.
fn port(digits: &[u8]) -> Option<u16> {
    digits.iter().all(u8::is_ascii_digit).then(|| parsed(digits)).flatten()
}

fn parsed<T: std::str::FromStr>(octets: &[u8]) -> Option<T> {
    std::str::from_utf8(octets).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;
    use proptest::prelude::*;

    use super::*;

    type Line<'a> = (&'static str, &'a [u8]);
    type Authority = (&'static str, Option<u16>);

    const PEER: &str = "10.0.0.1";

    fn told_by(family: ProxyHeaders, lines: &[Line<'_>]) -> Told {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        told(&headers, family, PEER.parse().unwrap(), &["10.0.0.0/8".parse().unwrap()])
    }

    fn check(family: ProxyHeaders, table: &[(&[Line<'_>], &str)]) {
        for (lines, client) in table {
            let shown: Vec<_> = lines.iter().map(|(_, value)| String::from_utf8_lossy(value)).collect();
            assert_eq!(told_by(family, lines).client.to_string(), *client, "{shown:?}");
        }
    }

    #[test]
    fn the_client_is_the_first_from_the_end_that_is_no_trusted_proxy() {
        let name = "x-forwarded-for";
        check(
            ProxyHeaders::XForwarded,
            &[
                (&[], PEER),
                (&[(name, b"1.2.3.4")], "1.2.3.4"),
                (&[(name, b"6.6.6.6, 1.2.3.4, 10.0.0.2")], "1.2.3.4"),
                (&[(name, b"6.6.6.6"), (name, b"1.2.3.4")], "1.2.3.4"),
                (&[(name, b"6.6.6.6, 1.2.3.4"), (name, b"10.0.0.3\t,10.0.0.2")], "1.2.3.4"),
                (&[(name, b"6.6.6.6,2001:db8::1")], "2001:db8::1"),
                (&[(name, b"[2001:db8::1]:4711")], "2001:db8::1"),
                (&[(name, b"::ffff:1.2.3.4")], "1.2.3.4"),
                (&[(name, b"1.2.3.4:4711")], "1.2.3.4"),
                (&[(name, b"10.0.0.3, 10.0.0.2")], "10.0.0.3"),
                // What a sender has put before the proxy's own element is not read.
                (&[(name, b"\xff, 1.2.3.4")], "1.2.3.4"),
                (&[(name, b"\xff"), (name, b"1.2.3.4")], "1.2.3.4"),
                (&[(name, b"\", 1.2.3.4")], "1.2.3.4"),
                (&[(name, b""), (name, b"1.2.3.4")], "1.2.3.4"),
                (&[("forwarded", b"for=203.0.113.5"), (name, b"1.2.3.4")], "1.2.3.4"),
                (&[("forwarded", b""), (name, b"1.2.3.4")], "1.2.3.4"),
                (&[("forwarded", b"for=203.0.113.5")], PEER),
                // What no address is read from ends it.
                (&[(name, b"1.2.3.4, unknown")], PEER),
                (&[(name, b"1.2.3.4, \xff, 10.0.0.2")], "10.0.0.2"),
                (&[(name, b"1.2.3.4, , 10.0.0.2")], "10.0.0.2"),
                (&[(name, b"1.2.3.4"), (name, b"")], PEER),
                (&[(name, b"1.2.3.4:x")], PEER),
                (&[(name, b"1.2.3.4:99999")], PEER),
                (&[(name, b"[1.2.3.4]")], PEER),
                (&[(name, b"[2001:db8::1")], PEER),
            ],
        );
    }

    #[test]
    fn forwarded_is_read_by_the_letter() {
        let name = "forwarded";
        check(
            ProxyHeaders::Forwarded,
            &[
                (&[], PEER),
                (&[(name, b"for=1.2.3.4")], "1.2.3.4"),
                (&[(name, b"For=1.2.3.4;By=10.0.0.1;;proto=http;")], "1.2.3.4"),
                (&[(name, b"for=6.6.6.6, for=\"[2001:db8::1]:4711\"")], "2001:db8::1"),
                (&[(name, b"for=6.6.6.6"), (name, b"for=1.2.3.4, for=10.0.0.2")], "1.2.3.4"),
                (&[(name, b"for=\"1.2.3.4:_hidden\"")], "1.2.3.4"),
                (&[(name, b"for=\"1\\.2.3.4\";x=\"a\\\",\\\\\"")], "1.2.3.4"),
                (&[(name, b"for=6.6.6.6,for=1.2.3.4;x=\",for=7.7.7.7,\"")], "1.2.3.4"),
                (&[("x-forwarded-for", b"203.0.113.5"), (name, b"for=1.2.3.4")], "1.2.3.4"),
                (&[("x-forwarded-for", b"203.0.113.5")], PEER),
                // Quotes that a sender leaves open, and octets of his, do not reach into the proxy's element.
                (&[(name, b"for=203.0.113.5;x=\", for=1.2.3.4")], "1.2.3.4"),
                (&[(name, b"for=203.0.113.5;x=\", for=\"[2001:db8::1]\"")], "2001:db8::1"),
                (&[(name, b"for=203.0.113.5;x=\"\\, for=\"[2001:db8::1]\"")], "2001:db8::1"),
                (&[(name, b"for=203.0.113.5;x=\", for=1.2.3.4;host=\"a:1\"")], "1.2.3.4"),
                (&[(name, b"\xff, for=1.2.3.4")], "1.2.3.4"),
                (&[(name, b""), (name, b"for=1.2.3.4")], "1.2.3.4"),
                (&[(name, b"for=203.0.113.5;x=\""), (name, b"for=1.2.3.4")], "1.2.3.4"),
                // Whatever is written otherwise, or is no address, ends it.
                (&[(name, b"for=203.0.113.5;x=\", for=10.0.0.2")], "10.0.0.2"),
                (&[(name, b"for=1.2.3.4, for=unknown")], PEER),
                (&[(name, b"for=1.2.3.4, for=_hidden, for=10.0.0.2")], "10.0.0.2"),
                (&[(name, b"for=1.2.3.4, proto=https")], PEER),
                (&[(name, b"for=1.2.3.4, ")], PEER),
                (&[(name, b"for=1.2.3.4"), (name, b"")], PEER),
                (&[(name, b"for=1.2.3.4;for=5.6.7.8")], PEER),
                (&[(name, b"for = 1.2.3.4")], PEER),
                (&[(name, b"for=1.2.3.4 ;proto=http")], PEER),
                (&[(name, b"for=1.2.3.4:99")], PEER),
                (&[(name, b"for=[2001:db8::1]")], PEER),
                (&[(name, b"for=\"2001:db8::1\"")], PEER),
                (&[(name, b"for=\"1.2.3.4")], PEER),
                (&[(name, b"for=1.2.3.4\"")], PEER),
                (&[(name, b"for=\"1.2.3.4\"x")], PEER),
                (&[(name, b"for=\"1.2.3.4:999999\"")], PEER),
                (&[(name, b"for=1.2.3.4;\xff")], PEER),
                (&[(name, b"for")], PEER),
            ],
        );
    }

    proptest! {
        #[test]
        fn nothing_that_a_sender_has_sent_is_believed(
            sent in prop::collection::vec(prop::sample::select(b" \t\",;=\\\xff[]:.for16ax".to_vec()), 0..40),
        ) {
            let sent: &[u8] = &sent;
            for (family, name, added) in [
                (ProxyHeaders::XForwarded, "x-forwarded-for", b"1.2.3.4".as_slice()),
                (ProxyHeaders::Forwarded, "forwarded", b"for=1.2.3.4"),
                (ProxyHeaders::Forwarded, "forwarded", b"for=\"1.2.3.4:1\";host=\"a:1\";x=\",\\\"\\\\\""),
            ] {
                let joined = [sent, b", ", added].concat();
                let in_one_line = told_by(family, &[(name, joined.trim_ascii())]);
                let in_two = told_by(family, &[(name, sent.trim_ascii()), (name, added)]);
                prop_assert_eq!(in_one_line.client.to_string(), "1.2.3.4");
                prop_assert_eq!(in_two, in_one_line);
            }
        }
    }

    #[test]
    fn hosts_and_ports_are_taken_where_they_are_such() {
        let table: [(&[u8], &[u8], Option<Authority>); 13] = [
            (b"a.example", b"", Some(("a.example", None))),
            (b"a.example:8443", b"99", Some(("a.example", Some(8443)))),
            (b"a.example", b"8443", Some(("a.example", Some(8443)))),
            (b"a.example", b"99999", Some(("a.example", None))),
            (b"a.example", b"+1", Some(("a.example", None))),
            (b"a.example:", b"", Some(("a.example", None))),
            (b"[2001:db8::1]:1", b"", Some(("[2001:db8::1]", Some(1)))),
            (b"evil, a_b", b"1, 2", Some(("a_b", Some(2)))),
            (b"evil.com:99999", b"8443", None),
            (b"a:b:1", b"8443", None),
            (b"user@a", b"", None),
            (b"a/b", b"", None),
            (b"\xff", b"", None),
        ];
        for (host, port, expected) in table {
            let lines: [(_, &[u8]); 2] = [("x-forwarded-host", host), ("x-forwarded-port", port)];
            let told = told_by(ProxyHeaders::XForwarded, &lines);
            let shown = (String::from_utf8_lossy(host), String::from_utf8_lossy(port));
            assert_eq!(told.host.as_deref().map(|host| (host, told.port)), expected, "{shown:?}");
        }
        let both = b"for=6.6.6.6;host=evil, for=1.2.3.4;proto=HTTPS;host=\"a:8443\", for=10.0.0.2;host=inner";
        let told = told_by(ProxyHeaders::Forwarded, &[("forwarded", both)]);
        assert_eq!((told.scheme, told.host.as_deref(), told.port), (Some("https"), Some("a"), Some(8443)));
    }
}
