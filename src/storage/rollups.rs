//! Rollups: what was caught by minute, endpoint, method, status and rule, so that no report scans captures. They are
//! folded with the totals, by the same range of `seq` in the same commit, and merged into hours and days as they age.
//!
//! What they hold has a bound, whatever senders think of: past so many rows a minute (an hour, a day) what has no row
//! yet is counted under the endpoint ''. Nothing is taken off when captures are removed.

use serde::Serialize;

use super::totals::{self, LOCK_FOLDED, folded_to_2, json_text, untouched_behind_2};
use crate::database::{Database, DatabaseError, Row, Sql, Value};
use crate::model::report::Span;
use crate::tally::{Tallied, Tally};

/// What `incoming` selects, as rows of the span $3: each has its endpoint where there is a row for it already, or room
/// for one under $2, the largest first; else the endpoint ''.
macro_rules! placed {
    ($incoming:expr) => {
        concat!(
            "WITH incoming AS (",
            $incoming,
            "), \
             room AS (SELECT at_us, count(*) AS taken FROM rollups WHERE span_us = $3 AND endpoint <> '' \
                        AND at_us IN (SELECT at_us FROM incoming) GROUP BY at_us), \
             ranked AS (SELECT i.at_us, i.endpoint, i.method, i.status, i.rule, i.captures, i.bytes, \
                          CASE WHEN r.captures IS NULL THEN 0 ELSE 1 END AS known, \
                          row_number() OVER (PARTITION BY i.at_us, CASE WHEN r.captures IS NULL THEN 0 ELSE 1 END \
                            ORDER BY i.captures DESC, i.endpoint, i.method, i.status, i.rule) AS place \
                        FROM incoming i LEFT JOIN rollups r ON r.span_us = $3 AND r.at_us = i.at_us \
                          AND r.endpoint = i.endpoint AND r.method = i.method AND r.status = i.status \
                          AND r.rule = i.rule), \
             placed AS (SELECT k.at_us, CASE WHEN k.known = 1 OR k.place + COALESCE(room.taken, 0) <= $2 \
                          THEN k.endpoint ELSE '' END AS endpoint, k.method, k.status, k.rule, k.captures, k.bytes \
                        FROM ranked k LEFT JOIN room ON room.at_us = k.at_us) \
             SELECT CAST($3 AS BIGINT), at_us, endpoint, method, status, rule, \
               CAST(sum(captures) AS BIGINT), CAST(sum(bytes) AS BIGINT) FROM placed \
             GROUP BY at_us, endpoint, method, status, rule ORDER BY at_us, endpoint, method, status, rule"
        )
    };
}

/// The name of the rule that has answered a capture (`j`), cut to the length that names have, or an empty text.
macro_rules! rule_of {
    (postgres) => {
        "CASE WHEN strpos(j.detail, '\\u0000') = 0 \
              THEN COALESCE(substr(CAST(j.detail AS JSON) -> 'rule' ->> 'name', 1, 255), '') ELSE '' END"
    };
    (sqlite) => {
        "substr(COALESCE(j.detail -> 'rule' ->> 'name', ''), 1, 255)"
    };
}
pub(super) use rule_of;

/// What a range of entries comes to. On Postgres a text with NUL in it (a close reason may have one) is no JSON that it
/// reads, so there the status is found by its name; a quote inside a text is escaped, so nothing else looks like it.
const SUMS: Sql = Sql {
    postgres: placed!(concat!(
        "SELECT at_us, endpoint, method, status, rule, CAST(count(*) AS BIGINT) AS captures, \
           CAST(sum(kept_bytes) AS BIGINT) AS bytes FROM ( \
           SELECT j.received_us / $3 * $3 AS at_us, j.endpoint, j.kept_bytes, \
             CASE WHEN j.method IN ('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH') \
                  THEN j.method ELSE 'other' END AS method, \
             CASE WHEN strpos(j.detail, '\\u0000') = 0 \
                  THEN COALESCE(CAST(CAST(j.detail AS JSON) ->> 'status' AS BIGINT), 200) \
                  ELSE COALESCE(CAST(substring(j.detail FROM '\"status\":([0-9]{1,5})') AS BIGINT), 200) END AS status, \
",
        rule_of!(postgres),
        " AS rule FROM journal j WHERE j.seq > $1 AND j.seq <= $4 AND j.kind < 20) AS caught \
         GROUP BY at_us, endpoint, method, status, rule"
    )),
    sqlite: placed!(concat!(
        "SELECT at_us, endpoint, method, status, rule, count(*) AS captures, sum(kept_bytes) AS bytes FROM ( \
           SELECT j.received_us / $3 * $3 AS at_us, j.endpoint, j.kept_bytes, \
             CASE WHEN j.method IN ('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH') \
                  THEN j.method ELSE 'other' END AS method, \
             CAST(COALESCE(j.detail ->> 'status', 200) AS INTEGER) AS status, \
",
        rule_of!(sqlite),
        " AS rule FROM journal j WHERE j.seq > $1 AND j.seq <= $4 AND j.kind < 20) AS caught \
         GROUP BY at_us, endpoint, method, status, rule"
    )),
};

