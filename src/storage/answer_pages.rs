//! Answers as they stand together in a page: a byte that says the format, then each answer, in order of their places.
//! Answers of one endpoint are much alike, so they stand there as a block of LZ4 where that is shorter.
//!
//! No SQL: [`answers`](super::answers) keeps, finds and strips pages.

use std::borrow::Cow;

use bytes::Bytes;
use lz4_flex::block;
use serde::{Deserialize, Serialize, Serializer};

use crate::model::{Answer, EndpointCode, HeaderBlock};

/// Places that one page reaches over, at most: whoever looks for an answer need not look further back.
pub const PAGE_PLACES_MAX: i64 = 10_000;

/// Bytes of a page's content, so that reading one answer reads little. An answer has less than 32 KiB. Never less than it
/// was: longer pages than this count as unreadable.
const PAGE_BYTES_MAX: usize = 256 << 10;

/// What is encoded of an answer beside its headers, body and failure, at most, in bytes.
const NUMBERS_BYTES_MAX: usize = 64;

/// Formats: the answers as they are, or as their length (four bytes, the least first) and a block of LZ4. A node that does
/// not know a format takes the page for one that is broken, and removes it with any answer in it: a new one is read by a
/// release before one writes it.
const PLAIN: u8 = 1;
const LZ4: u8 = 2;

/// Answers to captures of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub endpoint: EndpointCode,
    /// The places of the first and the last answer.
    pub first_seq: i64,
    pub last_seq: i64,
    pub content: Bytes,
}

/// Why a page cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the page's format {0:?} is not known")]
    Format(Option<u8>),
    #[error("the page is broken")]
    Broken(#[from] postcard::Error),
    #[error("the page's block is broken")]
    Block(#[from] block::DecompressError),
    #[error("the page's block is not as long as it says, {0} bytes, or too long")]
    Size(usize),
}

/// What is left of a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// None of its answers had to go.
    All,
    Some(Bytes),
    Nothing,
}

/// An answer as it is encoded. The format is this: a change of the fields is another one.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    seq: i64,
    status: u16,
    #[serde(serialize_with = "octets")]
    headers: &'a [u8],
    #[serde(serialize_with = "octets")]
    body: &'a [u8],
    body_bytes: u64,
    took_us: i64,
    failure: Option<&'a str>,
}

/// All at once, and not one by one, to the same end.
fn octets<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(octets)
}

impl<'a> Kept<'a> {
    fn of(answer: &'a Answer) -> Self {
        Self {
            seq: answer.seq,
            status: answer.status,
            headers: answer.headers.as_bytes(),
            body: &answer.body,
            body_bytes: answer.body_bytes,
            took_us: answer.took_us,
            failure: answer.failure.as_deref(),
        }
    }

    fn bytes_max(&self) -> usize {
        NUMBERS_BYTES_MAX + self.headers.len() + self.body.len() + self.failure.map_or(0, str::len)
    }

    /// The answer by itself: it holds nothing of the page.
    fn answer(&self, endpoint: &EndpointCode) -> Answer {
        Answer {
            seq: self.seq,
            endpoint: endpoint.clone(),
            status: self.status,
            headers: HeaderBlock::from_kept(Bytes::copy_from_slice(self.headers)),
            body: Bytes::copy_from_slice(self.body),
            body_bytes: self.body_bytes,
            failure: self.failure.map(str::to_owned),
            took_us: self.took_us,
        }
    }
}

/// Packs answers, which come in any order, into as few pages as may be. Of several to one capture the first one stays.
pub fn pack<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Vec<Page> {
    let mut answers: Vec<&Answer> = answers.into_iter().collect();
    answers.sort_by(|one, other| (&one.endpoint, one.seq).cmp(&(&other.endpoint, other.seq)));
    answers.dedup_by(|next, first| (&next.endpoint, next.seq) == (&first.endpoint, first.seq));
    let mut pages = Vec::new();
    let mut rest = answers.as_slice();
    while let Some(first) = rest.first() {
        let mut content = vec![PLAIN];
        let mut packed = 0;
        for answer in rest {
            let kept = Kept::of(answer);
            let fits = answer.endpoint == first.endpoint
                && answer.seq.saturating_sub(first.seq) <= PAGE_PLACES_MAX
                && content.len() + kept.bytes_max() <= PAGE_BYTES_MAX;
            if packed > 0 && !fits {
                break;
            }
            content = postcard::to_extend(&kept, content).expect("plain types, and a Vec takes them");
            packed += 1;
        }
        let (these, others) = rest.split_at(packed);
        let last_seq = these.last().map_or(first.seq, |last| last.seq);
        let endpoint = first.endpoint.clone();
        pages.push(Page { endpoint, first_seq: first.seq, last_seq, content: shortened(content) });
        rest = others;
    }
    pages
}

