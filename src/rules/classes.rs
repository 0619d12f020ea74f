//! What the classes of a pattern take to be made: two letters can name most of Unicode, and where case does not count
//! each of its points is looked at.

use std::convert::Infallible;

use regex_syntax::ast::{self, Ast, ClassBracketed, ClassPerlKind, ClassSet, ClassSetItem, Flag};

/// Points of Unicode.
const ALL: u64 = 0x11_0000;
/// What a table of ranges takes that is copied and sorted into a class, as of a class with a name, in points.
const TABLE: u64 = 16_384;
const RANGE: u64 = 16;
/// Points that `\w` has about.
const WORD: u64 = 0x3_0000;

/// What the classes take at most, in points that are looked at; a point takes some ten nanoseconds.
pub fn work(pattern: &Ast, ignore_case: bool) -> u64 {
    let counting = Classes { ignore_case, made: 0, folded: 0 };
    match ast::visit(pattern, counting) {
        Ok(work) => work,
        Err(never) => match never {},
    }
}

struct Classes {
    /// Anywhere: a flag in the pattern counts for all of it.
    ignore_case: bool,
    made: u64,
    /// What is added where case does not count.
    folded: u64,
}

/// What a class has at most, and what it takes to go through its ranges.
#[derive(Clone, Copy)]
struct Size {
    points: u64,
    ranges: u64,
}

impl Size {
    const ONE: Self = Self { points: 1, ranges: RANGE };
    const NAMED: Self = Self { points: ALL, ranges: TABLE };

    fn and(self, other: Self) -> Self {
        Self {
            points: (self.points + other.points).min(ALL),
            ranges: self.ranges.saturating_add(other.ranges),
        }
    }
}

impl Classes {
    fn add(&mut self, size: Size) {
        self.made = self.made.saturating_add(size.ranges);
        self.folded = self.folded.saturating_add(size.points);
    }

    fn flags(&mut self, flags: &ast::Flags) {
        self.ignore_case |= flags.flag_state(Flag::CaseInsensitive) == Some(true);
    }

    fn bracketed(&mut self, class: &ClassBracketed) -> Size {
        let size = self.set(&class.kind);
        self.add(size);
        if class.negated { Size { points: ALL, ..size } } else { size }
    }

    /// Calls itself for each class within a class, of which the parser has a limit.
    fn set(&mut self, set: &ClassSet) -> Size {
        match set {
            ClassSet::Item(item) => self.item(item),
            ClassSet::BinaryOp(operation) => {
                let size = self.set(&operation.lhs).and(self.set(&operation.rhs));
                self.add(size);
                size
            }
        }
    }

    fn item(&mut self, item: &ClassSetItem) -> Size {
        match item {
            ClassSetItem::Empty(_) | ClassSetItem::Literal(_) => Size::ONE,
            ClassSetItem::Range(range) => {
                let (start, end) = (u64::from(u32::from(range.start.c)), u64::from(u32::from(range.end.c)));
                Size { points: end.saturating_sub(start) + 1, ranges: RANGE }
            }
            ClassSetItem::Ascii(_) => Size { points: 128, ranges: RANGE },
            ClassSetItem::Unicode(_) => {
                self.add(Size::NAMED);
                Size::NAMED
            }
            ClassSetItem::Perl(class) => match class.kind {
                _ if class.negated => Size::NAMED,
                ClassPerlKind::Word => Size { points: WORD, ranges: TABLE },
                ClassPerlKind::Digit | ClassPerlKind::Space => Size { points: 1_024, ranges: 64 * RANGE },
            },
            ClassSetItem::Bracketed(class) => self.bracketed(class),
            ClassSetItem::Union(union) => {
                let nothing = Size { points: 0, ranges: RANGE };
                union.items.iter().fold(nothing, |size, item| size.and(self.item(item)))
            }
        }
    }
}

impl ast::Visitor for Classes {
    type Output = u64;
    type Err = Infallible;

    fn finish(self) -> Result<u64, Infallible> {
        Ok(if self.ignore_case { self.made.saturating_add(self.folded) } else { self.made })
    }

    fn visit_pre(&mut self, pattern: &Ast) -> Result<(), Infallible> {
        match pattern {
            Ast::Flags(set) => self.flags(&set.flags),
            Ast::Group(group) => group.flags().into_iter().for_each(|flags| self.flags(flags)),
            Ast::ClassUnicode(_) => self.add(Size::NAMED),
            // Case changes nothing about these.
            Ast::ClassPerl(_) => self.made = self.made.saturating_add(TABLE),
            Ast::ClassBracketed(class) => {
                self.bracketed(class);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pattern: &str, ignore_case: bool) -> u64 {
        work(&ast::parse::Parser::new().parse(pattern).unwrap(), ignore_case)
    }

    #[test]
    fn what_is_looked_at_point_by_point_counts_by_the_point() {
        for large in
            ["[a-\u{10ffff}]", r"\p{any}", r"[\s\S]", "[a[^b]]", "[^[^a]]", r"[a-z&&[^\d]]", r"[x\pL]"]
        {
            assert!(of(large, true) > 1_000_000, "{large}");
            assert!(of(&format!("a(?i){large}"), false) > 1_000_000, "{large}");
            assert!(of(&format!("a|(b(?i-s:{large}))"), false) > 1_000_000, "{large}");
            assert!(of(large, false) < 100_000, "{large}");
            assert!(of(&format!("(?-i:{large})"), false) < 100_000, "{large}");
        }
        for small in
            ["[a-z]", "[^a-z]", r"\w\W\s\d", r"[\w.-]+@[\w.-]+", r"[[:alpha:]_]", "é", ".", "[\u{e0}-\u{ff}]"]
        {
            assert!(of(small, true) < 500_000, "{small}: {}", of(small, true));
        }
        assert_eq!(of("a+b*(c|d){3}", true), 0);
        assert!(of(&r"\PL".repeat(100), false) >= 100 * TABLE, "each is made");
        let nested = format!("{}{}", "[^a".repeat(100), "]".repeat(100));
        assert!(of(&nested, true) > 99 * ALL, "a class within a class is looked at again");
    }
}
