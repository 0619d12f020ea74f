//! Postgres: a pool for reads and small writes, and a connection of its own for the journal.

use std::pin::pin;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::scans::Scans;
use super::{
    Appended, ColumnType, Database, DatabaseError, Dialect, JournalBatch, Migrate, Migrated, PoolUse, Row,
    Sql, Table, Value,
};

mod append;
mod connect;
mod errors;
mod lent;
mod migrate;

use append::JournalConnection;
use connect::Connector;
use errors::classify;
use lent::{Lent, Making};

/// How a Postgres is reached.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// `postgres://USER:PASSWORD@HOST:PORT/NAME?sslmode=...&sslrootcert=...`
    pub url: String,
    pub pool_max: usize,
    pub connect_timeout: Duration,
    /// For each statement; the server is told as well, so that none outlives it by much.
    pub statement_timeout: Duration,
    /// For the journal's append.
    pub append_timeout: Duration,
}

pub struct PostgresDatabase {
    pool: Pool,
    scans: Scans,
    journal: Mutex<JournalConnection>,
    connector: Connector,
    connect_timeout: Duration,
    statement_timeout: Duration,
    making: Making,
}

impl PostgresDatabase {
    /// Reads the settings; connects when first used, so that a node can start before its database. The tokio runtime
    /// that this is called in, if any, then carries the pool's connections.
    pub fn open(options: &PostgresOptions) -> Result<Self, DatabaseError> {
        let connector = Connector::new(&options.url, options.connect_timeout)?;
        let making = Making { tls: connector.tls(), runtime: Handle::try_current().ok() };
        let manager = Manager::from_connect(
            connector.config(options.statement_timeout),
            making.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(options.pool_max)
            .wait_timeout(Some(options.connect_timeout))
            .create_timeout(Some(options.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| DatabaseError::Other(error.into()))?;
        let journal = JournalConnection::new(connector.clone(), options.append_timeout);
        Ok(Self {
            pool,
            scans: Scans::of_pool(options.pool_max, options.statement_timeout),
            journal: Mutex::new(journal),
            connector,
            connect_timeout: options.connect_timeout,
            statement_timeout: options.statement_timeout,
            making,
        })
    }

    /// Runs one use of a pooled connection within the statement's time. A connection on which it ran out, or
    /// whose caller has gone, is not handed to anybody else: it may be busy still.
    async fn with_client<T>(
        &self,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, DatabaseError> {
        let client = self.pool.get().await.map_err(pool_error)?;
        let mut lent = Lent::new(client, &self.making, self.connect_timeout);
        match tokio::time::timeout(self.statement_timeout, work(lent.client())).await {
            Ok(result) => {
                lent.give_back();
                result.map_err(classify)
            }
            Err(_) => {
                lent.close();
                Err(DatabaseError::timed_out("a statement", self.statement_timeout))
            }
        }
    }
}

#[async_trait::async_trait]
impl Database for PostgresDatabase {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn append(&self, batch: &JournalBatch<'_>) -> Result<Appended, DatabaseError> {
        self.journal.lock().await.append(batch).await
    }

    async fn execute(&self, sql: &Sql, values: &[Value]) -> Result<u64, DatabaseError> {
        self.with_client(async |client| {
            let statement = client.prepare_cached(sql.postgres).await?;
            client.execute(&statement, &parameters(values)).await
        })
        .await
    }

    async fn query(&self, sql: &Sql, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        let rows = self
            .with_client(async |client| {
                let statement = client.prepare_cached(sql.postgres).await?;
                client.query(&statement, &parameters(values)).await
            })
            .await?;
        rows.iter().map(row).collect()
    }

    async fn scan(&self, sql: &Sql, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        let _turn = self.scans.turn().await?;
        self.query(sql, values).await
    }

    async fn batch(&self, statements: &[(&Sql, Vec<Value>)]) -> Result<Vec<Vec<Row>>, DatabaseError> {
        // One statement is a transaction of its own; nothing is held while it travels.
        if let [(sql, values)] = statements {
            return Ok(vec![self.query(sql, values).await?]);
        }
        let results = self
            .with_client(async |client| {
                let transaction = client.transaction().await?;
                let mut results = Vec::with_capacity(statements.len());
                for (sql, values) in statements {
                    let statement = transaction.prepare_cached(sql.postgres).await?;
                    results.push(transaction.query(&statement, &parameters(values)).await?);
                }
                transaction.commit().await?;
                Ok(results)
            })
            .await?;
        results.iter().map(|rows| rows.iter().map(row).collect()).collect()
    }

    async fn insert(&self, table: &'static Table, rows: Vec<Vec<Value>>) -> Result<(), DatabaseError> {
        let text = format!("COPY {} ({}) FROM STDIN BINARY", table.name, table.column_names());
        let types: Vec<Type> = table
            .columns
            .iter()
            .map(|(_, kind)| match kind {
                ColumnType::Int => Type::INT8,
                ColumnType::Text => Type::TEXT,
                ColumnType::Bytes => Type::BYTEA,
            })
            .collect();
        self.with_client(async |client| {
            let mut copy = pin!(BinaryCopyInWriter::new(client.copy_in(&text).await?, &types));
            for row in &rows {
                copy.as_mut().write_raw(row).await?;
            }
            copy.finish().await.map(drop)
        })
        .await
    }

    async fn migrate(&self, mode: Migrate) -> Result<Migrated, DatabaseError> {
        migrate::run(&self.connector, mode).await
    }

    async fn durability(&self) -> Result<String, DatabaseError> {
        self.journal.lock().await.durability().await
    }

    fn pool(&self) -> PoolUse {
        let status = self.pool.status();
        PoolUse { in_use: status.size.saturating_sub(status.available), open: status.size }
    }

    async fn close(&self) {
        self.pool.close();
        self.journal.lock().await.close();
    }
}

fn pool_error(error: PoolError) -> DatabaseError {
    match error {
        PoolError::Backend(error) => classify(error),
        other => DatabaseError::Unavailable(other.into()),
    }
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn row(row: &tokio_postgres::Row) -> Result<Row, DatabaseError> {
    let columns = row.columns().iter().enumerate().map(|(i, column)| match *column.type_() {
        Type::INT8 => row.try_get::<_, Option<i64>>(i).map(|v| v.map(Value::Int)),
        Type::TEXT | Type::VARCHAR => row.try_get::<_, Option<String>>(i).map(|v| v.map(Value::Text)),
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(i).map(|v| v.map(|v| Value::Bytes(v.into()))),
        ref other => {
            let found = row.try_get::<_, Option<i64>>(i);
            tracing::debug!(column = i, r#type = %other, "a column of a type that Creel does not use");
            found.map(|v| v.map(Value::Int))
        }
    });
    let values: Result<Vec<Value>, _> =
        columns.map(|value| value.map(|v| v.unwrap_or(Value::Null))).collect();
    values.map(Row).map_err(classify)
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(value) => value.to_sql_checked(ty, out),
            Self::Text(value) => value.to_sql_checked(ty, out),
            Self::Bytes(value) => value.as_ref().to_sql_checked(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
