//! Which headers can be part of the DAG: the checks of CONSENSUS.md §2.2 that need no history.
//!
//! There are none that need history: timestamps are not compared with ancestors (§0.10). So every honest node gives the
//! same answer for the same header, whatever it has seen. Signatures are the driver's.

use crate::config::{Config, Thresholds, genesis_refs};
use std::sync::Arc;
use thiserror::Error;
use types::{
    AuthorityIndex, BlockHeader, BlockRef, ChainId, Committee, Digest, Epoch, Evidence, Parameters, PayloadDescriptor,
    Round, Stake,
};

/// Why a header can never be part of the DAG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidHeader {
    /// Of another ledger.
    #[error("of another ledger")]
    Chain,
    /// Of another epoch.
    #[error("of epoch {0}")]
    Epoch(Epoch),
    /// Round 0 is genesis.
    #[error("round 0 has no signed blocks")]
    RoundZero,
    /// Not a member of the committee.
    #[error("author {0} is unknown")]
    UnknownAuthor(AuthorityIndex),
    /// None, or more than there are validators.
    #[error("{0} ancestors")]
    AncestorCount(usize),
    /// The first ancestor is not the author's.
    #[error("the first ancestor is not the author's last block")]
    FirstAncestor,
    /// An ancestor's author is no member.
    #[error("ancestor {0} has an unknown author")]
    AncestorAuthor(BlockRef),
    /// Two ancestors of one author.
    #[error("two ancestors of validator {0}")]
    RepeatedAuthor(AuthorityIndex),
    /// An ancestor that is not of a lower round.
    #[error("ancestor {0} is not of a lower round")]
    AncestorRound(BlockRef),
    /// An ancestor of round 0 that is not the genesis block.
    #[error("ancestor {0} is not the genesis block")]
    NotGenesis(BlockRef),
    /// Too little stake behind the parents of the round below.
    #[error("parents with stake {0} in the round below")]
    ParentStake(Stake),
    /// More payload bytes or transactions than allowed.
    #[error("a payload of {bytes} bytes and {count} transactions")]
    PayloadLimit {
        /// Bytes.
        bytes: u32,
        /// Transactions.
        count: u32,
    },
    /// Bytes without transactions, or the reverse, or a wrong root for none.
    #[error("the payload's root, length and count contradict each other")]
    PayloadDescriptor,
    /// Lanes are not in use.
    #[error("payload lanes are not in use")]
    Lanes,
    /// More than one proof that carries a transaction.
    #[error("{0} proofs with transactions, one is allowed")]
    EvidenceCount(usize),
    /// Evidence that proves nothing.
    #[error("evidence against validator {0} proves nothing")]
    Evidence(AuthorityIndex),
}

/// Checks headers of one epoch.
#[derive(Clone, Debug)]
pub struct Validity {
    chain: ChainId,
    committee: Arc<Committee>,
    parameters: Parameters,
    quorum: Stake,
    genesis: Vec<BlockRef>,
    empty_root: Digest,
}

impl Validity {
    /// For a chain and committee.
    pub fn new(config: &Config) -> Self {
        Self {
            chain: config.chain,
            committee: config.committee.clone(),
            parameters: config.parameters.clone(),
            quorum: Thresholds::of(&config.committee).quorum,
            genesis: genesis_refs(config),
            empty_root: PayloadDescriptor::empty().root,
        }
    }

    /// The blocks of round 0.
    pub fn genesis(&self) -> &[BlockRef] {
        &self.genesis
    }

    /// Checks one header.
    ///
    /// # Errors
    /// [`InvalidHeader`], the first that applies.
    pub fn check(&self, header: &BlockHeader) -> Result<(), InvalidHeader> {
        if header.statement().chain != self.chain {
            return Err(InvalidHeader::Chain);
        }
        if header.epoch() != self.committee.epoch() {
            return Err(InvalidHeader::Epoch(header.epoch()));
        }
        if header.round() == Round(0) {
            return Err(InvalidHeader::RoundZero);
        }
        if self.committee.authority(header.author()).is_none() {
            return Err(InvalidHeader::UnknownAuthor(header.author()));
        }
        self.check_ancestors(header)?;
        self.check_payload(header)?;
        let proofs = &header.body().misbehaviour;
        let transactions = proofs.iter().filter(|proof| matches!(proof, Evidence::InvalidTransaction(_))).count();
        if transactions > 1 {
            return Err(InvalidHeader::EvidenceCount(transactions));
        }
        proofs.iter().try_for_each(|evidence| self.check_evidence(evidence))
    }

    fn check_ancestors(&self, header: &BlockHeader) -> Result<(), InvalidHeader> {
        let ancestors = header.ancestors();
        if ancestors.is_empty() || ancestors.len() > self.committee.size() {
            return Err(InvalidHeader::AncestorCount(ancestors.len()));
        }
        if ancestors[0].author != header.author() {
            return Err(InvalidHeader::FirstAncestor);
        }
        let (mut seen, mut parents) = ([0u64; types::committee::COMMITTEE_MAX.div_ceil(64)], 0u64);
        for ancestor in ancestors {
            let index = ancestor.author.index();
            let Some(genesis) = self.genesis.get(index) else {
                return Err(InvalidHeader::AncestorAuthor(*ancestor));
            };
            if seen[index / 64] & (1 << (index % 64)) != 0 {
                return Err(InvalidHeader::RepeatedAuthor(ancestor.author));
            }
            seen[index / 64] |= 1 << (index % 64);
            if ancestor.round >= header.round() {
                return Err(InvalidHeader::AncestorRound(*ancestor));
            }
            if ancestor.round == Round(0) && ancestor != genesis {
                return Err(InvalidHeader::NotGenesis(*ancestor));
            }
            if ancestor.round.next() == header.round() {
                parents += self.committee.stake(ancestor.author).0;
            }
        }
        if parents < self.quorum.0 { Err(InvalidHeader::ParentStake(Stake(parents))) } else { Ok(()) }
    }

    fn check_payload(&self, header: &BlockHeader) -> Result<(), InvalidHeader> {
        let PayloadDescriptor { root, bytes, count } = header.body().payload;
        if bytes > self.parameters.block_payload_bytes_max || count > self.parameters.block_transactions_max {
            return Err(InvalidHeader::PayloadLimit { bytes, count });
        }
        let empty = count == 0;
        if empty != (bytes == 0) || (empty && root != self.empty_root) {
            return Err(InvalidHeader::PayloadDescriptor);
        }
        if header.body().lane_roots.is_empty() { Ok(()) } else { Err(InvalidHeader::Lanes) }
    }

    /// Signatures of what the culprit signed, and the verdict on a transaction, are the driver's to check.
    fn check_evidence(&self, evidence: &Evidence) -> Result<(), InvalidHeader> {
        let here = evidence.signed().into_iter().all(|(statement, _)| {
            statement.chain == self.chain
                && statement.epoch == self.committee.epoch()
                && self.committee.authority(statement.author).is_some()
        });
        let proves = match evidence {
            Evidence::Equivocation { first: (a, _), second: (b, _) } => {
                (a.round, a.author) == (b.round, b.author) && a.digest() < b.digest()
            }
            Evidence::InvalidTransaction(proof) => proof.is_of_its_block(),
        };
        if here && proves { Ok(()) } else { Err(InvalidHeader::Evidence(evidence.culprit())) }
    }
}
