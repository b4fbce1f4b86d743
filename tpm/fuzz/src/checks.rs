//! What must hold of any bytes that claim to come from a TPM: its answers, its quotes, its firmware's event log.

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use tpm::endorsement::{self, CERTIFICATE_BYTES_MAX, CHAIN_BYTES_MAX, CHAIN_MAX, Challenge, SECRET_BYTES_MAX, Slot};
use tpm::event_log::EventLog;
use tpm::pcr::PCR_MAX;
use tpm::quote::{self, Quote, QuoteError};
use tpm::seal::{self, Blob};
use tpm::{Answer, Command, Tpm};

/// Most bytes that a TPM is made to answer: a socket takes them before anybody reads.
const ANSWERS_MAX: usize = 32 << 10;
/// TPMT_PUBLIC of an attestation key, up to its point.
pub const KEY: [u8; 20] = [0x00, 0x23, 0x00, 0x0b, 0, 5, 4, 0x72, 0, 0, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10];

/// Bytes behind a length of two bytes, for as many as there are.
pub fn parts(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (part, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        bytes = rest;
        Some(part)
    })
}

/// A TPM answers what somebody wrote down beforehand: the first byte says what it is asked, each part is an answer.
pub fn answers(bytes: &[u8]) {
    raw(bytes);
    let Some((wish, rest)) = bytes.split_first() else { return };
    let answers: Vec<u8> = parts(rest).flat_map(mended).take(ANSWERS_MAX).collect();
    let Some(mut tpm) = scripted(&answers) else { return };
    match wish % 6 {
        0 => {
            if let Ok(quote) = quote::quote(&mut tpm, &[7, 11], &[9; 32]) {
                quote.verify().expect("what is given out was verified");
            }
        }
        1 => {
            if let Ok(endorsement) = endorsement::read(&mut tpm) {
                assert!(endorsement.certificates.iter().all(|found| found.der.len() <= CERTIFICATE_BYTES_MAX));
                assert!(endorsement.certificates.len() <= Slot::ALL.len() && endorsement.chain.len() <= CHAIN_MAX);
                assert!(endorsement.chain.iter().map(Vec::len).sum::<usize>() <= CHAIN_BYTES_MAX);
            }
        }
        2 => {
            let challenge = Challenge { slot: Slot::P256, identity: vec![1; 66], seed: vec![2; 68] };
            let _ = endorsement::activate(&mut tpm, &challenge);
        }
        3 => drop(seal::seal(&mut tpm, &[7], &[3; SECRET_BYTES_MAX])),
        4 => {
            let blob = Blob { parent: vec![0; 34], public: vec![4; 60], private: vec![5; 160] };
            drop(seal::unseal(&mut tpm, &[7], &blob));
        }
        _ => {
            if let Ok(registers) = quote::read(&mut tpm, &[0, 7, 23]) {
                assert_eq!(registers.keys().copied().collect::<Vec<_>>(), [0, 7, 23]);
            }
        }
    }
}

/// One answer as it is, to each kind of command, read to its end.
fn raw(bytes: &[u8]) {
    for (authorised, handle) in [(false, false), (false, true), (true, false), (true, true)] {
        let command = Command::new("any", 1, &[1], authorised);
        let command = if handle { command.returning_a_handle() } else { command };
        let Ok(Ok(mut answer)) = Answer::parse(bytes, &command) else { continue };
        assert_eq!(answer.handle().is_some(), handle);
        while answer.sized().is_ok_and(|part| !part.is_empty()) {}
        assert!(answer.rest().len() <= bytes.len());
    }
}

/// The length in the header is right, and no answer says *later*, for which a driver waits.
fn mended(answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    answer.resize(answer.len().max(10), 0);
    let length = (answer.len() as u32).to_be_bytes();
    answer[2..6].copy_from_slice(&length);
    if answer[6..9] == [0, 0, 9] {
        answer[8] = 1;
    }
    answer
}

/// A TPM behind a socket that has all answers in it.
fn scripted(answers: &[u8]) -> Option<Tpm> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("stele-tpm-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path).ok()?;
    let tpm = Tpm::open(&path).ok();
    let accepted = listener.accept().ok();
    let _ = std::fs::remove_file(&path);
    let (mut peer, _) = accepted?;
    peer.write_all(answers).ok()?;
    peer.shutdown(Shutdown::Write).ok()?;
    // What the TPM is asked is of no interest, but nobody waits until it is taken.
    std::thread::spawn(move || std::io::copy(&mut peer, &mut std::io::sink()));
    tpm
}

/// A quote in parts: key, statement, signature, then one for each register, its number and its value. It is judged as it is;
/// and as by somebody who has a key of his own, so that what is behind the signature is reached.
pub fn quote(bytes: &[u8]) {
    let mut parts = parts(bytes);
    let mut next = || parts.next().unwrap_or_default().to_vec();
    let (key, statement, signature) = (next(), next(), next());
    let register = |part: &[u8]| Some((*part.first()?, part.get(1..)?.try_into().ok()?));
    let registers: BTreeMap<u8, [u8; 32]> = parts.by_ref().filter_map(register).collect();
    let _ = quote::name_of_key(&key);
    let quote = Quote { key, statement, signature, registers };
    judge(&quote);
    let signer = SigningKey::from_slice(&[7; 32]).expect("a scalar");
    let signature: Signature = signer.sign(&quote.statement);
    let (r, s) = (signature.r().to_bytes(), signature.s().to_bytes());
    let signature = [&[0, 0x18, 0, 0x0b, 0, 32][..], &r, &[0, 32], &s].concat();
    let forged = Quote { key: key_of(&signer), signature, ..quote };
    assert_ne!(forged.verify(), Err(QuoteError::Signature));
    judge(&forged);
}

/// TPMT_PUBLIC of a key.
pub fn key_of(signer: &SigningKey) -> Vec<u8> {
    let point = signer.verifying_key().to_sec1_point(false);
    let (x, y) = (&point.as_bytes()[1..33], &point.as_bytes()[33..]);
    [&KEY[..], &[0, 32], x, &[0, 32], y].concat()
}

fn judge(quote: &Quote) {
    let Ok(statement) = quote.verify() else { return };
    assert_eq!(statement.key_name, quote.key_name());
    assert!(quote.registers.keys().all(|register| *register <= PCR_MAX));
    let mut altered = quote.clone();
    match altered.registers.values_mut().next() {
        Some(value) => value[0] ^= 1,
        None => drop(altered.registers.insert(0, [0; 32])),
    }
    assert_eq!(altered.verify(), Err(QuoteError::Registers));
}

/// A log is read or refused; what is read adds up to registers that there are.
pub fn event_log(bytes: &[u8]) {
    let Ok(log) = EventLog::parse(bytes) else { return };
    let registers = log.replay();
    assert!(registers.keys().all(|register| *register <= PCR_MAX) && registers.len() <= log.events.len());
}
