//! The journal as it is read: its head, pages of it in both directions, and places in it by time.

use std::sync::Arc;

use uuid::Uuid;

use crate::database::columns::{self, columns, preview_columns};
use crate::database::{Database, DatabaseError, Dialect, Row, Sql, Value};
use crate::model::filter::Narrowed;
use crate::model::limits::ENDPOINT_CODE_BYTES_MAX;
use crate::model::{Capture, EndpointCode, Entry, EntryKind, Glob};

/// The newest entry's place, and what its numbers stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub seq: i64,
    pub config_seq: i64,
    pub epoch: i64,
}

pub async fn head(database: &dyn Database) -> Result<Head, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT seq, config_seq, epoch FROM journal_head WHERE id = 1");
    let rows = database.query(&SQL, &[]).await?;
    let row = rows.first().ok_or_else(|| DatabaseError::Schema("the journal has no head".into()))?;
    Ok(Head { seq: row.int(0)?, config_seq: row.int(1)?, epoch: row.int(2)? })
}

/// Begins a new epoch where the head is behind what was seen, and returns the head as it is then. Of
/// several nodes that try, one does.
pub async fn begin_epoch(database: &dyn Database, old: Head, seen_seq: i64) -> Result<Head, DatabaseError> {
    const SQL: Sql = Sql {
        postgres: "UPDATE journal_head SET epoch = (random() * 9000000000000000)::bigint + 1 \
                   WHERE id = 1 AND epoch = $1 AND seq < $2",
        sqlite: "UPDATE journal_head SET epoch = abs(random() % 9000000000000000) + 1 \
                 WHERE id = 1 AND epoch = $1 AND seq < $2",
    };
    database.execute(&SQL, &[Value::Int(old.epoch), Value::Int(seen_seq)]).await?;
    head(database).await
}

/// The id of an entry, where it is there still.
pub async fn find_id(database: &dyn Database, seq: i64) -> Result<Option<Uuid>, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT id FROM journal WHERE seq = $1");
    let rows = database.query(&SQL, &[Value::Int(seq)]).await?;
    rows.first().map(|row| columns::id(row.bytes(0)?)).transpose()
}

/// The place of an entry, where it is there.
pub async fn find_seq(database: &dyn Database, id: Uuid) -> Result<Option<i64>, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT seq FROM journal WHERE id = $1");
    let rows = database.query(&SQL, &[id_value(id)]).await?;
    rows.first().map(|row| row.int(0)).transpose()
}

/// One capture by its id, unless it was removed.
pub async fn find_capture(
    database: &dyn Database,
    id: Uuid,
) -> Result<Option<(i64, Arc<Capture>)>, DatabaseError> {
    const SQL: Sql = Sql::same(concat!(
        "SELECT j.seq, ",
        columns!(),
        " FROM journal j LEFT JOIN endpoint_totals t USING (endpoint) \
         WHERE j.id = $1 AND j.kind < 20 AND j.seq > COALESCE(t.floor_seq, 0)"
    ));
    let rows = database.query(&SQL, &[id_value(id)]).await?;
    Ok(captures(&rows)?.into_iter().next())
}

/// Entries behind `after` and up to `upto`, oldest first, without those that were removed.
pub async fn list_after(
    database: &dyn Database,
    after: i64,
    upto: i64,
    limit: u32,
) -> Result<Vec<Entry>, DatabaseError> {
    const SQL: Sql = Sql::same(concat!(
        "SELECT j.seq, ",
        columns!(),
        " FROM journal j LEFT JOIN endpoint_totals t USING (endpoint) \
         WHERE j.seq > $1 AND j.seq <= $2 AND (j.kind >= 20 OR j.seq > COALESCE(t.floor_seq, 0)) \
         ORDER BY j.seq LIMIT $3"
    ));
    let values = [Value::Int(after), Value::Int(upto), Value::Int(limit.into())];
    entries(&database.query(&SQL, &values).await?)
}

