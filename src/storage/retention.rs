//! Retention: floors are raised, and what lies under a floor is purged, both in small steps.
//!
//! Nothing here touches the journal's head, so captures never wait for it.

use std::collections::BTreeMap;

use super::journal::{first_id_at, id_value};
use super::totals::LOCK_FOLDED;
use crate::database::{Database, DatabaseError, Row, Sql, Value, columns};
use crate::model::EndpointCode;

/// An endpoint and a place up to which its captures are too old.
pub type Floor = (EndpointCode, i64);

/// The oldest captures received before a time, as floors.
pub async fn past_age(
    database: &dyn Database,
    before_us: i64,
    step: u32,
) -> Result<Vec<Floor>, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT endpoint, CAST(max(seq) AS BIGINT) FROM ( \
           SELECT j.endpoint, j.seq FROM journal j LEFT JOIN endpoint_totals t USING (endpoint) \
           WHERE j.id < $1 AND j.kind < 20 AND j.seq > COALESCE(t.floor_seq, 0) \
             AND j.seq <= (SELECT seq FROM marks WHERE name = 'folded') \
           ORDER BY j.id LIMIT $2) AS oldest GROUP BY endpoint ORDER BY endpoint",
    );
    let values = [id_value(first_id_at(before_us)), Value::Int(step.into())];
    floors(&database.query(&SQL, &values).await?)
}

/// The oldest captures of all that weigh so many bytes together, as floors; at most `step` at a time.
pub async fn oldest(database: &dyn Database, bytes: u64, step: u32) -> Result<Vec<Floor>, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT j.endpoint, j.seq, j.kept_bytes FROM journal j LEFT JOIN endpoint_totals t USING (endpoint) \
         WHERE j.kind < 20 AND j.seq > COALESCE(t.floor_seq, 0) \
           AND j.seq <= (SELECT seq FROM marks WHERE name = 'folded') ORDER BY j.id LIMIT $1",
    );
    let mut floors: BTreeMap<EndpointCode, i64> = BTreeMap::new();
    let mut found = 0;
    for row in database.query(&SQL, &[Value::Int(step.into())]).await? {
        if found >= bytes {
            break;
        }
        found += u64::try_from(row.int(2)?).unwrap_or_default();
        let floor = floors.entry(columns::endpoint(row.text(0)?)?).or_default();
        *floor = row.int(1)?.max(*floor);
    }
    Ok(floors.into_iter().collect())
}

/// Floors for endpoints that keep more captures than they may, at most so many endpoints and so many
/// captures of each at a time.
pub async fn past_count(
    database: &dyn Database,
    captures_max: u64,
    step: u32,
) -> Result<Vec<Floor>, DatabaseError> {
    const OVER: Sql = Sql::same(
        "SELECT endpoint, captures - $1 FROM endpoint_totals WHERE captures > $1 ORDER BY endpoint LIMIT 100",
    );
    const NTH: Sql = Sql::same(
        "SELECT j.seq FROM journal j JOIN endpoint_totals t USING (endpoint) \
         WHERE j.endpoint = $1 AND j.kind < 20 AND j.seq > t.floor_seq \
           AND j.seq <= (SELECT seq FROM marks WHERE name = 'folded') \
         ORDER BY j.seq LIMIT 1 OFFSET $2",
    );
    let most = Value::Int(i64::try_from(captures_max).unwrap_or(i64::MAX));
    let mut found = Vec::new();
    for row in database.query(&OVER, &[most]).await? {
        let endpoint = columns::endpoint(row.text(0)?)?;
        let excess = row.int(1)?.min(i64::from(step));
        let values = [Value::Text(endpoint.to_string()), Value::Int(excess - 1)];
        if let Some(row) = database.query(&NTH, &values).await?.first() {
            found.push((endpoint, row.int(0)?));
        }
    }
    Ok(found)
}

