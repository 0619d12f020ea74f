//! JSONPath (RFC 9535) whose cost is known before it runs: the library that runs it cannot be interrupted.
//!
//! A path can name each value many times over (`$[0,0][0,0]...`, `$..*..*`), so that its results grow with its
//! length as a power. An upper bound of that is reckoned from the path's text and the document's size.

use serde_json::Value;
use serde_json_path::JsonPath;

const PATH_BYTES_MAX: usize = 1024;
/// The parser calls itself for these.
const BRACKETS_MAX: usize = 32;
const PARENTHESES_MAX: usize = 8;
const FILTERS_MAX: usize = 4;
/// How many values may be visited, by the upper bound; so many take some tenths of a second.
const VISITS_MAX: u64 = 10_000_000;

/// A path that would look at too many values of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyVisits;

#[derive(Debug)]
pub struct Query {
    path: JsonPath,
    /// How many times it may name a value by alternatives: `[0,1]`.
    alternatives: u64,
    /// How many times it may go all the way down: by `..`, or to compare values in a filter.
    descents: u32,
    /// Other paths in it that start at the document's root.
    roots: u32,
}

impl Query {
    /// The error is a message.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATH_BYTES_MAX {
            return Err(format!("a JSONPath has at most {PATH_BYTES_MAX} bytes"));
        }
        let count = |letter: char| text.matches(letter).count();
        if count('[') > BRACKETS_MAX || count('(') > PARENTHESES_MAX || count('?') > FILTERS_MAX {
            return Err("the JSONPath has too many brackets, parentheses or filters".to_owned());
        }
        if ["match", "search"].iter().any(|name| calls(text, name)) {
            return Err("a JSONPath here has no `match` and no `search`".to_owned());
        }
        let path = JsonPath::parse(text).map_err(|error| format!("the JSONPath cannot be read: {error}"))?;
        Ok(Self {
            path,
            alternatives: alternatives(text),
            descents: u32::try_from(text.matches("..").count() + count('?')).unwrap_or(u32::MAX),
            roots: u32::try_from(count('$').saturating_sub(1)).unwrap_or(u32::MAX),
        })
    }

    /// How many values of a document are visited at most; its size is that of [`measure`].
    pub fn visits(&self, (values, depth): (u64, u64)) -> Result<u64, TooManyVisits> {
        let visits = values
            .saturating_mul(self.alternatives)
            .saturating_mul(depth.saturating_pow(self.descents))
            .saturating_mul(values.saturating_pow(self.roots));
        if visits > VISITS_MAX { Err(TooManyVisits) } else { Ok(visits) }
    }

    /// What is found; to be asked for where [`Self::visits`] allows it.
    pub fn find<'v>(&self, document: &'v Value) -> Vec<&'v Value> {
        self.path.query(document).all()
    }
}

/// Whether a function of this name is called, or could be.
fn calls(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| text[at + name.len()..].trim_start().starts_with('('))
}

/// The product of what each bracket offers. Commas in texts count too, which is more than there is, not less.
fn alternatives(text: &str) -> u64 {
    text.split('[').skip(1).map(|rest| 1 + rest.matches(',').count() as u64).fold(1, u64::saturating_mul)
}

/// How many values there are, and how deep they are nested.
pub fn measure(value: &Value) -> (u64, u64) {
    let inner: &mut dyn Iterator<Item = &Value> = match value {
        Value::Array(items) => &mut items.iter(),
        Value::Object(members) => &mut members.values(),
        _ => &mut std::iter::empty(),
    };
    inner.fold((1, 1), |(values, depth), item| {
        let (more, deep) = measure(item);
        (values + more, depth.max(deep + 1))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_that_multiply_are_refused_before_they_run() {
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        let wide: Value = (0..5000).collect();
        for path in [
            "$..*..*..*..*..*..*",
            "$[0,0,0,0,0,0,0,0][0,0,0,0,0,0,0,0][0,0,0,0,0,0,0,0][0,0,0,0,0,0,0,0][0,0,0,0,0,0,0,0,0][0,0,0,0,0,0]",
            "$..[?$..*]",
            "$[?$[?$[0] == 1]]",
        ] {
            let query = Query::parse(path).unwrap();
            let refused = [&deep, &wide].map(|document| query.visits(measure(document)).err());
            assert!(refused.contains(&Some(TooManyVisits)), "{path}");
        }
    }

    #[test]
    fn hostile_texts_are_no_paths() {
        let deep = format!("$[?{}@{}]", "(".repeat(300), ")".repeat(300));
        let long = format!("$.{}", "a".repeat(2000));
        let filters = "$[?@".repeat(100);
        for path in [&deep, &long, &filters, "$[?match(@.a, 'a')]", "$[? search (@, 'a')]", "", "a", "$["] {
            assert!(Query::parse(path).is_err(), "{path}");
        }
        assert!(Query::parse("$[?length(@.a) > 1].b").is_ok());
    }
}
