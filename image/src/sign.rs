//! Signing a kernel image for Secure Boot (Microsoft's Authenticode for PE, RFC 2315): the digest of the program without the
//! fields that the signature itself changes, in a PKCS #7 structure behind it; and the plain kind of that structure, over
//! any bytes. The raw signature is made by `openssl`, so a key may lie wherever that reaches. No time is in it: the same key
//! over the same program gives the same bytes.

use crate::failure::Failure;
use crate::pe::{Pe, PeError};
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use thiserror::Error;

const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// `rsaEncryption`, the kind of a key and, in PKCS #7, of a signature.
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

/// The elements in an element.
fn parts(element: &[u8]) -> Option<Vec<&[u8]>> {
    parts_of(content(element)?)
}

/// Elements that stand one behind the other.
fn parts_of(mut rest: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let part = element(rest)?;
        rest = &rest[part.len()..];
        parts.push(part);
    }
    Some(parts)
}

/// The fields of a certificate behind its version: serial number, the signature's algorithm, issuer, validity, subject, public
/// key, and more.
fn fields(certificate: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = parts(element(content(element(certificate)?)?)?)?;
    if fields.first()?.first() == Some(&0xA0) {
        fields.remove(0);
    }
    Some(fields)
}

/// Issuer and serial number of a certificate.
fn issuer_and_serial(certificate: &[u8]) -> Option<Vec<u8>> {
    let fields = fields(certificate)?;
    Some(sequence(&[fields.get(2)?, fields.first()?]))
}

/// Why a program's signature is none that a firmware takes, whatever keys it trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// Not a program, or not one signature of the kind that [`sign`] makes.
    #[error("its signature has another form than Secure Boot's with RSA and SHA-256, or is damaged")]
    Form,
    /// Of another program.
    #[error("its signature is over another program: it was changed after it was signed")]
    OtherProgram,
    /// The certificate's key has not made it.
    #[error("its signature is not by the certificate that it carries")]
    Forged,
}

/// What a signature consists of.
struct Signed<'a> {
    /// What is said of the program.
    indirect: &'a [u8],
    /// The digest in it.
    digest: &'a [u8],
    attributes: &'a [u8],
    /// The digest of what is said.
    inner: &'a [u8],
    public: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn parse(pkcs7: &'a [u8]) -> Option<Self> {
        let outer = parts(element(pkcs7)?)?;
        let [kind, data] = outer[..] else { return None };
        let data = parts(element(content(data)?)?)?;
        let [_, _, said, certificates, signers] = data[..] else { return None };
        let [of, said] = parts(said)?[..] else { return None };
        let indirect = content(element(content(said)?)?)?;
        let [_, digest] = parts(element(content(said)?)?)?[..] else { return None };
        let [_, digest] = parts(digest)?[..] else { return None };
        let [_, _, _, attributes, _, signature] = parts(element(content(signers)?)?)?[..] else { return None };
        let attributes = content(attributes)?;
        let inner = parts_of(attributes)?.into_iter().find_map(|attribute| match parts(attribute)?[..] {
            [kind, values] if content(kind)? == MESSAGE_DIGEST => content(element(content(values)?)?),
            _ => None,
        })?;
        let certificate = element(content(certificates)?)?;
        let public = *fields(certificate)?.get(5)?;
        let right = content(kind)? == SIGNED_DATA && content(of)? == INDIRECT;
        right.then_some(Self {
            indirect,
            digest: content(digest)?,
            attributes,
            inner,
            public,
            signature: content(signature)?,
        })
    }
}

/// Checks a program's signature against the certificate that it carries; `false` where it has none. Whether the certificate
/// is one to trust is the firmware's business.
///
/// # Errors
/// [`SignatureError`].
pub fn check(program: &[u8]) -> Result<bool, SignatureError> {
    let pe = Pe::parse(program).map_err(|_| SignatureError::Form)?;
    if !pe.is_signed() {
        return Ok(false);
    }
    let signed = pe.signature().and_then(Signed::parse).ok_or(SignatureError::Form)?;
    let digest = digest(program).map_err(|_| SignatureError::Form)?;
    if signed.digest != digest || signed.inner != Sha256::digest(signed.indirect).as_slice() {
        return Err(SignatureError::OtherProgram);
    }
    let over = der(0x31, &[signed.attributes]);
    rsa(signed.public, &over, signed.signature).map(|()| true).ok_or(SignatureError::Forged)
}