/// Raises floors: the captures up to each are no longer shown or counted, and readers whose cursor is
/// older are told.
pub async fn raise(database: &dyn Database, floors: &[Floor]) -> Result<(), DatabaseError> {
    const RAISE: Sql = Sql::same(
        "UPDATE endpoint_totals SET \
           captures = captures - (SELECT count(*) FROM journal j WHERE j.endpoint = $1 \
             AND j.seq > endpoint_totals.floor_seq AND j.seq <= $2 AND j.kind < 20), \
           bytes = bytes - (SELECT CAST(COALESCE(sum(j.kept_bytes), 0) AS BIGINT) FROM journal j \
             WHERE j.endpoint = $1 AND j.seq > endpoint_totals.floor_seq AND j.seq <= $2 AND j.kind < 20), \
           floor_seq = $2, trimmed_seq = $2 \
         WHERE endpoint = $1 AND floor_seq < $2 AND $2 <= (SELECT seq FROM marks WHERE name = 'folded')",
    );
    let mut statements = vec![(&LOCK_FOLDED, vec![])];
    for (endpoint, seq) in floors {
        statements.push((&RAISE, vec![Value::Text(endpoint.to_string()), Value::Int(*seq)]));
    }
    database.batch(&statements).await.map(drop)
}

/// Endpoints that have rows under their floor, with the floor.
pub async fn unpurged(database: &dyn Database) -> Result<Vec<Floor>, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT endpoint, floor_seq FROM endpoint_totals WHERE floor_seq > purged_seq ORDER BY endpoint LIMIT 100",
    );
    floors(&database.query(&SQL, &[]).await?)
}

/// Deletes at most `step` rows under a floor, with their bodies and answers. Returns how many; fewer
/// than `step` means that all are gone.
pub async fn purge(database: &dyn Database, floor: &Floor, step: u32) -> Result<u64, DatabaseError> {
    const UPTO: Sql = Sql::same(
        "SELECT CAST(max(seq) AS BIGINT), count(*) FROM (SELECT seq FROM journal \
           WHERE endpoint = $1 AND seq <= $2 AND kind < 20 ORDER BY seq LIMIT $3) AS under",
    );
    const ANSWERS: Sql = Sql::same(
        "DELETE FROM answers WHERE seq IN \
           (SELECT seq FROM journal WHERE endpoint = $1 AND seq <= $2 AND kind < 20)",
    );
    const PARTS: Sql = Sql::same(
        "DELETE FROM body_parts WHERE id IN \
           (SELECT id FROM journal WHERE endpoint = $1 AND seq <= $2 AND kind < 20)",
    );
    const ROWS: Sql = Sql::same("DELETE FROM journal WHERE endpoint = $1 AND seq <= $2 AND kind < 20");
    const PURGED: Sql = Sql::same(
        "UPDATE endpoint_totals SET purged_seq = $2 WHERE endpoint = $1 AND purged_seq < $2 AND floor_seq >= $2",
    );
    let (endpoint, floor_seq) = floor;
    let code = || Value::Text(endpoint.to_string());
    let rows = database.query(&UPTO, &[code(), Value::Int(*floor_seq), Value::Int(step.into())]).await?;
    let Some(row) = rows.first() else { return Ok(0) };
    let count = u64::try_from(row.int(1)?).unwrap_or_default();
    if let Some(upto) = row.int_or_null(0)? {
        let some = || vec![code(), Value::Int(upto)];
        database.batch(&[(&ANSWERS, some()), (&PARTS, some()), (&ROWS, some())]).await?;
    }
    if count < u64::from(step) {
        database.execute(&PURGED, &[code(), Value::Int(*floor_seq)]).await?;
    }
    Ok(count)
}

/// Deletes removals and configuration changes that are older than a time, at most `step`.
pub async fn purge_notices(database: &dyn Database, before_us: i64, step: u32) -> Result<u64, DatabaseError> {
    const SQL: Sql = Sql::same(
        "DELETE FROM journal WHERE seq IN \
           (SELECT seq FROM journal WHERE id < $1 AND kind >= 20 ORDER BY id LIMIT $2)",
    );
    database.execute(&SQL, &[id_value(first_id_at(before_us)), Value::Int(step.into())]).await
}

fn floors(rows: &[Row]) -> Result<Vec<Floor>, DatabaseError> {
    rows.iter().map(|row| Ok((columns::endpoint(row.text(0)?)?, row.int(1)?))).collect()
}
