//! The header of a sealed state: what the TPM needs to give the key of the partition back. It lies twice at the partition's
//! start; the encrypted data begins behind it.
//!
//! ```text
//! at 0 and at 4096: one copy, the rest of the 4096 bytes is zero
//!   "STELESEA" | format u32 = 1 | stage u32 | bound PCRs u32, a bit each | length u16 and bytes of: the policy key's name, the
//!   parent's name, the object's public and private area | SHA-256 of all that
//! at 1 MiB: the data, aes-xts-plain64 under 64 bytes of key
//! ```
//! Numbers are little-endian. A state is written in this order: both copies with stage *made*, the file system, both copies
//! with stage *ready*; each step is on the disk before the next one begins. So one copy is whole at all times but the very
//! first, and what is merely *made* has never held anything. A ready copy counts for more than a made one.
//!
//! The checksum is against damage alone: whoever can write to the disk can write a header. What is sealed is the TPM's
//! matter.

use crate::field::{array_at, bytes_at, u16_at, u32_at};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Bytes of a copy.
pub const COPY_BYTES: usize = 4096;
/// Bytes of both.
pub const BYTES: usize = 2 * COPY_BYTES;
/// Where the data begins.
pub const DATA_OFFSET: u64 = 1 << 20;
/// Bytes of the key: two of AES-256, for XTS.
pub const KEY_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"STELESEA";
const HEAD: usize = 20;
const DIGEST: usize = 32;
/// Bytes of an area at most; those of all known TPMs have less than 300.
const AREA_MAX: usize = 900;

/// How far a state has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stage {
    /// There is a key, and not yet a file system.
    Made = 1,
    /// There may be data.
    Ready = 2,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How far it has come.
    pub stage: Stage,
    /// The registers that have to be as they were, a bit each.
    pub bound: u32,
    /// The policy key's name.
    pub policy_key: Vec<u8>,
    /// Name of the storage primary.
    pub parent: Vec<u8>,
    /// The sealed object's public area.
    pub public: Vec<u8>,
    /// Its private one.
    pub private: Vec<u8>,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Something else stands there, or nothing.
    #[error("there is no sealed state")]
    Absent,
    /// Both copies are damaged.
    #[error("both copies of the sealed state's header are damaged")]
    Damaged,
    /// A later format.
    #[error("the sealed state has format {0}, this release reads format 1")]
    Format(u32),
    /// What the TPM gave is longer than any known one gives.
    #[error("what the TPM gave is too long for the header")]
    Length,
}

impl Header {
    /// One copy.
    pub fn encode(&self) -> Result<Vec<u8>, HeaderError> {
        let mut out = MAGIC.to_vec();
        for number in [1, self.stage as u32, self.bound] {
            out.extend(number.to_le_bytes());
        }
        for area in [&self.policy_key, &self.parent, &self.public, &self.private] {
            if area.len() > AREA_MAX {
                return Err(HeaderError::Length);
            }
            out.extend((area.len() as u16).to_le_bytes());
            out.extend(area);
        }
        out.extend(Sha256::digest(&out));
        out.resize(COPY_BYTES, 0);
        Ok(out)
    }

    /// The better of the copies at the start of a partition.
    pub fn decode(start: &[u8]) -> Result<Self, HeaderError> {
        let copies = [0, COPY_BYTES].map(|at| bytes_at(start, at, COPY_BYTES).ok_or(HeaderError::Absent).and_then(one));
        let sound = copies.iter().flatten().max_by_key(|header| header.stage);
        if let Some(header) = sound {
            return Ok(header.clone());
        }
        let errors = copies.into_iter().filter_map(Result::err);
        Err(errors.max_by_key(|error| *error != HeaderError::Absent).unwrap_or(HeaderError::Absent))
    }
}

