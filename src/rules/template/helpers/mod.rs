//! Helpers: the functions of templates. Each file has a table of some, with what they take.
//!
//! What does not fit because of the data, such as a text that is no JSON, gives nothing, or an error where
//! missing values are errors. What is wrong in the template, such as an unknown digest, is always an error.

mod encoding;
mod json;
mod json_path;
mod logic;
mod numbers;
mod random;
mod request;
mod text;
mod time;

use std::borrow::Cow;
use std::fmt::Display;

use serde_json::Value;

use super::RenderError;
use super::budget::Budget;
use super::value::{self, Datum, Number};
use crate::rules::json_path::Query;
use crate::rules::work::Work;

/// Every helper with what it does, in one line. The blocks are among them.
pub const HELPERS: &[(&str, &str)] = &[
    ("if", "the block where a value is true, else what follows `else`"),
    ("unless", "the block where a value is false"),
    ("each", "the block for every item of an array or member of an object"),
    ("with", "the block with a value as `this`"),
    ("raw", "text that is no template"),
    ("lookup", "the item or member that a value names"),
    ("query", "the first value of a query parameter"),
    ("header", "the first value of a header"),
    ("cookie", "a cookie"),
    ("form", "the first value of a form field"),
    ("json", "a value as JSON"),
    ("jsonPointer", "the value at a JSON Pointer"),
    ("jsonPath", "the value, or the values, at a JSONPath"),
    ("default", "the first argument that is neither missing nor empty"),
    ("eq", "whether two values are equal"),
    ("ne", "whether two values differ"),
    ("lt", "whether one value is less than another"),
    ("gt", "whether one value is greater than another"),
    ("lte", "whether one value is at most another"),
    ("gte", "whether one value is at least another"),
    ("and", "whether all values are true"),
    ("or", "whether any value is true"),
    ("not", "whether a value is false"),
    ("upper", "a text in capitals"),
    ("lower", "a text in small letters"),
    ("trim", "a text without white space around it"),
    ("replace", "a text with every occurrence of another replaced"),
    ("substr", "a part of a text, by characters"),
    ("regex", "what a regular expression finds first"),
    ("split", "the parts of a text, as an array"),
    ("join", "the items of an array as one text"),
    ("length", "how many characters, items or members there are"),
    ("now", "the time of the request"),
    ("date", "a given time"),
    ("uuid", "a random UUID"),
    ("randomInt", "a random whole number between two, both included"),
    ("randomPick", "one of the arguments, or of an array's items"),
    ("randomString", "random characters"),
    ("base64", "a text in base64"),
    ("base64Decode", "the text that base64 stands for"),
    ("hex", "a text's bytes in hexadecimal"),
    ("urlEncode", "a text percent-encoded"),
    ("urlDecode", "a text percent-decoded"),
    ("hash", "a digest of a text"),
    ("hmac", "a keyed digest of a text"),
    ("add", "the sum of numbers"),
    ("subtract", "the difference of two numbers"),
    ("multiply", "the product of numbers"),
    ("divide", "the quotient of two numbers"),
];

/// A helper that gives a value.
#[derive(Debug)]
pub struct Helper {
    pub name: &'static str,
    /// How many arguments it takes at least and at most.
    pub arguments: (usize, usize),
    pub options: &'static [&'static str],
    /// Whether missing arguments are its business, even where they are errors otherwise.
    pub takes_missing: bool,
    pub run: for<'s> fn(&mut Given<'_, 's>) -> Run<'s>,
}

pub type Run<'s> = Result<Datum<'s>, RenderError>;

/// What was made of a literal second argument when the template was compiled.
#[derive(Debug)]
pub enum Prepared {
    Pattern(text::Pattern),
    JsonPath(Query),
}

/// What a helper is given in one call.
pub struct Given<'c, 's> {
    pub name: &'static str,
    pub arguments: Vec<Datum<'s>>,
    pub options: Vec<(&'s str, Datum<'s>)>,
    pub prepared: Option<&'s Prepared>,
    pub root: &'s Value,
    pub strict: bool,
    pub budget: &'c mut Budget,
}

/// Those that give a value: blocks are not among them.
pub fn find(name: &str) -> Option<&'static Helper> {
    tables().flatten().find(|helper| helper.name == name)
}

