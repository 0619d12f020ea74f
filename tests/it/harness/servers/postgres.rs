//! A private Postgres, as durable as in production: what was committed outlives `kill -9`.

use std::ops::Deref;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::tls::Tls;
use super::{Kind, STOP_LIMIT, Server, Transport, folder_for, installed, password, unprivileged, user};
use crate::harness::process::Process;
use crate::harness::{TestResult, ports};

const SETTINGS: [&str; 8] = [
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "max_connections=300",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    // In its folder rather than in /dev/shm, so that nothing is left there when it is killed.
    "dynamic_shared_memory_type=mmap",
    "log_min_messages=warning",
];

pub struct Postgres(Server);

impl Postgres {
    pub async fn start() -> TestResult<Self> {
        ports::start_on_free_ports(|| Self::start_with(Transport::Plain)).await
    }

    /// Its URL says `sslmode=verify-full`; connections in the clear are refused.
    pub async fn start_tls() -> TestResult<Self> {
        ports::start_on_free_ports(|| Self::start_with(Transport::Tls)).await
    }

    /// On its port and its data, after [`kill9`](Process::kill9) or a stop.
    pub async fn start_again(&self) -> TestResult {
        self.launch_and_wait(async || connect(self).await.is_ok()).await
    }

    /// All its processes end at once, without a checkpoint: what `pg_ctl stop -m immediate` does.
    pub async fn stop_immediate(&self) -> TestResult<ExitStatus> {
        self.end_with(Signal::QUIT, STOP_LIMIT).await
    }

    async fn start_with(transport: Transport) -> TestResult<Self> {
        let folder = folder_for(Kind::Postgres)?;
        let (port, password) = (ports::free_port(), password());
        make_data(&folder, &password)?;
        let mut url = format!("postgres://creel:{password}@127.0.0.1:{port}/postgres");
        let mut settings: Vec<String> = SETTINGS.map(str::to_owned).into();
        settings.push(format!("port={port}"));
        let mut ca_file = None;
        if transport == Transport::Tls {
            let tls = Tls::make(&folder)?;
            settings.push("ssl=on".to_owned());
            settings.push(format!("ssl_cert_file={}", tls.certificate_file.display()));
            settings.push(format!("ssl_key_file={}", tls.key_file.display()));
            std::fs::write(folder.join("data/pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n")?;
            url += &format!("?sslmode=verify-full&sslrootcert={}", tls.ca_file.display());
            ca_file = Some(tls.ca_file);
        }
        let program = installed::program("postgres")?;
        let process = Process::new(Kind::Postgres.name(), folder, move || {
            let mut command = unprivileged(&program);
            command.args(["-D", "data"]);
            settings.iter().for_each(|setting| _ = command.args(["-c", setting]));
            command
        });
        // Killed outright it would leave a System V shared memory segment behind.
        let process = process.with_farewell(Signal::QUIT);
        let postgres = Self(Server { process, port, url, ca_file, stop: Signal::INT });
        postgres.start_again().await?;
        Ok(postgres)
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

fn make_data(folder: &Path, password: &str) -> TestResult {
    let password_file = folder.join("password");
    std::fs::write(&password_file, password)?;
    user::give(&password_file)?;
    let made = unprivileged(&installed::program("initdb")?)
        .current_dir(folder)
        .args(["-D", "data", "-U", "creel", "-A", "scram-sha-256", "--pwfile=password", "--no-sync"])
        .args(["--encoding=UTF8", "--locale=C", "--no-instructions"])
        .output()?;
    if !made.status.success() {
        return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    Ok(())
}

/// A connection, its task left to the runtime.
async fn connect(server: &Server) -> TestResult<tokio_postgres::Client> {
    let Some(ca_file) = &server.ca_file else { return connect_plain(server.url()).await };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca_file)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // tokio-postgres itself knows neither `verify-full` nor `sslrootcert`.
    let plain_url = server.url().split('?').next().expect("a split yields something");
    let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
    let (client, connection) = tokio_postgres::connect(&format!("{plain_url}?sslmode=require"), tls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub(super) async fn connect_plain(url: &str) -> TestResult<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
