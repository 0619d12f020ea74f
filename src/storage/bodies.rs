//! Large bodies, kept in parts beside the journal.

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use super::journal::{first_id_at, id_value};
use crate::database::{Database, DatabaseError, Sql, Value};

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

/// The first bytes of a body, at most so many; None where it is gone.
pub async fn find_start(
    database: &dyn Database,
    id: Uuid,
    bytes_max: usize,
) -> Result<Option<Bytes>, DatabaseError> {
    let mut start = BytesMut::new();
    let mut part = 0;
    while start.len() < bytes_max {
        let Some(content) = find_part(database, id, part).await? else { break };
        start.extend_from_slice(&content[..content.len().min(bytes_max - start.len())]);
        part += 1;
    }
    Ok((part > 0).then(|| start.freeze()))
}

/// Removes the parts of a body that was never journaled.
pub async fn remove(database: &dyn Database, id: Uuid) -> Result<(), DatabaseError> {
    const SQL: Sql = Sql::same("DELETE FROM body_parts WHERE id = $1");
    database.execute(&SQL, &[id_value(id)]).await.map(drop)
}

/// Up to what time of receipt parts were swept, in microseconds.
pub async fn swept(database: &dyn Database) -> Result<i64, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT seq FROM marks WHERE name = 'swept'");
    let rows = database.query(&SQL, &[]).await?;
    rows.first().map_or(Ok(0), |row| row.int(0))
}

/// Removes the parts of bodies received in a span of time that are in no entry. Returns how many.
pub async fn sweep(database: &dyn Database, from_us: i64, until_us: i64) -> Result<u64, DatabaseError> {
    const SQL: Sql = Sql::same(
        "DELETE FROM body_parts WHERE id >= $1 AND id < $2 \
         AND NOT EXISTS (SELECT 1 FROM journal WHERE journal.id = body_parts.id)",
    );
    const MARK: Sql = Sql::same("UPDATE marks SET seq = $1 WHERE name = 'swept'");
    let span = [id_value(first_id_at(from_us)), id_value(first_id_at(until_us))];
    let swept = database.execute(&SQL, &span).await?;
    database.execute(&MARK, &[Value::Int(until_us)]).await?;
    Ok(swept)
}
