//! Reports: sums over the rollups. They say what was caught, be it kept still or not.

use crate::database::{Database, DatabaseError, Dialect, Row, Sql, Value};
use crate::model::Glob;
use crate::model::report::{BusiestBy, GroupBy, Span};

/// Which captures a report is about; both ends lie between two spans.
#[derive(Debug, Clone)]
pub struct Report {
    pub from_us: i64,
    pub until_us: i64,
    pub bucket: Span,
    /// None: everything is one group.
    pub by: Option<GroupBy>,
    pub endpoint: Option<Glob>,
    /// So many groups have rows of their own, those with the most captures of all the time together.
    pub top: u32,
    /// Rows read at most.
    pub rows_max: u32,
}

/// The captures of a group in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub at_us: i64,
    /// None for what is in none of the groups that are shown.
    pub group: Option<String>,
    pub captures: i64,
    pub bytes: i64,
}

/// Captures of an endpoint, or of all that are not listed, without a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    pub endpoint: Option<String>,
    pub captures: i64,
    pub bytes: i64,
}

/// The sums of `$group` in each bucket. The matching of patterns is the database's own (`like`), with a pattern of its
/// own; the endpoint '' is no endpoint, and so in no pattern and never among the largest.
macro_rules! captures {
    ($group:literal, $shown:literal, $like:literal) => {
        concat!(
            "WITH caught AS (SELECT at_us / $3 * $3 AS at_us, ",
            $group,
            " AS name, CAST(sum(captures) AS BIGINT) AS captures, CAST(sum(bytes) AS BIGINT) AS bytes FROM rollups \
             WHERE span_us IN (60000000, 3600000000, 86400000000) AND at_us >= $1 AND at_us < $2 \
               AND ($4 = '' OR (endpoint <> '' AND endpoint ",
            $like,
            " $4)) GROUP BY 1, 2), \
             top AS (SELECT name FROM caught WHERE ",
            $shown,
            " GROUP BY name ORDER BY sum(captures) DESC, name LIMIT $5) \
             SELECT c.at_us, t.name, CAST(sum(c.captures) AS BIGINT), CAST(sum(c.bytes) AS BIGINT) \
             FROM caught c LEFT JOIN top t ON t.name = c.name GROUP BY c.at_us, t.name \
             ORDER BY c.at_us, CASE WHEN t.name IS NULL THEN 1 ELSE 0 END, t.name LIMIT $6"
        )
    };
    ($group:literal, $shown:literal) => {
        Sql { postgres: captures!($group, $shown, "LIKE"), sqlite: captures!($group, $shown, "GLOB") }
    };
}

/// The captures of each group in each bucket, by time and group; at most `rows_max` rows.
pub async fn captures(database: &dyn Database, report: &Report) -> Result<Vec<Counted>, DatabaseError> {
    const TOGETHER: Sql = captures!("''", "true");
    const BY_ENDPOINT: Sql = captures!("endpoint", "name <> ''");
    const BY_METHOD: Sql = captures!("method", "true");
    const BY_STATUS: Sql = captures!("CAST(status AS TEXT)", "true");
    const BY_RULE: Sql = captures!("rule", "true");
    let sql = match report.by {
        None => &TOGETHER,
        Some(GroupBy::Endpoint) => &BY_ENDPOINT,
        Some(GroupBy::Method) => &BY_METHOD,
        Some(GroupBy::Status) => &BY_STATUS,
        Some(GroupBy::Rule) => &BY_RULE,
    };
    let values = [
        Value::Int(report.from_us),
        Value::Int(report.until_us),
        Value::Int(report.bucket.us()),
        Value::Text(report.endpoint.as_ref().map_or(String::new(), |glob| pattern(glob, database.dialect()))),
        Value::Int(report.top.into()),
        Value::Int(report.rows_max.into()),
    ];
    database.scan(sql, &values).await?.iter().map(counted).collect()
}

/// The endpoints with the most captures (or bytes), the busiest first, and behind them what all others come to.
pub async fn busiest(
    database: &dyn Database,
    from_us: i64,
    until_us: i64,
    by: BusiestBy,
    top: u32,
) -> Result<Vec<Busy>, DatabaseError> {
    macro_rules! busiest {
        ($order:literal) => {
            Sql::same(concat!(
                "WITH caught AS (SELECT endpoint, CAST(sum(captures) AS BIGINT) AS captures, \
                                   CAST(sum(bytes) AS BIGINT) AS bytes FROM rollups \
                                 WHERE span_us IN (60000000, 3600000000, 86400000000) \
                                   AND at_us >= $1 AND at_us < $2 GROUP BY endpoint), \
                      top AS (SELECT endpoint FROM caught WHERE endpoint <> '' ORDER BY ",
                $order,
                " DESC, endpoint LIMIT $3) \
                 SELECT t.endpoint, CAST(sum(c.captures) AS BIGINT), CAST(sum(c.bytes) AS BIGINT) \
                 FROM caught c LEFT JOIN top t ON t.endpoint = c.endpoint GROUP BY t.endpoint \
                 ORDER BY CASE WHEN t.endpoint IS NULL THEN 1 ELSE 0 END, sum(c.",
                $order,
                ") DESC, t.endpoint"
            ))
        };
    }
    const BY_CAPTURES: Sql = busiest!("captures");
    const BY_BYTES: Sql = busiest!("bytes");
    let sql = match by {
        BusiestBy::Captures => &BY_CAPTURES,
        BusiestBy::Bytes => &BY_BYTES,
    };
    let values = [Value::Int(from_us), Value::Int(until_us), Value::Int(top.into())];
    database.scan(sql, &values).await?.iter().map(busy).collect()
}

/// A glob as the database understands it: for SQLite's `GLOB`, where a set of one letter is that letter, and for
/// Postgres' `LIKE`, where a backslash stands before what is meant as it is.
fn pattern(glob: &Glob, dialect: Dialect) -> String {
    let mut pattern = String::new();
    for (i, stretch) in glob.stretches().iter().enumerate() {
        if i > 0 {
            pattern.push(if dialect == Dialect::Sqlite { '*' } else { '%' });
        }
        for letter in stretch.chars() {
            match (dialect, letter) {
                (Dialect::Sqlite, '*' | '?' | '[') => pattern.extend(['[', letter, ']']),
                (Dialect::Postgres, '%' | '_' | '\\') => pattern.extend(['\\', letter]),
                _ => pattern.push(letter),
            }
        }
    }
    pattern
}

fn counted(row: &Row) -> Result<Counted, DatabaseError> {
    Ok(Counted {
        at_us: row.int(0)?,
        group: row.text_or_null(1)?.map(str::to_owned),
        captures: row.int(2)?,
        bytes: row.int(3)?,
    })
}

fn busy(row: &Row) -> Result<Busy, DatabaseError> {
    Ok(Busy { endpoint: row.text_or_null(0)?.map(str::to_owned), captures: row.int(1)?, bytes: row.int(2)? })
}
