//! Endpoints and rules as one document: what it wishes for, checked.

use std::collections::BTreeSet;

use serde_json::Value;

use super::endpoint::Endpoint;
use super::invalid::Invalid;
use super::relative::absolute;
use super::reply::RuleOptions;
use super::rule::{Rule, Stamp};
use crate::model::{ConfigurationKind, EndpointCode};

/// The kinds with their lists in the document, and what an item is called there.
pub const KINDS: [(ConfigurationKind, &str, &str); 2] =
    [(ConfigurationKind::Endpoint, "endpoints", "code"), (ConfigurationKind::Rule, "rules", "name")];

/// An item by its kind and name.
pub type Key = (ConfigurationKind, String);

/// An item that is wished for, and its document as it is kept.
pub type Wish = (Key, String);

/// What a document wishes for, checked, in its order.
pub fn wishes(document: &Value, options: &RuleOptions) -> Result<Vec<Wish>, Invalid> {
    wishes_as(document, options, |_, _| {})
}

/// The same of a document whose names are relative to a prefix, as a run's are: they are wished for behind it.
pub fn wishes_behind(document: &Value, prefix: &str, options: &RuleOptions) -> Result<Vec<Wish>, Invalid> {
    wishes_as(document, options, |kind, item| absolute(kind, item, prefix))
}

/// Items are changed one by one, in a copy that each needs anyway, so that the document is not held twice.
fn wishes_as(
    document: &Value,
    options: &RuleOptions,
    change: impl Fn(ConfigurationKind, &mut Value),
) -> Result<Vec<Wish>, Invalid> {
    let members = document.as_object().ok_or_else(|| Invalid::here("an object is expected"))?;
    if let Some(unknown) = members.keys().find(|name| !KINDS.iter().any(|(_, list, _)| list == name)) {
        return Err(Invalid::member(unknown, "this is not known here; there are `endpoints` and `rules`"));
    }
    let mut wished = Vec::new();
    let mut names: BTreeSet<Key> = BTreeSet::new();
    for (kind, list, name_key) in KINDS {
        let items = match members.get(list) {
            None | Some(Value::Null) => continue,
            Some(items) => items.as_array().ok_or_else(|| Invalid::member(list, "a list is expected"))?,
        };
        for (place, item) in items.iter().enumerate() {
            let mut item = item.clone();
            change(kind, &mut item);
            let wish = wish(kind, item, name_key, options).map_err(|why| why.within(place).within(list))?;
            if !names.insert(wish.0.clone()) {
                let twice = format!("`{}` stands twice", wish.0.1);
                return Err(Invalid::member(name_key, twice).within(place).within(list));
            }
            wished.push(wish);
        }
    }
    Ok(wished)
}

fn wish(
    kind: ConfigurationKind,
    mut document: Value,
    name_key: &str,
    options: &RuleOptions,
) -> Result<Wish, Invalid> {
    let name = document.get(name_key).and_then(Value::as_str);
    let name = name.ok_or_else(|| Invalid::member(name_key, "this is missing"))?.to_owned();
    without_marks(&mut document, name_key);
    match kind {
        ConfigurationKind::Endpoint => {
            EndpointCode::parse(&name).map_err(|error| Invalid::member(name_key, error))?;
            Endpoint::parse(&document, options)?;
            document = Endpoint::without_secrets(document);
        }
        _ => drop(Rule::parse(&name, &document, Stamp::default(), options)?),
    }
    let document = document.to_string();
    if name.contains('\0') || document.contains("\\u0000") {
        return Err(Invalid::here("there is a NUL in a text"));
    }
    Ok(((kind, name), document))
}

/// Takes the members away that the API adds, so that what was read can be written back.
pub fn without_marks(document: &mut Value, name_key: &str) {
    if let Some(members) = document.as_object_mut() {
        for name in [name_key, "version", "etag", "created", "changed"] {
            members.remove(name);
        }
    }
}
