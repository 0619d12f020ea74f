//! Encodings and digests, of a text's UTF-8 bytes.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::Digest;

use super::{Given, Helper, Run};
use crate::rules::template::value::Datum;

/// All but what RFC 3986, section 2.3 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub const TABLE: &[Helper] = &[
    Helper { name: "base64", arguments: (1, 1), options: &[], takes_missing: false, run: base64 },
    Helper {
        name: "base64Decode",
        arguments: (1, 1),
        options: &[],
        takes_missing: false,
        run: base64_decode,
    },
    Helper { name: "hex", arguments: (1, 1), options: &[], takes_missing: false, run: hex },
    Helper { name: "urlEncode", arguments: (1, 1), options: &[], takes_missing: false, run: url_encode },
    Helper { name: "urlDecode", arguments: (1, 1), options: &[], takes_missing: false, run: url_decode },
    Helper { name: "hash", arguments: (2, 2), options: &["encoding"], takes_missing: false, run: hash },
    Helper { name: "hmac", arguments: (3, 3), options: &["encoding"], takes_missing: false, run: hmac },
];

fn base64<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    Ok(Datum::text(STANDARD.encode(given.text(0)?.as_bytes())))
}

/// Both alphabets, with padding or without it.
fn base64_decode<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let text = given.text(0)?.trim().to_owned();
    let bytes = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
        .iter()
        .find_map(|alphabet| alphabet.decode(&text).ok());
    match bytes.map(String::from_utf8) {
        Some(Ok(text)) => Ok(Datum::text(text)),
        Some(Err(_)) => given.unfit("the bytes are no UTF-8"),
        None => given.unfit("the text is no base64"),
    }
}

fn hex<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    Ok(Datum::text(hex_text(given.text(0)?.as_bytes())))
}

fn url_encode<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    Ok(Datum::text(utf8_percent_encode(&given.text(0)?, RESERVED).to_string()))
}

fn url_decode<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    let decoded = percent_decode_str(&given.text(0)?).decode_utf8().map(|text| text.into_owned());
    decoded.map_or_else(|_| given.unfit("the bytes are no UTF-8"), |text| Ok(Datum::text(text)))
}

fn hash<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    given.charge_text(1)?;
    let value = given.text(1)?;
    let digest = match given.text(0)?.as_ref() {
        "md5" => md5::Md5::digest(value.as_bytes()).to_vec(),
        "sha1" => sha1::Sha1::digest(value.as_bytes()).to_vec(),
        "sha256" => sha2::Sha256::digest(value.as_bytes()).to_vec(),
        "sha512" => sha2::Sha512::digest(value.as_bytes()).to_vec(),
        _ => return unknown_digest(given),
    };
    encoded(given, &digest)
}

fn hmac<'s>(given: &mut Given<'_, 's>) -> Run<'s> {
    given.charge_text(2)?;
    let (key, value) = (given.text(1)?, given.text(2)?);
    let digest = match given.text(0)?.as_ref() {
        "md5" => keyed::<Hmac<md5::Md5>>(&key, &value),
        "sha1" => keyed::<Hmac<sha1::Sha1>>(&key, &value),
        "sha256" => keyed::<Hmac<sha2::Sha256>>(&key, &value),
        "sha512" => keyed::<Hmac<sha2::Sha512>>(&key, &value),
        _ => return unknown_digest(given),
    };
    encoded(given, &digest)
}

fn keyed<M: Mac + KeyInit>(key: &str, value: &str) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(value.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn unknown_digest<'s>(given: &Given<'_, 's>) -> Run<'s> {
    Err(given.error("the digest is one of md5, sha1, sha256 and sha512"))
}

fn encoded<'s>(given: &Given<'_, 's>, bytes: &[u8]) -> Run<'s> {
    match given.option_text("encoding")?.as_deref() {
        None | Some("hex") => Ok(Datum::text(hex_text(bytes))),
        Some("base64") => Ok(Datum::text(STANDARD.encode(bytes))),
        Some(_) => Err(given.error("encoding is hex or base64")),
    }
}

fn hex_text(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|half| char::from(DIGITS[usize::from(half)]))
        .collect()
}
