//! How a leaf of an expression judges what it has found.

use std::cmp::Ordering;

use ipnet::IpNet;
use serde_json::Value;

use super::allowance::Allowance;
use super::invalid::Invalid;
use super::object::{Object, base64, list, network};
pub use super::pattern::{Kept, Pattern, pattern};
use super::place::Found;
use super::subset::is_subset;
use crate::model::time::{parse_rfc3339, rfc3339};

/// Values that `in` and `cidr` may name.
const LIST_MAX: usize = 1_000;

#[derive(Debug)]
pub enum Operator {
    /// A search, as in the regex crate: it need not match the whole.
    Matches(Pattern),
    Equals(Operand),
    In(Vec<Operand>),
    Contains(Operand),
    StartsWith(Operand),
    EndsWith(Operand),
    Exists,
    Compare(Comparison, Operand),
    Json {
        value: Value,
        subset: bool,
    },
    Cidr(Vec<IpNet>),
    /// Compares an instant, in microseconds.
    Instant(Comparison, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a value is held against.
#[derive(Debug)]
pub struct Operand {
    value: Value,
    /// Its octets, in small letters where case does not count.
    bytes: Vec<u8>,
    ignore_case: bool,
}

/// The operators by name, in the order in which mistakes list them.
pub const NAMES: [&str; 13] = [
    "matches",
    "equals",
    "contains",
    "starts_with",
    "ends_with",
    "in",
    "exists",
    "lt",
    "lte",
    "gt",
    "gte",
    "json_equals",
    "cidr",
];

/// An operator, and whether its verdict is turned over (`"exists": false`).
pub struct Parsed {
    pub operator: Operator,
    pub inverted: bool,
}

/// Reads the one operator of a leaf, and `ignore_case` and `subset` where it has such.
pub fn parse(leaf: &mut Object<'_>, left: &mut Allowance) -> Result<Parsed, Invalid> {
    let given: Vec<&'static str> = NAMES.into_iter().filter(|name| leaf.has(name)).collect();
    let name = match given.as_slice() {
        [one] => *one,
        [] => return Err(Invalid::here(format!("an operator is missing; there are {}", NAMES.join(", ")))),
        [first, second, ..] => {
            return Err(Invalid::here(format!("`{first}` and `{second}`: a leaf has one operator")));
        }
    };
    let ignore_case = leaf.flag("ignore_case")?.unwrap_or(false);
    let operand = |leaf: &mut Object<'_>| {
        leaf.read(name, |value| Operand::parse(value, ignore_case)).map(|o| o.expect("it is there"))
    };
    let mut inverted = false;
    let operator = match name {
        "matches" => {
            let compiled = leaf.read(name, |value| {
                pattern(
                    super::object::text(value)?,
                    ignore_case,
                    left.pattern_bytes_max,
                    left.kept(),
                    &mut left.work,
                )
            })?;
            Operator::Matches(compiled.expect("it is there"))
        }
        "equals" => Operator::Equals(operand(leaf)?),
        "contains" => Operator::Contains(operand(leaf)?),
        "starts_with" => Operator::StartsWith(operand(leaf)?),
        "ends_with" => Operator::EndsWith(operand(leaf)?),
        "in" => {
            let items =
                leaf.read(name, |value| list(value, LIST_MAX, |item| Operand::parse(item, ignore_case)))?;
            Operator::In(items.expect("it is there"))
        }
        "exists" => {
            inverted = !leaf.flag(name)?.expect("it is there");
            Operator::Exists
        }
        "json_equals" => {
            let value = leaf.take(name).expect("it is there").clone();
            Operator::Json { value, subset: leaf.flag("subset")?.unwrap_or(false) }
        }
        "cidr" => {
            let ranges = leaf.read(name, |value| match value {
                Value::String(_) => Ok(vec![network(value)?]),
                several => list(several, LIST_MAX, network),
            })?;
            Operator::Cidr(ranges.expect("it is there"))
        }
        "lt" => Operator::Compare(Comparison::Less, operand(leaf)?),
        "lte" => Operator::Compare(Comparison::LessOrEqual, operand(leaf)?),
        "gt" => Operator::Compare(Comparison::Greater, operand(leaf)?),
        _ => Operator::Compare(Comparison::GreaterOrEqual, operand(leaf)?),
    };
    Ok(Parsed { operator, inverted })
}

/// Reads the one operator of a leaf about an instant.
pub fn parse_instant(leaf: &mut Object<'_>) -> Result<Parsed, Invalid> {
    const COMPARISONS: [(&str, Comparison); 4] = [
        ("lt", Comparison::Less),
        ("lte", Comparison::LessOrEqual),
        ("gt", Comparison::Greater),
        ("gte", Comparison::GreaterOrEqual),
    ];
    let mut found = None;
    for (name, comparison) in COMPARISONS {
        let us = leaf.read(name, |value| {
            let instant = value.as_str().and_then(parse_rfc3339);
            instant.ok_or_else(|| {
                Invalid::here("an RFC 3339 instant is expected, as 2026-01-31T12:00:00Z or ...+01:00")
            })
        })?;
        match (us, &found) {
            (Some(_), Some(_)) => return Err(Invalid::member(name, "a leaf has one operator")),
            (Some(us), None) => found = Some(Operator::Instant(comparison, us)),
            (None, _) => {}
        }
    }
    let operator =
        found.ok_or_else(|| Invalid::here("an instant is compared, with one of `lt`, `lte`, `gt`, `gte`"))?;
    Ok(Parsed { operator, inverted: false })
}

impl Operator {
    pub fn holds(&self, found: Found<'_>) -> bool {
        match self {
            Self::Matches(pattern) => with_bytes(found, |bytes| pattern.is_found(bytes)),
            Self::Equals(operand) => operand.equals(found),
            Self::In(operands) => is_in(operands, found),
            Self::Contains(part) => part.with_folded(found, |bytes| {
                part.bytes.is_empty() || memchr::memmem::find(bytes, &part.bytes).is_some()
            }),
            Self::StartsWith(start) => start.with_folded(found, |bytes| bytes.starts_with(&start.bytes)),
            Self::EndsWith(end) => end.with_folded(found, |bytes| bytes.ends_with(&end.bytes)),
            Self::Exists => true,
            Self::Compare(comparison, operand) => {
                operand.compare(found).is_some_and(|ordering| comparison.allows(ordering))
            }
            Self::Json { value, subset } => match found {
                Found::Json(found) => json_holds(found, value, *subset),
                Found::Number(number) => json_holds(&number.into(), value, *subset),
                Found::Instant(_) => false,
                Found::Text(text) => serde_json::from_str(text).is_ok_and(|v| json_holds(&v, value, *subset)),
                Found::Bytes(bytes) => {
                    serde_json::from_slice(bytes).is_ok_and(|v| json_holds(&v, value, *subset))
                }
            },
            Self::Cidr(ranges) => with_bytes(found, |bytes| {
                let address = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
                address.is_some_and(|address: std::net::IpAddr| {
                    ranges.iter().any(|range| range.contains(&address))
                })
            }),
            Self::Instant(comparison, own) => match found {
                Found::Instant(us) => comparison.allows(us.cmp(own)),
                _ => false,
            },
        }
    }

