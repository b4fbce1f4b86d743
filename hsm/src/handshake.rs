//! The one thing that the transport key signs: the content of a TLS 1.3 CertificateVerify (RFC 8446 §4.4.3).

use crate::refusal::Refusal;

/// Longest content in bytes: 64 of padding, 33 of context, one zero, a SHA-384 hash.
pub const CONTENT_MAX: usize = 64 + 33 + 1 + 48;

const CONTEXTS: [&[u8; 33]; 2] = [b"TLS 1.3, server CertificateVerify", b"TLS 1.3, client CertificateVerify"];

/// Accepts 64 spaces, one of the two context strings, a zero byte, and a hash of 32 or 48 bytes.
///
/// # Errors
/// [`Refusal::NotAHandshake`].
pub fn check(content: &[u8]) -> Result<(), Refusal> {
    let hash = content
        .strip_prefix(&[0x20; 64])
        .and_then(|rest| CONTEXTS.iter().find_map(|context| rest.strip_prefix(*context)))
        .and_then(|rest| rest.strip_prefix(&[0]));
    match hash.map(<[u8]>::len) {
        Some(32 | 48) => Ok(()),
        _ => Err(Refusal::NotAHandshake),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(context: &[u8], hash: usize) -> Vec<u8> {
        [&[0x20; 64], context, &[0], &vec![7; hash]].concat()
    }

    #[test]
    fn only_certificate_verify_content_is_accepted() {
        for context in CONTEXTS {
            assert_eq!(check(&content(context, 32)), Ok(()));
            assert_eq!(check(&content(context, 48)), Ok(()));
            assert_eq!(content(context, 48).len(), CONTENT_MAX);
            for length in [0, 31, 33, 47, 49, 64] {
                assert_eq!(check(&content(context, length)), Err(Refusal::NotAHandshake));
            }
        }
        assert_eq!(check(&content(b"TLS 1.3, exporter CertificateVerif", 32)), Err(Refusal::NotAHandshake));
        let mut unpadded = content(CONTEXTS[0], 32);
        unpadded[63] = 0;
        assert_eq!(check(&unpadded), Err(Refusal::NotAHandshake));
        assert_eq!(check(&[]), Err(Refusal::NotAHandshake));
    }

    #[test]
    fn a_round_message_is_never_a_handshake() {
        let message = types::SigningMessage::round(&types::Digest::sha256(b"block"));
        assert_eq!(check(message.as_bytes()), Err(Refusal::NotAHandshake));
    }
}
