//! Committees and blocks for simulations.

use crate::config::{Config, Pacing};
use std::net::SocketAddr;
use std::sync::Arc;
use types::{
    AlgId, Anchor, Authority, AuthorityIndex, BlockBody, BlockHeader, BlockRef, ChainId, Committee, Digest, Epoch,
    Evidence, HeaderVote, Parameters, Payload, PayloadDescriptor, PublicKey, Round, Signature, Stake, TimestampMs,
};

/// A simulated committee.
#[derive(Clone, Debug)]
pub struct Keys {
    chain: ChainId,
    committee: Arc<Committee>,
    /// Consensus parameters that [`Keys::config`] hands out.
    pub parameters: Parameters,
    /// Pacing that [`Keys::config`] hands out.
    pub pacing: Pacing,
    payload: PayloadDescriptor,
    empty: PayloadDescriptor,
}

impl Keys {
    /// `size` validators of equal stake.
    pub fn generate(size: u16) -> Self {
        Self::with_stakes(&vec![1; usize::from(size)])
    }

    /// A validator for each stake.
    pub fn with_stakes(stakes: &[u64]) -> Self {
        Self::try_with_stakes(stakes).expect("stakes and keys are in order")
    }

    /// The same where the stakes may be wrong.
    pub fn try_with_stakes(stakes: &[u64]) -> Option<Self> {
        let address: SocketAddr = ([127, 0, 0, 1], 1).into();
        let authority = |(index, stake): (usize, &u64)| Authority {
            name: format!("validator-{index}"),
            consensus_key: key(index, 1, 0),
            transport_key: key(index, 2, 0),
            stake: Stake(*stake),
            peer_address: address,
            client_address: address,
            rpc_address: address,
        };
        let authorities = stakes.iter().enumerate().map(authority).collect();
        let committee = Committee::new(Epoch(1), authorities).ok()?;
        Some(Self {
            chain: ChainId(Digest::sha256(b"a simulated ledger")),
            committee: Arc::new(committee),
            parameters: Parameters::default(),
            pacing: Pacing::default(),
            payload: Payload::build([b"a simulated transaction"]).descriptor(),
            empty: PayloadDescriptor::empty(),
        })
    }

    /// The committee.
    pub fn committee(&self) -> &Arc<Committee> {
        &self.committee
    }

    /// The configuration of one validator.
    pub fn config(&self, me: AuthorityIndex) -> Config {
        Config {
            chain: self.chain,
            committee: self.committee.clone(),
            me,
            parameters: self.parameters.clone(),
            anchor: Anchor::genesis(TimestampMs(0)),
            pacing: self.pacing,
        }
    }

    /// The block that a validator makes for a proposal. `nonce` ≠ 0 makes it carry a payload and a vote, so that two
    /// nonces make two blocks.
    pub fn block(
        &self,
        config: &Config,
        round: Round,
        ancestors: Vec<BlockRef>,
        misbehaviour: Vec<Evidence>,
        timestamp_ms: u64,
        nonce: u64,
    ) -> Arc<BlockHeader> {
        let payload = if nonce == 0 { self.empty } else { self.payload };
        self.block_with(config, round, ancestors, misbehaviour, timestamp_ms, nonce, payload)
    }

    /// The same with a payload of its own.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn block_with(
        &self,
        config: &Config,
        round: Round,
        ancestors: Vec<BlockRef>,
        misbehaviour: Vec<Evidence>,
        timestamp_ms: u64,
        nonce: u64,
        payload: PayloadDescriptor,
    ) -> Arc<BlockHeader> {
        let (timestamp, lane_roots) = (TimestampMs(timestamp_ms), Vec::new());
        let body = BlockBody { ancestors, timestamp, payload, lane_roots, misbehaviour, end_of_epoch: false };
        let vote = HeaderVote { height: types::Height(nonce), header: Digest::ZERO };
        self.sign(config, round, body, (nonce != 0).then_some(vote).into_iter().collect())
    }

    /// As [`Keys::block`], with the mark of the epoch's end and without a payload.
    pub fn last_block(
        &self,
        config: &Config,
        round: Round,
        ancestors: Vec<BlockRef>,
        misbehaviour: Vec<Evidence>,
        timestamp_ms: u64,
    ) -> Arc<BlockHeader> {
        self.last_block_with(config, round, ancestors, misbehaviour, timestamp_ms, None)
    }

    /// The same with a vote.
    pub(crate) fn last_block_with(
        &self,
        config: &Config,
        round: Round,
        ancestors: Vec<BlockRef>,
        misbehaviour: Vec<Evidence>,
        timestamp_ms: u64,
        vote: Option<HeaderVote>,
    ) -> Arc<BlockHeader> {
        let (timestamp, payload, lane_roots) = (TimestampMs(timestamp_ms), self.empty, Vec::new());
        let body = BlockBody { ancestors, timestamp, payload, lane_roots, misbehaviour, end_of_epoch: true };
        self.sign(config, round, body, vote.into_iter().collect())
    }

    /// A block of another member, signed with the own key: what nobody may take.
    pub(crate) fn forged(&self, own: &Config, of: &Config, round: Round, ancestors: Vec<BlockRef>) -> Arc<BlockHeader> {
        let (timestamp, payload, lane_roots) = (TimestampMs(0), self.empty, Vec::new());
        let body =
            BlockBody { ancestors, timestamp, payload, lane_roots, misbehaviour: Vec::new(), end_of_epoch: false };
        let honest = self.sign(of, round, body.clone(), Vec::new());
        let statement = *honest.statement();
        Arc::new(BlockHeader::new(statement, body, Vec::new(), signature(own)))
    }

    fn sign(&self, config: &Config, round: Round, body: BlockBody, votes: Vec<HeaderVote>) -> Arc<BlockHeader> {
        let epoch = config.committee.epoch();
        let statement = BlockHeader::statement_for(config.chain, epoch, round, config.me, &body, &votes);
        Arc::new(BlockHeader::new(statement, body, votes, signature(config)))
    }

    /// Of so many transactions of so many bytes each.
    pub(crate) fn payload(&self, count: u32, bytes: u32) -> PayloadDescriptor {
        if count == 0 { self.empty } else { PayloadDescriptor { bytes: count * (bytes + 4), count, ..self.payload } }
    }
}

/// A key that a machine has from an epoch on (0: from the first one); `kind` tells those for blocks from those for links.
pub(crate) fn key(machine: usize, kind: u8, since_epoch: u64) -> PublicKey {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&(machine as u64).to_le_bytes());
    if since_epoch > 0 {
        bytes[8..16].copy_from_slice(&since_epoch.to_le_bytes());
    }
    PublicKey::from_parts(AlgId::Ed25519, &bytes).expect("an Ed25519 key has 32 bytes")
}

/// What stands for a member's signature: its key, so that a wrong one is known by looking at it.
fn signature(config: &Config) -> Signature {
    let mut bytes = [0; 64];
    if let Some(author) = config.committee.authority(config.me) {
        bytes[..32].copy_from_slice(author.consensus_key.as_bytes());
    }
    Signature::from_parts(AlgId::Ed25519, &bytes).expect("an Ed25519 signature has 64 bytes")
}
