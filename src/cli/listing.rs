//! What is alike for all things that a node has: lists page by page, one as a document, removing.

use std::path::Path;

use clap::{Args, ValueEnum};
use hyper::Method;
use serde_json::Value;

use super::document::{read_document, yaml};
use super::exit::{Exit, Failed, Outcome};
use super::session::{ListFormat, NodeArgs, Session};
use super::terminal::{plain, table};
use crate::client::Ask;
use crate::client::api::escaped;

/// How a document is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DocumentFormat {
    /// For people; what is shown can be saved again.
    #[default]
    Yaml,
    /// In a line of JSON.
    Json,
}

/// How a list is asked for of which there are not many.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// So many at most.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// How they are shown.
    #[arg(long, value_enum, default_value_t)]
    pub output: ListFormat,
    #[command(flatten)]
    pub node: NodeArgs,
}

impl Session {
    /// The items of a list, up to a limit; `ask` makes the request for a page from its cursor and how many are
    /// still wanted.
    ///
    /// # Errors
    /// As the API's.
    pub async fn list(
        &self,
        member: &str,
        limit: usize,
        ask: impl Fn(Option<&str>, usize) -> Ask,
    ) -> Outcome<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut page = self.api.json(ask(cursor.as_deref(), limit - items.len())).await?;
            if let Value::Array(more) = page[member].take() {
                items.extend(more);
            }
            cursor = page["next"].as_str().map(str::to_owned);
            if cursor.is_none() || items.len() >= limit {
                return Ok(items);
            }
        }
    }

    /// Shows a list: a line of JSON an item, or a table.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn show_list(
        &self,
        format: ListFormat,
        head: &[&str],
        items: Vec<Value>,
        row: impl Fn(&Value) -> Vec<String>,
    ) -> Outcome {
        match format {
            ListFormat::Json => {
                items.iter().try_for_each(|item| self.terminal.json_line(&item.to_string()))?;
            }
            ListFormat::Table => {
                let rows: Vec<_> = items.iter().map(row).collect();
                self.terminal.write(table(head, &rows).as_bytes())?;
            }
        }
        Ok(Exit::Done)
    }

    /// Shows a document.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn show_as(&self, format: DocumentFormat, document: &Value) -> Outcome<()> {
        match format {
            DocumentFormat::Json => self.terminal.json_line(&document.to_string()),
            // What somebody has named may hold anything; a terminal is done nothing by it. A file gets it as it is,
            // to be saved again.
            DocumentFormat::Yaml if self.terminal.is_terminal => {
                self.terminal.write(plain(&yaml(document)).as_bytes())
            }
            DocumentFormat::Yaml => self.terminal.write(yaml(document).as_bytes()),
        }
    }

    /// Shows what a GET answers.
    ///
    /// # Errors
    /// As the API's.
    pub async fn show_document(&self, path: String, format: DocumentFormat) -> Outcome {
        let document = self.api.json(Ask::get(path)).await?;
        self.show_as(format, &document)?;
        Ok(Exit::Done)
    }

    /// Saves the document of a file by a PUT, and shows what is there then.
    ///
    /// # Errors
    /// A file that cannot be read; as the API's: what it refuses in the document is no wrong usage.
    pub async fn save_document(&self, path: String, file: &Path, format: DocumentFormat) -> Outcome {
        let document = read_document(file).await?;
        let saved = self.api.json(Ask::new(Method::PUT, path).json(&document)).await;
        let saved = saved.map_err(|failure| refused(failure.into()))?;
        self.show_as(format, &saved)?;
        Ok(Exit::Done)
    }

    /// Removes each of these; what is not there does not keep the others.
    ///
    /// # Errors
    /// No node, or not allowed.
    pub async fn remove_each(&self, path: &str, names: &[String]) -> Outcome {
        let mut exit = Exit::Done;
        for name in names {
            let ask = Ask::new(Method::DELETE, format!("{path}/{}", escaped(name)));
            match self.api.json(ask).await.map_err(Failed::from) {
                Ok(_) => self.terminal.say(&format!("removed {}", plain(name))),
                Err(failed) if failed.exit == Exit::Not => {
                    let message = format!("{name}: {}", failed.message);
                    self.terminal.complain(&Failed { message, ..failed });
                    exit = Exit::Not;
                }
                Err(failed) => return Err(failed),
            }
        }
        Ok(exit)
    }
}

/// A document that was refused for what stands in it: the command was used rightly.
pub fn refused(failed: Failed) -> Failed {
    match failed.exit {
        Exit::Usage => Failed { exit: Exit::Not, ..failed },
        _ => failed,
    }
}
