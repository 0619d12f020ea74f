//! `creel healthcheck`: a GET that needs no curl in the container.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use url::Url;

#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// What to ask, by plain HTTP; without a path, /healthz.
    #[arg(long, default_value = "http://127.0.0.1:9669/healthz", env = "CREEL_HEALTHCHECK_URL", value_parser = plain_http)]
    url: Url,
    /// How long to wait for the answer, in milliseconds.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout_ms: u64,
}

pub fn run(args: &HealthcheckArgs) -> ExitCode {
    match status(&args.url, Duration::from_millis(args.timeout_ms)) {
        Ok(200..=299) => ExitCode::SUCCESS,
        Ok(status) => fail(&format!("{} answered {status}", args.url)),
        Err(error) => fail(&format!("{}: {error}", args.url)),
    }
}

/// A URL that can be asked in the clear.
fn plain_http(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.scheme() != "http" {
        return Err("http:// is expected: a node is asked by plain HTTP, on its own machine".to_owned());
    }
    if url.path() == "/" {
        url.set_path("/healthz");
    }
    Ok(url)
}

fn fail(message: &str) -> ExitCode {
    super::complain(&std::io::Error::other(message.to_owned()));
    ExitCode::FAILURE
}

fn status(url: &Url, timeout: Duration) -> std::io::Result<u16> {
    let host = url.host_str().unwrap_or("127.0.0.1");
    let port = url.port_or_known_default().unwrap_or(80);
    let address = (host.trim_matches(['[', ']']), port).to_socket_addrs()?.next();
    let address = address.ok_or_else(|| std::io::Error::other("the host has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(stream, "GET {} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n", url.path())?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let code = std::str::from_utf8(&head[9..]).ok().and_then(|code| code.parse().ok());
    code.ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_for_its_health_by_plain_http() {
        for (text, asked) in [
            ("http://a:1", "http://a:1/healthz"),
            ("http://a:1/", "http://a:1/healthz"),
            ("http://a:1/readyz", "http://a:1/readyz"),
        ] {
            assert_eq!(plain_http(text).map(String::from), Ok(asked.to_owned()));
        }
        for text in ["https://a:1/healthz", "a:1", "unix:/a", ""] {
            assert!(plain_http(text).is_err(), "{text}");
        }
    }
}
