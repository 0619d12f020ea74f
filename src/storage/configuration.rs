//! Endpoints and rules as their documents. Whoever changes some says which states of them he has seen: all
//! are as he saw them, and all is changed in one commit with the journal's entries that tell of it, or
//! nothing is.

use serde::Serialize;
use uuid::Uuid;

use super::journal::id_value;
use crate::database::columns::{EntryDetail, KIND_CONFIGURATION, detail_text};
use crate::database::{Database, DatabaseError, Dialect, Row, Sql, Value};
use crate::model::run::end_of;
use crate::model::{Change, ConfigurationChange, ConfigurationKind, Entry, EntryKind};

/// Items that are read in one page.
const PAGE: i64 = 5_000;

/// One endpoint or rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub kind: ConfigurationKind,
    pub name: String,
    /// JSON; None where it was removed.
    pub document: Option<String>,
    /// Counts the changes, from 1.
    pub version: i64,
    /// Names this state of the item; none comes again.
    pub etag: String,
    pub created_seq: i64,
    /// Microseconds since the Unix epoch, as `changed_us`.
    pub created_us: i64,
    pub changed_seq: i64,
    pub changed_us: i64,
}

macro_rules! item {
    () => {
        "c.kind, c.name, c.document, c.version, c.etag, c.created_seq, c.created_us, c.changed_seq, c.changed_us"
    };
}

/// What has changed.
#[derive(Debug)]
pub struct Changed {
    /// The version that is read, where [`Self::complete`].
    pub config_seq: i64,
    /// The journal that it is of.
    pub epoch: i64,
    pub items: Vec<Item>,
    /// False where the next page begins behind the last item.
    pub complete: bool,
    /// Removals up to here are forgotten.
    pub forgotten_seq: i64,
}

/// Items that were changed behind a place, in that order, removed ones too. One statement reads them with the
/// version, so that they are what that version holds.
pub async fn changed_after(database: &dyn Database, place: i64) -> Result<Changed, DatabaseError> {
    const SQL: Sql = Sql::same(concat!(
        "SELECT h.config_seq, m.seq, h.epoch, ",
        item!(),
        " FROM journal_head h JOIN marks m ON m.name = 'configuration_forgotten' \
         LEFT JOIN configuration c ON c.changed_seq > $1 WHERE h.id = 1 ORDER BY c.changed_seq LIMIT $2"
    ));
    let rows = database.query(&SQL, &[Value::Int(place), Value::Int(PAGE)]).await?;
    let first = rows.first().ok_or_else(|| DatabaseError::Schema("the journal has no head".into()))?;
    let (config_seq, forgotten_seq) = (first.int(0)?, first.int(1)?);
    let complete = i64::try_from(rows.len()).is_ok_and(|count| count < PAGE);
    let there = rows.iter().filter(|row| row.0.get(3) != Some(&Value::Null));
    let items = there.map(|row| item(row, 3)).collect::<Result<_, _>>()?;
    Ok(Changed { config_seq, epoch: first.int(2)?, items, complete, forgotten_seq })
}

/// One item, also where it was removed lately.
pub async fn find(
    database: &dyn Database,
    kind: ConfigurationKind,
    name: &str,
) -> Result<Option<Item>, DatabaseError> {
    const SQL: Sql =
        Sql::same(concat!("SELECT ", item!(), " FROM configuration c WHERE c.kind = $1 AND c.name = $2"));
    let rows = database.query(&SQL, &[kind_value(kind), Value::Text(name.to_owned())]).await?;
    rows.first().map(|row| item(row, 0)).transpose()
}

/// A page of items by name, without removed ones.
pub async fn list(
    database: &dyn Database,
    kind: ConfigurationKind,
    behind: &str,
    limit: u32,
) -> Result<Vec<Item>, DatabaseError> {
    const SQL: Sql = Sql::same(concat!(
        "SELECT ",
        item!(),
        " FROM configuration c WHERE c.kind = $1 AND c.name > $2 AND c.document IS NOT NULL \
         ORDER BY c.name LIMIT $3"
    ));
    let behind = Value::Text(behind.to_owned());
    let values = [kind_value(kind), behind, Value::Int(limit.into())];
    database.query(&SQL, &values).await?.iter().map(|row| item(row, 0)).collect()
}

