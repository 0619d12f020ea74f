//! Values as templates see them: as text, as a condition, as a number.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io;

use serde_json::Value;

use super::RenderError;

/// What a place in an array or object counts, beside what stands in it.
pub const PLACE: usize = 16;

/// What an expression gives: nothing, a value that stands elsewhere, or one that was made for it.
#[derive(Debug)]
pub enum Datum<'a> {
    Missing,
    Kept(&'a Value),
    Made(Value),
}

/// A number that is whole, or is not.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    Whole(i64),
    Real(f64),
}

impl<'a> Datum<'a> {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Made(Value::String(text.into()))
    }

    pub fn kept(value: Option<&'a Value>) -> Self {
        value.map_or(Self::Missing, Self::Kept)
    }

    pub fn made(value: Option<Value>) -> Self {
        value.map_or(Self::Missing, Self::Made)
    }

    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Missing => None,
            Self::Kept(value) => Some(value),
            Self::Made(value) => Some(value),
        }
    }

    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// The member of an object or an array.
    pub fn member(self, key: &str) -> Self {
        match self {
            Self::Missing => Self::Missing,
            Self::Kept(value) => Self::kept(member(value, key)),
            Self::Made(Value::Object(mut members)) => Self::made(members.remove(key)),
            Self::Made(Value::Array(mut items)) => match key.parse::<usize>() {
                Ok(index) if index < items.len() => Self::Made(items.swap_remove(index)),
                _ => Self::Missing,
            },
            Self::Made(_) => Self::Missing,
        }
    }
}

impl Number {
    /// Of a number, or of a text that is one; never infinite.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => {
                number.as_i64().map(Self::Whole).or_else(|| number.as_f64().map(Self::Real))
            }
            Value::String(text) => {
                let text = text.trim();
                text.parse().map(Self::Whole).ok().or_else(|| text.parse().map(Self::Real).ok())
            }
            _ => None,
        }
        .filter(|number| number.real().is_finite())
    }

    #[expect(clippy::cast_precision_loss, reason = "the nearest real number is meant")]
    pub fn real(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }

    /// As JSON, whole where it can be; None where it is no finite number.
    pub fn json(self) -> Option<Value> {
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        match self {
            Self::Whole(whole) => Some(Value::from(whole)),
            #[expect(clippy::cast_possible_truncation, reason = "whole, and within 2^53")]
            Self::Real(real) if real.fract() == 0.0 && real.abs() <= EXACT_MAX => {
                Some(Value::from(real as i64))
            }
            Self::Real(real) => serde_json::Number::from_f64(real).map(Value::Number),
        }
    }
}

/// The member of an object by its name, or of an array by its index from 0.
pub fn member<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    }
}

/// As it is written: objects and arrays as JSON, null as nothing.
pub fn text(value: &Value, bytes_max: usize) -> Result<Cow<'_, str>, RenderError> {
    Ok(match value {
        Value::Null => Cow::Borrowed(""),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(_) | Value::Object(_) => Cow::Owned(json_text(value, false, bytes_max)?),
    })
}

/// As JSON. What is too large is given up as soon as that shows.
pub fn json_text(value: &Value, pretty: bool, bytes_max: usize) -> Result<String, RenderError> {
    let mut writer = Bounded { bytes: Vec::new(), bytes_max };
    let written = match pretty {
        true => serde_json::to_writer_pretty(&mut writer, value),
        false => serde_json::to_writer(&mut writer, value),
    };
    written.map_err(|_| RenderError::OutputTooLarge)?;
    String::from_utf8(writer.bytes).map_err(|_| RenderError::Failed("a value is not UTF-8".to_owned()))
}

/// What counts as true: all but false, null, 0, and empty texts, arrays and objects.
pub fn is_truthy(value: &Value, zero_counts: bool) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::Number(number) => zero_counts || number.as_f64() != Some(0.0),
        other => !is_empty(other),
    }
}

/// Null, or a text, array or object with nothing in it.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Equal as JSON; a number equals a text that is the same number.
pub fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_) | Value::String(_)) | (Value::String(_), Value::Number(_)) => {
            order(left, right) == Some(Ordering::Equal)
        }
        _ => left == right,
    }
}

/// Numbers and texts that are numbers by their size, other texts letter by letter; anything else has no order.
pub fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (Number::of(left), Number::of(right)) {
        (Some(Number::Whole(left)), Some(Number::Whole(right))) => Some(left.cmp(&right)),
        (Some(left), Some(right)) => left.real().partial_cmp(&right.real()),
        _ => match (left, right) {
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            _ => None,
        },
    }
}

/// About how many bytes a value takes: its texts, and something for each place in an array or object.
pub fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| PLACE + weight(item)).sum(),
        Value::Object(members) => members.iter().map(|(name, item)| PLACE + name.len() + weight(item)).sum(),
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(io::Error::other("too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
