//! Match expressions: a tree of `all`, `any`, `not` and leaves, each leaf a look at one part of a request.

use std::sync::Arc;

use serde_json::{Value, json};

use super::allowance::{Allowance, NODES_MAX};
use super::invalid::Invalid;
use super::object::{Object, list};
use super::operator::{self, Operator};
use super::place::{About, Found, Place};
use super::seen::Seen;
use super::short;
use crate::model::time::rfc3339;

/// Levels of a tree.
const DEPTH_MAX: usize = 32;

/// How much of a value an explanation shows, in characters, and how many of them.
const SHOWN_CHARS: usize = 200;
const SHOWN_VALUES: usize = 5;

/// A compiled expression.
#[derive(Debug)]
pub struct Expression(Node);

#[derive(Debug)]
pub(super) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Leaf(Box<Leaf>),
}

#[derive(Debug)]
pub(super) struct Leaf {
    place: Place,
    operator: Operator,
    inverted: bool,
    /// Looked at where nothing is found.
    default: Option<String>,
    /// As it was written, for explanations.
    written: Arc<Value>,
}

impl Expression {
    /// Reads a tree; the pattern size is in bytes of its compiled form.
    ///
    /// # Errors
    /// With the first mistake and its place.
    pub fn parse(value: &Value, pattern_bytes_max: usize) -> Result<Self, Invalid> {
        let mut allowance = Allowance::of_rule(pattern_bytes_max);
        Reading(About::Request).node(value, DEPTH_MAX, &mut allowance).map(Self)
    }

    /// Reads an inquiry about kept captures: a tree, whose leaves may look at more than a rule's, or a text in the
    /// short form ([`short`]). All inquiries of one document share an allowance.
    ///
    /// # Errors
    /// With the first mistake and its place.
    pub fn parse_inquiry(value: &Value, allowance: &mut Allowance) -> Result<Self, Invalid> {
        let reading = Reading(About::Kept);
        let Value::String(text) = value else { return reading.node(value, DEPTH_MAX, allowance).map(Self) };
        let terms = short::terms(text)?;
        let mut node = |term: &short::Term<'_>| {
            reading.node(&term.tree, DEPTH_MAX, allowance).map_err(|invalid| term.wrong(&invalid))
        };
        Ok(Self(Node::All(terms.iter().map(&mut node).collect::<Result<_, _>>()?)))
    }

    /// What every request matches.
    pub fn all() -> Self {
        Self(Node::All(Vec::new()))
    }

    pub fn matches(&self, seen: &Seen<'_>) -> bool {
        self.0.holds(seen)
    }

    /// The verdict without a look into the body, where none is needed for it.
    pub fn decided_without_body(&self, seen: &Seen<'_>) -> Option<bool> {
        self.0.decided_without_body(seen)
    }

    /// Whether any leaf looks into the body.
    pub fn looks_into_body(&self) -> bool {
        self.0.any_leaf(&|leaf| leaf.is_in_body())
    }

    /// The methods without which nothing matches, where the tree says so at its top.
    pub fn methods(&self) -> Option<Vec<String>> {
        self.0.methods()
    }

    /// How near the expression comes to a request, without the tree.
    pub fn nearness(&self, seen: &Seen<'_>) -> Nearness {
        self.0.nearness(seen)
    }

    /// The node at the top.
    pub(super) fn root(&self) -> &Node {
        &self.0
    }

    /// The tree with every verdict, and what each leaf saw.
    pub fn explain(&self, seen: &Seen<'_>) -> Explained {
        self.0.explain(seen)
    }
}

/// How many leaves hold, of all; what is under a `not` counts when it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nearness {
    pub held: usize,
    pub leaves: usize,
}

/// A tree's verdict as JSON, and how near it came.
pub struct Explained {
    pub holds: bool,
    pub near: Nearness,
    pub tree: Value,
}

/// How a tree is read.
#[derive(Clone, Copy)]
struct Reading(About);

impl Reading {
    fn node(self, value: &Value, depth: usize, left: &mut Allowance) -> Result<Node, Invalid> {
        if depth == 0 {
            return Err(Invalid::here(format!("the tree has over {DEPTH_MAX} levels")));
        }
        left.take_node()?;
        let mut object = Object::of(value)?;
        let mut nodes = |value| list(value, NODES_MAX, |item| self.node(item, depth - 1, left));
        let parsed = if object.has("all") {
            Node::All(object.read("all", &mut nodes)?.unwrap_or_default())
        } else if object.has("any") {
            Node::Any(object.read("any", &mut nodes)?.unwrap_or_default())
        } else if object.has("not") {
            let inner = object.read("not", |value| self.node(value, depth - 1, left))?;
            Node::Not(Box::new(inner.expect("it is there")))
        } else if object.has("at") {
            Node::Leaf(Box::new(self.leaf(&mut object, value, left)?))
        } else {
            return Err(Invalid::here("`all`, `any`, `not` or a leaf with `at` is expected"));
        };
        object.end()?;
        Ok(parsed)
    }

    fn leaf(self, object: &mut Object<'_>, written: &Value, left: &mut Allowance) -> Result<Leaf, Invalid> {
        let place = Place::parse(object, self.0)?;
        let default = object.text("default")?.map(str::to_owned);
        let parsed = match place.is_instant() {
            true => operator::parse_instant(object)?,
            false => operator::parse(object, left)?,
        };
        left.take_leaf(written, parsed.operator.pattern_bytes())?;
        let (operator, inverted) = (parsed.operator, parsed.inverted);
        Ok(Leaf { place, operator, inverted, default, written: Arc::new(written.clone()) })
    }
}

