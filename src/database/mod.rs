//! The database behind a seam as narrow as a driver: statements with values go in, rows come out, and
//! one operation of its own appends to the journal. What the statements say is [`storage`](crate::storage)'s.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::Capture;

pub mod columns;
pub mod postgres;
mod scans;
pub mod sqlite;

/// A database that Creel keeps its journal in.
#[async_trait::async_trait]
pub trait Database: Send + Sync {
    fn dialect(&self) -> Dialect;

    /// Appends captures to the journal in one commit, gives them dense numbers in the batch's order, and
    /// returns when they are durable. Nothing is written where the configuration, or a state, has moved on.
    ///
    /// After [`DatabaseError::Unavailable`] the commit is in doubt. Appending the same batch again is
    /// safe: ids are unique, and [`DatabaseError::Conflict`] then means that some are there already. It may
    /// block the calling thread for as long as a commit takes.
    async fn append(&self, batch: &JournalBatch<'_>) -> Result<Appended, DatabaseError>;

    /// Runs one statement and returns the number of rows that it matched.
    async fn execute(&self, sql: &Sql, values: &[Value]) -> Result<u64, DatabaseError>;

    /// Runs one statement and returns its rows.
    async fn query(&self, sql: &Sql, values: &[Value]) -> Result<Vec<Row>, DatabaseError>;

    /// The same for a statement that may have to look at much of what is kept. Half of the pool's connections do so at
    /// a time, so that the others are there for all else: [`DatabaseError::Busy`] where no turn comes within the time
    /// that a statement may take.
    async fn scan(&self, sql: &Sql, values: &[Value]) -> Result<Vec<Row>, DatabaseError>;

    /// Runs statements in one transaction, and returns the rows of each.
    async fn batch(&self, statements: &[(&Sql, Vec<Value>)]) -> Result<Vec<Vec<Row>>, DatabaseError>;

    /// Inserts many rows into a table in one commit, or none: [`DatabaseError::Conflict`] where a key is
    /// there already.
    async fn insert(&self, table: &'static Table, rows: Vec<Vec<Value>>) -> Result<(), DatabaseError>;

    /// Brings the schema up to date, or with [`Migrate::Check`] only tells. Safe to run on several nodes
    /// at once.
    async fn migrate(&self, mode: Migrate) -> Result<Migrated, DatabaseError>;

    /// How durable a commit of the journal's own connection is, in the database's own words:
    /// `synchronous=FULL journal_mode=wal`, `fsync=on synchronous_commit=on`.
    async fn durability(&self) -> Result<String, DatabaseError>;

    /// Connections of the pool: in use, and open.
    fn pool(&self) -> PoolUse;

    /// Ends all connections.
    async fn close(&self);
}

/// What [`Database::append`] writes.
#[derive(Debug, Clone, Copy)]
pub struct JournalBatch<'a> {
    /// At least one.
    pub captures: &'a [Arc<Capture>],
    /// The configuration that the captures were accepted under.
    pub config_seq: i64,
    /// Where what was decided depends on states, or changes them.
    pub states: Option<&'a StateClaim>,
}

/// States that captures claim with their own commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StateClaim {
    /// The states that the captures were decided under.
    pub state_seq: i64,
    /// What the states are after them, by name; the place of the change is the batch's last.
    pub writes: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The first capture has number `base + 1`.
    At { base: i64 },
    /// The configuration is another one, or the states are; nothing was written.
    Moved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Postgres,
    Sqlite,
}

/// One query, in the words of each database. Parameters are `$1`, `$2`, ... in the order of `values`.
#[derive(Debug, Clone, Copy)]
pub struct Sql {
    pub postgres: &'static str,
    pub sqlite: &'static str,
}

impl Sql {
    /// A query that all databases understand alike.
    pub const fn same(text: &'static str) -> Self {
        Self { postgres: text, sqlite: text }
    }
}

/// A table that many rows are written to at a time.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [(&'static str, ColumnType)],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Int,
    Text,
    Bytes,
}

impl Table {
    fn column_names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// A value that goes into a statement or comes out of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Bytes),
}

/// A row: its columns by number, in the order that the query lists them.
#[derive(Debug, Clone)]
pub struct Row(pub Vec<Value>);

impl Row {
    pub fn int(&self, column: usize) -> Result<i64, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Int(value)) => Ok(*value),
            other => Err(unexpected(column, "an integer", other)),
        }
    }

    pub fn int_or_null(&self, column: usize) -> Result<Option<i64>, DatabaseError> {
        self.unless_null(column, Self::int)
    }

    pub fn text(&self, column: usize) -> Result<&str, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Text(value)) => Ok(value),
            other => Err(unexpected(column, "text", other)),
        }
    }

    pub fn text_or_null(&self, column: usize) -> Result<Option<&str>, DatabaseError> {
        self.unless_null(column, Self::text)
    }

    pub fn bytes(&self, column: usize) -> Result<&Bytes, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Bytes(value)) => Ok(value),
            other => Err(unexpected(column, "bytes", other)),
        }
    }

    pub fn bytes_or_null(&self, column: usize) -> Result<Option<&Bytes>, DatabaseError> {
        self.unless_null(column, Self::bytes)
    }

    fn unless_null<'a, T>(
        &'a self,
        column: usize,
        get: impl Fn(&'a Self, usize) -> Result<T, DatabaseError>,
    ) -> Result<Option<T>, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => get(self, column).map(Some),
        }
    }
}

fn unexpected(column: usize, wanted: &str, found: Option<&Value>) -> DatabaseError {
    DatabaseError::Other(format!("column {column} holds {found:?}, not {wanted}").into())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrate {
    /// Apply what is missing.
    Apply,
    /// Fail with [`DatabaseError::Schema`] where something is missing.
    Check,
}

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Names of the migrations that were applied now.
    pub applied: Vec<String>,
    /// The schema's version now.
    pub version: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolUse {
    pub in_use: usize,
    pub open: usize,
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a statement failed, by what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The database is away, stopping, overloaded or too slow. Whether a write took place is in doubt.
    #[error("the database is unavailable")]
    Unavailable(#[source] Source),
    /// As many look at what is kept as may at a time; nothing was asked.
    #[error("too many look at what is kept at a time")]
    Busy,
    /// There is no room left for it. Nothing was written.
    #[error("the database has no room left")]
    Full(#[source] Source),
    /// A value is against a constraint or a type; the same values fail again.
    #[error("the database refused the data")]
    Data(#[source] Source),
    /// A value that must be unique is there already.
    #[error("the value is there already")]
    Conflict(#[source] Source),
    /// The schema is not the one that this binary needs.
    #[error("{0}")]
    Schema(String),
    /// A mistake of ours, or of the set-up.
    #[error("the database failed")]
    Other(#[source] Source),
}

impl DatabaseError {
    pub(crate) fn timed_out(what: &'static str, limit: Duration) -> Self {
        Self::Unavailable(format!("{what} took over {} ms", limit.as_millis()).into())
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        })
    }
}

fn schema_outdated(version: i64, newest: i64) -> DatabaseError {
    DatabaseError::Schema(format!(
        "the schema is at version {version} and this binary needs {newest}: run `creel migrate`, or set \
         `database.migrate = \"auto\"`"
    ))
}
