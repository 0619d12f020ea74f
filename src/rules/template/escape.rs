//! How values are escaped where a template writes `{{ }}`.

use std::borrow::Cow;

/// `{{{ }}}` is never escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// HTML and XML: entities, good for text and for quoted attributes.
    Html,
    /// The inside of a JSON string.
    Json,
    /// A field of CSV (RFC 4180): quoted where it must be.
    Csv,
    /// A field of tab-separated values, which know no quoting: tabs and line ends become spaces.
    Tsv,
    None,
}

impl Escape {
    /// The escaping that fits a media type; parameters and the case of letters do not count.
    pub fn of_content_type(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
        match essence.as_str() {
            "text/html" => Self::Html,
            "text/csv" => Self::Csv,
            "text/tab-separated-values" => Self::Tsv,
            _ if subtype == "xml" || subtype.ends_with("+xml") => Self::Html,
            _ if subtype.ends_with("json") => Self::Json,
            _ => Self::None,
        }
    }

    pub(super) fn apply(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Html => entities(text),
            Self::Json => json_string(text),
            Self::Csv => csv_field(text),
            Self::Tsv if text.contains(['\t', '\r', '\n']) => {
                Cow::Owned(text.replace("\r\n", " ").replace(['\t', '\r', '\n'], " "))
            }
            Self::Tsv | Self::None => Cow::Borrowed(text),
        }
    }
}

fn entities(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

fn json_string(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        return Cow::Borrowed(text);
    }
    let quoted = serde_json::Value::from(text).to_string();
    Cow::Owned(quoted[1..quoted.len() - 1].to_owned())
}

fn csv_field(text: &str) -> Cow<'_, str> {
    let padded = text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']);
    if !padded && !text.contains([',', ';', '"', '\r', '\n']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_says_how_to_escape() {
        let table = [
            ("text/html; charset=utf-8", Escape::Html),
            ("application/xml", Escape::Html),
            ("text/xml", Escape::Html),
            ("application/soap+xml;action=a", Escape::Html),
            ("image/svg+xml", Escape::Html),
            ("Application/JSON", Escape::Json),
            ("application/problem+json", Escape::Json),
            ("application/x-ndjson", Escape::Json),
            ("text/csv;header=present", Escape::Csv),
            ("text/tab-separated-values", Escape::Tsv),
            ("text/plain", Escape::None),
            ("json", Escape::None),
            ("", Escape::None),
        ];
        for (content_type, expected) in table {
            assert_eq!(Escape::of_content_type(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn each_escape_writes_what_its_format_can_hold() {
        let table = [
            (Escape::Html, "<a href=\"x\">'&'</a>", "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"),
            (Escape::Html, "plain", "plain"),
            (Escape::Json, "a\"b\\c\nd\u{1}é", "a\\\"b\\\\c\\nd\\u0001é"),
            (Escape::Json, "plain", "plain"),
            (Escape::Csv, "a,\"b\"", "\"a,\"\"b\"\"\""),
            (Escape::Csv, "a\nb", "\"a\nb\""),
            (Escape::Csv, " a", "\" a\""),
            (Escape::Csv, "plain text", "plain text"),
            (Escape::Tsv, "a\tb\r\nc\nd", "a b c d"),
            (Escape::None, "<\"\t\n", "<\"\t\n"),
        ];
        for (escape, text, expected) in table {
            assert_eq!(escape.apply(text), expected, "{escape:?} {text:?}");
        }
    }
}
