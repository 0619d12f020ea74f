//! The thread that does all writes, one transaction at a time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::errors::classify;
use super::{migrate, numbered, parameter, rows};
use crate::database::columns::{CaptureColumns, columns};
use crate::database::{Appended, DatabaseError, Migrate, Migrated, Row, Table, Value};
use crate::model::Capture;

const HEAD: &str =
    "UPDATE journal_head SET seq = seq + ?1 WHERE id = 1 AND config_seq = ?2 RETURNING seq - ?1";
const PUT: &str = concat!(
    "INSERT INTO journal (seq, ",
    columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)"
);

type Done<T> = oneshot::Sender<Result<T, DatabaseError>>;

/// What the thread is asked to do. A caller that has gone does not stop what it asked for.
pub enum Job {
    Append { captures: Vec<Arc<Capture>>, config_seq: i64, done: Done<Appended> },
    Execute { text: &'static str, values: Vec<Value>, done: Done<u64> },
    Batch { statements: Vec<(&'static str, Vec<Value>)>, done: Done<Vec<Vec<Row>>> },
    Insert { table: &'static Table, rows: Vec<Vec<Value>>, done: Done<()> },
    Migrate { mode: Migrate, done: Done<Migrated> },
    Durability { done: Done<String> },
}

/// Opens the connection for writing: the journal ahead of the file, and every commit on the disk before
/// it is told (`synchronous=FULL`; SQLite manual, "Write-Ahead Logging" and "PRAGMA synchronous").
pub fn open(path: &Path) -> Result<Connection, DatabaseError> {
    let connection = Connection::open(path).map_err(classify)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(classify)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864; \
             PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY;",
        )
        .map_err(classify)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Works until the last sender is gone.
pub fn run(mut connection: Connection, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        match job {
            Job::Append { captures, config_seq, done } => {
                tell(done, append(&mut connection, &captures, config_seq));
            }
            Job::Execute { text, values, done } => tell(done, execute(&connection, text, &values)),
            Job::Batch { statements, done } => tell(done, batch(&mut connection, &statements)),
            Job::Insert { table, rows, done } => tell(done, insert(&mut connection, table, &rows)),
            Job::Migrate { mode, done } => tell(done, migrate::run(&mut connection, mode)),
            Job::Durability { done } => tell(done, durability(&connection)),
        }
    }
}

fn tell<T>(done: Done<T>, result: Result<T, DatabaseError>) {
    if done.send(result).is_err() {
        tracing::debug!("whoever asked for a write has gone");
    }
}

fn append(
    connection: &mut Connection,
    captures: &[Arc<Capture>],
    config_seq: i64,
) -> Result<Appended, DatabaseError> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(classify)?;
    let appended = append_in(&transaction, captures, config_seq).map_err(classify)?;
    transaction.commit().map_err(classify)?;
    Ok(appended)
}

fn append_in(
    transaction: &Connection,
    captures: &[Arc<Capture>],
    config_seq: i64,
) -> Result<Appended, rusqlite::Error> {
    let count = i64::try_from(captures.len()).expect("a batch is small");
    let mut head = transaction.prepare_cached(HEAD)?;
    let mut found = head.query(params![count, config_seq])?;
    let base: i64 = match found.next()? {
        Some(row) => row.get(0)?,
        None => return Ok(Appended::ConfigurationMoved),
    };
    // The statement is stepped to its end, which is when SQLite counts it as done.
    while found.next()?.is_some() {}
    let mut put = transaction.prepare_cached(PUT)?;
    for (seq, capture) in (base + 1..).zip(captures) {
        let columns = CaptureColumns::of(capture);
        put.execute(params![
            seq,
            columns.kind,
            capture.id.as_bytes().as_slice(),
            capture.received_us,
            capture.endpoint.as_str(),
            capture.method.as_ref(),
            capture.target.as_bytes(),
            capture.version.as_ref(),
            capture.scheme.as_ref(),
            capture.host.as_bytes(),
            capture.port,
            capture.headers.as_bytes().as_ref(),
            columns.peer,
            columns.client,
            columns.body,
            i64::try_from(capture.body.bytes).unwrap_or(i64::MAX),
            columns.body_flags,
            columns.detail,
            columns.reply_source,
            capture.reply.status,
        ])?;
    }
    Ok(Appended::At { base })
}

fn execute(connection: &Connection, text: &str, values: &[Value]) -> Result<u64, DatabaseError> {
    let mut statement = connection.prepare_cached(&numbered(text)).map_err(classify)?;
    let changed =
        statement.execute(rusqlite::params_from_iter(values.iter().map(parameter))).map_err(classify)?;
    Ok(changed as u64)
}

fn batch(
    connection: &mut Connection,
    statements: &[(&'static str, Vec<Value>)],
) -> Result<Vec<Vec<Row>>, DatabaseError> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(classify)?;
    let results: Result<Vec<Vec<Row>>, _> =
        statements.iter().map(|(text, values)| rows(&transaction, text, values)).collect();
    let results = results?;
    transaction.commit().map_err(classify)?;
    Ok(results)
}

fn insert(connection: &mut Connection, table: &Table, rows: &[Vec<Value>]) -> Result<(), DatabaseError> {
    let places = (1..=table.columns.len()).map(|i| format!("?{i}")).collect::<Vec<_>>().join(", ");
    let names = table.column_names();
    let text = format!("INSERT INTO {} ({names}) VALUES ({places}) ON CONFLICT DO NOTHING", table.name);
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

fn durability(connection: &Connection) -> Result<String, DatabaseError> {
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
