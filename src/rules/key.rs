//! A value of a capture by which it is told from others: of a header field, of the query, or in JSON.

use serde_json::Value;

use super::invalid::Invalid;
use super::json_path::Query;
use super::object::{Object, text};
use super::place::{Found, Pick, Place};
use super::seen::{PAIRS_MAX, Seen};

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

    /// The values that are there, up to [`PAIRS_MAX`]; of JSON as its text, with the members of objects
    /// sorted; null is none.
    pub fn values(&self, seen: &Seen<'_>) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        self.0.any(seen, |found| {
            values.push(match found {
                Found::Json(Value::Null) => return false,
                Found::Text(text) => text.as_bytes().to_vec(),
                Found::Bytes(bytes) => bytes.to_vec(),
                Found::Json(value) => value.to_string().into_bytes(),
                Found::Number(number) | Found::Instant(number) => number.to_string().into_bytes(),
            });
            values.len() == PAIRS_MAX
        });
        values
    }
}
