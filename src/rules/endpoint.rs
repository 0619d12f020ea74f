//! What is set for one endpoint, from its document.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::invalid::Invalid;
use super::object::{Object, list, network, text};
use super::reply::{Reply, RuleOptions};
use super::rule::check_name;
use super::seen::Seen;
use super::work::Work;

const LABELS_MAX: usize = 64;
const SOURCES_MAX: usize = 1_000;
const ORIGINS_MAX: usize = 100;

/// An endpoint's own settings; what is not said is as for all.
#[derive(Debug, Default)]
pub struct Endpoint {
    /// Answers where no rule does.
    pub reply: Option<Reply>,
    /// At most `capture.body_bytes_max`.
    pub body_bytes_max: Option<usize>,
    access: Option<Access>,
    is_closed: bool,
    /// Addresses that may send; empty: all.
    allowed_sources: Vec<IpNet>,
    pub cors: Option<Cors>,
}

/// Which pages may send captures from a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    pub allow_origins: Vec<String>,
    pub max_age_s: u32,
}

/// What a sender must know. Secrets are kept as SHA-256 digests.
#[derive(Debug)]
enum Access {
    Header { name: String, digest: [u8; 32] },
    Query { name: String, digest: [u8; 32] },
    Basic { digest: [u8; 32] },
}

/// Why a sender may not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It does not say the secret; `basic` where it should by that scheme (RFC 7617).
    NoSecret { basic: bool },
    /// Its address is not among the allowed.
    Source,
}

impl Endpoint {
    /// Reads an endpoint's document.
    ///
    /// # Errors
    /// With the first mistake and its place.
    pub fn parse(document: &Value, options: &RuleOptions) -> Result<Self, Invalid> {
        let mut object = Object::of(document)?;
        let short = |value| match text(value)? {
            text if text.len() <= 4_096 => Ok(()),
            _ => Err(Invalid::here("it has at most 4096 bytes")),
        };
        object.text("code")?;
        object.read("name", short)?;
        object.read("description", short)?;
        object.read("labels", labels)?;
        let reply = object.read("reply", |value| Reply::parse(value, options, &mut Work::of_rule()))?;
        object.read("retention", retention)?;
        let endpoint = Self {
            reply,
            body_bytes_max: object
                .within("body_bytes_max", 0, u64::from(u32::MAX))?
                .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            access: object.read("access", Access::parse)?,
            allowed_sources: object
                .read("allowed_sources", |value| list(value, SOURCES_MAX, network))?
                .unwrap_or_default(),
            cors: object.read("cors", Cors::parse)?,
            is_closed: false,
        };
        object.end()?;
        Ok(endpoint)
    }

    /// One that takes nothing.
    pub fn closed() -> Self {
        Self { is_closed: true, ..Self::default() }
    }

    /// Whether a request may come in, by its head alone.
    ///
    /// # Errors
    /// With the reason.
    pub fn admit(&self, seen: &Seen<'_>) -> Result<(), Denied> {
        let client = seen.capture.client;
        if self.is_closed {
            return Err(Denied::Source);
        }
        if !self.allowed_sources.is_empty()
            && !self.allowed_sources.iter().any(|range| range.contains(&client))
        {
            return Err(Denied::Source);
        }
        match &self.access {
            Some(access) if !access.is_said(seen) => {
                Err(Denied::NoSecret { basic: matches!(access, Access::Basic { .. }) })
            }
            _ => Ok(()),
        }
    }

    /// The document as it is kept: secrets as digests, so that nobody reads them back.
    #[must_use]
    pub fn without_secrets(mut document: Value) -> Value {
        each_access(&mut document, |scheme, given| {
            let key = if scheme == "basic" { "password" } else { "secret" };
            if let Some(Value::String(secret)) = given.remove(key) {
                let digest = match (scheme, given.get("user").and_then(Value::as_str)) {
                    ("basic", Some(user)) => digest_of(format!("{user}:{secret}").as_bytes()),
                    _ => digest_of(secret.as_bytes()),
                };
                given.insert("sha256".to_owned(), hex(&digest).into());
            }
        });
        document
    }

    /// The document for those who may read it alone.
    #[must_use]
    pub fn without_digests(mut document: Value) -> Value {
        each_access(&mut document, |_, given| {
            given.insert("sha256".to_owned(), "***".into());
        });
        document
    }
}

/// Visits what a document says of access, by scheme.
fn each_access(document: &mut Value, visit: impl Fn(&str, &mut Map<String, Value>)) {
    for scheme in ["header", "query", "basic"] {
        let given = document.pointer_mut(&format!("/access/{scheme}")).and_then(Value::as_object_mut);
        if let Some(given) = given {
            visit(scheme, given);
        }
    }
}

