//! Private servers start, die, come back, fall silent and speak TLS; shared ones give every test a place
//! of its own.

use std::time::Duration;

use lapin::tcp::OwnedTLSConfig;
use lapin::{ConnectionProperties, types::FieldTable};
use libtest_mimic::Trial;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::servers::{
    Postgres, RabbitMq, Redis, shared_postgres, shared_rabbitmq, shared_redis, topic_prefix,
};
use crate::harness::{Needs, TestResult, trials};

/// Long enough for an answer that must not come to have come.
const A_WHILE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(20);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::OWN_POSTGRES => postgres_keeps_what_it_committed, postgres_falls_silent_and_goes_on,
            postgres_speaks_only_tls;
        Needs::OWN_REDIS => redis_comes_back, redis_falls_silent_and_goes_on, redis_speaks_only_tls;
        Needs::OWN_RABBITMQ => rabbitmq_comes_back_and_falls_silent, rabbitmq_speaks_only_tls;
        Needs::POSTGRES => every_test_has_a_database_of_its_own;
        Needs::REDIS | Needs::RABBITMQ => shared_brokers_answer;
    }
}

async fn postgres(url: &str) -> TestResult<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn redis_set(url: &str) -> TestResult {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    Ok(redis::cmd("SET").arg(topic_prefix()).arg(1).exec_async(&mut connection).await?)
}

async fn rabbitmq(url: &str, tls: OwnedTLSConfig) -> TestResult<lapin::Connection> {
    let runtime = lapin::runtime::default_runtime()?;
    Ok(lapin::Connection::connect_with_config(url, ConnectionProperties::default(), tls, runtime).await?)
}

async fn postgres_keeps_what_it_committed() -> TestResult {
    let server = Postgres::start().await?;
    let client = postgres(server.url()).await?;
    client.batch_execute("CREATE TABLE kept (n BIGINT)").await?;
    for (number, fsync) in [(1, "fsync"), (2, "synchronous_commit")] {
        let setting: String = client.query_one(&format!("SHOW {fsync}"), &[]).await?.get(0);
        assert_eq!(setting, "on", "{fsync}");
        client.execute("INSERT INTO kept VALUES ($1)", &[&i64::from(number)]).await?;
    }
    server.kill9();
    assert!(client.execute("INSERT INTO kept VALUES (3)", &[]).await.is_err());
    assert!(postgres(server.url()).await.is_err(), "it is down");
    server.start_again().await?;
    let client = postgres(server.url()).await?;
    client.execute("INSERT INTO kept VALUES (4)", &[]).await?;
    server.stop_immediate().await?;
    server.start_again().await?;
    let client = postgres(server.url()).await?;
    let sum: i64 = client.query_one("SELECT sum(n)::BIGINT FROM kept", &[]).await?.get(0);
    assert_eq!(sum, 1 + 2 + 4);
    assert!(server.stop().await?.success(), "it stops in good order");
    Ok(())
}

async fn postgres_falls_silent_and_goes_on() -> TestResult {
    let server = Postgres::start().await?;
    let client = postgres(server.url()).await?;
    server.freeze();
    assert!(timeout(A_WHILE, client.batch_execute("SELECT 1")).await.is_err(), "no answer of a session");
    assert!(timeout(A_WHILE, postgres(server.url())).await.is_err(), "no new session");
    server.thaw();
    timeout(SOON, client.batch_execute("SELECT 1")).await??;
    Ok(())
}

async fn postgres_speaks_only_tls() -> TestResult {
    // Readiness is a session under TLS, its certificate checked against the authority's.
    let server = Postgres::start_tls().await?;
    assert!(server.url().ends_with(&format!("sslrootcert={}", server.ca_file().display())));
    let plain = server.url().split('?').next().ok_or("a URL")?;
    let refused = postgres(plain).await.err().ok_or("a session in the clear")?;
    assert!(format!("{refused:?}").contains("no pg_hba.conf entry"), "{refused:?}");
    Ok(())
}

async fn redis_comes_back() -> TestResult {
    let server = Redis::start().await?;
    redis_set(server.url()).await?;
    server.kill9();
    assert!(redis_set(server.url()).await.is_err());
    server.start_again().await?;
    redis_set(server.url()).await?;
    assert!(server.stop().await?.success());
    Ok(())
}

async fn redis_falls_silent_and_goes_on() -> TestResult {
    let server = Redis::start().await?;
    server.freeze();
    assert!(timeout(A_WHILE, redis_set(server.url())).await.is_err());
    server.thaw();
    timeout(SOON, redis_set(server.url())).await?
}

async fn redis_speaks_only_tls() -> TestResult {
    let server = Redis::start_tls().await?;
    let plain = server.url().replace("rediss:", "redis:");
    assert!(timeout(SOON, redis_set(&plain)).await?.is_err());
    assert!(redis_set(server.url()).await.is_err(), "nobody knows the authority");
    rustls::crypto::ring::default_provider().install_default().ok();
    let root_cert = Some(std::fs::read(server.ca_file())?);
    let certificates = redis::TlsCertificates { client_tls: None, root_cert };
    let client = redis::Client::build_with_tls(server.url(), certificates)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("PING").exec_async(&mut connection).await?;
    Ok(())
}

async fn rabbitmq_comes_back_and_falls_silent() -> TestResult {
    let server = RabbitMq::start().await?;
    let connection = rabbitmq(server.url(), OwnedTLSConfig::default()).await?;
    server.kill9();
    assert!(TcpStream::connect(server.address()).await.is_err(), "it is down");
    drop(connection);
    server.start_again().await?;
    let connection = rabbitmq(server.url(), OwnedTLSConfig::default()).await?;
    let channel = connection.create_channel().await?;
    let declare = || channel.queue_declare("q".into(), Default::default(), FieldTable::default());
    declare().await?;
    let queues = server.control(&["list_queues", "--quiet", "--no-table-headers", "name"])?;
    assert_eq!(String::from_utf8(queues.stdout)?, "q\n");
    server.freeze();
    assert!(timeout(A_WHILE, declare()).await.is_err());
    server.thaw();
    timeout(SOON, declare()).await??;
    server.stop().await?;
    Ok(())
}

async fn rabbitmq_speaks_only_tls() -> TestResult {
    let server = RabbitMq::start_tls().await?;
    let plain = server.url().replace("amqps:", "amqp:");
    let clear = rabbitmq(&plain, OwnedTLSConfig::default());
    assert!(!matches!(timeout(SOON, clear).await, Ok(Ok(_))), "a connection in the clear");
    let cert_chain = Some(std::fs::read_to_string(server.ca_file())?);
    rabbitmq(server.url(), OwnedTLSConfig { identity: None, cert_chain }).await?;
    Ok(())
}

async fn every_test_has_a_database_of_its_own() -> TestResult {
    let first = shared_postgres().await?;
    let second = shared_postgres().await?;
    for database in [&first, &second] {
        postgres(database.url()).await?.batch_execute("CREATE TABLE same (n BIGINT)").await?;
    }
    let gone = first.url().to_owned();
    drop(first);
    let refused = postgres(&gone).await.err().ok_or("the database is dropped with the value")?;
    assert!(format!("{refused:?}").contains("does not exist"), "{refused:?}");
    postgres(second.url()).await?.batch_execute("SELECT n FROM same").await?;
    Ok(())
}

async fn shared_brokers_answer() -> TestResult {
    redis_set(&shared_redis().await?).await?;
    rabbitmq(&shared_rabbitmq().await?, OwnedTLSConfig::default()).await?;
    Ok(())
}
