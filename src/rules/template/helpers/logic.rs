//! Comparing and choosing.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Given, Helper, Run};
use crate::rules::template::value::{self, Datum};

const ANY: usize = usize::MAX;

pub const TABLE: &[Helper] = &[
    Helper { name: "eq", arguments: (2, 2), options: &[], takes_missing: false, run: eq },
    Helper { name: "ne", arguments: (2, 2), options: &[], takes_missing: false, run: ne },
    Helper { name: "lt", arguments: (2, 2), options: &[], takes_missing: false, run: lt },
    Helper { name: "gt", arguments: (2, 2), options: &[], takes_missing: false, run: gt },
    Helper { name: "lte", arguments: (2, 2), options: &[], takes_missing: false, run: lte },
    Helper { name: "gte", arguments: (2, 2), options: &[], takes_missing: false, run: gte },
    Helper { name: "and", arguments: (1, ANY), options: &[], takes_missing: true, run: and },
    Helper { name: "or", arguments: (1, ANY), options: &[], takes_missing: true, run: or },
    Helper { name: "not", arguments: (1, 1), options: &[], takes_missing: true, run: not },
    Helper { name: "default", arguments: (1, ANY), options: &[], takes_missing: true, run: default },
];

fn eq<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    flag(value::equal(given.value(0), given.value(1)))
}

fn ne<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    flag(!value::equal(given.value(0), given.value(1)))
}

fn lt<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    ordered(given, Ordering::is_lt)
}

fn gt<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    ordered(given, Ordering::is_gt)
}

fn lte<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    ordered(given, Ordering::is_le)
}

fn gte<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    ordered(given, Ordering::is_ge)
}

fn and<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    flag(given.arguments.iter().all(is_true))
}

fn or<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    flag(given.arguments.iter().any(is_true))
}

fn not<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    flag(!is_true(&given.arguments[0]))
}

fn default<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let chosen =
        given.arguments.iter().position(|datum| datum.value().is_some_and(|value| !value::is_empty(value)));
    match chosen {
        Some(index) => Ok(given.take(index)),
        // The last one is meant where all are empty, so that `""` can be asked for.
        None => Ok(given.take(given.arguments.len() - 1)),
    }
}

fn ordered<'s>(given: &Given<'_, 's>, fits: fn(Ordering) -> bool) -> Run<'s> {
    flag(value::order(given.value(0), given.value(1)).is_some_and(fits))
}

fn is_true(datum: &Datum<'_>) -> bool {
    datum.value().is_some_and(|value| value::is_truthy(value, false))
}

fn flag<'s>(flag: bool) -> Run<'s> {
    Ok(Datum::Made(Value::Bool(flag)))
}
