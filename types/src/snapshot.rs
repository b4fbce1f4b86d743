//! Snapshots of the state, as ledger headers commit to them: at which heights, what the root is over, and proofs of what
//! a state holds under a key, or that it holds nothing there (`docs/proofs.md`).
//!
//! A state is its rows in rising order, cut into chunks. Each chunk has a Merkle root over its rows, the state one over
//! its chunks, and [`StateSummary::root`] is what a header some heights later carries in `state_root`. Deliberately
//! absent: how rows are stored, compressed and sent.

mod proof;

use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::digest::{ChainId, Digest, Hasher};
use crate::epoch::EpochStart;
use crate::merkle::merkle_root;
use crate::units::{Height, TimestampMs};
pub use proof::{RowProof, StateProof, StateProofError};

/// Version of [`StateSummary`] and of the rows behind it.
pub const STATE_VERSION: u8 = 2;

/// Most bytes of a chunk's rows. A chunk ends where its next row would pass it.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;

/// Most bytes of a value in one row; longer ones of live ids and approvals go on in the next rows.
pub const ROW_VALUE_BYTES_MAX: usize = 64 << 10;

/// Most chunks of a state, so that a manifest fits an answer of a peer: 80 GB of rows.
pub const CHUNKS_MAX: usize = 320_000;

/// What a row of the state belongs to; the first order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RowKind {
    /// An account, an object or a grant under [`StateKey::to_row_key`](crate::StateKey::to_row_key).
    Value = 1,
    /// Part of the ids that a height claimed and that are live: the height, and the number of the part, big-endian.
    LiveIds = 2,
    /// Part of what the governance approves: the number of the part, big-endian.
    Approvals = 3,
}

impl RowKind {
    /// From its tag.
    pub fn from_tag(tag: u8) -> Option<Self> {
        [Self::Value, Self::LiveIds, Self::Approvals].into_iter().find(|kind| *kind as u8 == tag)
    }
}

/// Writes a row as it is hashed: kind, key and value with their lengths.
pub fn put_row(out: &mut Vec<u8>, kind: RowKind, key: &[u8], value: &[u8]) {
    out.push(kind as u8);
    crate::codec::put_bytes(out, key);
    crate::codec::put_bytes(out, value);
}

/// A row as [`put_row`] writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRef<'a> {
    /// What it belongs to.
    pub kind: RowKind,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> RowRef<'a> {
    /// Reads one row.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else than what [`put_row`] writes.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let tag = u8::decode(reader)?;
        let kind = RowKind::from_tag(tag);
        let kind = kind.ok_or(DecodeError::UnknownTag { field: "state row", value: tag.into() })?;
        let key = reader.bytes("row key", KEY_BYTES_MAX)?;
        Ok(Self { kind, key, value: reader.bytes("row value", CHUNK_BYTES_MAX)? })
    }

    /// Where it stands in the order of rows.
    pub fn place(&self) -> (RowKind, &'a [u8]) {
        (self.kind, self.key)
    }
}

/// Longest key of a row.
const KEY_BYTES_MAX: usize = 64;

/// When an epoch's snapshots are taken, and which header carries the root of which.
///
/// The first is the state that the epoch begins with, at its anchor; the next ones follow every
/// `snapshot_interval_heights`. A root is due half an interval later, in the same epoch or not at all, so that at most
/// one is being computed. All other headers carry [`Digest::ZERO`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPlan {
    anchor: Height,
    interval: u64,
}

impl SnapshotPlan {
    /// That of an epoch.
    pub fn of(start: &EpochStart) -> Self {
        Self::new(start.anchor.height, start.parameters.snapshot_interval_heights)
    }

    /// That of an epoch behind an anchor; an interval of 0 means no snapshots.
    pub fn new(anchor: Height, interval: u64) -> Self {
        Self { anchor, interval }
    }

    /// Heights from a snapshot to the header with its root.
    pub fn lag(&self) -> u64 {
        (self.interval / 2).max(1)
    }

    /// Whether the state behind a height is taken.
    pub fn is_taken(&self, height: Height) -> bool {
        self.last(height) == Some(height)
    }

    /// The last snapshot at or below a height.
    pub fn last(&self, height: Height) -> Option<Height> {
        let above = height.0.checked_sub(self.anchor.0)?;
        let into = above.checked_rem(self.interval)?;
        Some(Height(height.0 - into))
    }

    /// The height whose header carries the root of a snapshot, if the epoch lasts as long.
    pub fn root_height(&self, snapshot: Height) -> Height {
        Height(snapshot.0.saturating_add(self.lag()))
    }

