//! Randomness, from the thread's secure generator.

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::Value;

use super::{Given, Helper, Run, whole};
use crate::rules::template::RenderError;
use crate::rules::template::value::Datum;

const LENGTH_DEFAULT: i64 = 16;
const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const DIGITS: &[u8] = b"0123456789";
const HEX: &[u8] = b"0123456789abcdef";
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

pub const TABLE: &[Helper] = &[
    Helper { name: "uuid", arguments: (0, 0), options: &[], takes_missing: false, run: uuid },
    Helper { name: "randomInt", arguments: (2, 2), options: &[], takes_missing: false, run: random_int },
    Helper { name: "randomPick", arguments: (1, usize::MAX), options: &[], takes_missing: false, run: pick },
    Helper {
        name: "randomString",
        arguments: (0, 0),
        options: &["length", "chars"],
        takes_missing: false,
        run: random_string,
    },
];

fn uuid<'s>(_: &mut Given<'_, 's>) -> Run<'s> {
    Ok(Datum::text(uuid::Uuid::new_v4().to_string()))
}

fn random_int<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let (Some(least), Some(most)) = (given.whole(0), given.whole(1)) else {
        return given.unfit("the bounds are no whole numbers");
    };
    if least > most {
        return given.unfit("the first bound is above the second");
    }
    Ok(Datum::Made(Value::from(rand::rng().random_range(least..=most))))
}

fn pick<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let count = match given.value(0) {
        Value::Array(items) if given.arguments.len() == 1 => items.len(),
        _ => return Ok(given.take(rand::rng().random_range(0..given.arguments.len()))),
    };
    if count == 0 {
        return Ok(Datum::Missing);
    }
    let index = rand::rng().random_range(0..count);
    Ok(given.take(0).member(&index.to_string()))
}

fn random_string<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let length = given.option("length").map_or(Some(LENGTH_DEFAULT), whole);
    let Some(length) = length.filter(|length| *length >= 0) else {
        return Err(given.error("the length is no whole number from 0"));
    };
    let length = usize::try_from(length).map_err(|_| RenderError::OutputTooLarge)?;
    given.budget.allow(length)?;
    let chars = match given.option_text("chars")?.as_deref() {
        None | Some("alphanumeric") => ALPHANUMERIC,
        Some("hex") => HEX,
        Some("lower") => LOWER,
        Some("digits") => DIGITS,
        Some(_) => return Err(given.error("chars is one of alphanumeric, hex, lower and digits")),
    };
    let mut random = rand::rng();
    let letters = (0..length).map(|_| char::from(*chars.choose(&mut random).expect("no alphabet is empty")));
    Ok(Datum::text(letters.collect::<String>()))
}
