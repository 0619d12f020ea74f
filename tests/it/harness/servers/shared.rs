//! The servers that all tests of a process share: those whose URLs are given, or else started when the
//! first test asks and ended with the workplace.

use std::ops::Deref;

use tokio::sync::OnceCell;

use super::postgres::connect_plain;
use super::{Kind, Postgres, RabbitMq, Redis, Server};
use crate::harness::TestResult;

static POSTGRES: OnceCell<(String, Option<Postgres>)> = OnceCell::const_new();
static REDIS: OnceCell<(String, Option<Redis>)> = OnceCell::const_new();
static RABBITMQ: OnceCell<(String, Option<RabbitMq>)> = OnceCell::const_new();

/// A new, empty database on the shared Postgres; it is dropped with the value.
pub async fn shared_postgres() -> TestResult<TestDatabase> {
    let (server, _) = POSTGRES.get_or_try_init(|| given_or(Kind::Postgres, Postgres::start())).await?;
    TestDatabase::create(server).await
}

/// The shared Redis' URL. Keep to topics under [`topic_prefix`].
pub async fn shared_redis() -> TestResult<String> {
    let (url, _) = REDIS.get_or_try_init(|| given_or(Kind::Redis, Redis::start())).await?;
    Ok(url.clone())
}

/// The shared RabbitMQ's URL. Keep to topics under [`topic_prefix`].
pub async fn shared_rabbitmq() -> TestResult<String> {
    let (url, _) = RABBITMQ.get_or_try_init(|| given_or(Kind::RabbitMq, RabbitMq::start())).await?;
    Ok(url.clone())
}

/// The URL that is given, or that of a server started now.
async fn given_or<S: Deref<Target = Server>>(
    kind: Kind,
    start: impl Future<Output = TestResult<S>>,
) -> TestResult<(String, Option<S>)> {
    if let Some(url) = kind.url_given() {
        return Ok((url, None));
    }
    let server = start.await?;
    Ok((server.url().to_owned(), Some(server)))
}

/// A first part of topics that no other test has.
pub fn topic_prefix() -> String {
    format!("test-{}", uuid::Uuid::new_v4().simple())
}

/// A database of one test.
pub struct TestDatabase {
    server: String,
    name: String,
    url: String,
}

impl TestDatabase {
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn create(server: &str) -> TestResult<Self> {
        let name = format!("creel_test_{}", uuid::Uuid::new_v4().simple());
        let mut url = url::Url::parse(server)?;
        url.set_path(&name);
        connect_plain(server).await?.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        Ok(Self { server: server.to_owned(), name, url: url.into() })
    }
}

impl Drop for TestDatabase {
    /// On a thread of its own, since the test's runtime may be on its way out.
    fn drop(&mut self) {
        let server = self.server.clone();
        let drop_it = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                TestResult::Ok(connect_plain(&server).await?.batch_execute(&drop_it).await?)
            })
        });
        // A private server takes what is left with it; a given one is somebody's, who should know.
        if !matches!(dropped.join(), Ok(Ok(()))) && !std::thread::panicking() {
            panic!("the database {} was not dropped", self.name);
        }
    }
}
