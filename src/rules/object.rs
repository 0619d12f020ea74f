//! Reading JSON objects by hand, so that every mistake can say where it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use serde_json::{Map, Value};

use super::invalid::Invalid;
use crate::model::network;

/// An object whose members are taken one by one; what nobody took is a mistake.
pub struct Object<'a> {
    members: &'a Map<String, Value>,
    taken: Vec<&'static str>,
}

impl<'a> Object<'a> {
    pub fn of(value: &'a Value) -> Result<Self, Invalid> {
        match value {
            Value::Object(members) => Ok(Self { members, taken: Vec::new() }),
            _ => Err(Invalid::here("an object is expected")),
        }
    }

    /// A member; `null` counts as not there.
    pub fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.taken.push(name);
        self.members.get(name).filter(|value| !value.is_null())
    }

    pub fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    /// A member that is read by a function.
    pub fn read<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a Value) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        self.take(name).map(|value| read(value).map_err(|invalid| invalid.within(name))).transpose()
    }

    pub fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, Invalid> {
        self.read(name, text)
    }

    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Invalid> {
        self.read(name, |value| value.as_bool().ok_or_else(|| Invalid::here("`true` or `false` is expected")))
    }

    pub fn integer(&mut self, name: &'static str) -> Result<Option<i64>, Invalid> {
        self.read(name, |value| value.as_i64().ok_or_else(|| Invalid::here("a whole number is expected")))
    }

    /// A number within bounds, both included.
    pub fn within(&mut self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, Invalid> {
        self.read(name, |value| match value.as_u64() {
            Some(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(Invalid::here(format!("a whole number from {least} to {most} is expected"))),
        })
    }

    /// That nothing is left that nobody knows.
    pub fn end(self) -> Result<(), Invalid> {
        let unknown = self.members.keys().find(|name| !self.taken.contains(&name.as_str()));
        match unknown {
            None => Ok(()),
            Some(name) => {
                let known = self.taken.join("`, `");
                Err(Invalid::member(name, format!("this is not known here; there are `{known}`")))
            }
        }
    }

    /// The names of the members.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.members.keys().map(String::as_str)
    }
}

pub fn text(value: &Value) -> Result<&str, Invalid> {
    value.as_str().ok_or_else(|| Invalid::here("text is expected"))
}

/// Octets in base64 (RFC 4648, section 4).
pub fn base64(value: &Value) -> Result<Vec<u8>, Invalid> {
    STANDARD.decode(text(value)?).map_err(|_| Invalid::here("this is no base64"))
}

/// A range of addresses.
pub fn network(value: &Value) -> Result<IpNet, Invalid> {
    network::network(text(value)?).map_err(Invalid::here)
}

/// Whether a text is a token (RFC 9110, section 5.6.2) of up to 256 bytes, as methods and field names are.
pub fn is_token(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=256).contains(&text.len()) && text.bytes().all(fits)
}

/// Whether octets may stand as a field's value (RFC 9110, section 5.5): no control characters but the tab.
pub fn is_field_value(value: &[u8]) -> bool {
    value.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f))
}

/// A list of at most so many, each read by a function.
pub fn list<'a, T>(
    value: &'a Value,
    most: usize,
    mut read: impl FnMut(&'a Value) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    let items = value.as_array().ok_or_else(|| Invalid::here("a list is expected"))?;
    if items.len() > most {
        return Err(Invalid::here(format!("there are {} of them, and may be at most {most}", items.len())));
    }
    items.iter().enumerate().map(|(i, item)| read(item).map_err(|invalid| invalid.within(i))).collect()
}
