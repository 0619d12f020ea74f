//! The short form of an inquiry, for the command line and for URLs: terms with blanks between, all of which must
//! hold. `method=POST header.x-github-event=push json.$.action=opened`

use serde_json::{Map, Value, json};

use super::invalid::Invalid;

/// How much of a term a mistake shows, in characters.
const SHOWN_CHARS: usize = 100;

/// Longest text of a number that is compared as one: up to here it is the same number as a double.
const NUMBER_CHARS_MAX: usize = 15;

/// A term as it was written, and the expression that it stands for.
#[derive(Debug)]
pub struct Term<'a> {
    written: &'a str,
    pub tree: Value,
}

/// How the two sides of a term are held against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Equals,
    Differs,
    Matches,
    StartsWith,
    EndsWith,
    Contains,
    /// By the name of its operator.
    Compares(&'static str),
}

/// What stands on the right.
struct Given<'a> {
    text: std::borrow::Cow<'a, str>,
    is_quoted: bool,
}

impl Term<'_> {
    /// A mistake in what the term stands for, told of the term.
    pub fn wrong(&self, invalid: &Invalid) -> Invalid {
        wrong(self.written, &invalid.why)
    }
}

/// The expression that a short form stands for; none of the leaves' places and operators is looked at yet.
///
/// # Errors
/// With the term that cannot be read.
pub fn parse(text: &str) -> Result<Value, Invalid> {
    let trees: Vec<Value> = terms(text)?.into_iter().map(|term| term.tree).collect();
    Ok(json!({ "all": trees }))
}

/// An inquiry as a text: JSON where it begins with a brace, else the short form, which no term of begins so.
///
/// # Errors
/// Where it is neither.
pub fn parse_text(text: &str) -> Result<Value, Invalid> {
    match text.trim_start().starts_with('{') {
        true => {
            serde_json::from_str(text).map_err(|error| Invalid::here(format!("this is no JSON: {error}")))
        }
        false => Ok(Value::String(text.to_owned())),
    }
}

/// The terms one by one.
///
/// # Errors
/// With the term that cannot be read.
pub fn terms(text: &str) -> Result<Vec<Term<'_>>, Invalid> {
    let mut terms = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        let (term, behind) = term(rest)?;
        terms.push(term);
        rest = behind.trim_ascii_start();
    }
    Ok(terms)
}

/// The first term of a text that does not begin with a blank, and what stands behind it.
fn term(text: &str) -> Result<(Term<'_>, &str), Invalid> {
    let negated = text.strip_prefix('!');
    let place_text = negated.unwrap_or(text);
    let (place, sign, behind) = split(place_text)?;
    let Some(sign) = sign else {
        let written = &text[..text.len() - behind.len()];
        let mut leaf = place_of(place, written)?;
        leaf.insert("exists".to_owned(), negated.is_none().into());
        return Ok((Term { written, tree: leaf.into() }, behind));
    };
    let (given, behind) = given(behind).map_err(|why| wrong(text, why))?;
    let written = &text[..text.len() - behind.len()];
    if negated.is_some() {
        let why =
            "`!` stands before a place alone, for one that is not there; for another value there is `!=`";
        return Err(wrong(written, why));
    }
    let leaf = place_of(place, written)?;
    Ok((Term { written, tree: tree(leaf, sign, &given) }, behind))
}

fn wrong(written: &str, why: impl std::fmt::Display) -> Invalid {
    let shown: String = written.chars().take(SHOWN_CHARS).collect();
    Invalid::here(format!("`{shown}`: {why}"))
}

