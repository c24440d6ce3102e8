//! Looks for secrets in every form that they may have leaked in.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use super::{CLIENT_SECRETS, SECRETS, SIGNATURE, TOKEN};
use crate::support::process::Ended;

pub(super) fn encodings(secret: &str) -> Vec<String> {
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let reserved = form
        .replace('+', "%20")
        .replace("%7E", "~")
        .replace("%2A", "*");
    let every = |hex: fn(u8) -> String| secret.bytes().map(hex).collect::<String>();
    vec![
        secret.to_owned(),
        reserved.clone(),
        form.clone(),
        reserved.to_lowercase(),
        form.to_lowercase(),
        every(|byte| format!("%{byte:02X}")),
        every(|byte| format!("%{byte:02x}")),
        STANDARD.encode(secret),
        URL_SAFE.encode(secret),
    ]
}

/// Everything that must not be found: each secret raw, in parts, percent-encoded, form-encoded,
/// and in base64 wherever it begins.
pub(super) fn needles(secret: &str) -> Vec<String> {
    let mut needles = encodings(secret);
    for part in secret.as_bytes().chunks_exact(12) {
        needles.push(String::from_utf8(part.to_vec()).unwrap());
    }
    for text in encodings(secret).drain(..3) {
        for offset in 0..3 {
            let shifted = [vec![0; offset], text.clone().into_bytes()].concat();
            // Without the characters that depend on the bytes before and after it.
            let (start, end) = ((offset * 8_usize).div_ceil(6), shifted.len() * 8 / 6);
            needles.push(STANDARD_NO_PAD.encode(&shifted)[start..end].to_owned());
            needles.push(URL_SAFE_NO_PAD.encode(&shifted)[start..end].to_owned());
        }
    }
    needles
}

pub(super) fn assert_clean(whose: &str, text: &str) {
    for secret in SECRETS
        .iter()
        .chain(&CLIENT_SECRETS)
        .chain(&[TOKEN, SIGNATURE])
    {
        for needle in needles(secret) {
            assert!(
                !text.contains(&needle),
                "{needle} of {secret} in {whose}:\n{text}"
            );
        }
    }
}

pub(super) fn assert_clean_output(whose: &str, ended: &Ended) {
    assert_clean(whose, &ended.stdout);
    assert_clean(whose, &ended.stderr);
}
