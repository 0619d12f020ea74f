//! Lays the sources over each other, and reports all mistakes together.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use config::{Config, File, FileFormat, Map, Value, ValueKind};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::{DEFAULTS, Settings, check};

/// Where settings come from, beside the defaults; later ones win.
#[derive(Debug, Clone, Default)]
pub struct Source {
    pub file: Option<PathBuf>,
    /// All environment variables; those named `CREEL_SECTION__KEY` count.
    pub environment: Vec<(String, String)>,
    /// Keys as in the file (`server.listen`) with values from the command line.
    pub flags: Vec<(&'static str, String)>,
}

/// Everything that is wrong with the settings, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSettings(pub Vec<String>);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings are not valid:")?;
        for mistake in &self.0 {
            write!(f, "\n  - {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidSettings {}

/// Loads the settings.
///
/// # Errors
/// With every mistake found: unknown keys, wrong types, values out of their range, settings that do not
/// fit together.
pub fn load(source: &Source) -> Result<Settings, InvalidSettings> {
    let defaults = leaves(&tree(Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml)))?);
    let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
    if let Some(path) = &source.file {
        builder = builder.add_source(File::from(path.as_path()).required(true));
    }
    let mut mistakes = Vec::new();
    let named = named_in_environment(&source.environment).chain(
        source
            .flags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone(), "the command line".to_owned())),
    );
    for (key, text, origin) in named {
        match defaults.get(&key) {
            None => mistakes
                .push(format!("{key}: there is no such setting ({origin}){}", nearest(&key, &defaults))),
            Some(default) => {
                let value = match default.kind {
                    ValueKind::Array(_) => Value::new(Some(&origin), list(&text)),
                    _ => Value::new(Some(&origin), ValueKind::String(text)),
                };
                builder = builder.set_override(&key, value).map_err(one)?;
            }
        }
    }
    let merged = builder.build().map_err(one)?;
    for (key, value) in leaves(&merged.clone().try_deserialize::<Map<String, Value>>().map_err(one)?) {
        let origin = value.origin().unwrap_or("the defaults").to_owned();
        match defaults.get(&key) {
            None => mistakes
                .push(format!("{key}: there is no such setting ({origin}){}", nearest(&key, &defaults))),
            Some(default) => {
                mistakes.extend(of_the_type(default, value).err().map(|e| format!("{key}: {e} ({origin})")))
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(InvalidSettings(mistakes));
    }
    let settings: Settings = merged.try_deserialize().map_err(one)?;
    match check::mistakes(&settings) {
        mistakes if mistakes.is_empty() => Ok(settings),
        mistakes => Err(InvalidSettings(mistakes)),
    }
}

fn one(error: config::ConfigError) -> InvalidSettings {
    InvalidSettings(vec![error.to_string()])
}

fn tree(
    builder: config::ConfigBuilder<config::builder::DefaultState>,
) -> Result<Map<String, Value>, InvalidSettings> {
    builder.build().and_then(Config::try_deserialize).map_err(one)
}

/// `CREEL_SERVER__LISTEN` is `server.listen`; names without two underscores are no settings.
fn named_in_environment(variables: &[(String, String)]) -> impl Iterator<Item = (String, String, String)> {
    variables.iter().filter_map(|(name, value)| {
        let key = name.strip_prefix("CREEL_").filter(|key| key.contains("__"))?;
        Some((key.to_lowercase().replace("__", "."), value.clone(), format!("environment variable {name}")))
    })
}

fn list(text: &str) -> ValueKind {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    ValueKind::Array(items.map(|item| Value::new(None, item)).collect())
}

fn leaves(tree: &Map<String, Value>) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (key, value) in tree {
        match &value.kind {
            ValueKind::Table(table) => {
                found.extend(leaves(table).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            _ => {
                found.insert(key.clone(), value.clone());
            }
        }
    }
    found
}

fn of_the_type(default: &Value, value: Value) -> Result<(), String> {
    let wanted = |name: &str, fits: bool| if fits { Ok(()) } else { Err(format!("this must be {name}")) };
    match default.kind {
        ValueKind::Boolean(_) => wanted("`true` or `false`", value.into_bool().is_ok()),
        ValueKind::I64(_) => wanted("a whole number, not negative", value.into_uint().is_ok()),
        ValueKind::Array(_) => wanted("a list", value.into_array().is_ok()),
        _ => wanted("text", value.into_string().is_ok()),
    }
}

/// A hint at a key that shares its last part, or its section.
fn nearest(key: &str, defaults: &BTreeMap<String, Value>) -> String {
    let last = key.rsplit('.').next().unwrap_or(key);
    match defaults.keys().find(|known| known.rsplit('.').next() == Some(last)) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => String::new(),
    }
}

pub(super) fn empty_as_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}

/// CIDR ranges, where a bare address is a range of one.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let network = |text: &String| {
        let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
        address.or_else(|_| text.parse::<IpNet>()).map_err(|error| format!("`{text}`: {error}"))
    };
    texts.iter().map(network).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}