/// The shorter one of a plain page and what it is as a block.
fn shortened(plain: Vec<u8>) -> Bytes {
    let block = block::compress_prepend_size(&plain[1..]);
    if block.len() + 1 < plain.len() { [&[LZ4], block.as_slice()].concat().into() } else { plain.into() }
}

/// The answer to the capture at a place, where the page has it.
pub fn find(content: &[u8], endpoint: &EndpointCode, seq: i64) -> Result<Option<Answer>, Unreadable> {
    for found in unpack(&opened(content)?) {
        let (kept, _) = found?;
        if kept.seq == seq {
            return Ok(Some(kept.answer(endpoint)));
        }
    }
    Ok(None)
}

/// What is left of a page without the answers to captures that are gone, by their places.
pub fn without(content: &[u8], is_gone: impl Fn(i64) -> bool) -> Result<Left, Unreadable> {
    let answers = opened(content)?;
    let mut left = Vec::with_capacity(1 + answers.len());
    left.push(PLAIN);
    for found in unpack(&answers) {
        let (kept, encoded) = found?;
        if !is_gone(kept.seq) {
            left.extend_from_slice(encoded);
        }
    }
    Ok(match left.len() - 1 {
        0 => Left::Nothing,
        all if all == answers.len() => Left::All,
        _ => Left::Some(shortened(left)),
    })
}

/// The answers as they are, one after the other.
fn opened(content: &[u8]) -> Result<Cow<'_, [u8]>, Unreadable> {
    match content.split_first() {
        Some((&PLAIN, answers)) => Ok(answers.into()),
        Some((&LZ4, sized)) => {
            let (size, block) = block::uncompressed_size(sized)?;
            // So much is asked for at once.
            if size > PAGE_BYTES_MAX {
                return Err(Unreadable::Size(size));
            }
            let answers = block::decompress(block, size)?;
            // A block that is cut may end as if it were whole.
            if answers.len() == size { Ok(answers.into()) } else { Err(Unreadable::Size(size)) }
        }
        _ => Err(Unreadable::Format(content.first().copied())),
    }
}

type Found<'a> = Result<(Kept<'a>, &'a [u8]), Unreadable>;

