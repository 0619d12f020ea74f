//! A private RabbitMQ, with a cookie, a home and an Erlang port mapper of its own.

use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tls::Tls;
use super::{Kind, Server, Transport, folder_for, installed, password, unprivileged, user};
use crate::harness::process::Process;
use crate::harness::{TestResult, ports};

/// The port mapper is started first, in the foreground: RabbitMQ would start it as a daemon, which
/// leaves the folder by which our processes are known.
const START: &str = r#"
"$1" -address 127.0.0.1 -port "$ERL_EPMD_PORT" &
exec "$2"
"#;

pub struct RabbitMq {
    server: Server,
    surroundings: Surroundings,
}

/// What tells RabbitMQ's programs which of all brokers on this machine is meant.
#[derive(Clone)]
struct Surroundings {
    node: String,
    distribution_port: u16,
    port_mapper_port: u16,
}

impl RabbitMq {
    pub async fn start() -> TestResult<Self> {
        ports::start_on_free_ports(|| Self::start_with(Transport::Plain)).await
    }

    /// Its URL is `amqps://localhost:...`; there is no port in the clear.
    pub async fn start_tls() -> TestResult<Self> {
        ports::start_on_free_ports(|| Self::start_with(Transport::Tls)).await
    }

    /// On its port and its data, after [`kill9`](Process::kill9) or a stop.
    pub async fn start_again(&self) -> TestResult {
        self.launch_and_wait(async || is_ready(self).await.unwrap_or(false)).await
    }

    /// Runs `rabbitmqctl`, to close connections, raise an alarm and the like.
    pub fn control(&self, arguments: &[&str]) -> TestResult<Output> {
        let mut command = unprivileged(&installed::program("rabbitmqctl")?);
        self.surroundings.apply(&mut command, self.folder());
        Ok(command.current_dir(self.folder()).args(arguments).output()?)
    }

    async fn start_with(transport: Transport) -> TestResult<Self> {
        let folder = folder_for(Kind::RabbitMq)?;
        let (port, password) = (ports::free_port(), password());
        let surroundings = Surroundings {
            node: format!("creel{port}@localhost"),
            distribution_port: ports::free_port(),
            port_mapper_port: ports::free_port(),
        };
        let mut settings = format!(
            "default_user = creel\ndefault_pass = {password}\n\
             log.console = true\nlog.console.level = warning\nlog.file = false\n"
        );
        let mut url = format!("amqp://creel:{password}@127.0.0.1:{port}/%2f");
        let mut ca_file = None;
        match transport {
            Transport::Plain => settings += &format!("listeners.tcp.1 = 127.0.0.1:{port}\n"),
            Transport::Tls => {
                let tls = Tls::make(&folder)?;
                settings += &format!(
                    "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{port}\n\
                     ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n",
                    tls.ca_file.display(),
                    tls.certificate_file.display(),
                    tls.key_file.display()
                );
                url = format!("amqps://creel:{password}@localhost:{port}/%2f");
                ca_file = Some(tls.ca_file);
            }
        }
        for (file, text) in [("rabbitmq.conf", settings.as_str()), ("plugins", "[].\n")] {
            let file = folder.join(file);
            std::fs::write(&file, text)?;
            user::give(&file)?;
        }
        let programs = [installed::program("epmd")?, installed::program("rabbitmq-server")?];
        let process = Process::new(Kind::RabbitMq.name(), folder.clone(), {
            let surroundings = surroundings.clone();
            move || {
                let mut command = unprivileged(Path::new("sh"));
                command.args(["-c", START, "rabbitmq"]).args(&programs);
                surroundings.apply(&mut command, &folder);
                command
            }
        });
        let server = Server { process, port, url, ca_file, stop: Signal::TERM };
        let rabbitmq = Self { server, surroundings };
        rabbitmq.start_again().await?;
        Ok(rabbitmq)
    }
}

impl Deref for RabbitMq {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Surroundings {
    fn apply(&self, command: &mut Command, folder: &Path) {
        command
            .env("HOME", folder)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.port_mapper_port.to_string())
            .env("RABBITMQ_NODENAME", &self.node)
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder.join("logs"))
            .env("RABBITMQ_PID_FILE", folder.join("pid"))
            // An idle Erlang spins for a while; the machine has better uses.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+sbwt none +sbwtdcpu none +sbwtdio none");
    }
}

/// In the clear it must begin an AMQP connection; under TLS it must take connections, which it does
/// last of all when it starts.
async fn is_ready(server: &Server) -> TestResult<bool> {
    const METHOD_FRAME: u8 = 1;
    let mut stream = TcpStream::connect(server.address()).await?;
    if server.ca_file.is_some() {
        return Ok(true);
    }
    stream.write_all(b"AMQP\0\0\x09\x01").await?;
    Ok(stream.read_u8().await? == METHOD_FRAME)
}
