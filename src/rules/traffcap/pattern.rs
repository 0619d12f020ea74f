//! Python's patterns as the regex crate reads them: a search has the same verdict, or the pattern is refused
//! with the place of what has no counterpart.

use regex_syntax::ast::parse::Parser;

use super::ends::ends;
use crate::rules::invalid::Invalid;

const LOOK_AROUND: &str = "look-around has no counterpart: a pattern here cannot look ahead or behind";
const BACK_REFERENCE: &str = "back-references have no counterpart";

/// What Python's `$` is outside of multi-line mode, where nothing follows it: the end, or before a line end
/// that is the last.
const END: &str = r"(?:\n?\z)";

/// A pattern in the regex crate's language. What traffcap puts before it is read with it, and not counted in
/// places.
///
/// # Errors
/// With what has no counterpart, or is wrong, and its place.
pub fn translate(before: &str, pattern: &str) -> Result<String, Invalid> {
    let chars: Vec<char> = before.chars().chain(pattern.chars()).collect();
    let mut reader = Reader {
        chars,
        at: 0,
        uncounted: before.chars().count(),
        out: String::with_capacity(pattern.len() + before.len()),
        marks: Vec::new(),
        only_flags: true,
    };
    while reader.at < reader.chars.len() {
        reader.item()?;
    }
    reader.finish()
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    uncounted: usize,
    out: String,
    /// Where in the input each piece of the output comes from.
    marks: Vec<(usize, usize)>,
    /// Whether nothing but flags was read so far.
    only_flags: bool,
}

/// An item of a class in brackets.
enum Member {
    Char(char),
    Class(char),
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn refuse(&self, at: usize, why: impl std::fmt::Display) -> Invalid {
        let place = (at + 1).saturating_sub(self.uncounted).max(1);
        Invalid::here(format!("the pattern is wrong at character {place}: {why}"))
    }

    /// Reads what stands next.
    fn item(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        self.marks.push((self.out.len(), start));
        let Some(next) = self.next() else { return Ok(()) };
        if next == '(' {
            return self.group(start);
        }
        self.only_flags = false;
        match next {
            '\\' => self.escape(start)?,
            '[' => self.class(start)?,
            '*' | '+' | '?' => {
                self.out.push(next);
                self.behind_quantifier()?;
            }
            '{' => match self.count() {
                Some((count, end)) => {
                    self.out.push_str(&count);
                    self.at = end;
                    self.behind_quantifier()?;
                }
                None => self.out.push_str(r"\{"),
            },
            '^' | '$' | '|' | ')' | '.' => self.out.push(next),
            other => self.literal(other),
        }
        Ok(())
    }

    fn literal(&mut self, literal: char) {
        if regex_syntax::is_meta_character(literal) {
            self.out.push('\\');
        }
        self.out.push(literal);
    }

    /// A counted repetition whose brace was read, and where it ends. Anything else is a brace.
    fn count(&self) -> Option<(String, usize)> {
        let rest = &self.chars[self.at..];
        let end = rest.iter().position(|c| *c == '}')?;
        let inner: String = rest[..end].iter().collect();
        let (least, most) = match inner.split_once(',') {
            Some((least, most)) => (least, Some(most)),
            None => (inner.as_str(), None),
        };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if inner.is_empty() || !digits(least) || !most.is_none_or(digits) {
            return None;
        }
        let least = if least.is_empty() { "0" } else { least };
        let count = match most {
            Some(most) => format!("{{{least},{most}}}"),
            None => format!("{{{least}}}"),
        };
        Some((count, self.at + end + 1))
    }

    fn behind_quantifier(&mut self) -> Result<(), Invalid> {
        match self.peek() {
            Some('?') => {
                self.at += 1;
                self.out.push('?');
            }
            Some('+') => {
                return Err(self.refuse(self.at, "possessive quantifiers have no counterpart"));
            }
            _ => {}
        }
        let again = match self.peek() {
            Some('*' | '+' | '?') => true,
            Some('{') => {
                self.at += 1;
                let again = self.count().is_some();
                self.at -= 1;
                again
            }
            _ => false,
        };
        if again { Err(self.refuse(self.at, "a quantifier stands behind another")) } else { Ok(()) }
    }