/// What a tally comes to, from its kinds as JSON.
const SUMS_OF_TALLY: Sql = Sql {
    postgres: placed!(
        "SELECT i.at_us, i.endpoint, i.method, i.status, i.rule, i.captures, i.bytes \
         FROM json_to_recordset(CAST(CAST($1 AS TEXT) AS JSON)) AS i(at_us BIGINT, endpoint TEXT, method TEXT, \
           status BIGINT, rule TEXT, captures BIGINT, bytes BIGINT)"
    ),
    sqlite: placed!(
        "SELECT value ->> 'at_us' AS at_us, value ->> 'endpoint' AS endpoint, value ->> 'method' AS method, \
           value ->> 'status' AS status, value ->> 'rule' AS rule, value ->> 'captures' AS captures, \
           value ->> 'bytes' AS bytes FROM json_each($1)"
    ),
};

/// Adds rows to those that are there.
macro_rules! add {
    ($rows:expr) => {
        concat!(
            "INSERT INTO rollups (span_us, at_us, endpoint, method, status, rule, captures, bytes) ",
            $rows,
            " ON CONFLICT (span_us, at_us, endpoint, method, status, rule) DO UPDATE SET \
              captures = rollups.captures + excluded.captures, bytes = rollups.bytes + excluded.bytes"
        )
    };
}

/// Adds sums, written as JSON, where `when` holds.
macro_rules! add_sums {
    ($when:expr) => {
        Sql {
            postgres: add!(concat!(
                "SELECT i.span, i.at, i.endpoint, i.method, i.status, i.rule, i.captures, i.bytes \
                 FROM json_to_recordset(CAST(CAST($1 AS TEXT) AS JSON)) AS i(span BIGINT, at BIGINT, endpoint TEXT, \
                   method TEXT, status BIGINT, rule TEXT, captures BIGINT, bytes BIGINT) WHERE ",
                $when
            )),
            sqlite: add!(concat!(
                "SELECT value ->> 'span', value ->> 'at', value ->> 'endpoint', value ->> 'method', \
                   value ->> 'status', value ->> 'rule', value ->> 'captures', value ->> 'bytes' \
                 FROM json_each($1) WHERE ",
                $when
            )),
        }
    };
}

/// One row of [`SUMS`], as the statement that adds them reads it from JSON.
#[derive(Serialize)]
struct Sum<'a> {
    span: i64,
    at: i64,
    endpoint: &'a str,
    method: &'a str,
    status: i64,
    rule: &'a str,
    captures: i64,
    bytes: i64,
}

/// One kind of a [`Tally`], as [`SUMS_OF_TALLY`] reads it.
#[derive(Serialize)]
struct TalliedKind<'a> {
    at_us: i64,
    endpoint: &'a str,
    method: &'a str,
    status: u16,
    rule: &'a str,
    captures: i64,
    bytes: i64,
}

/// Folds the entries up to `upto` into totals and rollups. What the rows come to is read before, so that whoever
/// writes is held up by the sums alone; where another node has folded meanwhile, nothing is written.
pub async fn fold(database: &dyn Database, upto: i64, rows_max: u32) -> Result<(), DatabaseError> {
    const ADD: Sql = add_sums!(folded_to_2!());
    let from = totals::folded(database).await?;
    if from >= upto {
        return Ok(());
    }
    let values = [from, rows_max.into(), Span::Minute.us(), upto].map(Value::Int);
    let sums = sums_text(&database.query(&SUMS, &values).await?)?;
    let range = || vec![Value::Int(upto), Value::Int(from)];
    let statements = [
        (&LOCK_FOLDED, vec![]),
        (&ADD, vec![Value::Text(sums), Value::Int(from)]),
        (&totals::FOLD, range()),
        (&totals::MARK, range()),
    ];
    database.batch(&statements).await.map(drop)
}

