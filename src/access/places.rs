//! How somebody is shown places in the journal. Who may see all is shown numbers and plain cursors. Who may
//! see some endpoints only could count the others by them, and gets no number, and sealed cursors.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use super::secret::random;
use crate::model::Cursor;
use crate::model::cursor::InvalidCursor;

/// What a sealed cursor begins with; that of a plain one is another.
const FORMAT: u8 = 2;

pub enum Places {
    Plain,
    /// Boxed: the key takes half a kilobyte.
    Sealed(Box<Seal>),
}

/// A token's own key, and what its seals are bound to beside.
pub struct Seal {
    key: LessSafeKey,
    bound_to: Vec<u8>,
}

impl Places {
    /// For one token. Each has a key of its own, made from the cluster's: so it is the seals of one token that
    /// count for the limit of random nonces (NIST SP 800-38D, section 8.3: 2^32), not those of all.
    pub(super) fn sealed(cluster_key: &hmac::Key, token: &str) -> Self {
        let key = hmac::sign(cluster_key, &[b"cursor\0", token.as_bytes()].concat());
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("HMAC-SHA256 makes 32 bytes");
        let bound_to = [&[FORMAT], token.as_bytes()].concat();
        Self::Sealed(Box::new(Seal { key: LessSafeKey::new(key), bound_to }))
    }

    /// An entry's number, for those who are shown it.
    pub fn number(&self, seq: i64) -> Option<i64> {
        matches!(self, Self::Plain).then_some(seq)
    }

    /// A cursor as a client is given it. A sealed one is another text each time.
    pub fn write(&self, cursor: Cursor) -> String {
        match self {
            Self::Plain => cursor.to_string(),
            Self::Sealed(seal) => seal.seal(cursor),
        }
    }

    /// The cursor that a client hands back.
    ///
    /// # Errors
    /// Where it was not given out to this client.
    pub fn read(&self, text: &str) -> Result<Cursor, InvalidCursor> {
        match self {
            Self::Plain => Cursor::parse(text),
            Self::Sealed(seal) => seal.open(text),
        }
    }
}

impl Seal {
    fn seal(&self, cursor: Cursor) -> String {
        let nonce: [u8; NONCE_LEN] = random();
        let mut sealed = cursor.to_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&self.bound_to),
                &mut sealed,
            )
            .expect("a cursor is no longer than what AES-GCM takes");
        URL_SAFE_NO_PAD.encode([&[FORMAT], nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, text: &str) -> Result<Cursor, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let Some(([FORMAT], rest)) = bytes.split_first_chunk() else { return Err(InvalidCursor) };
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(InvalidCursor)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(&self.bound_to), &mut sealed);
        Cursor::from_bytes(opened.map_err(|_| InvalidCursor)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(token: &str) -> Places {
        Places::sealed(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), token)
    }

    proptest! {
        #[test]
        fn a_sealed_cursor_is_good_for_its_own_token_alone(epoch: i64, seq in 0..=i64::MAX, digest: u32) {
            let cursor = Cursor { epoch, seq, digest };
            let (mine, theirs) = (places("a"), places("b"));
            let text = mine.write(cursor);
            prop_assert_eq!(mine.read(&text), Ok(cursor));
            prop_assert_eq!(theirs.read(&text), Err(InvalidCursor));
            prop_assert_eq!(Places::Plain.read(&text), Err(InvalidCursor));
            prop_assert_eq!(mine.read(&cursor.to_string()), Err(InvalidCursor));
            prop_assert_ne!(mine.write(cursor), text, "each is another text");
        }

        #[test]
        fn what_was_changed_is_refused(at in 0usize..50, bit in 0u8..8) {
            let mine = places("a");
            let mut bytes = URL_SAFE_NO_PAD.decode(mine.write(Cursor::default())).unwrap();
            prop_assert_eq!(bytes.len(), 50);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(mine.read(&URL_SAFE_NO_PAD.encode(bytes)), Err(InvalidCursor));
        }

        #[test]
        fn any_text_is_refused(text in ".{0,80}|[A-Za-z0-9_-]{60,70}|Ag[A-Za-z0-9_-]{65}") {
            prop_assert_eq!(places("a").read(&text), Err(InvalidCursor));
        }
    }
}
