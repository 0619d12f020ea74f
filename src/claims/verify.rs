//! Several claims about the same captures, which are handed in once, one by one, in the journal's order.

use std::cell::Cell;
use std::collections::HashMap;

use serde_json::Value;

use super::Count;
use super::evidence::{GAVE_UP, UNDECIDED, Verdict};
use super::number::Number;
use super::order::{InOrder, Others};
use super::spacing::{Bounds, Spacing, Terms};
use super::unique::Unique;
use crate::rules::object::{Object, list};
use crate::rules::{Allowance, Expression, Invalid, Key, Seen};

/// Claims in a document, expressions with a name, steps of an order, gaps of a spacing.
const CLAIMS_MAX: usize = 50;
const NAMES_MAX: usize = 100;
const STEPS_MAX: usize = 50;
const GAPS_MAX: usize = 100;
/// Expressions in all, named or not.
const EXPRESSIONS_MAX: usize = 200;
const NAME_BYTES_MAX: usize = 255;
/// The longest time that a gap may be claimed to be, in milliseconds: a year.
const GAP_MS_MAX: u64 = 366 * 86_400_000;
/// Values that all claims of a document together remember.
const VALUES_MAX: usize = 400_000;

/// What is claimed, and what was seen of it so far.
#[derive(Debug)]
pub struct Verification {
    expressions: Vec<Expression>,
    claims: Vec<Named>,
    /// How many more values may be remembered.
    room: usize,
    /// Captures with which it took too long to tell what matches.
    gave_up: u64,
}

#[derive(Debug)]
struct Named {
    name: Option<String>,
    claim: Claim,
}

/// Expressions are told by their places; none means all captures.
#[derive(Debug)]
enum Claim {
    Count(Option<usize>, Number),
    InOrder(Vec<usize>, InOrder),
    Spacing(Option<usize>, Spacing),
    UniqueBy(Option<usize>, Key, Unique),
}

/// One claim's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<'a> {
    pub name: Option<&'a str>,
    /// Its form, as its document says it: `count`, `in_order`, `spacing`, `unique_by`.
    pub claim: &'static str,
    pub verdict: Verdict,
}

impl Verification {
    /// Takes `expressions` and `claims` out of a document, all of whose inquiries share an allowance.
    ///
    /// # Errors
    /// With the first mistake and its place.
    pub fn parse(document: &mut Object<'_>, allowance: &mut Allowance) -> Result<Self, Invalid> {
        let mut reading = Reading { allowance, expressions: Vec::new(), names: HashMap::new() };
        document.read("expressions", |value| reading.names(value))?;
        let claims = document.read("claims", |value| {
            let claims = list(value, CLAIMS_MAX, |claim| reading.named(claim))?;
            if claims.is_empty() { Err(Invalid::here("one claim at least is expected")) } else { Ok(claims) }
        })?;
        let claims = claims.ok_or_else(|| Invalid::member("claims", "this says what is verified"))?;
        Ok(Self { expressions: reading.expressions, claims, room: VALUES_MAX, gave_up: 0 })
    }

    /// Whether any claim may look into bodies.
    pub fn looks_into_body(&self) -> bool {
        self.expressions.iter().any(Expression::looks_into_body) || self.has_key_in_body()
    }

    /// Whether a capture's body is needed to tell what it is to the claims.
    pub fn needs_body(&self, seen: &Seen<'_>) -> bool {
        self.has_key_in_body() || self.expressions.iter().any(|one| one.decided_without_body(seen).is_none())
    }

    fn has_key_in_body(&self) -> bool {
        let mut claims = self.claims.iter();
        claims.any(|named| matches!(&named.claim, Claim::UniqueBy(_, key, _) if key.is_in_body()))
    }

