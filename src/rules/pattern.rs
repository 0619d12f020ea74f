//! Patterns of leaves: compiled within bounds, for their size, for how long that takes and for what searches keep.

use regex_automata::meta;
use regex_syntax::ast;
use regex_syntax::hir::Hir;
use regex_syntax::hir::translate::TranslatorBuilder;

use super::classes;
use super::invalid::Invalid;
use super::work::Work;

/// A compiled pattern, and how much of a value it looks at.
#[derive(Debug)]
pub struct Pattern {
    regex: meta::Regex,
    looks_at: usize,
    bytes: usize,
}

/// Longest text of a pattern, in bytes.
pub const TEXT_BYTES_MAX: usize = 4 << 10;

/// What the classes of one pattern may take ([`classes::work`]): in the worst case that was found, some tenth of a
/// second. A pattern that ignores case may name a dozen classes as large as Unicode, and some hundreds of others.
const CLASSES_MAX: u64 = 16 << 20;

/// What a byte of a pattern's text takes to be parsed.
const WORK_A_BYTE: u64 = 16;

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

/// How a pattern's text is read.
#[derive(Debug, Clone, Copy)]
pub struct Grammar {
    pub ignore_case: bool,
    /// Whether it finds texts alone, and never a part of a letter.
    pub utf8: bool,
    /// Of groups and classes in one another.
    pub depth_max: u32,
}

/// Compiles a pattern within a bound on its size, and says where it is wrong.
pub fn pattern(
    text: &str,
    ignore_case: bool,
    bytes_max: usize,
    kept: Kept,
    work: &mut Work,
) -> Result<Pattern, Invalid> {
    // As deep as the regex crate allows by itself.
    let grammar = Grammar { ignore_case, utf8: false, depth_max: 250 };
    let parsed = parsed(text, grammar, work)?;
    let sizes = COMPILED_BYTES.into_iter().filter(|size| *size < bytes_max).chain([bytes_max]);
    for compiled_bytes in sizes {
        let kept_bytes = (kept == Kept::Little).then(|| compiled_bytes.max(KEPT_BYTES));
        if let Some(regex) = compiled(&parsed, grammar, compiled_bytes, kept_bytes, work)? {
            let looks_at = SEARCH_MAX / compiled_bytes.max(1);
            return Ok(Pattern { regex, looks_at, bytes: compiled_bytes + kept_bytes.unwrap_or(0) });
        }
    }
    Err(Invalid::here(format!("the pattern takes over {bytes_max} bytes (`rules.pattern_bytes_max`)")))
}

/// Parses a pattern, and makes its classes where they are not too many: that is what takes long, so it is done once,
/// whatever size it has when it is compiled.
pub fn parsed(text: &str, grammar: Grammar, work: &mut Work) -> Result<Hir, Invalid> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Invalid::here(format!("a pattern has at most {TEXT_BYTES_MAX} bytes")));
    }
    work.take(text.len() as u64 * WORK_A_BYTE)?;
    let mut parser = ast::parse::ParserBuilder::new().nest_limit(grammar.depth_max).build();
    let ast = parser.parse(text).map_err(|error| wrong(error.kind(), error.span()))?;
    let classes = classes::work(&ast, grammar.ignore_case);
    if classes > CLASSES_MAX {
        return Err(Invalid::here(
            "the pattern has too many classes as `\\w` or `[^a]`, which take the longer where case is ignored",
        ));
    }
    work.take(classes)?;
    let mut translator =
        TranslatorBuilder::new().utf8(grammar.utf8).case_insensitive(grammar.ignore_case).build();
    translator.translate(text, &ast).map_err(|error| wrong(error.kind(), error.span()))
}

