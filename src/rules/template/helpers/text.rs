//! Texts, counted in characters.

use regex_automata::meta::Regex;
use serde_json::Value;

use super::{Given, Helper, Prepared, Run, whole};
use crate::rules::pattern::{Grammar, compiled, parsed};
use crate::rules::template::RenderError;
use crate::rules::template::value::{self, Datum};
use crate::rules::work::Work;

const PATTERN_BYTES_MAX: usize = 1024;
/// Sizes of compiled patterns that are told apart. Most are in the first; Unicode's `\w` alone is in the third.
const COMPILED_BYTES: [usize; 4] = [4 << 10, 16 << 10, 64 << 10, 256 << 10];
/// A search takes time as the product of pattern and text at worst, and cannot be interrupted. At this product
/// the worst patterns take some tenths of a second.
const SEARCH_MAX: usize = 4 << 30;
const GRAMMAR: Grammar = Grammar { ignore_case: false, utf8: true, depth_max: 32 };
/// Compiling a pattern that is no literal costs time in every rendering.
const COMPILE_STEPS: u64 = 100;

pub const TABLE: &[Helper] = &[
    Helper { name: "upper", arguments: (1, 1), options: &[], takes_missing: false, run: upper },
    Helper { name: "lower", arguments: (1, 1), options: &[], takes_missing: false, run: lower },
    Helper { name: "trim", arguments: (1, 1), options: &[], takes_missing: false, run: trim },
    Helper { name: "replace", arguments: (3, 3), options: &[], takes_missing: false, run: replace },
    Helper { name: "substr", arguments: (2, 3), options: &[], takes_missing: false, run: substr },
    Helper { name: "regex", arguments: (2, 2), options: &["group"], takes_missing: false, run: regex },
    Helper { name: "split", arguments: (2, 2), options: &[], takes_missing: false, run: split },
    Helper { name: "join", arguments: (1, 2), options: &[], takes_missing: false, run: join },
    Helper { name: "length", arguments: (1, 1), options: &[], takes_missing: false, run: length },
];

/// A regular expression, and how long a text it may search.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    text_bytes_max: usize,
}

impl Pattern {
    /// Compiles within bounds; the error is a message.
    pub fn compile(pattern: &str, work: &mut Work) -> Result<Self, String> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!("a regular expression has at most {PATTERN_BYTES_MAX} bytes"));
        }
        let unreadable = |why| format!("the regular expression cannot be read: {why}");
        let parsed = parsed(pattern, GRAMMAR, work).map_err(unreadable)?;
        for bytes in COMPILED_BYTES {
            if let Some(regex) = compiled(&parsed, GRAMMAR, bytes, None, work).map_err(unreadable)? {
                return Ok(Self { regex, text_bytes_max: SEARCH_MAX / bytes });
            }
        }
        Err("the regular expression is too large".to_owned())
    }
}

fn upper<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    Ok(Datum::text(given.text(0)?.to_uppercase()))
}

fn lower<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    Ok(Datum::text(given.text(0)?.to_lowercase()))
}

fn trim<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    Ok(Datum::text(given.text(0)?.trim()))
}

fn replace<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let (text, from, to) = (given.text(0)?, given.text(1)?, given.text(2)?);
    if from.is_empty() {
        return Ok(Datum::text(text));
    }
    let growth = to.len().saturating_sub(from.len()).saturating_mul(text.matches(from.as_ref()).count());
    given.budget.allow(text.len().saturating_add(growth))?;
    Ok(Datum::text(text.replace(from.as_ref(), &to)))
}

fn substr<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let Some(start) = given.whole(1) else { return given.unfit("the start is no whole number") };
    let length = match given.arguments.get(2) {
        None => usize::MAX,
        Some(_) => match given.whole(2) {
            Some(length) => usize::try_from(length.max(0)).unwrap_or(usize::MAX),
            None => return given.unfit("the length is no whole number"),
        },
    };
    let text = given.text(0)?;
    let skipped = match usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX) {
        from_end if start < 0 => text.chars().count().saturating_sub(from_end),
        from_start => from_start,
    };
    Ok(Datum::text(text.chars().skip(skipped).take(length).collect::<String>()))
}

