//! JSON by hand, appended to a buffer: this is the path of every event and every row.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appends standard base64 (RFC 4648, section 4).
pub fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).expect("the room is exact");
    out.truncate(start + written);
}

/// Appends a JSON string. Most have nothing to escape, which is seen faster than it is written.
pub fn text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().fold(true, |plain, b| plain & is_plain(b)) {
        quoted(out, text.as_bytes());
    } else {
        serde_json::to_writer(out, text).expect("a string is JSON, and a Vec takes it");
    }
}

/// Appends a JSON string of UTF-8 that is plain.
pub fn quoted(out: &mut Vec<u8>, octets: &[u8]) {
    out.reserve(octets.len() + 2);
    out.push(b'"');
    out.extend_from_slice(octets);
    out.push(b'"');
}

/// Whether a JSON string has an octet as it is (RFC 8259, section 7).
pub fn is_plain(octet: u8) -> bool {
    (octet >= b' ') & (octet != b'"') & (octet != b'\\')
}

/// Appends JSON as it stands.
pub fn raw<const N: usize>(out: &mut Vec<u8>, pieces: [&str; N]) {
    pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
}

/// The same of what is formatted, which takes longer.
pub fn put(out: &mut Vec<u8>, formatted: std::fmt::Arguments<'_>) {
    out.write_fmt(formatted).expect("a Vec takes everything");
}

/// Appends an address with its port, as it is displayed.
pub fn peer(out: &mut Vec<u8>, peer: SocketAddr) {
    match peer {
        SocketAddr::V4(v4) => {
            address(out, peer.ip());
            raw(out, [":", itoa::Buffer::new().format(v4.port())]);
        }
        SocketAddr::V6(v6) => put(out, format_args!("{v6}")),
    }
}

/// Appends an address, as it is displayed. Most are of IPv4, and the formatter takes ten times as long for them.
pub fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (place, octet) in v4.octets().into_iter().enumerate() {
                raw(out, [if place == 0 { "" } else { "." }, itoa::Buffer::new().format(octet)]);
            }
        }
        IpAddr::V6(v6) => put(out, format_args!("{v6}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_are_written_as_they_are_displayed(peer: SocketAddr) {
            let (mut whole, mut address) = (Vec::new(), Vec::new());
            super::peer(&mut whole, peer);
            super::address(&mut address, peer.ip());
            prop_assert_eq!(whole, peer.to_string().into_bytes());
            prop_assert_eq!(address, peer.ip().to_string().into_bytes());
        }
    }
}