    /// What a pattern takes, in bytes; 0 where there is none.
    pub fn pattern_bytes(&self) -> usize {
        match self {
            Self::Matches(pattern) => pattern.bytes(),
            _ => 0,
        }
    }

    /// The texts that alone can hold, where there are but few.
    pub fn texts(&self) -> Option<Vec<String>> {
        match self {
            Self::Equals(operand) => Some(vec![operand.text()?]),
            Self::In(operands) => operands.iter().map(Operand::text).collect(),
            _ => None,
        }
    }
}

impl Comparison {
    fn allows(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// Whether a value equals one of many; it is put into small letters once.
fn is_in(operands: &[Operand], found: Found<'_>) -> bool {
    let folds = operands.first().is_some_and(|operand| operand.ignore_case);
    match found {
        Found::Text(_) | Found::Bytes(_) if folds => with_bytes(found, |bytes| {
            let folded = folded(bytes);
            operands.iter().any(|operand| operand.equals_folded(found, &folded))
        }),
        _ => operands.iter().any(|operand| operand.equals(found)),
    }
}

fn folded(bytes: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => bytes.to_ascii_lowercase(),
    }
}

fn json_holds(found: &Value, wanted: &Value, subset: bool) -> bool {
    if subset { is_subset(wanted, found) } else { found == wanted }
}

impl Operand {
    /// A text, a number, `true`, `false`, or octets as `{"base64": "..."}`.
    fn parse(value: &Value, ignore_case: bool) -> Result<Self, Invalid> {
        let bytes = match value {
            Value::String(text) if ignore_case => text.to_lowercase().into_bytes(),
            Value::String(text) => text.clone().into_bytes(),
            Value::Number(number) => number.to_string().into_bytes(),
            Value::Bool(flag) => flag.to_string().into_bytes(),
            Value::Object(_) => {
                let mut object = Object::of(value)?;
                let octets = object.read("base64", base64)?.unwrap_or_default();
                object.end()?;
                octets
            }
            _ => {
                return Err(Invalid::here(
                    "text, a number, `true`, `false` or {\"base64\":\"...\"} is expected",
                ));
            }
        };
        Ok(Self { value: value.clone(), bytes, ignore_case })
    }

