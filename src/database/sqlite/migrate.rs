//! Migrations; the connection that writes runs them, and the lock on the file keeps other processes out.

use rusqlite::{Connection, OptionalExtension};

use super::errors::classify;
use crate::database::{DatabaseError, Migrate, Migrated, schema_outdated};

refinery::embed_migrations!("migrations/sqlite");

pub fn run(connection: &mut Connection, mode: Migrate) -> Result<Migrated, DatabaseError> {
    let newest = migrations::runner().get_migrations().iter().map(|m| m.version()).max().unwrap_or(0);
    let applied = match mode {
        Migrate::Check => {
            let version = version(connection)?;
            if version < i64::from(newest) {
                return Err(schema_outdated(version, i64::from(newest)));
            }
            Vec::new()
        }
        Migrate::Apply => migrations::runner()
            .set_abort_missing(false)
            .run(connection)
            .map_err(|error| DatabaseError::Other(error.into()))?
            .applied_migrations()
            .iter()
            .map(ToString::to_string)
            .collect(),
    };
    Ok(Migrated { applied, version: u32::try_from(newest).unwrap_or_default() })
}

fn version(connection: &Connection) -> Result<i64, DatabaseError> {
    const HISTORY: &str = "SELECT 1 FROM sqlite_master WHERE name = 'refinery_schema_history'";
    const VERSION: &str = "SELECT COALESCE(max(version), 0) FROM refinery_schema_history";
    let there = connection.query_row(HISTORY, [], |_| Ok(())).optional().map_err(classify)?;
    match there {
        None => Ok(0),
        Some(()) => connection.query_row(VERSION, [], |row| row.get(0)).map_err(classify),
    }
}