/// The left side of a term, its sign if it has one, and what stands behind. Whatever stands in a JSONPath's
/// brackets is the path's.
fn split(text: &str) -> Result<(&str, Option<Sign>, &str), Invalid> {
    let is_path = text.starts_with("json.");
    let (mut depth, mut quote) = (0_usize, None);
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (letter, quote) {
            ('\\', Some(_)) => drop(letters.next()),
            (letter, Some(open)) if letter == open => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) if depth > 0 => quote = Some(letter),
            ('[', None) if is_path => depth += 1,
            (']', None) if depth > 0 => depth -= 1,
            (blank, None) if depth == 0 && blank.is_ascii_whitespace() => {
                return Ok((&text[..at], None, &text[at..]));
            }
            ('=' | '<' | '>', None) if depth == 0 => {
                let (place, sign, behind) = signed(text, at);
                return Ok((place, Some(sign), behind));
            }
            _ => {}
        }
    }
    match depth {
        0 => Ok((text, None, "")),
        _ => Err(wrong(text, "a bracket of the JSONPath is not closed")),
    }
}

/// The same where a sign stands at a place; one of two letters may begin before it.
fn signed(text: &str, at: usize) -> (&str, Sign, &str) {
    let (before, sign) = (&text[..at], &text[at..=at]);
    let behind = &text[at + 1..];
    if sign != "=" {
        let (or_equal, behind) = behind.strip_prefix('=').map_or((false, behind), |behind| (true, behind));
        let operator = match (sign, or_equal) {
            ("<", false) => "lt",
            ("<", true) => "lte",
            (_, false) => "gt",
            (_, true) => "gte",
        };
        return (before, Sign::Compares(operator), behind);
    }
    const BEFORE: [(char, Sign); 5] = [
        ('!', Sign::Differs),
        ('~', Sign::Matches),
        ('^', Sign::StartsWith),
        ('$', Sign::EndsWith),
        ('*', Sign::Contains),
    ];
    for (letter, sign) in BEFORE {
        if let Some(place) = before.strip_suffix(letter) {
            return (place, sign, behind);
        }
    }
    (before, Sign::Equals, behind)
}

/// The value at the beginning of a text, and what stands behind it. In quotes a backslash stands before a quote
/// or another backslash, and is itself elsewhere, so that patterns need not be written twice.
fn given(text: &str) -> Result<(Given<'_>, &str), &'static str> {
    let Some(open) = text.chars().next().filter(|letter| matches!(letter, '\'' | '"')) else {
        let end = text.find(|letter: char| letter.is_ascii_whitespace()).unwrap_or(text.len());
        return Ok((Given { text: text[..end].into(), is_quoted: false }, &text[end..]));
    };
    let mut value = String::new();
    let mut letters = text[1..].char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next_if(|(_, next)| matches!(next, '\'' | '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            letter if letter == open => {
                let behind = &text[1 + at + 1..];
                return match behind.chars().next() {
                    Some(next) if !next.is_ascii_whitespace() => Err("a blank is expected behind the quote"),
                    _ => Ok((Given { text: value.into(), is_quoted: true }, behind)),
                };
            }
            other => value.push(other),
        }
    }
    Err("a quote is not closed")
}

/// The left side as the beginning of a leaf.
fn place_of(text: &str, written: &str) -> Result<Map<String, Value>, Invalid> {
    let (at, argument) = match text.split_once('.') {
        Some((at, argument)) => (at, Some(argument)),
        None => (text, None),
    };
    if at.is_empty() {
        return Err(wrong(written, "a place is expected, as in `method=POST` or `header.x-signature`"));
    }
    let at = if at == "status" { "reply_status" } else { at };
    let mut leaf = Map::from_iter([("at".to_owned(), Value::from(at))]);
    let Some(argument) = argument else { return Ok(leaf) };
    let (key, argument) = match at {
        "query" | "header" | "cookie" | "form" if !argument.is_empty() => ("name", argument.into()),
        "json" if !argument.is_empty() => ("path", argument.into()),
        "json" => return Err(wrong(written, "a JSONPath is expected behind `json.`; the whole is `json`")),
        "segment" => match argument.parse::<u64>() {
            Ok(index) => ("index", index.into()),
            Err(_) => return Err(wrong(written, "a segment has a number, from 0: `segment.0`")),
        },
        "query" | "header" | "cookie" | "form" => {
            return Err(wrong(written, format!("a name is expected behind `{at}.`")));
        }
        _ => return Err(wrong(written, format!("`{at}` has no name behind a dot"))),
    };
    leaf.insert(key.to_owned(), argument);
    Ok(leaf)
}

