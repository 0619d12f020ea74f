//! Lays the sources over each other, and reports all mistakes together.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use config::{Config, File, FileFormat, Map, Value, ValueKind};
use ipnet::IpNet;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer};

use super::{DEFAULTS, Settings, check};
use crate::model::network::network;

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
    load_checked(source, |_| Vec::new())
}

/// The same, with the mistakes that only others find.
///
/// # Errors
/// As [`load`].
pub fn load_checked(
    source: &Source,
    mistakes_beside: impl FnOnce(&Settings) -> Vec<String>,
) -> Result<Settings, InvalidSettings> {
    let defaults = leaves(&tree(File::from_str(DEFAULTS, FileFormat::Toml))?);
    let mut mistakes = Vec::new();
    let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
    let mut origins = BTreeMap::new();
    for (key, value) in given(source, &defaults)? {
        match mistake(&key, &value, &defaults) {
            Some(mistake) => mistakes.push(mistake),
            None => {
                origins.insert(key.clone(), value.origin().unwrap_or_default().to_owned());
                builder = builder.set_override(&key, value).map_err(one)?;
            }
        }
    }
    // What is wrong stays as by default, so that the rest can be looked at as well.
    let mut settings: Settings = builder.build().and_then(Config::try_deserialize).map_err(one)?;
    settings.origins = origins;
    mistakes.extend(check::mistakes(&settings));
    mistakes.extend(mistakes_beside(&settings));
    if mistakes.is_empty() { Ok(settings) } else { Err(InvalidSettings(mistakes)) }
}

/// What the sources say, the later instead of the earlier.
fn given(
    source: &Source,
    defaults: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, InvalidSettings> {
    let mut given = match &source.file {
        Some(path) => leaves(&tree(File::from(path.as_path()).format(FileFormat::Toml).required(true))?),
        None => BTreeMap::new(),
    };
    if let Some(path) = &source.file {
        let origin = path.display().to_string();
        given.values_mut().for_each(|value| *value = Value::new(Some(&origin), value.kind.clone()));
    }
    let flags = source.flags.iter().map(|(key, value)| {
        let origin = "the command line".to_owned();
        ((*key).to_owned(), value.clone(), origin)
    });
    for (key, text, origin) in named_in_environment(&source.environment).chain(flags) {
        let is_list = defaults.get(&key).is_some_and(|default| matches!(default.kind, ValueKind::Array(_)));
        let kind = if is_list { list(&text) } else { ValueKind::String(text) };
        given.insert(key, Value::new(Some(&origin), kind));
    }
    Ok(given)
}

/// What is wrong with a value, seen alone.
fn mistake(key: &str, value: &Value, defaults: &BTreeMap<String, Value>) -> Option<String> {
    let origin = value.origin().unwrap_or_default().to_owned();
    let Some(default) = defaults.get(key) else {
        return Some(format!("{key}: there is no such setting ({origin}){}", nearest(key, defaults)));
    };
    let fits = of_the_type(default, value.clone()).and_then(|()| {
        let alone = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        let settings = alone.set_override(key, value.clone()).and_then(|alone| alone.build());
        settings.and_then(Config::try_deserialize::<Settings>).map(drop).map_err(|error| reason(&error))
    });
    fits.err().map(|reason| format!("{key}: {reason} ({origin})"))
}

/// An error's reason, without key and origin, which are told already.
fn reason(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::At { error, .. } => reason(error),
        config::ConfigError::Message(reason) => reason.clone(),
        other => other.to_string(),
    }
}

fn one(error: config::ConfigError) -> InvalidSettings {
    InvalidSettings(vec![error.to_string()])
}

fn tree(source: impl config::Source + Send + Sync + 'static) -> Result<Map<String, Value>, InvalidSettings> {
    Config::builder().add_source(source).build().and_then(Config::try_deserialize).map_err(one)
}

/// `CREEL_SERVER__LISTEN` is `server.listen`; names without two underscores are no settings.
fn named_in_environment(variables: &[(String, String)]) -> impl Iterator<Item = (String, String, String)> {
    variables.iter().filter_map(|(name, value)| {
        let key = name.strip_prefix("CREEL_").filter(|key| key.contains("__"))?;
        Some((key.to_lowercase().replace("__", "."), value.clone(), format!("environment variable {name}")))
    })
}

/// Variables that are passed over and would be settings with two underscores, each with the name that it should have.
pub fn misnamed(variables: &[(String, String)]) -> Vec<(String, String)> {
    let known: BTreeMap<String, String> = keys()
        .into_iter()
        .map(|key| format!("CREEL_{}", key.to_uppercase()))
        .map(|name| (name.replace('.', "_"), name.replace('.', "__")))
        .collect();
    let given = variables.iter().map(|(name, _)| name);
    given.filter_map(|name| Some((name.clone(), known.get(name)?.clone()))).collect()
}

fn list(text: &str) -> ValueKind {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    ValueKind::Array(items.map(|item| Value::new(None, item)).collect())
}

/// Every key of the reference.
pub(super) fn keys() -> Vec<String> {
    let defaults = tree(File::from_str(DEFAULTS, FileFormat::Toml)).map(|tree| leaves(&tree));
    defaults.expect("the file that is built in is read at every start").into_keys().collect()
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

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mistake = "this must be an address and a port, as 127.0.0.1:9669 or [::1]:9669";
    text.parse().map_err(|_| serde::de::Error::custom(mistake))
}

pub(super) fn address_or_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { address(text.into_deserializer()).map(Some) }
}

/// CIDR ranges, where a bare address is a range of one.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| network(text)).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}
