//! Values that may hold a password. They never print as they are: not in a log, and not in an answer.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// What stands for what is not shown.
const HIDDEN: &str = "***";

/// Parameters of a URL that are no secret; all others are hidden, since databases take passwords there, too.
const SHOWN_PARAMETERS: [&str; 3] = ["sslmode", "sslrootcert", "application_name"];

/// A value that may hold a password; it prints as `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// A URL that may hold a password; it prints as `***`, and is shown without the password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl SecretUrl {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&match self.0.contains("://") || self.0 == "local" {
            true => without_password(&self.0),
            false => HIDDEN.to_owned(),
        })
    }
}

/// A text that may be a URL, without the password in it. In doubt too much is hidden: a password that is not
/// percent-encoded may have any character, so everything up to the last `@` counts.
pub fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    if rest.split_once('?').is_some_and(|(_, behind)| behind.contains('@')) {
        return format!("{scheme}://{HIDDEN}");
    }
    let (user, rest) = match rest.rsplit_once('@').filter(|_| scheme != "sqlite") {
        None => (String::new(), rest),
        // A name alone may be a token.
        Some((credentials, rest)) => match credentials.split_once(':') {
            Some((user, _)) => (format!("{user}:{HIDDEN}@"), rest),
            None => (format!("{HIDDEN}@"), rest),
        },
    };
    let Some((place, parameters)) = rest.split_once('?') else { return format!("{scheme}://{user}{rest}") };
    let shown: Vec<String> = parameters.split('&').map(parameter).collect();
    format!("{scheme}://{user}{place}?{}", shown.join("&"))
}

fn parameter(text: &str) -> String {
    match text.split_once('=') {
        Some((name, _)) if SHOWN_PARAMETERS.contains(&name) => text.to_owned(),
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None => HIDDEN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let table = [
            ("local", "local"),
            ("sqlite:///home/me@home/creel.db", "sqlite:///home/me@home/creel.db"),
            ("postgres://host/name", "postgres://host/name"),
            ("postgres://me:word@host:5432/name", "postgres://me:***@host:5432/name"),
            ("postgres://me:w@rd/x:y@host/name", "postgres://me:***@host/name"),
            ("postgres://me:w@rd/x:y?z@host/name", "postgres://***"),
            (
                "postgres://me@host/name?sslmode=require&password=word",
                "postgres://***@host/name?sslmode=require&password=***",
            ),
            ("postgres://host:1/name?password=w@rd", "postgres://***"),
            ("redis://:word@host", "redis://:***@host"),
            ("redis://word@host", "redis://***@host"),
            ("amqps://me:word@host/vhost?word", "amqps://me:***@host/vhost?***"),
        ];
        for (url, expected) in table {
            let url = SecretUrl(url.to_owned());
            assert_eq!(serde_json::to_value(&url).unwrap(), expected, "{}", url.0);
            assert_eq!(format!("{url:?}"), "***");
        }
        assert_eq!(serde_json::to_value(Secret("abc://def".to_owned())).unwrap(), "***");
        assert_eq!(serde_json::to_value(SecretUrl("word".to_owned())).unwrap(), "***");
    }
}
