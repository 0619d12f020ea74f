//! Where a head ends, and how long its body is said to be: so much is handed to the parser at a time, and no more. What
//! is made of it is the parser's; where it sees another end, things take a little longer.

use memchr::memchr;

const LENGTH: &[u8] = b"content-length:";

/// A head as far as it was looked at.
#[derive(Debug, Default)]
pub struct Head {
    /// The bytes that it has so far.
    pub bytes: usize,
    has_begun: bool,
    /// What the piece before had of its last line.
    line: Line,
    /// What was said to follow it.
    length: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    #[default]
    Nothing,
    CarriageReturn,
    Text,
}

impl Head {
    /// Looks at the next piece. Where the head ends in it: how many bytes it has there, and how many its body, as far as
    /// these are there too and its length stands in one piece.
    pub fn look(&mut self, piece: &[u8]) -> Option<(usize, usize)> {
        let mut at = 0;
        if !self.has_begun {
            // Empty lines before a request are passed over (RFC 9112, section 2.2).
            at = piece.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(piece.len());
            self.has_begun = at < piece.len();
        }
        while let Some(length) = memchr(b'\n', &piece[at..]) {
            let line = &piece[at..at + length];
            at += length + 1;
            let before = std::mem::take(&mut self.line);
            let is_empty = match before {
                Line::Nothing => line.is_empty() || line == b"\r",
                Line::CarriageReturn => line.is_empty(),
                Line::Text => false,
            };
            if is_empty {
                self.bytes += at;
                return Some((at, self.length.min(piece.len() - at)));
            } else if before == Line::Nothing {
                self.length = length_of(line).unwrap_or(self.length);
            }
        }
        let rest = &piece[at..];
        self.line = match (rest, self.line) {
            (b"", line) => line,
            (b"\r", Line::Nothing) => Line::CarriageReturn,
            _ => Line::Text,
        };
        self.bytes += piece.len();
        None
    }
}

fn length_of(line: &[u8]) -> Option<usize> {
    let (name, value) = line.split_at_checked(LENGTH.len())?;
    if !name.eq_ignore_ascii_case(LENGTH) {
        return None;
    }
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(pieces: &[&[u8]]) -> Vec<Option<(usize, usize)>> {
        let mut head = Head::default();
        pieces.iter().map(|piece| head.look(piece)).collect()
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(ends(&[b"GET / HTTP/1.1\r\n\r\nGET"]), [Some((18, 0))]);
        assert_eq!(ends(&[b"GET / HTTP/1.1\nHost: a\n\nxyz"]), [Some((24, 0))]);
        assert_eq!(ends(&[b"\r\n\nGET / HTTP/1.1\r\n\r\n"]), [Some((21, 0))]);
        assert_eq!(
            ends(&[b"\r\n", b"\r\n", b"GET / H\r\n", b"\r", b"\nx"]),
            [None, None, None, None, Some((1, 0))]
        );
        assert_eq!(ends(&[b"GET / H\r\nA: b", b"\r\n", b"\r\n"]), [None, None, Some((2, 0))]);
    }

    #[test]
    fn the_body_that_is_there_goes_along() {
        let head = b"POST / HTTP/1.1\r\nCONTENT-length:  5\t\r\n\r\n";
        let with = |rest: &[u8]| [head, rest].concat();
        assert_eq!(ends(&[&with(b"abcdeGET")]), [Some((head.len(), 5))]);
        assert_eq!(ends(&[&with(b"abc")]), [Some((head.len(), 3))]);
        assert_eq!(ends(&[b"POST / H\nContent-Length: 99999999999999999999\n\nabc"]), [Some((47, 0))]);
        assert_eq!(ends(&[b"POST / H\nContent-Le", b"ngth: 3\n\nabc"]), [None, Some((9, 0))]);
    }

    proptest! {
        /// However it comes in pieces, it ends at the same place.
        #[test]
        fn pieces_make_no_difference(
            head in prop::collection::vec(prop::sample::select(b"ab:\r\n \n\r".to_vec()), 0..60),
            cuts in prop::collection::vec(1usize..9, 60),
        ) {
            let whole = Head::default().look(&head).map(|(end, _)| end);
            let (mut in_pieces, mut at, mut found) = (Head::default(), 0, None);
            for cut in cuts {
                let end = (at + cut).min(head.len());
                if let Some((in_piece, _)) = in_pieces.look(&head[at..end]) {
                    found = Some(at + in_piece);
                    prop_assert_eq!(in_pieces.bytes, at + in_piece);
                    break;
                }
                at = end;
            }
            prop_assert_eq!(found, whole);
        }
    }
}
