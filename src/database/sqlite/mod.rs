//! SQLite: one connection does all writes, a few others read, and an OS lock on the folder keeps a second
//! process out.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::scans::Scans;
use super::{
    Appended, Database, DatabaseError, Dialect, JournalBatch, Migrate, Migrated, PoolUse, Row, Sql, Table,
    Value,
};

mod checkpoints;
mod errors;
mod migrate;
mod writer;

use errors::classify;
use writer::Writer;

/// Steps of SQLite's virtual machine between two looks at the time.
const STEPS: i32 = 20_000;

/// Where an SQLite database is, and how it is used.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    pub path: PathBuf,
    /// Connections that read at a time.
    pub readers_max: usize,
    pub statement_timeout: Duration,
}

/// Whoever opens the file again in this process closes this one before: to drop it does not wait for all who use it.
pub struct SqliteDatabase {
    options: SqliteOptions,
    /// Whoever asks first writes first. None when the database is closed.
    writer: Arc<tokio::sync::Mutex<Option<Writer>>>,
    readers: Arc<Readers>,
    scans: Scans,
}

struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    max: usize,
    _held: Arc<Held>,
}

/// What is open as long as any connection is, and is closed after all of them.
struct Held {
    /// The database. To close it takes SQLite's own locks from each connection of the process ("How To Corrupt An SQLite
    /// Database File", section 2.2).
    file: File,
    /// Keeps a second process out, and a second one of these.
    _lock: File,
}

impl SqliteDatabase {
    /// Opens the database, making file and folder where they are missing.
    ///
    /// # Errors
    /// Where the folder cannot be written, or another process has the database open.
    pub fn open(options: SqliteOptions) -> Result<Self, DatabaseError> {
        if let Some(folder) = options.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| at(folder, error))?;
        }
        let lock = lock(&options.path)?;
        // SQLite's other files are as open as this one.
        let held = Arc::new(Held { file: file(&options.path)?, _lock: lock });
        let writer = Writer::open(&options.path, held.clone())?;
        Ok(Self {
            scans: Scans::of_pool(options.readers_max, options.statement_timeout),
            readers: Arc::new(Readers {
                idle: Mutex::default(),
                permits: Arc::new(Semaphore::new(options.readers_max)),
                max: options.readers_max,
                _held: held,
            }),
            options,
            writer: Arc::new(tokio::sync::Mutex::new(Some(writer))),
        })
    }

    /// Has something written by a thread that may wait for it. A caller that has gone does not stop what
    /// it asked for.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let mut writer = self.writer.clone().lock_owned().await;
        tokio::task::spawn_blocking(move || work(&mut writer.as_mut().ok_or_else(closed)?.connection))
            .await
            .map_err(|error| DatabaseError::Other(error.into()))?
    }

    /// Has something read by a thread that may wait for it.
    async fn read(
        &self,
        sql: &Sql,
        values: &[Value],
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let limit = self.options.statement_timeout;
        let permit = tokio::time::timeout(limit, self.readers.permits.clone().acquire_owned())
            .await
            .map_err(|_| DatabaseError::timed_out("waiting for a connection", limit))?
            .map_err(|error| DatabaseError::Unavailable(error.into()))?;
        let readers = self.readers.clone();
        let (path, text, values) = (self.options.path.clone(), sql.sqlite, values.to_vec());
        tokio::task::spawn_blocking(move || {
            // They go with the work: a caller that has gone does not end it.
            let (_permit, _turn) = (permit, turn);
            readers.query(&path, limit, text, &values)
        })
        .await
        .map_err(|error| DatabaseError::Other(error.into()))?
    }
}

fn closed() -> DatabaseError {
    DatabaseError::Unavailable("the database is closed".into())
}

#[async_trait::async_trait]
impl Database for SqliteDatabase {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    /// Blocks the caller's thread, which is the journal's own: two changes of thread a commit would cost
    /// more than anything else in it.
    async fn append(&self, batch: &JournalBatch<'_>) -> Result<Appended, DatabaseError> {
        let mut writer = self.writer.lock().await;
        let connection = &mut writer.as_mut().ok_or_else(closed)?.connection;
        writer::append(connection, batch)
    }

