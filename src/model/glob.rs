//! Endpoint patterns of stream filters and tokens: `*` stands for any run of characters, `\*` for the character.

use std::fmt;

use super::limits::GLOB_BYTES_MAX;

/// A pattern that a whole endpoint code is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    /// The literal stretches between the wildcards; n wildcards make n + 1 of them.
    parts: Vec<String>,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGlob {
    #[error("a pattern has 1 to {GLOB_BYTES_MAX} bytes")]
    Length,
    #[error("a backslash in a pattern stands before `*` or another backslash")]
    Escape,
}

impl Glob {
    pub fn parse(pattern: &str) -> Result<Self, InvalidGlob> {
        if pattern.is_empty() || pattern.len() > GLOB_BYTES_MAX {
            return Err(InvalidGlob::Length);
        }
        let mut parts = vec![String::new()];
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            let literal = match c {
                '*' => {
                    parts.push(String::new());
                    continue;
                }
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '\\')) => escaped,
                    _ => return Err(InvalidGlob::Escape),
                },
                other => other,
            };
            parts.last_mut().expect("parts starts with one and only grows").push(literal);
        }
        Ok(Self { parts })
    }

    /// The pattern of everything that begins with a text.
    pub fn starting_with(text: &str) -> Self {
        Self { parts: vec![text.to_owned(), String::new()] }
    }

    /// A text as it stands in a pattern that means these very letters.
    pub fn escaped(text: &str) -> String {
        Self { parts: vec![text.to_owned()] }.to_string()
    }

    /// Whether it lets a code end in any way: its last letter is a wildcard.
    pub fn has_open_end(&self) -> bool {
        self.parts.len() > 1 && self.parts.last().is_some_and(String::is_empty)
    }

    /// The pattern that matches what begins with a text and goes on as this pattern says.
    ///
    /// # Errors
    /// Where it becomes too long.
    pub fn behind(&self, prefix: &str) -> Result<Self, InvalidGlob> {
        let mut glob = self.clone();
        glob.parts[0].insert_str(0, prefix);
        if glob.to_string().len() > GLOB_BYTES_MAX { Err(InvalidGlob::Length) } else { Ok(glob) }
    }

    /// The literal stretches between the wildcards; n wildcards make n + 1 of them.
    pub fn stretches(&self) -> &[String] {
        &self.parts
    }

    /// What every code that matches begins with, up to the first wildcard.
    pub fn beginning(&self) -> &str {
        self.parts.first().map(String::as_str).unwrap_or_default()
    }

    /// The one code that the pattern can match, where it has no wildcard.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The pattern as the right side of SQL's `LIKE ... ESCAPE '!'`, which heeds case on Postgres only.
    pub fn as_like(&self) -> String {
        let escaped = |c| match c {
            '%' | '_' | '!' => ['!', c].iter().collect(),
            other => String::from(other),
        };
        self.translated("%", escaped)
    }

    /// The pattern as the right side of SQLite's `GLOB`.
    pub fn as_sqlite_glob(&self) -> String {
        let escaped = |c| match c {
            '*' | '?' | '[' => ['[', c, ']'].iter().collect(),
            other => String::from(other),
        };
        self.translated("*", escaped)
    }

    fn translated(&self, wildcard: &str, escaped: impl Fn(char) -> String) -> String {
        let stretches: Vec<String> =
            self.parts.iter().map(|part| part.chars().map(&escaped).collect()).collect();
        stretches.join(wildcard)
    }

    /// The pattern with its wildcards replaced by a text.
    pub fn filled(&self, text: &str) -> String {
        self.parts.join(text)
    }

    /// Whether everything that another pattern matches is matched by this one: its wildcards can only be met by
    /// wildcards. (No code has a control character, so that one can stand for them.)
    pub fn contains(&self, other: &Self) -> bool {
        self.matches(&other.filled("\0"))
    }

    /// Whether the whole text matches. Takes time linear in the text for each wildcard, no backtracking:
    /// the leftmost place of each stretch is as good as any.
    pub fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.parts.as_slice() else {
            return self.literal() == Some(text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        for stretch in middle {
            match rest.find(stretch.as_str()) {
                Some(at) => rest = &rest[at + stretch.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

/// As it was written, for [`Glob::parse`].
impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |c| match c {
            '*' | '\\' => ['\\', c].iter().collect(),
            other => String::from(other),
        };
        f.write_str(&self.translated("*", escaped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_any_run_and_an_escaped_star_is_itself() {
        let table = [
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("*", "anything", true),
            ("ci-*", "ci-17", true),
            ("ci-*", "xci-17", false),
            ("*-end", "the-end", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("a*a", "a", false),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            (r"a\\*", r"a\b", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(Glob::parse(pattern).unwrap().matches(text), expected, "{pattern} on {text}");
        }
        assert_eq!(Glob::parse(r"a\b"), Err(InvalidGlob::Escape));
        assert_eq!(Glob::parse(""), Err(InvalidGlob::Length));
    }

    #[test]
    fn a_pattern_of_a_beginning_takes_the_text_as_it_is() {
        let pattern = Glob::starting_with(r"a*\-");
        assert_eq!(pattern.to_string(), r"a\*\\-*");
        assert_eq!(Glob::parse(&pattern.to_string()), Ok(pattern.clone()));
        assert!(pattern.matches(r"a*\-b") && !pattern.matches(r"ab\-b"));
        assert!(pattern.has_open_end() && !Glob::parse(r"a*b").unwrap().has_open_end());
        assert!(!Glob::parse("a").unwrap().has_open_end());
    }

    #[test]
    fn a_pattern_behind_a_prefix_matches_nothing_else() {
        let pattern = Glob::parse("a-*").unwrap().behind("x*-").unwrap();
        assert!(pattern.matches("x*-a-1") && !pattern.matches("xy-a-1") && !pattern.matches("a-1"));
        assert_eq!(pattern.to_string(), r"x\*-a-*");
        assert_eq!(pattern.behind(&"x".repeat(GLOB_BYTES_MAX)), Err(InvalidGlob::Length));
    }

    #[test]
    fn a_pattern_says_the_same_in_sql_and_as_it_was_written() {
        let text = r"a%_!?[]\*\\*z*";
        let pattern = Glob::parse(text).unwrap();
        assert_eq!(pattern.to_string(), text);
        assert_eq!(pattern.as_like(), r"a!%!_!!?[]*\%z%");
        assert_eq!(pattern.as_sqlite_glob(), r"a%_![?][[]][*]\*z*");
    }
}
