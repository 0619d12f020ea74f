//! Migrations under an advisory lock: refinery takes none, and several nodes may start at once.

use super::connect::Connector;
use super::errors::classify;
use crate::database::{DatabaseError, Migrate, Migrated, schema_outdated};

refinery::embed_migrations!("migrations/postgres");

/// Any number; it is Creel's.
const LOCK: i64 = 0x43_52_45_45_4c;

/// How long a node waits for another one that migrates.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

pub async fn run(connector: &Connector, mode: Migrate) -> Result<Migrated, DatabaseError> {
    let (mut client, connection) = connector.connect(PATIENCE).await?;
    let newest = migrations::runner().get_migrations().iter().map(|m| m.version()).max().unwrap_or(0);
    let result = match mode {
        Migrate::Check => check(&mut client, i64::from(newest)).await,
        Migrate::Apply => apply(&mut client).await,
    };
    // The lock goes with the session.
    drop(client);
    connection.abort();
    result.map(|applied| Migrated { applied, version: u32::try_from(newest).unwrap_or_default() })
}

async fn apply(client: &mut tokio_postgres::Client) -> Result<Vec<String>, DatabaseError> {
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(classify)?;
    // A schema that is newer than this binary is fine: it was made to work with the one before.
    let report = migrations::runner()
        .set_abort_missing(false)
        .run_async(client)
        .await
        .map_err(|error| DatabaseError::Other(error.into()))?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

async fn check(client: &mut tokio_postgres::Client, newest: i64) -> Result<Vec<String>, DatabaseError> {
    let there: Option<String> = client
        .query_one("SELECT to_regclass('refinery_schema_history')::text", &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(classify)?;
    let version = match there {
        None => 0,
        Some(_) => client
            .query_one("SELECT COALESCE(max(version), 0)::bigint FROM refinery_schema_history", &[])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(classify)?,
    };
    if version < newest { Err(schema_outdated(version, newest)) } else { Ok(Vec::new()) }
}
