//! Retention: floors are raised, and what lies under a floor is purged, both in small steps.
//!
//! Nothing here touches the journal's head, so captures never wait for it.

use std::collections::BTreeMap;

use super::answers;
use super::journal::{first_id_at, id_value};
use super::totals::LOCK_FOLDED;
use crate::database::{Database, DatabaseError, Row, Sql, Value, columns};
use crate::model::EndpointCode;

/// An endpoint and a place up to which its captures are too old.
pub type Floor = (EndpointCode, i64);

/// An endpoint whose settings say how long its captures are kept; 0 is without end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    pub endpoint: EndpointCode,
    pub age_s_max: Option<u64>,
    pub captures_max: Option<u64>,
}

/// What an endpoint's settings say of one limit, as a number or NULL.
macro_rules! own {
    (postgres, $limit:literal) => {
        concat!("CAST(c.document::jsonb #>> '{retention,", $limit, "}' AS BIGINT)")
    };
    (sqlite, $limit:literal) => {
        concat!("(c.document -> 'retention' ->> '", $limit, "')")
    };
}

/// That an endpoint (`e.endpoint`) has no limit of its own.
macro_rules! has_none {
    ($dialect:ident, $limit:literal) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM configuration c WHERE c.kind = 'endpoint' AND c.name = e.endpoint AND ",
            own!($dialect, $limit),
            " IS NOT NULL)"
        )
    };
}

/// Endpoints that have limits of their own.
pub async fn own(database: &dyn Database) -> Result<Vec<Own>, DatabaseError> {
    macro_rules! sql {
        ($dialect:ident) => {
            concat!(
                "SELECT name, age, captures FROM (SELECT c.name, ",
                own!($dialect, "age_s_max"),
                " AS age, ",
                own!($dialect, "captures_max"),
                " AS captures FROM configuration c WHERE c.kind = 'endpoint' AND c.document IS NOT NULL) AS own \
                 WHERE age IS NOT NULL OR captures IS NOT NULL ORDER BY name"
            )
        };
    }
    const SQL: Sql = Sql { postgres: sql!(postgres), sqlite: sql!(sqlite) };
    let rows = database.query(&SQL, &[]).await?;
    let limit =
        |row: &Row, column| Ok(row.int_or_null(column)?.map(|limit| u64::try_from(limit).unwrap_or(0)));
    rows.iter()
        .map(|row| {
            let endpoint = columns::endpoint(row.text(0)?)?;
            Ok(Own { endpoint, age_s_max: limit(row, 1)?, captures_max: limit(row, 2)? })
        })
        .collect()
}

/// The oldest captures received before a time, as floors; not of endpoints with an age of their own.
///
/// Numbers follow commits and ids follow receipt: a capture that was long on its way stands behind younger ones. So the
/// oldest are taken by number, and those of an endpoint go up to the first that is young, which is there within the time
/// that a body may take.
pub async fn past_age(
    database: &dyn Database,
    before_us: i64,
    step: u32,
) -> Result<Vec<Floor>, DatabaseError> {
    macro_rules! unremoved {
        ($dialect:ident, $columns:literal) => {
            concat!(
                "SELECT ",
                $columns,
                " FROM journal e LEFT JOIN endpoint_totals t ON t.endpoint = e.endpoint \
                 WHERE e.kind < 20 AND e.seq > COALESCE(t.floor_seq, 0) AND ",
                has_none!($dialect, "age_s_max"),
            )
        };
    }
    // What stands behind all that is old is not looked at, be it ever so much: SQLite goes by one bound alone.
    macro_rules! sql {
        ($dialect:ident) => {
            concat!(
                "WITH old AS (",
                unremoved!($dialect, "e.seq"),
                " AND e.id < $1 AND e.seq <= (SELECT seq FROM marks WHERE name = 'folded') \
                 ORDER BY e.id DESC LIMIT $2), \
                 oldest AS (",
                unremoved!($dialect, "e.endpoint, e.seq, e.id"),
                " AND e.seq <= (SELECT max(seq) FROM old) ORDER BY e.seq LIMIT $2), \
                 young AS (SELECT endpoint, min(seq) AS first FROM oldest WHERE id >= $1 GROUP BY endpoint) \
                 SELECT o.endpoint, CAST(max(o.seq) AS BIGINT) \
                 FROM oldest o LEFT JOIN young y ON y.endpoint = o.endpoint WHERE y.first IS NULL OR o.seq < y.first GROUP BY o.endpoint ORDER BY o.endpoint",
            )
        };
    }
    const SQL: Sql = Sql { postgres: sql!(postgres), sqlite: sql!(sqlite) };
    let values = [id_value(first_id_at(before_us)), Value::Int(step.into())];
    floors(&database.query(&SQL, &values).await?)
}

/// The oldest captures of one endpoint that were received before a time, as a floor, in the same way.
pub async fn past_own_age(
    database: &dyn Database,
    endpoint: &EndpointCode,
    before_us: i64,
    step: u32,
) -> Result<Option<Floor>, DatabaseError> {
    const SQL: Sql = Sql::same(
        "WITH oldest AS ( \
           SELECT j.seq, j.id FROM journal j JOIN endpoint_totals t USING (endpoint) \
           WHERE j.endpoint = $1 AND j.kind < 20 AND j.seq > t.floor_seq \
             AND j.seq <= (SELECT seq FROM marks WHERE name = 'folded') \
           ORDER BY j.seq LIMIT $3), \
         young AS (SELECT min(seq) AS first FROM oldest WHERE id >= $2) \
         SELECT CAST(max(o.seq) AS BIGINT) FROM oldest o, young y WHERE y.first IS NULL OR o.seq < y.first",
    );
    let values =
        [Value::Text(endpoint.to_string()), id_value(first_id_at(before_us)), Value::Int(step.into())];
    let rows = database.query(&SQL, &values).await?;
    let seq = rows.first().map(|row| row.int_or_null(0)).transpose()?.flatten();
    Ok(seq.map(|seq| (endpoint.clone(), seq)))
}

