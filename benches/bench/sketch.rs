//! Nothing but the journal: requests are received, committed together and answered. No rules, no subscribers, no
//! totals, no answers kept, no limits. What a node is held against that does the rest as well.

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::harness::TestResult;

const QUEUE_MAX: usize = 65_536;
const BATCH_MAX: usize = 1_024;

/// What a node keeps beside the columns, about.
const DETAIL: &str = r#"{"host":"127.0.0.1","port":9669,"peer":"127.0.0.1:50000"}"#;

const SQLITE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; \
    CREATE TABLE head (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL); INSERT INTO head VALUES (1, 0); \
    CREATE TABLE journal (seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, id BLOB NOT NULL, \
      received_us INTEGER NOT NULL, endpoint TEXT NOT NULL, method TEXT, target BLOB, headers BLOB, body BLOB, \
      kept_bytes INTEGER, detail TEXT); \
    CREATE UNIQUE INDEX journal_id ON journal (id); CREATE INDEX journal_endpoint ON journal (endpoint, seq)";
const SQLITE_HEAD: &str = "UPDATE head SET seq = seq + ?1 WHERE id = 1 RETURNING seq - ?1";
const SQLITE_PUT: &str = "INSERT INTO journal VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const POSTGRES: &str = "CREATE TABLE head (id BIGINT PRIMARY KEY, seq BIGINT NOT NULL); INSERT INTO head VALUES (1, 0); \
    CREATE TABLE journal (seq BIGINT PRIMARY KEY, kind BIGINT NOT NULL, id BYTEA NOT NULL, \
      received_us BIGINT NOT NULL, endpoint TEXT NOT NULL, method TEXT, target BYTEA, headers BYTEA, body BYTEA, \
      kept_bytes BIGINT, detail TEXT); \
    CREATE UNIQUE INDEX journal_id ON journal (id); CREATE INDEX journal_endpoint ON journal (endpoint, seq)";
const POSTGRES_PUT: &str = "WITH head AS (UPDATE head SET seq = seq + $1 WHERE id = 1 RETURNING seq - $1 AS base), \
    put AS (INSERT INTO journal SELECT head.base + t.ord, 1, t.id, t.at, t.endpoint, t.method, t.target, t.headers, \
              t.body, t.kept, t.detail \
            FROM head, unnest($2::bytea[], $3::bigint[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], \
              $8::bytea[], $9::bigint[], $10::text[]) WITH ORDINALITY \
              AS t (id, at, endpoint, method, target, headers, body, kept, detail, ord)) \
    SELECT base FROM head";

struct Row {
    id: Uuid,
    received_us: i64,
    endpoint: String,
    method: String,
    target: String,
    headers: Vec<u8>,
    body: Bytes,
    kept: oneshot::Sender<i64>,
}

/// `sketch PORT URL`: serves until it is killed, and keeps what it takes in a new file or an empty database.
pub fn serve(port: u16, url: &str) -> TestResult {
    let (sender, rows) = mpsc::channel(QUEUE_MAX);
    let url = url.to_owned();
    std::thread::spawn(move || match url.strip_prefix("sqlite://") {
        Some(path) => write_sqlite(path, rows).unwrap(),
        None => write_postgres(&url, rows).unwrap(),
    });
    let cores = std::thread::available_parallelism()?.get();
    let sender = web::Data::new(sender);
    tokio::runtime::Runtime::new()?.block_on(async {
        HttpServer::new(move || App::new().app_data(sender.clone()).default_service(web::to(catch)))
            .workers(cores)
            .bind(("127.0.0.1", port))?
            .run()
            .await?;
        Ok(())
    })
}

async fn catch(request: HttpRequest, body: Bytes, sender: web::Data<mpsc::Sender<Row>>) -> HttpResponse {
    let mut headers = Vec::with_capacity(256);
    for (name, value) in request.headers() {
        headers.extend_from_slice(name.as_str().as_bytes());
        headers.extend_from_slice(b": ");
        headers.extend_from_slice(value.as_bytes());
        headers.extend_from_slice(b"\r\n");
    }
    let (kept, seq) = oneshot::channel();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let id = Uuid::now_v7();
    let row = Row {
        id,
        received_us: now.as_micros() as i64,
        endpoint: request.path().split('/').nth(2).unwrap_or_default().to_owned(),
        method: request.method().to_string(),
        target: request.uri().to_string(),
        headers,
        body,
        kept,
    };
    if sender.try_send(row).is_err() {
        return HttpResponse::ServiceUnavailable().finish();
    }
    let Ok(seq) = seq.await else { return HttpResponse::InternalServerError().finish() };
    HttpResponse::Ok().content_type("application/json").body(format!(r#"{{"id":"{id}","seq":{seq}}}"#))
}

fn write_sqlite(path: &str, mut rows: mpsc::Receiver<Row>) -> TestResult {
    let mut connection = rusqlite::Connection::open(path)?;
    connection.execute_batch(SQLITE)?;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while rows.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        let commit = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let base: i64 =
            commit.prepare_cached(SQLITE_HEAD)?.query_row([batch.len() as i64], |row| row.get(0))?;
        let mut put = commit.prepare_cached(SQLITE_PUT)?;
        for (seq, row) in (base + 1..).zip(&batch) {
            put.execute(rusqlite::params![
                seq,
                &row.id.as_bytes()[..],
                row.received_us,
                row.endpoint,
                row.method,
                row.target.as_bytes(),
                row.headers,
                &row.body[..],
                kept_bytes(row),
                DETAIL
            ])?;
        }
        drop(put);
        commit.commit()?;
        tell(&mut batch, base);
    }
    Ok(())
}

fn write_postgres(url: &str, rows: mpsc::Receiver<Row>) -> TestResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(write_batches(url, rows))
}

async fn write_batches(url: &str, mut rows: mpsc::Receiver<Row>) -> TestResult {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let _connection = tokio::spawn(connection);
    client.batch_execute(POSTGRES).await?;
    let put = client.prepare(POSTGRES_PUT).await?;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while rows.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let base: i64 = {
            macro_rules! of {
                (|$row:ident| $value:expr) => {
                    batch.iter().map(|$row: &Row| $value).collect::<Vec<_>>()
                };
            }
            let rows = client
                .query_one(
                    &put,
                    &[
                        &(batch.len() as i64),
                        &of!(|row| row.id.as_bytes().as_slice()),
                        &of!(|row| row.received_us),
                        &of!(|row| row.endpoint.as_str()),
                        &of!(|row| row.method.as_str()),
                        &of!(|row| row.target.as_bytes()),
                        &of!(|row| row.headers.as_slice()),
                        &of!(|row| row.body.as_ref()),
                        &of!(|row| kept_bytes(row)),
                        &of!(|_row| DETAIL),
                    ],
                )
                .await?;
            rows.try_get(0)?
        };
        tell(&mut batch, base);
    }
    Ok(())
}

fn kept_bytes(row: &Row) -> i64 {
    (row.target.len() + row.headers.len() + row.body.len()) as i64
}

/// Tells each sender its place; one that is gone does not hear it.
fn tell(batch: &mut Vec<Row>, base: i64) {
    for (seq, row) in (base + 1..).zip(batch.drain(..)) {
        row.kept.send(seq).ok();
    }
}
