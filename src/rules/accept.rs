//! Which of several media types a sender prefers (RFC 9110, section 12.5.1).

/// The highest quality there is.
const BEST: f32 = 1.0;

/// What the `Accept` header fields ask for.
#[derive(Debug, Default)]
pub struct Accept<'a>(Vec<Range<'a>>);

#[derive(Debug)]
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f32,
}

impl<'a> Accept<'a> {
    /// Reads the values of all `Accept` fields; what is not readable asks for nothing.
    pub fn parse(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let texts = values.filter_map(|value| std::str::from_utf8(value).ok());
        Self(texts.flat_map(|value| value.split(',')).filter_map(range).collect())
    }

    /// From 0 (not acceptable) to 1 ([`BEST`]), by the most specific range that fits the type `kind/subtype`.
    pub fn quality(&self, media_type: &str) -> f32 {
        let (kind, subtype) = split(media_type);
        let specificity = |range: &&Range<'_>| match (range.kind, range.subtype) {
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => Some(2),
            (k, "*") if k.eq_ignore_ascii_case(kind) => Some(1),
            ("*", "*") => Some(0),
            _ => None,
        };
        let fitting = self.0.iter().filter(|range| specificity(range).is_some());
        fitting.max_by_key(|range| specificity(range)).map_or(0.0, |range| range.quality)
    }

    /// Whether the type `kind/subtype` is meant by a range that is not for everything.
    pub fn names(&self, media_type: &str) -> bool {
        let (kind, subtype) = split(media_type);
        self.0.iter().any(|range| {
            range.kind.eq_ignore_ascii_case(kind)
                && (range.subtype == "*" || range.subtype.eq_ignore_ascii_case(subtype))
        })
    }

    /// The place of the best of the types offered, the first of equals; None where none is acceptable.
    pub fn best<'t>(&self, offered: impl Iterator<Item = &'t str>) -> Option<usize> {
        let mut best = (None, 0.0);
        for (place, media_type) in offered.enumerate() {
            let quality = self.quality(media_type);
            if quality > best.1 {
                best = (Some(place), quality);
            }
            // Most senders take anything.
            if quality >= BEST {
                break;
            }
        }
        best.0
    }
}

fn range(text: &str) -> Option<Range<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let weight = parts.find_map(|p| p.strip_prefix("q=").or(p.strip_prefix("Q=")));
    let read = |weight: &str| weight.parse().ok().filter(|q| (0.0..=BEST).contains(q)).unwrap_or(0.0);
    Some(Range { kind, subtype, quality: weight.map_or(BEST, read) })
}

/// A media type's two halves, without parameters.
fn split(media_type: &str) -> (&str, &str) {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.split_once('/').unwrap_or((essence, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_of_the_offered_is_chosen() {
        let offered = ["application/json", "text/xml; charset=utf-8", "text/html"];
        for (accept, expected) in [
            ("text/html", Some(2)),
            ("text/*;q=0.5, text/html;q=0.1", Some(1)),
            ("*/*", Some(0)),
            ("text/html;q=0.3, application/json;q=0.9", Some(0)),
            ("image/png", None),
            ("application/json;q=0, */*;q=0.1", Some(1)),
            ("TEXT/XML", Some(1)),
            ("text/html;q=5, text/xml;q=0.1", Some(1)),
            ("", None),
        ] {
            let accept = Accept::parse([accept.as_bytes()].into_iter());
            assert_eq!(accept.best(offered.into_iter()), expected, "{accept:?}");
        }
    }
}
