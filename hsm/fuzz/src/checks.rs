//! What must hold of any bytes that claim to be a script or a transcript of a key ceremony, an attestation, a frame between
//! node and signer, or the mark of a guard.

use hsm::attestation::Attestation;
use hsm::ceremony::entry::{self, Entry, Event};
use hsm::ceremony::verify::{replay, verify};
use hsm::ceremony::{Invalid, Mode, Report, Script, paper};
use hsm::guard::Mark;
use hsm::handshake;
use hsm::protocol::{Request, Response};
use types::codec::{Decode, Encode};

/// A script parses or is refused; what parses can be printed.
pub fn script(bytes: &[u8]) {
    if let Ok(script) = Script::parse(bytes) {
        let text = std::str::from_utf8(bytes).expect("a script is text");
        assert!(paper::html(&script, text).contains("</html>"));
        assert!(script.roles.iter().all(|role| (1..=role.officers.len()).contains(&role.quorum)));
    }
}

/// Bytes are judged as they are; and as somebody would who can mend hashes, so that the rules behind them are reached.
pub fn transcript(bytes: &[u8]) {
    judge(bytes);
    let Some(mended) = mended(bytes) else { return };
    judge(&mended);
    // Whatever the rules say, it is not about the hashes any more.
    if let Err(Invalid::Entry { reason, .. }) = replay(&mended).map(drop) {
        assert_ne!(reason, hsm::ceremony::Refusal::Hash);
    }
}

fn judge(bytes: &[u8]) {
    let verdict = verify(bytes, None);
    let report = Report::of(&verdict);
    assert_eq!(report.valid, verdict.is_ok());
    match &verdict {
        Ok(ceremony) => {
            assert_eq!(ceremony.signers().len(), ceremony.officers().len());
            assert_eq!(ceremony.finished().len(), ceremony.script().steps.len());
        }
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
}

/// Every line that holds an entry, numbered and hashed anew.
fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let entries: Vec<_> = lines.filter_map(|line| Entry::parse(entry::split(line).ok()?.1).ok()).collect();
    let rehearsal = matches!(&entries.first()?.event, Event::Start(start) if start.rehearsal);
    let (mut out, mut head) = (Vec::new(), [0; 32]);
    for (n, entry) in (0..).zip(entries) {
        let text = Entry { n, ..entry }.text();
        head = entry::hash(Mode::of(rehearsal), &head, &text);
        out.extend_from_slice(entry::line(&head, &text).as_bytes());
    }
    Some(out)
}

/// An attestation decodes from one encoding alone, and is believed or not.
pub fn attestation(bytes: &[u8]) {
    let Ok(attestation) = Attestation::from_bytes(bytes) else { return };
    assert_eq!(attestation.to_bytes(), bytes);
    // Of two nonces at most one is the one that was asked with.
    let mut otherwise = attestation.clone();
    otherwise.nonce[0] ^= 1;
    assert!(attestation.verify().is_err() || otherwise.verify().is_err());
}

/// A request or an answer decodes from one encoding alone: what a signer reads from a node, and a node from a signer.
pub fn signer_frames(bytes: &[u8]) {
    if let Ok(request) = Request::from_bytes(bytes) {
        assert_eq!(request.to_bytes(), bytes);
        if let Request::SignHandshake { transcript } = &request {
            let _ = handshake::check(transcript);
        }
    }
    if let Ok(response) = Response::from_bytes(bytes) {
        assert_eq!(response.to_bytes(), bytes);
    }
}

/// A mark is read or refused; what is read is written as it was understood.
pub fn guard_mark(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(mark) = Mark::parse(text) else { return };
    assert_eq!(Mark::parse(&mark.to_json()).expect("it was just written").floor(), mark.floor());
}