/// Items whose names begin with a prefix, at most so many.
pub async fn list_behind(
    database: &dyn Database,
    prefix: &str,
    limit: u32,
) -> Result<Vec<Item>, DatabaseError> {
    const SQL: Sql = Sql::same(concat!(
        "SELECT ",
        item!(),
        " FROM configuration c WHERE c.kind IN ('endpoint', 'rule') AND c.name >= $1 AND c.name < $2 \
           AND c.document IS NOT NULL ORDER BY c.kind, c.name LIMIT $3"
    ));
    let values = [prefix, &end_of(prefix)].map(|text| Value::Text(text.to_owned()));
    let values = [values.as_slice(), &[Value::Int(limit.into())]].concat();
    database.query(&SQL, &values).await?.iter().map(|row| item(row, 0)).collect()
}

/// How many there are.
pub async fn count(database: &dyn Database, kind: ConfigurationKind) -> Result<u64, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT count(*) FROM configuration WHERE kind = $1 AND document IS NOT NULL");
    let rows = database.query(&SQL, &[kind_value(kind)]).await?;
    let count = rows.first().map_or(Ok(0), |row| row.int(0))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// A change that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub kind: ConfigurationKind,
    pub name: String,
    /// None removes it.
    pub document: Option<String>,
    /// The item as it was seen; None where there was not even a removed one.
    pub seen: Option<Seen>,
}

/// What was seen of an item.
#[derive(Debug, Clone)]
pub struct Seen {
    pub etag: String,
    pub removed: bool,
}

impl From<&Item> for Seen {
    fn from(item: &Item) -> Self {
        Self { etag: item.etag.clone(), removed: item.document.is_none() }
    }
}

impl Wanted {
    pub fn change(&self) -> Change {
        match (&self.document, &self.seen) {
            (None, _) => Change::Removed,
            (Some(_), Some(Seen { removed: false, .. })) => Change::Changed,
            (Some(_), _) => Change::Created,
        }
    }
}

/// A change as the statement takes it, one object of a JSON list.
#[derive(Serialize)]
struct Line<'a> {
    ord: usize,
    id: String,
    kind: &'a str,
    name: &'a str,
    document: Option<&'a str>,
    etag: Option<&'a str>,
    endpoint: &'a str,
    detail: String,
}

