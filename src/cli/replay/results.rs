//! What became of each capture that was replayed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::cli::exit::{Exit, Outcome};
use crate::cli::session::ListFormat;
use crate::cli::show;
use crate::cli::terminal::{Terminal, plain_line, table};
use crate::client::{HttpUrl, ShownCapture};

/// What became of one.
#[derive(Debug)]
pub enum Replayed {
    /// Nothing was sent; it would go to this target.
    Planned(String),
    Answered {
        status: u16,
        took: Duration,
        bytes: usize,
    },
    Failed(String),
}

/// Gathers them: JSON goes out as it comes, a table at the end.
pub struct Results {
    format: ListFormat,
    planned: bool,
    rows: Vec<Vec<String>>,
    statuses: BTreeMap<u16, u64>,
    failed: u64,
}

impl Results {
    pub fn new(format: ListFormat, planned: bool) -> Self {
        Self { format, planned, rows: Vec::new(), statuses: BTreeMap::new(), failed: 0 }
    }

    pub fn add(&mut self, terminal: &Terminal, capture: &ShownCapture, replayed: Replayed) -> Outcome<()> {
        let mut line = json!({ "capture": capture.id, "received": capture.received });
        let told = match replayed {
            Replayed::Planned(target) => {
                line["method"] = json!(capture.method);
                line["target"] = json!(target);
                vec![plain_line(&target)]
            }
            Replayed::Answered { status, took, bytes } => {
                *self.statuses.entry(status).or_default() += 1;
                let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                line["status"] = json!(status);
                line["took_ms"] = json!(took_ms);
                line["answer_bytes"] = json!(bytes);
                vec![status.to_string(), took_ms.to_string(), bytes.to_string()]
            }
            Replayed::Failed(reason) => {
                self.failed += 1;
                line["error"] = json!(reason);
                vec!["failed".to_owned(), "-".to_owned(), plain_line(&reason)]
            }
        };
        if self.format == ListFormat::Json {
            return terminal.json_line(&line.to_string());
        }
        let mut row = vec![capture.id.clone(), show::what(capture)];
        row.extend(told);
        self.rows.push(row);
        Ok(())
    }

    /// Shows what there is to show: done where every request was answered, and none with a status from 400 on.
    pub fn end(&self, terminal: &Terminal, to: &HttpUrl) -> Outcome {
        if self.format == ListFormat::Table {
            let head: &[&str] = match self.planned {
                true => &["CAPTURE", "REQUEST", "TARGET"],
                false => &["CAPTURE", "REQUEST", "STATUS", "MS", "ANSWER"],
            };
            terminal.write(table(head, &self.rows).as_bytes())?;
        }
        if self.planned {
            terminal.say(&format!("nothing was sent; this would go to {to}"));
            return Ok(Exit::Done);
        }
        let mut parts: Vec<String> =
            self.statuses.iter().map(|(status, count)| format!("{count} answered {status}")).collect();
        if self.failed > 0 {
            parts.push(format!("{} failed", self.failed));
        }
        let parts = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
        terminal.say(&format!("replayed to {to}: {parts}"));
        let refused = self.statuses.keys().any(|status| *status >= 400);
        Ok(if self.failed > 0 || refused { Exit::Not } else { Exit::Done })
    }
}
