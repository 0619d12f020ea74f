//! `docs/openapi.json`, read: what it says of an operation's answers, and whether an answer is so.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::at;
use crate::harness::TestResult;
use crate::harness::client::Response;

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

pub struct Document {
    whole: Value,
    /// The same, with members that no schema names refused: an answer must not have more than is told.
    strict: Value,
}

pub fn text() -> TestResult<String> {
    Ok(std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json"))?)
}

impl Document {
    pub fn read() -> TestResult<Self> {
        let whole: Value = serde_json::from_str(&text()?)?;
        let mut strict = whole.clone();
        close(&mut strict);
        Ok(Self { whole, strict })
    }

    /// Path, method and operation of each.
    pub fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.whole["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |method| Some((path.as_str(), *method, item.get(method)?)))
        })
    }

    /// That it is OpenAPI 3.1 as far as its parts hang together; `scripts/check-api` holds it against the
    /// specification's own schema.
    pub fn check(&self) -> TestResult {
        assert_eq!(self.whole["openapi"], "3.1.0");
        assert_eq!(self.whole["info"]["version"], env!("CARGO_PKG_VERSION"));
        each(&self.whole, &mut |value| match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => at(&self.whole, reference.trim_start_matches('#')).map(drop),
            None => Ok(()),
        })?;
        for (name, schema) in at(&self.whole, "/components/schemas")?.as_object().ok_or("no schemas")? {
            if let Err(error) = jsonschema::draft202012::meta::validate(schema) {
                return Err(format!("{name}: {error}").into());
            }
            let validator = self.validator(&self.whole, schema)?;
            for example in schema["examples"].as_array().into_iter().flatten() {
                check(&validator, example).map_err(|error| format!("the example of {name}: {error}"))?;
            }
        }
        each(&self.whole, &mut |value| match (value.get("schema"), value.get("example")) {
            (Some(schema), Some(example)) => check(&self.validator(&self.whole, schema)?, example),
            (Some(schema), None) => self.validator(&self.whole, schema).map(drop),
            _ => Ok(()),
        })?;
        let mut ids = BTreeSet::new();
        for (path, method, operation) in self.operations() {
            let id = operation["operationId"].as_str().ok_or_else(|| format!("{method} {path}: no id"))?;
            assert!(ids.insert(id), "{id} stands twice");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            self.check_path_parameters(path, operation)?;
        }
        Ok(())
    }

    fn check_path_parameters(&self, path: &str, operation: &Value) -> TestResult {
        let lists = [&self.whole["paths"][path]["parameters"], &operation["parameters"]];
        let mut declared = BTreeSet::new();
        for parameter in lists.into_iter().filter_map(Value::as_array).flatten() {
            let parameter = self.resolved(&self.whole, parameter)?;
            if parameter["in"] == "path" {
                declared.insert(parameter["name"].as_str().unwrap_or_default());
            }
        }
        let named = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        assert_eq!(declared, named.collect(), "{path}");
        Ok(())
    }

    /// That an answer is one that the document tells of: its status, its content type, and its content.
    pub fn check_answer(&self, path: &str, method: &str, answer: &Response) -> TestResult {
        let method = method.to_lowercase();
        let responses = &self.strict["paths"][path][&method]["responses"];
        let told = responses.get(answer.status.to_string());
        let told = told.ok_or_else(|| format!("{method} {path}: nothing is told of {}", answer.status))?;
        let told = self.resolved(&self.strict, told)?;
        for name in told["headers"].as_object().into_iter().flat_map(Map::keys) {
            if answer.header(&name.to_lowercase()).is_none() {
                return Err(format!("{method} {path}: {} has no {name}", answer.status).into());
            }
        }
        let Some(content) = told.get("content") else {
            return match answer.body.is_empty() {
                true => Ok(()),
                false => Err(format!("{method} {path}: {} has content", answer.status).into()),
            };
        };
        let content_type = answer.header("content-type").unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let told = content.get(essence).or_else(|| content.get("*/*"));
        let told = told.ok_or_else(|| format!("{method} {path}: {essence:?} is not told of"))?;
        if !essence.ends_with("json") || essence.ends_with("ndjson") {
            return Ok(());
        }
        let validator = self.validator(&self.strict, &told["schema"])?;
        check(&validator, &answer.json()?)
            .map_err(|error| format!("{method} {path}: {}: {error}: {}", answer.status, answer.text()).into())
    }

    /// That a value is as a schema of the components says.
    pub fn check_value(&self, schema: &str, value: &Value) -> TestResult {
        let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
        let validator = self.validator(&self.strict, &schema)?;
        check(&validator, value).map_err(|error| format!("{error}: {value}").into())
    }

    fn resolved<'a>(&self, whole: &'a Value, value: &'a Value) -> TestResult<&'a Value> {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => at(whole, reference.trim_start_matches('#')),
            None => Ok(value),
        }
    }

    /// A schema with the components that it refers to.
    fn validator(&self, whole: &Value, schema: &Value) -> TestResult<Validator> {
        let root = json!({"components": whole["components"], "allOf": [schema]});
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        options.build(&root).map_err(|error| format!("{error}: {schema}").into())
    }
}

fn check(validator: &Validator, value: &Value) -> TestResult {
    match validator.iter_errors(value).next() {
        None => Ok(()),
        Some(error) => Err(format!("at {:?}: {error}", error.instance_path().to_string()).into()),
    }
}

/// Every object within a value.
fn each(value: &Value, look: &mut impl FnMut(&Value) -> TestResult) -> TestResult {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| each(item, look)),
        Value::Object(members) => {
            look(value)?;
            members.values().try_for_each(|member| each(member, look))
        }
        _ => Ok(()),
    }
}

/// Refuses members that a schema of an object does not name.
fn close(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Object(members) => {
            members.values_mut().for_each(close);
            let is_schema_of_object = members.get("type").is_some_and(|kind| *kind == "object")
                && members.contains_key("properties")
                && !members.contains_key("additionalProperties");
            if is_schema_of_object {
                members.insert("additionalProperties".to_owned(), false.into());
            }
        }
        _ => {}
    }
}