fn one(copy: &[u8]) -> Result<Header, HeaderError> {
    if !copy.starts_with(MAGIC) {
        return Err(HeaderError::Absent);
    }
    // What is checked first is the checksum, over as much as the lengths say.
    let mut at = HEAD;
    let mut areas: [&[u8]; 4] = [&[]; 4];
    for area in &mut areas {
        let length = u16_at(copy, at).map(usize::from).filter(|length| *length <= AREA_MAX);
        *area = length.and_then(|length| bytes_at(copy, at + 2, length)).ok_or(HeaderError::Damaged)?;
        at += 2 + area.len();
    }
    let digest: [u8; DIGEST] = Sha256::digest(&copy[..at]).into();
    if array_at(copy, at) != Some(digest) {
        return Err(HeaderError::Damaged);
    }
    let [policy_key, parent, public, private] = areas.map(<[u8]>::to_vec);
    let stage = match (u32_at(copy, 8), u32_at(copy, 12)) {
        (Some(1), Some(1)) => Stage::Made,
        (Some(1), Some(2)) => Stage::Ready,
        (Some(1), _) | (None, _) => return Err(HeaderError::Damaged),
        (Some(format), _) => return Err(HeaderError::Format(format)),
    };
    let bound = u32_at(copy, 16).ok_or(HeaderError::Damaged)?;
    Ok(Header { stage, bound, policy_key, parent, public, private })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(stage: Stage) -> Header {
        Header {
            stage,
            bound: 1 << 7,
            policy_key: vec![1; 34],
            parent: vec![2; 34],
            public: vec![3; 80],
            private: vec![4; 160],
        }
    }

    fn both(stages: [Stage; 2]) -> Vec<u8> {
        stages.map(|stage| header(stage).encode().unwrap()).concat()
    }

    /// Where something stands: the rest of a copy is zero, and not looked at.
    const USED: usize = HEAD + 4 * 2 + 34 + 34 + 80 + 160 + DIGEST;

    #[test]
    fn what_is_written_is_read_and_fits_into_a_sector() {
        assert_eq!(Header::decode(&both([Stage::Ready; 2])), Ok(header(Stage::Ready)));
        const { assert!(USED <= 512) }
    }

    /// The second copy is still the old one, or was torn as it was written.
    #[test]
    fn a_power_cut_between_the_copies_leaves_the_state_ready() {
        assert_eq!(Header::decode(&both([Stage::Ready, Stage::Made])), Ok(header(Stage::Ready)));
        let mut torn = both([Stage::Ready, Stage::Made]);
        torn[COPY_BYTES + 300..COPY_BYTES + 512].fill(0);
        assert_eq!(Header::decode(&torn), Ok(header(Stage::Ready)));
    }

    #[test]
    fn nothing_a_damaged_header_and_a_later_format_are_told_apart() {
        assert_eq!(Header::decode(&[0; BYTES]), Err(HeaderError::Absent));
        let mut one_damaged = both([Stage::Ready; 2]);
        one_damaged[COPY_BYTES..].fill(0xFF);
        assert!(Header::decode(&one_damaged).is_ok());
        one_damaged[100] ^= 1;
        assert_eq!(Header::decode(&one_damaged), Err(HeaderError::Damaged));
        let mut later = both([Stage::Ready; 2]);
        for at in [0, COPY_BYTES] {
            later[at + 8] = 2;
            let digest = Sha256::digest(&later[at..at + USED - DIGEST]);
            later[at + USED - DIGEST..at + USED].copy_from_slice(&digest);
        }
        assert_eq!(Header::decode(&later), Err(HeaderError::Format(2)));
    }

    #[test]
    fn a_longer_area_is_not_written() {
        let long = Header { private: vec![0; AREA_MAX + 1], ..header(Stage::Made) };
        assert_eq!(long.encode(), Err(HeaderError::Length));
    }

    proptest! {
        #[test]
        fn a_flip_in_one_copy_changes_nothing_and_in_both_is_told(at in 0..USED, other in 0..USED, bit in 0_u8..8) {
            let mut bytes = both([Stage::Ready; 2]);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Header::decode(&bytes), Ok(header(Stage::Ready)));
            bytes[COPY_BYTES + other] ^= 1 << bit;
            prop_assert!(Header::decode(&bytes).is_err());
        }

        #[test]
        fn a_truncated_start_is_no_header_of_its_own(length in 0..BYTES) {
            let read = Header::decode(&both([Stage::Ready; 2])[..length]);
            prop_assert_eq!(read.is_ok(), length >= COPY_BYTES);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            let mut copy = [&MAGIC[..], &bytes].concat();
            copy.resize(BYTES, 0);
            let _ = (Header::decode(&bytes), Header::decode(&copy));
        }
    }
}
