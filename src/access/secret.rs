//! Tickets: their secrets, and the cluster's mark by which they are known.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::model::secret::SECRET_BYTES;
pub use crate::model::secret::{Digest, digest, is_token, random};

/// The secret of a new ticket, and the cluster's mark behind it: so one that was made up is told from the
/// others without the database, which nobody can then be made to ask by guessing.
pub fn fresh_ticket(cluster_key: &hmac::Key) -> String {
    let secret = random::<SECRET_BYTES>();
    let mark = hmac::sign(cluster_key, &marked(&secret));
    URL_SAFE_NO_PAD.encode([secret.as_slice(), mark.as_ref()].concat())
}

/// Whether a text is a ticket that this cluster has given out.
pub fn is_ticket(cluster_key: &hmac::Key, text: &str) -> bool {
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    let Some((secret, mark)) = bytes.split_first_chunk::<SECRET_BYTES>() else { return false };
    hmac::verify(cluster_key, &marked(secret), mark).is_ok()
}

fn marked(secret: &[u8; SECRET_BYTES]) -> Vec<u8> {
    [b"ticket\0", secret.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_known_by_its_mark() {
        let key = |byte| hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]);
        let ticket = fresh_ticket(&key(1));
        assert!(is_ticket(&key(1), &ticket) && !is_ticket(&key(2), &ticket));
        for other in ["", &ticket[..43], &ticket[1..], &format!("{ticket}A")] {
            assert!(!is_ticket(&key(1), other), "{other}");
        }
    }
}
