//! JSON to the letter of its numbers and with every member: what [`serde_json::Value`] does not keep.

/// A value of a document. Two are equal that differ in blanks, in how strings are escaped, in how a number is
/// written, and in where members of other names stand.
#[derive(Debug, PartialEq, Eq)]
enum Exact {
    /// A number as its digits and exponent, a string as it is said, or a word.
    Scalar(String),
    List(Vec<Self>),
    /// By name; those of one name in their order.
    Members(Vec<(String, Self)>),
}

/// Whether two documents, both of which serde_json takes, are the same to the last digit and member.
pub fn is_same(left: &[u8], right: &[u8]) -> bool {
    // What could not be read here is not told to be the same.
    matches!((Reader(left).value(), Reader(right).value()), (Some(left), Some(right)) if left == right)
}

/// The rest of a document that is known to be JSON, and no deeper than its parser allows (128).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn value(&mut self) -> Option<Exact> {
        match self.next()? {
            b'{' => {
                let mut members = Vec::new();
                self.each(b'}', |reader| {
                    let name: String = serde_json::from_slice(reader.string()?).ok()?;
                    reader.takes(b':').then_some(())?;
                    members.push((name, reader.value()?));
                    Some(())
                })?;
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                Some(Exact::Members(members))
            }
            b'[' => {
                let mut list = Vec::new();
                self.each(b']', |reader| {
                    list.push(reader.value()?);
                    Some(())
                })?;
                Some(Exact::List(list))
            }
            b'"' => {
                let text: String = serde_json::from_slice(self.string()?).ok()?;
                Some(Exact::Scalar(format!("\"{text}")))
            }
            _ => {
                let end = self.0.iter().position(|octet| b",]} \t\r\n".contains(octet));
                let word = std::str::from_utf8(self.take(end.unwrap_or(self.0.len()))).ok()?;
                let is_number = word.starts_with(|letter: char| letter == '-' || letter.is_ascii_digit());
                Some(Exact::Scalar(if is_number { number(word) } else { word.to_owned() }))
            }
        }
    }

    /// What stands between an opening and its closing, piece by piece.
    fn each(&mut self, closing: u8, mut piece: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(1);
        while !self.takes(closing) {
            piece(self)?;
            self.takes(b',');
        }
        Some(())
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.next().filter(|first| *first == b'"')?;
        let mut end = 1;
        loop {
            match self.0.get(end)? {
                b'"' => return Some(self.take(end + 1)),
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
    }

    /// The next octet that is no blank, which stays.
    fn next(&mut self) -> Option<u8> {
        self.0 = self.0.trim_ascii_start();
        self.0.first().copied()
    }

    fn takes(&mut self, octet: u8) -> bool {
        let is_next = self.next() == Some(octet);
        if is_next {
            self.take(1);
        }
        is_next
    }

    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A number as its digits and its exponent of ten, so that `1.50` and `15e-1` are one.
fn number(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i32>() else { return text.to_owned() };
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let shift = (digits.len() - significant.len()) as i64 - fraction.len() as i64;
    match significant.trim_start_matches('0') {
        "" => format!("{sign}0"),
        significant => format!("{sign}{significant}e{}", i64::from(exponent) + shift),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_the_same_to_the_last_digit_and_member() {
        for (left, right, same) in [
            (r#"{"a":[1,{"b":"x"}],"c":null}"#, "{ \"c\" : null,\n\"a\": [1, {\"b\": \"\\u0078\"}] }", true),
            ("[0.10, 1e2, -0, 0e7, []]", "[1e-1,100,-0.0,0,[ ]]", true),
            ("123456789012345678901", "123456789012345678902", false),
            ("0.1234567890123456789012", "0.1234567890123456789013", false),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, false),
            (r#"{"a":1,"b":0,"a":2}"#, r#"{"b":0,"a":1,"a":2}"#, true),
            (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#, false),
            (r#"["1"]"#, "[1]", false),
            (r#"["a\\\"]"]"#, r#"["a\\\"]"]"#, true),
        ] {
            assert_eq!(is_same(left.as_bytes(), right.as_bytes()), same, "{left} {right}");
        }
    }
}