    /// The snapshot whose root the header of a height carries; `None` where it carries none.
    pub fn root_due(&self, height: Height) -> Option<Height> {
        let snapshot = Height(height.0.checked_sub(self.lag())?);
        self.is_taken(snapshot).then_some(snapshot)
    }
}

/// What a state root is over: which state, how much it is, and the root of its chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSummary {
    /// The ledger.
    pub chain: ChainId,
    /// The height behind which the state stands.
    pub height: Height,
    /// Digest of that height's header.
    pub header: Digest,
    /// BFT time of that height.
    pub timestamp: TimestampMs,
    /// Rows of all chunks.
    pub rows: u64,
    /// Bytes of all rows, as [`put_row`] writes them.
    pub bytes: u64,
    /// Chunks.
    pub chunks: u32,
    /// Merkle root over the encoded [`StateChunk`]s.
    pub chunk_root: Digest,
}

impl StateSummary {
    /// What the header carries in `state_root`.
    pub fn root(&self) -> Digest {
        Hasher::new("stele/state-root/1").with_encoded(self).finish()
    }
}

impl Encode for StateSummary {
    fn encode(&self, out: &mut Vec<u8>) {
        STATE_VERSION.encode(out);
        self.chain.encode(out);
        self.height.encode(out);
        self.header.encode(out);
        self.timestamp.encode(out);
        self.rows.encode(out);
        self.bytes.encode(out);
        self.chunks.encode(out);
        self.chunk_root.encode(out);
    }
}

impl Decode for StateSummary {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = u8::decode(reader)?;
        if version != STATE_VERSION {
            return Err(DecodeError::UnknownTag { field: "state version", value: version.into() });
        }
        Ok(Self {
            chain: ChainId::decode(reader)?,
            height: Height::decode(reader)?,
            header: Digest::decode(reader)?,
            timestamp: TimestampMs::decode(reader)?,
            rows: u64::decode(reader)?,
            bytes: u64::decode(reader)?,
            chunks: u32::decode(reader)?,
            chunk_root: Digest::decode(reader)?,
        })
    }
}

/// A run of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChunk {
    /// How many; at least one.
    pub rows: u32,
    /// Bytes of them all; at most [`CHUNK_BYTES_MAX`].
    pub bytes: u32,
    /// Merkle root over them.
    pub root: Digest,
}

impl Encode for StateChunk {
    fn encode(&self, out: &mut Vec<u8>) {
        self.rows.encode(out);
        self.bytes.encode(out);
        self.root.encode(out);
    }
}

impl Decode for StateChunk {
    const ENCODED_LEN_MIN: usize = 8 + Digest::ENCODED_LEN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let chunk = Self { rows: u32::decode(reader)?, bytes: u32::decode(reader)?, root: Digest::decode(reader)? };
        let sound = chunk.rows > 0 && chunk.bytes >= chunk.rows && chunk.bytes as usize <= CHUNK_BYTES_MAX;
        if sound { Ok(chunk) } else { Err(DecodeError::NotCanonical { field: "state chunk" }) }
    }
}

/// All that a state consists of, by digests: what its chunks are checked against, one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateManifest {
    /// What the root is over.
    pub summary: StateSummary,
    /// The chunks in order; they add up to the summary, which decoding checks.
    pub chunks: Vec<StateChunk>,
}

impl StateManifest {
    /// What the header carries in `state_root`; names the state.
    pub fn root(&self) -> Digest {
        self.summary.root()
    }

    /// Root over chunks.
    pub fn root_of(chunks: &[StateChunk]) -> Digest {
        merkle_root(chunks.iter().map(Encode::to_bytes))
    }
}

impl Encode for StateManifest {
    fn encode(&self, out: &mut Vec<u8>) {
        self.summary.encode(out);
        crate::codec::put_list(out, &self.chunks);
    }
}

impl Decode for StateManifest {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let summary = StateSummary::decode(reader)?;
        let chunks: Vec<StateChunk> = reader.list("chunks", CHUNKS_MAX)?;
        let rows: u64 = chunks.iter().map(|chunk| u64::from(chunk.rows)).sum();
        let bytes: u64 = chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum();
        let adds_up = (rows, bytes, chunks.len()) == (summary.rows, summary.bytes, summary.chunks as usize);
        if adds_up && Self::root_of(&chunks) == summary.chunk_root {
            Ok(Self { summary, chunks })
        } else {
            Err(DecodeError::NotCanonical { field: "chunks" })
        }
    }
}

#[cfg(test)]
mod tests;