    async fn execute(&self, sql: &Sql, values: &[Value]) -> Result<u64, DatabaseError> {
        let (text, values) = (sql.sqlite, values.to_vec());
        self.write(move |connection| writer::execute(connection, text, &values)).await
    }

    async fn query(&self, sql: &Sql, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        self.read(sql, values, None).await
    }

    async fn scan(&self, sql: &Sql, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        let turn = self.scans.turn().await?;
        self.read(sql, values, Some(turn)).await
    }

    async fn batch(&self, statements: &[(&Sql, Vec<Value>)]) -> Result<Vec<Vec<Row>>, DatabaseError> {
        let statements: Vec<_> =
            statements.iter().map(|(sql, values)| (sql.sqlite, values.clone())).collect();
        self.write(move |connection| writer::batch(connection, &statements)).await
    }

    async fn insert(&self, table: &'static Table, rows: Vec<Vec<Value>>) -> Result<(), DatabaseError> {
        self.write(move |connection| writer::insert(connection, table, &rows)).await
    }

    async fn migrate(&self, mode: Migrate) -> Result<Migrated, DatabaseError> {
        self.write(move |connection| migrate::run(connection, mode)).await
    }

    async fn durability(&self) -> Result<String, DatabaseError> {
        self.write(|connection| writer::durability(connection)).await
    }

    fn pool(&self) -> PoolUse {
        let idle = self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).len();
        let in_use = self.readers.max - self.readers.permits.available_permits().min(self.readers.max);
        PoolUse { in_use, open: in_use + idle }
    }

    async fn close(&self) {
        self.readers.permits.close();
        self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let writer = self.writer.lock().await.take();
        if let Some(writer) = writer
            && let Err(error) = tokio::task::spawn_blocking(|| writer.close()).await
        {
            tracing::error!(%error, "failed to close the database");
        }
    }
}

impl Readers {
    fn query(
        &self,
        path: &Path,
        limit: Duration,
        text: &str,
        values: &[Value],
    ) -> Result<Vec<Row>, DatabaseError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => open_reader(path)?,
        };
        // SQLite has no limit of time of its own: it asks every so many steps whether to go on.
        let deadline = Instant::now() + limit;
        connection.progress_handler(STEPS, Some(move || Instant::now() > deadline)).map_err(classify)?;
        let rows = rows(&connection, text, values);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        rows
    }
}

fn open_reader(path: &Path) -> Result<Connection, DatabaseError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(classify)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(classify)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn rows(connection: &Connection, text: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
    let mut statement = connection.prepare_cached(&numbered(text)).map_err(classify)?;
    let columns = statement.column_count();
    let mut found =
        statement.query(rusqlite::params_from_iter(values.iter().map(parameter))).map_err(classify)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(classify)? {
        let values: Result<Vec<Value>, _> = (0..columns).map(|i| row.get_ref(i).map(value)).collect();
        rows.push(Row(values.map_err(classify)?));
    }
    Ok(rows)
}

/// `$1` is a name to SQLite, numbered by where it first appears; `?1` is the first value.
fn numbered(text: &str) -> String {
    text.replace('$', "?")
}

fn parameter(value: &Value) -> rusqlite::types::ToSqlOutput<'_> {
    rusqlite::types::ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Int(value) => ValueRef::Integer(*value),
        Value::Text(value) => ValueRef::Text(value.as_bytes()),
        Value::Bytes(value) => ValueRef::Blob(value),
    })
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null | ValueRef::Real(_) => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Text(value) => Value::Text(String::from_utf8_lossy(value).into_owned()),
        ValueRef::Blob(value) => Value::Bytes(value.to_vec().into()),
    }
}

/// Opens a file, making it where it is missing: for its owner alone, since secrets are among what is caught.
fn file(path: &Path) -> Result<File, DatabaseError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600).open(path).map_err(|error| at(path, error))
}

fn lock(path: &Path) -> Result<File, DatabaseError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = file(Path::new(&name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(DatabaseError::Other(
            format!(
                "{} is in use by another Creel; SQLite serves one node, for several use Postgres",
                path.display()
            )
            .into(),
        )),
        Err(std::fs::TryLockError::Error(error)) => Err(at(Path::new(&name), error)),
    }
}

fn at(path: &Path, error: std::io::Error) -> DatabaseError {
    DatabaseError::Other(format!("{}: {error}", path.display()).into())
}
