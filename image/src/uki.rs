//! The unified kernel image: loader stub, kernel, initial file system and command line in one EFI program, and what the stub
//! measures of it into PCR 11 (systemd-stub 252: for each section in a fixed order its name with a zero byte, then its
//! content). A machine's PCR 11 can so be told from the file alone.
//!
//! PCR 12 is told as well: boot loader and stub extend it by the command line that is handed to the stub, and systemd-boot
//! hands on the image's own. A line of anybody else gives another value, and so opens no sealed state.

use crate::pe::{Pe, PeError};
use image_formats::boot_line::{BootLine, BootLineError};
use image_formats::policies::{self, Policy, PolicyError};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tpm::authorised::{PolicyDigest, PolicyKey, SignedPolicy, policy_of};

/// In the order in which the stub measures them.
const MEASURED: [&str; 7] = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"];
/// Sections of ours that the stub passes over, or that are the stub's own.
const UNMEASURED: [&str; 10] =
    [".text", ".reloc", ".data", ".dynamic", ".rela", ".dynsym", ".sbat", ".sdmagic", ".rodata", ".pcrsig"];

/// Why a program is not a kernel image of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UkiError {
    /// Not an EFI program.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// A section is missing or there twice.
    #[error("the kernel image must have section {0} once")]
    Section(&'static str),
    /// A section that ours never have.
    #[error("the kernel image has a section {0} that does not belong there")]
    Foreign(String),
    /// Not text.
    #[error("the command line is no text")]
    NoText,
    /// It does not say which boot loader it was built with.
    #[error("the kernel image names no boot loader")]
    NoLoader,
    /// The command line does not name a root.
    #[error(transparent)]
    Line(#[from] BootLineError),
    /// The signed policies, or the key over them.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// One of the sections `.pcrpkey` and `.pcrsig` without the other.
    #[error("the kernel image has a policy key without signed policies, or the other way round")]
    HalfAPolicy,
    /// Signatures of somebody else, or over the states of another image.
    #[error("the signed policies are not those of this kernel image, or not signed by its policy key")]
    ForeignPolicy,
}

/// What goes into a kernel image.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The loader stub.
    pub stub: &'a [u8],
    /// The kernel.
    pub linux: &'a [u8],
    /// The initial file system.
    pub initrd: &'a [u8],
    /// The command line.
    pub line: &'a str,
    /// What boot menus show and sort by.
    pub os_release: &'a str,
    /// Public half of the key under whose signatures a sealed state opens, in PEM.
    pub policy_key: Option<&'a [u8]>,
    /// What that key has signed: the content of `.pcrsig`.
    pub policies: Option<&'a [u8]>,
}

/// Assembles a kernel image.
pub fn assemble(parts: &Parts<'_>) -> Result<Vec<u8>, UkiError> {
    let mut sections = vec![(".osrel", parts.os_release.as_bytes()), (".cmdline", parts.line.as_bytes())];
    sections.extend(parts.policy_key.map(|key| (".pcrpkey", key)));
    sections.extend(parts.policies.map(|policies| (".pcrsig", policies)));
    sections.extend([(".initrd", parts.initrd), (".linux", parts.linux)]);
    Ok(Pe::parse(parts.stub)?.with_sections(&sections)?)
}

/// What a kernel image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uki<'a> {
    /// Our part of the command line.
    pub line: BootLine,
    /// All of the command line.
    pub text: &'a str,
    /// The initial file system.
    pub initrd: &'a [u8],
    /// The digest of the boot loader that it was built with, as [`crate::sign::digest`] has it.
    pub boot_loader: [u8; 32],
    /// What PCR 11 is after the stub has measured it, where nothing else extends it.
    pub pcr11: [u8; 32],
    /// The SHA-256 of the program without a signature.
    pub unsigned_sha256: [u8; 32],
    /// Whether it carries a signature.
    pub signed: bool,
    /// The key that has signed the policies of this image, all of them.
    pub policy_key: Option<PolicyKey>,
}

