//! Where sequences and scenarios stand. Captures claim them with their own commit
//! ([`Database::append`]); here they are read, and set by hand.

use std::collections::HashMap;

use uuid::Uuid;

use super::configuration::detail_of;
use super::journal::id_value;
use crate::database::columns::detail_text;
use crate::database::{Database, DatabaseError, Dialect, Sql, Value};
use crate::model::run::end_of;
use crate::model::{Change, ConfigurationChange, ConfigurationKind, Entry, EntryKind};
use crate::rules::states::scenario_key;

/// What has changed, as one statement found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The place of the last change.
    pub state_seq: i64,
    pub config_seq: i64,
    /// The journal that it is of.
    pub epoch: i64,
    /// By name.
    pub states: Vec<(String, String)>,
}

/// States that were changed behind a place.
pub async fn changed_after(database: &dyn Database, place: i64) -> Result<Changed, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT h.state_seq, s.name, s.value, h.config_seq, h.epoch FROM journal_head h LEFT JOIN states s ON s.changed_seq > $1 \
         WHERE h.id = 1",
    );
    let rows = database.query(&SQL, &[Value::Int(place)]).await?;
    let first = rows.first().ok_or_else(|| DatabaseError::Schema("the journal has no head".into()))?;
    let mut states = Vec::with_capacity(rows.len());
    for row in &rows {
        if let (Some(name), Some(value)) = (row.text_or_null(1)?, row.text_or_null(2)?) {
            states.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(Changed { state_seq: first.int(0)?, config_seq: first.int(3)?, epoch: first.int(4)?, states })
}

/// One state, where it was ever set.
pub async fn find(database: &dyn Database, name: &str) -> Result<Option<String>, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT value FROM states WHERE name = $1");
    let rows = database.query(&SQL, &[Value::Text(name.to_owned())]).await?;
    rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()
}

/// The states of several names, where they were ever set.
pub async fn find_all(
    database: &dyn Database,
    names: &[String],
) -> Result<HashMap<String, String>, DatabaseError> {
    const SQL: Sql = Sql {
        postgres: "SELECT name, value FROM states \
                   WHERE name IN (SELECT jsonb_array_elements_text($1::text::jsonb)) ORDER BY name",
        sqlite: "SELECT name, value FROM states \
                 WHERE name IN (SELECT value FROM json_each($1)) ORDER BY name",
    };
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = database.query(&SQL, &[Value::Text(serde_json::json!(names).to_string())]).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect()
}

/// How many there are.
pub async fn count(database: &dyn Database) -> Result<u64, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT count(*) FROM states");
    let count = database.query(&SQL, &[]).await?.first().map_or(Ok(0), |row| row.int(0))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Removes the counts of rules that are gone. Nodes that remember one do not mind: a rule of that name that comes
/// begins anew.
pub async fn sweep(database: &dyn Database) -> Result<(), DatabaseError> {
    const SQL: Sql = Sql::same(
        "DELETE FROM states WHERE name > 'sequence/' AND name < 'sequence0' AND NOT EXISTS \
           (SELECT 1 FROM configuration c WHERE c.kind = 'rule' AND c.document IS NOT NULL \
              AND c.name = substr(states.name, 10))",
    );
    database.execute(&SQL, &[]).await.map(drop)
}

/// Removes the states of scenarios whose names begin with a run's prefix. Nodes that remember one do not mind: no
/// prefix comes again.
pub async fn forget_behind(database: &dyn Database, prefix: &str) -> Result<(), DatabaseError> {
    const SQL: Sql = Sql::same("DELETE FROM states WHERE name >= $1 AND name < $2");
    let values = [scenario_key(prefix), scenario_key(&end_of(prefix))].map(Value::Text);
    database.execute(&SQL, &values).await.map(drop)
}

/// States with names between two, by name.
pub async fn list(
    database: &dyn Database,
    behind: &str,
    before: &str,
    limit: u32,
) -> Result<Vec<(String, String)>, DatabaseError> {
    const SQL: Sql =
        Sql::same("SELECT name, value FROM states WHERE name > $1 AND name < $2 ORDER BY name LIMIT $3");
    let values = [Value::Text(behind.to_owned()), Value::Text(before.to_owned()), Value::Int(limit.into())];
    let rows = database.query(&SQL, &values).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect()
}

/// Sets a state, as an entry of the journal.
pub async fn set(
    database: &dyn Database,
    name: &str,
    value: &str,
    by: Option<&str>,
    id: Uuid,
    now_us: i64,
) -> Result<Entry, DatabaseError> {
    const POSTGRES: Sql = Sql::same(
        "WITH head AS (UPDATE journal_head SET seq = seq + 1, state_seq = seq + 1 WHERE id = 1 RETURNING seq), \
              put AS (INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
                      SELECT head.seq, 30, $1, $2, '', $3 FROM head), \
              kept AS (INSERT INTO states (name, value, changed_seq) SELECT $4, $5, head.seq FROM head \
                       ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_seq = excluded.changed_seq) \
         SELECT seq FROM head",
    );
    const HEAD: Sql =
        Sql::same("UPDATE journal_head SET seq = seq + 1, state_seq = seq + 1 WHERE id = 1 RETURNING seq");
    const PUT: Sql = Sql::same(
        "INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
         SELECT seq, 30, $1, $2, '', $3 FROM journal_head",
    );
    const KEPT: Sql = Sql::same(
        "INSERT INTO states (name, value, changed_seq) SELECT $1, $2, seq FROM journal_head WHERE true \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_seq = excluded.changed_seq",
    );
    let change = ConfigurationChange {
        id,
        at_us: now_us,
        kind: ConfigurationKind::State,
        name: name.to_owned(),
        change: Change::Changed,
        by: by.map(str::to_owned),
    };
    let detail = detail_text(&detail_of(&change));
    let put = vec![id_value(id), Value::Int(now_us), Value::Text(detail)];
    let state = vec![Value::Text(name.to_owned()), Value::Text(value.to_owned())];
    let results = match database.dialect() {
        Dialect::Postgres => database.batch(&[(&POSTGRES, [put, state].concat())]).await?,
        Dialect::Sqlite => database.batch(&[(&HEAD, vec![]), (&PUT, put), (&KEPT, state)]).await?,
    };
    let row = results[0].first().ok_or_else(|| DatabaseError::Schema("the journal has no head".into()))?;
    Ok(Entry { seq: row.int(0)?, what: EntryKind::Configuration(change) })
}
