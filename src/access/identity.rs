//! Who a request comes from, and what that lets them do.

use std::sync::Arc;

use crate::model::{EndpointCode, Glob, Scope};

/// What stands for someone in the database who has no token there.
const ANYBODY: &str = "anybody";
const SETTINGS: &str = "settings";

/// By what somebody has come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The node asks nobody.
    Anybody,
    /// A token of the settings.
    Settings,
    /// A token of the database, by its id.
    Token(String),
}

/// Somebody who was let in.
#[derive(Debug, Clone)]
pub struct Identity {
    pub holder: Holder,
    pub scope: Scope,
    /// The endpoints that there are for them; None means all.
    pub pattern: Option<Glob>,
    /// When it is over, in microseconds.
    pub expires_us: Option<i64>,
}

impl Holder {
    /// As it is kept with a ticket. The ids of tokens are UUIDs, so that none is one of the words.
    pub fn name(&self) -> &str {
        match self {
            Self::Anybody => ANYBODY,
            Self::Settings => SETTINGS,
            Self::Token(id) => id,
        }
    }

    /// The id of their token, where it is one of the database.
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Token(id) => Some(id),
            Self::Anybody | Self::Settings => None,
        }
    }

    pub fn named(name: &str) -> Self {
        match name {
            ANYBODY => Self::Anybody,
            SETTINGS => Self::Settings,
            id => Self::Token(id.to_owned()),
        }
    }
}

impl Identity {
    /// Someone who may do everything, and has no token of the database.
    pub fn all_mighty(holder: Holder) -> Arc<Self> {
        Arc::new(Self { holder, scope: Scope::Admin, pattern: None, expires_us: None })
    }

    /// Whether they may do what wants this scope. What concerns the whole cluster is for nobody who may see a
    /// part of it only.
    pub fn may(&self, scope: Scope, whole: bool) -> bool {
        self.scope >= scope && (!whole || self.pattern.is_none())
    }

    /// Whether an endpoint is there for them.
    pub fn sees(&self, code: &EndpointCode) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(code.as_str()))
    }

    pub fn is_over(&self, now_us: i64) -> bool {
        self.expires_us.is_some_and(|expires_us| expires_us <= now_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_what_is_below_it_and_a_pattern_keeps_the_cluster_out() {
        let identity = |scope, pattern: Option<&str>| Identity {
            holder: Holder::Settings,
            scope,
            pattern: pattern.map(|pattern| Glob::parse(pattern).unwrap()),
            expires_us: None,
        };
        let scopes = [Scope::Read, Scope::Write, Scope::Admin];
        for (given, pattern, allowed) in [
            (Scope::Read, None, [true, false, false]),
            (Scope::Write, None, [true, true, false]),
            (Scope::Admin, None, [true, true, true]),
            (Scope::Read, Some("ci-*"), [true, false, false]),
            (Scope::Write, Some("ci-*"), [true, true, false]),
            (Scope::Admin, Some("ci-*"), [true, true, false]),
        ] {
            assert_eq!(
                scopes.map(|scope| identity(given, pattern).may(scope, scope == Scope::Admin)),
                allowed,
                "{given:?} {pattern:?}"
            );
        }
        let code = |code| EndpointCode::parse(code).unwrap();
        assert!(identity(Scope::Read, Some("ci-*")).sees(&code("ci-7")));
        assert!(!identity(Scope::Read, Some("ci-*")).sees(&code("prod")));
        assert!(identity(Scope::Read, None).sees(&code("prod")));
    }

    #[test]
    fn a_holder_comes_back_from_its_name() {
        for holder in [Holder::Anybody, Holder::Settings, Holder::Token("01a1fd89".to_owned())] {
            assert_eq!(Holder::named(holder.name()), holder);
        }
    }
}
