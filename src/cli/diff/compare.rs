//! What two captures differ in: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use super::{exact, structure};
use crate::client::ShownCapture;

/// Looking for the shortest difference of two texts ends then; what is found by then is right, if not shortest.
const SEARCH_LIMIT: Duration = Duration::from_secs(2);
/// Unchanged lines that are shown around those that differ.
const AROUND: usize = 2;

/// A capture with its whole body.
pub type Whole<'a> = (&'a ShownCapture, &'a [u8]);

/// Something that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// At this place these values stand on the one side, and these on the other; none where there is nothing.
    Values { at: String, left: Vec<String>, right: Vec<String> },
    /// Bodies of text: lines with `-`, `+` or a blank, and `@` where something is left out.
    Lines { lines: Vec<(char, String)> },
}

impl Difference {
    pub fn at(&self) -> &str {
        match self {
            Self::Values { at, .. } => at,
            Self::Lines { .. } => "body",
        }
    }

    pub fn json(&self) -> Value {
        match self {
            Self::Values { at, left, right } => json!({ "at": at, "left": left, "right": right }),
            Self::Lines { lines } => {
                let lines: Vec<String> = lines.iter().map(|(mark, line)| format!("{mark}{line}")).collect();
                json!({ "at": "body", "lines": lines })
            }
        }
    }
}

/// All differences, but those of the headers that are to be ignored. Endpoints, times and senders may differ.
pub fn compare(left: Whole<'_>, right: Whole<'_>, ignored: &[String]) -> Vec<Difference> {
    let ((left, left_body), (right, right_body)) = (left, right);
    let mut differences = Vec::new();
    for (at, left, right) in [
        ("kind", &left.kind, &right.kind),
        ("method", &left.method, &right.method),
        ("path behind the code", &left.remainder, &right.remainder),
    ] {
        push(&mut differences, at, vec![left.clone()], vec![right.clone()]);
    }
    let queries = |capture: &ShownCapture| {
        let query = capture.query.clone().unwrap_or_default();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        gathered(pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        }))
    };
    each(&mut differences, "query", &queries(left), &queries(right));
    let headers = |capture: &ShownCapture| {
        let headers = capture.headers().into_iter();
        let headers =
            headers.filter(|(name, _)| !ignored.iter().any(|other| other.eq_ignore_ascii_case(name)));
        gathered(headers.map(|(name, value)| (name, octets(&value))))
    };
    each(&mut differences, "header", &headers(left), &headers(right));
    bodies(&mut differences, left_body, right_body);
    differences
}

/// Octets as text, so that different ones are different texts.
fn octets(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.escape_ascii().to_string(),
    }
}

