//! Totals of each endpoint, folded from the journal by range of `seq`, so that no listing scans captures.

use serde::Serialize;

use super::journal::pattern_value;
use crate::database::columns;
use crate::database::{Database, DatabaseError, Row, Sql, Value};
use crate::model::{EndpointCode, Glob};
use crate::tally::Tally;

/// An endpoint as the listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    pub endpoint: EndpointCode,
    pub captures: i64,
    pub bytes: i64,
    /// When the last capture was received, in microseconds.
    pub last_us: Option<i64>,
}

/// Whoever folds, trims or removes holds this row to the end of the transaction.
pub(super) const LOCK_FOLDED: Sql = Sql {
    postgres: "SELECT seq FROM marks WHERE name = 'folded' FOR UPDATE",
    sqlite: "SELECT seq FROM marks WHERE name = 'folded'",
};

/// How far the journal is folded.
pub async fn folded(database: &dyn Database) -> Result<i64, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT seq FROM marks WHERE name = 'folded'");
    let rows = database.query(&SQL, &[]).await?;
    rows.first().map_or(Ok(0), |row| row.int(0))
}

/// The journal is folded to $2 still.
macro_rules! folded_to_2 {
    () => {
        "(SELECT seq FROM marks WHERE name = 'folded') = $2"
    };
}
/// It is, nothing was removed behind that, and the journal reaches as far as was counted: one that was put back from a
/// backup may not, and a mark past its head would leave what comes next out of all sums.
macro_rules! untouched_behind_2 {
    ($upto:literal) => {
        concat!(
            "(SELECT seq FROM marks WHERE name = 'folded') = $2 \
             AND NOT EXISTS (SELECT 1 FROM journal WHERE kind >= 20 AND kind = 20 AND seq > $2) \
             AND (SELECT seq FROM journal_head WHERE id = 1) >= ",
            $upto
        )
    };
}
pub(super) use {folded_to_2, untouched_behind_2};

/// Adds rows of `(endpoint, captures, bytes, last_us)`.
macro_rules! add {
    ($rows:expr) => {
        concat!(
            "INSERT INTO endpoint_totals (endpoint, captures, bytes, last_us, floor_seq, trimmed_seq, purged_seq) ",
            $rows,
            " ON CONFLICT (endpoint) DO UPDATE SET captures = endpoint_totals.captures + excluded.captures, \
               bytes = endpoint_totals.bytes + excluded.bytes, \
               last_us = CASE WHEN endpoint_totals.last_us > excluded.last_us THEN endpoint_totals.last_us \
                              ELSE excluded.last_us END"
        )
    };
}

/// Adds the entries behind $2 and up to $1, where the mark stands at $2 still. Captures that were removed before are
/// not counted.
pub(super) const FOLD: Sql = Sql::same(add!(concat!(
    "SELECT j.endpoint, count(*), CAST(sum(j.kept_bytes) AS BIGINT), max(j.received_us), 0, 0, 0 \
     FROM journal j LEFT JOIN endpoint_totals t USING (endpoint) \
     WHERE j.seq > $2 AND j.seq <= $1 AND j.kind < 20 AND j.seq > COALESCE(t.floor_seq, 0) AND ",
    folded_to_2!(),
    " GROUP BY j.endpoint ORDER BY j.endpoint"
)));
pub(super) const MARK: Sql = Sql::same("UPDATE marks SET seq = $1 WHERE name = 'folded' AND seq = $2");

/// Adds what a tally up to $3 comes to, written as JSON, where it is good still.
pub(super) const ADD_TALLY: Sql = Sql {
    postgres: add!(concat!(
        "SELECT i.endpoint, i.captures, i.bytes, i.last_us, 0, 0, 0 \
         FROM json_to_recordset(CAST(CAST($1 AS TEXT) AS JSON)) AS i(endpoint TEXT, captures BIGINT, bytes BIGINT, \
           last_us BIGINT) WHERE ",
        untouched_behind_2!("$3"),
        " ORDER BY i.endpoint"
    )),
    sqlite: add!(concat!(
        "SELECT value ->> 'endpoint', value ->> 'captures', value ->> 'bytes', value ->> 'last_us', 0, 0, 0 \
         FROM json_each($1) WHERE ",
        untouched_behind_2!("$3"),
        " ORDER BY 1"
    )),
};
/// The same for the mark; a row, where it was so.
pub(super) const MARK_TALLY: Sql = Sql::same(concat!(
    "UPDATE marks SET seq = $1 WHERE name = 'folded' AND ",
    untouched_behind_2!("$1"),
    " RETURNING seq"
));

/// What [`ADD_TALLY`] reads.
pub(super) fn tally_text(tally: &Tally) -> String {
    #[derive(Serialize)]
    struct Total<'a> {
        endpoint: &'a str,
        captures: i64,
        bytes: i64,
        last_us: i64,
    }
    let totals = tally.endpoints.iter().map(|(endpoint, of_endpoint)| Total {
        endpoint,
        captures: of_endpoint.all.captures,
        bytes: of_endpoint.all.bytes,
        last_us: of_endpoint.last_us,
    });
    json_text(&totals.collect::<Vec<_>>())
}

