//! Private servers, started from what is installed on this machine, and those that all tests share.
//!
//! They run as an unprivileged user where the tests run as root, on ports of their own, in the workplace.

use std::future::Future;
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;

use super::process::Process;
use super::{TestResult, workplace};

pub mod installed;
mod postgres;
mod rabbitmq;
mod redis;
mod shared;
mod tls;
mod user;

pub use postgres::Postgres;
pub use rabbitmq::RabbitMq;
pub use redis::Redis;
pub use shared::{TestDatabase, shared_postgres, shared_rabbitmq, shared_redis, topic_prefix};

/// A server needs so long at most to be ready.
const START_LIMIT: Duration = Duration::from_secs(60);
/// And so long to stop in good order.
const STOP_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    Redis,
    RabbitMq,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::RabbitMq => "rabbitmq",
        }
    }

    /// Debian's package.
    pub fn package(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::Redis => "redis-server",
            Self::RabbitMq => "rabbitmq-server",
        }
    }

    /// The environment variable that names a server which is running already.
    pub fn url_variable(self) -> &'static str {
        match self {
            Self::Postgres => "CREEL_TEST_POSTGRES_URL",
            Self::Redis => "CREEL_TEST_REDIS_URL",
            Self::RabbitMq => "CREEL_TEST_RABBITMQ_URL",
        }
    }

    pub fn url_given(self) -> Option<String> {
        std::env::var(self.url_variable()).ok().filter(|url| !url.is_empty())
    }
}

/// Whether a server takes connections in the clear or under TLS: never both, so that a client that was
/// told TLS cannot do without it unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Plain,
    Tls,
}

/// A server of a test's own, which can be killed, frozen and started again. Its data outlive all that;
/// with the value everything goes.
pub struct Server {
    process: Process,
    port: u16,
    url: String,
    ca_file: Option<PathBuf>,
    /// What stops it in good order.
    stop: Signal,
}

impl Server {
    /// Where to connect to, with user and password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The certificate (PEM) to trust, of one that was started with TLS.
    pub fn ca_file(&self) -> &Path {
        self.ca_file.as_deref().expect("this server was started without TLS")
    }

    /// Stops it in good order and waits for its end.
    pub async fn stop(&self) -> TestResult<ExitStatus> {
        self.process.end_with(self.stop, STOP_LIMIT).await
    }

    async fn launch_and_wait<F>(&self, is_ready: impl Fn() -> F) -> TestResult
    where
        F: Future<Output = bool>,
    {
        self.process.launch()?;
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        while !is_ready().await {
            self.process.check_running()?;
            if tokio::time::Instant::now() > deadline {
                return Err(format!("not ready within {START_LIMIT:?}\n{}", self.process.log()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The one that answered must be ours, not another that has the port.
        self.process.check_running()
    }
}

/// `kill9`, `freeze`, `thaw`, `log` and the like.
impl Deref for Server {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// A new folder in the workplace that belongs to the user whom servers run as.
fn folder_for(kind: Kind) -> TestResult<PathBuf> {
    let folder = workplace::new_folder(kind.name())?;
    user::give(&folder)?;
    Ok(folder)
}

/// A command that runs as the user whom servers run as.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = user::unprivileged() {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

fn password() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