/// Prepares a literal second argument; the error is a message.
pub fn prepare(name: &str, literal: &str, work: &mut Work) -> Result<Option<Prepared>, String> {
    match name {
        "regex" => text::Pattern::compile(literal, work).map(Prepared::Pattern).map(Some),
        "jsonPath" => Query::parse(literal).map(Prepared::JsonPath).map(Some),
        _ => Ok(None),
    }
}

/// The known name that is most like an unknown one, where one is like it at all.
pub fn nearest(name: &str) -> Option<&'static str> {
    const NAME_CHARS_MAX: usize = 32;
    let letters: Vec<char> = name.to_lowercase().chars().take(NAME_CHARS_MAX).collect();
    let apart = |known: &str| edits(&letters, &known.to_lowercase().chars().collect::<Vec<_>>());
    let (distance, known) = HELPERS.iter().map(|(known, _)| (apart(known), *known)).min()?;
    (distance <= 1 + letters.len() / 4).then_some(known)
}

impl<'s> Given<'_, 's> {
    /// The argument; null where it is missing or was not given.
    pub fn value(&self, index: usize) -> &Value {
        self.arguments.get(index).and_then(Datum::value).unwrap_or(&Value::Null)
    }

    pub fn take(&mut self, index: usize) -> Datum<'s> {
        self.arguments
            .get_mut(index)
            .map_or(Datum::Missing, |argument| std::mem::replace(argument, Datum::Missing))
    }

    pub fn text(&self, index: usize) -> Result<Cow<'_, str>, RenderError> {
        value::text(self.value(index), self.budget.bytes_max())
    }

    pub fn whole(&self, index: usize) -> Option<i64> {
        whole(self.value(index))
    }

    pub fn option(&self, name: &str) -> Option<&Value> {
        self.options.iter().find(|(known, _)| *known == name).and_then(|(_, datum)| datum.value())
    }

    pub fn option_text(&self, name: &str) -> Result<Option<Cow<'_, str>>, RenderError> {
        self.option(name).map(|option| value::text(option, self.budget.bytes_max())).transpose()
    }

    /// Counts the work of going through an argument's text.
    pub fn charge_text(&mut self, index: usize) -> Result<(), RenderError> {
        let bytes = self.text(index)?.len();
        self.budget.charge_bytes(bytes)
    }

    /// What data that does not fit gives.
    pub fn unfit(&self, why: impl Display) -> Run<'s> {
        if self.strict { Err(self.error(why)) } else { Ok(Datum::Missing) }
    }

    pub fn error(&self, why: impl Display) -> RenderError {
        RenderError::Failed(format!("{}: {why}", self.name))
    }
}

/// A number without a fraction, or a text that is one.
pub fn whole(value: &Value) -> Option<i64> {
    Number::of(value)?.json()?.as_i64()
}

fn tables() -> impl Iterator<Item = &'static [Helper]> {
    [
        request::TABLE,
        json::TABLE,
        logic::TABLE,
        text::TABLE,
        time::TABLE,
        random::TABLE,
        encoding::TABLE,
        numbers::TABLE,
    ]
    .into_iter()
}

/// How many letters must be put in, taken out or changed to make one text of the other.
fn edits(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (place, known) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != known);
            diagonal = row[place + 1];
            row[place + 1] = changed.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_helper_is_described_and_every_description_is_of_a_helper() {
        const BLOCKS: [&str; 5] = ["if", "unless", "each", "with", "raw"];
        for helper in tables().flatten() {
            assert!(HELPERS.iter().any(|(name, _)| *name == helper.name), "{} is not described", helper.name);
        }
        for (name, _) in HELPERS {
            assert!(BLOCKS.contains(name) || find(name).is_some(), "{name} is no helper");
        }
    }

    #[test]
    fn the_nearest_name_is_one_that_is_like_it() {
        let table = [
            ("uper", Some("upper")),
            ("jsonpath", Some("jsonPath")),
            ("randomint", Some("randomInt")),
            ("iff", Some("if")),
            ("completelyDifferent", None),
            ("", None),
        ];
        for (name, expected) in table {
            assert_eq!(nearest(name), expected, "{name}");
        }
    }
}
