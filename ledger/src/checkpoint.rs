//! What a restart continues from: the tip and the state digest behind it, small enough to be written with every commit.

use crate::governance::Approvals;
use crate::lthash::LtHash;
use thiserror::Error;
use types::{ChainId, Decode, DecodeError, Digest, Encode, GenesisError, Height, LedgerHeader, Reader};

/// The ledger after a height, without its accounts and live ids, which storage holds one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerCheckpoint {
    /// The header of the height.
    pub header: LedgerHeader,
    /// The sum behind [`LedgerHeader::state_digest`].
    pub state: LtHash,
    /// Ids that are live after the height.
    pub live_ids: u64,
    /// Buckets that hold them.
    pub live_buckets: u64,
    /// What the governance approves.
    pub approvals: Approvals,
}

impl LedgerCheckpoint {
    /// The height.
    pub fn height(&self) -> Height {
        self.header.height
    }
}

impl Encode for LedgerCheckpoint {
    fn encode(&self, out: &mut Vec<u8>) {
        self.header.encode(out);
        self.state.encode(out);
        self.live_ids.encode(out);
        self.live_buckets.encode(out);
        self.approvals.encode(out);
    }
}

impl Decode for LedgerCheckpoint {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            header: LedgerHeader::decode(reader)?,
            state: LtHash::decode(reader)?,
            live_ids: u64::decode(reader)?,
            live_buckets: u64::decode(reader)?,
            approvals: Approvals::decode(reader)?,
        })
    }
}

/// Why a ledger cannot continue from what storage holds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResumeError {
    /// The genesis itself is unusable.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The checkpoint belongs to another ledger.
    #[error("the stored state belongs to ledger {found}, not to {expected}")]
    OtherChain {
        /// The ledger of the genesis.
        expected: ChainId,
        /// The ledger of the checkpoint.
        found: ChainId,
    },
    /// The checkpoint is of another epoch than the one that was given.
    #[error("the stored state is not of the epoch that it is to go on in")]
    OtherEpoch,
    /// The sum does not belong to the header.
    #[error("the stored state sums up to {found}, its header says {expected}")]
    StateDigest {
        /// What the header says.
        expected: Digest,
        /// What the sum gives.
        found: Digest,
    },
    /// Live ids are missing, left over, or stand twice.
    #[error("{ids} live ids in {buckets} buckets are stored, the checkpoint says {expected_ids} in {expected_buckets}")]
    LiveIds {
        /// Different ids that were found.
        ids: u64,
        /// Buckets that were found.
        buckets: u64,
        /// Ids that should be there.
        expected_ids: u64,
        /// Buckets that should be there.
        expected_buckets: u64,
    },
}
