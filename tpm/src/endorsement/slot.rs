//! The places where makers leave certificates, and the templates of the keys that these are for (TCG EK Credential Profile for
//! TPM Family 2.0, sections 2.2.1 and B.3 to B.4). A key is the certified one only if it is made from exactly this.

use crate::pcr::SHA256;
use std::fmt;

/// TPM_ALG_SHA384.
const SHA384: u16 = 0x0c;
/// TPMA_OBJECT: fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
const LOW: u32 = 0x0003_00b2;
/// The same with userWithAuth.
const HIGH: u32 = 0x0003_00f2;

/// PolicyA: TPM2_PolicySecret of the endorsement hierarchy.
const POLICY_A: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
/// PolicyB with SHA-256: PolicyA, or what an index of the owner's says.
const POLICY_B_SHA256: [u8; 32] = [
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3, 0xa3, 0x85, 0xd4,
    0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
];
/// PolicyB with SHA-384.
const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07, 0x41, 0x48,
    0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09, 0x69, 0x96,
    0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

/// A place for a certificate, and the kind of its key. By its NV index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Slot {
    /// RSA 2048, template L-1.
    Rsa2048 = 0x01c0_0002,
    /// P-256, template L-2.
    P256 = 0x01c0_000a,
    /// RSA 2048, template H-1.
    Rsa2048High = 0x01c0_0012,
    /// P-256, template H-2.
    P256High = 0x01c0_0014,
    /// P-384, template H-3.
    P384High = 0x01c0_0016,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Rsa2048 | Self::Rsa2048High => "RSA 2048",
            Self::P256 | Self::P256High => "P-256",
            Self::P384High => "P-384",
        };
        write!(f, "{kind}, NV index {:#010x}", self.index())
    }
}

impl Slot {
    /// All that are known here.
    pub const ALL: [Self; 5] = [Self::Rsa2048, Self::P256, Self::Rsa2048High, Self::P256High, Self::P384High];

    /// The NV index of the certificate.
    pub fn index(self) -> u32 {
        self as u32
    }

    /// The one whose certificate is at an index.
    pub fn of_index(index: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.index() == index)
    }

    /// Whether the key is used with its own password, which is empty.
    pub(super) fn has_password(self) -> bool {
        matches!(self, Self::Rsa2048High | Self::P256High | Self::P384High)
    }

    /// TPMT_PUBLIC that the key is made from.
    pub(super) fn template(self) -> Vec<u8> {
        let (rsa, ecc) = (0x0001u16, 0x0023u16);
        match self {
            Self::Rsa2048 => [start(rsa, SHA256, LOW, &POLICY_A), rsa_2048(&[0; 256])].concat(),
            Self::P256 => [start(ecc, SHA256, LOW, &POLICY_A), curve(0x0003, 128, &[0; 32])].concat(),
            Self::Rsa2048High => [start(rsa, SHA256, HIGH, &POLICY_B_SHA256), rsa_2048(&[])].concat(),
            Self::P256High => [start(ecc, SHA256, HIGH, &POLICY_B_SHA256), curve(0x0003, 128, &[])].concat(),
            Self::P384High => [start(ecc, SHA384, HIGH, &POLICY_B_SHA384), curve(0x0004, 256, &[])].concat(),
        }
    }
}

/// Type, algorithm of the name, attributes, policy.
fn start(kind: u16, hash: u16, attributes: u32, policy: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &hash.to_be_bytes(), &attributes.to_be_bytes(), &sized(policy)].concat()
}

/// AES of so many bits in CFB, no scheme.
fn inside(key_bits: u16) -> Vec<u8> {
    [0x0006, key_bits, 0x0043, 0x0010].into_iter().flat_map(u16::to_be_bytes).collect()
}

/// TPMS_RSA_PARMS with the default exponent, and the unique field.
fn rsa_2048(unique: &[u8]) -> Vec<u8> {
    [&inside(128)[..], &2048u16.to_be_bytes(), &[0; 4], &sized(unique)].concat()
}

/// TPMS_ECC_PARMS without a KDF, and the unique field.
fn curve(curve: u16, key_bits: u16, coordinate: &[u8]) -> Vec<u8> {
    let parameters = [&inside(key_bits)[..], &curve.to_be_bytes(), &[0x00, 0x10]].concat();
    [parameters, sized(coordinate), sized(coordinate)].concat()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256, Sha384};

    /// PolicyA is TPM2_PolicySecret of the endorsement hierarchy with an empty reference. PolicyB is TPM2_PolicyOR of that and
    /// PolicyC, which is TPM2_PolicyAuthorizeNV of an index by its name (sections B.6.2 to B.6.4).
    fn policies<H: Digest>(width: u16, hash: u16, index: u32) -> [Vec<u8>; 2] {
        let zeros = vec![0; width.into()];
        let of = |parts: &[&[u8]]| H::digest(parts.concat()).to_vec();
        let a = of(&[&of(&[&zeros, &0x151u32.to_be_bytes(), &0x4000_000bu32.to_be_bytes()])]);
        // TPMS_NV_PUBLIC: policywrite, writeall, ppread, ownerread, authread, policyread, noDA, written; a digest with its
        // algorithm is in it.
        let start = [&index.to_be_bytes()[..], &hash.to_be_bytes(), &0x220f_1008u32.to_be_bytes()].concat();
        let name = [&hash.to_be_bytes()[..], &of(&[&start, &sized(&a), &(width + 2).to_be_bytes()])].concat();
        let c = of(&[&zeros, &0x192u32.to_be_bytes(), &name]);
        let b = of(&[&zeros, &0x171u32.to_be_bytes(), &a, &c]);
        [a, b]
    }

    #[test]
    fn the_policies_are_what_the_profile_computes() {
        let [a, b] = policies::<Sha256>(32, SHA256, 0x01c0_7f01);
        assert_eq!((&a[..], &b[..]), (&POLICY_A[..], &POLICY_B_SHA256[..]));
        assert_eq!(policies::<Sha384>(48, SHA384, 0x01c0_7f02)[1], POLICY_B_SHA384);
    }

    #[test]
    fn a_slot_is_told_by_its_index() {
        for slot in Slot::ALL {
            assert_eq!(Slot::of_index(slot.index()), Some(slot));
        }
        assert_eq!(Slot::of_index(0x01c0_0003), None);
    }
}
