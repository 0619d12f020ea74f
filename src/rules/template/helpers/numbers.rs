//! Reckoning: with whole numbers as long as they fit, then with real ones.

use super::{Given, Helper, Run};
use crate::rules::template::value::{Datum, Number};

pub const TABLE: &[Helper] = &[
    Helper { name: "add", arguments: (2, usize::MAX), options: &[], takes_missing: false, run: add },
    Helper { name: "subtract", arguments: (2, 2), options: &[], takes_missing: false, run: subtract },
    Helper {
        name: "multiply",
        arguments: (2, usize::MAX),
        options: &[],
        takes_missing: false,
        run: multiply,
    },
    Helper { name: "divide", arguments: (2, 2), options: &[], takes_missing: false, run: divide },
];

fn add<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    reckon(given, i64::checked_add, |left, right| left + right)
}

fn subtract<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    reckon(given, i64::checked_sub, |left, right| left - right)
}

fn multiply<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    reckon(given, i64::checked_mul, |left, right| left * right)
}

fn divide<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let exact = |left: i64, right: i64| (left.checked_rem(right)? == 0).then_some(left.checked_div(right)?);
    reckon(given, exact, |left, right| left / right)
}

/// From left to right. What is no number, or comes to none, does not fit.
fn reckon<'s>(
    given: &Given<'_, 's>,
    whole: impl Fn(i64, i64) -> Option<i64>,
    real: impl Fn(f64, f64) -> f64,
) -> Run<'s> {
    let mut result: Option<Number> = None;
    for index in 0..given.arguments.len() {
        let Some(number) = Number::of(given.value(index)) else {
            return given.unfit("an argument is no number");
        };
        result = Some(match (result, number) {
            (None, number) => number,
            (Some(Number::Whole(left)), Number::Whole(right)) => {
                let result = whole(left, right).map(Number::Whole);
                result.unwrap_or_else(|| Number::Real(real(Number::Whole(left).real(), number.real())))
            }
            (Some(left), right) => Number::Real(real(left.real(), right.real())),
        });
    }
    match result.and_then(Number::json) {
        Some(number) => Ok(Datum::Made(number)),
        None => given.unfit("the result is no number"),
    }
}
