//! From the settings to a database and a broker: the one place that names concrete ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::broker::{Broker, BrokerError, LocalBroker, rabbitmq, redis};
use crate::config::Settings;
use crate::database::postgres::{PostgresDatabase, PostgresOptions};
use crate::database::sqlite::{SqliteDatabase, SqliteOptions};
use crate::database::{Database, DatabaseError};

/// What is wrong with the database's and the broker's settings beyond what their texts show; nothing is connected to.
pub fn mistakes(settings: &Settings) -> Vec<String> {
    let database = settings.database.url.expose().starts_with("postgres").then(|| open_database(settings));
    let database = database.and_then(Result::err).map(|error| {
        let reasons: Vec<String> = sources(&error).map(ToString::to_string).collect();
        format!("database.url: {}", reasons.join(": "))
    });
    let (url, ca_file) = (settings.broker.url.expose(), ca_file(settings));
    let broker = match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("redis" | "rediss") => redis::check(url, ca_file),
        Some("amqp" | "amqps") => rabbitmq::check(url, ca_file),
        _ => Ok(()),
    };
    let broker = broker.err().map(|error| match error {
        BrokerError::Settings(mistake) => mistake,
        other => format!("broker.url: {other}"),
    });
    database.into_iter().chain(broker).collect()
}

/// What an error comes from, without its own words.
fn sources(error: &dyn std::error::Error) -> impl Iterator<Item = &dyn std::error::Error> {
    std::iter::successors(error.source(), |error| error.source())
}

/// Opens the database that the settings name; nothing is asked of it yet.
pub fn open_database(settings: &Settings) -> Result<Arc<dyn Database>, DatabaseError> {
    let database = &settings.database;
    let url = database.url.expose();
    Ok(match url.strip_prefix("sqlite://") {
        Some(path) => Arc::new(SqliteDatabase::open(SqliteOptions {
            path: PathBuf::from(path.split('?').next().unwrap_or(path)),
            readers_max: database.pool_max,
            statement_timeout: database.statement_timeout(),
        })?),
        None => Arc::new(PostgresDatabase::open(&PostgresOptions {
            url: url.to_owned(),
            pool_max: database.pool_max,
            connect_timeout: database.connect_timeout(),
            statement_timeout: database.statement_timeout(),
            append_timeout: settings.journal.commit_deadline(),
        })?),
    })
}

/// The broker that the settings name; it connects by itself.
pub fn open_broker(settings: &Settings) -> Result<Arc<dyn Broker>, BrokerError> {
    let url = settings.broker.url.expose();
    let ca_file = ca_file(settings);
    Ok(if url == "local" {
        Arc::new(LocalBroker::new())
    } else if url.starts_with("redis") {
        Arc::new(redis::open(url, ca_file)?)
    } else {
        Arc::new(rabbitmq::open(url, ca_file)?)
    })
}

fn ca_file(settings: &Settings) -> Option<&Path> {
    Some(settings.broker.ca_file.as_str()).filter(|file| !file.is_empty()).map(Path::new)
}
