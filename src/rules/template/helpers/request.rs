//! Single values of the request in the context, and of any object or array.

use serde_json::Value;

use super::{Given, Helper, Run};
use crate::rules::template::value::{Datum, member};

pub const TABLE: &[Helper] = &[
    Helper { name: "lookup", arguments: (2, 2), options: &[], takes_missing: false, run: lookup },
    Helper { name: "query", arguments: (1, 1), options: &[], takes_missing: false, run: query },
    Helper { name: "header", arguments: (1, 1), options: &[], takes_missing: false, run: header },
    Helper { name: "cookie", arguments: (1, 1), options: &[], takes_missing: false, run: cookie },
    Helper { name: "form", arguments: (1, 1), options: &[], takes_missing: false, run: form },
];

fn lookup<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let key = given.text(1)?.into_owned();
    Ok(given.take(0).member(&key))
}

fn query<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    first(given, "query")
}

/// Names of headers know no case; in the context they are in lower case.
fn header<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let name = given.text(0)?.to_ascii_lowercase();
    Ok(Datum::kept(part(given.root, "headers").and_then(|headers| headers.get(&name)).and_then(first_of)))
}

fn cookie<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    first(given, "cookies")
}

fn form<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    first(given, "form")
}

fn first<'s>(given: &mut Given<'_, 's>, of: &str) -> Run<'s> {
    let name = given.text(0)?;
    let values = part(given.root, of).and_then(|values| member(values, &name));
    Ok(Datum::kept(values.and_then(first_of)))
}

fn part<'s>(root: &'s Value, name: &str) -> Option<&'s Value> {
    root.get("request")?.get(name)
}

fn first_of(values: &Value) -> Option<&Value> {
    match values {
        Value::Array(items) => items.first(),
        single => Some(single),
    }
}
