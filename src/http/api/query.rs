//! Query parameters: each is known, and each is read once.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use crate::access::Access;
use crate::http::problem::{Kind, Problem};
use crate::model::limits::FILTER_TERMS_MAX;
use crate::model::time::parse_rfc3339;
use crate::rules::object::is_token;

/// The parameters of a request, by name, in their order.
#[derive(Debug, Default)]
pub struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    /// Reads the parameters.
    ///
    /// # Errors
    /// Where one is not among the known, or stands more often than it may.
    pub fn parse(query: &str, once: &[&str], repeatable: &[&str]) -> Result<Self, Problem> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if !once.contains(&name.as_str()) && !repeatable.contains(&name.as_str()) {
                return Err(unknown(&name, &[once, repeatable].concat()));
            }
            found.entry(name).or_default().push(value);
        }
        for (name, values) in &found {
            let most = if once.contains(&name.as_str()) { 1 } else { FILTER_TERMS_MAX };
            if values.len() > most {
                let problem = format!("`{name}` stands {} times, and may at most {most}", values.len());
                return Err(Problem::because(Kind::InvalidParameter, problem));
            }
        }
        Ok(Self(found))
    }

    /// That there are no parameters, where none mean anything.
    pub fn refuse(query: &str) -> Result<(), Problem> {
        Self::parse(query, &[], &[]).map(drop)
    }

    pub fn one(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|values| values.first()).map(String::as_str)
    }

    pub fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// A parameter read by a function; None where it is not there.
    pub fn parsed<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        self.one(name).map(|value| parse(value).map_err(|error| invalid(name, error))).transpose()
    }

    /// A switch, off where it is not there.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        let flag = self.parsed(name, |text| match text {
            "true" | "" => Ok(true),
            "false" => Ok(false),
            _ => Err("`true` or `false` is expected"),
        })?;
        Ok(flag.unwrap_or(false))
    }

    /// An instant as RFC 3339, in microseconds.
    pub fn instant(&self, name: &str) -> Result<Option<i64>, Problem> {
        self.parsed(name, |text| {
            parse_rfc3339(text).ok_or("an RFC 3339 instant is expected, as 2026-01-31T12:00:00Z")
        })
    }

    /// The name that the page before ended with, in a listing that goes by name.
    pub fn behind(&self, listing: &str, access: &Access) -> Result<Option<String>, Problem> {
        let read = |cursor| access.read_behind(listing, cursor);
        let behind = self.one("cursor").map(read).transpose();
        behind.map_err(|error| Problem::because(Kind::InvalidCursor, error))
    }

    /// The size of a page.
    pub fn limit(&self, default: u32, most: u32) -> Result<u32, Problem> {
        let limit = self.parsed("limit", |text| match text.parse::<u32>() {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            _ => Err(format!("a number from 1 to {most} is expected")),
        })?;
        Ok(limit.unwrap_or(default))
    }
}

fn unknown(name: &str, known: &[&str]) -> Problem {
    let known = match known {
        [] => "there are none here".to_owned(),
        [only] => format!("there is `{only}`"),
        several => format!("there are `{}`", several.join("`, `")),
    };
    Problem::because(Kind::InvalidParameter, format!("`{name}` is not known; {known}"))
}

/// As HTML forms encode it; what is not UTF-8 is refused, not replaced, and so is NUL, which Postgres has
/// no text with.
fn decoded(text: &str) -> Result<String, Problem> {
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(decoded) if !decoded.contains('\0') => Ok(decoded.into_owned()),
        _ => Err(Problem::because(Kind::InvalidParameter, "the query is not UTF-8 without NUL")),
    }
}

/// A method that a filter names.
pub fn method(name: &str) -> Result<String, &'static str> {
    is_token(name).then(|| name.to_owned()).ok_or("a method is a token of up to 256 characters, as `GET`")
}

pub fn invalid(name: &str, error: impl std::fmt::Display) -> Problem {
    Problem::because(Kind::InvalidParameter, format!("`{name}`: {error}"))
}
