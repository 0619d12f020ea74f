//! From a source to nodes: `handlebars` parses, `compile` takes what it made apart.
//!
//! Its parser calls itself for every open block, bracket and parenthesis, without a limit. So it runs on a
//! thread of its own, whose stack holds whatever this source can open; its memory is used only where that
//! is really nested. A panic in it ends there too.

use handlebars::TemplateErrorReason;
use handlebars::template::Template as Parsed;

use super::compile::{self, Node};
use super::{Escape, Place, TemplateError};
use crate::rules::work::Work;

/// A tag more takes the parser longer the further down it stands: it counts the lines before each.
const TAGS_MAX: usize = 4096;
/// Tags times bytes: what takes the parser some twentieth of a second.
const WORK_MAX: usize = 16 << 20;
/// How many of these are a piece of a document's [`Work`], and what a template takes of it beside: its thread.
const A_PIECE: usize = 4;
const THREAD_WORK: usize = 8 << 10;
/// What the parser takes of the stack for a nested tag, or for a bracket in one. Measured, unoptimised, were
/// 1 KiB and 2 KiB.
const STACK_A_LEVEL: usize = 8 * 1024;
const STACK_LEAST: usize = 2 * 1024 * 1024;
/// Address space, not memory.
const STACK_MAX: usize = 512 * 1024 * 1024;

pub fn parse(source: &str, escape: Escape, work: &mut Work) -> Result<Vec<Node>, TemplateError> {
    let tags = source.matches("{{").count();
    if tags > TAGS_MAX {
        return Err(unplaced(format!("the template has more than {TAGS_MAX} tags")));
    }
    if tags * source.len() > WORK_MAX {
        return Err(unplaced(format!(
            "a template of {} bytes has at most {} tags",
            source.len(),
            WORK_MAX / source.len()
        )));
    }
    work.take((tags * source.len() / A_PIECE + THREAD_WORK) as u64)
        .map_err(|invalid| unplaced(invalid.why))?;
    let stack = stack_bytes(source, tags);
    if stack > STACK_MAX {
        return Err(unplaced("the template has too many brackets".to_owned()));
    }
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().name("template".to_owned()).stack_size(stack);
        let parser = parser
            .spawn_scoped(scope, || {
                let parsed = Parsed::compile(source).map_err(|error| syntax(&error))?;
                compile::nodes(parsed, escape, work)
            })
            .map_err(|error| unplaced(format!("there is no thread for reading the template: {error}")))?;
        parser.join().unwrap_or_else(|_| Err(unplaced("the template cannot be read".to_owned())))
    })
}

/// Enough for the deepest nesting that these many tags and brackets can make.
fn stack_bytes(source: &str, tags: usize) -> usize {
    let brackets = source.bytes().filter(|byte| matches!(byte, b'(' | b'[' | b'{')).count() - 2 * tags;
    STACK_LEAST + (tags + brackets) * STACK_A_LEVEL
}

fn syntax(error: &handlebars::TemplateError) -> TemplateError {
    let message = match error.reason() {
        TemplateErrorReason::MismatchingClosedHelper(opened, closed) => {
            format!("`{opened}` is open here, but `{closed}` is closed")
        }
        TemplateErrorReason::InvalidParam(parameter) => format!("{parameter} is no value"),
        TemplateErrorReason::InvalidSyntax(_) => {
            "cannot be read from here on: an unknown form of tag, or one that is not closed".to_owned()
        }
        other => other.to_string(),
    };
    TemplateError { message, at: error.pos().map(|(line, column)| Place { line, column }) }
}

fn unplaced(message: String) -> TemplateError {
    TemplateError { message, at: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(source: &str) -> String {
        parse(source, Escape::None, &mut Work::of_rule()).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        assert_eq!(
            message("a\n{{#if x}}b"),
            "line 2, column 11: cannot be read from here on: an unknown form of tag, or one that is not closed"
        );
        assert_eq!(
            message("{{#if x}}\n{{/each}}"),
            "line 2, column 1: `if` is open here, but `each` is closed"
        );
        assert!(message("{{").starts_with("line 1, column 3: cannot be read"));
    }

    #[test]
    fn deep_nesting_is_refused_and_not_run_into() {
        let blocks = "{{#if a}}".repeat(400) + &"{{/if}}".repeat(400);
        let elses = format!("{{{{#if a}}}}{}{{{{/if}}}}", "{{else if a}}".repeat(500));
        let calls = format!("{{{{not {}a{}}}}}", "(not ".repeat(9000), ")".repeat(9000));
        let lists = format!("{{{{json {}{}}}}}", "[".repeat(20_000), "]".repeat(20_000));
        for source in [blocks, elses, calls] {
            assert!(message(&source).contains("nested"), "{}", message(&source));
        }
        assert!(message(&lists).contains("is no value"), "{}", &message(&lists)[..100]);
        for open in ["{{#if a}}", "{{#if (not ", "{{json [", "{{json {\"a\":", "{{#each a}}{{else if b}}"] {
            message(&open.repeat(700));
        }
        assert!(message(&"{{a}}".repeat(TAGS_MAX + 1)).contains("tags"));
        assert!(message(&format!("{{{{a}}}}{}", "[".repeat(100_000))).contains("brackets"));
    }
}
