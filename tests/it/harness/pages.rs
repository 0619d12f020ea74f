//! Pages of answers, as the database has them.

use super::TestResult;

/// Whether a text stands anywhere in a page, compressed or not.
pub fn is_in_page(content: &[u8], text: &str) -> TestResult<bool> {
    let answers = match content {
        [1, plain @ ..] => plain.to_vec(),
        [2, block @ ..] => lz4_flex::block::decompress_size_prepended(block)?,
        _ => return Err("a page has a format".into()),
    };
    Ok(answers.windows(text.len()).any(|octets| octets == text.as_bytes()))
}
