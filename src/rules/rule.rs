//! One rule, compiled from its document.

use std::sync::Arc;

use serde_json::Value;

use super::expression::Expression;
use super::invalid::Invalid;
use super::object::{Object, list, text};
use super::reply::{Reply, RuleOptions};
use super::seen::Seen;
use super::work::Work;
use crate::model::{CaptureKind, Glob};

/// Longest name of a rule, a scenario or a state, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

const REPLIES_MAX: usize = 100;

/// A rule that may answer.
#[derive(Debug)]
pub struct Rule {
    pub name: Arc<str>,
    pub stamp: Stamp,
    pub enabled: bool,
    /// Higher first.
    pub priority: i64,
    /// The codes of endpoints that it is for.
    pub scope: Glob,
    pub scenario: Option<Scenario>,
    expression: Expression,
    methods: Option<Vec<String>>,
    replies: Vec<Reply>,
    after_last: AfterLast,
}

/// Which state of a rule this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    pub version: i64,
    /// Places in the journal. Of rules of one priority the older is first.
    pub created_seq: i64,
    pub changed_seq: i64,
}

/// A named state that a rule requires, sets, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    pub name: String,
    pub requires: Option<String>,
    pub sets: Option<String>,
}

/// What comes after the last of several replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLast {
    Stay,
    StartAgain,
}

impl Rule {
    /// Reads a rule's document.
    ///
    /// # Errors
    /// With the first mistake and its place.
    pub fn parse(name: &str, document: &Value, stamp: Stamp, options: &RuleOptions) -> Result<Self, Invalid> {
        check_name(name).map_err(|invalid| invalid.within("name"))?;
        let mut object = Object::of(document)?;
        if object.text("name")?.is_some_and(|own| own != name) {
            return Err(Invalid::member("name", "it is not the name in the URL"));
        }
        object.read("description", |value| match text(value)? {
            text if text.len() <= 4_096 => Ok(()),
            _ => Err(Invalid::here("it has at most 4096 bytes")),
        })?;
        let scope = object.read("scope", |value| Glob::parse(text(value)?).map_err(Invalid::here))?;
        let expression = object.read("match", |value| Expression::parse(value, options.pattern_bytes_max))?;
        let expression = match expression {
            Some(expression) => expression,
            None => Expression::all(),
        };
        let mut work = Work::of_rule();
        let mut reply = |value| Reply::parse(value, options, &mut work);
        let one = object.read("reply", &mut reply)?;
        let several = object.read("replies", |value| list(value, REPLIES_MAX, reply))?;
        let replies = match (one, several) {
            (Some(_), Some(_)) => return Err(Invalid::member("replies", "there is `reply` already")),
            (Some(reply), None) => vec![reply],
            (None, Some(replies)) if !replies.is_empty() => replies,
            _ => return Err(Invalid::member("reply", "a rule has a reply, or a list of `replies`")),
        };
        let after_last = match object.text("after_last")? {
            None | Some("stay") => AfterLast::Stay,
            Some("start_again") => AfterLast::StartAgain,
            Some(_) => return Err(Invalid::member("after_last", "`stay` or `start_again` is expected")),
        };
        let rule = Self {
            name: name.into(),
            stamp,
            enabled: object.flag("enabled")?.unwrap_or(true),
            priority: object.integer("priority")?.unwrap_or(0),
            scope: scope.unwrap_or_else(|| Glob::parse("*").expect("it is one")),
            scenario: object.read("scenario", Scenario::parse)?,
            methods: expression.methods(),
            expression,
            replies,
            after_last,
        };
        object.end()?;
        Ok(rule)
    }

    /// Whether the rule is for a request as far as the request alone tells: scenarios are another matter.
    pub fn matches(&self, seen: &Seen<'_>) -> bool {
        let capture = seen.capture;
        self.is_for(capture.kind)
            && self.methods.as_ref().is_none_or(|methods| methods.iter().any(|m| *m == capture.method))
            && self.expression.matches(seen)
    }

    /// A rule for messages says so; any other is for requests, and for the opening of a WebSocket none.
    pub fn is_for(&self, kind: CaptureKind) -> bool {
        match kind {
            CaptureKind::Http => true,
            CaptureKind::WebSocketText | CaptureKind::WebSocketBinary => {
                self.replies.iter().any(|reply| reply.message.is_some())
            }
            CaptureKind::WebSocketOpen | CaptureKind::WebSocketClose => false,
        }
    }

    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    /// Whether its matches are counted, since each is answered otherwise.
    pub fn counts(&self) -> bool {
        self.replies.len() > 1
    }

    /// Whether more than the request decides.
    pub fn is_stateful(&self) -> bool {
        self.counts() || self.scenario.is_some()
    }

    /// The reply to the n-th match, from 1.
    pub fn reply(&self, hit: i64) -> &Reply {
        let place = usize::try_from(hit.max(1) - 1).unwrap_or(usize::MAX);
        let last = self.replies.len() - 1;
        match self.after_last {
            AfterLast::Stay => &self.replies[place.min(last)],
            AfterLast::StartAgain => &self.replies[place % self.replies.len()],
        }
    }

    /// Whether it, or a template of its replies, may look into the body.
    pub fn looks_into_body(&self) -> bool {
        self.expression.looks_into_body() || !self.replies.iter().all(Reply::is_static)
    }
}

impl Scenario {
    fn parse(value: &Value) -> Result<Self, Invalid> {
        let mut object = Object::of(value)?;
        let state = |value| {
            let state = text(value)?;
            check_name(state).map(|()| state.to_owned())
        };
        let scenario = Self {
            name: object.read("name", state)?.ok_or_else(|| Invalid::member("name", "this is missing"))?,
            requires: object.read("requires", state)?,
            sets: object.read("sets", state)?,
        };
        object.end()?;
        if scenario.requires.is_none() && scenario.sets.is_none() {
            return Err(Invalid::here("a scenario's rule `requires` a state, `sets` one, or both"));
        }
        Ok(scenario)
    }
}

/// A name: 1 to 255 bytes of UTF-8 without control characters.
pub fn check_name(name: &str) -> Result<(), Invalid> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(Invalid::here(format!("a name has 1 to {NAME_BYTES_MAX} bytes")));
    }
    if name.chars().any(char::is_control) {
        return Err(Invalid::here("a name has no control characters"));
    }
    Ok(())
}
