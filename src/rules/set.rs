//! All rules of a version of the configuration, found by endpoint. Cheap to change: what did not change is
//! shared with the set before.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::rule::Rule;
use super::seen::Seen;

type Ordered = Arc<Vec<Arc<Rule>>>;

/// The rules in the order in which they are tried: higher priority first, then the older.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    by_name: HashMap<Arc<str>, Arc<Rule>>,
    /// Rules for one endpoint, by its code.
    exact: HashMap<String, Ordered>,
    /// Rules for a pattern of codes.
    wide: Ordered,
}

impl RuleSet {
    /// Adds a rule, or takes the place of the one of its name.
    pub fn put(&mut self, rule: Rule) {
        self.remove(&rule.name);
        let rule = Arc::new(rule);
        self.by_name.insert(rule.name.clone(), rule.clone());
        if !rule.enabled {
            return;
        }
        let rules = match rule.scope.literal() {
            Some(code) => self.exact.entry(code.to_owned()).or_default(),
            None => &mut self.wide,
        };
        let place = rules.partition_point(|other| order(other) < order(&rule));
        Arc::make_mut(rules).insert(place, rule);
    }

    pub fn remove(&mut self, name: &str) {
        let Some(rule) = self.by_name.remove(name) else { return };
        let without = |rules: &mut Ordered| {
            if let Some(place) = rules.iter().position(|other| other.name == rule.name) {
                Arc::make_mut(rules).remove(place);
            }
        };
        match rule.scope.literal() {
            Some(code) => {
                if let Some(rules) = self.exact.get_mut(code) {
                    without(rules);
                    if rules.is_empty() {
                        self.exact.remove(code);
                    }
                }
            }
            None => without(&mut self.wide),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        self.by_name.get(name)
    }

    /// The rules for an endpoint, in order.
    pub fn of_endpoint(&self, code: &str) -> impl Iterator<Item = &Arc<Rule>> {
        let mut exact = self.exact.get(code).map_or(&[][..], |rules| rules.as_slice()).iter().peekable();
        let mut wide = self.wide.iter().filter(move |rule| rule.scope.matches(code)).peekable();
        std::iter::from_fn(move || match (exact.peek(), wide.peek()) {
            (Some(one), Some(other)) if order(one) < order(other) => exact.next(),
            (_, Some(_)) => wide.next(),
            (_, None) => exact.next(),
        })
    }

    /// The rules for an endpoint, in order, disabled ones too.
    pub fn in_scope(&self, code: &str) -> Vec<Arc<Rule>> {
        let mut found: Vec<Arc<Rule>> =
            self.by_name.values().filter(|rule| rule.scope.matches(code)).cloned().collect();
        found.sort_by(|one, other| order(one).cmp(&order(other)));
        found
    }

    /// The rules that may answer a request, in order, up to the first that surely does: those before it
    /// depend on a state.
    pub fn candidates(&self, seen: &Seen<'_>) -> Vec<Arc<Rule>> {
        let mut found = Vec::new();
        for rule in self.of_endpoint(seen.capture.endpoint.as_str()) {
            let matches = rule.matches(seen);
            if seen.gave_up() {
                tracing::warn!(rule = &*rule.name, "matching takes too long; no rule answers");
                return Vec::new();
            }
            if matches {
                found.push(rule.clone());
                if rule.scenario.as_ref().is_none_or(|scenario| scenario.requires.is_none()) {
                    break;
                }
            }
        }
        found
    }

    /// Whether any rule for an endpoint looks into bodies, so that large ones are worth keeping in memory.
    pub fn looks_into_bodies(&self, code: &str) -> bool {
        self.of_endpoint(code).any(|rule| rule.looks_into_body())
    }
}

fn order(rule: &Rule) -> (Reverse<i64>, i64, &str) {
    (Reverse(rule.priority), rule.stamp.created_seq, &rule.name)
}
