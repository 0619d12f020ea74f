//! Paths: `request.query.x.[0]`, `this`, `../name`, `@root.now`, `@index`.

use handlebars::PathSeg;
use serde_json::Value;

use super::value::{Datum, member};

/// A path as it was written, taken apart.
#[derive(Debug)]
pub struct Path {
    start: Start,
    /// How many blocks up it starts.
    up: usize,
    members: Vec<String>,
    /// For messages.
    pub raw: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// At a block's value, or at what its `as |name|` names.
    Named,
    /// At a block's value: `this.name`.
    This,
    Root,
    /// `@index` and the like.
    Loop(Local),
}

#[derive(Debug, PartialEq, Eq)]
enum Local {
    Index,
    Key,
    First,
    Last,
}

/// A block that has a value of its own: the whole template, `each` or `with`.
#[derive(Debug)]
pub struct Scope<'s> {
    pub root: &'s Value,
    pub value: &'s Value,
    pub turn: Option<Turn<'s>>,
    /// What `as |value key|` names.
    pub names: [Option<(&'s str, &'s Value)>; 2],
    pub outer: Option<&'s Scope<'s>>,
}

/// A turn of a loop.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'s> {
    pub index: usize,
    pub key: Option<&'s str>,
    pub is_last: bool,
}

impl Path {
    /// None where it is a variable `@name` that does not exist.
    pub fn of(path: &handlebars::Path) -> Option<Self> {
        match path {
            handlebars::Path::Local((up, name, raw)) => {
                let start = match name.as_str() {
                    "root" => Start::Root,
                    "index" => Start::Loop(Local::Index),
                    "key" => Start::Loop(Local::Key),
                    "first" => Start::Loop(Local::First),
                    "last" => Start::Loop(Local::Last),
                    _ => return None,
                };
                Some(Self { start, up: *up, members: Vec::new(), raw: raw.clone() })
            }
            handlebars::Path::Relative((segments, raw)) => {
                let bare = ["this.", "this/", "./"].iter().find_map(|this| raw.strip_prefix(this));
                let start = match bare {
                    _ if bare.unwrap_or(raw).starts_with("@root") => Start::Root,
                    Some(_) => Start::This,
                    None => Start::Named,
                };
                let ruled = segments.iter().filter(|segment| matches!(segment, PathSeg::Ruled(_))).count();
                let members = segments.iter().filter_map(|segment| match segment {
                    PathSeg::Named(name) => Some(name.clone()),
                    _ => None,
                });
                let up = if start == Start::Root { 0 } else { ruled };
                Some(Self { start, up, members: members.collect(), raw: raw.clone() })
            }
        }
    }

    /// What it leads to.
    pub fn follow<'s>(&self, scope: &'s Scope<'s>) -> Datum<'s> {
        let mut base = scope;
        for _ in 0..self.up {
            match base.outer {
                Some(outer) => base = outer,
                None => return Datum::Missing,
            }
        }
        let (start, members) = match &self.start {
            Start::Root => (base.root, self.members.as_slice()),
            Start::This => (base.value, self.members.as_slice()),
            Start::Loop(local) => return base.turn.map_or(Datum::Missing, |turn| turn.local(local)),
            Start::Named => match self.members.split_first() {
                Some((name, members)) if self.up == 0 => match scope.named(name) {
                    Some(value) => (value, members),
                    None => (base.value, self.members.as_slice()),
                },
                _ => (base.value, self.members.as_slice()),
            },
        };
        Datum::kept(members.iter().try_fold(start, |value, name| member(value, name)))
    }
}

impl<'s> Scope<'s> {
    /// What the name stands for by `as |name|`, here or in a block around.
    fn named(&'s self, name: &str) -> Option<&'s Value> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Some((_, value)) = here.names.iter().flatten().find(|(known, _)| *known == name) {
                return Some(value);
            }
            scope = here.outer;
        }
        None
    }
}

impl Turn<'_> {
    fn local(&self, local: &Local) -> Datum<'static> {
        match local {
            Local::Index => Datum::Made(Value::from(self.index)),
            Local::Key => Datum::made(self.key.map(Value::from)),
            Local::First => Datum::Made(Value::from(self.index == 0)),
            Local::Last => Datum::Made(Value::from(self.is_last)),
        }
    }
}