impl<'a> Uki<'a> {
    /// Reads a kernel image.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, UkiError> {
        let pe = Pe::parse(bytes)?;
        let known = |name: &str| MEASURED.contains(&name) || UNMEASURED.contains(&name);
        if let Some(foreign) = pe.sections.iter().find(|section| !known(&section.name)) {
            return Err(UkiError::Foreign(foreign.name.clone()));
        }
        let one = |name| pe.section(name).ok_or(UkiError::Section(name));
        one(".linux")?;
        let text = std::str::from_utf8(one(".cmdline")?).map_err(|_| UkiError::NoText)?;
        let pcr11 = pcr11(&pe);
        Ok(Self {
            line: BootLine::parse(text)?,
            text,
            initrd: one(".initrd")?,
            boot_loader: boot_loader(one(".osrel")?).ok_or(UkiError::NoLoader)?,
            pcr11,
            unsigned_sha256: Sha256::digest(pe.unsigned()).into(),
            signed: pe.is_signed(),
            policy_key: policy_key(&pe, &policies_of(&pcr11, text))?,
        })
    }
}

/// Begins the line of `.osrel` that names the boot loader.
pub const BOOT_LOADER: &str = "STELE_BOOT_LOADER=";

fn boot_loader(os_release: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(os_release).ok()?;
    let digest = text.lines().find_map(|line| line.strip_prefix(BOOT_LOADER))?;
    hex::decode(digest).ok()?.try_into().ok()
}

/// The policies of all states that a kernel image boots into: nobody handed the stub a command line, it was handed its own
/// one, and the boot loader had measured that before.
pub fn policies_of(pcr11: &[u8; 32], line: &str) -> [PolicyDigest; 3] {
    // As it is handed on: UTF-16 with a zero at its end.
    let event: Vec<u8> = line.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let once = extend([0; 32], &event);
    let [first, second] = policies::MEASURED;
    [[0; 32], once, extend(once, &event)].map(|pcr12| policy_of(&[(first, *pcr11), (second, pcr12)]))
}

/// The key in a kernel image, if it has signed exactly what it should.
fn policy_key(pe: &Pe<'_>, expected: &[PolicyDigest]) -> Result<Option<PolicyKey>, UkiError> {
    let there = |name: &str| pe.sections.iter().any(|section| section.name == name);
    if !there(".pcrpkey") && !there(".pcrsig") {
        return Ok(None);
    }
    let (Some(key), Some(signed)) = (pe.section(".pcrpkey"), pe.section(".pcrsig")) else {
        return Err(UkiError::HalfAPolicy);
    };
    let key = PolicyKey::from_point(&policies::point(key)?).ok_or(PolicyError::Key)?;
    let signed = policies::decode(signed)?;
    let ours = |(policy, expected): (&Policy, &PolicyDigest)| {
        let signed = SignedPolicy { policy: policy.digest, signature: policy.signature };
        policy.digest == *expected && key.has_signed(&signed)
    };
    if signed.len() != expected.len() || !signed.iter().zip(expected).all(ours) {
        return Err(UkiError::ForeignPolicy);
    }
    Ok(Some(key))
}

fn extend(pcr: [u8; 32], event: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(pcr).chain_update(Sha256::digest(event)).finalize().into()
}

/// What PCR 11 will be of a program that is still to get its signed policies: they are not measured.
pub fn measured(program: &[u8]) -> Result<[u8; 32], UkiError> {
    Ok(pcr11(&Pe::parse(program)?))
}

