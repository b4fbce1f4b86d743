//! Signing a kernel image for Secure Boot (Microsoft's Authenticode for PE, RFC 2315): the digest of the program without the
//! fields that the signature itself changes, in a PKCS #7 structure behind it; and the plain kind of that structure, over
//! any bytes. The raw signature is made by `openssl`, so a key may lie wherever that reaches. No time is in it: the same key
//! over the same program gives the same bytes.

use crate::failure::Failure;
use crate::pe::{Pe, PeError};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const SIGNED_DATA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x02];
const CONTENT_TYPE: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x04];
/// `id-data`.
const DATA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x01];
/// `SPC_INDIRECT_DATA_OBJID`.
const INDIRECT: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x04];
/// `SPC_PE_IMAGE_DATAOBJ`.
const PE_IMAGE: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0F];

/// One DER element.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ ..=0x7F => out.push(short as u8),
        long => {
            let bytes = long.to_be_bytes();
            let skip = bytes.iter().take_while(|byte| **byte == 0).count();
            out.push(0x80 | (bytes.len() - skip) as u8);
            out.extend(&bytes[skip..]);
        }
    }
    out.extend(content);
    out
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, parts)
}

fn identifier(bytes: &[u8]) -> Vec<u8> {
    der(0x06, &[bytes])
}

fn algorithm(bytes: &[u8]) -> Vec<u8> {
    sequence(&[&identifier(bytes), &[5, 0]])
}

/// One element at the start of some DER, with its header.
pub(crate) fn element(bytes: &[u8]) -> Option<&[u8]> {
    let first = usize::from(*bytes.get(1)?);
    let (header, length) = match first {
        0..=0x7F => (2, first),
        0x81..=0x84 => {
            let count = first - 0x80;
            let length = bytes.get(2..2 + count)?.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            (2 + count, length)
        }
        _ => return None,
    };
    bytes.get(..header.checked_add(length)?)
}

/// What is in an element.
pub(crate) fn content(element: &[u8]) -> Option<&[u8]> {
    let header = if *element.get(1)? < 0x80 { 2 } else { 2 + usize::from(element[1] - 0x80) };
    element.get(header..)
}

/// Issuer and serial number of a certificate.
fn issuer_and_serial(certificate: &[u8]) -> Option<Vec<u8>> {
    let signed = content(element(content(element(certificate)?)?)?)?;
    // An optional version, the serial number, the signature's algorithm, the issuer.
    let version = element(signed).filter(|version| version[0] == 0xA0).map_or(0, <[u8]>::len);
    let serial = element(&signed[version..])?;
    let algorithm = element(&signed[version + serial.len()..])?;
    let issuer = element(&signed[version + serial.len() + algorithm.len()..])?;
    Some(sequence(&[issuer, serial]))
}

/// The digest that is signed.
pub fn digest(program: &[u8]) -> Result<[u8; 32], PeError> {
    let pe = Pe::parse(program)?;
    let unsigned = pe.unsigned();
    let (checksum, directory) = pe.unhashed();
    let mut hash = Sha256::new();
    hash.update(&unsigned[..checksum]);
    hash.update(&unsigned[checksum + 4..directory]);
    hash.update(&unsigned[directory + 8..]);
    // What is hashed is a multiple of eight bytes long.
    hash.update(vec![0; unsigned.len().next_multiple_of(8) - unsigned.len()]);
    Ok(hash.finalize().into())
}

/// Signs a program. `certificate` is DER; `raw` signs some bytes (RSA, PKCS #1 v1.5, SHA-256).
pub fn sign(
    program: &[u8],
    certificate: &[u8],
    raw: impl Fn(&[u8]) -> Result<Vec<u8>, Failure>,
) -> Result<Vec<u8>, Failure> {
    let about = |error: &dyn std::fmt::Display| Failure::content("the program to sign", error);
    let digest = digest(program).map_err(|error| about(&error))?;
    let signer = signer_of(certificate)?;
    let file = der(0xA0, &[&der(0xA2, &[&der(0x80, &[&[]])])]);
    let image = sequence(&[&identifier(PE_IMAGE), &sequence(&[&der(0x03, &[&[0]]), &file])]);
    let indirect = [&image[..], &sequence(&[&algorithm(SHA256), &der(0x04, &[&digest])])].concat();
    let content_info = sequence(&[&identifier(INDIRECT), &der(0xA0, &[&sequence(&[&indirect])])]);
    let inner = Sha256::digest(&indirect);
    let attributes = [
        sequence(&[&identifier(CONTENT_TYPE), &der(0x31, &[&identifier(INDIRECT)])]),
        sequence(&[&identifier(MESSAGE_DIGEST), &der(0x31, &[&der(0x04, &[&inner])])]),
    ]
    .concat();
    let signature = raw(&der(0x31, &[&attributes]))?;
    let one: &[u8] = &[2, 1, 1];
    let information = sequence(&[
        one,
        &signer,
        &algorithm(SHA256),
        &der(0xA0, &[&attributes]),
        &algorithm(RSA),
        &der(0x04, &[&signature]),
    ]);
    let data = sequence(&[
        one,
        &der(0x31, &[&algorithm(SHA256)]),
        &content_info,
        &der(0xA0, &[certificate]),
        &der(0x31, &[&information]),
    ]);
    let whole = sequence(&[&identifier(SIGNED_DATA), &der(0xA0, &[&data])]);
    Pe::parse(program).and_then(|pe| pe.with_certificate(&whole)).map_err(|error| about(&error))
}

