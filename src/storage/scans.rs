//! Kept captures, window by window of the journal: a query looks at no more rows than its window has, however few of
//! them are asked for.

use std::sync::Arc;

use super::journal::{Order, entries, pattern_value};
use crate::database::columns::{columns, preview_columns};
use crate::database::{Database, DatabaseError, Sql, Value};
use crate::model::{Capture, EntryKind, Glob};

/// What of the journal is read.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// Of one endpoint alone.
    pub endpoint: Option<&'a str>,
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
            Sql {
                postgres: captures!(
                    $columns,
                    $of_endpoint,
                    $order,
                    "j.endpoint LIKE $2 ESCAPE '!'",
                    "j.endpoint LIKE $3 ESCAPE '!'"
                ),
                sqlite: captures!($columns, $of_endpoint, $order, "j.endpoint GLOB $2", "j.endpoint GLOB $3"),
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
    const OF_ONE_OLDEST: Sql = captures!(preview_columns, "j.endpoint = $1", "ASC");
    const OF_ONE_NEWEST: Sql = captures!(preview_columns, "j.endpoint = $1", "DESC");
    const OF_ALL_OLDEST: Sql = captures!(preview_columns, "CAST($1 AS TEXT) = ''", "ASC");
    const OF_ALL_NEWEST: Sql = captures!(preview_columns, "CAST($1 AS TEXT) = ''", "DESC");
    const OF_ONE_OLDEST_WHOLE: Sql = captures!(columns, "j.endpoint = $1", "ASC");
    const OF_ONE_NEWEST_WHOLE: Sql = captures!(columns, "j.endpoint = $1", "DESC");
    const OF_ALL_OLDEST_WHOLE: Sql = captures!(columns, "CAST($1 AS TEXT) = ''", "ASC");
    const OF_ALL_NEWEST_WHOLE: Sql = captures!(columns, "CAST($1 AS TEXT) = ''", "DESC");
    let sql = match (window.endpoint.is_some(), window.order, window.bodies) {
        (true, Order::OldestFirst, false) => &OF_ONE_OLDEST,
        (true, Order::NewestFirst, false) => &OF_ONE_NEWEST,
        (false, Order::OldestFirst, false) => &OF_ALL_OLDEST,
        (false, Order::NewestFirst, false) => &OF_ALL_NEWEST,
        (true, Order::OldestFirst, true) => &OF_ONE_OLDEST_WHOLE,
        (true, Order::NewestFirst, true) => &OF_ONE_NEWEST_WHOLE,
        (false, Order::OldestFirst, true) => &OF_ALL_OLDEST_WHOLE,
        (false, Order::NewestFirst, true) => &OF_ALL_NEWEST_WHOLE,
    };
    let [one, other] = window.patterns.map(|pattern| pattern_value(database.dialect(), pattern));
    let values = [
        Value::Text(window.endpoint.unwrap_or_default().to_owned()),
        one,
        other,
        Value::Int(window.behind),
        Value::Int(window.upto),
        Value::Int(window.from_us),
        Value::Int(window.until_us),
        Value::Int(window.limit.into()),
    ];
    let found = entries(&database.query(sql, &values).await?)?;
    Ok(found
        .into_iter()
        .filter_map(|entry| match entry.what {
            EntryKind::Capture(capture) => Some((entry.seq, capture)),
            _ => None,
        })
        .collect())
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
