//! Cursors of listings that go by name: the name that a page ended with, and the cluster's mark, so that what was made up,
//! or is of another listing or cluster, is told from what was given out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::model::cursor::InvalidCursor;

/// What such a cursor begins with; those of places in the journal begin otherwise.
const FORMAT: u8 = 3;
const MARK_BYTES: usize = 12;

pub fn write(cluster_key: &hmac::Key, listing: &str, name: &str) -> String {
    let mark = mark(cluster_key, listing, name.as_bytes());
    URL_SAFE_NO_PAD.encode([&[FORMAT], mark.as_slice(), name.as_bytes()].concat())
}

/// The name that a page of this listing ended with.
pub fn read(cluster_key: &hmac::Key, listing: &str, text: &str) -> Result<String, InvalidCursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
    let Some(([FORMAT], rest)) = bytes.split_first_chunk() else { return Err(InvalidCursor) };
    let (given, name) = rest.split_first_chunk::<MARK_BYTES>().ok_or(InvalidCursor)?;
    if !bool::from(mark(cluster_key, listing, name).ct_eq(given)) {
        return Err(InvalidCursor);
    }
    String::from_utf8(name.to_vec()).map_err(|_| InvalidCursor)
}

fn mark(cluster_key: &hmac::Key, listing: &str, name: &[u8]) -> [u8; MARK_BYTES] {
    let whole = hmac::sign(cluster_key, &[b"behind\0", listing.as_bytes(), b"\0", name].concat());
    let mut mark = [0; MARK_BYTES];
    mark.copy_from_slice(&whole.as_ref()[..MARK_BYTES]);
    mark
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32])
    }

    proptest! {
        #[test]
        fn a_name_comes_back_to_its_own_listing_alone(name in ".{0,60}", place in 0usize..100, bit in 0u8..8) {
            let cursor = write(&key(1), "rules", &name);
            prop_assert_eq!(read(&key(1), "rules", &cursor), Ok(name));
            prop_assert_eq!(read(&key(2), "rules", &cursor), Err(InvalidCursor));
            prop_assert_eq!(read(&key(1), "runs", &cursor), Err(InvalidCursor));
            let mut bytes = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            prop_assert_eq!(read(&key(1), "rules", &URL_SAFE_NO_PAD.encode(bytes)), Err(InvalidCursor));
        }

        #[test]
        fn any_text_is_refused(text in ".{0,40}|Aw[A-Za-z0-9_-]{0,40}") {
            prop_assert_eq!(read(&key(1), "rules", &text), Err(InvalidCursor));
        }
    }
}
