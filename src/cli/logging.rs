//! Logs, on stdout for containers or on stderr where stdout is for people.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Log, LogFormat};

/// Crates that tell more than an operator needs; the setting can name them to hear it. lapin reports every
/// connection that ends as an error, and at `trace` the frames of its login.
const QUIETER: &str = "actix_server=warn,lapin=off,refinery_core=warn";

/// Sets logging up once. A level that cannot be read is a mistake in the settings.
pub fn start(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIETER},{}", log.level))
        .map_err(|error| format!("log.level: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| error.to_string())
}
