//! Where commands talk: data to stdout, all else to stderr; colour for people alone.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use super::exit::{Failed, Outcome};

/// What the output goes to.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// Whether stdout is a terminal.
    pub is_terminal: bool,
    /// Whether stderr is one, where progress is shown.
    pub talks_to_terminal: bool,
    colour_out: bool,
    colour_talk: bool,
}

/// Colours, by what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    Plain,
    Good,
    Warn,
    Bad,
    Faint,
    Strong,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Faint => "\x1b[2m",
            Self::Strong => "\x1b[1m",
        }
    }

    /// The ink of a status code.
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Good,
            300..=399 => Self::Plain,
            400..=499 => Self::Warn,
            _ => Self::Bad,
        }
    }
}

impl Terminal {
    /// Colour is shown on terminals that can, unless `NO_COLOR` is set (<https://no-color.org>).
    pub fn find() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let wanted = !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let (is_terminal, talks_to_terminal) =
            (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Self {
            is_terminal,
            talks_to_terminal,
            colour_out: wanted && is_terminal,
            colour_talk: wanted && talks_to_terminal,
        }
    }

    /// Writes data to stdout, and hands it on at once.
    ///
    /// # Errors
    /// Nobody reads any more, or the disk is full.
    pub fn write(&self, data: &[u8]) -> Outcome<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(data).and_then(|()| out.flush()).map_err(Failed::from)
    }

    /// Writes a line of data.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn line(&self, text: &str) -> Outcome<()> {
        self.write(format!("{text}\n").as_bytes())
    }

    /// Writes a value of JSON, a line each. On a terminal characters that could act on it are escaped, so that the
    /// value stays the same.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn json_line(&self, text: &str) -> Outcome<()> {
        match self.is_terminal {
            true => self.line(&plain_json(text)),
            false => self.line(text),
        }
    }

    /// A text in colour, for stdout.
    pub fn ink(&self, ink: Ink, text: &str) -> String {
        inked(self.colour_out, ink, text)
    }

    /// Says something on stderr. Where nobody listens nothing is lost.
    pub fn say(&self, text: &str) {
        std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap_or_default();
    }

    /// Says something on stderr that deserves notice.
    pub fn warn(&self, text: &str) {
        self.say(&format!("{} {text}", inked(self.colour_talk, Ink::Warn, "warning:")));
    }

    /// Says why a command failed, and what to do next.
    pub fn complain(&self, failed: &Failed) {
        self.say(&format!("{} {}", inked(self.colour_talk, Ink::Bad, "creel:"), plain(&failed.message)));
        if let Some(hint) = &failed.hint {
            self.say(&format!("{} {}", inked(self.colour_talk, Ink::Strong, "  hint:"), plain(hint)));
        }
    }
}

fn inked(colour: bool, ink: Ink, text: &str) -> String {
    match colour && ink != Ink::Plain {
        true => format!("{}{text}\x1b[0m", ink.code()),
        false => text.to_owned(),
    }
}

/// A text that can do nothing to a terminal: control characters show as escapes. What was caught is
/// somebody else's text.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => plain.push(letter),
            letter if letter.is_control() || is_turning(letter) => {
                write!(plain, "\\u{{{:x}}}", u32::from(letter)).unwrap_or_default();
            }
            letter => plain.push(letter),
        }
    }
    plain
}

/// The same in one line.
pub fn plain_line(text: &str) -> String {
    plain(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// JSON that can do nothing to a terminal. All that is below a blank is escaped in it already.
fn plain_json(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' => plain.push(letter),
            letter if letter.is_control() || is_turning(letter) => {
                write!(plain, "\\u{:04x}", u32::from(letter)).unwrap_or_default();
            }
            letter => plain.push(letter),
        }
    }
    plain
}

/// Characters that turn the direction of what follows.
fn is_turning(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Rows with a head in columns as wide as they need; the last is as long as it is.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(head[column].chars().count())
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let room = width.saturating_sub(cell.chars().count());
            format!("{cell}{}", " ".repeat(room))
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_caught_acts_on_a_terminal() {
        assert_eq!(plain("a\x1b[2J\u{9b}b\u{202e}\n\t"), "a\\u{1b}[2J\\u{9b}b\\u{202e}\n\t");
        assert_eq!(plain_line("a\r\nb"), "a\\u{d}\\nb");
    }

    #[test]
    fn json_stays_the_same_value_on_a_terminal() {
        let json = "{\"a\":\"x\u{9b}\u{7f}\u{202e}\u{e9}\"}\n";
        assert_eq!(plain_json(json), "{\"a\":\"x\\u009b\\u007f\\u202e\u{e9}\"}\n");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&plain_json(json)), read(json));
    }

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows = [vec!["1".to_owned(), "ab".to_owned()], vec!["1000".to_owned(), String::new()]];
        assert_eq!(table(&["ID", "NAME"], &rows), "ID    NAME\n1     ab\n1000\n");
    }
}
