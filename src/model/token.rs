//! What a token is made of, checked: the API and the command line ask alike.

use super::limits::{TOKEN_DAYS_MAX, TOKEN_NAME_BYTES_MAX};
use super::{Glob, Scope};

/// A token that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenOrder {
    pub name: String,
    pub scope: Scope,
    pub pattern: Option<Glob>,
    pub expires_in_s: Option<i64>,
}

/// Why there can be no such token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTokenOrder {
    #[error("`name`: 1 to {TOKEN_NAME_BYTES_MAX} bytes without control characters are expected")]
    Name,
    #[error("`scope`: `read`, `write` or `admin` is expected")]
    Scope,
    #[error(
        "`pattern`: a pattern has 1 to 512 bytes, no control characters, and a backslash before `*` and `\\` only"
    )]
    Pattern,
    #[error("`pattern`: the scope `admin` is for the whole cluster, so it takes none")]
    AdminOfSome,
    #[error("the token's time is from one second to {TOKEN_DAYS_MAX} days")]
    Expiry,
}

impl TokenOrder {
    pub fn parse(
        name: String,
        scope: &str,
        pattern: Option<&str>,
        expires_in_s: Option<u64>,
    ) -> Result<Self, InvalidTokenOrder> {
        if name.is_empty() || name.len() > TOKEN_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(InvalidTokenOrder::Name);
        }
        let scope = Scope::parse(scope).ok_or(InvalidTokenOrder::Scope)?;
        if pattern.is_some_and(|pattern| pattern.chars().any(char::is_control)) {
            return Err(InvalidTokenOrder::Pattern);
        }
        let pattern = pattern.map(Glob::parse).transpose().map_err(|_| InvalidTokenOrder::Pattern)?;
        if scope == Scope::Admin && pattern.is_some() {
            return Err(InvalidTokenOrder::AdminOfSome);
        }
        let expires_in_s = match expires_in_s.map(i64::try_from) {
            None => None,
            Some(Ok(seconds)) if (1..=TOKEN_DAYS_MAX * 86_400).contains(&seconds) => Some(seconds),
            Some(_) => return Err(InvalidTokenOrder::Expiry),
        };
        Ok(Self { name, scope, pattern, expires_in_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_it_says_or_refused() {
        let parse =
            |name: &str, scope, pattern, expires| TokenOrder::parse(name.to_owned(), scope, pattern, expires);
        let order = parse("ci", "write", Some("ci-*"), Some(60)).unwrap();
        assert_eq!((order.scope, order.expires_in_s), (Scope::Write, Some(60)));
        assert!(order.pattern.is_some_and(|pattern| pattern.matches("ci-1")));
        for (found, expected) in [
            (parse("", "read", None, None), InvalidTokenOrder::Name),
            (parse(&"n".repeat(101), "read", None, None), InvalidTokenOrder::Name),
            (parse("a\nb", "read", None, None), InvalidTokenOrder::Name),
            (parse("a", "all", None, None), InvalidTokenOrder::Scope),
            (parse("a", "read", Some(""), None), InvalidTokenOrder::Pattern),
            (parse("a", "read", Some("a\\b"), None), InvalidTokenOrder::Pattern),
            (parse("a", "read", Some("a\0"), None), InvalidTokenOrder::Pattern),
            (parse("a", "admin", Some("*"), None), InvalidTokenOrder::AdminOfSome),
            (parse("a", "read", None, Some(0)), InvalidTokenOrder::Expiry),
            (parse("a", "read", None, Some(u64::MAX)), InvalidTokenOrder::Expiry),
        ] {
            assert_eq!(found, Err(expected));
        }
    }
}