/// The entries of [`list_after`] that are about endpoints which a filter may let pass. All that pass such a filter are
/// among them: what is about no endpoint passes none that names any.
pub async fn list_after_of(
    database: &dyn Database,
    only: &Narrowed<'_>,
    after: i64,
    upto: i64,
    limit: u32,
) -> Result<Vec<Entry>, DatabaseError> {
    macro_rules! page {
        ($of_endpoints:expr) => {
            concat!(
                "SELECT j.seq, ",
                columns!(),
                " FROM journal j LEFT JOIN endpoint_totals t USING (endpoint) WHERE ",
                $of_endpoints,
                " AND j.seq > $1 AND j.seq <= $2 AND (j.kind >= 20 OR j.seq > COALESCE(t.floor_seq, 0)) \
                 ORDER BY j.seq LIMIT $3"
            )
        };
        ($one:literal, $other:literal) => {
            page!(concat!(
                "j.endpoint >= $4 AND j.endpoint < $5 AND (CAST($6 AS TEXT) = '' OR ",
                $one,
                ") AND (CAST($7 AS TEXT) = '' OR ",
                $other,
                ")"
            ))
        };
    }
    const OF_ONE: Sql = Sql::same(page!("j.endpoint = $4"));
    const OF_SEVERAL: Sql = Sql {
        postgres: page!("j.endpoint LIKE $6 ESCAPE '!'", "j.endpoint LIKE $7 ESCAPE '!'"),
        sqlite: page!("j.endpoint GLOB $6", "j.endpoint GLOB $7"),
    };
    let mut values = vec![Value::Int(after), Value::Int(upto), Value::Int(limit.into())];
    let sql = match only.endpoint {
        Some(endpoint) => {
            values.push(Value::Text(endpoint.to_owned()));
            &OF_ONE
        }
        None => {
            values.extend(codes_from(only.beginning).map(Value::Text));
            values.extend(only.patterns.map(|pattern| pattern_value(database.dialect(), pattern)));
            &OF_SEVERAL
        }
    };
    entries(&database.scan(sql, &values).await?)
}

/// The texts between which all endpoint codes stand that begin with one, the first included: both databases order codes
/// by their octets.
pub(super) fn codes_from(beginning: &str) -> [String; 2] {
    // More of the greatest letter than any code has.
    let rest = char::MAX.to_string().repeat(ENDPOINT_CODE_BYTES_MAX / char::MAX.len_utf8() + 1);
    [beginning.to_owned(), beginning.to_owned() + &rest]
}

/// Entries that are no captures, the newest first, before a place: who removed or changed what, and when.
pub async fn list_notices(
    database: &dyn Database,
    before: i64,
    limit: u32,
) -> Result<Vec<Entry>, DatabaseError> {
    const SQL: Sql = Sql::same(concat!(
        "SELECT j.seq, ",
        columns!(),
        " FROM journal j WHERE j.kind >= 20 AND j.seq < $1 ORDER BY j.seq DESC LIMIT $2"
    ));
    entries(&database.query(&SQL, &[Value::Int(before), Value::Int(limit.into())]).await?)
}

/// Which way a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// Which captures a listing shows.
#[derive(Debug, Clone)]
pub struct Listing {
    pub endpoint: Option<EndpointCode>,
    /// Only of endpoints that match; whoever asks may not see others.
    pub within: Option<Glob>,
    pub method: Option<String>,
    /// Received at or after, in microseconds.
    pub from_us: Option<i64>,
    /// Received before, in microseconds.
    pub until_us: Option<i64>,
    pub order: Order,
    /// Where the page before ended.
    pub behind: Option<i64>,
    pub limit: u32,
}

/// A page of captures, with no more of their bodies than a preview shows. Entries that do not pass the
/// filters cost time, so a page that has looked at as many rows as the database does within its time limit
/// fails rather than hangs.
pub async fn list_captures(
    database: &dyn Database,
    listing: &Listing,
) -> Result<Vec<(i64, Arc<Capture>)>, DatabaseError> {
    macro_rules! page {
        ($of_endpoint:literal, $beyond:literal, $order:literal) => {
            Sql {
                postgres: page!($of_endpoint, $beyond, $order, "j.endpoint LIKE $9 ESCAPE '!'"),
                sqlite: page!($of_endpoint, $beyond, $order, "j.endpoint GLOB $9"),
            }
        };
        ($of_endpoint:literal, $beyond:literal, $order:literal, $matches:literal) => {
            concat!(
                "SELECT j.seq, ",
                preview_columns!(),
                " FROM journal j LEFT JOIN endpoint_totals t USING (endpoint) WHERE ",
                $of_endpoint,
                " AND j.seq ",
                $beyond,
                " $2 AND j.kind < 20 AND j.seq > COALESCE(t.floor_seq, 0) \
                 AND (CAST($3 AS TEXT) = '' OR j.method = $3) \
                 AND (CAST($9 AS TEXT) = '' OR ",
                $matches,
                ") AND j.seq >= $4 AND j.seq <= $5 AND j.received_us >= $6 AND j.received_us < $7 \
                 ORDER BY j.seq ",
                $order,
                " LIMIT $8"
            )
        };
    }
    const OF_ONE_OLDEST: Sql = page!("j.endpoint = $1", ">", "ASC");
    const OF_ONE_NEWEST: Sql = page!("j.endpoint = $1", "<", "DESC");
    const OF_ALL_OLDEST: Sql = page!("CAST($1 AS TEXT) = ''", ">", "ASC");
    const OF_ALL_NEWEST: Sql = page!("CAST($1 AS TEXT) = ''", "<", "DESC");
    let (sql, start) = match (&listing.endpoint, listing.order) {
        (Some(_), Order::OldestFirst) => (&OF_ONE_OLDEST, 0),
        (Some(_), Order::NewestFirst) => (&OF_ONE_NEWEST, i64::MAX),
        (None, Order::OldestFirst) => (&OF_ALL_OLDEST, 0),
        (None, Order::NewestFirst) => (&OF_ALL_NEWEST, i64::MAX),
    };
    let (seq_min, seq_max) = places_of(database, listing.from_us, listing.until_us).await?;
    let text = |text: Option<&str>| Value::Text(text.unwrap_or_default().to_owned());
    let values = [
        text(listing.endpoint.as_ref().map(EndpointCode::as_str)),
        Value::Int(listing.behind.unwrap_or(start)),
        text(listing.method.as_deref()),
        Value::Int(seq_min),
        Value::Int(seq_max),
        Value::Int(listing.from_us.unwrap_or(i64::MIN)),
        Value::Int(listing.until_us.unwrap_or(i64::MAX)),
        Value::Int(listing.limit.into()),
        pattern_value(database.dialect(), listing.within.as_ref()),
    ];
    captures(&database.scan(sql, &values).await?)
}

