//! What `handlebars` parsed, checked and turned into nodes that can be rendered within bounds.

use handlebars::template::{BlockParam, HelperTemplate, Parameter, Template as Parsed, TemplateElement};
use serde_json::Value;

use super::helpers::{self, Helper, Prepared};
use super::path::Path;
use super::{Escape, Place, TemplateError};
use crate::rules::work::Work;

/// Blocks in blocks, and helpers in helpers. A link of `else if` counts as a block.
const DEPTH_MAX: usize = 32;
const ARGUMENTS_MAX: usize = 64;

/// A piece of a template, with its place where it can fail.
#[derive(Debug)]
pub enum Node {
    Text(String),
    Write { what: Expr, raw: bool, at: Option<Place> },
    Block(Box<Block>),
}

#[derive(Debug)]
pub struct Block {
    pub kind: BlockKind,
    pub over: Expr,
    /// What `as |value key|` names.
    pub names: [Option<String>; 2],
    pub then: Vec<Node>,
    pub otherwise: Option<Vec<Node>>,
    pub at: Option<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    If { zero_counts: bool },
    Unless { zero_counts: bool },
    Each,
    With,
}

/// Something that has a value.
#[derive(Debug)]
pub enum Expr {
    Literal(Value),
    Path(Path),
    Call(Box<Call>),
}

#[derive(Debug)]
pub struct Call {
    pub helper: &'static Helper,
    pub arguments: Vec<Expr>,
    pub named: Vec<(String, Expr)>,
    pub prepared: Option<Prepared>,
}

pub fn nodes(parsed: Parsed, escape: Escape, work: &mut Work) -> Result<Vec<Node>, TemplateError> {
    Compiler { escape, work, at: None }.nodes(parsed, 0)
}

struct Compiler<'w> {
    escape: Escape,
    work: &'w mut Work,
    /// The place of the innermost element whose place is known.
    at: Option<Place>,
}