/// Makes the changes, all or none. None where an item is not as it was seen: look again. On Postgres it is
/// one statement: the items' rows are locked first and are judged as they are then, and the head after them,
/// which nobody who holds the head waits for.
pub async fn apply(
    database: &dyn Database,
    wanted: &[Wanted],
    by: Option<&str>,
    now_us: i64,
    new_id: impl Fn() -> Uuid,
) -> Result<Option<Vec<Entry>>, DatabaseError> {
    const POSTGRES: Sql = Sql::same(
        "WITH wanted AS (SELECT * FROM jsonb_to_recordset($1::text::jsonb) AS w (ord bigint, id text, kind text, \
                           name text, document text, etag text, endpoint text, detail text)), \
              there AS (SELECT c.kind, c.name FROM configuration c JOIN wanted w \
                          ON w.kind = c.kind AND w.name = c.name AND w.etag = c.etag \
                        ORDER BY c.kind, c.name FOR UPDATE OF c), \
              seen AS (SELECT count(*) AS n FROM there), \
              head AS (UPDATE journal_head SET seq = seq + $2, config_seq = seq + $2 FROM seen \
                       WHERE id = 1 AND seen.n = $3 RETURNING seq - $2 AS base), \
              put AS (INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
                      SELECT head.base + w.ord, 30, decode(w.id, 'hex'), $4::bigint, w.endpoint, w.detail \
                      FROM head, wanted w), \
              changed AS (UPDATE configuration c SET document = w.document, version = c.version + 1, etag = w.id, \
                            created_seq = CASE WHEN c.document IS NULL THEN head.base + w.ord ELSE c.created_seq END, \
                            created_us = CASE WHEN c.document IS NULL THEN $4::bigint ELSE c.created_us END, \
                            changed_seq = head.base + w.ord, changed_us = $4::bigint \
                          FROM head, wanted w WHERE w.kind = c.kind AND w.name = c.name AND w.etag IS NOT NULL), \
              added AS (INSERT INTO configuration (kind, name, document, version, etag, created_seq, created_us, \
                          changed_seq, changed_us) \
                        SELECT w.kind, w.name, w.document, 1, w.id, head.base + w.ord, $4::bigint, head.base + w.ord, \
                          $4::bigint FROM head, wanted w WHERE w.etag IS NULL) \
         SELECT base FROM head",
    );
    // SQLite: one transaction. What follows the head does something only where the head was moved.
    const HEAD: Sql = Sql::same(
        "UPDATE journal_head SET seq = seq + $2, config_seq = seq + $2 WHERE id = 1 \
         AND (SELECT count(*) FROM json_each($1) w JOIN configuration c ON c.kind = w.value->>'kind' \
                AND c.name = w.value->>'name' AND c.etag = w.value->>'etag') = $3 RETURNING seq - $2",
    );
    const PUT: Sql = Sql::same(
        "INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
         SELECT h.seq - $2 + (w.value->>'ord'), 30, unhex(w.value->>'id'), $3, w.value->>'endpoint', \
           w.value->>'detail' FROM journal_head h, json_each($1) w WHERE changes() = 1",
    );
    const CHANGED: Sql = Sql::same(
        "UPDATE configuration AS c SET document = w.value->>'document', version = c.version + 1, \
           etag = w.value->>'id', created_seq = CASE WHEN c.document IS NULL THEN j.seq ELSE c.created_seq END, \
           created_us = CASE WHEN c.document IS NULL THEN $2 ELSE c.created_us END, \
           changed_seq = j.seq, changed_us = $2 \
         FROM json_each($1) w JOIN journal j ON j.id = unhex(w.value->>'id') \
         WHERE w.value->>'kind' = c.kind AND w.value->>'name' = c.name AND w.value->>'etag' IS NOT NULL",
    );
    const ADDED: Sql = Sql::same(
        "INSERT INTO configuration (kind, name, document, version, etag, created_seq, created_us, changed_seq, \
           changed_us) \
         SELECT w.value->>'kind', w.value->>'name', w.value->>'document', 1, w.value->>'id', j.seq, $2, j.seq, $2 \
         FROM json_each($1) w JOIN journal j ON j.id = unhex(w.value->>'id') WHERE w.value->>'etag' IS NULL",
    );

    if wanted.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let changes: Vec<ConfigurationChange> = wanted
        .iter()
        .map(|wanted| ConfigurationChange {
            id: new_id(),
            at_us: now_us,
            kind: wanted.kind,
            name: wanted.name.clone(),
            change: wanted.change(),
            by: by.map(str::to_owned),
        })
        .collect();
    let lines = Value::Text(detail_text(&lines(wanted, &changes)));
    let int = |n: usize| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let count = int(wanted.len());
    let seen = int(wanted.iter().filter(|wanted| wanted.seen.is_some()).count());
    let now = Value::Int(now_us);
    let result = match database.dialect() {
        Dialect::Postgres => database.batch(&[(&POSTGRES, vec![lines, count, seen, now])]).await,
        Dialect::Sqlite => {
            let statements = [
                (&HEAD, vec![lines.clone(), count.clone(), seen]),
                (&PUT, vec![lines.clone(), count, now.clone()]),
                (&CHANGED, vec![lines.clone(), now.clone()]),
                (&ADDED, vec![lines, now]),
            ];
            database.batch(&statements).await
        }
    };
    let results = match result {
        // Somebody else has made one of them meanwhile.
        Err(DatabaseError::Conflict(_)) => return Ok(None),
        other => other?,
    };
    let Some(base) = results[0].first().map(|row| row.int(0)).transpose()? else { return Ok(None) };
    let entries = (base + 1..).zip(changes);
    Ok(Some(entries.map(|(seq, change)| Entry { seq, what: EntryKind::Configuration(change) }).collect()))
}

