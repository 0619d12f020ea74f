//! Renders nodes for a context, within a budget. Its depth is that of the template, which has a limit.

use serde_json::Value;

use super::budget::Budget;
use super::compile::{Block, BlockKind, Call, Expr, Node};
use super::helpers;
use super::path::{Scope, Turn};
use super::value::{self, Datum};
use super::{Escape, RenderError, RenderLimits};

pub fn render(
    nodes: &[Node],
    escape: Escape,
    strict: bool,
    context: &Value,
    limits: &RenderLimits,
) -> Result<Vec<u8>, RenderError> {
    let mut renderer = Renderer { escape, strict, budget: Budget::new(limits), out: Vec::new() };
    let scope = Scope { root: context, value: context, turn: None, names: [None, None], outer: None };
    renderer.nodes(nodes, &scope)?;
    Ok(renderer.out)
}

struct Renderer {
    escape: Escape,
    strict: bool,
    budget: Budget,
    out: Vec<u8>,
}

impl Renderer {
    fn nodes(&mut self, nodes: &[Node], scope: &Scope<'_>) -> Result<(), RenderError> {
        for node in nodes {
            self.budget.step()?;
            match node {
                Node::Text(text) => self.push(text)?,
                Node::Write { what, raw, at } => {
                    let datum = self.given(what, scope).map_err(|error| error.at(*at))?;
                    self.write(datum.value().unwrap_or(&Value::Null), *raw)?;
                }
                Node::Block(block) => self.block(block, scope)?,
            }
        }
        Ok(())
    }

    fn write(&mut self, value: &Value, raw: bool) -> Result<(), RenderError> {
        let text = value::text(value, self.budget.bytes_max())?;
        if raw {
            return self.push(&text);
        }
        // Escaping never makes a text shorter: what does not fit now need not be escaped.
        self.budget.allow(self.out.len().saturating_add(text.len()))?;
        self.push(&self.escape.apply(&text))
    }

    fn push(&mut self, text: &str) -> Result<(), RenderError> {
        self.budget.allow(self.out.len().saturating_add(text.len()))?;
        self.budget.charge_bytes(text.len())?;
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn block(&mut self, block: &Block, scope: &Scope<'_>) -> Result<(), RenderError> {
        let over = self.expr(&block.over, scope).map_err(|error| error.at(block.at))?;
        let value = over.value();
        let is_met = match block.kind {
            BlockKind::If { zero_counts } => value.is_some_and(|value| value::is_truthy(value, zero_counts)),
            BlockKind::Unless { zero_counts } => {
                !value.is_some_and(|value| value::is_truthy(value, zero_counts))
            }
            BlockKind::Each => matches!(value, Some(Value::Array(_) | Value::Object(_))) && !is_empty(value),
            BlockKind::With => value.is_some_and(|value| value::is_truthy(value, false)),
        };
        match (block.kind, value) {
            (BlockKind::Each, Some(value)) if is_met => self.each(block, value, scope),
            (BlockKind::With, Some(value)) if is_met => {
                let names = [block.names[0].as_deref().map(|name| (name, value)), None];
                let inner = Scope { root: scope.root, value, turn: scope.turn, names, outer: Some(scope) };
                self.nodes(&block.then, &inner)
            }
            _ if is_met => self.nodes(&block.then, scope),
            _ => match &block.otherwise {
                Some(otherwise) => self.nodes(otherwise, scope),
                None if matches!(block.kind, BlockKind::Each | BlockKind::With) => {
                    self.refuse_missing(&over, &block.over).map_err(|error| error.at(block.at))
                }
                None => Ok(()),
            },
        }
    }

    fn each(&mut self, block: &Block, value: &Value, scope: &Scope<'_>) -> Result<(), RenderError> {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let turn = Turn { index, key: None, is_last: index + 1 == items.len() };
                    self.turn(block, &Value::from(index), item, turn, scope)?;
                }
            }
            Value::Object(members) => {
                for (index, (key, item)) in members.iter().enumerate() {
                    let turn = Turn { index, key: Some(key), is_last: index + 1 == members.len() };
                    // The name of the key is a value only where the block asks for it.
                    let name = block.names[1].as_ref().map_or(Value::Null, |_| Value::from(key.as_str()));
                    self.turn(block, &name, item, turn, scope)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn turn(
        &mut self,
        block: &Block,
        key: &Value,
        item: &Value,
        turn: Turn<'_>,
        scope: &Scope<'_>,
    ) -> Result<(), RenderError> {
        self.budget.step()?;
        let names = [
            block.names[0].as_deref().map(|name| (name, item)),
            block.names[1].as_deref().map(|name| (name, key)),
        ];
        let inner = Scope { root: scope.root, value: item, turn: Some(turn), names, outer: Some(scope) };
        self.nodes(&block.then, &inner)
    }

    /// A value that must be there, when missing ones are errors.
    fn given<'s>(&mut self, expr: &'s Expr, scope: &'s Scope<'s>) -> Result<Datum<'s>, RenderError> {
        let datum = self.expr(expr, scope)?;
        self.refuse_missing(&datum, expr)?;
        Ok(datum)
    }

    fn refuse_missing(&self, datum: &Datum<'_>, expr: &Expr) -> Result<(), RenderError> {
        if !self.strict || !datum.is_missing() {
            return Ok(());
        }
        Err(RenderError::Failed(match expr {
            Expr::Path(path) => format!("`{}` is missing", path.raw),
            Expr::Call(call) => format!("`{}` finds nothing", call.helper.name),
            Expr::Literal(_) => "a value is missing".to_owned(),
        }))
    }

    fn expr<'s>(&mut self, expr: &'s Expr, scope: &'s Scope<'s>) -> Result<Datum<'s>, RenderError> {
        match expr {
            Expr::Literal(value) => Ok(Datum::Kept(value)),
            Expr::Path(path) => Ok(path.follow(scope)),
            Expr::Call(call) => self.call(call, scope),
        }
    }

    fn call<'s>(&mut self, call: &'s Call, scope: &'s Scope<'s>) -> Result<Datum<'s>, RenderError> {
        self.budget.step()?;
        let mut arguments = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            arguments.push(match call.helper.takes_missing {
                true => self.expr(argument, scope)?,
                false => self.given(argument, scope)?,
            });
        }
        let mut options = Vec::with_capacity(call.named.len());
        for (name, option) in &call.named {
            options.push((name.as_str(), self.given(option, scope)?));
        }
        let mut given = helpers::Given {
            name: call.helper.name,
            arguments,
            options,
            prepared: call.prepared.as_ref(),
            root: scope.root,
            strict: self.strict,
            budget: &mut self.budget,
        };
        let datum = (call.helper.run)(&mut given)?;
        if let Datum::Made(made) = &datum {
            let weight = value::weight(made);
            self.budget.allow(weight)?;
            self.budget.charge_bytes(weight)?;
        }
        Ok(datum)
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    value.is_none_or(value::is_empty)
}