/// Each answer with its bytes as they stand there; the last one may be a failure.
fn unpack(mut rest: &[u8]) -> impl Iterator<Item = Found<'_>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let these = std::mem::take(&mut rest);
        Some(postcard::take_from_bytes(these).map_err(Unreadable::Broken).map(|(kept, others)| {
            rest = others;
            (kept, &these[..these.len() - others.len()])
        }))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::header_block::HeaderBlockBuilder;

    fn code(text: &str) -> EndpointCode {
        EndpointCode::parse(text).unwrap()
    }

    prop_compose! {
        fn an_answer()(
            endpoint in "[abc]",
            seq in prop_oneof![0_i64..50, 0..60_000_i64, any::<i64>()],
            status in any::<u16>(),
            headers in prop::collection::vec(any::<u8>(), 0..40),
            body in prop::collection::vec(any::<u8>(), 0..9_000),
            body_bytes in any::<u64>(),
            failure in prop::option::of("\\PC{0,20}"),
            took_us in any::<i64>(),
        ) -> Answer {
            let headers = HeaderBlock::from_kept(headers.into());
            let (endpoint, body) = (code(&endpoint), body.into());
            Answer { seq, endpoint, status, headers, body, body_bytes, failure, took_us }
        }
    }

    /// The first answer to each capture.
    fn firsts(answers: &[Answer]) -> Vec<&Answer> {
        let mut firsts: Vec<&Answer> = Vec::new();
        for answer in answers {
            if !firsts.iter().any(|a| (&a.endpoint, a.seq) == (&answer.endpoint, answer.seq)) {
                firsts.push(answer);
            }
        }
        firsts
    }

    fn found(pages: &[Page], of: &Answer) -> Vec<Answer> {
        let pages = pages.iter().filter(|page| page.endpoint == of.endpoint);
        pages.filter_map(|page| find(&page.content, &page.endpoint, of.seq).unwrap()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn answers_come_back_as_they_were(answers in prop::collection::vec(an_answer(), 0..80)) {
            let pages = pack(&answers);
            for answer in firsts(&answers) {
                prop_assert_eq!(found(&pages, answer), [answer.clone()]);
                let over = pages.iter().filter(|page| {
                    page.endpoint == answer.endpoint && (page.first_seq..=page.last_seq).contains(&answer.seq)
                });
                prop_assert_eq!(over.count(), 1, "pages of one batch do not overlap");
            }
            for page in &pages {
                prop_assert!(page.content.len() <= PAGE_BYTES_MAX);
                prop_assert!(page.last_seq.checked_sub(page.first_seq).is_some_and(|span| span <= PAGE_PLACES_MAX));
                let places: Vec<i64> = unpack(&opened(&page.content).unwrap()).map(|kept| kept.unwrap().0.seq).collect();
                prop_assert!(places.is_sorted_by(|one, next| one < next));
                prop_assert_eq!((places.first(), places.last()), (Some(&page.first_seq), Some(&page.last_seq)));
            }
        }

        #[test]
        fn what_is_taken_out_is_gone_and_all_else_is_left(
            answers in prop::collection::vec(an_answer(), 1..40), remainder in 0..3_i64,
        ) {
            let is_gone = |seq: i64| seq.rem_euclid(3) == remainder;
            for page in pack(&answers) {
                let of_page = |answer: &&&Answer| {
                    answer.endpoint == page.endpoint && (page.first_seq..=page.last_seq).contains(&answer.seq)
                };
                let firsts = firsts(&answers);
                let staying: Vec<&Answer> =
                    firsts.iter().filter(of_page).copied().filter(|answer| !is_gone(answer.seq)).collect();
                let left = without(&page.content, is_gone).unwrap();
                // Nothing of those that are gone is in it: it is what those that stay are packed to.
                match pack(staying.iter().copied()).as_slice() {
                    [] => prop_assert_eq!(left, Left::Nothing),
                    [again] if again.content == page.content => prop_assert_eq!(left, Left::All),
                    [again] => prop_assert_eq!(left, Left::Some(again.content.clone())),
                    more => prop_assert!(false, "{} pages", more.len()),
                }
            }
        }

        #[test]
        fn octets_of_any_kind_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let beginnings: [&[u8]; 4] = [&[], &[PLAIN], &[LZ4], &[LZ4, 40, 0, 0, 0]];
            for beginning in beginnings {
                let content = [beginning, &octets].concat();
                if let Ok(Some(answer)) = find(&content, &code("a"), 0) {
                    prop_assert_eq!(answer.seq, 0);
                }
                if let Ok(Left::Some(left)) = without(&content, |seq| seq < 0) {
                    prop_assert!(opened(&left).unwrap().len() < opened(&content).unwrap().len());
                }
            }
        }
    }

    #[test]
    fn a_page_that_is_cut_or_of_another_format_is_refused() {
        let body = Bytes::from_static(b"body");
        let headers = HeaderBlock::default();
        let answer = Answer {
            seq: 7,
            endpoint: code("a"),
            status: 200,
            headers,
            body,
            body_bytes: 4,
            failure: None,
            took_us: 1,
        };
        let content = pack([&answer]).remove(0).content;
        assert!(matches!(find(&content[..content.len() - 1], &code("a"), 7), Err(Unreadable::Broken(_))));
        assert!(matches!(without(&content[..3], |_| true), Err(Unreadable::Broken(_))));
        assert!(matches!(find(&[], &code("a"), 7), Err(Unreadable::Format(None))));
        let other = [&[9], &content[1..]].concat();
        assert!(matches!(find(&other, &code("a"), 7), Err(Unreadable::Format(Some(9)))));
    }

    /// The small document, to captures whose ids differ in all that is random.
    fn alike(number: u8) -> Answer {
        let id = uuid::Uuid::new_v4();
        let body = Bytes::from(format!("{{\"id\":\"{id}\",\"endpoint\":\"a\",\"method\":\"POST\"}}\n"));
        let mut headers = HeaderBlockBuilder::default();
        headers.push(b"content-type", b"application/json");
        headers.push(b"x-creel-capture-id", id.to_string().as_bytes());
        Answer {
            seq: number.into(),
            endpoint: code("a"),
            status: 200,
            headers: headers.finish(),
            body_bytes: body.len() as u64,
            body,
            failure: None,
            took_us: 1,
        }
    }

    #[test]
    fn answers_that_are_alike_take_little() {
        let answers: Vec<Answer> = (0..100).map(alike).collect();
        let page = pack(&answers).remove(0);
        let plain = opened(&page.content).unwrap().len();
        assert!(page.content.len() * 5 < plain * 2, "{} of {plain}", page.content.len());
        assert_eq!(find(&page.content, &code("a"), 99).unwrap().as_ref(), answers.last());
        for end in 1..page.content.len() {
            assert!(
                find(&page.content[..end], &code("a"), 99).is_err(),
                "cut at {end} of {}",
                page.content.len()
            );
        }
        // One that says of itself that it is huge.
        let huge = [&[LZ4, 0xff, 0xff, 0xff, 0xff], &page.content[5..]].concat();
        assert!(matches!(find(&huge, &code("a"), 99), Err(Unreadable::Size(0xffff_ffff))));
    }

    #[test]
    fn a_page_that_is_plain_is_read() {
        let answers: Vec<Answer> = (0..100).map(alike).collect();
        let page = pack(&answers).remove(0);
        let plain = [&[PLAIN], &*opened(&page.content).unwrap()].concat();
        assert_eq!(find(&plain, &code("a"), 42).unwrap().as_ref(), Some(&answers[42]));
        assert_eq!(without(&plain, |_| false).unwrap(), Left::All);
    }
}