/// The group asked for, else the first one there is, else the whole match.
fn regex<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let compiled;
    let pattern = match given.prepared {
        Some(Prepared::Pattern(pattern)) => pattern,
        _ => {
            given.budget.charge(COMPILE_STEPS)?;
            let mut work = Work::of_request();
            compiled = Pattern::compile(&given.text(1)?, &mut work).map_err(|why| given.error(why))?;
            &compiled
        }
    };
    given.charge_text(0)?;
    given.budget.look()?;
    let text = given.text(0)?;
    if text.len() > pattern.text_bytes_max {
        return given.unfit(format!("the text has more than {} bytes", pattern.text_bytes_max));
    }
    let mut captures = pattern.regex.create_captures();
    pattern.regex.captures(text.as_ref(), &mut captures);
    if !captures.is_match() {
        return Ok(Datum::Missing);
    }
    let group = match given.option("group") {
        None => captures.get_group(usize::from(captures.group_len() > 1)),
        Some(number) if whole(number).is_some() => whole(number)
            .and_then(|number| usize::try_from(number).ok())
            .and_then(|number| captures.get_group(number)),
        Some(name) => captures.get_group_by_name(&value::text(name, given.budget.bytes_max())?),
    };
    Ok(group.map_or(Datum::Missing, |group| Datum::text(&text[group.range()])))
}

fn split<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let (text, separator) = (given.text(0)?, given.text(1)?);
    let mut parts = Vec::new();
    let mut push = |part: &str| {
        parts.push(Value::from(part));
        given.budget.allow(parts.len().saturating_mul(value::PLACE))
    };
    if separator.is_empty() {
        text.chars().try_for_each(|letter| push(letter.encode_utf8(&mut [0; 4])))?;
    } else {
        text.split(separator.as_ref()).try_for_each(push)?;
    }
    Ok(Datum::Made(Value::Array(parts)))
}

fn join<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let separator = if given.arguments.len() > 1 { given.text(1)? } else { ",".into() };
    let Value::Array(items) = given.value(0) else { return Ok(Datum::text(given.text(0)?)) };
    let mut joined = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            joined.push_str(&separator);
        }
        joined.push_str(&value::text(item, given.budget.bytes_max())?);
        given.budget.allow(joined.len())?;
    }
    Ok(Datum::text(joined))
}

fn length<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let length = match given.value(0) {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        other => text_length(other)?,
    };
    Ok(Datum::Made(Value::from(length)))
}

fn text_length(value: &Value) -> Result<usize, RenderError> {
    const SCALAR_BYTES_MAX: usize = 64;
    Ok(value::text(value, SCALAR_BYTES_MAX)?.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_bounds() {
        let table = [
            (r"^(a|aa)+$", true),
            (r"\p{L}+\s\w+", true),
            (r"^[\w.+-]+@[\w-]+\.[\w.-]+$", true),
            (r"(?i)\bbearer\s+(\S+)", true),
            (r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$", true),
            (r"(", false),
            (r"(a{1000}){1000}", false),
            (r"((((a{10}){10}){10}){10}){10}", false),
            (r"\w{500}", false),
        ];
        let compile = |pattern: &str| Pattern::compile(pattern, &mut Work::of_rule());
        for (pattern, fits) in table {
            assert_eq!(compile(pattern).is_ok(), fits, "{pattern}");
        }
        assert!(compile(&"(".repeat(500)).is_err());
        assert!(compile(&format!("{}a{}", "(".repeat(500), ")".repeat(500))).is_err());
        assert!(compile(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
        let classes = compile(&format!("(?i){}", r"[\s\S]".repeat(30))).unwrap_err();
        assert!(classes.contains("too many classes"), "{classes}");
    }
}
