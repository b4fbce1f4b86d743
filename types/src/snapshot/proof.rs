//! Proofs of what a state holds under a key: the row itself, or the two rows between which it would stand.

use super::{CHUNK_BYTES_MAX, RowKind, RowRef, StateChunk, StateSummary};
use crate::codec::{Decode, DecodeError, Encode, Reader, put_bytes, put_list};
use crate::digest::Digest;
use crate::merkle::MerkleProof;
use crate::state_key::StateKey;
use thiserror::Error;

/// A row and the way from it up to the root of the state's chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowProof {
    /// The row, as [`put_row`](super::put_row) writes it.
    pub row: Vec<u8>,
    /// From the row to the root of its chunk.
    pub in_chunk: MerkleProof,
    /// The chunk.
    pub chunk: StateChunk,
    /// From the chunk to the root of all chunks.
    pub in_state: MerkleProof,
}

impl RowProof {
    /// The row, if it stands where it says in the state of the summary.
    fn check(&self, summary: &StateSummary) -> Result<RowRef<'_>, StateProofError> {
        let counts = (self.in_chunk.count, self.in_state.count);
        let included = counts == (self.chunk.rows.into(), summary.chunks.into())
            && self.in_chunk.verify(&self.row, &self.chunk.root)
            && self.in_state.verify(&self.chunk.to_bytes(), &summary.chunk_root);
        if !included {
            return Err(StateProofError::NotIncluded);
        }
        let mut reader = Reader::new(&self.row);
        let row = RowRef::read(&mut reader)?;
        reader.finish()?;
        Ok(row)
    }

    fn is_first(&self) -> bool {
        (self.in_state.index, self.in_chunk.index) == (0, 0)
    }

    fn is_last(&self) -> bool {
        // Both counts are at least 1 where the proofs hold.
        self.in_state.index + 1 == self.in_state.count && self.in_chunk.index + 1 == self.in_chunk.count
    }

    /// Whether `next` stands right behind it.
    fn is_before(&self, next: &Self) -> bool {
        if self.in_state.index == next.in_state.index {
            return self.in_chunk.index.checked_add(1) == Some(next.in_chunk.index);
        }
        self.in_state.index.checked_add(1) == Some(next.in_state.index)
            && self.in_chunk.index + 1 == self.in_chunk.count
            && next.in_chunk.index == 0
    }
}

impl Encode for RowProof {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.row);
        self.in_chunk.encode(out);
        self.chunk.encode(out);
        self.in_state.encode(out);
    }
}

impl Decode for RowProof {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            row: reader.bytes("state row", CHUNK_BYTES_MAX)?.to_vec(),
            in_chunk: MerkleProof::decode(reader)?,
            chunk: StateChunk::decode(reader)?,
            in_state: MerkleProof::decode(reader)?,
        })
    }
}

/// Why a proof of state proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StateProofError {
    /// A row is none.
    #[error("a row cannot be read: {0}")]
    Row(#[from] DecodeError),
    /// The summary is not what the header's root is over.
    #[error("the header commits to another state")]
    OtherState,
    /// A row is not part of the state.
    #[error("a row is not included in the state")]
    NotIncluded,
    /// The rows are not those between which the key would stand.
    #[error("the rows do not show what the state holds under the key")]
    OtherRows,
}

/// What a state holds under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateProof {
    /// Which state.
    pub summary: StateSummary,
    /// The row of the key; or, where there is none, the row before and the row behind the place where it would stand:
    /// one of them at the ends of the state, none where the state is empty.
    pub rows: Vec<RowProof>,
}

impl StateProof {
    /// What the state whose root a header carries holds under `key`: the encoded value, or `None` where it holds nothing.
    ///
    /// # Errors
    /// [`StateProofError`]: the first thing that does not hold.
    pub fn verify(&self, key: &StateKey, state_root: &Digest) -> Result<Option<&[u8]>, StateProofError> {
        if self.summary.root() != *state_root {
            return Err(StateProofError::OtherState);
        }
        let wanted = key.to_row_key();
        let wanted = (RowKind::Value, &wanted[..]);
        let rows = self.rows.iter().map(|row| row.check(&self.summary)).collect::<Result<Vec<_>, _>>()?;
        let absent = match (&rows[..], &self.rows[..]) {
            ([row], _) if row.place() == wanted => return Ok(Some(row.value)),
            ([], _) => self.summary.chunks == 0 && self.summary.rows == 0,
            ([only], [proof]) => match only.place() < wanted {
                true => proof.is_last(),
                false => proof.is_first(),
            },
            ([left, right], [before, behind]) => {
                left.place() < wanted && wanted < right.place() && before.is_before(behind)
            }
            _ => false,
        };
        if absent { Ok(None) } else { Err(StateProofError::OtherRows) }
    }
}

impl Encode for StateProof {
    fn encode(&self, out: &mut Vec<u8>) {
        self.summary.encode(out);
        put_list(out, &self.rows);
    }
}

impl Decode for StateProof {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { summary: StateSummary::decode(reader)?, rows: reader.list("rows of a proof", 2)? })
    }
}
