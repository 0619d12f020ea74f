//! Kept captures, window by window of the journal: a query looks at no more rows than its window has, however few of
//! them are asked for. Where it is known at which places they stand it looks at no others.

use std::sync::Arc;

use super::journal::{Order, captures, codes_from, pattern_value};
use crate::database::columns::{columns, preview_columns};
use crate::database::{Database, DatabaseError, Dialect, Sql, Value};
use crate::model::{Capture, Glob};

/// What of the journal is read.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// Of one endpoint alone.
    pub endpoint: Option<&'a str>,
    /// What stands at these places alone, at most as many as `limit`; of no one endpoint then.
    pub places: Option<&'a [i64]>,
    /// Only of endpoints that match all of these.
    pub patterns: [Option<&'a Glob>; 2],
    /// Behind this place, and up to that.
    pub behind: i64,
    pub upto: i64,
    /// Received at or after, and before, in microseconds.
    pub from_us: i64,
    pub until_us: i64,
    pub order: Order,
    /// Whether bodies are needed, beyond what a preview shows.
    pub bodies: bool,
    pub limit: u32,
}

/// The captures of a window that were not removed, with their places.
pub async fn list(
    database: &dyn Database,
    window: &Window<'_>,
) -> Result<Vec<(i64, Arc<Capture>)>, DatabaseError> {
    macro_rules! captures {
        ($columns:ident, $of_endpoint:literal, $order:literal) => {
            captures!($columns, $of_endpoint, $of_endpoint, $order)
        };
        ($columns:ident, $postgres:literal, $sqlite:literal, $order:literal) => {
            Sql {
                postgres: captures!(
                    $columns,
                    $postgres,
                    $order,
                    "j.endpoint LIKE $2 ESCAPE '!'",
                    "j.endpoint LIKE $3 ESCAPE '!'"
                ),
                sqlite: captures!($columns, $sqlite, $order, "j.endpoint GLOB $2", "j.endpoint GLOB $3"),
            }
        };
        ($columns:ident, $of_endpoint:literal, $order:literal, $one:literal, $other:literal) => {
            concat!(
                "SELECT j.seq, ",
                $columns!(),
                " FROM journal j LEFT JOIN endpoint_totals t USING (endpoint) WHERE ",
                $of_endpoint,
                " AND j.seq > $4 AND j.seq <= $5 AND j.kind < 20 AND j.seq > COALESCE(t.floor_seq, 0) \
                 AND (CAST($2 AS TEXT) = '' OR ",
                $one,
                ") AND (CAST($3 AS TEXT) = '' OR ",
                $other,
                ") AND j.received_us >= $6 AND j.received_us < $7 ORDER BY j.seq ",
                $order,
                " LIMIT $8"
            )
        };
    }
    macro_rules! at_places {
        ($columns:ident, $order:literal) => {
            captures!(
                $columns,
                "j.seq = ANY(CAST(CAST($1 AS TEXT) AS BIGINT[]))",
                "j.seq IN (SELECT value FROM json_each($1))",
                $order
            )
        };
    }
    // Each oldest first and newest first, with as much of bodies as previews show and with all of it.
    const OF_ONE: [[Sql; 2]; 2] = [
        [captures!(preview_columns, "j.endpoint = $1", "ASC"), captures!(columns, "j.endpoint = $1", "ASC")],
        [
            captures!(preview_columns, "j.endpoint = $1", "DESC"),
            captures!(columns, "j.endpoint = $1", "DESC"),
        ],
    ];
    const OF_ALL: [[Sql; 2]; 2] = [
        [
            captures!(preview_columns, "CAST($1 AS TEXT) = ''", "ASC"),
            captures!(columns, "CAST($1 AS TEXT) = ''", "ASC"),
        ],
        [
            captures!(preview_columns, "CAST($1 AS TEXT) = ''", "DESC"),
            captures!(columns, "CAST($1 AS TEXT) = ''", "DESC"),
        ],
    ];
    const AT_PLACES: [[Sql; 2]; 2] = [
        [at_places!(preview_columns, "ASC"), at_places!(columns, "ASC")],
        [at_places!(preview_columns, "DESC"), at_places!(columns, "DESC")],
    ];
    let (sqls, of) = match (window.endpoint, window.places) {
        (Some(endpoint), _) => (&OF_ONE, endpoint.to_owned()),
        (None, Some(places)) => (&AT_PLACES, list_text(database.dialect(), places)),
        (None, None) => (&OF_ALL, String::new()),
    };
    let sql = &sqls[usize::from(window.order == Order::NewestFirst)][usize::from(window.bodies)];
    let [one, other] = window.patterns.map(|pattern| pattern_value(database.dialect(), pattern));
    let values = [
        Value::Text(of),
        one,
        other,
        Value::Int(window.behind),
        Value::Int(window.upto),
        Value::Int(window.from_us),
        Value::Int(window.until_us),
        Value::Int(window.limit.into()),
    ];
    captures(&database.scan(sql, &values).await?)
}

/// The places of all entries of endpoints whose codes begin with a text, by their order, where these are few.
pub async fn places(
    database: &dyn Database,
    beginning: &str,
    most: u32,
) -> Result<Option<Vec<i64>>, DatabaseError> {
    macro_rules! of_codes {
        ($columns:literal) => {
            concat!(
                "SELECT ",
                $columns,
                " FROM (SELECT seq FROM journal WHERE endpoint >= $1 AND endpoint < $2 \
                   ORDER BY endpoint, seq LIMIT $3) AS of_codes"
            )
        };
    }
    const COUNT: Sql = Sql::same(of_codes!("count(*)"));
    const LIST: Sql = Sql::same(of_codes!("seq"));
    let [first, end] = codes_from(beginning).map(Value::Text);
    let values = [first, end, Value::Int(i64::from(most) + 1)];
    let count = database.scan(&COUNT, &values).await?;
    if count.first().map_or(Ok(0), |row| row.int(0))? > i64::from(most) {
        return Ok(None);
    }
    let rows = database.scan(&LIST, &values).await?;
    let mut places = rows.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
    places.sort_unstable();
    Ok(Some(places))
}

/// Numbers as a dialect reads them from a text.
fn list_text(dialect: Dialect, numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    let numbers = numbers.join(",");
    match dialect {
        Dialect::Postgres => format!("{{{numbers}}}"),
        Dialect::Sqlite => format!("[{numbers}]"),
    }
}

/// The next place behind one at which there is an entry still; None behind the last.
pub async fn next_place(database: &dyn Database, behind: i64) -> Result<Option<i64>, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT seq FROM journal WHERE seq > $1 ORDER BY seq LIMIT 1");
    let rows = database.query(&SQL, &[Value::Int(behind)]).await?;
    rows.first().map(|row| row.int(0)).transpose()
}

/// The place before one, or at it, at which there is an entry still; None before the first.
pub async fn place_before(database: &dyn Database, upto: i64) -> Result<Option<i64>, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT seq FROM journal WHERE seq <= $1 ORDER BY seq DESC LIMIT 1");
    let rows = database.query(&SQL, &[Value::Int(upto)]).await?;
    rows.first().map(|row| row.int(0)).transpose()
}

/// The place under which an endpoint's captures are removed.
pub async fn floor_of(database: &dyn Database, endpoint: &str) -> Result<i64, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT floor_seq FROM endpoint_totals WHERE endpoint = $1");
    let rows = database.query(&SQL, &[Value::Text(endpoint.to_owned())]).await?;
    rows.first().map_or(Ok(0), |row| row.int(0))
}