    /// A group whose parenthesis was read.
    fn group(&mut self, start: usize) -> Result<(), Invalid> {
        let flags_may_stand = std::mem::take(&mut self.only_flags);
        if self.peek() != Some('?') {
            self.out.push('(');
            return Ok(());
        }
        self.at += 1;
        match self.next() {
            Some(':') => self.out.push_str("(?:"),
            Some('P') => match self.next() {
                Some('<') => {
                    self.out.push_str("(?P<");
                    while let Some(c) = self.next() {
                        self.out.push(c);
                        if c == '>' {
                            break;
                        }
                    }
                }
                Some('=') => return Err(self.refuse(start, BACK_REFERENCE)),
                _ => return Err(self.refuse(start, "this kind of group is not known")),
            },
            Some('#') => {
                let end = self.chars[self.at..].iter().position(|c| *c == ')');
                let end = end.ok_or_else(|| self.refuse(start, "the comment has no end"))?;
                self.at += end + 1;
                self.only_flags = flags_may_stand;
            }
            Some('=' | '!') => return Err(self.refuse(start, LOOK_AROUND)),
            Some('<') if matches!(self.peek(), Some('=' | '!')) => {
                return Err(self.refuse(start, LOOK_AROUND));
            }
            Some('(') => return Err(self.refuse(start, "conditional groups have no counterpart")),
            Some('>') => return Err(self.refuse(start, "atomic groups have no counterpart")),
            Some(c) if c == '-' || c.is_ascii_alphabetic() => {
                self.at -= 1;
                self.flags(start, flags_may_stand)?;
            }
            _ => return Err(self.refuse(start, "this kind of group is not known")),
        }
        Ok(())
    }

    /// `(?i)` or `(?i-s:`, of which `(?` was read. All text is Unicode, so `u` says nothing.
    fn flags(&mut self, start: usize, may_stand: bool) -> Result<(), Invalid> {
        let mut flags = String::new();
        loop {
            let at = self.at;
            match self.next() {
                Some(flag @ ('i' | 'm' | 's' | '-')) => flags.push(flag),
                Some('u') => {}
                Some('x') => return Err(self.refuse(at, "the verbose mode (`x`) has no counterpart")),
                Some('a' | 'L') => {
                    return Err(self.refuse(at, "patterns are Unicode: there is neither `a` nor `L`"));
                }
                Some(':') => {
                    self.out.push_str(&format!("(?{flags}:"));
                    return Ok(());
                }
                Some(')') if !may_stand => {
                    let why = "in Python, flags for the whole stand at its beginning; there is `(?i:...)`";
                    return Err(self.refuse(start, why));
                }
                Some(')') => {
                    if !flags.is_empty() {
                        self.out.push_str(&format!("(?{flags})"));
                    }
                    self.only_flags = true;
                    return Ok(());
                }
                _ => return Err(self.refuse(at, "this flag is not known")),
            }
        }
    }