    /// The next capture. Each expression is asked once at most. Where that takes too long, what is left does not match,
    /// and the capture leaves open what it could break.
    pub fn take(&mut self, seen: &Seen<'_>) {
        let Self { expressions, claims, room, gave_up } = self;
        seen.look_again();
        let left = Cell::new(true);
        let known: Vec<Cell<Option<bool>>> = vec![Cell::new(None); expressions.len()];
        let matches = |place: usize| {
            let verdict = known[place].get().unwrap_or_else(|| {
                let verdict = expressions[place].matches(seen);
                // A thread may be held up by others, once.
                if seen.gave_up() && left.replace(false) {
                    seen.look_again();
                    return expressions[place].matches(seen);
                }
                verdict
            });
            known[place].set(Some(verdict));
            verdict && !seen.gave_up()
        };
        let about = |place: &Option<usize>| place.is_none_or(&matches);
        for Named { claim, .. } in claims {
            match claim {
                Claim::Count(place, number) if about(place) => number.take(seen.capture),
                Claim::Spacing(place, spacing) if about(place) => spacing.take(seen.capture),
                Claim::UniqueBy(place, key, unique) if about(place) => {
                    unique.take(seen.capture, key.digests(seen).as_deref(), room);
                }
                Claim::InOrder(steps, order) => order.take(seen.capture, |step| matches(steps[step])),
                Claim::Count(..) | Claim::Spacing(..) | Claim::UniqueBy(..) => {}
            }
        }
        *gave_up += u64::from(seen.gave_up());
    }

    /// Captures with which it took too long to tell what matches.
    pub fn gave_up(&self) -> u64 {
        self.gave_up
    }

    /// What became of each claim, once `all` captures were handed in, or as far as that does not matter. `gave_up` more
    /// were not, though they may belong to them.
    pub fn told(&self, all: bool, gave_up: u64) -> Vec<Told<'_>> {
        let in_doubt = self.gave_up + gave_up > 0;
        let all = all && !in_doubt;
        let told = |named: &'_ Named| match &named.claim {
            Claim::Count(_, number) => ("count", number.verdict(all)),
            Claim::InOrder(_, order) => ("in_order", order.verdict(all)),
            Claim::Spacing(_, spacing) => ("spacing", spacing.verdict(all)),
            Claim::UniqueBy(_, _, unique) => ("unique_by", unique.verdict(all)),
        };
        let claims = self.claims.iter();
        claims
            .map(|named| {
                let (claim, mut verdict) = told(named);
                if in_doubt {
                    named.claim.doubt(&mut verdict);
                }
                Told { name: named.name.as_deref(), claim, verdict }
            })
            .collect()
    }
}

impl Claim {
    /// Takes back what one capture more could change.
    fn doubt(&self, verdict: &mut Verdict) {
        let is_about_neighbours = match self {
            Self::Spacing(..) => true,
            Self::InOrder(_, order) => order.is_at_once(),
            Self::Count(..) | Self::UniqueBy(..) => false,
        };
        if is_about_neighbours {
            *verdict = Verdict::undecided(verdict.found);
        }
        if verdict.why.as_deref() == Some(UNDECIDED) {
            verdict.why = Some(GAVE_UP.to_owned());
        }
    }
}

/// What was read of a document so far.
struct Reading<'a, 'b> {
    allowance: &'b mut Allowance,
    expressions: Vec<Expression>,
    /// The places of those that have a name.
    names: HashMap<&'a str, usize>,
}

