//! Writing: what the one connection that writes is asked to do.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, Params, TransactionBehavior, params};

use super::errors::classify;
use super::{Held, checkpoints, numbered, parameter, rows};
use crate::database::columns::{CaptureColumns, columns};
use crate::database::{Appended, DatabaseError, JournalBatch, Row, StateClaim, Table, Value};

const HEAD: &str =
    "UPDATE journal_head SET seq = seq + ?1 WHERE id = 1 AND config_seq = ?2 RETURNING seq - ?1";
const HEAD_AND_STATES: &str = "UPDATE journal_head SET seq = seq + ?1, \
     state_seq = CASE WHEN ?4 > 0 THEN seq + ?1 ELSE state_seq END \
     WHERE id = 1 AND config_seq = ?2 AND state_seq = ?3 RETURNING seq - ?1";
const STATE: &str = "INSERT INTO states (name, value, changed_seq) VALUES (?1, ?2, ?3) \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_seq = excluded.changed_seq";
const PUT: &str = concat!(
    "INSERT INTO journal (seq, ",
    columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
);

/// How long a write waits for another program that has the file locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// The connection that does all writes, one transaction at a time.
pub struct Writer {
    pub connection: Connection,
    checkpoints: JoinHandle<()>,
    _held: Arc<Held>,
}

impl Writer {
    pub fn open(path: &Path, held: Arc<Held>) -> Result<Self, DatabaseError> {
        let mut connection = open(path)?;
        let checkpoints = checkpoints::start(&mut connection, path, held.clone())?;
        Ok(Self { connection, checkpoints, _held: held })
    }

    /// Closes the connection, and waits for the thread that copies its log.
    pub fn close(self) {
        drop(self.connection);
        if self.checkpoints.join().is_err() {
            tracing::error!("the thread that copies the write-ahead log panicked");
        }
    }
}

/// Opens the connection for writing: the journal ahead of the file, and every commit on the disk before
/// it is told (`synchronous=FULL`; SQLite manual, "Write-Ahead Logging" and "PRAGMA synchronous").
pub fn open(path: &Path) -> Result<Connection, DatabaseError> {
    let connection = Connection::open(path).map_err(classify)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(classify)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864; \
             PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY;",
        )
        .map_err(classify)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

pub fn append(connection: &mut Connection, batch: &JournalBatch<'_>) -> Result<Appended, DatabaseError> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(classify)?;
    let appended = append_in(&transaction, batch).map_err(classify)?;
    transaction.commit().map_err(classify)?;
    Ok(appended)
}

fn append_in(transaction: &Connection, batch: &JournalBatch<'_>) -> Result<Appended, rusqlite::Error> {
    let count = i64::try_from(batch.captures.len()).expect("a batch is small");
    let config_seq = batch.config_seq;
    let base = match batch.states {
        None => first_int(transaction, HEAD, params![count, config_seq])?,
        Some(StateClaim { state_seq, writes }) => first_int(
            transaction,
            HEAD_AND_STATES,
            params![count, config_seq, state_seq, !writes.is_empty()],
        )?,
    };
    let Some(base) = base else { return Ok(Appended::Moved) };
    let mut put = transaction.prepare_cached(PUT)?;
    for (seq, capture) in (base + 1..).zip(batch.captures) {
        let columns = CaptureColumns::of(capture);
        put.execute(params![
            seq,
            columns.kind,
            capture.id.as_bytes().as_slice(),
            capture.received_us,
            capture.endpoint.as_str(),
            capture.method.as_ref(),
            capture.target.as_bytes(),
            capture.headers.as_bytes().as_ref(),
            columns.body,
            columns.kept_bytes,
            columns.detail,
        ])?;
    }
    let mut state = transaction.prepare_cached(STATE)?;
    for (name, value) in batch.states.iter().flat_map(|states| &states.writes) {
        state.execute(params![name, value, base + count])?;
    }
    Ok(Appended::At { base })
}

/// The first column of a statement's one row, where it has one. It is stepped to its end, which is when
/// SQLite counts it as done.
fn first_int(
    connection: &Connection,
    text: &str,
    values: impl Params,
) -> Result<Option<i64>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query(values)?;
    let first = rows.next()?.map(|row| row.get(0)).transpose()?;
    while rows.next()?.is_some() {}
    Ok(first)
}

pub fn execute(connection: &Connection, text: &str, values: &[Value]) -> Result<u64, DatabaseError> {
    let mut statement = connection.prepare_cached(&numbered(text)).map_err(classify)?;
    let changed =
        statement.execute(rusqlite::params_from_iter(values.iter().map(parameter))).map_err(classify)?;
    Ok(changed as u64)
}

pub fn batch(
    connection: &mut Connection,
    statements: &[(&str, Vec<Value>)],
) -> Result<Vec<Vec<Row>>, DatabaseError> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(classify)?;
    let results: Result<Vec<Vec<Row>>, _> =
        statements.iter().map(|(text, values)| rows(&transaction, text, values)).collect();
    let results = results?;
    transaction.commit().map_err(classify)?;
    Ok(results)
}

pub fn insert(connection: &mut Connection, table: &Table, rows: &[Vec<Value>]) -> Result<(), DatabaseError> {
    let places = (1..=table.columns.len()).map(|i| format!("?{i}")).collect::<Vec<_>>().join(", ");
    let names = table.column_names();
    let text = format!("INSERT INTO {} ({names}) VALUES ({places})", table.name);
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(classify)?;
    {
        let mut statement = transaction.prepare_cached(&text).map_err(classify)?;
        for row in rows {
            statement.execute(rusqlite::params_from_iter(row.iter().map(parameter))).map_err(classify)?;
        }
    }
    transaction.commit().map_err(classify)
}

pub fn durability(connection: &Connection) -> Result<String, DatabaseError> {
    let synchronous: i64 =
        connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).map_err(classify)?;
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(classify)?;
    let name = match synchronous {
        0 => "OFF",
        1 => "NORMAL",
        2 => "FULL",
        _ => "EXTRA",
    };
    Ok(format!("synchronous={name} journal_mode={mode}"))
}
