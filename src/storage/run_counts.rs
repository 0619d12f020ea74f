//! What the codes behind a prefix have caught, read from the journal a bounded piece at a time: the index by endpoint
//! leads there, so it costs what the run has caught, however large the journal is.

use super::rollups::rule_of;
use crate::database::{Database, DatabaseError, Sql, Value, columns};
use crate::model::EndpointCode;
use crate::model::run::end_of;

/// Entries that one step looks at.
const STEP: i64 = 5_000;

/// Where a step begins: behind an entry of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    endpoint: String,
    seq: i64,
}

/// The captures of one endpoint that one rule has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub endpoint: String,
    /// Empty: no rule matched.
    pub rule: String,
    pub captures: i64,
    /// Of their targets, headers and bodies.
    pub bytes: i64,
}

/// A step's counts; an endpoint may come again in the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub counts: Vec<Count>,
    /// Where the next step begins; None where there is nothing more.
    pub next: Option<Place>,
}

impl Place {
    /// Before everything behind a prefix.
    pub fn start(prefix: &str) -> Self {
        Self { endpoint: prefix.to_owned(), seq: 0 }
    }
}

/// Counts the next captures behind a prefix that are kept, up to a place in the journal, by endpoint and rule.
pub async fn step(
    database: &dyn Database,
    prefix: &str,
    upto: i64,
    from: &Place,
) -> Result<Step, DatabaseError> {
    macro_rules! sql {
        ($dialect:ident) => {
            concat!(
                // The rest of an endpoint and what is behind it apart: SQLite's index leads to either at once.
                "SELECT p.endpoint, p.rule, \
                   CAST(sum(CASE WHEN p.kind < 20 AND p.seq > COALESCE(t.floor_seq, 0) THEN 1 ELSE 0 END) AS BIGINT), \
                   CAST(sum(CASE WHEN p.kind < 20 AND p.seq > COALESCE(t.floor_seq, 0) THEN p.kept_bytes ELSE 0 END) \
                     AS BIGINT), \
                   CAST(max(p.seq) AS BIGINT), CAST(count(*) AS BIGINT) FROM ( \
                     SELECT j.endpoint, j.seq, j.kind, j.kept_bytes, ",
                rule_of!($dialect),
                " AS rule FROM ( \
                   SELECT * FROM (SELECT seq FROM journal WHERE endpoint = $1 AND seq > $2 AND seq <= $4 \
                     ORDER BY seq LIMIT $5) AS rest \
                   UNION ALL \
                   SELECT * FROM (SELECT seq FROM journal WHERE endpoint > $1 AND endpoint < $3 AND seq <= $4 \
                     ORDER BY endpoint, seq LIMIT $5) AS behind) AS found JOIN journal j ON j.seq = found.seq \
                   ORDER BY j.endpoint, j.seq LIMIT $5) AS p \
                 LEFT JOIN endpoint_totals t ON t.endpoint = p.endpoint \
                 GROUP BY p.endpoint, p.rule ORDER BY p.endpoint, p.rule"
            )
        };
    }
    const SQL: Sql = Sql { postgres: sql!(postgres), sqlite: sql!(sqlite) };
    let values = [
        Value::Text(from.endpoint.clone()),
        Value::Int(from.seq),
        Value::Text(end_of(prefix)),
        Value::Int(upto),
        Value::Int(STEP),
    ];
    let rows = database.query(&SQL, &values).await?;
    let (mut counts, mut looked_at, mut last) = (Vec::with_capacity(rows.len()), 0, from.clone());
    for row in &rows {
        let (endpoint, captures, seq) = (row.text(0)?, row.int(2)?, row.int(4)?);
        looked_at += row.int(5)?;
        if endpoint != last.endpoint {
            last = Place { endpoint: endpoint.to_owned(), seq };
        }
        last.seq = last.seq.max(seq);
        if captures > 0 {
            let (endpoint, rule) = (endpoint.to_owned(), row.text(1)?.to_owned());
            counts.push(Count { endpoint, rule, captures, bytes: row.int(3)? });
        }
    }
    Ok(Step { counts, next: (looked_at >= STEP).then_some(last) })
}

/// The first endpoint behind a prefix, and behind a code, that anything was ever caught for, and whether any of it is
/// shown still. None where there is no further one.
pub async fn endpoint_behind(
    database: &dyn Database,
    prefix: &str,
    behind: &str,
) -> Result<Option<(EndpointCode, bool)>, DatabaseError> {
    const NEXT: Sql = Sql::same(
        "SELECT j.endpoint FROM journal j WHERE j.endpoint > $1 AND j.endpoint >= $2 AND j.endpoint < $3 \
         ORDER BY j.endpoint, j.seq LIMIT 1",
    );
    const SHOWN: Sql = Sql::same(
        "SELECT j.seq FROM journal j WHERE j.endpoint = $1 AND j.kind < 20 \
           AND j.seq > COALESCE((SELECT t.floor_seq FROM endpoint_totals t WHERE t.endpoint = $1), 0) \
         ORDER BY j.seq LIMIT 1",
    );
    let values = [behind, prefix, &end_of(prefix)].map(|text| Value::Text(text.to_owned()));
    let rows = database.query(&NEXT, &values).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let code = row.text(0)?;
    let shown = database.query(&SHOWN, &[Value::Text(code.to_owned())]).await?;
    Ok(Some((columns::endpoint(code)?, !shown.is_empty())))
}