fn gathered(pairs: impl Iterator<Item = (String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<String, Vec<String>>::new();
    pairs.for_each(|(name, value)| all.entry(name).or_default().push(value));
    all
}

fn each(
    differences: &mut Vec<Difference>,
    what: &str,
    left: &BTreeMap<String, Vec<String>>,
    right: &BTreeMap<String, Vec<String>>,
) {
    let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for name in names {
        let of = |side: &BTreeMap<String, Vec<String>>| side.get(name).cloned().unwrap_or_default();
        push(differences, &format!("{what} {name}"), of(left), of(right));
    }
}

fn push(differences: &mut Vec<Difference>, at: &str, left: Vec<String>, right: Vec<String>) {
    if left != right {
        differences.push(Difference::Values { at: at.to_owned(), left, right });
    }
}

/// JSON by its structure, text by its lines, all else by its octets.
fn bodies(differences: &mut Vec<Difference>, left: &[u8], right: &[u8]) {
    if left == right {
        return;
    }
    if let (Ok(ours), Ok(theirs)) = (serde_json::from_slice(left), serde_json::from_slice(right)) {
        let before = differences.len();
        structure::compare(differences, &ours, &theirs);
        if differences.len() > before || exact::is_same(left, right) {
            return;
        }
        // The structure does not tell long numbers apart, nor members of one name: their lines do.
    }
    match (std::str::from_utf8(left), std::str::from_utf8(right)) {
        (Ok(left), Ok(right)) => differences.push(lines(left, right)),
        _ => {
            let first = left.iter().zip(right).position(|(left, right)| left != right);
            let first = first.unwrap_or_else(|| left.len().min(right.len()));
            let told = |side: &[u8]| vec![format!("{} bytes, another one from byte {first} on", side.len())];
            let (left, right) = (told(left), told(right));
            differences.push(Difference::Values { at: "body".to_owned(), left, right });
        }
    }
}

fn lines(left: &str, right: &str) -> Difference {
    let diff = TextDiff::configure().timeout(SEARCH_LIMIT).diff_lines(left, right);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(AROUND) {
        let from = group.first().map_or(0, |first| first.old_range().start);
        lines.push(('@', format!("line {}", from + 1)));
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let mark = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            let ending = if change.missing_newline() { " (no line end)" } else { "" };
            let content = change.value();
            lines.push((mark, format!("{}{ending}", content.strip_suffix('\n').unwrap_or(content))));
        }
    }
    Difference::Lines { lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(target: (&str, Option<&str>), headers: &[[&str; 2]]) -> ShownCapture {
        ShownCapture::read(&json!({
            "id": "1", "endpoint": "a", "kind": "http", "received": "", "method": "POST", "target": "/r/a",
            "path": "/r/a", "remainder": target.0, "query": target.1, "version": "HTTP/1.1",
            "headers": headers, "body": { "bytes": 0, "truncated": false, "incomplete": false },
        }))
        .unwrap()
    }

    fn values(at: &str, left: &[&str], right: &[&str]) -> Difference {
        let owned = |side: &[&str]| side.iter().map(|text| (*text).to_owned()).collect();
        Difference::Values { at: at.to_owned(), left: owned(left), right: owned(right) }
    }

    #[test]
    fn values_are_held_against_each_other_by_name() {
        let left = capture(("/x", Some("a=1&a=2&b")), &[["x-a", "1"], ["x-b", "1"], ["x-a", "2"]]);
        let right = capture(("/y", Some("b&a=2&a=1")), &[["x-b", "2"], ["x-a", "1"], ["x-a", "2"]]);
        assert_eq!(compare((&left, b""), (&left, b""), &[]), []);
        assert_eq!(
            compare((&left, b""), (&right, b""), &[]),
            [
                values("path behind the code", &["/x"], &["/y"]),
                values("query a", &["1", "2"], &["2", "1"]),
                values("header x-b", &["1"], &["2"]),
            ]
        );
        let ignored = ["X-B".to_owned()];
        assert_eq!(compare((&left, b""), (&right, b""), &ignored).len(), 2);
    }

    #[test]
    fn bodies_are_held_against_each_other_as_what_they_are() {
        let same = capture(("", None), &[]);
        let compare = |left: &[u8], right: &[u8]| compare((&same, left), (&same, right), &[]);
        assert_eq!(compare(br#"{"a":1,"b":[1,2]}"#, br#"{ "b": [1, 2], "a": 1 }"#), []);
        assert_eq!(compare(br#"{"a":1}"#, br#"{"a":2}"#), [values("body $.a", &["1"], &["2"])]);
        let lines = |lines: &[(char, &str)]| Difference::Lines {
            lines: lines.iter().map(|(mark, text)| (*mark, (*text).to_owned())).collect(),
        };
        assert_eq!(
            compare(b"a\nb\nc\n", b"a\nx\nc"),
            [lines(&[
                ('@', "line 1"),
                (' ', "a"),
                ('-', "b"),
                ('-', "c"),
                ('+', "x"),
                ('+', "c (no line end)")
            ])]
        );
        assert_eq!(
            compare(br#"{"id":123456789012345678901}"#, br#"{"id":123456789012345678902}"#),
            [lines(&[
                ('@', "line 1"),
                ('-', "{\"id\":123456789012345678901} (no line end)"),
                ('+', "{\"id\":123456789012345678902} (no line end)")
            ])]
        );
        let told = ["2 bytes, another one from byte 1 on"];
        assert_eq!(compare(b"\xff\x01", b"\xff\x02"), [values("body", &told, &told)]);
    }
}