fn pcr11(pe: &Pe<'_>) -> [u8; 32] {
    MEASURED.iter().fold([0; 32], |pcr, name| match pe.section(name) {
        Some(content) if !content.is_empty() => extend(extend(pcr, format!("{name}\0").as_bytes()), content),
        _ => pcr,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::pe::tests::stub;
    use image_formats::boot_line::{Flavour, Seal};
    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::{Signature, SigningKey};

    fn line() -> BootLine {
        BootLine { flavour: Flavour::Dev, root: [5; 32], data_blocks: 9, release: 4, seal: Seal::IfPossible, hsm: None }
    }

    const OS_RELEASE: &str =
        "ID=stele\nSTELE_BOOT_LOADER=0707070707070707070707070707070707070707070707070707070707070707\n";

    fn made(text: &str) -> Vec<u8> {
        with_policy(text, None, None)
    }

    fn with_policy(line: &str, policy_key: Option<&[u8]>, policies: Option<&[u8]>) -> Vec<u8> {
        let (stub, os_release) = (stub(), OS_RELEASE);
        let parts = Parts { stub: &stub, linux: b"kernel", initrd: b"files", line, os_release, policy_key, policies };
        assemble(&parts).unwrap()
    }

    /// P-256 with the secret 1, so that the public key is the generator.
    pub(crate) const KEY: &[u8] = b"-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
";

    /// What the key signs for an image.
    pub(crate) fn signed(pcr11: &[u8; 32], line: &str) -> Vec<u8> {
        let mut secret = [0; 32];
        secret[31] = 1;
        let secret = SigningKey::from_slice(&secret).unwrap();
        let policies = policies_of(pcr11, line).map(|digest| {
            let signature: Signature = secret.sign(&PolicyKey::message(&digest));
            Policy { digest, signature: signature.to_bytes().into() }
        });
        policies::encode(&policies)
    }

    #[test]
    fn signed_policies_are_those_of_the_image_and_change_nothing_that_is_measured() {
        let text = line().to_string();
        let key_alone = with_policy(&text, Some(KEY), None);
        assert_eq!(Uki::parse(&key_alone), Err(UkiError::HalfAPolicy));
        let pcr11 = measured(&key_alone).unwrap();
        let whole = with_policy(&text, Some(KEY), Some(&signed(&pcr11, &text)));
        let uki = Uki::parse(&whole).unwrap();
        assert_eq!(uki.pcr11, pcr11);
        assert!(uki.policy_key.is_some());
        assert_eq!(Uki::parse(&made(&text)).unwrap().policy_key, None);
        // The key is measured: with another one the image is another one.
        assert_ne!(Uki::parse(&made(&text)).unwrap().pcr11, pcr11);
    }

    #[test]
    fn policies_of_another_image_and_signatures_of_a_stranger_are_refused() {
        let text = line().to_string();
        let pcr11 = measured(&with_policy(&text, Some(KEY), None)).unwrap();
        for other in [signed(&[7; 32], &text), signed(&pcr11, "another line")] {
            let image = with_policy(&text, Some(KEY), Some(&other));
            assert_eq!(Uki::parse(&image), Err(UkiError::ForeignPolicy));
        }
        let mut stranger = signed(&pcr11, &text);
        stranger[16 + 2 * 96 + 40] ^= 1;
        assert_eq!(Uki::parse(&with_policy(&text, Some(KEY), Some(&stranger))), Err(UkiError::ForeignPolicy));
    }

    /// Measured once by the loader and once by the stub, as a machine without Secure Boot was seen to do it.
    #[test]
    fn a_policy_holds_for_the_own_command_line_alone() {
        let text = line().to_string();
        let event: Vec<u8> = text.bytes().chain([0]).flat_map(|byte| [byte, 0]).collect();
        let digest = Sha256::digest(&event);
        let once: [u8; 32] = Sha256::digest([&[0; 32][..], &digest].concat()).into();
        let twice: [u8; 32] = Sha256::digest([&once[..], &digest].concat()).into();
        assert_eq!(policies_of(&[5; 32], &text)[2], policy_of(&[(11, [5; 32]), (12, twice)]));
    }

    #[test]
    fn an_image_tells_its_root_and_any_change_its_pcr() {
        let first = made(&format!("quiet {}", line()));
        let uki = Uki::parse(&first).unwrap();
        assert_eq!((&uki.line, uki.initrd, uki.signed), (&line(), &b"files"[..], false));
        assert_eq!(uki.boot_loader, [7; 32]);
        let second = made(&format!("loud {}", line()));
        assert_ne!(Uki::parse(&second).unwrap().pcr11, uki.pcr11);
    }

    /// Four sections: names and contents hashed and chained by hand.
    #[test]
    fn pcr_11_is_the_chain_of_names_and_contents() {
        let text = line().to_string();
        let mut pcr = [0; 32];
        for event in [
            &b".linux\0"[..],
            b"kernel",
            b".osrel\0",
            OS_RELEASE.as_bytes(),
            b".cmdline\0",
            text.as_bytes(),
            b".initrd\0",
            b"files",
        ] {
            let digest = Sha256::digest(event);
            pcr = Sha256::digest([&pcr[..], &digest[..]].concat()).into();
        }
        assert_eq!(Uki::parse(&made(&text)).unwrap().pcr11, pcr);
    }

    #[test]
    fn foreign_sections_and_a_line_without_root_are_refused() {
        assert!(matches!(Uki::parse(&made("quiet")), Err(UkiError::Line(_))));
        let good = made(&line().to_string());
        let more = Pe::parse(&good).unwrap().with_sections(&[(".extra", b"x")]).unwrap();
        assert_eq!(Uki::parse(&more), Err(UkiError::Foreign(".extra".into())));
    }
}