/// Whether an RSA key of 2048 to 4096 bits has made a signature (RFC 8017, section 8.2.2: PKCS #1 v1.5 with SHA-256). `public`
/// is what a certificate has.
fn rsa(public: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let [kind, key] = parts(public)?[..] else { return None };
    let [n, e] = parts(element(content(key)?.strip_prefix(&[0])?)?)?[..] else { return None };
    let number = |element| {
        let bytes = content(element)?;
        Some(bytes.strip_prefix(&[0]).unwrap_or(bytes))
    };
    let (n, e) = (number(n)?, number(e)?);
    let right = kind == algorithm(RSA) && (256..=512).contains(&n.len()) && (1..=4).contains(&e.len());
    if !right || signature.len() != n.len() {
        return None;
    }
    let modulus = Odd::new(BoxedUint::from_be_slice_vartime(n)).into_option()?;
    let signature = BoxedUint::from_be_slice_vartime(signature);
    if signature >= *modulus {
        return None;
    }
    let params = BoxedMontyParams::new_vartime(modulus);
    let opened = BoxedMontyForm::new(signature, &params).pow(&BoxedUint::from_be_slice_vartime(e)).retrieve();
    let hash = sequence(&[&algorithm(SHA256), &der(0x04, &[&Sha256::digest(message)])]);
    let mut expected = vec![0xFF; n.len()];
    let end = n.len() - hash.len();
    expected[end..].copy_from_slice(&hash);
    (expected[0], expected[1], expected[end - 1]) = (0, 1, 0);
    (*opened.to_be_bytes() == *expected).then_some(())
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
    let signed = sign(program, &der_of(certificate)?, |bytes| raw_with_openssl(bytes, key))?;
    // Now, and not by a machine in its rack.
    match check(&signed) {
        Ok(_) => Ok(signed),
        Err(_) => Err(Failure::unfit(
            format!("{} and {} do not belong together, or are not of RSA", key.display(), certificate.display()),
            "Secure Boot takes RSA of 2048 bits or more, with the certificate of the key that signs",
        )),
    }
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

    /// A key, and a certificate with its public half.
    fn pair() -> (aws_lc_rs::rsa::KeyPair, Vec<u8>) {
        use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
        use aws_lc_rs::signature::KeyPair;
        let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let names = [&sequence(&[])[..], &sequence(&[b"issuer"]), &sequence(&[]), &sequence(&[])].concat();
        let inner = [&der(0xA0, &[&[2, 1, 2]])[..], &[2, 1, 9], &names, public.as_ref()].concat();
        let certificate = sequence(&[&sequence(&[&inner])]);
        drop(public);
        (key, certificate)
    }

    fn raw(key: &aws_lc_rs::rsa::KeyPair, bytes: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; key.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        key.sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, &random, bytes, &mut signature).unwrap();
        signature
    }

    #[test]
    fn a_signature_holds_and_no_bit_of_program_or_signature_can_change() {
        let ((key, certificate), (other, _)) = (pair(), pair());
        let signed = sign(&stub(), &certificate, |bytes| Ok(raw(&key, bytes))).unwrap();
        assert_eq!((check(&signed), check(&stub())), (Ok(true), Ok(false)));
        let forged = sign(&stub(), &certificate, |bytes| Ok(raw(&other, bytes))).unwrap();
        assert_eq!(check(&forged), Err(SignatureError::Forged));
        let length = Pe::parse(&signed).unwrap().signature().unwrap().len();
        let padding = signed.len() - length + element(&signed[signed.len() - length..]).unwrap().len();
        let (checksum, directory) = Pe::parse(&signed).unwrap().unhashed();
        let mut passed = Vec::new();
        for at in
            (0..padding).filter(|at| !(checksum..checksum + 4).contains(at) && !(directory..directory + 8).contains(at))
        {
            let mut damaged = signed.clone();
            damaged[at] ^= 1;
            if check(&damaged) == Ok(true) {
                passed.push(at);
            }
        }
        // Numbers, names and algorithms that nothing here reads: the firmware looks at them.
        assert!(passed.iter().all(|at| *at >= signed.len() - length) && passed.len() < 120, "{passed:?}");
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
