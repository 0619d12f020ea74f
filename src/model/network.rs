//! Ranges of addresses.

use ipnet::IpNet;

/// Reads a CIDR range (RFC 4632); a bare address is a range of one.
///
/// # Errors
/// With a sentence, where it is neither.
pub fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| format!("`{text}` is no address and no range like 10.0.0.0/8"))
}
