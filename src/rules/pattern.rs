//! Patterns of leaves: compiled within bounds, for their size and for what searches keep.

use regex::bytes::{Regex, RegexBuilder};

use super::invalid::Invalid;

/// A compiled pattern, and how much of a value it looks at.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    looks_at: usize,
    bytes: usize,
}

/// A search takes time as the product of pattern and value at worst, and cannot be interrupted. At this product, in
/// bytes times bytes, the worst patterns take some tenths of a second.
const SEARCH_MAX: usize = 4 << 30;

/// Sizes of compiled patterns that are told apart, in bytes. Most are in the first; Unicode's `\\w` alone is in the
/// third.
const COMPILED_BYTES: [usize; 4] = [4 << 10, 16 << 10, 64 << 10, 256 << 10];

/// What a search keeps of what it has found out about a pattern, so that the next is quicker: where it is kept little,
/// hostile values make searches slow rather than large. Of usual patterns it is less than this either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Up to some MiB, as the regex crate does by itself.
    Much,
    /// The size of the compiled pattern, and at least [`KEPT_BYTES`].
    Little,
}

const KEPT_BYTES: usize = 32 << 10;

/// Compiles a pattern within a bound on its size, and says where it is wrong.
pub fn pattern(text: &str, ignore_case: bool, bytes_max: usize, kept: Kept) -> Result<Pattern, Invalid> {
    let mut parser = regex_syntax::ParserBuilder::new().utf8(false).case_insensitive(ignore_case).build();
    parser.parse(text).map_err(|error| Invalid::here(why_no_pattern(&error)))?;
    let sizes = COMPILED_BYTES.into_iter().filter(|size| *size < bytes_max).chain([bytes_max]);
    for compiled_bytes in sizes {
        let mut builder = RegexBuilder::new(text);
        let kept_bytes = (kept == Kept::Little).then(|| compiled_bytes.max(KEPT_BYTES));
        if let Some(bytes) = kept_bytes {
            builder.dfa_size_limit(bytes);
        }
        match builder.case_insensitive(ignore_case).size_limit(compiled_bytes).build() {
            Ok(regex) => {
                let looks_at = SEARCH_MAX / compiled_bytes.max(1);
                return Ok(Pattern { regex, looks_at, bytes: compiled_bytes + kept_bytes.unwrap_or(0) });
            }
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(other) => return Err(Invalid::here(other)),
        }
    }
    Err(Invalid::here(format!("the pattern takes over {bytes_max} bytes (`rules.pattern_bytes_max`)")))
}

impl Pattern {
    /// What it takes at most, in bytes, with what a search keeps for the next.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is found in the beginning of a value, as much of it as its size allows to look at.
    pub fn is_found(&self, bytes: &[u8]) -> bool {
        self.regex.is_match(&bytes[..bytes.len().min(self.looks_at)])
    }
}

fn why_no_pattern(error: &regex_syntax::Error) -> String {
    let (why, span) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), *error.span()),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), *error.span()),
        other => return other.to_string(),
    };
    let start = span.start;
    let line = if start.line > 1 { format!("line {}, ", start.line) } else { String::new() };
    format!("the pattern is wrong at {line}character {}: {why}", start.column)
}
