//! Where `$` stands in a pattern, and whether anything follows it.

use regex_syntax::ast::{
    AssertionKind, Ast, Flag, Flags, GroupKind, RepetitionKind, RepetitionOp, RepetitionRange,
};

/// A `$` outside of multi-line mode.
pub struct End {
    /// Its place in the pattern, in bytes.
    pub at: usize,
    /// Whether nothing but others follows it, whichever way the pattern is gone through.
    pub is_last: bool,
}

/// Each `$`, in order.
pub fn ends(ast: &Ast) -> Vec<End> {
    let mut ends = Vec::new();
    find(ast, false, true, &mut ends);
    ends
}

fn find(ast: &Ast, multi_line: bool, is_last: bool, ends: &mut Vec<End>) {
    let set = |flags: &Flags, before: bool| flags.flag_state(Flag::MultiLine).unwrap_or(before);
    match ast {
        Ast::Assertion(assertion) if assertion.kind == AssertionKind::EndLine && !multi_line => {
            ends.push(End { at: assertion.span.start.offset, is_last });
        }
        Ast::Repetition(repetition) => {
            find(&repetition.ast, multi_line, is_last && is_at_most_once(&repetition.op), ends);
        }
        Ast::Group(group) => {
            let within = match &group.kind {
                GroupKind::NonCapturing(flags) => set(flags, multi_line),
                _ => multi_line,
            };
            find(&group.ast, within, is_last, ends);
        }
        Ast::Alternation(alternation) => {
            // Flags stand before everything, so they are in the first alternative and hold for all.
            let mut multi_line = multi_line;
            for ast in &alternation.asts {
                find(ast, multi_line, is_last, ends);
                multi_line = leading_flags(ast).map_or(multi_line, |flags| set(flags, multi_line));
            }
        }
        Ast::Concat(concat) => {
            let mut multi_line = multi_line;
            for (place, ast) in concat.asts.iter().enumerate() {
                if let Ast::Flags(flags) = ast {
                    multi_line = set(&flags.flags, multi_line);
                }
                let nothing_behind = concat.asts[place + 1..].iter().all(|ast| is_end(ast) && !multi_line);
                find(ast, multi_line, is_last && nothing_behind, ends);
            }
        }
        _ => {}
    }
}

fn leading_flags(ast: &Ast) -> Option<&Flags> {
    match ast {
        Ast::Flags(flags) => Some(&flags.flags),
        Ast::Concat(concat) => concat.asts.iter().rev().find_map(|ast| match ast {
            Ast::Flags(flags) => Some(&flags.flags),
            _ => None,
        }),
        _ => None,
    }
}

fn is_end(ast: &Ast) -> bool {
    matches!(ast, Ast::Assertion(assertion) if assertion.kind == AssertionKind::EndLine)
}

fn is_at_most_once(op: &RepetitionOp) -> bool {
    match &op.kind {
        RepetitionKind::ZeroOrOne => true,
        RepetitionKind::Range(RepetitionRange::Exactly(most) | RepetitionRange::Bounded(_, most)) => {
            *most <= 1
        }
        _ => false,
    }
}
