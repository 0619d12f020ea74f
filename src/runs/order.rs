//! What a run is opened with, from its document.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::run::{AtClosing, RUN_TTL_S_DEFAULT, RUN_TTL_S_MAX};
use crate::rules::document::{Wish, wishes_behind};
use crate::rules::endpoint::labels;
use crate::rules::object::{Object, text};
use crate::rules::rule::check_name;
use crate::rules::{Invalid, RuleOptions};

/// A run that somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// How long it is open at most, in microseconds.
    pub ttl_us: i64,
    pub captures: AtClosing,
    /// Whether it has a token of its own.
    pub token: bool,
    /// Its rules and endpoints, their names relative to the prefix.
    config: Option<Value>,
}

impl Order {
    /// Reads an order.
    ///
    /// # Errors
    /// With the first mistake and its place. What is wrong with `config` is told by [`Self::wishes`].
    pub fn parse(mut document: Value) -> Result<Self, Invalid> {
        let config = document.as_object_mut().and_then(|members| members.remove("config"));
        let mut object = Object::of(&document)?;
        let name = object.read("name", |value| {
            let name = text(value)?;
            check_name(name).map(|()| name.to_owned())
        })?;
        let ttl_s = object.within("ttl_s", 1, RUN_TTL_S_MAX)?.unwrap_or(RUN_TTL_S_DEFAULT);
        let order = Self {
            name: name.ok_or_else(|| Invalid::member("name", "this is missing"))?,
            labels: object.read("labels", labels)?.unwrap_or_default(),
            ttl_us: i64::try_from(ttl_s * 1_000_000).expect("it is within bounds"),
            captures: object.read("captures", at_closing)?.unwrap_or_default(),
            token: object.flag("token")?.unwrap_or(false),
            config: config.filter(|config| !config.is_null()),
        };
        object.end()?;
        Ok(order)
    }

    /// How many items it names in a list of its configuration, whatever they are.
    pub(super) fn named(&self, list: &str) -> u64 {
        let items = self.config.as_ref().and_then(|config| config.get(list)?.as_array());
        items.map_or(0, |items| items.len() as u64)
    }

    /// What it wishes for under a prefix.
    pub(super) fn wishes(&self, prefix: &str, options: &RuleOptions) -> Result<Vec<Wish>, Invalid> {
        let Some(config) = &self.config else { return Ok(Vec::new()) };
        wishes_behind(config, prefix, options).map_err(|invalid| invalid.within("config"))
    }
}

/// `keep` or `remove`.
pub fn at_closing(value: &Value) -> Result<AtClosing, Invalid> {
    AtClosing::named(text(value)?).ok_or_else(|| Invalid::here("`keep` or `remove` is expected"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_order_is_what_it_says_or_refused_with_the_place() {
        let order = Order::parse(json!({"name": "a"})).unwrap();
        assert_eq!((order.ttl_us, order.captures, order.token), (3_600_000_000, AtClosing::Keep, false));
        let all = json!({"name": "a", "labels": {"job": "7"}, "ttl_s": 604_800, "captures": "remove", "token": true,
            "config": {"rules": []}});
        assert_eq!(Order::parse(all).unwrap().labels["job"], "7");
        for (document, at) in [
            (json!([]), ""),
            (json!({}), "/name"),
            (json!({"name": ""}), "/name"),
            (json!({"name": "a\nb"}), "/name"),
            (json!({"name": "a".repeat(256)}), "/name"),
            (json!({"name": "a", "ttl_s": 0}), "/ttl_s"),
            (json!({"name": "a", "ttl_s": 604_801}), "/ttl_s"),
            (json!({"name": "a", "labels": {"a": 1}}), "/labels/a"),
            (json!({"name": "a", "captures": "burn"}), "/captures"),
            (json!({"name": "a", "token": "yes"}), "/token"),
            (json!({"name": "a", "more": 1}), "/more"),
        ] {
            assert_eq!(
                Order::parse(document.clone()).map_err(|invalid| invalid.at),
                Err(at.to_owned()),
                "{document}"
            );
        }
    }
}
