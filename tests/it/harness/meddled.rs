//! A database to which something happens: all is another one's to do, and a test is asked before some of it, and after.

use std::sync::Arc;

use creel::database::{
    Appended, Database, DatabaseError, Dialect, JournalBatch, Migrate, Migrated, PoolUse, Row, Sql, Table,
    Value,
};

/// What happens before, or after; nothing, where a test does not say.
#[async_trait::async_trait]
pub trait Meddling: Send + Sync {
    /// Before captures are appended.
    async fn append(&self) {}

    /// After they were, for whatever the caller is to hear of it.
    async fn appended(
        &self,
        _inner: &dyn Database,
        _batch: &JournalBatch<'_>,
        outcome: Result<Appended, DatabaseError>,
    ) -> Result<Appended, DatabaseError> {
        outcome
    }

    /// Before one statement, which is not run where this fails.
    async fn statement(&self, _sql: &Sql) -> Result<(), DatabaseError> {
        Ok(())
    }

    /// Before a batch of statements, which is not run where this fails.
    async fn batch(&self, _inner: &dyn Database) -> Result<(), DatabaseError> {
        Ok(())
    }
}

pub struct Meddled<M> {
    pub inner: Arc<dyn Database>,
    pub before: M,
}

#[async_trait::async_trait]
impl<M: Meddling> Database for Meddled<M> {
    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    async fn append(&self, batch: &JournalBatch<'_>) -> Result<Appended, DatabaseError> {
        self.before.append().await;
        let outcome = self.inner.append(batch).await;
        self.before.appended(&*self.inner, batch, outcome).await
    }

    async fn execute(&self, sql: &Sql, values: &[Value]) -> Result<u64, DatabaseError> {
        self.before.statement(sql).await?;
        self.inner.execute(sql, values).await
    }

    async fn query(&self, sql: &Sql, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        self.before.statement(sql).await?;
        self.inner.query(sql, values).await
    }

    async fn scan(&self, sql: &Sql, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        self.before.statement(sql).await?;
        self.inner.scan(sql, values).await
    }

    async fn batch(&self, statements: &[(&Sql, Vec<Value>)]) -> Result<Vec<Vec<Row>>, DatabaseError> {
        self.before.batch(&*self.inner).await?;
        self.inner.batch(statements).await
    }

    async fn insert(&self, table: &'static Table, rows: Vec<Vec<Value>>) -> Result<(), DatabaseError> {
        self.inner.insert(table, rows).await
    }

    async fn migrate(&self, mode: Migrate) -> Result<Migrated, DatabaseError> {
        self.inner.migrate(mode).await
    }

    async fn durability(&self) -> Result<String, DatabaseError> {
        self.inner.durability().await
    }

    fn pool(&self) -> PoolUse {
        self.inner.pool()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