/// Folds what was counted behind `from` into totals and, with room for so many rows a minute, into rollups. Whether
/// it was done: where another node has folded meanwhile, a removal came behind `from`, which takes captures away that
/// were counted, or the journal does not reach so far any more, nothing is written, and the journal itself has to be
/// read.
pub async fn fold_tally(
    database: &dyn Database,
    from: i64,
    tallied: &Tallied,
    rows_max: Option<u32>,
) -> Result<bool, DatabaseError> {
    const ADD: Sql = add_sums!(untouched_behind_2!("$3"));
    let sums = match rows_max {
        Some(rows_max) => {
            let kinds = Value::Text(kinds_text(&tallied.tally));
            let values = [kinds, Value::Int(rows_max.into()), Value::Int(Span::Minute.us())];
            sums_text(&database.query(&SUMS_OF_TALLY, &values).await?)?
        }
        None => "[]".to_owned(),
    };
    let behind = |sums| vec![Value::Text(sums), Value::Int(from), Value::Int(tallied.upto)];
    let statements = [
        (&LOCK_FOLDED, vec![]),
        (&ADD, behind(sums)),
        (&totals::ADD_TALLY, behind(totals::tally_text(&tallied.tally))),
        (&totals::MARK_TALLY, vec![Value::Int(tallied.upto), Value::Int(from)]),
    ];
    let results = database.batch(&statements).await?;
    Ok(results.last().is_some_and(|marked| !marked.is_empty()))
}

fn sums_text(rows: &[Row]) -> Result<String, DatabaseError> {
    let sums: Vec<Sum<'_>> = rows.iter().map(sum).collect::<Result<_, _>>()?;
    Ok(json_text(&sums))
}

fn kinds_text(tally: &Tally) -> String {
    let kinds = tally.endpoints.iter().flat_map(|(endpoint, of_endpoint)| {
        of_endpoint.kinds.iter().map(move |(kind, sum)| TalliedKind {
            at_us: kind.minute_us,
            endpoint,
            method: kind.method,
            status: kind.status,
            rule: kind.rule.as_deref().unwrap_or_default(),
            captures: sum.captures,
            bytes: sum.bytes,
        })
    });
    json_text(&kinds.collect::<Vec<_>>())
}

/// Merges the oldest minute (or hour) that ends before a time into its hour (or day); whether there was one.
pub async fn merge(
    database: &dyn Database,
    into: Span,
    before_us: i64,
    rows_max: u32,
) -> Result<bool, DatabaseError> {
    const OLDEST: Sql =
        Sql::same("SELECT CAST(min(at_us) AS BIGINT) FROM rollups WHERE span_us = $1 AND at_us < $2");
    const ADD: Sql = Sql::same(add!(placed!(
        "SELECT at_us / $3 * $3 AS at_us, endpoint, method, status, rule, captures, bytes \
         FROM rollups WHERE span_us = $4 AND at_us = $1"
    )));
    const GONE: Sql = Sql::same("DELETE FROM rollups WHERE span_us = $1 AND at_us = $2");
    let Some(from) = into.finer() else { return Ok(false) };
    // Only whole hours and days are merged: a report finds either all of one or nothing of it.
    let before_us = into.begin(before_us);
    let oldest = database.query(&OLDEST, &[Value::Int(from.us()), Value::Int(before_us)]).await?;
    let Some(at_us) = oldest.first().map(|row| row.int_or_null(0)).transpose()?.flatten() else {
        return Ok(false);
    };
    let add = [at_us, rows_max.into(), into.us(), from.us()].map(Value::Int).to_vec();
    let gone = vec![Value::Int(from.us()), Value::Int(at_us)];
    database.batch(&[(&LOCK_FOLDED, vec![]), (&ADD, add), (&GONE, gone)]).await?;
    Ok(true)
}

/// Forgets the oldest minute, hour or day that is older than a time; whether there was one.
pub async fn forget(database: &dyn Database, before_us: i64) -> Result<bool, DatabaseError> {
    const SQL: Sql = Sql::same(
        "DELETE FROM rollups WHERE span_us = $1 \
           AND at_us = (SELECT min(at_us) FROM rollups WHERE span_us = $1 AND at_us < $2)",
    );
    for span in Span::ALL {
        let values = [Value::Int(span.us()), Value::Int(span.begin(before_us))];
        if database.execute(&SQL, &values).await? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn sum(row: &Row) -> Result<Sum<'_>, DatabaseError> {
    Ok(Sum {
        span: row.int(0)?,
        at: row.int(1)?,
        endpoint: row.text(2)?,
        method: row.text(3)?,
        status: row.int(4)?,
        rule: row.text(5)?,
        captures: row.int(6)?,
        bytes: row.int(7)?,
    })
}
