//! A request's headers as one block of bytes, every value of a repeated name and any octet kept.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Header fields as lines `name: value` ended by CR LF (RFC 9112, section 5). A name has no colon and a
/// value neither CR nor LF, so the block is unambiguous.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderBlock(Bytes);

/// Collects fields into a [`HeaderBlock`].
#[derive(Debug, Default)]
pub struct HeaderBlockBuilder(Vec<u8>);

impl HeaderBlockBuilder {
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Appends a field. The name must be a token and the value free of CR and LF, as any HTTP parser
    /// that handed them over has made sure.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.0.reserve(name.len() + value.len() + 4);
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }

    pub fn finish(self) -> HeaderBlock {
        HeaderBlock(self.0.into())
    }
}

impl HeaderBlock {
    /// Takes a block as it was kept. Lines that are no fields are passed over by [`Self::iter`].
    pub fn from_kept(block: Bytes) -> Self {
        Self(block)
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The fields in their order: name (lower case, as the parser gives them) and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = find(rest, b"\r\n").unwrap_or(rest.len());
                let line = &rest[..end];
                rest = &rest[(end + 2).min(rest.len())..];
                if let Some(colon) = find(line, b": ") {
                    return Some((&line[..colon], &line[colon + 2..]));
                }
            }
            None
        })
    }

    /// The first value of a name, which is compared without regard to case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }
}

fn find(haystack: &[u8], needle: &[u8; 2]) -> Option<usize> {
    memchr::memchr_iter(needle[0], haystack).find(|at| haystack.get(at + 1) == Some(&needle[1]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field() -> impl Strategy<Value = (String, Vec<u8>)> {
        let octet = any::<u8>().prop_filter("no line ends within a value", |b| !b"\r\n".contains(b));
        ("[!#$%&'*+.^_`|~0-9a-z-]{1,20}", prop::collection::vec(octet, 0..40))
    }

    proptest! {
        #[test]
        fn fields_come_back_as_they_were(fields in prop::collection::vec(field(), 0..20)) {
            let mut builder = HeaderBlockBuilder::default();
            for (name, value) in &fields {
                builder.push(name.as_bytes(), value);
            }
            let block = HeaderBlock::from_kept(builder.finish().as_bytes().clone());
            let found: Vec<_> = block.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            let expected: Vec<_> =
                fields.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect();
            prop_assert_eq!(found, expected);
            for (name, _) in &fields {
                let first = fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_slice());
                prop_assert_eq!(block.get(&name.to_ascii_uppercase()), first);
            }
        }

        /// Also of what no builder has made.
        #[test]
        fn any_octets_are_read_to_their_end(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let block = HeaderBlock::from_kept(octets.clone().into());
            let bytes: usize = block.iter().map(|(name, value)| name.len() + 2 + value.len()).sum();
            prop_assert!(bytes <= octets.len());
        }
    }
}
