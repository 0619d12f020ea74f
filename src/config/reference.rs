//! `docs/settings.md`, made from the embedded settings file.

use std::fmt::Write as _;

use super::DEFAULTS;

/// The reference of settings as Markdown: a section a table, a paragraph a setting.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Settings\n\n<!-- Made from src/config.default.toml by `make docs`; change that file instead. -->\n\n",
    );
    let mut comment: Vec<&str> = Vec::new();
    let mut section = String::new();
    for line in DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            write_paragraph(&mut out, &format!("## `[{name}]`"), &mut comment);
        } else if let Some((key, default)) = line.split_once(" = ") {
            let variable = format!("CREEL_{}", format!("{section}.{key}").replace('.', "__").to_uppercase());
            let heading = format!("### `{section}.{key}`\n\nDefault `{default}`, environment `{variable}`.");
            write_paragraph(&mut out, &heading, &mut comment);
        } else if section.is_empty() && !comment.is_empty() {
            // The file's own introduction.
            out.push_str(&comment.join(" "));
            out.push_str("\n\n");
            comment.clear();
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn write_paragraph(out: &mut String, heading: &str, comment: &mut Vec<&str>) {
    writeln!(out, "{heading}\n").expect("writing to a String cannot fail");
    if !comment.is_empty() {
        writeln!(out, "{}\n", comment.join(" ")).expect("writing to a String cannot fail");
    }
    comment.clear();
}