fn lines<'a>(wanted: &'a [Wanted], changes: &[ConfigurationChange]) -> Vec<Line<'a>> {
    let numbered = wanted.iter().zip(changes).enumerate();
    numbered
        .map(|(i, (wanted, change))| Line {
            ord: i + 1,
            id: change.id.simple().to_string(),
            kind: wanted.kind.name(),
            name: &wanted.name,
            document: wanted.document.as_deref(),
            etag: wanted.seen.as_ref().map(|seen| seen.etag.as_str()),
            endpoint: if wanted.kind == ConfigurationKind::Endpoint { &wanted.name } else { "" },
            detail: detail_text(&detail_of(change)),
        })
        .collect()
}

/// Tells the journal of a change that is kept elsewhere, as of a token.
pub async fn note(database: &dyn Database, change: ConfigurationChange) -> Result<Entry, DatabaseError> {
    const POSTGRES: Sql = Sql::same(
        "WITH head AS (UPDATE journal_head SET seq = seq + 1 WHERE id = 1 RETURNING seq), \
              put AS (INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
                      SELECT head.seq, 30, $1, $2, '', $3 FROM head) \
         SELECT seq FROM head",
    );
    const HEAD: Sql = Sql::same("UPDATE journal_head SET seq = seq + 1 WHERE id = 1 RETURNING seq");
    const PUT: Sql = Sql::same(
        "INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
         SELECT seq, 30, $1, $2, '', $3 FROM journal_head",
    );
    let detail = Value::Text(detail_text(&detail_of(&change)));
    let put = vec![id_value(change.id), Value::Int(change.at_us), detail];
    let results = match database.dialect() {
        Dialect::Postgres => database.batch(&[(&POSTGRES, put)]).await?,
        Dialect::Sqlite => database.batch(&[(&HEAD, vec![]), (&PUT, put)]).await?,
    };
    let row = results[0].first().ok_or_else(|| DatabaseError::Schema("the journal has no head".into()))?;
    Ok(Entry { seq: row.int(0)?, what: EntryKind::Configuration(change) })
}

/// What an entry that tells of a change holds.
pub(super) fn detail_of(change: &ConfigurationChange) -> EntryDetail {
    EntryDetail::Change {
        kind: change.kind,
        name: change.name.clone(),
        change: change.change,
        by: change.by.clone(),
    }
}

/// Forgets items that were removed before a time.
pub async fn forget(database: &dyn Database, before_us: i64) -> Result<(), DatabaseError> {
    const MARK: Sql = Sql::same(
        "UPDATE marks SET seq = (SELECT max(changed_seq) FROM configuration \
           WHERE document IS NULL AND changed_us < $1) \
         WHERE name = 'configuration_forgotten' AND seq < (SELECT max(changed_seq) FROM configuration \
           WHERE document IS NULL AND changed_us < $1)",
    );
    const DELETE: Sql = Sql::same(
        "DELETE FROM configuration WHERE document IS NULL AND changed_us < $1 \
         AND changed_seq <= (SELECT seq FROM marks WHERE name = 'configuration_forgotten')",
    );
    let before = || vec![Value::Int(before_us)];
    database.batch(&[(&MARK, before()), (&DELETE, before())]).await.map(drop)
}

fn kind_value(kind: ConfigurationKind) -> Value {
    Value::Text(kind.name().to_owned())
}

fn item(row: &Row, from: usize) -> Result<Item, DatabaseError> {
    let kind = match row.text(from)? {
        "endpoint" => ConfigurationKind::Endpoint,
        "rule" => ConfigurationKind::Rule,
        other => return Err(DatabaseError::Schema(format!("configuration of the unknown kind {other}"))),
    };
    Ok(Item {
        kind,
        name: row.text(from + 1)?.to_owned(),
        document: row.text_or_null(from + 2)?.map(str::to_owned),
        version: row.int(from + 3)?,
        etag: row.text(from + 4)?.to_owned(),
        created_seq: row.int(from + 5)?,
        created_us: row.int(from + 6)?,
        changed_seq: row.int(from + 7)?,
        changed_us: row.int(from + 8)?,
    })
}

const _: () = assert!(KIND_CONFIGURATION == 30, "the statements say it");
