//! Where sequences and scenarios stand, and how captures claim them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::reply::Reply;
use super::rule::Rule;

/// The state of a scenario that nobody has set yet.
pub const STARTED: &str = "Started";

/// The states of a place in the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct States(HashMap<String, String>);

/// States as a batch of captures changes them, one capture after the other. Nothing is changed before
/// the batch is committed.
#[derive(Debug)]
pub struct Claim<'a> {
    states: &'a States,
    writes: BTreeMap<String, String>,
}

/// The rule that answers a capture.
#[derive(Debug, Clone)]
pub struct Decision {
    pub rule: Arc<Rule>,
    /// The how many-th match this is, from 1, where the rule counts them.
    pub hit: Option<i64>,
}

impl Decision {
    pub fn reply(&self) -> &Reply {
        self.rule.reply(self.hit.unwrap_or(1))
    }
}

impl States {
    pub fn set(&mut self, states: impl IntoIterator<Item = (String, String)>) {
        self.0.extend(states);
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn claim(&self) -> Claim<'_> {
        Claim { states: self, writes: BTreeMap::new() }
    }
}

impl Claim<'_> {
    /// The first of the rules whose scenario allows it, with what it changes.
    pub fn settle(&mut self, candidates: &[Arc<Rule>]) -> Option<Decision> {
        let rule = candidates.iter().find(|rule| self.allows(rule))?;
        if let Some(scenario) = &rule.scenario
            && let Some(next) = &scenario.sets
        {
            self.writes.insert(scenario_key(&scenario.name), next.clone());
        }
        let hit = rule.counts().then(|| {
            let key = sequence_key(&rule.name);
            let hit = self.get(&key).and_then(|value| count_of(value, rule)).unwrap_or(0).saturating_add(1);
            self.writes.insert(key, format!("{}:{hit}", rule.stamp.changed_seq));
            hit
        });
        Some(Decision { rule: rule.clone(), hit })
    }

    fn allows(&self, rule: &Rule) -> bool {
        let Some(scenario) = &rule.scenario else { return true };
        let Some(required) = &scenario.requires else { return true };
        self.get(&scenario_key(&scenario.name)).unwrap_or(STARTED) == required
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.writes.get(key).or_else(|| self.states.0.get(key)).map(String::as_str)
    }

    pub fn into_writes(self) -> Vec<(String, String)> {
        self.writes.into_iter().collect()
    }
}

/// The name under which a rule's matches are counted.
pub fn sequence_key(rule: &str) -> String {
    format!("sequence/{rule}")
}

/// The name under which a scenario's state is kept.
pub fn scenario_key(scenario: &str) -> String {
    format!("scenario/{scenario}")
}

/// Behind the keys of all scenarios, in the order of their octets.
pub const SCENARIOS_END: &str = "scenario0";

/// How often a rule has matched since it was changed last: a changed rule begins anew.
pub fn count_of(value: &str, rule: &Rule) -> Option<i64> {
    let (changed_seq, count) = value.split_once(':')?;
    (changed_seq.parse() == Ok(rule.stamp.changed_seq)).then(|| count.parse().ok())?
}
