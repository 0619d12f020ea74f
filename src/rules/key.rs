//! A value of a capture by which it is told from others: of a header field, of the query, or in JSON.

use std::io::{self, Write};

use ring::digest::{Context, SHA256};
use serde_json::Value;

use super::invalid::Invalid;
use super::json_path::Query;
use super::object::{Object, text};
use super::place::{Found, Pick, Place};
use super::seen::{PAIRS_MAX, Seen};

/// As much of a value's SHA-256 as is kept: nobody finds two values with the same.
pub type Digest = [u8; 16];

/// Bytes of all values of one capture.
const VALUES_BYTES_MAX: usize = 4 << 20;

/// Where the value stands.
#[derive(Debug)]
pub struct Key(Place);

impl Key {
    /// Reads `header`, `query` or `json` out of an object, which has one of them.
    ///
    /// # Errors
    /// Where there is none, or several, or the JSONPath cannot be read.
    pub fn parse(object: &mut Object<'_>) -> Result<Self, Invalid> {
        let name = |value: &Value| text(value).map(str::to_owned);
        let header = object.read("header", name)?.map(|name| name.to_ascii_lowercase());
        let query = object.read("query", name)?;
        let json = object.read("json", |value| Query::parse(text(value)?).map_err(Invalid::here))?;
        match (header, query, json) {
            (Some(name), None, None) => Ok(Self(Place::Header(Some(name), Pick::All))),
            (None, Some(name), None) => Ok(Self(Place::Query(Some(name), Pick::All))),
            (None, None, Some(path)) => Ok(Self(Place::Json(Box::new(path)))),
            _ => Err(Invalid::here("one of `header`, `query` and `json` is expected")),
        }
    }

    /// Whether the body is looked into.
    pub fn is_in_body(&self) -> bool {
        self.0.is_in_body()
    }

    /// The values that are there, up to [`PAIRS_MAX`], each as what is kept of its SHA-256; of JSON that of its text, with
    /// the members of objects sorted; null is none. None where they are too large, or it takes too long to look at them:
    /// a path may name each of a thousand parts that hold each other.
    pub fn digests(&self, seen: &Seen<'_>) -> Option<Vec<Digest>> {
        if seen.is_out_of_time() {
            return None;
        }
        let (mut digests, mut left, mut gave_up) = (Vec::new(), VALUES_BYTES_MAX, false);
        self.0.any(seen, |found| {
            match digest_of(found, &mut left) {
                Some(digest) => digests.extend(digest),
                None => gave_up = true,
            }
            gave_up |= seen.is_out_of_time();
            gave_up || digests.len() == PAIRS_MAX
        });
        (!gave_up).then_some(digests)
    }
}

/// A value's digest, of which there is none for null; None where it has more bytes than are left.
fn digest_of(found: Found<'_>, left: &mut usize) -> Option<Option<Digest>> {
    let mut digesting = Digesting { context: Context::new(&SHA256), left };
    let written = match found {
        Found::Json(Value::Null) => return Some(None),
        Found::Text(text) => digesting.write_all(text.as_bytes()),
        Found::Bytes(bytes) => digesting.write_all(bytes),
        Found::Json(value) => serde_json::to_writer(&mut digesting, value).map_err(io::Error::from),
        Found::Number(number) | Found::Instant(number) => digesting.write_all(number.to_string().as_bytes()),
    };
    written.ok()?;
    let mut digest = Digest::default();
    let whole = digesting.context.finish();
    digest.copy_from_slice(&whole.as_ref()[..size_of::<Digest>()]);
    Some(Some(digest))
}

/// Takes a value piece by piece, so that none is held as text.
struct Digesting<'a> {
    context: Context,
    left: &'a mut usize,
}

impl Write for Digesting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::OutOfMemory)?;
        self.context.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rules::sample;

    fn digests(path: &str, body: &Value) -> Option<Vec<Digest>> {
        let options = sample::SampleOptions { id: uuid::Uuid::nil(), now_us: 0, prefix: "r" };
        let request = json!({"endpoint": "a", "method": "POST", "body": body.to_string()});
        let capture = sample::capture(&request, options).unwrap();
        let key = json!({ "json": path });
        let key = Key::parse(&mut Object::of(&key).unwrap()).unwrap();
        key.digests(&Seen::of_kept(&capture))
    }

    #[test]
    fn a_value_is_told_from_others_whatever_the_order_of_its_members() {
        let body = json!({"a": [{"x": 1, "y": 2}, {"y": 2, "x": 1}, {"x": 1}, null, "1", 1]});
        let found = digests("$.a[*]", &body).unwrap();
        assert_eq!(found.len(), 5, "null is none");
        assert_eq!(found[0], found[1]);
        assert!(found[1..].iter().enumerate().all(|(i, one)| !found[i + 2..].contains(one)));
    }

    #[test]
    fn parts_that_hold_each_other_are_not_all_read() {
        let mut nested = json!("x".repeat(100_000));
        for _ in 0..100 {
            nested = json!({ "a": nested });
        }
        assert_eq!(digests("$..a", &nested), None);
        assert_eq!(digests("$.a", &nested).map(|found| found.len()), Some(1));
    }
}