pub(super) fn json_text(plain: &impl Serialize) -> String {
    serde_json::to_string(plain).expect("plain texts and numbers are JSON")
}

/// Folds the entries up to `upto` into the totals alone; [`fold`](super::rollups::fold) does what reports need, too.
/// Safe to run on two nodes at once: nothing is done where another node has moved the mark meanwhile.
pub async fn fold(database: &dyn Database, upto: i64) -> Result<(), DatabaseError> {
    let from = folded(database).await?;
    if from >= upto {
        return Ok(());
    }
    let range = || vec![Value::Int(upto), Value::Int(from)];
    database.batch(&[(&LOCK_FOLDED, vec![]), (&FOLD, range()), (&MARK, range())]).await.map(drop)
}

/// A page of endpoints that have caught something or were declared, by code; with a pattern, of those that
/// match.
pub async fn list(
    database: &dyn Database,
    within: Option<&Glob>,
    behind: Option<&str>,
    limit: u32,
) -> Result<Vec<Totals>, DatabaseError> {
    macro_rules! page {
        ($matches:literal) => {
            concat!(
                "SELECT code, captures, bytes, last_us FROM ( \
                   SELECT endpoint AS code, captures, bytes, last_us FROM endpoint_totals \
                   WHERE last_us IS NOT NULL \
                   UNION ALL SELECT name, 0, 0, NULL FROM configuration c WHERE c.kind = 'endpoint' \
                     AND c.document IS NOT NULL AND NOT EXISTS \
                       (SELECT 1 FROM endpoint_totals t WHERE t.endpoint = c.name AND t.last_us IS NOT NULL) \
                 ) AS listed WHERE code > $1 AND (CAST($3 AS TEXT) = '' OR ",
                $matches,
                ") ORDER BY code LIMIT $2"
            )
        };
    }
    const SQL: Sql = Sql { postgres: page!("code LIKE $3 ESCAPE '!'"), sqlite: page!("code GLOB $3") };
    let values = [
        Value::Text(behind.unwrap_or_default().to_owned()),
        Value::Int(limit.into()),
        pattern_value(database.dialect(), within),
    ];
    let rows = database.scan(&SQL, &values).await?;
    rows.iter()
        .map(|row| {
            Ok(Totals {
                endpoint: columns::endpoint(row.text(0)?)?,
                captures: row.int(1)?,
                bytes: row.int(2)?,
                last_us: row.int_or_null(3)?,
            })
        })
        .collect()
}

/// Bytes that are kept in all.
pub async fn bytes(database: &dyn Database) -> Result<u64, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT CAST(COALESCE(sum(bytes), 0) AS BIGINT) FROM endpoint_totals");
    let rows = database.query(&SQL, &[]).await?;
    let bytes = rows.first().map_or(Ok(0), |row| row.int(0))?;
    Ok(u64::try_from(bytes).unwrap_or_default())
}

/// The codes of endpoints that hold captures, at most so many.
pub async fn codes(database: &dyn Database, limit: u64) -> Result<Vec<EndpointCode>, DatabaseError> {
    const SQL: Sql =
        Sql::same("SELECT endpoint FROM endpoint_totals WHERE captures > 0 ORDER BY endpoint LIMIT $1");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = database.query(&SQL, &[Value::Int(limit)]).await?;
    rows.iter().map(|row| columns::endpoint(row.text(0)?)).collect()
}

/// The number of the newest trim. Trims are numbered in the order of their commits, so that who has seen one has seen
/// all before it.
pub async fn newest_trim(database: &dyn Database) -> Result<i64, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT seq FROM marks WHERE name = 'trims'");
    let rows = database.query(&SQL, &[]).await?;
    rows.first().map_or(Ok(0), |row| row.int(0))
}

/// What retention has taken of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trim {
    /// Of the newest trim.
    pub number: i64,
    pub endpoint: EndpointCode,
    /// Captures up to here are gone.
    pub upto: i64,
}

/// Endpoints of which retention has trimmed captures behind a place, since the trim of a number: in the order of their
/// newest, at most so many.
pub async fn trimmed_behind(
    database: &dyn Database,
    seq: i64,
    since: i64,
    limit: usize,
) -> Result<Vec<Trim>, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT trim_number, endpoint, trimmed_seq FROM endpoint_totals WHERE trimmed_seq > $1 AND trim_number > $2 \
         ORDER BY trim_number LIMIT $3",
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = database.query(&SQL, &[Value::Int(seq), Value::Int(since), Value::Int(limit)]).await?;
    let trim = |row: &Row| {
        Ok(Trim { number: row.int(0)?, endpoint: columns::endpoint(row.text(1)?)?, upto: row.int(2)? })
    };
    rows.iter().map(trim).collect()
}
