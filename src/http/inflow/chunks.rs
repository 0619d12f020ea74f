//! Where a body in chunks ends (RFC 9112, section 7.1).

/// Chunks that are handed on at a time: each takes as much again as its shortest.
const AT_A_TIME: usize = 64;

/// How far such a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// Within a chunk's size.
    Size(u64),
    /// Behind it, within its line.
    Extension(u64),
    Data(u64),
    /// Behind the data, within the line that it ends with.
    DataEnd,
    /// Behind the last chunk: whether the line has something in it.
    Trailer(bool),
    End,
}

impl Chunks {
    pub const BEGIN: Self = Self::Size(0);

    /// Goes over what has come; how much of that is of the body, and is to be handed on at a time.
    pub fn look(&mut self, bytes: &[u8]) -> usize {
        let (mut at, mut begun) = (0, 0);
        while at < bytes.len() && *self != Self::End {
            if let Self::Data(left) = *self {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += here;
                *self = if here as u64 == left { Self::DataEnd } else { Self::Data(left - here as u64) };
                continue;
            }
            if *self == Self::BEGIN {
                if begun == AT_A_TIME {
                    break;
                }
                begun += 1;
            }
            *self = self.behind(bytes[at]);
            at += 1;
        }
        at
    }

    fn behind(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Size(0) | Self::Extension(0), b'\n') => Self::Trailer(false),
            (Self::Size(size) | Self::Extension(size), b'\n') => Self::Data(size),
            (Self::Size(size), byte) => match char::from(byte).to_digit(16) {
                Some(digit) => Self::Size(size.saturating_mul(16).saturating_add(digit.into())),
                None => Self::Extension(size),
            },
            (Self::DataEnd, b'\n') => Self::BEGIN,
            (Self::Trailer(false), b'\n') => Self::End,
            (Self::Trailer(true), b'\n') => Self::Trailer(false),
            (Self::Trailer(false), b'\r') => Self::Trailer(false),
            (Self::Trailer(_), _) => Self::Trailer(true),
            (other, _) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_ends_behind_its_last_chunk() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "00a;x=\"1\"\r\n0123456789\r\n1\n\n\n0\n\n",
            "1\r\nX\r\n0;last\r\nA: b\r\nC:\r\n\r\n",
        ] {
            let mut chunks = Chunks::BEGIN;
            assert_eq!(chunks.look(format!("{body}GET / HTTP/1.1\r\n").as_bytes()), body.len(), "{body:?}");
            assert_eq!(chunks, Chunks::End);
        }
        let mut chunks = Chunks::BEGIN;
        assert_eq!(chunks.look(b"ffffffffffffffffffff\r\nabc"), 25);
        assert_eq!(chunks, Chunks::Data(u64::MAX - 3));
    }

    #[test]
    fn tiny_chunks_come_a_few_at_a_time() {
        let body = "1\r\nX\r\n".repeat(100) + "0\r\n\r\n";
        let mut chunks = Chunks::BEGIN;
        let first = chunks.look(body.as_bytes());
        assert_eq!(first, 6 * AT_A_TIME);
        assert_eq!(first + chunks.look(&body.as_bytes()[first..]), body.len());
        assert_eq!(chunks, Chunks::End);
    }

    proptest! {
        /// However it comes in pieces, it ends at the same place.
        #[test]
        fn pieces_make_no_difference(
            sizes in prop::collection::vec(1usize..40, 0..9),
            cuts in prop::collection::vec(1usize..30, 400),
        ) {
            let data = |size: &usize| format!("{size:x}\r\n{}\r\n", "0\n\r".repeat(14).split_at(*size).0);
            let body = sizes.iter().map(data).collect::<String>() + "0\r\n\r\n";
            let whole = body.clone() + "0\r\n\r\nGET";
            let (mut chunks, mut at) = (Chunks::BEGIN, 0);
            for cut in cuts {
                let end = (at + cut).min(whole.len());
                at += chunks.look(&whole.as_bytes()[at..end]);
            }
            prop_assert_eq!((at, chunks), (body.len(), Chunks::End));
        }
    }
}
