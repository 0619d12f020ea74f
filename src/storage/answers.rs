//! What was answered, kept beside the captures.

use crate::database::{ColumnType, Database, DatabaseError, Sql, Table, Value};
use crate::model::{Answer, HeaderBlock};

const ANSWERS: Table = Table {
    name: "answers",
    columns: &[
        ("seq", ColumnType::Int),
        ("status", ColumnType::Int),
        ("headers", ColumnType::Bytes),
        ("body", ColumnType::Bytes),
        ("body_bytes", ColumnType::Int),
        ("took_us", ColumnType::Int),
        ("failure", ColumnType::Text),
    ],
};

/// Keeps answers, one commit for all.
pub async fn record<'a>(
    database: &dyn Database,
    answers: impl IntoIterator<Item = &'a Answer>,
) -> Result<(), DatabaseError> {
    database.insert(&ANSWERS, answers.into_iter().map(values).collect()).await
}

fn values(answer: &Answer) -> Vec<Value> {
    vec![
        Value::Int(answer.seq),
        Value::Int(answer.status.into()),
        Value::Bytes(answer.headers.as_bytes().clone()),
        Value::Bytes(answer.body.clone()),
        Value::Int(i64::try_from(answer.body_bytes).unwrap_or(i64::MAX)),
        Value::Int(answer.took_us),
        answer.failure.clone().map_or(Value::Null, Value::Text),
    ]
}

/// The answer to the capture at a place, where it was recorded.
pub async fn find(database: &dyn Database, seq: i64) -> Result<Option<Answer>, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT seq, status, headers, body, body_bytes, took_us, failure FROM answers WHERE seq = $1",
    );
    let rows = database.query(&SQL, &[Value::Int(seq)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Answer {
        seq: row.int(0)?,
        status: u16::try_from(row.int(1)?).unwrap_or_default(),
        headers: HeaderBlock::from_kept(row.bytes(2)?.clone()),
        body: row.bytes(3)?.clone(),
        body_bytes: u64::try_from(row.int(4)?).unwrap_or_default(),
        took_us: row.int(5)?,
        failure: row.text_or_null(6)?.map(str::to_owned),
    }))
}

/// Captures whose answers may not be written yet.
const ANSWERS_ON_THEIR_WAY: i64 = 100_000;

/// Places that one sweep looks at.
const SWEEP_MAX: i64 = 50_000;

/// Removes answers to captures that were removed before their answer was written.
pub async fn sweep(database: &dyn Database) -> Result<(), DatabaseError> {
    const SPAN: Sql = Sql::same(
        "SELECT swept.seq, folded.seq FROM marks swept, marks folded \
         WHERE swept.name = 'answers_swept' AND folded.name = 'folded'",
    );
    const SQL: Sql = Sql::same(
        "DELETE FROM answers WHERE seq > $1 AND seq <= $2 \
         AND NOT EXISTS (SELECT 1 FROM journal WHERE journal.seq = answers.seq)",
    );
    const MARK: Sql = Sql::same("UPDATE marks SET seq = $1 WHERE name = 'answers_swept'");
    let rows = database.query(&SPAN, &[]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (from, folded) = (row.int(0)?, row.int(1)?);
    // Answers come within moments, and this comes seconds apart: the newest are left to the next time.
    let upto = (folded - ANSWERS_ON_THEIR_WAY).min(from + SWEEP_MAX);
    if upto > from {
        database.execute(&SQL, &[Value::Int(from), Value::Int(upto)]).await?;
        database.execute(&MARK, &[Value::Int(upto)]).await?;
    }
    Ok(())
}
