//! Rules of traffcap (github.com/huh-sters/traffcap) as rules of Creel, with the same verdicts.
//!
//! A rule there is a tree. A leaf searches its pattern in one part of the request; a node with children holds
//! where it holds itself and one of them does. `docs/rules.md` has the table of what becomes of each kind.

mod ends;
mod pattern;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::{Value, json};

use super::invalid::Invalid;
use super::object::{Object, list, text};
use super::operator;
use super::work::Work;

const NODES_MAX: usize = 1_000;

/// What the documents that are made must keep to.
#[derive(Debug, Clone, Copy)]
pub struct ImportOptions<'a> {
    /// The path segment that captures stand under.
    pub prefix: &'a str,
    /// Of the compiled form of one pattern.
    pub pattern_bytes_max: usize,
}

/// The parts of a request that traffcap looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Root,
    Endpoint,
    Method,
    Protocol,
    DomainName,
    Port,
    Body,
    HeaderKey,
    HeaderValue,
    HeaderKeyValue,
    QueryParamKey,
    QueryParamValue,
    QueryParamKeyValue,
}

const KINDS: [(Kind, &str); 13] = [
    (Kind::Root, "Root"),
    (Kind::Endpoint, "Endpoint"),
    (Kind::Method, "Method"),
    (Kind::Protocol, "Protocol"),
    (Kind::DomainName, "DomainName"),
    (Kind::Port, "Port"),
    (Kind::Body, "Body"),
    (Kind::HeaderKey, "HeaderKey"),
    (Kind::HeaderValue, "HeaderValue"),
    (Kind::HeaderKeyValue, "HeaderKeyValue"),
    (Kind::QueryParamKey, "QueryParamKey"),
    (Kind::QueryParamValue, "QueryParamValue"),
    (Kind::QueryParamKeyValue, "QueryParamKeyValue"),
];

/// One node as it was written.
struct Node<'a> {
    id: i64,
    parent: Option<i64>,
    kind: Kind,
    key: Option<&'a str>,
    pattern: Option<&'a str>,
    inverted: bool,
}

/// A node with the places of its children.
struct Branch {
    own: Value,
    children: Vec<usize>,
}

/// The documents of one rule, or of a list of them, each with its name.
///
/// # Errors
/// With the first mistake and its place in what was given.
pub fn documents(given: &Value, options: ImportOptions<'_>) -> Result<Vec<Value>, Invalid> {
    match given {
        Value::Array(_) => list(given, usize::MAX, |rule| document(rule, options)),
        rule => document(rule, options).map(|document| vec![document]),
    }
}

fn document(rule: &Value, options: ImportOptions<'_>) -> Result<Value, Invalid> {
    let mut object = Object::of(rule)?;
    object.take("id");
    let name = object.text("name")?.ok_or_else(|| Invalid::member("name", "this is missing"))?;
    let priority = object.integer("priority")?.unwrap_or(0);
    let priority = priority
        .checked_neg()
        .ok_or_else(|| Invalid::member("priority", "it is too low to be turned over"))?;
    let content_type = object.text("content_type")?.filter(|given| !given.is_empty());
    let template = object.text("template")?.unwrap_or_default();
    let body = match object.text("template_format")? {
        None | Some("text") => json!({"text": template}),
        Some("handlebars") => json!({"template": template}),
        Some(_) => return Err(Invalid::member("template_format", "`text` or `handlebars` is expected")),
    };
    let expression = object.read("matches", |value| expression(value, options))?;
    let expression = expression.ok_or_else(|| Invalid::member("matches", "this is missing"))?;
    object.end()?;
    let mut reply = json!({"status": 200, "body": body});
    if let Some(content_type) = content_type {
        reply["content_type"] = content_type.into();
    }
    Ok(json!({"name": name, "priority": priority, "match": expression, "reply": reply}))
}

/// The tree of a list of nodes, as an expression.
fn expression(value: &Value, options: ImportOptions<'_>) -> Result<Value, Invalid> {
    let nodes = list(value, NODES_MAX, Node::parse)?;
    let places = places(&nodes)?;
    let mut root = None;
    let mut branches = Vec::with_capacity(nodes.len());
    for (place, node) in nodes.iter().enumerate() {
        let own = node.own(options).map_err(|why| why.within(place))?;
        branches.push(Branch { own, children: Vec::new() });
        if node.parent.is_none() && root.replace(place).is_some() {
            return Err(Invalid::member("parent_id", "there is a root already").within(place));
        }
    }
    for (place, node) in nodes.iter().enumerate() {
        let Some(parent) = node.parent else { continue };
        let parent = places.get(&parent).ok_or_else(|| {
            Invalid::member("parent_id", format!("there is no node {parent}")).within(place)
        })?;
        branches[*parent].children.push(place);
    }
    let root = root.ok_or_else(|| Invalid::here("there is no root: a node whose `parent_id` is null"))?;
    let mut reached = vec![false; nodes.len()];
    let tree = tree(root, &mut branches, &mut reached);
    match reached.iter().position(|reached| !reached) {
        Some(lost) => Err(Invalid::member("parent_id", "its parents go round in a circle").within(lost)),
        None => Ok(tree),
    }
}

