//! Logs, on standard output.

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Log, LogFormat};

/// Crates that tell more than an operator needs; the setting can name them to hear it. actix_http
/// and lapin report as errors what any sender may send and every connection that ends, and lapin tells the
/// frames of its login at `trace`.
const QUIETER: &str = "actix_http=off,actix_server=warn,lapin=off,refinery_core=warn,tokio_postgres=warn";

/// Logs every panic like everything else, and counts it; what becomes of the work is not changed.
pub fn watch_panics(panics: Counter) {
    std::panic::set_hook(Box::new(move |panic| {
        panics.inc();
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, message = panic.payload_as_str(), "a panic: a mistake of ours");
    }));
}

/// Sets logging up once. A level that cannot be read is a mistake in the settings.
pub fn start(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIETER},{}", log.level))
        .map_err(|error| format!("log.level: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Spans are at `debug`; each tells its time when it ends.
        .with_span_events(FmtSpan::CLOSE)
        // A log that nobody takes, as on a full disk, is lost and ends nothing: to tell of it on stderr would be to
        // panic where that goes the same way.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| error.to_string())
}