/// A signature over some bytes that lie elsewhere (RFC 2315, section 9: no content, no attributes, no certificates): what the
/// kernel takes behind a module, and no other kind.
pub fn detached(
    bytes: &[u8],
    certificate: &[u8],
    raw: impl Fn(&[u8]) -> Result<Vec<u8>, Failure>,
) -> Result<Vec<u8>, Failure> {
    let one: &[u8] = &[2, 1, 1];
    let signature = der(0x04, &[&raw(bytes)?]);
    let information = sequence(&[one, &signer_of(certificate)?, &algorithm(SHA256), &algorithm(RSA), &signature]);
    let digests = der(0x31, &[&algorithm(SHA256)]);
    let data = sequence(&[one, &digests, &sequence(&[&identifier(DATA)]), &der(0x31, &[&information])]);
    Ok(sequence(&[&identifier(SIGNED_DATA), &der(0xA0, &[&data])]))
}

fn signer_of(certificate: &[u8]) -> Result<Vec<u8>, Failure> {
    issuer_and_serial(certificate).ok_or_else(|| Failure::content("the certificate", "it is no X.509"))
}

/// Signs with a key and a certificate in PEM, by `openssl`.
pub fn sign_with_openssl(program: &[u8], key: &Path, certificate: &Path) -> Result<Vec<u8>, Failure> {
    sign(program, &der_of(certificate)?, |bytes| raw_with_openssl(bytes, key))
}

/// The same for a [`detached`] signature.
pub fn detached_with_openssl(bytes: &[u8], key: &Path, certificate: &Path) -> Result<Vec<u8>, Failure> {
    detached(bytes, &der_of(certificate)?, |bytes| raw_with_openssl(bytes, key))
}

fn der_of(certificate: &Path) -> Result<Vec<u8>, Failure> {
    let mut reader = Command::new("openssl");
    output(reader.args(["x509", "-outform", "DER", "-in"]).arg(certificate), &[])
}

fn raw_with_openssl(bytes: &[u8], key: &Path) -> Result<Vec<u8>, Failure> {
    let mut signer = Command::new("openssl");
    output(signer.args(["dgst", "-sha256", "-sign"]).arg(key), bytes)
}

/// What `openssl` says to some input.
pub(crate) fn output(command: &mut Command, input: &[u8]) -> Result<Vec<u8>, Failure> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child =
        command.spawn().map_err(|_| Failure::unfit("openssl is not installed", "apt-get install openssl"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).map_err(Failure::io("speaking to openssl"))?;
    }
    let output = child.wait_with_output().map_err(Failure::io("waiting for openssl"))?;
    if !output.status.success() {
        return Err(Failure::unfit("openssl refuses; its words are above", "it reads keys and certificates in PEM"));
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pe::tests::stub;
    use proptest::prelude::*;

    /// The outline of a certificate: version, serial number, algorithm, issuer.
    fn certificate() -> Vec<u8> {
        let inner = [&der(0xA0, &[&[2, 1, 2]])[..], &[2, 1, 9], &sequence(&[]), &sequence(&[b"issuer"])].concat();
        sequence(&[&sequence(&[&inner])])
    }

    #[test]
    fn a_signed_program_has_the_same_digest_and_the_same_bytes_before_it() {
        let signed = sign(&stub(), &certificate(), |_| Ok(vec![7; 256])).unwrap();
        assert_eq!(digest(&signed), digest(&stub()));
        let pe = Pe::parse(&signed).unwrap();
        assert!(pe.is_signed());
        assert_eq!(pe.unsigned(), stub());
        assert_eq!(sign(&signed, &certificate(), |_| Ok(vec![7; 256])).unwrap(), signed);
    }

    #[test]
    fn any_other_program_has_another_digest() {
        let mut other = stub();
        other[1100] ^= 1;
        assert_ne!(digest(&other), digest(&stub()));
    }

    #[test]
    fn issuer_and_serial_are_found() {
        assert_eq!(issuer_and_serial(&certificate()), Some(sequence(&[&sequence(&[b"issuer"]), &[2, 1, 9]])));
    }

    proptest! {
        #[test]
        fn damaged_certificates_are_refused_or_read(bytes: Vec<u8>, at in 0_usize..30, value: u8) {
            let mut damaged = certificate();
            let at = at % damaged.len();
            damaged[at] = value;
            let _ = (issuer_and_serial(&bytes), issuer_and_serial(&damaged));
        }
    }
}