impl Node {
    pub(super) fn holds(&self, seen: &Seen<'_>) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(seen)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(seen)),
            Self::Not(node) => !node.holds(seen),
            Self::Leaf(leaf) => leaf.holds(seen),
        }
    }

    pub(super) fn decided_without_body(&self, seen: &Seen<'_>) -> Option<bool> {
        // A list is decided by the first that settles it, and else when all are.
        let settled_by = |nodes: &[Self], verdict: bool| {
            let mut decided = Some(!verdict);
            for node in nodes {
                match node.decided_without_body(seen) {
                    Some(one) if one == verdict => return Some(verdict),
                    Some(_) => {}
                    None => decided = None,
                }
            }
            decided
        };
        match self {
            Self::All(nodes) => settled_by(nodes, false),
            Self::Any(nodes) => settled_by(nodes, true),
            Self::Not(node) => node.decided_without_body(seen).map(|holds| !holds),
            Self::Leaf(leaf) => (!leaf.is_in_body()).then(|| leaf.holds(seen)),
        }
    }

    fn any_leaf(&self, wanted: &impl Fn(&Leaf) -> bool) -> bool {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().any(|node| node.any_leaf(wanted)),
            Self::Not(node) => node.any_leaf(wanted),
            Self::Leaf(leaf) => wanted(leaf),
        }
    }

    fn methods(&self) -> Option<Vec<String>> {
        match self {
            Self::All(nodes) => nodes.iter().find_map(Self::methods),
            Self::Leaf(leaf) if matches!(leaf.place, Place::Method) && !leaf.inverted => {
                leaf.operator.texts()
            }
            _ => None,
        }
    }

    fn explain(&self, seen: &Seen<'_>) -> Explained {
        match self {
            Self::All(nodes) => several("all", nodes, seen, |inner| inner.iter().all(|node| node.holds)),
            Self::Any(nodes) => several("any", nodes, seen, |inner| inner.iter().any(|node| node.holds)),
            Self::Not(node) => {
                let inner = node.explain(seen);
                Explained {
                    holds: !inner.holds,
                    near: inner.near.turned(),
                    tree: json!({"holds": !inner.holds, "not": inner.tree}),
                }
            }
            Self::Leaf(leaf) => {
                let holds = leaf.holds(seen);
                let tree = json!({"holds": holds, "leaf": *leaf.written, "saw": leaf.saw(seen)});
                Explained { holds, near: Nearness { held: holds.into(), leaves: 1 }, tree }
            }
        }
    }

    fn nearness(&self, seen: &Seen<'_>) -> Nearness {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().map(|node| node.nearness(seen)).sum(),
            Self::Not(node) => node.nearness(seen).turned(),
            Self::Leaf(leaf) => Nearness { held: leaf.holds(seen).into(), leaves: 1 },
        }
    }
}

impl Nearness {
    /// The leaves that hold, in millionths of all; where there are none nothing stands against it.
    pub fn share(self) -> usize {
        const WHOLE: usize = 1_000_000;
        (self.held * WHOLE).checked_div(self.leaves).unwrap_or(WHOLE)
    }

    fn turned(self) -> Self {
        Self { held: self.leaves - self.held, leaves: self.leaves }
    }
}

impl std::iter::Sum for Nearness {
    fn sum<I: Iterator<Item = Self>>(several: I) -> Self {
        several.fold(Self::default(), |sum, one| Self {
            held: sum.held + one.held,
            leaves: sum.leaves + one.leaves,
        })
    }
}

fn several(name: &str, nodes: &[Node], seen: &Seen<'_>, verdict: impl Fn(&[Explained]) -> bool) -> Explained {
    let inner: Vec<Explained> = nodes.iter().map(|node| node.explain(seen)).collect();
    let holds = verdict(&inner);
    let near = inner.iter().map(|node| node.near).sum();
    let trees: Vec<Value> = inner.into_iter().map(|node| node.tree).collect();
    Explained { holds, near, tree: json!({"holds": holds, name: trees}) }
}

impl Leaf {
    pub(super) fn written(&self) -> Arc<Value> {
        self.written.clone()
    }

    pub(super) fn is_in_body(&self) -> bool {
        self.place.is_in_body()
    }

    fn holds(&self, seen: &Seen<'_>) -> bool {
        !seen.is_out_of_time() && self.look(seen, |found| self.operator.holds(found)) != self.inverted
    }

    /// Looks at the values, or at the default where there are none.
    fn look(&self, seen: &Seen<'_>, mut enough: impl FnMut(Found<'_>) -> bool) -> bool {
        let mut none = true;
        let found = self.place.any(seen, |found| {
            none = false;
            enough(found)
        });
        found || (none && self.default.as_deref().is_some_and(|default| enough(Found::Text(default))))
    }

    pub(super) fn saw(&self, seen: &Seen<'_>) -> Vec<Value> {
        let mut values = Vec::new();
        self.look(seen, |found| {
            values.push(shown(found));
            values.len() == SHOWN_VALUES
        });
        values
    }
}

fn shown(found: Found<'_>) -> Value {
    let text = match found {
        Found::Number(number) => return number.into(),
        Found::Instant(us) => rfc3339(us),
        Found::Json(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => return value.clone(),
        Found::Json(Value::String(text)) => text.clone(),
        Found::Json(value) => value.to_string(),
        Found::Text(text) => text.to_owned(),
        Found::Bytes(bytes) => {
            String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN_CHARS)]).into_owned()
        }
    };
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => text.into(),
    }
}