impl Compiler<'_> {
    fn nodes(&mut self, parsed: Parsed, depth: usize) -> Result<Vec<Node>, TemplateError> {
        self.check_depth(depth)?;
        let mut nodes = Vec::with_capacity(parsed.elements.len());
        for (index, element) in parsed.elements.into_iter().enumerate() {
            if let Some(mapping) = parsed.mapping.get(index) {
                self.at = Some(Place { line: mapping.0, column: mapping.1 });
            }
            match element {
                TemplateElement::RawString(text) => nodes.push(Node::Text(text)),
                TemplateElement::Expression(tag) => nodes.push(self.write(*tag, false)?),
                TemplateElement::HtmlExpression(tag) => nodes.push(self.write(*tag, true)?),
                TemplateElement::HelperBlock(tag) if tag.name.as_name() == Some("raw") => {
                    nodes.extend(self.branch(tag.template, depth)?.unwrap_or_default());
                }
                TemplateElement::HelperBlock(tag) => nodes.push(self.block(*tag, depth)?),
                TemplateElement::Comment(_) => {}
                TemplateElement::PartialExpression(_) | TemplateElement::PartialBlock(_) => {
                    return Err(self.error("there are no partials (`>`)"));
                }
                TemplateElement::DecoratorExpression(_) | TemplateElement::DecoratorBlock(_) => {
                    return Err(self.error("there are no decorators (`*`)"));
                }
                _ => return Err(self.error("an unknown kind of element")),
            }
        }
        Ok(nodes)
    }

    fn write(&mut self, tag: HelperTemplate, raw: bool) -> Result<Node, TemplateError> {
        let what = self.tag(tag, 0)?;
        // What `json` gives is JSON already: escaped once more it would be no value.
        let is_json = matches!(&what, Expr::Call(call) if call.helper.name == "json");
        Ok(Node::Write { what, raw: raw || (is_json && self.escape == Escape::Json), at: self.at })
    }

    fn block(&mut self, tag: HelperTemplate, depth: usize) -> Result<Node, TemplateError> {
        let at = self.at;
        let name = tag.name.as_name().unwrap_or_default().to_owned();
        let zero_counts = matches!(tag.hash.get("includeZero"), Some(Parameter::Literal(Value::Bool(true))));
        let kind = match name.as_str() {
            "if" => BlockKind::If { zero_counts },
            "unless" => BlockKind::Unless { zero_counts },
            "each" => BlockKind::Each,
            "with" => BlockKind::With,
            _ if helpers::find(&name).is_some() => {
                return Err(self.error(format!("`{name}` is no block: write {{{{#if ({name} ...)}}}}")));
            }
            _ => return Err(self.unknown(&name)),
        };
        let is_condition = matches!(kind, BlockKind::If { .. } | BlockKind::Unless { .. });
        if let Some(option) = tag.hash.keys().find(|option| !(is_condition && *option == "includeZero")) {
            return Err(self.error(format!("`{name}` has no option `{option}`")));
        }
        let [over] = <[Parameter; 1]>::try_from(tag.params)
            .map_err(|_| self.error(format!("`{name}` takes one argument")))?;
        let over = self.parameter(over, 0)?;
        let names = match tag.block_param {
            Some(_) if is_condition => return Err(self.error(format!("`{name}` has nothing to name"))),
            Some(BlockParam::Single(Parameter::Name(value))) => [Some(value), None],
            Some(BlockParam::Pair((Parameter::Name(value), Parameter::Name(key)))) => {
                [Some(value), Some(key)]
            }
            _ => [None, None],
        };
        let then = self.branch(tag.template, depth)?.unwrap_or_default();
        let otherwise = self.branch(tag.inverse, depth)?;
        Ok(Node::Block(Box::new(Block { kind, over, names, then, otherwise, at })))
    }

    fn branch(&mut self, branch: Option<Parsed>, depth: usize) -> Result<Option<Vec<Node>>, TemplateError> {
        branch.map(|parsed| self.nodes(parsed, depth + 1)).transpose()
    }

    /// `{{name}}`, `{{name argument}}` or `(name argument)`: a helper where there are arguments, or where it
    /// takes none; otherwise a path.
    fn tag(&mut self, tag: HelperTemplate, depth: usize) -> Result<Expr, TemplateError> {
        self.check_depth(depth)?;
        if let Parameter::Subexpression(_) = tag.name {
            return self.parameter(tag.name, depth + 1);
        }
        let name = tag.name.as_name().unwrap_or_default();
        let is_bare = tag.params.is_empty() && tag.hash.is_empty();
        match helpers::find(name) {
            Some(helper) if !is_bare || helper.arguments.0 == 0 => self.call(helper, tag, depth),
            _ if is_bare => self.parameter(tag.name, depth),
            _ => Err(self.unknown(name)),
        }
    }

    fn call(
        &mut self,
        helper: &'static Helper,
        tag: HelperTemplate,
        depth: usize,
    ) -> Result<Expr, TemplateError> {
        let (least, most) = helper.arguments;
        let given = tag.params.len();
        if given < least || given > most.min(ARGUMENTS_MAX) {
            let takes = match most {
                1 => "one argument".to_owned(),
                _ if least == most => format!("{least} arguments"),
                usize::MAX => format!("{least} to {ARGUMENTS_MAX} arguments"),
                _ => format!("{least} to {most} arguments"),
            };
            return Err(self.error(format!("`{}` takes {takes}, not {given}", helper.name)));
        }
        if let Some(option) = tag.hash.keys().find(|option| !helper.options.contains(&option.as_str())) {
            return Err(self.error(format!("`{}` has no option `{option}`", helper.name)));
        }
        let mut arguments = Vec::with_capacity(given);
        for parameter in tag.params {
            arguments.push(self.parameter(parameter, depth + 1)?);
        }
        let mut named = Vec::with_capacity(tag.hash.len());
        for (name, parameter) in tag.hash {
            named.push((name, self.parameter(parameter, depth + 1)?));
        }
        let prepared = match arguments.get(1) {
            Some(Expr::Literal(Value::String(text))) => {
                helpers::prepare(helper.name, text, self.work).map_err(|message| self.error(message))?
            }
            _ => None,
        };
        Ok(Expr::Call(Box::new(Call { helper, arguments, named, prepared })))
    }

    fn parameter(&mut self, parameter: Parameter, depth: usize) -> Result<Expr, TemplateError> {
        match parameter {
            Parameter::Literal(value) => Ok(Expr::Literal(value)),
            Parameter::Path(path) => match Path::of(&path) {
                Some(path) => Ok(Expr::Path(path)),
                None => Err(self.error("of variables there are @index, @key, @first, @last and @root")),
            },
            Parameter::Subexpression(inner) => match *inner.element {
                TemplateElement::Expression(tag) => self.tag(*tag, depth),
                _ => Err(self.error("an unknown kind of expression")),
            },
            // A name where `handlebars` looked for nothing but a helper: it is one without dots.
            Parameter::Name(name) => {
                let path = handlebars::Path::parse(&name).ok().as_ref().and_then(Path::of);
                path.map(Expr::Path).ok_or_else(|| self.unknown(&name))
            }
            _ => Err(self.error("an unknown kind of argument")),
        }
    }

    fn check_depth(&self, depth: usize) -> Result<(), TemplateError> {
        if depth > DEPTH_MAX {
            return Err(self.error(format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> TemplateError {
        let nearest = helpers::nearest(name).map(|known| format!("; is `{known}` meant?"));
        self.error(format!("there is no helper `{name}`{}", nearest.unwrap_or_default()))
    }

    fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateError { message: message.into(), at: self.at }
    }
}
