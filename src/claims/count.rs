//! How many captures there shall be.

use serde_json::Value;

use crate::rules::Invalid;
use crate::rules::object::Object;

/// The most that can be asked for.
const COUNT_MAX: u64 = 1_000_000;

/// Which side of a number is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    AtLeast,
    Exactly,
    AtMost,
}

/// A number of captures, and what of it is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub bound: Bound,
    pub n: u64,
}

impl Count {
    /// One or more.
    pub const SOME: Self = Self { bound: Bound::AtLeast, n: 1 };

    /// Reads a number, which is at least, or an object that says which it is.
    ///
    /// # Errors
    /// Where it is neither, or is met by anything.
    pub fn parse(value: &Value) -> Result<Self, Invalid> {
        if value.is_number() {
            return match value.as_u64() {
                Some(n @ 1..=COUNT_MAX) => Ok(Self { bound: Bound::AtLeast, n }),
                _ => Err(Invalid::here(format!(
                    "a whole number from 1 to {COUNT_MAX} is expected; for none there is {{\"exactly\":0}}"
                ))),
            };
        }
        let mut object = Object::of(value)?;
        let given = [
            (Bound::AtLeast, object.within("at_least", 1, COUNT_MAX)?),
            (Bound::Exactly, object.within("exactly", 0, COUNT_MAX)?),
            (Bound::AtMost, object.within("at_most", 0, COUNT_MAX)?),
        ];
        object.end()?;
        let mut given = given.into_iter().filter_map(|(bound, n)| Some(Self { bound, n: n? }));
        match (given.next(), given.next()) {
            (Some(count), None) => Ok(count),
            _ => Err(Invalid::here("a number, or one of `at_least`, `exactly` and `at_most`, is expected")),
        }
    }

    /// Whether a number is allowed.
    pub fn allows(self, found: u64) -> bool {
        match self.bound {
            Bound::AtLeast => found >= self.n,
            Bound::Exactly => found == self.n,
            Bound::AtMost => found <= self.n,
        }
    }

    /// Whether a number is too large, and stays so.
    pub fn is_exceeded(self, found: u64) -> bool {
        self.bound != Bound::AtLeast && found > self.n
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = match self.bound {
            Bound::AtLeast => "at least",
            Bound::Exactly => "exactly",
            Bound::AtMost => "at most",
        };
        write!(f, "{bound} {}", self.n)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_count_is_a_number_or_says_which_side() {
        for (value, bound, n) in [
            (json!(3), Bound::AtLeast, 3),
            (json!({"at_least": 1}), Bound::AtLeast, 1),
            (json!({"exactly": 0}), Bound::Exactly, 0),
            (json!({"at_most": 1_000_000, "exactly": null}), Bound::AtMost, 1_000_000),
        ] {
            assert_eq!(Count::parse(&value), Ok(Count { bound, n }), "{value}");
        }
        for (value, why) in [
            (json!(0), "a whole number from 1 to 1000000 is expected; for none there is {\"exactly\":0}"),
            (json!(-1), "a whole number from 1 to 1000000 is expected; for none there is {\"exactly\":0}"),
            (json!({"at_least": 0}), "/at_least: a whole number from 1 to 1000000 is expected"),
            (json!({"at_most": 1_000_001}), "/at_most: a whole number from 0 to 1000000 is expected"),
            (json!({}), "a number, or one of `at_least`, `exactly` and `at_most`, is expected"),
            (json!({"at_most": 1, "exactly": 1}), "a number, or one of"),
            (json!({"most": 1}), "/most: this is not known here"),
            (json!("3"), "an object is expected"),
        ] {
            let found = Count::parse(&value).unwrap_err().to_string();
            assert!(found.starts_with(why), "{value}: {found}");
        }
    }

    #[test]
    fn what_is_exceeded_is_never_allowed_again() {
        for bound in [Bound::AtLeast, Bound::Exactly, Bound::AtMost] {
            for n in 0..4 {
                let count = Count { bound, n };
                for found in (0..8).filter(|found| count.is_exceeded(*found)) {
                    assert!((found..8).all(|more| !count.allows(more)), "{count} of {found}");
                }
            }
        }
    }
}
