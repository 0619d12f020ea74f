//! Large bodies, kept in parts beside the journal.

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use super::journal::{first_id_at, id_value};
use crate::database::{Database, DatabaseError, Sql, Value};
use crate::model::{BodyContent, Capture};
use crate::rules::{Expression, Seen};

/// Writes one part; the parts of a body are numbered from 0.
pub async fn record_part(
    database: &dyn Database,
    id: Uuid,
    part: i64,
    content: Bytes,
) -> Result<(), DatabaseError> {
    const SQL: Sql = Sql::same(
        "INSERT INTO body_parts (id, part, content) VALUES ($1, $2, $3) ON CONFLICT (id, part) DO NOTHING",
    );
    database.execute(&SQL, &[id_value(id), Value::Int(part), Value::Bytes(content)]).await.map(drop)
}

/// One part of a body, or None behind the last.
pub async fn find_part(database: &dyn Database, id: Uuid, part: i64) -> Result<Option<Bytes>, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT content FROM body_parts WHERE id = $1 AND part = $2");
    let rows = database.query(&SQL, &[id_value(id), Value::Int(part)]).await?;
    rows.first().map(|row| row.bytes(0).cloned()).transpose()
}

/// A kept body's beginning, at most so many bytes where it is in parts. Of a body that is removed meanwhile, what was
/// there still.
pub async fn read_start(
    database: &dyn Database,
    capture: &Capture,
    bytes_max: usize,
) -> Result<Bytes, DatabaseError> {
    if let BodyContent::Inline(body) = &capture.body.content {
        return Ok(body.clone());
    }
    let mut body = BytesMut::new();
    for part in 0.. {
        if body.len() >= bytes_max {
            break;
        }
        let Some(content) = find_part(database, capture.id, part).await? else { break };
        body.extend_from_slice(&content);
    }
    body.truncate(bytes_max);
    Ok(body.freeze())
}

/// A kept capture's body, as far as an expression's verdict depends on it.
pub struct Look {
    pub body: Bytes,
    /// False where the body is in parts, which were not read: the rest of the capture decides.
    pub is_read: bool,
}

/// Gets as much of a body as an expression's verdict depends on, at most so many bytes of one in parts: those are
/// read only where the rest of the capture does not decide.
pub async fn look(
    database: &dyn Database,
    expression: &Expression,
    capture: &Capture,
    bytes_max: usize,
) -> Result<Look, DatabaseError> {
    match &capture.body.content {
        BodyContent::Inline(body) => Ok(Look { body: body.clone(), is_read: true }),
        BodyContent::Parts { start } => {
            let seen = Seen::in_inquiry(capture, start);
            let decided = expression.decided_without_body(&seen);
            if decided.is_some() && !seen.gave_up() {
                return Ok(Look { body: start.clone(), is_read: false });
            }
            Ok(Look { body: read_start(database, capture, bytes_max).await?, is_read: true })
        }
    }
}

/// Whether an inquiry's expression matches a kept capture. One that takes too long to tell does not.
pub async fn matches(
    database: &dyn Database,
    expression: &Expression,
    capture: &Capture,
    bytes_max: usize,
) -> Result<bool, DatabaseError> {
    let look = look(database, expression, capture, bytes_max).await?;
    let seen = Seen::in_inquiry(capture, &look.body);
    Ok(seen.in_time(|seen| expression.matches(seen)).unwrap_or(false))
}

/// Removes the parts of a body that was never journaled.
pub async fn remove(database: &dyn Database, id: Uuid) -> Result<(), DatabaseError> {
    const SQL: Sql = Sql::same("DELETE FROM body_parts WHERE id = $1");
    database.execute(&SQL, &[id_value(id)]).await.map(drop)
}

/// Whether there is room for so many bytes: writes them beside a body that was never journaled, and removes them.
pub async fn try_room(database: &dyn Database, id: Uuid, bytes: usize) -> Result<(), DatabaseError> {
    record_part(database, id, i64::MAX, vec![0; bytes].into()).await?;
    remove(database, id).await
}

/// Removes the parts of bodies received before a time that are in no entry. Returns how many.
pub async fn sweep(database: &dyn Database, until_us: i64) -> Result<u64, DatabaseError> {
    const SWEPT: Sql = Sql::same("SELECT seq FROM marks WHERE name = 'parts_swept_us'");
    const SQL: Sql = Sql::same(
        "DELETE FROM body_parts WHERE id >= $1 AND id < $2 \
         AND NOT EXISTS (SELECT 1 FROM journal WHERE journal.id = body_parts.id)",
    );
    const MARK: Sql = Sql::same("UPDATE marks SET seq = $1 WHERE name = 'parts_swept_us'");
    let from_us = database.query(&SWEPT, &[]).await?.first().map_or(Ok(0), |row| row.int(0))?;
    if from_us >= until_us {
        return Ok(0);
    }
    let span = [id_value(first_id_at(from_us)), id_value(first_id_at(until_us))];
    let swept = database.execute(&SQL, &span).await?;
    database.execute(&MARK, &[Value::Int(until_us)]).await?;
    Ok(swept)
}
