//! What the writer decides of a batch before it is committed: which of the rules that may answer does.

use std::sync::Arc;

use super::journal::Queued;
use super::judging::Chosen;
use crate::database::StateClaim;
use crate::model::{Capture, ReplyChoice, ReplySource, RuleChoice};
use crate::rules::States;

/// A batch as it was decided.
pub struct Decided {
    pub captures: Vec<Arc<Capture>>,
    pub chosen: Vec<Chosen>,
    /// Where any of it depends on states.
    pub states: Option<StateClaim>,
}

/// Takes the captures out that depend on no state, where there are others.
pub fn split_stateless(batch: &mut Vec<Queued>) -> Option<Vec<Queued>> {
    if !batch.iter().any(|queued| queued.case.is_stateful()) {
        return None;
    }
    let stateless: Vec<Queued> = batch.extract_if(.., |queued| !queued.case.is_stateful()).collect();
    (!stateless.is_empty()).then_some(stateless)
}

/// Lets the states decide among the candidates, one capture after the other, and notes the decisions in
/// the captures.
pub fn decide(states: &States, state_seq: i64, batch: &mut [Queued]) -> Decided {
    let mut claim = states.claim();
    let depends = batch.iter().any(|queued| queued.case.is_stateful());
    let mut decided = Decided {
        captures: Vec::with_capacity(batch.len()),
        chosen: Vec::with_capacity(batch.len()),
        states: None,
    };
    for queued in batch {
        let decision = claim.settle(&queued.case.candidates);
        let chosen = queued.case.chosen(decision, &queued.capture);
        let reply = choice_of(&chosen).unwrap_or_else(|| queued.case.fallback.clone());
        // Nearly always it stands there already.
        if queued.capture.reply != reply {
            Arc::make_mut(&mut queued.capture).reply = reply;
        }
        decided.captures.push(queued.capture.clone());
        decided.chosen.push(chosen);
    }
    decided.states = depends.then(|| StateClaim { state_seq, writes: claim.into_writes() });
    decided
}

/// How a choice stands in the capture; None where it is the skin's own.
fn choice_of(chosen: &Chosen) -> Option<ReplyChoice> {
    match chosen {
        Chosen::Fallback => None,
        Chosen::Endpoint(endpoint) => Some(ReplyChoice::of(
            ReplySource::Endpoint,
            endpoint.reply.as_ref().map_or(200, |reply| reply.status),
        )),
        Chosen::Rule(decision) => {
            let rule = &decision.rule;
            let is_message = decision.reply().message.is_some();
            Some(ReplyChoice {
                source: ReplySource::Rule,
                status: if is_message { 0 } else { decision.reply().status },
                rule: Some(RuleChoice {
                    name: rule.name.clone(),
                    version: rule.stamp.version,
                    hit: decision.hit,
                }),
            })
        }
    }
}
