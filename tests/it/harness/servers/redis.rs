//! A private Redis that keeps nothing on disk, as a broker needs nothing kept.

use std::ops::Deref;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tls::Tls;
use super::{Kind, Server, Transport, folder_for, installed, password, unprivileged};
use crate::harness::process::Process;
use crate::harness::{TestResult, ports};

pub struct Redis(Server);

impl Redis {
    pub async fn start() -> TestResult<Self> {
        ports::start_on_free_ports(|| Self::start_with(Transport::Plain)).await
    }

    /// Its URL is `rediss://localhost:...`; there is no port in the clear.
    pub async fn start_tls() -> TestResult<Self> {
        ports::start_on_free_ports(|| Self::start_with(Transport::Tls)).await
    }

    /// On its port, after [`kill9`](Process::kill9) or a stop.
    pub async fn start_again(&self) -> TestResult {
        self.launch_and_wait(async || is_ready(self).await.unwrap_or(false)).await
    }

    async fn start_with(transport: Transport) -> TestResult<Self> {
        let folder = folder_for(Kind::Redis)?;
        let (port, password) = (ports::free_port(), password());
        let mut settings = vec![
            format!("--requirepass {password}"),
            "--bind 127.0.0.1".to_owned(),
            "--save \"\"".to_owned(),
            "--appendonly no".to_owned(),
        ];
        let mut url = format!("redis://:{password}@127.0.0.1:{port}/");
        let mut ca_file = None;
        match transport {
            Transport::Plain => settings.push(format!("--port {port}")),
            Transport::Tls => {
                let tls = Tls::make(&folder)?;
                settings.push("--port 0".to_owned());
                settings.push(format!("--tls-port {port}"));
                settings.push(format!("--tls-cert-file {}", tls.certificate_file.display()));
                settings.push(format!("--tls-key-file {}", tls.key_file.display()));
                settings.push(format!("--tls-ca-cert-file {}", tls.ca_file.display()));
                settings.push("--tls-auth-clients no".to_owned());
                url = format!("rediss://:{password}@localhost:{port}/");
                ca_file = Some(tls.ca_file);
            }
        }
        let program = installed::program("redis-server")?;
        let process = Process::new(Kind::Redis.name(), folder, move || {
            let mut command = unprivileged(&program);
            settings.iter().for_each(|setting| _ = command.args(setting.split(' ')));
            command
        });
        let redis = Self(Server { process, port, url, ca_file, stop: Signal::TERM });
        redis.start_again().await?;
        Ok(redis)
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

/// In the clear it must answer, if only that it wants a password; under TLS it must take connections.
async fn is_ready(server: &Server) -> TestResult<bool> {
    let mut stream = TcpStream::connect(server.address()).await?;
    if server.ca_file.is_some() {
        return Ok(true);
    }
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"-NOAUTH")
}
