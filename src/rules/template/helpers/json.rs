//! JSON: written, and looked into.

use serde_json::Value;

use super::json_path::find;
use super::{Given, Helper, Prepared, Run};
use crate::rules::json_path::Query;
use crate::rules::template::value::{self, Datum};

pub const TABLE: &[Helper] = &[
    // A missing value is `null`, so that the text stays JSON; where it is an error, `json` says so itself.
    Helper { name: "json", arguments: (1, 1), options: &["pretty"], takes_missing: false, run: json },
    Helper { name: "jsonPointer", arguments: (2, 2), options: &[], takes_missing: false, run: json_pointer },
    Helper { name: "jsonPath", arguments: (2, 2), options: &[], takes_missing: false, run: json_path },
];

fn json<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let pretty = given.option("pretty").is_some_and(|pretty| value::is_truthy(pretty, false));
    let text = value::json_text(given.value(0), pretty, given.budget.bytes_max())?;
    Ok(Datum::text(text))
}

fn json_pointer<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let pointer = given.text(1)?.into_owned();
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(given.error("a JSON Pointer is empty or begins with `/`"));
    }
    match document(given)? {
        None => given.unfit("the text is no JSON"),
        Some(Datum::Kept(value)) => Ok(Datum::kept(value.pointer(&pointer))),
        Some(Datum::Made(mut value)) => Ok(Datum::made(value.pointer_mut(&pointer).map(Value::take))),
        Some(Datum::Missing) => Ok(Datum::Missing),
    }
}

fn json_path<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let parsed;
    let query = match given.prepared {
        Some(Prepared::JsonPath(query)) => query,
        _ => {
            parsed = Query::parse(&given.text(1)?).map_err(|why| given.error(why))?;
            &parsed
        }
    };
    match document(given)? {
        None => given.unfit("the text is no JSON"),
        Some(Datum::Missing) => Ok(Datum::Missing),
        Some(Datum::Kept(value)) => {
            let found = find(query, value, given.budget)?;
            match found.as_slice() {
                [] => Ok(Datum::Missing),
                [only] => Ok(Datum::Kept(only)),
                several => list(several, given),
            }
        }
        Some(Datum::Made(value)) => {
            let found = find(query, &value, given.budget)?;
            match found.as_slice() {
                [] => Ok(Datum::Missing),
                [only] => Ok(Datum::Made((*only).clone())),
                several => list(several, given),
            }
        }
    }
}

/// An array of the values, where it is not too large to be made.
fn list<'s>(values: &[&Value], given: &Given<'_, 's>) -> Run<'s> {
    let mut weight: usize = 0;
    for value in values {
        weight = weight.saturating_add(value::PLACE + value::weight(value));
        given.budget.allow(weight)?;
    }
    Ok(Datum::Made(values.iter().map(|value| (*value).clone()).collect()))
}

/// The first argument as a value: a text is read as JSON. None where it is none.
fn document<'s>(given: &mut Given<'_, 's>) -> Result<Option<Datum<'s>>, crate::rules::template::RenderError> {
    if !given.value(0).is_string() {
        return Ok(Some(given.take(0)));
    }
    given.charge_text(0)?;
    Ok(serde_json::from_str(&given.text(0)?).ok().map(Datum::Made))
}