    fn text(&self) -> Option<String> {
        self.value.as_str().filter(|_| !self.ignore_case).map(str::to_owned)
    }

    /// Numbers are compared as numbers, also where the request holds them as text; the rest octet by octet.
    fn equals(&self, found: Found<'_>) -> bool {
        if let (Value::Number(own), Some(number)) = (&self.value, number_of(found)) {
            return own.as_f64() == Some(number);
        }
        match found {
            Found::Json(Value::Bool(flag)) => self.value == Value::Bool(*flag),
            _ => self.with_folded(found, |bytes| bytes == self.bytes),
        }
    }

    /// The same for a text that is in small letters already.
    fn equals_folded(&self, found: Found<'_>, folded: &[u8]) -> bool {
        match (&self.value, number_of(found)) {
            (Value::Number(own), Some(number)) => own.as_f64() == Some(number),
            _ => folded == self.bytes,
        }
    }

    fn compare(&self, found: Found<'_>) -> Option<Ordering> {
        match &self.value {
            Value::Number(own) => number_of(found)?.partial_cmp(&own.as_f64()?),
            _ => {
                let mut ordering = None;
                self.with_folded(found, |bytes| {
                    ordering = Some(bytes.cmp(&self.bytes));
                    true
                });
                ordering
            }
        }
    }

    fn with_folded(&self, found: Found<'_>, judge: impl FnOnce(&[u8]) -> bool) -> bool {
        if !self.ignore_case {
            return with_bytes(found, judge);
        }
        with_bytes(found, |bytes| judge(&folded(bytes)))
    }
}

/// The octets of a value: a JSON string's text, other JSON as it is written.
fn with_bytes(found: Found<'_>, judge: impl FnOnce(&[u8]) -> bool) -> bool {
    match found {
        Found::Text(text) => judge(text.as_bytes()),
        Found::Bytes(bytes) => judge(bytes),
        Found::Number(number) => judge(number.to_string().as_bytes()),
        Found::Instant(us) => judge(rfc3339(us).as_bytes()),
        Found::Json(Value::String(text)) => judge(text.as_bytes()),
        Found::Json(value) => judge(value.to_string().as_bytes()),
    }
}

fn number_of(found: Found<'_>) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "sizes and counts are far below 2^53")]
    match found {
        Found::Number(number) => Some(number as f64),
        Found::Json(Value::Number(number)) => number.as_f64(),
        Found::Text(text) => text.trim().parse().ok(),
        Found::Json(Value::String(text)) => text.trim().parse().ok(),
        Found::Bytes(_) | Found::Json(_) | Found::Instant(_) => None,
    }
}
