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
    ],
};

/// Keeps answers, one commit for all. One that is there already stays.
pub async fn record(database: &dyn Database, answers: &[Answer]) -> Result<(), DatabaseError> {
    database.insert(&ANSWERS, answers.iter().map(values).collect()).await
}

fn values(answer: &Answer) -> Vec<Value> {
    vec![
        Value::Int(answer.seq),
        Value::Int(answer.status.into()),
        Value::Bytes(answer.headers.as_bytes().clone()),
        Value::Bytes(answer.body.clone()),
        Value::Int(i64::try_from(answer.body_bytes).unwrap_or(i64::MAX)),
        Value::Int(answer.took_us),
    ]
}

/// The answer to the capture at a place, where it was recorded.
pub async fn find(database: &dyn Database, seq: i64) -> Result<Option<Answer>, DatabaseError> {
    const SQL: Sql =
        Sql::same("SELECT seq, status, headers, body, body_bytes, took_us FROM answers WHERE seq = $1");
    let rows = database.query(&SQL, &[Value::Int(seq)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Answer {
        seq: row.int(0)?,
        status: u16::try_from(row.int(1)?).unwrap_or_default(),
        headers: HeaderBlock::from_kept(row.bytes(2)?.clone()),
        body: row.bytes(3)?.clone(),
        body_bytes: u64::try_from(row.int(4)?).unwrap_or_default(),
        took_us: row.int(5)?,
    }))
}
