//! Statements and values, errors, the schema.

use std::time::Duration;

use creel::database::{ColumnType, Dialect, Row, Table};
use futures_util::future::join_all;

use super::*;

const CREATE: Sql = Sql {
    postgres: "CREATE TABLE probe (id BIGINT PRIMARY KEY, number BIGINT CHECK (number <> 13), \
               label TEXT COLLATE \"C\" UNIQUE, octets BYTEA NOT NULL)",
    sqlite: "CREATE TABLE probe (id INTEGER PRIMARY KEY, number INTEGER CHECK (number <> 13), \
             label TEXT UNIQUE, octets BLOB NOT NULL)",
};
const PUT: Sql = Sql::same("INSERT INTO probe (id, number, label, octets) VALUES ($1, $2, $3, $4)");
const COUNT: Sql = Sql::same("SELECT count(*) FROM probe");

async fn with_probe(site: &Site) -> TestResult<Arc<dyn Database>> {
    let database = site.open();
    database.execute(&CREATE, &[]).await?;
    Ok(database)
}

fn row(id: i64, number: Value, label: Value, octets: &[u8]) -> Vec<Value> {
    vec![Value::Int(id), number, label, Value::Bytes(octets.to_vec().into())]
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub async fn values_come_back_as_they_were(site: &Site) -> TestResult {
    const GET: Sql = Sql::same("SELECT number, label, octets, id FROM probe WHERE id = $1");
    let database = with_probe(site).await?;
    let all_octets: Vec<u8> = (0..=255).collect();
    let mebibyte: Vec<u8> =
        (0..1 << 20).map(|i: u32| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let rows = [
        row(1, Value::Null, Value::Null, b""),
        row(2, Value::Int(i64::MIN), text(""), b"\0"),
        row(3, Value::Int(i64::MAX), text("\u{1f980} caf\u{e9} \u{10ffff} e\u{301}\u{1}"), &all_octets),
        row(i64::MIN, Value::Int(0), text("a'b\"c\\d$1?%;--"), &mebibyte),
        row(i64::MAX, Value::Int(-1), text(&"\u{1f600}".repeat(50_000)), b"\xff\x00\xfe"),
    ];
    for values in &rows {
        assert_eq!(database.execute(&PUT, values).await?, 1);
    }
    for values in &rows {
        let found = database.query(&GET, &values[..1]).await?;
        let expected = [&values[1..], &values[..1]].concat();
        assert!(found.len() == 1 && found[0].0 == expected, "row {:?}", values[0]);
    }
    assert!(database.query(&GET, &[Value::Int(4)]).await?.is_empty());

    let read: &Row = &database.query(&GET, &[Value::Int(1)]).await?[0];
    assert_eq!((read.int_or_null(0)?, read.text_or_null(1)?), (None, None));
    assert_eq!(read.bytes(2)?.len(), 0, "no bytes are not NULL");
    assert!(read.int(0).is_err() && read.int(2).is_err() && read.text(3).is_err() && read.int(9).is_err());
    Ok(())
}

pub async fn text_is_compared_by_its_bytes(site: &Site) -> TestResult {
    const EQUAL: Sql = Sql::same("SELECT count(*) FROM probe WHERE label = $1");
    const ABOVE: Sql = Sql::same("SELECT label FROM probe WHERE label > $1 ORDER BY label");
    let database = with_probe(site).await?;
    // Alike to a collation that folds case, accents, width or trailing spaces.
    let mut labels = vec![
        "a",
        "A",
        "a ",
        "\u{e1}",
        "e\u{301}",
        "\u{e9}",
        "B",
        "b",
        "_",
        "-a",
        "\u{ff41}",
        "Z",
        "\u{1f980}",
    ];
    for (id, label) in (0..).zip(&labels) {
        database.execute(&PUT, &row(id, Value::Null, text(label), b"")).await?;
    }
    for label in &labels {
        assert_eq!(int(&*database, &EQUAL, &[text(label)]).await?, 1, "{label:?}");
    }
    labels.sort_unstable();
    let listed = database.query(&ABOVE, &[text("")]).await?;
    let listed = listed.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
    assert_eq!(listed, labels);
    // The schema's own columns, where a code's case and order count.
    for endpoint in ["b", "A", "a", "\u{e1}", "B"] {
        appended(&*database, &[capture(endpoint, 0)]).await?;
    }
    fold(&*database).await?;
    let totals = storage::totals::list(&*database, None, None, 10).await?;
    let codes: Vec<&str> = totals.iter().map(|totals| totals.endpoint.as_str()).collect();
    assert_eq!(codes, ["A", "B", "a", "b", "\u{e1}"]);
    assert!(totals.iter().all(|totals| totals.captures == 1));
    Ok(())
}

pub async fn execute_counts_the_rows_that_match(site: &Site) -> TestResult {
    const SAME: Sql = Sql::same("UPDATE probe SET number = 7 WHERE id >= $1");
    const DELETE: Sql = Sql::same("DELETE FROM probe WHERE id >= $1");
    const UPSERT: Sql = Sql::same(
        "INSERT INTO probe (id, number, octets) VALUES ($1, 8, $2) \
         ON CONFLICT (id) DO UPDATE SET number = 8 WHERE probe.number = $3",
    );
    let database = with_probe(site).await?;
    for id in 0..5 {
        database.execute(&PUT, &row(id, Value::Int(7), Value::Null, b"")).await?;
    }
    assert_eq!(database.execute(&SAME, &[Value::Int(2)]).await?, 3, "what is set is there already");
    assert_eq!(database.execute(&SAME, &[Value::Int(9)]).await?, 0);
    let upsert = |only_if| vec![Value::Int(0), Value::Bytes(Bytes::new()), Value::Int(only_if)];
    assert_eq!(database.execute(&UPSERT, &upsert(1)).await?, 0);
    assert_eq!(database.execute(&UPSERT, &upsert(7)).await?, 1);
    assert_eq!(database.execute(&DELETE, &[Value::Int(1)]).await?, 4);
    assert_eq!(database.execute(&DELETE, &[Value::Int(1)]).await?, 0);
    Ok(())
}

pub async fn a_batch_is_one_commit(site: &Site) -> TestResult {
    const GET: Sql = Sql::same("SELECT id FROM probe WHERE id >= $1 ORDER BY id");
    const RETURNING: Sql = Sql::same("UPDATE probe SET number = 1 WHERE id = $1 RETURNING id, number");
    let database = with_probe(site).await?;
    let one = || row(1, Value::Null, Value::Null, b"");
    let two = || row(2, Value::Null, Value::Null, b"");
    let failed = database.batch(&[(&PUT, one()), (&PUT, two()), (&PUT, one())]).await;
    assert!(matches!(failed, Err(DatabaseError::Conflict(_))), "{failed:?}");
    assert_eq!(int(&*database, &COUNT, &[]).await?, 0, "the first statement is undone");
    let failed = database.batch(&[(&PUT, one()), (&Sql::same("SELECT nothing FROM nowhere"), vec![])]).await;
    assert!(matches!(failed, Err(DatabaseError::Other(_))), "{failed:?}");
    assert_eq!(int(&*database, &COUNT, &[]).await?, 0);

    let zero = || vec![Value::Int(0)];
    let results = database
        .batch(&[
            (&GET, zero()),
            (&PUT, one()),
            (&GET, zero()),
            (&PUT, two()),
            (&RETURNING, vec![Value::Int(2)]),
        ])
        .await?;
    let ints = |rows: &[Row]| rows.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>();
    assert_eq!(results.len(), 5, "the rows of each statement");
    assert_eq!((ints(&results[0])?, ints(&results[2])?, ints(&results[4])?), (vec![], vec![1], vec![2]));
    assert_eq!(int(&*database, &COUNT, &[]).await?, 2);
    Ok(())
}

pub async fn an_insert_is_of_all_rows_or_none(site: &Site) -> TestResult {
    const PROBE: Table = Table {
        name: "probe",
        columns: &[("id", ColumnType::Int), ("number", ColumnType::Int), ("octets", ColumnType::Bytes)],
    };
    const ALL: Sql = Sql::same("SELECT id, number, octets FROM probe ORDER BY id");
    let database = with_probe(site).await?;
    let row = |id, number, octets: &'static [u8]| {
        vec![Value::Int(id), number, Value::Bytes(Bytes::from_static(octets))]
    };
    database.insert(&PROBE, vec![row(1, Value::Int(1), b"first")]).await?;
    database.insert(&PROBE, vec![row(0, Value::Null, b""), row(2, Value::Int(3), b"\0")]).await?;
    database.insert(&PROBE, vec![]).await?;
    let rows = database.query(&ALL, &[]).await?;
    let rows: Vec<Vec<Value>> = rows.into_iter().map(|row| row.0).collect();
    assert_eq!(
        rows,
        [row(0, Value::Null, b""), row(1, Value::Int(1), b"first"), row(2, Value::Int(3), b"\0")]
    );

    let bad = vec![row(7, Value::Int(1), b""), row(8, Value::Int(13), b"")];
    assert!(matches!(database.insert(&PROBE, bad).await, Err(DatabaseError::Data(_))));
    let again = vec![row(7, Value::Int(1), b""), row(1, Value::Int(2), b"second")];
    assert!(matches!(database.insert(&PROBE, again).await, Err(DatabaseError::Conflict(_))));
    assert_eq!(int(&*database, &COUNT, &[]).await?, 3, "all rows in one commit, or none");
    Ok(())
}

pub async fn failures_are_told_apart(site: &Site) -> TestResult {
    let database = with_probe(site).await?;
    database.execute(&PUT, &row(1, Value::Null, text("x"), b"")).await?;
    let execute = async |values: Vec<Value>| database.execute(&PUT, &values).await;

    let key = execute(row(1, Value::Null, Value::Null, b"")).await;
    assert!(matches!(key, Err(DatabaseError::Conflict(_))), "{key:?}");
    let unique = execute(row(2, Value::Null, text("x"), b"")).await;
    assert!(matches!(unique, Err(DatabaseError::Conflict(_))), "{unique:?}");
    let missing = execute(vec![Value::Int(2), Value::Null, Value::Null, Value::Null]).await;
    assert!(matches!(missing, Err(DatabaseError::Data(_))), "{missing:?}");
    let check = execute(row(2, Value::Int(13), Value::Null, b"")).await;
    assert!(matches!(check, Err(DatabaseError::Data(_))), "{check:?}");
    let mistake = database.execute(&Sql::same("UPDATE nowhere SET nothing = 1"), &[]).await;
    assert!(matches!(mistake, Err(DatabaseError::Other(_))), "{mistake:?}");
    let mistake = database.query(&Sql::same("SELEKT 1"), &[]).await;
    assert!(matches!(mistake, Err(DatabaseError::Other(_))), "{mistake:?}");

    execute(row(2, Value::Null, Value::Null, b"")).await?;
    assert_eq!(int(&*database, &COUNT, &[]).await?, 2, "and all goes on afterwards");
    Ok(())
}

pub async fn many_statements_run_at_a_time(site: &Site) -> TestResult {
    let database = with_probe(site).await?;
    let work = (0..64).map(|id| {
        let database = &database;
        async move {
            database.execute(&PUT, &row(id, Value::Int(id + 100), Value::Null, b"")).await?;
            int(&**database, &Sql::same("SELECT number FROM probe WHERE id = $1"), &[Value::Int(id)]).await
        }
    });
    let read = join_all(work).await.into_iter().collect::<TestResult<Vec<i64>>>()?;
    assert!(read.into_iter().eq(100..164), "each reads what it has written");
    let pool = database.pool();
    assert!(pool.in_use == 0 && pool.open >= 1, "{pool:?}");
    Ok(())
}

/// On the connection that the journal is written by.
pub async fn commits_are_durable(site: &Site) -> TestResult {
    let database = site.open();
    appended(&*database, &[capture("a", 0)]).await?;
    let expected = match database.dialect() {
        Dialect::Postgres => "fsync=on synchronous_commit=on",
        Dialect::Sqlite => "synchronous=FULL journal_mode=wal",
    };
    assert_eq!(database.durability().await?, expected);
    Ok(())
}

pub async fn migrating_again_changes_nothing(site: &Site) -> TestResult {
    let database = site.open();
    appended(&*database, &[capture("a", 0)]).await?;
    let checked = database.migrate(Migrate::Check).await?;
    assert!(checked.applied.is_empty() && checked.version > 0, "{checked:?}");
    for migrated in join_all((0..4).map(|_| async { site.open().migrate(Migrate::Apply).await })).await {
        assert_eq!(migrated?, checked);
    }
    assert_eq!(head_seq(&*database).await?, 1);
    Ok(())
}

pub async fn an_older_schema_is_refused_and_a_newer_one_is_not(site: &Site) -> TestResult {
    const NEWER: Sql = Sql::same(
        "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
         VALUES (99, 'of_tomorrow', '2030-01-01T00:00:00Z', '1')",
    );
    const OLDER: Sql = Sql::same("DELETE FROM refinery_schema_history");
    const DROP: Sql = Sql::same("DROP TABLE refinery_schema_history");
    let database = site.open();
    database.execute(&NEWER, &[]).await?;
    database.migrate(Migrate::Check).await?;
    assert!(database.migrate(Migrate::Apply).await?.applied.is_empty(), "replicas roll");
    for sql in [OLDER, DROP] {
        database.execute(&sql, &[]).await?;
        let refused = database.migrate(Migrate::Check).await;
        let Err(DatabaseError::Schema(message)) = refused else { return Err(format!("{refused:?}").into()) };
        assert!(message.contains("creel migrate"), "it says what to do: {message}");
    }
    Ok(())
}

pub async fn what_is_closed_is_unavailable(site: &Site) -> TestResult {
    let database = with_probe(site).await?;
    database.close().await;
    let limit = Duration::from_secs(5);
    let queried = tokio::time::timeout(limit, database.query(&COUNT, &[])).await?;
    assert!(matches!(queried, Err(DatabaseError::Unavailable(_))), "{queried:?}");
    let executed = tokio::time::timeout(limit, database.execute(&CREATE, &[])).await?;
    assert!(matches!(executed, Err(DatabaseError::Unavailable(_))), "{executed:?}");
    Ok(())
}