fn places(nodes: &[Node<'_>]) -> Result<HashMap<i64, usize>, Invalid> {
    let mut places = HashMap::with_capacity(nodes.len());
    for (place, node) in nodes.iter().enumerate() {
        if places.insert(node.id, place).is_some() {
            return Err(Invalid::member("id", format!("there is a node {} already", node.id)).within(place));
        }
    }
    Ok(places)
}

/// What holds where a node does itself, and one of its children, if it has any.
fn tree(place: usize, branches: &mut [Branch], reached: &mut [bool]) -> Value {
    reached[place] = true;
    let own = branches[place].own.take();
    let children = std::mem::take(&mut branches[place].children);
    let mut below: Vec<Value> = children.into_iter().map(|child| tree(child, branches, reached)).collect();
    let below = match below.len() {
        0 => return own,
        1 => below.remove(0),
        _ => json!({"any": below}),
    };
    if own == constant(true) {
        return below;
    }
    // One list of conditions rather than a list within a list.
    match below {
        Value::Object(mut members) if members.contains_key("all") => {
            if let Some(Value::Array(conditions)) = members.get_mut("all") {
                conditions.insert(0, own);
            }
            Value::Object(members)
        }
        below => json!({"all": [own, below]}),
    }
}

/// What always holds, or never.
fn constant(verdict: bool) -> Value {
    if verdict { json!({"all": []}) } else { json!({"any": []}) }
}

impl<'a> Node<'a> {
    fn parse(value: &'a Value) -> Result<Self, Invalid> {
        let mut object = Object::of(value)?;
        let node = Self {
            id: object.integer("id")?.ok_or_else(|| Invalid::member("id", "this is missing"))?,
            parent: object.integer("parent_id")?,
            kind: object
                .read("match_type", |value| Kind::parse(text(value)?))?
                .ok_or_else(|| Invalid::member("match_type", "this is missing"))?,
            key: object.text("key")?,
            pattern: object.text("pattern")?,
            inverted: object.flag("invert")?.unwrap_or(false),
        };
        object.take("rule_id");
        object.end()?;
        Ok(node)
    }

    /// The node's own verdict, without its children.
    fn own(&self, options: ImportOptions<'_>) -> Result<Value, Invalid> {
        let searched = if self.kind == Kind::Root { constant(true) } else { self.searched(options)? };
        Ok(match searched {
            always if self.inverted && always == constant(true) => constant(false),
            never if self.inverted && never == constant(false) => constant(true),
            leaf if self.inverted => json!({"not": leaf}),
            leaf => leaf,
        })
    }

    /// Where the node searches its pattern.
    fn searched(&self, options: ImportOptions<'_>) -> Result<Value, Invalid> {
        let written = self.pattern.ok_or_else(|| Invalid::member("pattern", "this is missing"))?;
        let before = match self.kind {
            Kind::Endpoint => format!("^/{}/", regex_syntax::escape(options.prefix)),
            _ => String::new(),
        };
        let pattern = pattern::translate(&before, written).map_err(|why| why.within("pattern"))?;
        let kept = operator::Kept::Much;
        let compiled =
            operator::pattern(&pattern, false, options.pattern_bytes_max, kept, &mut Work::of_rule())
                .map_err(|why| why.within("pattern"))?;
        Ok(match (self.kind, self.key) {
            (Kind::Root, _) => constant(true),
            (Kind::Endpoint, _) => json!({"at": "path", "matches": pattern}),
            (Kind::Method, _) => json!({"at": "method", "matches": pattern}),
            (Kind::Protocol, _) => json!({"at": "scheme", "matches": pattern}),
            (Kind::DomainName, _) => json!({"at": "hostname", "matches": pattern}),
            // Where none is written, Python searches the text of its `None`.
            (Kind::Port, _) => json!({"at": "host_port", "matches": pattern, "default": "None"}),
            (Kind::Body, _) => json!({"at": "body_text", "matches": pattern}),
            (Kind::HeaderKey, _) => json!({"at": "header_name", "matches": pattern}),
            (Kind::HeaderValue, _) => json!({"at": "header", "pick": "first", "matches": pattern}),
            (Kind::QueryParamKey, _) => json!({"at": "query_name", "matches": pattern}),
            (Kind::QueryParamValue, _) => json!({"at": "query", "pick": "last", "matches": pattern}),
            (Kind::HeaderKeyValue | Kind::QueryParamKeyValue, None) => constant(false),
            // Names are in small letters there, so this one is never found.
            (Kind::HeaderKeyValue, Some(key)) if key.contains(|c: char| c.is_ascii_uppercase()) => {
                constant(compiled.is_found(b""))
            }
            (Kind::HeaderKeyValue, Some(key)) => {
                json!({"at": "header", "name": key, "pick": "first", "default": "", "matches": pattern})
            }
            (Kind::QueryParamKeyValue, Some(key)) => {
                json!({"at": "query", "name": key, "pick": "last", "default": "", "matches": pattern})
            }
        })
    }
}

impl Kind {
    fn parse(name: &str) -> Result<Self, Invalid> {
        let bare = name.strip_suffix("Rule").unwrap_or(name);
        let found = KINDS.iter().find(|(_, known)| *known == bare);
        found.map(|(kind, _)| *kind).ok_or_else(|| {
            let names = KINDS.map(|(_, name)| name).join(", ");
            Invalid::here(format!("`{name}` is not known; there are {names}"))
        })
    }
}
