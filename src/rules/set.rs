//! All rules of a version of the configuration, found by endpoint. Cheap to change: what did not change is
//! shared with the set before.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
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
    /// Rules for a pattern of codes that begin with the same letters, by the number of these in bytes and by
    /// themselves: there are many where many runs have rules, and a code is behind few of them.
    behind: BTreeMap<usize, HashMap<String, Ordered>>,
    /// Rules for any other pattern of codes.
    wide: Ordered,
}

/// Where a rule stands, by its scope.
enum Room<'a> {
    Exact(&'a str),
    Behind(&'a str),
    Wide,
}

impl<'a> Room<'a> {
    fn of(rule: &'a Rule) -> Self {
        match (rule.scope.literal(), rule.scope.stretches().first()) {
            (Some(code), _) => Self::Exact(code),
            (None, Some(start)) if !start.is_empty() => Self::Behind(start),
            _ => Self::Wide,
        }
    }
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
        let rules = match Room::of(&rule) {
            Room::Exact(code) => self.exact.entry(code.to_owned()).or_default(),
            Room::Behind(start) => {
                self.behind.entry(start.len()).or_default().entry(start.to_owned()).or_default()
            }
            Room::Wide => &mut self.wide,
        };
        let place = rules.partition_point(|other| order(other) < order(&rule));
        Arc::make_mut(rules).insert(place, rule);
    }

    pub fn remove(&mut self, name: &str) {
        let Some(rule) = self.by_name.remove(name) else { return };
        match Room::of(&rule) {
            Room::Exact(code) => take_out(&mut self.exact, code, &rule),
            Room::Behind(start) => {
                if let Some(of_length) = self.behind.get_mut(&start.len()) {
                    take_out(of_length, start, &rule);
                    if of_length.is_empty() {
                        self.behind.remove(&start.len());
                    }
                }
            }
            Room::Wide => without(&mut self.wide, &rule),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        self.by_name.get(name)
    }

    /// The rules for an endpoint, in order.
    pub fn of_endpoint(&self, code: &str) -> impl Iterator<Item = &Arc<Rule>> {
        let exact = self.exact.get(code).into_iter();
        let of_length = self.behind.range(..=code.len());
        let behind = of_length.filter_map(|(length, rules)| rules.get(code.get(..*length)?));
        let lists = exact.chain(behind).chain([&self.wide]);
        // Mostly there are none, and nothing is allocated.
        let lists = lists.map(|rules| rules.as_slice()).filter(|rules| !rules.is_empty());
        let mut lists: Vec<&[Arc<Rule>]> = lists.collect();
        std::iter::from_fn(move || {
            for list in &mut lists {
                let place = list.iter().position(|rule| rule.scope.matches(code)).unwrap_or(list.len());
                *list = &list[place..];
            }
            let next = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| order(&list[0]))?;
            let (first, rest) = next.split_first()?;
            *next = rest;
            Some(first)
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

/// Takes a rule out of those under a key, and the key where it was the last.
fn take_out(rooms: &mut HashMap<String, Ordered>, key: &str, rule: &Rule) {
    if let Some(rules) = rooms.get_mut(key) {
        without(rules, rule);
        if rules.is_empty() {
            rooms.remove(key);
        }
    }
}

fn without(rules: &mut Ordered, rule: &Rule) {
    if let Some(place) = rules.iter().position(|other| other.name == rule.name) {
        Arc::make_mut(rules).remove(place);
    }
}

fn order(rule: &Rule) -> (Reverse<i64>, i64, &str) {
    (Reverse(rule.priority), rule.stamp.created_seq, &rule.name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::super::reply::RuleOptions;
    use super::super::rule::Stamp;
    use super::super::template::TemplateOptions;
    use super::*;

    fn rule(number: usize, scope: &str, priority: i64) -> Rule {
        let document = json!({"scope": scope, "priority": priority, "reply": {}});
        let stamp = Stamp { created_seq: i64::try_from(number).unwrap(), ..Stamp::default() };
        let options = RuleOptions {
            pattern_bytes_max: 262_144,
            delay_max: Duration::from_secs(30),
            template: TemplateOptions { strict: false, source_bytes_max: 262_144 },
        };
        Rule::parse(&format!("r{number}"), &document, stamp, &options).unwrap()
    }

    proptest! {
        #[test]
        fn rules_are_found_by_a_code_as_if_all_were_looked_through(
            scopes in prop::collection::vec(("[abä]{0,3}\\*?[ab]{0,1}\\*?", -1i64..2), 0..30),
            gone in prop::collection::vec(0usize..30, 0..10),
            codes in prop::collection::vec("[abä]{1,5}", 1..10),
        ) {
            let mut set = RuleSet::default();
            for (number, (scope, priority)) in scopes.iter().enumerate() {
                set.put(rule(number, if scope.is_empty() { "*" } else { scope }, *priority));
            }
            for number in gone {
                set.remove(&format!("r{number}"));
            }
            for code in codes {
                let found: Vec<_> = set.of_endpoint(&code).map(|rule| rule.name.clone()).collect();
                let all: Vec<_> = set.in_scope(&code).into_iter().map(|rule| rule.name.clone()).collect();
                prop_assert_eq!(found, all, "{}", code);
            }
        }
    }

    #[test]
    fn a_set_from_which_all_is_taken_is_empty() {
        let mut set = RuleSet::default();
        for (number, scope) in ["a", "a*", "*a", "a*b", "a*"].iter().enumerate() {
            set.put(rule(number, scope, 0));
        }
        for number in 0..5 {
            set.remove(&format!("r{number}"));
        }
        assert!(set.exact.is_empty() && set.behind.is_empty() && set.wide.is_empty());
    }
}
