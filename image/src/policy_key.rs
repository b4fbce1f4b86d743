//! Signing the policies under which a sealed state opens: for each state that a kernel image boots into, a signature by the
//! policy key. It is made by `openssl`, so the key may lie wherever that reaches.
//!
//! The key is one of its own, not that of Secure Boot: a firmware wants RSA, and a change of what it trusts must not be a
//! change of who may open the state.

use crate::failure::Failure;
use crate::sign::{content, element, output};
use crate::uki::policies_of;
use image_formats::policies::{self, Policy};
use std::path::{Path, PathBuf};
use std::process::Command;
use tpm::authorised::{PolicyDigest, PolicyKey, SignedPolicy};

/// The pair, as far as it is known here.
#[derive(Clone, Debug)]
pub struct Signatory {
    path: PathBuf,
    /// Public half, in PEM.
    pub pem: Vec<u8>,
    /// The same.
    pub key: PolicyKey,
}

impl Signatory {
    /// Reads the public half of a key.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let mut reader = Command::new("openssl");
        let pem = output(reader.args(["pkey", "-pubout", "-in"]).arg(path), &[])?;
        let point = policies::point(&pem).ok().and_then(|point| PolicyKey::from_point(&point));
        let help = "`openssl ecparam -name prime256v1 -genkey -noout -out FILE` makes one";
        let key = point.ok_or_else(|| Failure::unfit(format!("{} is no P-256 key", path.display()), help))?;
        Ok(Self { path: path.to_owned(), pem, key })
    }

    /// The content of `.pcrsig` for a kernel image.
    pub fn sign(&self, pcr11: &[u8; 32], line: &str) -> Result<Vec<u8>, Failure> {
        let signed: Result<Vec<Policy>, Failure> =
            policies_of(pcr11, line).iter().map(|digest| self.approve(digest)).collect();
        Ok(policies::encode(&signed?))
    }

    fn approve(&self, digest: &PolicyDigest) -> Result<Policy, Failure> {
        let mut signer = Command::new("openssl");
        signer.args(["dgst", "-sha256", "-sign"]).arg(&self.path);
        let der = output(&mut signer, &PolicyKey::message(digest))?;
        let signature = plain(&der)
            .filter(|signature| self.key.has_signed(&SignedPolicy { policy: *digest, signature: *signature }));
        let signature =
            signature.ok_or_else(|| Failure::content("openssl", "what it made is no signature of this key"))?;
        Ok(Policy { digest: *digest, signature })
    }
}

/// r and s of a signature in DER (RFC 3279, Ecdsa-Sig-Value).
fn plain(der: &[u8]) -> Option<[u8; 64]> {
    let numbers = content(element(der).filter(|all| all[0] == 0x30)?)?;
    let r = element(numbers)?;
    let s = element(numbers.get(r.len()..)?)?;
    let mut out = [0; 64];
    for (place, number) in out.chunks_exact_mut(32).zip([r, s]) {
        let digits = content(number).filter(|_| number[0] == 2)?;
        // A zero before it where it would be negative otherwise; none of those that a fixed length wants.
        let digits = &digits[digits.iter().take_while(|digit| **digit == 0).count()..];
        place.get_mut(32_usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_made_as_long_as_a_coordinate() {
        let der = [&[0x30, 0x27, 2, 0x21, 0][..], &[0xFF; 32], &[2, 2, 0x01, 0x02]].concat();
        let mut expected = [0; 64];
        expected[..32].fill(0xFF);
        expected[62..].copy_from_slice(&[1, 2]);
        assert_eq!(plain(&der), Some(expected));
        let too_long = [&[0x30, 0x28, 2, 0x22, 1][..], &[0xFF; 33], &[2, 2, 0x01, 0x02]].concat();
        assert_eq!(plain(&too_long), None);
    }

    /// With the system's `openssl`, which the build needs as well.
    #[test]
    fn what_openssl_signs_is_what_a_kernel_image_is_checked_for() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, arguments: &[&str]| {
            let path = folder.path().join(name);
            let status = Command::new("openssl").args(arguments).arg("-out").arg(&path).output().unwrap().status;
            assert!(status.success());
            path
        };
        let path = make("key", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"]);
        let signatory = Signatory::open(&path).unwrap();
        let signed = policies::decode(&signatory.sign(&[9; 32], "quiet").unwrap()).unwrap();
        assert_eq!(signed.len(), 3);
        for (policy, digest) in signed.iter().zip(policies_of(&[9; 32], "quiet")) {
            let signed = SignedPolicy { policy: policy.digest, signature: policy.signature };
            assert!(policy.digest == digest && signatory.key.has_signed(&signed));
        }
        let other = make("other", &["ecparam", "-name", "secp384r1", "-genkey", "-noout"]);
        assert!(Signatory::open(&other).unwrap_err().to_string().contains("is no P-256 key"));
    }

    proptest! {
        #[test]
        fn nothing_makes_the_reader_panic(bytes: Vec<u8>, length in 0_u8..80) {
            let _ = (plain(&bytes), plain(&[&[0x30, length, 2][..], &bytes].concat()));
        }
    }
}
