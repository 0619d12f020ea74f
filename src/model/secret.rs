//! Secrets of tokens, and what is kept of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a secret.
pub type Digest = [u8; 32];

/// What the secrets of tokens begin with, so that people and scanners know one where they meet it.
const TOKEN_PREFIX: &str = "creel_";

/// Bytes of chance in a secret. With so many nobody tries them out, and a plain hash is as good as a slow one.
pub const SECRET_BYTES: usize = 32;

/// The secret of a new token. It is shown once, and only its digest is kept.
pub fn fresh_token() -> String {
    format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()))
}

/// What is kept of a secret.
pub fn digest(secret: &str) -> Digest {
    Sha256::digest(secret.as_bytes()).into()
}

/// Whether a text can be the secret of a token of the database. The others need not be looked for.
pub fn is_token(text: &str) -> bool {
    let secret = text.strip_prefix(TOKEN_PREFIX).and_then(|secret| URL_SAFE_NO_PAD.decode(secret).ok());
    secret.is_some_and(|secret| secret.len() == SECRET_BYTES)
}

/// Bytes that nobody can foresee: the thread's generator is a cryptographic one, seeded by the system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_form() {
        let token = fresh_token();
        assert!(is_token(&token) && token != fresh_token());
        assert_eq!(token.len(), 6 + 43);
        for other in
            ["", "creel_", "creel_short", &token[6..], &format!("{token}A"), &token[..token.len() - 1]]
        {
            assert!(!is_token(other), "{other}");
        }
    }
}