impl<'a> Reading<'a, '_> {
    fn names(&mut self, value: &'a Value) -> Result<(), Invalid> {
        let members = value.as_object().ok_or_else(|| Invalid::here("an object is expected"))?;
        if members.len() > NAMES_MAX {
            return Err(Invalid::here(format!(
                "there are {} of them, and may be {NAMES_MAX}",
                members.len()
            )));
        }
        for (name, value) in members {
            let place = self.expression(value).map_err(|invalid| invalid.within(name))?;
            self.names.insert(name, place);
        }
        Ok(())
    }

    /// The place of an expression: of one with a name, or of a new one.
    fn expression(&mut self, value: &Value) -> Result<usize, Invalid> {
        if value.get("ref").is_some() {
            let mut object = Object::of(value)?;
            let name = object.text("ref")?.unwrap_or_default();
            object.end()?;
            let known = self.names.get(name).copied();
            return known.ok_or_else(|| {
                let why = format!("`expressions` has no `{name}` (before this)");
                Invalid::member("ref", why)
            });
        }
        if self.expressions.len() == EXPRESSIONS_MAX {
            return Err(Invalid::here(format!("there are over {EXPRESSIONS_MAX} expressions")));
        }
        self.expressions.push(Expression::parse_inquiry(value, self.allowance)?);
        Ok(self.expressions.len() - 1)
    }

    fn named(&mut self, value: &Value) -> Result<Named, Invalid> {
        let mut object = Object::of(value)?;
        let name = object.read("name", name)?;
        let given = ["count", "in_order", "spacing", "unique_by"].into_iter().filter(|form| object.has(form));
        if given.count() != 1 {
            let why = "one of `count`, `in_order`, `spacing` and `unique_by` is expected";
            return Err(Invalid::here(why));
        }
        let claim = if let Some(count) = object.read("count", Count::parse)? {
            let about = object.read("match", |value| self.expression(value))?;
            Claim::Count(about, Number::new(count))
        } else if let Some(steps) = object.read("in_order", |value| self.steps(value))? {
            let others = match object.flag("others")? {
                None | Some(true) => Others::Allowed,
                Some(false) => Others::Refused,
            };
            let order = InOrder::new(steps.len(), others);
            Claim::InOrder(steps, order)
        } else if let Some(claim) = object.read("spacing", |value| self.spacing(value))? {
            claim
        } else {
            object.read("unique_by", |value| self.unique(value))?.expect("one of the four is there")
        };
        object.end()?;
        Ok(Named { name, claim })
    }

    fn steps(&mut self, value: &Value) -> Result<Vec<usize>, Invalid> {
        let steps = list(value, STEPS_MAX, |step| self.expression(step))?;
        if steps.is_empty() { Err(Invalid::here("one step at least is expected")) } else { Ok(steps) }
    }

    fn spacing(&mut self, value: &Value) -> Result<Claim, Invalid> {
        let mut object = Object::of(value)?;
        let about = object.read("match", |value| self.expression(value))?;
        let each = bounds(&mut object)?;
        let gaps = object.read("gaps", |value| {
            list(value, GAPS_MAX, |gap| {
                let mut object = Object::of(gap)?;
                let bounds = bounds(&mut object)?;
                object.end().map(|()| bounds)
            })
        })?;
        let growing = object.flag("growing")?.unwrap_or(false);
        object.end()?;
        let terms = Terms { each, gaps: gaps.unwrap_or_default(), growing };
        if terms == Terms::default() {
            return Err(Invalid::here("one of `least_ms`, `most_ms`, `gaps` and `growing` is expected"));
        }
        Ok(Claim::Spacing(about, Spacing::new(terms)))
    }

    fn unique(&mut self, value: &Value) -> Result<Claim, Invalid> {
        let mut object = Object::of(value)?;
        let about = object.read("match", |value| self.expression(value))?;
        let key = Key::parse(&mut object)?;
        object.end()?;
        Ok(Claim::UniqueBy(about, key, Unique::default()))
    }
}

/// What people call a claim, or a whole verification.
///
/// # Errors
/// Where it is no text, or an empty or a long one.
pub fn name(value: &Value) -> Result<String, Invalid> {
    match value.as_str() {
        Some(name) if (1..=NAME_BYTES_MAX).contains(&name.len()) => Ok(name.to_owned()),
        _ => Err(Invalid::here(format!("a text of 1 to {NAME_BYTES_MAX} bytes is expected"))),
    }
}

fn bounds(object: &mut Object<'_>) -> Result<Bounds, Invalid> {
    let least_ms = object.within("least_ms", 0, GAP_MS_MAX)?;
    let most_ms = object.within("most_ms", 0, GAP_MS_MAX)?;
    if let (Some(least), Some(most)) = (least_ms, most_ms)
        && least > most
    {
        return Err(Invalid::member("least_ms", "this is over `most_ms`"));
    }
    Ok(Bounds { least_ms, most_ms })
}
