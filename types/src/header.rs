//! The ledger header: what a commit did to the ledger, and what validators vote for (CONSENSUS.md §0.3).

use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::digest::{ChainId, Digest, Hasher};
use crate::units::{Epoch, Height, TimestampMs};
use serde::{Deserialize, Serialize};

/// Version of the encoding.
pub const HEADER_VERSION: u8 = 1;

/// Header of one height. A certificate over its digest also certifies the commit record of that height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHeader {
    /// Version of the encoding and of the execution rules.
    pub version: u8,
    /// The ledger.
    pub chain: ChainId,
    /// The epoch whose committee ordered this height.
    pub epoch: Epoch,
    /// Digest of that committee.
    pub committee: Digest,
    /// Position.
    pub height: Height,
    /// Digest of the header before; [`Digest::ZERO`] at genesis.
    pub previous: Digest,
    /// Digest of the commit record; [`Digest::ZERO`] at genesis.
    pub commit: Digest,
    /// Merkle root over the transaction ids of this height, in order.
    pub transaction_root: Digest,
    /// Merkle root over the receipts of this height, in order.
    pub receipt_root: Digest,
    /// LtHash of the whole state after this height.
    pub state_digest: Digest,
    /// [`StateSummary::root`](crate::StateSummary::root) of an earlier state, where one is due at this height
    /// ([`SnapshotPlan`](crate::SnapshotPlan)); [`Digest::ZERO`] at all others.
    pub state_root: Digest,
    /// BFT time.
    pub timestamp: TimestampMs,
    /// At the last height of an epoch, the digest over the next one's committee and parameters
    /// ([`EpochStart::digest_of`](crate::EpochStart::digest_of)).
    pub next_committee: Option<Digest>,
}

impl LedgerHeader {
    /// What validators vote for.
    pub fn digest(&self) -> Digest {
        Hasher::new("stele/ledger-header/1").with_encoded(self).finish()
    }
}

impl Encode for LedgerHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        self.version.encode(out);
        self.chain.encode(out);
        self.epoch.encode(out);
        self.committee.encode(out);
        self.height.encode(out);
        self.previous.encode(out);
        self.commit.encode(out);
        self.transaction_root.encode(out);
        self.receipt_root.encode(out);
        self.state_digest.encode(out);
        self.state_root.encode(out);
        self.timestamp.encode(out);
        self.next_committee.encode(out);
    }
}

impl Decode for LedgerHeader {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = u8::decode(reader)?;
        if version != HEADER_VERSION {
            return Err(DecodeError::UnknownTag { field: "header version", value: version.into() });
        }
        Ok(Self {
            version,
            chain: ChainId::decode(reader)?,
            epoch: Epoch::decode(reader)?,
            committee: Digest::decode(reader)?,
            height: Height::decode(reader)?,
            previous: Digest::decode(reader)?,
            commit: Digest::decode(reader)?,
            transaction_root: Digest::decode(reader)?,
            receipt_root: Digest::decode(reader)?,
            state_digest: Digest::decode(reader)?,
            state_root: Digest::decode(reader)?,
            timestamp: TimestampMs::decode(reader)?,
            next_committee: Option::decode(reader)?,
        })
    }
}