/// What was parsed, compiled; None where that takes more than so many bytes. Searches keep as much as the regex crate
/// lets them by itself, where nothing else is said.
pub fn compiled(
    parsed: &Hir,
    grammar: Grammar,
    bytes_max: usize,
    kept_bytes: Option<usize>,
    work: &mut Work,
) -> Result<Option<meta::Regex>, Invalid> {
    work.take(bytes_max as u64)?;
    let mut config = meta::Config::new().nfa_size_limit(Some(bytes_max)).utf8_empty(grammar.utf8);
    if let Some(bytes) = kept_bytes {
        config = config.hybrid_cache_capacity(bytes);
    }
    match meta::Builder::new().configure(config).build_from_hir(parsed) {
        Ok(regex) => Ok(Some(regex)),
        Err(error) if error.size_limit().is_some() => Ok(None),
        Err(error) => Err(Invalid::here(error)),
    }
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

fn wrong(why: &impl std::fmt::Display, span: &ast::Span) -> Invalid {
    let start = span.start;
    let line = if start.line > 1 { format!("line {}, ", start.line) } else { String::new() };
    Invalid::here(format!("the pattern is wrong at {line}character {}: {why}", start.column))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str, ignore_case: bool) -> Result<Pattern, String> {
        let mut work = Work::of_inquiry();
        pattern(text, ignore_case, 256 << 10, Kept::Little, &mut work).map_err(|why| why.to_string())
    }

    #[test]
    fn what_would_take_long_is_refused_before_it_does() {
        for (text, ignore_case) in [
            ("[a-\u{10ffff}]".repeat(100), true),
            (r"\p{any}".repeat(100), true),
            (r"[\s\S]".repeat(100), true),
            (format!("(?i){}", r"\PL".repeat(1_300)), false),
            (format!("{}{}", "[^a".repeat(120), "]".repeat(120)), true),
            (r"\PL".repeat(1_365), false),
        ] {
            let why = compile(&text, ignore_case).unwrap_err();
            assert!(why.contains("too many classes"), "{why}");
        }
        let why = compile(&"a".repeat(TEXT_BYTES_MAX + 1), false).unwrap_err();
        assert!(why.contains("at most 4096 bytes"), "{why}");
    }

    #[test]
    fn usual_patterns_are_far_from_the_bounds() {
        for (text, ignore_case) in [
            (r#"^\S+ \S+ \[[^\]]+\] "\S+ \S+ [^"]*" \d+ \d+ "[^"]*" "[^"]*""#.to_owned(), true),
            (r"<a[\s\S]*?href=[\s\S]*?>[\s\S]*?</a>".to_owned(), true),
            (r"(?i)^[\p{L}\p{N}._%+-]+@[\p{L}\p{N}.-]+\.\p{L}{2,}$".to_owned(), false),
            (r"(\d+)\s+".repeat(10), false),
            ("[a-z0-9]".repeat(500), true),
            ("word|".repeat(800), false),
        ] {
            if let Err(why) = compile(&text, ignore_case) {
                panic!("{text}: {why}");
            }
        }
    }

    #[test]
    fn so_much_is_taken_and_no_more() {
        for (class, ignore_case, most) in [
            ("[a-\u{10ffff}]", true, 15),
            (r"\p{any}", true, 14),
            (r"\p{any}", false, 1_024),
            (r"\w", true, 1_024),
        ] {
            let grammar = Grammar { ignore_case, utf8: false, depth_max: 250 };
            let made = |n: usize| parsed(&class.repeat(n), grammar, &mut Work::of_inquiry()).is_ok();
            let fits = class.len() * (most + 1) <= TEXT_BYTES_MAX;
            assert!(!fits || (made(most) && !made(most + 1)), "{most} of {class}");
        }
    }

    #[test]
    fn patterns_of_one_document_share_its_work() {
        let mut work = Work::of_inquiry();
        let mut taken = 0;
        let why = loop {
            match pattern(r"(?i)[\s\S]", false, 256 << 10, Kept::Little, &mut work) {
                Ok(_) => taken += 1,
                Err(why) => break why.to_string(),
            }
        };
        assert!((10..50).contains(&taken), "{taken}");
        assert!(why.contains("of the document together"), "{why}");
    }
}
