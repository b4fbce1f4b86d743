//! Records of the guard file and its header, byte for byte.
//!
//! File: a header of [`HEADER_LEN`] bytes, then records without gaps, then zeros to the end. All integers are
//! little-endian; `types` encodings inside.
//!
//! ```text
//! header   "STLGUARD", version u16 = 2, chain digest, author u16, consensus key, CRC-32C of all that, zeros
//! record   "GR1\n", length u32 of the whole record, sequence u64 from 0, link u32 = CRC of the record before
//!          (of the header for the first), kind u8, body, CRC-32C of all that, "\xE5END"
//! kind 1   approval: epoch u64, round u64, statement digest, votes (list of height u64, digest),
//!          option (epoch, round, signature) of a statement signed since the record before,
//!          option (reservation) that is to follow
//! kind 2   votes of a compacted file: option (highest forgotten height), votes
//! kind 3   standing, in place of all before: binding (0 none; 1 machine digest, file digest; 2 anchor's value),
//!          floor, limit (each epoch, round, height), option (reservation), list of actions
//!          (kind u8, seconds since 1970 u64, floor)
//! reservation: claim digest, limit
//! ```

use super::Identity;
use super::standing::{Reservation, Standing};
use crate::refusal::Slot;
use types::codec::{Decode, DecodeError, Encode, Reader, put_list};
use types::{AuthorityIndex, ChainId, Digest, HeaderVote, Height, PublicKey, Signature};

/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 512;
/// Longest record: 100 votes of 41 bytes, a signature of the largest registered kind, and fixed fields.
pub(super) const RECORD_MAX: usize = 8192;
/// Most votes in one record.
pub(super) const CHUNK_VOTES_MAX: usize = types::block::VOTES_MAX;
/// First bytes of every record.
pub(super) const MAGIC: &[u8; 4] = b"GR1\n";
/// Last bytes of every record. The last of them is never zero, so that a record cut short is known as such.
pub(super) const END: &[u8; 4] = b"\xE5END";

const HEADER_MAGIC: &[u8; 8] = b"STLGUARD";
const VERSION: u16 = 2;
/// Bytes before the kind.
const PREFIX_LEN: usize = 4 + 4 + 8 + 4;

/// One entry of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A statement was approved.
    Approval {
        /// Its round.
        slot: Slot,
        /// Its digest.
        digest: Digest,
        /// Its votes.
        votes: Vec<HeaderVote>,
        /// A signature made since the record before.
        signature: Option<(Slot, Signature)>,
        /// What the anchor is asked for next. It is in force when the anchor has moved.
        reservation: Option<Reservation>,
    },
    /// Votes kept by a compaction.
    Votes {
        /// Highest height no longer kept.
        forgotten: Option<Height>,
        /// Heights and headers.
        votes: Vec<HeaderVote>,
    },
    /// How the file stands to the world outside of it.
    Standing(Standing),
}

/// Where a record stands in the chain of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Number of records before.
    pub(super) sequence: u64,
    /// CRC of the record before, or of the header.
    pub(super) crc: u32,
}

/// A record read from a file.
pub(super) struct Parsed {
    /// Where it says that it stands.
    pub(super) link: Link,
    /// Its content.
    pub(super) record: Record,
    /// Its length in bytes.
    pub(super) length: usize,
    /// Its CRC.
    pub(super) crc: u32,
}

/// The header and its CRC.
pub(super) fn header(identity: &Identity) -> (Vec<u8>, u32) {
    let mut bytes = HEADER_MAGIC.to_vec();
    VERSION.encode(&mut bytes);
    identity.chain.encode(&mut bytes);
    identity.author.encode(&mut bytes);
    identity.key.encode(&mut bytes);
    let crc = crc32c::crc32c(&bytes);
    crc.encode(&mut bytes);
    bytes.resize(HEADER_LEN, 0);
    (bytes, crc)
}

/// Reads a header; `None` where it is damaged.
pub(super) fn parse_header(bytes: &[u8]) -> Option<(Identity, u32)> {
    let mut reader = Reader::new(bytes.get(..HEADER_LEN)?);
    let known = reader.take(8).ok()? == HEADER_MAGIC && u16::decode(&mut reader).ok()? == VERSION;
    let identity = Identity {
        chain: ChainId::decode(&mut reader).ok()?,
        author: AuthorityIndex::decode(&mut reader).ok()?,
        key: PublicKey::decode(&mut reader).ok()?,
    };
    let crc = crc32c::crc32c(&bytes[..reader.position()]);
    let intact = u32::decode(&mut reader).ok()? == crc;
    let zeros = reader.take(reader.remaining()).ok()?.iter().all(|byte| *byte == 0);
    (known && intact && zeros).then_some((identity, crc))
}

impl Record {
    /// Appends the record to `out` and returns its CRC.
    pub(super) fn write(&self, link: Link, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        0u32.encode(out);
        link.sequence.encode(out);
        link.crc.encode(out);
        self.encode(out);
        let length = out.len() - start + 4 + END.len();
        assert!(length <= RECORD_MAX, "the limits on votes and signatures bound a record");
        out[start + 4..start + 8].copy_from_slice(&(length as u32).to_le_bytes());
        let crc = crc32c::crc32c(&out[start..]);
        crc.encode(out);
        out.extend_from_slice(END);
        crc
    }

    /// Reads the record at the start of `bytes`; `None` where there is no intact one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Parsed> {
        let mut reader = Reader::new(bytes);
        if reader.take(4).ok()? != MAGIC {
            return None;
        }
        let length = reader.length("record", RECORD_MAX).ok()?;
        let bytes = bytes.get(..length)?;
        let body = bytes.strip_suffix(END)?;
        let (body, crc) = body.split_last_chunk::<4>()?;
        let crc = u32::from_le_bytes(*crc);
        if crc32c::crc32c(body) != crc {
            return None;
        }
        let mut reader = Reader::new(body.get(8..)?);
        let link = Link { sequence: u64::decode(&mut reader).ok()?, crc: u32::decode(&mut reader).ok()? };
        let record = Record::from_bytes(body.get(PREFIX_LEN..)?).ok()?;
        Some(Parsed { link, record, length, crc })
    }
}

impl Encode for Record {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Approval { slot, digest, votes, signature, reservation } => {
                out.push(1);
                slot.encode(out);
                digest.encode(out);
                put_list(out, votes);
                match signature {
                    None => out.push(0),
                    Some((slot, signature)) => {
                        out.push(1);
                        slot.encode(out);
                        signature.encode(out);
                    }
                }
                reservation.encode(out);
            }
            Self::Votes { forgotten, votes } => {
                out.push(2);
                forgotten.encode(out);
                put_list(out, votes);
            }
            Self::Standing(standing) => {
                out.push(3);
                standing.encode(out);
            }
        }
    }
}

impl Decode for Record {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            1 => Ok(Self::Approval {
                slot: Slot::decode(reader)?,
                digest: Digest::decode(reader)?,
                votes: reader.list("votes", CHUNK_VOTES_MAX)?,
                signature: match u8::decode(reader)? {
                    0 => None,
                    1 => Some((Slot::decode(reader)?, Signature::decode(reader)?)),
                    tag => return Err(DecodeError::UnknownTag { field: "option", value: tag.into() }),
                },
                reservation: Option::decode(reader)?,
            }),
            2 => Ok(Self::Votes { forgotten: Option::decode(reader)?, votes: reader.list("votes", CHUNK_VOTES_MAX)? }),
            3 => Ok(Self::Standing(Standing::decode(reader)?)),
            tag => Err(DecodeError::UnknownTag { field: "guard record", value: tag.into() }),
        }
    }
}