/// Labels: an object of texts.
pub fn labels(value: &Value) -> Result<BTreeMap<String, String>, Invalid> {
    let members = value.as_object().ok_or_else(|| Invalid::here("an object of texts is expected"))?;
    if members.len() > LABELS_MAX {
        return Err(Invalid::here(format!("there are over {LABELS_MAX}")));
    }
    let mut labels = BTreeMap::new();
    for (name, value) in members {
        check_name(name).map_err(|invalid| invalid.within(name))?;
        match text(value).map_err(|invalid| invalid.within(name))? {
            text if text.len() <= 1_024 => labels.insert(name.clone(), text.to_owned()),
            _ => return Err(Invalid::here("it has at most 1024 bytes").within(name)),
        };
    }
    Ok(labels)
}

/// How long captures are kept; without a member: as the settings say, 0: without end. Retention reads it where it
/// works, in the database.
fn retention(value: &Value) -> Result<(), Invalid> {
    let mut object = Object::of(value)?;
    object.within("age_s_max", 0, u64::from(u32::MAX))?;
    object.within("captures_max", 0, u64::from(u32::MAX))?;
    object.end()
}

impl Cors {
    fn parse(value: &Value) -> Result<Self, Invalid> {
        let mut object = Object::of(value)?;
        let origin = |value| text(value).map(str::to_owned);
        let allow_origins = object.read("allow_origins", |value| list(value, ORIGINS_MAX, origin))?;
        let max_age_s = object.within("max_age_s", 0, 86_400)?.unwrap_or(600);
        object.end()?;
        Ok(Self {
            allow_origins: allow_origins.unwrap_or_default(),
            max_age_s: u32::try_from(max_age_s).expect("it is within bounds"),
        })
    }
}

impl Access {
    fn parse(value: &Value) -> Result<Self, Invalid> {
        let mut object = Object::of(value)?;
        let named = |value| {
            let mut object = Object::of(value)?;
            let name = object.text("name")?.ok_or_else(|| Invalid::member("name", "this is missing"))?;
            let secret = object.text("secret")?.map(|secret| digest_of(secret.as_bytes()));
            let digest = one_digest(secret, &mut object, "secret")?;
            object.end()?;
            Ok((name.to_owned(), digest))
        };
        let header = object.read("header", named)?;
        let query = object.read("query", named)?;
        let basic = object.read("basic", |value| {
            let mut object = Object::of(value)?;
            let user = object.text("user")?.ok_or_else(|| Invalid::member("user", "this is missing"))?;
            let password = object.text("password")?;
            let secret = password.map(|password| digest_of(format!("{user}:{password}").as_bytes()));
            let digest = one_digest(secret, &mut object, "password")?;
            object.end()?;
            Ok(digest)
        })?;
        object.end()?;
        match (header, query, basic) {
            (Some((name, digest)), None, None) => Ok(Self::Header { name, digest }),
            (None, Some((name, digest)), None) => Ok(Self::Query { name, digest }),
            (None, None, Some(digest)) => Ok(Self::Basic { digest }),
            _ => Err(Invalid::here("one of `header`, `query` and `basic` is expected")),
        }
    }

    fn is_said(&self, seen: &Seen<'_>) -> bool {
        let is = |given: &[u8], digest: &[u8; 32]| bool::from(digest_of(given).ct_eq(digest));
        match self {
            Self::Header { name, digest } => seen.header(name).any(|value| is(value, digest)),
            Self::Query { name, digest } => {
                seen.query().iter().any(|(n, value)| n == name && is(value.as_bytes(), digest))
            }
            Self::Basic { digest } => seen.header("authorization").any(|value| {
                let value = std::str::from_utf8(value).unwrap_or_default();
                let (scheme, encoded) = value.split_once(' ').unwrap_or_default();
                scheme.eq_ignore_ascii_case("basic")
                    && STANDARD.decode(encoded.trim()).is_ok_and(|given| is(&given, digest))
            }),
        }
    }
}

/// A digest that was given, or that of a secret that was given: exactly one.
fn one_digest(
    secret: Option<[u8; 32]>,
    object: &mut Object<'_>,
    name: &'static str,
) -> Result<[u8; 32], Invalid> {
    let given = object.read("sha256", |value| {
        unhex(text(value)?).ok_or_else(|| Invalid::here("64 hexadecimal digits are expected"))
    })?;
    match (secret, given) {
        (Some(digest), None) | (None, Some(digest)) => Ok(digest),
        _ => Err(Invalid::member(name, format!("`{name}`, or its digest as `sha256`, is expected"))),
    }
}

fn digest_of(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let text = (text.len() == 64 && text.is_ascii()).then_some(text)?;
    let mut bytes = [0; 32];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}