    /// An escape outside of brackets, whose backslash was read.
    fn escape(&mut self, start: usize) -> Result<(), Invalid> {
        match self.next() {
            None => return Err(self.refuse(start, "the backslash stands alone")),
            Some('Z' | 'z') => self.out.push_str(r"\z"),
            Some(c @ ('A' | 'b' | 'B' | 'd' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                self.out.push('\\');
                self.out.push(c);
            }
            Some('1'..='9') if !self.is_octal() => return Err(self.refuse(start, BACK_REFERENCE)),
            Some(c) => {
                let character = self.character(start, c)?;
                self.code(character);
            }
        }
        Ok(())
    }

    /// Whether the digit that was read and the two behind it are an octal number.
    fn is_octal(&self) -> bool {
        let digits = self.chars.get(self.at - 1..self.at + 2);
        digits.is_some_and(|digits| digits.iter().all(|c| ('0'..='7').contains(c)))
    }

    /// The character that an escape stands for; the one behind the backslash was read.
    fn character(&mut self, start: usize, escaped: char) -> Result<char, Invalid> {
        let number = |reader: &mut Self, digits: usize| {
            let text: String = reader.chars[reader.at..].iter().take(digits).collect();
            reader.at += digits;
            let whole = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
            whole.then(|| u32::from_str_radix(&text, 16).ok()).flatten().and_then(char::from_u32)
        };
        let found = match escaped {
            'a' => Some('\x07'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            'x' => number(self, 2),
            'u' => number(self, 4),
            'U' => number(self, 8),
            'N' => return Err(self.refuse(start, "characters are not known by name here")),
            '0'..='7' => {
                let mut code = escaped.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    self.at += 1;
                }
                if code > 0o377 {
                    return Err(self.refuse(start, "an octal escape is at most `\\377`"));
                }
                char::from_u32(code)
            }
            c if c.is_ascii_alphanumeric() => None,
            other => Some(other),
        };
        found.ok_or_else(|| self.refuse(start, format!("`\\{escaped}` is no escape here")))
    }

    /// Writes a character so that it means nothing else, wherever it stands.
    fn code(&mut self, character: char) {
        if character.is_alphanumeric() {
            self.out.push(character);
        } else {
            self.out.push_str(&format!("\\x{{{:X}}}", u32::from(character)));
        }
    }

    /// A class whose bracket was read. Within it the regex crate has operators that Python has not, so every
    /// item is written anew.
    fn class(&mut self, start: usize) -> Result<(), Invalid> {
        self.out.push('[');
        if self.peek() == Some('^') {
            self.at += 1;
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let at = self.at;
            self.marks.push((self.out.len(), at));
            let unclosed = "the bracket is not closed";
            let next = self.next().ok_or_else(|| self.refuse(start, unclosed))?;
            if next == ']' && !is_first {
                self.out.push(']');
                return Ok(());
            }
            is_first = false;
            let first = self.member(at, next)?;
            let is_range = self.peek() == Some('-') && self.chars.get(self.at + 1).is_none_or(|c| *c != ']');
            if !is_range {
                self.write(&first);
                continue;
            }
            self.at += 1;
            let behind = self.next().ok_or_else(|| self.refuse(start, unclosed))?;
            let last = self.member(self.at - 1, behind)?;
            match (&first, &last) {
                (Member::Char(from), Member::Char(to)) if from <= to => {
                    self.code(*from);
                    self.out.push('-');
                    self.code(*to);
                }
                _ => return Err(self.refuse(at, "this is no range of characters")),
            }
        }
    }

    fn member(&mut self, start: usize, first: char) -> Result<Member, Invalid> {
        if first != '\\' {
            return Ok(Member::Char(first));
        }
        match self.next() {
            None => Err(self.refuse(start, "the backslash stands alone")),
            Some('b') => Ok(Member::Char('\x08')),
            Some(class @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) => Ok(Member::Class(class)),
            Some(c) => self.character(start, c).map(Member::Char),
        }
    }

    fn write(&mut self, member: &Member) {
        match member {
            Member::Char(character) => self.code(*character),
            Member::Class(class) => {
                self.out.push('\\');
                self.out.push(*class);
            }
        }
    }

    /// Checks the whole, and puts what Python's `$` means in its places.
    fn finish(mut self) -> Result<String, Invalid> {
        let ast = Parser::new()
            .parse(&self.out)
            .map_err(|error| self.refuse(self.origin(error.span().start.offset), error.kind()))?;
        for end in ends(&ast).into_iter().rev() {
            if !end.is_last {
                let why = "something follows this `$`, before which Python allows a line end; write `\\Z`";
                return Err(self.refuse(self.origin(end.at), why));
            }
            self.out.replace_range(end.at..=end.at, END);
        }
        Ok(self.out)
    }

    /// Where in the input a piece of the output comes from.
    fn origin(&self, offset: usize) -> usize {
        let behind = self.marks.partition_point(|(out, _)| *out <= offset);
        behind.checked_sub(1).map_or(0, |place| self.marks[place].1)
    }
}
