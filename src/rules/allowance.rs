//! How much the expressions of one document may take once they are compiled: a small document can name much.

use serde_json::Value;

use super::invalid::Invalid;
use super::operator::Kept;
use super::work::Work;

/// Nodes of all trees in a document.
pub const NODES_MAX: usize = 1_000;

/// What all expressions of an inquiry take at most, in bytes: compiled, and with what searches keep.
pub const INQUIRY_BYTES_MAX: usize = 8 << 20;

/// About what a node takes, a JSON value, and an object beside its members, in bytes.
const NODE_BYTES: usize = 128;
const VALUE_BYTES: usize = 64;
const OBJECT_BYTES: usize = 512;

/// What is left of it while a document is read.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// The largest pattern, in bytes of its compiled form.
    pub pattern_bytes_max: usize,
    nodes: usize,
    bytes: usize,
    bytes_max: usize,
    pub(super) work: Work,
}

impl Allowance {
    /// For all expressions of an inquiry together, which anybody may make who may read.
    pub fn of_inquiry(pattern_bytes_max: usize) -> Self {
        Self { pattern_bytes_max, nodes: 0, bytes: 0, bytes_max: INQUIRY_BYTES_MAX, work: Work::of_inquiry() }
    }

    /// For the expression of one rule, of which there is a bound elsewhere.
    pub fn of_rule(pattern_bytes_max: usize) -> Self {
        Self { bytes_max: usize::MAX, work: Work::of_rule(), ..Self::of_inquiry(pattern_bytes_max) }
    }

    /// What searches may keep: what is counted has a bound.
    pub(super) fn kept(&self) -> Kept {
        if self.bytes_max == usize::MAX { Kept::Much } else { Kept::Little }
    }

    /// What was taken so far, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a node.
    pub(super) fn take_node(&mut self) -> Result<(), Invalid> {
        if self.nodes == NODES_MAX {
            return Err(Invalid::here(format!("there are over {NODES_MAX} nodes in all")));
        }
        self.nodes += 1;
        self.take(NODE_BYTES)
    }

    /// Takes a leaf as it was written, and its pattern, where it has one, of so many bytes.
    pub(super) fn take_leaf(&mut self, written: &Value, pattern_bytes: usize) -> Result<(), Invalid> {
        // It is held as it was written, and as what it is compared with.
        self.take(weight(written).saturating_mul(2).saturating_add(pattern_bytes))
    }

    fn take(&mut self, bytes: usize) -> Result<(), Invalid> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bytes_max {
            let most = self.bytes_max;
            return Err(Invalid::here(format!(
                "all that is asked takes over {most} bytes compiled: ask with fewer or smaller patterns"
            )));
        }
        Ok(())
    }
}

/// About what a value takes, in bytes. Its depth has a bound, since it was parsed.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => VALUE_BYTES + text.len(),
        Value::Array(items) => VALUE_BYTES + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) => {
            let each = members.iter().map(|(name, value)| VALUE_BYTES + name.len() + weight(value));
            OBJECT_BYTES + each.sum::<usize>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => VALUE_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rules::Expression;

    const PATTERN_BYTES_MAX: usize = 262_144;

    fn parsed(inquiry: &Value) -> Result<usize, String> {
        let mut allowance = Allowance::of_inquiry(PATTERN_BYTES_MAX);
        let parsed = Expression::parse_inquiry(inquiry, &mut allowance);
        parsed.map(|_| allowance.bytes()).map_err(|invalid| invalid.to_string())
    }

    fn leaves(leaf: &Value, count: usize) -> Value {
        json!({"any": vec![leaf; count]})
    }

    #[test]
    fn patterns_that_take_much_are_few() {
        let large = json!({"at": "body_text", "matches": r"\w{4}0"});
        assert!(parsed(&leaves(&large, 10)).is_ok());
        let why = parsed(&leaves(&large, 100)).unwrap_err();
        assert!(why.contains("8388608 bytes"), "{why}");
        let small = json!({"at": "body_text", "matches": "paid"});
        assert!(parsed(&leaves(&small, 200)).unwrap() < INQUIRY_BYTES_MAX);
        assert!(
            Expression::parse(&leaves(&large, 100), PATTERN_BYTES_MAX).is_ok(),
            "a rule has its own bounds"
        );
    }

    #[test]
    fn lists_and_documents_that_are_compared_with_count() {
        let list = json!({"at": "path", "in": vec![1; 1_000]});
        assert!(parsed(&leaves(&list, 20)).is_ok());
        assert!(parsed(&leaves(&list, 80)).is_err());
        let document = json!({"at": "json", "json_equals": vec![json!({}); 10_000]});
        assert!(parsed(&document).is_err());
    }

    #[test]
    fn expressions_of_one_document_share_it() {
        let mut allowance = Allowance::of_inquiry(PATTERN_BYTES_MAX);
        let some = leaves(&json!({"at": "method", "equals": "GET"}), 400);
        for _ in 0..2 {
            Expression::parse_inquiry(&some, &mut allowance).unwrap();
        }
        let why = Expression::parse_inquiry(&some, &mut allowance).unwrap_err().to_string();
        assert!(why.contains("1000 nodes"), "{why}");
    }
}
