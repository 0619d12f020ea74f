//! Words of a POSIX shell, quoted so that they are data and nothing else.

use std::fmt::Write as _;

/// A word that the shell reads as these octets. There is none with NUL in it, which no argument can have, and
/// none that ends with a line break where [`is_plain`] does not hold.
pub fn word(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric()) => text.to_owned(),
        Ok(text) if is_plain(text) => quoted(text),
        _ => printed(octets),
    }
}

/// Whether a text can stand between quotes and be copied through a terminal: nothing in it steers one.
pub fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !(c.is_control() || is_invisible(c)))
}

/// What turns the direction of writing, or cannot be seen: a command would look like another one.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// By `printf`, which every POSIX shell has, and whose octal escapes are the one way to any octet.
fn printed(octets: &[u8]) -> String {
    let mut word = String::from("\"$(printf '");
    for (place, &octet) in octets.iter().enumerate() {
        match octet {
            // It would be an option.
            b'-' if place == 0 => word.push_str(r"\055"),
            b'%' => word.push_str("%%"),
            b'\\' => word.push_str(r"\\"),
            b'\'' => word.push_str(r"'\''"),
            b' '..=b'~' => word.push(char::from(octet)),
            _ => write!(word, "\\{octet:03o}").expect("a String takes everything"),
        }
    }
    word.push_str("')\"");
    word
}