/// The oldest captures of all that weigh so many bytes together, as floors; at most `step` at a time. They go by number,
/// as floors do: whatever stands under one is among them.
pub async fn oldest(database: &dyn Database, bytes: u64, step: u32) -> Result<Vec<Floor>, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT j.endpoint, j.seq, j.kept_bytes FROM journal j LEFT JOIN endpoint_totals t USING (endpoint) \
         WHERE j.kind < 20 AND j.seq > COALESCE(t.floor_seq, 0) \
           AND j.seq <= (SELECT seq FROM marks WHERE name = 'folded') ORDER BY j.seq LIMIT $1",
    );
    let mut floors: BTreeMap<EndpointCode, i64> = BTreeMap::new();
    let mut found = 0;
    for row in database.query(&SQL, &[Value::Int(step.into())]).await? {
        if found >= bytes {
            break;
        }
        found += u64::try_from(row.int(2)?).unwrap_or_default();
        floors.insert(columns::endpoint(row.text(0)?)?, row.int(1)?);
    }
    Ok(floors.into_iter().collect())
}

/// Floors for endpoints that keep more captures than they may, at most so many endpoints and so many
/// captures of each at a time; not for endpoints with a number of their own.
pub async fn past_count(
    database: &dyn Database,
    captures_max: u64,
    step: u32,
) -> Result<Vec<Floor>, DatabaseError> {
    macro_rules! over {
        ($dialect:ident) => {
            concat!(
                "SELECT e.endpoint, e.captures - $1 FROM endpoint_totals e WHERE e.captures > $1 AND ",
                has_none!($dialect, "captures_max"),
                " ORDER BY e.endpoint LIMIT 100"
            )
        };
    }
    const OVER: Sql = Sql { postgres: over!(postgres), sqlite: over!(sqlite) };
    let most = Value::Int(i64::try_from(captures_max).unwrap_or(i64::MAX));
    excess_of(database, &database.query(&OVER, &[most]).await?, step).await
}

/// The floor of one endpoint that keeps more captures than it may.
pub async fn past_own_count(
    database: &dyn Database,
    endpoint: &EndpointCode,
    captures_max: u64,
    step: u32,
) -> Result<Option<Floor>, DatabaseError> {
    const OVER: Sql = Sql::same(
        "SELECT endpoint, captures - $1 FROM endpoint_totals WHERE captures > $1 AND endpoint = $2",
    );
    let most = Value::Int(i64::try_from(captures_max).unwrap_or(i64::MAX));
    let over = database.query(&OVER, &[most, Value::Text(endpoint.to_string())]).await?;
    Ok(excess_of(database, &over, step).await?.pop())
}

/// Floors under the excess of endpoints, given as rows of code and excess.
async fn excess_of(database: &dyn Database, over: &[Row], step: u32) -> Result<Vec<Floor>, DatabaseError> {
    const NTH: Sql = Sql::same(
        "SELECT j.seq FROM journal j JOIN endpoint_totals t USING (endpoint) \
         WHERE j.endpoint = $1 AND j.kind < 20 AND j.seq > t.floor_seq \
           AND j.seq <= (SELECT seq FROM marks WHERE name = 'folded') \
         ORDER BY j.seq LIMIT 1 OFFSET $2",
    );
    let mut found = Vec::new();
    for row in over {
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
    const NUMBERS: Sql = Sql::same("UPDATE marks SET seq = seq + $1 WHERE name = 'trims'");
    const RAISE: Sql = Sql::same(
        "UPDATE endpoint_totals SET \
           (captures, bytes) = (SELECT endpoint_totals.captures - count(*), \
               endpoint_totals.bytes - CAST(COALESCE(sum(j.kept_bytes), 0) AS BIGINT) FROM journal j \
             WHERE j.endpoint = $1 AND j.seq > endpoint_totals.floor_seq AND j.seq <= $2 AND j.kind < 20), \
           floor_seq = $2, trimmed_seq = $2, \
           trim_number = (SELECT seq FROM marks WHERE name = 'trims') - $3 \
         WHERE endpoint = $1 AND floor_seq < $2 AND $2 <= (SELECT seq FROM marks WHERE name = 'folded')",
    );
    let count = i64::try_from(floors.len()).unwrap_or(i64::MAX);
    let mut statements = vec![(&LOCK_FOLDED, vec![]), (&NUMBERS, vec![Value::Int(count)])];
    for ((endpoint, seq), left) in floors.iter().zip((0..count).rev()) {
        statements
            .push((&RAISE, vec![Value::Text(endpoint.to_string()), Value::Int(*seq), Value::Int(left)]));
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
        database.batch(&[(&answers::PURGE, some()), (&PARTS, some()), (&ROWS, some())]).await?;
    }
    if count < u64::from(step) {
        // Those in a page that reaches over the floor, too: what is purged is not looked at again.
        answers::purge(database, endpoint, *floor_seq).await?;
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