fn tree(mut leaf: Map<String, Value>, sign: Sign, given: &Given<'_>) -> Value {
    let is_json = leaf["at"] == "json";
    let is_instant = leaf["at"] == "received";
    let text = || Value::from(given.text.as_ref());
    let literal = || serde_json::from_str::<Value>(&given.text).ok().filter(|_| !given.is_quoted);
    let (operator, operand) = match sign {
        Sign::Matches => ("matches", text()),
        Sign::StartsWith => ("starts_with", text()),
        Sign::EndsWith => ("ends_with", text()),
        Sign::Contains => ("contains", text()),
        Sign::Compares(operator) => {
            (operator, literal().filter(|value| value.is_number() && !is_instant).unwrap_or_else(text))
        }
        // The text `null` equals the literal.
        Sign::Equals | Sign::Differs => {
            let fits = |value: &Value| {
                value.is_boolean() || (value.is_number() && given.text.len() <= NUMBER_CHARS_MAX)
            };
            ("equals", literal().filter(|value| is_json && fits(value)).unwrap_or_else(text))
        }
    };
    leaf.insert(operator.to_owned(), operand);
    match sign {
        Sign::Differs => json!({ "not": leaf }),
        _ => leaf.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::BodyContent;
    use crate::rules::{Allowance, Expression, Seen, sample};

    fn read(text: &str) -> Result<Expression, String> {
        let read = Expression::parse_inquiry(&text.into(), &mut Allowance::of_inquiry(65_536));
        read.map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn terms_stand_for_leaves() {
        for (text, tree) in [
            ("", json!([])),
            ("method=POST", json!([{"at": "method", "equals": "POST"}])),
            (
                "  path=/x\tquery.page!=2 ",
                json!([{"at": "path", "equals": "/x"},
                {"not": {"at": "query", "name": "page", "equals": "2"}}]),
            ),
            ("header.x-a", json!([{"at": "header", "name": "x-a", "exists": true}])),
            ("!header.x-a", json!([{"at": "header", "name": "x-a", "exists": false}])),
            ("header.a.b!=", json!([{"not": {"at": "header", "name": "a.b", "equals": ""}}])),
            (
                "json.$.a=1 json.$.a!=true json.$.a=null json.$.a='1'",
                json!([
                {"at": "json", "path": "$.a", "equals": 1}, {"not": {"at": "json", "path": "$.a", "equals": true}},
                {"at": "json", "path": "$.a", "equals": "null"}, {"at": "json", "path": "$.a", "equals": "1"}]),
            ),
            (
                "json.$.id=12345678901234567",
                json!([{"at": "json", "path": "$.id", "equals": "12345678901234567"}]),
            ),
            (
                "json.$.items[?@.price > 10 && @.name == 'a]b = c'].id<=5",
                json!([
                {"at": "json", "path": "$.items[?@.price > 10 && @.name == 'a]b = c'].id", "lte": 5}]),
            ),
            ("json", json!([{"at": "json", "exists": true}])),
            (
                r#"path~=^/r/\d+$ body*="a \"b\" \d \\ 'c'""#,
                json!([{"at": "path", "matches": r"^/r/\d+$"},
                {"at": "body", "contains": r#"a "b" \d \ 'c'"#}]),
            ),
            (
                "body_size>100 status>=400 method<5x",
                json!([{"at": "body_size", "gt": 100},
                {"at": "reply_status", "gte": 400}, {"at": "method", "lt": "5x"}]),
            ),
            ("received>2026-01-01T00:00:00Z", json!([{"at": "received", "gt": "2026-01-01T00:00:00Z"}])),
            (
                "segment.1^=a target$=b",
                json!([{"at": "segment", "index": 1, "starts_with": "a"},
                {"at": "target", "ends_with": "b"}]),
            ),
        ] {
            assert_eq!(parse(text).unwrap(), json!({ "all": tree }), "{text}");
            assert!(read(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_mistake_names_its_term_and_says_what_there_is() {
        for (text, expected) in [
            (
                "method=POST colour=red",
                "`colour=red`: `colour` is no part of a capture; there are endpoint, ",
            ),
            ("=a", "`=a`: a place is expected"),
            ("! ", "`!`: a place is expected"),
            ("a='b", "`a='b`: a quote is not closed"),
            ("path='b'c d", "`path='b'c d`: a blank is expected behind the quote"),
            ("!path=a", "`!path=a`: `!` stands before a place alone"),
            ("json.$[0 a=b", "`json.$[0 a=b`: a bracket of the JSONPath is not closed"),
            ("json.$=a", "`json.$=a`: a JSONPath is expected behind `json.`; the whole is `json`"),
            ("json.a=b", "`json.a=b`: the JSONPath cannot be read"),
            ("segment.x=a", "`segment.x=a`: a segment has a number"),
            ("header.=a", "`header.=a`: a name is expected behind `header.`"),
            ("method.x=a", "`method.x=a`: `method` has no name behind a dot"),
            ("path~=(", "`path~=(`: the pattern is wrong at character 1"),
            ("received=now", "`received=now`: an instant is compared, with one of `lt`"),
            ("received>yesterday", "`received>yesterday`: an RFC 3339 instant is expected"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.starts_with(expected), "{text}: {why}");
        }
    }

    #[test]
    fn a_text_is_json_where_it_begins_with_a_brace() {
        let leaf = json!({"at": "kind", "equals": "http"});
        assert_eq!(parse_text(&format!(" {leaf}")), Ok(leaf));
        assert_eq!(parse_text("kind=http"), Ok("kind=http".into()));
        assert!(parse_text("{").unwrap_err().why.starts_with("this is no JSON"));
    }

    fn quoted(text: &str) -> String {
        format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|[ =!<>.'\"\\\\\\[\\]]|json[.]|header[.]x){0,60}") {
            match terms(&text) {
                Ok(terms) => {
                    // Nothing but blanks is passed over.
                    let kept: String = terms.iter().map(|term| term.written).collect();
                    let squeezed = |text: &str| text.split_ascii_whitespace().collect::<String>();
                    prop_assert_eq!(squeezed(&kept), squeezed(&text));
                }
                Err(invalid) => prop_assert!(invalid.why.starts_with('`'), "{}", invalid.why),
            }
            drop(read(&text));
        }

        #[test]
        fn any_value_can_be_quoted(values in prop::collection::vec("\\PC{0,20}|[\\\\'\" =]{0,6}", 0..5)) {
            let text: Vec<String> = values.iter().map(|value| format!("path={}", quoted(value))).collect();
            let leaves: Vec<Value> = values.iter().map(|value| json!({"at": "path", "equals": value})).collect();
            prop_assert_eq!(parse(&text.join(" ")).unwrap(), json!({ "all": leaves }));
        }

        #[test]
        fn what_a_header_has_is_found_by_its_short_form(value in "[!-~]([ -~]{0,20}[!-~])?", other in "y[a-z]{1,5}") {
            let request = json!({"endpoint": "a", "headers": [["X-It", value]], "body": json!({"v": value}).to_string()});
            let options = sample::SampleOptions { id: uuid::Uuid::nil(), now_us: 0, prefix: "r" };
            let capture = sample::capture(&request, options).unwrap();
            let BodyContent::Inline(body) = &capture.body.content else { unreachable!("samples have their bodies") };
            let holds = |text: String| {
                read(&text).unwrap_or_else(|why| panic!("{text}: {why}")).matches(&Seen::new(&capture, body))
            };
            let value = quoted(&value);
            let found = format!("header.X-It={value} json.$.v={value} header.x-it*={value}");
            let differs = format!("header.x-it!={value}");
            let elsewhere = format!("header.{other}={value}");
            let absent = format!("!header.{other} header.x-it^={value} header.x-it$={value}");
            let verdicts = [found, differs, elsewhere, absent].map(holds);
            prop_assert_eq!(verdicts, [true, false, false, true]);
        }
    }
}
