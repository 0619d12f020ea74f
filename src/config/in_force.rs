//! The settings in force, as they may be shown: every key of the reference with its value and where that was said.

use serde_json::{Map, Value};

use super::Settings;
use super::load::keys;
use super::secret::without_password;

/// A setting as it may be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct InForce {
    /// The section as it stands in the reference: `capture.websocket`.
    pub section: String,
    pub name: String,
    /// Without passwords and tokens.
    pub value: Value,
    /// None: as by default.
    pub origin: Option<String>,
}

impl Settings {
    /// Every setting of the reference. What is a secret its type says, so that a new one is hidden wherever it stands.
    pub fn in_force(&self) -> Vec<InForce> {
        let values = serde_json::to_value(self).expect("settings are plain types with names");
        keys()
            .into_iter()
            .map(|key| {
                let (section, name) = key.rsplit_once('.').unwrap_or(("", &key));
                InForce {
                    section: section.to_owned(),
                    name: name.to_owned(),
                    value: shown(find(&values, &key)),
                    origin: self.origins.get(&key).cloned(),
                }
            })
            .collect()
    }
}

fn find<'a>(values: &'a Value, key: &str) -> &'a Value {
    key.split('.').fold(values, |value, part| value.get(part).unwrap_or(&Value::Null))
}

/// What is not set is an empty text, as in the reference. A URL among the plain texts may have a password by mistake.
fn shown(value: &Value) -> Value {
    match value {
        Value::Null => Value::String(String::new()),
        Value::String(text) => Value::String(without_password(text)),
        Value::Array(items) => Value::Array(items.iter().map(shown).collect()),
        Value::Object(members) => Value::Object(
            members.iter().map(|(name, value)| (name.clone(), shown(value))).collect::<Map<_, _>>(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Source, load};

    #[test]
    fn every_setting_is_shown_as_it_is_in_force() {
        let flags = vec![("broker.url", "redis://:word@host".to_owned())];
        let settings = load(&Source { flags, ..Source::default() }).unwrap();
        let shown = settings.in_force();
        let reference = super::super::reference::markdown();
        for setting in &shown {
            let heading = format!("### `{}.{}`\n", setting.section, setting.name);
            assert!(reference.contains(&heading), "{heading}");
            assert!(!setting.value.is_null());
        }
        assert_eq!(shown.len(), reference.matches("\n### `").count());
        let find = |name: &str| shown.iter().find(|s| format!("{}.{}", s.section, s.name) == name).unwrap();
        assert_eq!(find("server.listen").value, "127.0.0.1:9669");
        assert_eq!(find("server.api_listen").value, "");
        assert_eq!(find("capture.websocket.echo").value, false);
        assert_eq!(find("auth.mode").value, "tokens");
        let broker = find("broker.url");
        assert_eq!(broker.value, "redis://:***@host");
        assert_eq!(broker.origin.as_deref(), Some("the command line"));
    }
}
