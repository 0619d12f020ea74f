//! Why a capture does not match: which leaves stand against it, and what they saw.

use std::sync::Arc;

use serde_json::Value;

use super::expression::{Expression, Leaf, Nearness, Node};
use super::seen::Seen;

/// How near a capture came, and what stands against it.
#[derive(Debug, Clone, Default)]
pub struct Missed {
    pub near: Nearness,
    pub failed: Vec<Failed>,
}

/// A leaf that stands against a capture.
#[derive(Debug, Clone)]
pub struct Failed {
    /// As it was written.
    pub leaf: Arc<Value>,
    /// The values that it looked at, the first few, and no more of each than can be read.
    pub saw: Vec<Value>,
    /// It holds, and must not: it stands under a `not`.
    pub holds: bool,
}

struct Look<'s, 'c> {
    seen: &'s Seen<'c>,
    body_is_read: bool,
    failed_max: usize,
}

impl Expression {
    /// Judges a capture that does not match. Where its body was not read, leaves about it count as not held, and
    /// stand against nothing. No more leaves than so many are told.
    pub fn missed(&self, seen: &Seen<'_>, body_is_read: bool, failed_max: usize) -> Missed {
        let look = Look { seen, body_is_read, failed_max };
        let mut failed = Vec::new();
        look.fail(self.root(), true, &mut failed);
        Missed { near: look.near(self.root(), true), failed }
    }
}

impl Look<'_, '_> {
    /// How many leaves are as they should be.
    fn near(&self, node: &Node, wanted: bool) -> Nearness {
        match node {
            Node::All(nodes) | Node::Any(nodes) => nodes.iter().map(|node| self.near(node, wanted)).sum(),
            Node::Not(node) => self.near(node, !wanted),
            Node::Leaf(leaf) => {
                let held = self.verdict(node) == Some(wanted) && (self.body_is_read || !leaf.is_in_body());
                Nearness { held: held.into(), leaves: 1 }
            }
        }
    }

    fn fail(&self, node: &Node, wanted: bool, failed: &mut Vec<Failed>) {
        let stands_against = self.verdict(node) == Some(!wanted);
        if !stands_against || failed.len() >= self.failed_max {
            return;
        }
        match node {
            Node::All(nodes) | Node::Any(nodes) => {
                nodes.iter().for_each(|node| self.fail(node, wanted, failed));
            }
            Node::Not(node) => self.fail(node, !wanted, failed),
            Node::Leaf(leaf) => failed.push(self.failed(leaf, !wanted)),
        }
    }

    fn failed(&self, leaf: &Leaf, holds: bool) -> Failed {
        Failed { leaf: leaf.written(), saw: leaf.saw(self.seen), holds }
    }

    /// None where it depends on a body that was not read.
    fn verdict(&self, node: &Node) -> Option<bool> {
        match self.body_is_read {
            true => Some(node.holds(self.seen)),
            false => node.decided_without_body(self.seen),
        }
    }
}
