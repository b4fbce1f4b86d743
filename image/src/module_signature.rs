//! The signature behind a kernel module (`Documentation/admin-guide/module-signing.rst`, `struct module_signature` of
//! `include/linux/module_signature.h`): the module, a detached PKCS #7 signature over it, twelve bytes that say so, and a
//! line of text by which the kernel knows that they are there.
//!
//! Under lockdown the kernel takes a module when it knows the certificate: one that it was built with, or, as the
//! distribution has changed it, one that the firmware's db has while Secure Boot is enforced.

use crate::failure::Failure;
use crate::sign;
use image_formats::field::bytes_at;
use std::path::Path;

/// `MODULE_SIG_STRING`.
const MARK: &[u8] = b"~Module signature appended~\n";
/// `PKEY_ID_PKCS7`.
const PKCS7: u8 = 2;
/// Bytes of `struct module_signature`.
const TRAILER: usize = 12;

/// A module with its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The module.
    pub module: &'a [u8],
    /// The signature over it, in DER.
    pub signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes a file apart; `None` where no signature of the one kind that is left is behind it.
    pub fn parse(file: &'a [u8]) -> Option<Self> {
        let rest = file.strip_suffix(MARK)?;
        let (rest, trailer) = rest.split_at_checked(rest.len().checked_sub(TRAILER)?)?;
        let length = u32::from_be_bytes(bytes_at(trailer, 8, 4)?.try_into().ok()?);
        // All other fields are zero with this kind.
        if trailer[2] != PKCS7 || trailer[..8].iter().filter(|byte| **byte != 0).count() != 1 {
            return None;
        }
        let (module, signature) = rest.split_at_checked(rest.len().checked_sub(length as usize)?)?;
        Some(Self { module, signature })
    }
}

/// Puts a signature behind a module. One that is there goes: the operator answers for what runs, not who built it.
pub fn append(file: &[u8], key: &Path, certificate: &Path) -> Result<Vec<u8>, Failure> {
    let module = Signed::parse(file).map_or(file, |signed| signed.module);
    Ok(join(module, &sign::detached_with_openssl(module, key, certificate)?))
}

fn join(module: &[u8], signature: &[u8]) -> Vec<u8> {
    let length = u32::try_from(signature.len()).expect("a signature is some hundred bytes long");
    let mut trailer = [0; TRAILER];
    trailer[2] = PKCS7;
    trailer[8..].copy_from_slice(&length.to_be_bytes());
    [module, signature, &trailer, MARK].concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;
    use std::process::Command;

    /// A key and its certificate in a folder.
    pub(crate) fn key_in(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (key, certificate) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj"]);
        openssl.arg(format!("/CN={name}")).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        assert!(openssl.output().unwrap().status.success());
        (key, certificate)
    }

    /// Whether `openssl` finds that a certificate's key has signed the module, as the kernel would.
    fn openssl_agrees(folder: &Path, signed: Signed<'_>, certificate: &Path) -> bool {
        let (content, signature) = (folder.join("module"), folder.join("signature"));
        std::fs::write(&content, signed.module).unwrap();
        std::fs::write(&signature, signed.signature).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args(["cms", "-verify", "-binary", "-inform", "DER", "-nointern", "-noverify", "-in"]).arg(&signature);
        openssl.arg("-content").arg(&content).arg("-certfile").arg(certificate).args(["-out", "/dev/null"]);
        openssl.output().unwrap().status.success()
    }

    #[test]
    fn openssl_verifies_what_was_signed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = key_in(folder.path(), "one");
        let (_, other) = key_in(folder.path(), "other");
        let file = append(b"a module", &key, &certificate).unwrap();
        let signed = Signed::parse(&file).unwrap();
        assert_eq!(signed.module, b"a module");
        assert!(openssl_agrees(folder.path(), signed, &certificate));
        assert!(!openssl_agrees(folder.path(), signed, &other));
        assert!(!openssl_agrees(folder.path(), Signed { module: b"b module", ..signed }, &certificate));
    }

    #[test]
    fn a_signature_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = key_in(folder.path(), "one");
        let once = append(b"a module", &key, &certificate).unwrap();
        assert_eq!(append(&once, &key, &certificate).unwrap(), once);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_signed_module_or_none(bytes: Vec<u8>, trailer: [u8; TRAILER]) {
            let file = [&bytes[..], &trailer, MARK].concat();
            if let Some(signed) = Signed::parse(&file) {
                prop_assert_eq!(join(signed.module, signed.signature), file);
            }
            prop_assert_eq!(Signed::parse(&bytes), None);
        }
    }
}
