//! Cursors: a reader's place in the journal, opaque to clients.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// The token's format. Another one is refused, never guessed at.
const FORMAT: u8 = 1;
const BYTES: usize = 1 + 8 + 8 + 4;

/// The place behind the entry `seq` of the epoch. The digest of that entry's id tells a journal that was
/// restored from a backup and went another way; 0 means "not known" and fits every entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    pub epoch: i64,
    pub seq: i64,
    pub digest: u32,
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    Now,
    Earliest,
    /// Microseconds since the Unix epoch.
    Time(i64),
    Cursor(Cursor),
}

/// A text that is not a cursor of any Creel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor that Creel has given out")]
pub struct InvalidCursor;

impl Cursor {
    /// The place behind an entry.
    pub fn behind(epoch: i64, seq: i64, id: Uuid) -> Self {
        Self { epoch, seq, digest: digest(id) }
    }

    pub fn parse(token: &str) -> Result<Self, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidCursor)?;
        Self::from_bytes(&bytes)
    }

    /// Reads what [`Self::to_bytes`] has made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidCursor> {
        let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| InvalidCursor)?;
        let (head, digest) = bytes.split_at(1 + 8 + 8);
        let (format, places) = head.split_at(1);
        let (epoch, seq) = places.split_at(8);
        let cursor = Self {
            epoch: i64::from_be_bytes(epoch.try_into().map_err(|_| InvalidCursor)?),
            seq: i64::from_be_bytes(seq.try_into().map_err(|_| InvalidCursor)?),
            digest: u32::from_be_bytes(digest.try_into().map_err(|_| InvalidCursor)?),
        };
        if format != [FORMAT] || cursor.seq < 0 {
            return Err(InvalidCursor);
        }
        Ok(cursor)
    }

    /// The cursor's format and fields, of the same length always.
    pub fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[0] = FORMAT;
        bytes[1..9].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.seq.to_be_bytes());
        bytes[17..].copy_from_slice(&self.digest.to_be_bytes());
        bytes
    }

    /// Whether the entry with this id can be the one that the cursor stands behind.
    pub fn fits(&self, id: Uuid) -> bool {
        self.digest == 0 || self.digest == digest(id)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; BYTES * 4 / 3];
        let length = URL_SAFE_NO_PAD.encode_slice(self.to_bytes(), &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The last four bytes of a UUIDv7 are random (RFC 9562, section 5.7): a digest as good as a hash. Never 0.
fn digest(id: Uuid) -> u32 {
    let b = id.as_bytes();
    u32::from_be_bytes([b[12], b[13], b[14], b[15]]).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_from_its_token(epoch: i64, seq in 0..=i64::MAX, digest: u32) {
            let cursor = Cursor { epoch, seq, digest };
            prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }

        /// No two tokens are the same cursor, so what was not given out is another one or none.
        #[test]
        fn a_token_is_a_cursors_own_or_refused(token in "[A-Za-z0-9_-]{26,30}|AQ[A-Za-z0-9_-]{26}|.{0,60}") {
            if let Ok(cursor) = Cursor::parse(&token) {
                prop_assert_eq!(cursor.to_string(), token);
                prop_assert!(cursor.seq >= 0);
            }
        }

        /// Of an entry's id the last four bytes count, and 0 counts as 1.
        #[test]
        fn a_cursor_fits_the_entry_that_it_stands_behind(
            epoch: i64,
            seq in 0..=i64::MAX,
            (head, end) in (any::<u64>(), 0u32..3),
            (other_head, other_end) in (any::<u64>(), 0u32..3),
        ) {
            let id = |head: u64, end: u32| Uuid::from_u128(u128::from(head) << 64 | u128::from(end));
            let cursor = Cursor::behind(epoch, seq, id(head, end));
            prop_assert!(cursor.fits(id(head, end)));
            prop_assert_eq!(cursor.fits(id(other_head, other_end)), end.max(1) == other_end.max(1));
            let unknown = Cursor { digest: 0, ..cursor };
            prop_assert!(unknown.fits(id(other_head, other_end)));
        }
    }
}