/// The places between which entries of a span of time stand. Numbers follow commits and ids follow
/// receipt, which differ by no more than the entries that were on their way at a time.
async fn places_of(
    database: &dyn Database,
    from_us: Option<i64>,
    until_us: Option<i64>,
) -> Result<(i64, i64), DatabaseError> {
    let seq_min = match from_us {
        Some(us) => first_place_at(database, us).await?,
        None => 0,
    };
    let seq_max = match until_us {
        Some(us) => last_place_before(database, us).await?,
        None => i64::MAX,
    };
    Ok((seq_min, seq_max))
}

/// The least place of the entries received at or after a time; behind the head where there are none.
pub async fn first_place_at(database: &dyn Database, us: i64) -> Result<i64, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT CAST(min(seq) AS BIGINT) \
         FROM (SELECT seq FROM journal WHERE id >= $1 ORDER BY id LIMIT 10000) AS first",
    );
    let rows = database.query(&SQL, &[id_value(first_id_at(us))]).await?;
    match rows.first().map(|row| row.int_or_null(0)).transpose()?.flatten() {
        Some(seq) => Ok(seq),
        None => Ok(head(database).await?.seq + 1),
    }
}

/// The greatest place of the entries received before a time, or in its millisecond; 0 where there are none.
pub async fn last_place_before(database: &dyn Database, us: i64) -> Result<i64, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT CAST(COALESCE(max(seq), 0) AS BIGINT) \
         FROM (SELECT seq FROM journal WHERE id < $1 ORDER BY id DESC LIMIT 10000) AS last",
    );
    // What all ids tell is milliseconds: what is left of one that has begun is sorted out by the row.
    let next_ms = first_id_at(us.saturating_add(999));
    let rows = database.query(&SQL, &[id_value(next_ms)]).await?;
    rows.first().map_or(Ok(0), |row| row.int(0))
}

/// The least UUIDv7 of a time (RFC 9562, section 5.7: its first 48 bits are milliseconds).
pub fn first_id_at(us: i64) -> Uuid {
    let ms = u64::try_from(us.max(0) / 1000).unwrap_or_default().min((1 << 48) - 1);
    Uuid::from_u128(u128::from(ms) << 80)
}

/// A pattern as a dialect compares with it; none, and it is empty.
pub(super) fn pattern_value(dialect: Dialect, pattern: Option<&Glob>) -> Value {
    Value::Text(match (pattern, dialect) {
        (None, _) => String::new(),
        (Some(pattern), Dialect::Postgres) => pattern.as_like(),
        (Some(pattern), Dialect::Sqlite) => pattern.as_sqlite_glob(),
    })
}

pub(super) fn id_value(id: Uuid) -> Value {
    Value::Bytes(id.as_bytes().to_vec().into())
}

/// The captures among the entries of rows, with their places.
pub(super) fn captures(rows: &[Row]) -> Result<Vec<(i64, Arc<Capture>)>, DatabaseError> {
    let capture = |entry: Entry| match entry.what {
        EntryKind::Capture(capture) => Some((entry.seq, capture)),
        _ => None,
    };
    Ok(entries(rows)?.into_iter().filter_map(capture).collect())
}

fn entries(rows: &[Row]) -> Result<Vec<Entry>, DatabaseError> {
    rows.iter().map(columns::entry).collect()
}
